"""Files to a table of features: the same rows whatever happens on the way."""

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from pointmae_zoo import from_pretrained, save_pretrained
from pointmae_zoo.cli import main
from pointmae_zoo.inference import Embeddings, embed_files, read_table
from pointmae_zoo.inference.resumable import Journal
from pointmae_zoo.library import similar
from pointmae_zoo.models.registry import create_model
from pointmae_zoo.shapes.file_search import find_files
from pointmae_zoo.shapes.measures import Measures
from pointmae_zoo.shapes.notes import ReadNote
from pointmae_zoo.shapes.read import read_points

# Small and quick; the bits of the real size are looked at in one test.
SMALL = """
import torch
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.models.registry import create_model
def small(seed=0):
    torch.manual_seed(seed)
    size = dict(num_tokens=(32, 8), num_neighbors=(8, 4), dims=(24, 48), depths=(1, 1), stem_widths=(16, 32))
    return create_model("i2p_mae_tiny", preprocess=Preprocess(64, 1024), **size).eval()
"""
made: dict[str, Any] = {}
exec(SMALL, made)
small = made["small"]


@pytest.fixture(scope="module")
def model() -> Any:
    return small()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven shapes in several formats, and three files that cannot be read."""
    home = tmp_path_factory.mktemp("meshes")
    rng = np.random.default_rng(0)
    for number in range(11):
        suffix = ("stl", "obj", "off", "ply", "glb")[number % 5]
        trimesh.creation.box(extents=rng.uniform(0.2, 2, 3)).export(home / f"{number:02}.{suffix}")
    np.save(home / "11.npy", rng.normal(size=(700, 3)))
    (home / "03b.stl").write_bytes(b"")
    (home / "07b.off").write_text("a poem")
    (home / "99.obj").write_text("v 0 0 0\n")
    return home


def test_rows_are_the_models_features_of_the_files(model: Any, folder: Path) -> None:
    table = embed_files(folder, model, seed=5, up="z", batch_size=4, progress=False)
    assert table.paths == sorted(table.paths) and len(table.paths) == 12
    assert table.features.dtype == np.float32 and table.features.shape == (12, model.feature_dim())
    for path, row in zip(table.paths, table.features, strict=True):
        points = model.config.preprocess(read_points(path, 1024, seed=5), up="z")
        np.testing.assert_allclose(row, model.embed(points[None])[0], atol=2e-5)
    assert [(Path(path).name, reason.split(":")[0]) for path, reason in table.failures] == [
        ("03b.stl", "is empty (0 bytes)"),
        ("07b.off", "is not an OFF file"),
        ("99.obj", "has only one point (lines do not count)"),
    ]
    assert table.metadata["pool"] == model.hyper.pool
    assert (table.metadata["seed"], table.metadata["up"], table.metadata["model"]) == (5, "z", None)


def test_a_row_does_not_depend_on_its_neighbours_bit_for_bit(folder: Path) -> None:
    torch.manual_seed(0)
    model = create_model("i2p_mae_tiny").eval()
    together = embed_files(folder, model, batch_size=5, workers=3, progress=False)
    rows = dict(zip(together.paths, together.features, strict=True))
    for path in together.paths[::3]:  # at other places of the batch, with other neighbours, and alone
        alone = embed_files(path, model, batch_size=5, workers=1, progress=False)
        assert alone.paths == [path] and np.array_equal(alone.features[0], rows[path])
    some = embed_files(together.paths[2:9], model, batch_size=5, progress=False)
    assert all(np.array_equal(rows[path], row) for path, row in zip(some.paths, some.features, strict=True))


def test_rows_do_not_depend_on_the_batch_size_beyond_rounding(model: Any, folder: Path) -> None:
    tables = [embed_files(folder, model, batch_size=size, progress=False) for size in (1, 3, None)]
    for table in tables[1:]:
        np.testing.assert_allclose(table.features, tables[0].features, atol=1e-5)


def test_bfloat16_rows_are_close_and_say_so(folder: Path, tmp_path: Path) -> None:
    model = from_pretrained("i2p_mae_tiny.shapes", kind="encoder")
    out = tmp_path / "t.npz"
    exact = embed_files(folder, model, progress=False)
    rough = embed_files(folder, model, dtype="bfloat16", out=out, progress=False)
    assert next(model.parameters()).dtype == torch.float32  # a copy was rounded
    assert (exact.metadata["dtype"], read_table(out).metadata["dtype"]) == ("float32", "bfloat16")
    assert (
        rough.features.dtype == np.float32 and rough.metadata["fingerprint"] == exact.metadata["fingerprint"]
    )
    lengths = [np.linalg.norm(table.features, axis=1) for table in (exact, rough)]
    cosines = (exact.features * rough.features).sum(1) / (lengths[0] * lengths[1])
    assert cosines.min() > 0.999 and not np.array_equal(exact.features, rough.features)
    twin = tmp_path / "twin.npy"
    twin.write_bytes((folder / "11.npy").read_bytes())
    (found, score, _), *_ = similar(twin, out, model=model)  # in the table's own type
    assert found == str(folder / "11.npy") and score > 1 - 1e-5
    double = copy.deepcopy(model).double()  # a type that nobody can ask for
    table = embed_files(folder / "11.npy", double, progress=False)
    (found, score, _), *_ = similar(twin, table, model=double)
    assert table.metadata["dtype"] == "float64" and score > 1 - 1e-5


def test_pool_is_passed_on(model: Any, folder: Path) -> None:
    table = embed_files(folder / "00.stl", model, pool="mean,max", progress=False)
    assert table.features.shape == (1, model.feature_dim("mean,max")) and table.metadata["pool"] == "mean,max"


def test_only_bad_files_write_no_table(model: Any, folder: Path, tmp_path: Path) -> None:
    table = embed_files(folder / "99.obj", model, out=tmp_path / "t.npz", progress=False)
    assert table.features.shape == (0, model.feature_dim()) and len(table.failures) == 1
    assert list(tmp_path.glob("t.npz*")) == []


def test_nothing_to_do_and_wrong_arguments_are_told_before_the_work(folder: Path, tmp_path: Path) -> None:
    def fails(error: type[Exception], message: str, **arguments: Any) -> None:
        given = {"paths": folder, "model": "no_such_model", **arguments}
        with pytest.raises(error, match=message):
            embed_files(**given, progress=False)

    (tmp_path / "void").mkdir()
    fails(FileNotFoundError, r"void: no files there with a suffix of \.stl", paths=tmp_path / "void")
    fails(FileNotFoundError, "none.stl: no such file", paths=tmp_path / "none.stl")
    fails(FileNotFoundError, r"none.stl: .* \(and 1 more", paths=[tmp_path / "none.stl", tmp_path / "void"])
    fails(ValueError, "at least one file", paths=[])
    for seed in (-1, 0.5, True):
        fails(ValueError, "seed: a whole number of 0 or more", seed=seed)
    fails(ValueError, r"t\.pkl: expected the name of a \.npz or", out=tmp_path / "t.pkl")
    fails(FileNotFoundError, "no such folder", out=tmp_path / "none" / "t.npz")
    fails(ValueError, "up: x, y, z, -x", up="w")
    fails(ValueError, "batch_size: ", batch_size=0)
    fails(ValueError, "dtype: float32 or bfloat16 expected, got 'float16'", dtype="float16")
    fails(ValueError, "workers: ", workers=0)
    fails(ValueError, "timeout: ", timeout=0)
    fails(ValueError, "memory_limit_gb: ", memory_limit_gb=float("nan"))
    fails(ValueError, "no_such_model")
    fails(TypeError, "model: weights by name or folder, or an encoder", model=torch.nn.Linear(1, 1))


def test_a_path_that_leads_to_nothing_is_a_failure_among_others(
    model: Any, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "void").mkdir()
    given = [tmp_path / "void", folder / "none.stl", folder / "00.stl", folder / "03b.stl", folder / "*.step"]
    table = embed_files(given, model, progress=False)
    assert table.paths == [str(folder / "00.stl")]
    assert dict(table.failures).keys() == {str(given[number]) for number in (0, 1, 3, 4)}
    assert [path for path, _ in table.failures] == sorted(path for path, _ in table.failures)
    assert dict(table.failures)[str(folder / "none.stl")] == "no such file or folder"


def test_the_table_is_no_input_of_the_next_run(model: Any, tmp_path: Path) -> None:
    trimesh.creation.box().export(tmp_path / "a.stl")
    out = tmp_path / "features.npz"
    for paths in (tmp_path, tmp_path, [str(tmp_path / "*")]):
        table = embed_files(paths, model, out=out, progress=False)
        assert table.paths == [str(tmp_path / "a.stl")] and table.failures == []
    before = out.read_bytes()
    with pytest.raises(ValueError, match=r"out: .*features\.npz is also one of the inputs"):
        embed_files([tmp_path / "a.stl", out], model, out=out, progress=False)
    (tmp_path / "a.stl").unlink()
    with pytest.raises(FileNotFoundError, match="no files there"):
        embed_files(tmp_path, model, out=out, progress=False)
    assert out.read_bytes() == before


def test_an_unknown_pool_is_told(model: Any, folder: Path) -> None:
    with pytest.raises(ValueError, match="pool: "):
        embed_files(folder, model, pool="median", progress=False)


def test_a_network_that_gives_nan_is_a_failure(
    model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = model.forward

    def sometimes_nan(points: torch.Tensor, pool: str | None = None) -> torch.Tensor:
        features = forward(points, pool)
        features[1] = torch.nan
        return features

    monkeypatch.setattr(model, "forward", sometimes_nan)
    table = embed_files([folder / "00.stl", folder / "01.obj"], model, batch_size=2, progress=False)
    assert [Path(path).name for path in table.paths] == ["00.stl"]
    assert table.failures == [(str(folder / "01.obj"), "the network gives NaN or infinity for it")]


SCRIPT = """
import sys, time
from pointmae_zoo.inference import embed_files
model = small()
forward, calls = model.forward, []
def slow(points, pool):
    calls.append(len(points))
    time.sleep(600 if len(calls) == 4 else 0)  # to be killed in
    return forward(points, pool)
model.forward = slow
embed_files(sys.argv[1], model, out=sys.argv[2], batch_size=2, workers=1)
"""


def wait_for(condition: Callable[[], bool], seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def lines(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def test_killed_and_started_again_gives_the_same_bytes(model: Any, folder: Path, tmp_path: Path) -> None:
    whole, out, journal = (tmp_path / name for name in ("whole.npz", "out.npz", "out.npz.partial"))
    embed_files(folder, model, out=whole, batch_size=2, progress=False)
    killed = subprocess.Popen([sys.executable, "-c", SMALL + SCRIPT, folder, out], start_new_session=True)
    wait_for(lambda: lines(journal) >= 5 or killed.poll() is not None)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not out.exists() and 5 <= lines(journal) < 12
    with open(journal, "ab") as file:  # as if the kill had come in the middle of a line
        file.write(b'{"features": "AAAA')
    kept = lines(journal) - 1
    calls = []
    forward = model.forward
    model.forward = lambda points, pool=None: calls.append(len(points)) or forward(points, pool)
    try:
        table = embed_files(folder, model, out=out, batch_size=2, progress=False)
    finally:
        del model.forward
    assert len(calls) == (12 - kept + 1) // 2  # what the journal held was not computed again
    assert len(table.failures) == 3
    assert out.read_bytes() == whole.read_bytes() and not journal.exists()


class Interrupted:
    """A model that Ctrl-C hits in its second batch."""

    def __init__(self, model: Any) -> None:
        self.model, self.calls = model, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, points: torch.Tensor, pool: str | None = None) -> torch.Tensor:
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return self.model(points, pool)


def test_ctrl_c_keeps_the_rows_and_says_how_to_go_on(
    model: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        embed_files(folder, Interrupted(model), out=tmp_path / "t.npz", batch_size=4, progress=False)
    assert "t.npz.partial keeps the rows; the same command resumes from there" in capsys.readouterr().err
    assert lines(tmp_path / "t.npz.partial") == 1 + 4 and not (tmp_path / "t.npz").exists()
    embed_files(folder, model, out=tmp_path / "t.npz", batch_size=4, progress=False)
    embed_files(folder, model, out=tmp_path / "u.npz", batch_size=4, progress=False)
    assert (tmp_path / "t.npz").read_bytes() == (tmp_path / "u.npz").read_bytes()


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"up": "z"}, {"pool": "mean"}, {"model": 1}, {"dtype": "bfloat16"}]
)
def test_rows_of_other_settings_are_neither_mixed_in_nor_dropped(
    model: Any, folder: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    files = [folder / name for name in ("00.stl", "01.obj", "02.off")]
    with pytest.raises(KeyboardInterrupt):
        embed_files(files, Interrupted(model), out=tmp_path / "t.npz", batch_size=2, progress=False)
    change = dict(change)
    if "model" in change:
        change["model"] = small(change["model"])
    settings = {"model": model, "batch_size": 2, "progress": False}
    kept = (tmp_path / "t.npz.partial").read_bytes()
    (name,) = change
    said = "weights" if name == "model" else f"{name}: .*, now {change[name]!r}"
    with pytest.raises(
        ValueError, match=rf"t\.npz\.partial: .*other settings \({said}.*\); .*delete this file"
    ):
        embed_files(files, out=tmp_path / "t.npz", **{**settings, **change})
    assert (tmp_path / "t.npz.partial").read_bytes() == kept
    embed_files(files, out=tmp_path / "t.npz", **settings)
    embed_files(files, out=tmp_path / "u.npz", **settings)
    assert (tmp_path / "t.npz").read_bytes() == (tmp_path / "u.npz").read_bytes()


def test_a_journal_without_rows_does_not_stop_other_settings(tmp_path: Path) -> None:
    Journal(tmp_path / "j", {"seed": 0}).close()
    journal = Journal(tmp_path / "j", {"seed": 1})
    journal.add(["file"], np.ones((1, 2), np.float32), [Measures((1.0, 1.0, 1.0), None, None, 0, False)])
    journal.close()
    with pytest.raises(ValueError, match=r"\(seed: 1, now 0\)"):
        Journal(tmp_path / "j", {"seed": 0})
    assert list(Journal(tmp_path / "j", {"seed": 1}).rows) == ["file"]


def test_a_journal_is_removed_before_its_lock_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")
    journal = Journal(tmp_path / "j", {})
    unlink = Path.unlink

    def locked(path: Path, missing_ok: bool = False) -> None:
        with pytest.raises(ValueError, match="another run"):
            Journal(tmp_path / "j", {})
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", locked)
    journal.remove()
    assert not (tmp_path / "j").exists()
    Journal(tmp_path / "j", {}).close()


def test_a_file_that_changed_meanwhile_is_embedded_again(model: Any, tmp_path: Path) -> None:
    for name, size in (("a.stl", 1.0), ("b.stl", 2.0)):
        trimesh.creation.box(extents=(1, 1, size)).export(tmp_path / name)
    with pytest.raises(KeyboardInterrupt):
        embed_files(tmp_path, Interrupted(model), out=tmp_path / "t.npz", batch_size=1, progress=False)
    trimesh.creation.box(extents=(1, 1, 9)).export(tmp_path / "a.stl")
    os.utime(tmp_path / "a.stl", (1, 1))
    table = embed_files(tmp_path, model, out=tmp_path / "t.npz", batch_size=1, progress=False)
    fresh = embed_files(tmp_path, model, batch_size=1, progress=False)
    np.testing.assert_array_equal(table.features, fresh.features)


def test_two_runs_cannot_write_one_output(model: Any, folder: Path, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with open(tmp_path / "t.npz.partial", "w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match=r"t\.npz\.partial: another run is writing this output"):
            embed_files(folder, model, out=tmp_path / "t.npz", progress=False)


def test_a_foreign_file_in_the_journals_place_is_left_alone(model: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.npz.partial").write_text("my novel")
    with pytest.raises(ValueError, match="another program wrote the file; move it away"):
        embed_files(folder, model, out=tmp_path / "t.npz", progress=False)
    assert (tmp_path / "t.npz.partial").read_text() == "my novel"


def test_similar_embeds_a_new_file_as_the_table_was_made(model: Any, folder: Path, tmp_path: Path) -> None:
    table = embed_files(folder, model, up="z", seed=3, batch_size=4, out=tmp_path / "t.npz", progress=False)
    twin = tmp_path / "twin.stl"
    twin.write_bytes((folder / "05.stl").read_bytes())
    (path, score, _), *_ = similar(twin, tmp_path / "t.npz", model=model)
    assert path == str(folder / "05.stl") and score == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="not those that made the table"):
        similar(twin, table, model=small(1))
    with pytest.raises(ValueError, match=r"03b\.stl: is empty"):
        similar(folder / "03b.stl", table, model=model)


def test_similar_in_a_table_without_metadata_wants_to_know_how_it_was_made(
    model: Any, folder: Path, tmp_path: Path
) -> None:
    files = [folder / name for name in ("00.stl", "01.obj", "11.npy")]
    twin, out = tmp_path / "twin.npy", tmp_path / "t.csv"
    twin.write_bytes(files[2].read_bytes())
    embed_files(files, model, up="z", pool="max", out=out, progress=False)
    for given, lacking in (({}, "model and up"), ({"model": model}, "up"), ({"up": "z"}, "model")):
        with pytest.raises(ValueError, match=rf"twin\.npy: not in the table, .*; give {lacking} as"):
            similar(twin, out, **given)
    found = similar(twin, out, model=model, up="z", pool="max")
    assert found[0] == (str(files[2]), pytest.approx(1, abs=1e-5), None)  # a cloud has no size
    assert len(similar(files[0], out)) == 2  # a row needs nothing


def test_similar_takes_nothing_that_contradicts_the_table(model: Any, folder: Path, tmp_path: Path) -> None:
    table = embed_files(folder / "00.stl", model, up="z", pool="max", progress=False)
    for given in ({"up": "y"}, {"pool": "mean"}, {"seed": 1}):
        with pytest.raises(ValueError, match=f"{next(iter(given))}: .* given, but the table was made with"):
            similar(folder / "01.obj", table, model=model, **given)
    assert len(similar(folder / "01.obj", table, model=model, up="z", seed=0)) == 1
    foreign = Embeddings(table.paths, table.features, metadata={"model": "x", "up": "z", "seed": 0})
    with pytest.raises(
        ValueError, match="table: its metadata has no fingerprint and no pool and no dtype; embed"
    ):
        similar(folder / "01.obj", foreign, model=model)


def test_real_meshes_all_get_rows(model: Any, testdata: Path) -> None:
    files = find_files(testdata / "shapes" / "meshes")[::20]
    table = embed_files(files, model, progress=False)
    assert table.failures == [] and np.isfinite(table.features).all() and len(table.paths) == len(files)


def test_every_file_is_a_row_a_failure_or_counted(
    model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A renamed file and one whose name is no text have rows, and the counts that are printed add up."""
    folder, out = tmp_path / "in", tmp_path / "in" / "t.npz"
    folder.mkdir()
    box = trimesh.creation.box()
    box.export(folder / "a.stl")
    for name in ("renamed.ply", "too\nodd.dat"):
        (folder / name).write_bytes((folder / "a.stl").read_bytes())
    (folder / "\udcff.obj").write_text(box.export(file_type="obj"))
    (folder / "page.stl").write_text("<html>")
    for name in ("x.blend", "y.blend", "z.zip", "notes.txt", ".hidden.stl"):
        (folder / name).touch()
    save_pretrained(model, tmp_path / "weights")
    given = ["embed", str(folder), "--out", str(out), "--model", str(tmp_path / "weights"), "--workers", "1"]
    assert main(given) == 1 and main(given) == 1  # the second time its table lies there, too
    printed = capsys.readouterr()
    said = printed.err.splitlines()
    account = (
        "read, 1 failed, {} passed over (formats that are not read: 2 .blend, 1 .zip; others: 1 .dat, 1 .txt,"
        " 1 hidden"
    )
    assert f"10 found: 3 {account.format(6)})" in said
    assert f"11 found: 3 {account.format(7)}, 1 table(s) of features)" in said
    remark = "is an STL file by its content, despite its name, and was read as that"
    assert said.count(f"{folder / 'renamed.ply'}: {remark}") == 2
    table = read_table(out)
    assert table.paths == [str(folder / name) for name in ("a.stl", "renamed.ply", "\udcff.obj")]
    assert table.metadata["notes"] == {str(folder / "renamed.ply"): [remark]}
    assert main(["predict", str(folder), "--workers", "1"]) == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 3 and r"in/\xff.obj " in printed.out
    assert f"11 found: 3 {account.format(7)}, 1 table(s) of features)" in printed.err
    with pytest.warns(ReadNote, match=f"renamed.ply: {remark}"):
        read_points(folder / "renamed.ply")
    assert main(["similar", str(folder / "too\nodd.dat"), str(out), "-k", "1"]) == 0
    assert f"in/too\\nodd.dat: {remark}\n" in capsys.readouterr().err


def test_remarks_survive_a_stop(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trimesh.creation.box().export(tmp_path / "a.stl")
    (tmp_path / "a.stl").rename(tmp_path / "a.obj")
    with monkeypatch.context() as patch:
        patch.setattr("pointmae_zoo.inference.embedding.write_table", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            embed_files(tmp_path / "a.obj", model, out=tmp_path / "t.npz", workers=1, progress=False)
    monkeypatch.setattr(model, "forward", lambda *_: 1 / 0)  # nothing is computed again
    table = embed_files(tmp_path / "a.obj", model, out=tmp_path / "t.npz", workers=1, progress=False)
    assert table.notes == [
        (str(tmp_path / "a.obj"), "is an STL file by its content, despite its name, and was read as that")
    ]


def test_tables_in_a_folder_are_no_shapes_and_empty_ones_replace_nothing(model: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "cloud.npy", np.random.default_rng(0).normal(size=(300, 3)))
    table = tmp_path / "in" / "features.npz"
    embed_files(tmp_path / "in", model, out=table, workers=1, progress=False)
    again = embed_files(tmp_path / "in", model, out=tmp_path / "other.npz", workers=1, progress=False)
    assert [Path(path).name for path in again.paths] == ["cloud.npy"] and again.failures == []
    before = table.read_bytes()
    (tmp_path / "bad.npy").write_text("no")
    assert embed_files(tmp_path / "bad.npy", model, out=table, workers=1, progress=False).paths == []
    assert table.read_bytes() == before
