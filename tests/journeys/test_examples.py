"""The examples: their meshes are what their script makes, and each script runs."""

import functools
import runpy
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import trimesh

import pointmae_zoo
from pointmae_zoo.inference import read_table
from samples.models import small

EXAMPLES = Path(__file__).parents[2] / "examples"
MESHES = sorted((EXAMPLES / "meshes").iterdir())


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch):
    def load(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(EXAMPLES))
        return __import__(name)

    yield load
    for path in EXAMPLES.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture(scope="module")
def untrained():
    return small()


def triangles(path: Path) -> np.ndarray:
    """(F, 3, 3), in the order of the file."""
    return np.asarray(trimesh.load(path, force="mesh", process=False).triangles, dtype=np.float64)


def test_meshes_are_what_the_script_makes(example, tmp_path: Path) -> None:
    """By numbers that no order of faces or corners changes: trimesh's versions may differ in it."""
    written = example("make_meshes").write(tmp_path)
    assert sorted(path.name for path in written) == [path.name for path in MESHES]
    for path in MESHES:
        mine, theirs = triangles(path), triangles(tmp_path / path.name)
        assert mine.shape == theirs.shape, path.name
        unit = np.ptp(mine.reshape(-1, 3), axis=0).max()
        for number in (
            lambda t: np.sort(np.linalg.norm(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]), axis=1)),
            lambda t: np.sort(t.reshape(-1, 3), axis=0),
            lambda t: np.sort(t.mean(1), axis=0),
        ):
            np.testing.assert_allclose(
                number(mine / unit), number(theirs / unit), atol=1e-4, err_msg=path.name
            )


def test_meshes_are_small_and_in_every_format() -> None:
    assert all(path.stat().st_size < 64 * 1024 for path in MESHES)
    assert {path.suffix for path in MESHES} == {".stl", ".obj", ".off", ".ply", ".glb", ".gltf", ".3mf"}
    texts = {path.name: path.read_bytes().lstrip().startswith(b"solid") for path in MESHES}
    assert [name for name, text in texts.items() if text] == ["bracket_plain.stl"]
    assert sum(path.suffix == ".stl" for path in MESHES) == 3


@pytest.mark.parametrize("path", MESHES, ids=lambda path: path.name)
def test_our_readers_see_the_same_shape(path: Path) -> None:
    """Node transforms applied, y up: the box around the surface is the one around trimesh's triangles."""
    points = pointmae_zoo.read_points(path, 8192)
    corners = triangles(path).reshape(-1, 3)
    low, high = corners.min(0), corners.max(0)
    slack = 0.05 * (high - low).max()
    assert (points >= low - 1e-3).all()
    assert (points <= high + 1e-3).all()
    np.testing.assert_allclose(points.min(0), low, atol=slack)
    np.testing.assert_allclose(points.max(0), high, atol=slack)


def test_chairs_stand_upright() -> None:
    for name in ("chair_panel.stl", "chair_slatted.glb"):
        points = pointmae_zoo.read_points(EXAMPLES / "meshes" / name)
        assert np.ptp(points, axis=0).argmax() == 1
        top = points[points[:, 1] > np.quantile(points[:, 1], 0.9)]
        assert np.ptp(top[:, 2]) < 0.3 * np.ptp(points[:, 2])  # only the back reaches up there


def test_demo_makes_a_table_and_a_picture(example, untrained, tmp_path: Path, capsys) -> None:
    assert example("demo").main(untrained, tmp_path / "demo") == 0
    said = capsys.readouterr()
    assert "failed" not in said.err
    for path in MESHES:
        assert any(line.startswith(path.name) for line in said.out.splitlines())
    table = read_table(tmp_path / "demo" / "features.npz")
    assert [Path(path).name for path in table.paths] == [path.name for path in MESHES]
    assert np.isfinite(table.features).all()
    assert (tmp_path / "demo" / "neighbours.png").read_bytes().startswith(b"\x89PNG")


def test_demo_says_in_one_line_what_is_wrong(example, tmp_path: Path, capsys) -> None:
    assert example("demo").main("i2p_mae_tiny.shaeps", tmp_path) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1


def test_features_from_points(untrained, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(pointmae_zoo, "from_pretrained", lambda *given, **named: untrained)
    runpy.run_path(str(EXAMPLES / "features_from_points.py"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("points (3, 1024, 3) -> features (3, ")
    table = np.array([[float(value) for value in line.split()[-3:]] for line in lines[1:]])
    np.testing.assert_allclose(table, table.T)
    np.testing.assert_allclose(np.diag(table), 1)


def test_search_folder(example, untrained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        pointmae_zoo, "embed_files", functools.partial(pointmae_zoo.embed_files, model=untrained)
    )
    example("search_folder").search(EXAMPLES / "meshes" / "mug_tall.obj", EXAMPLES / "meshes")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert not any("mug_tall" in line for line in lines)
    assert (tmp_path / "features.npz").exists()


def test_bundled_weights_find_the_siblings() -> None:
    """Of seven pairs, whose halves share their construction."""
    if "i2p_mae_tiny.shapes" not in pointmae_zoo.list_weights():
        pytest.skip("the bundled weights are not there yet")
    table = pointmae_zoo.embed_files(EXAMPLES / "meshes", progress=False)
    found = 0
    for path in table.paths:
        (nearest, *_), *_ = pointmae_zoo.similar(path, table, 1)
        found += Path(nearest).name.split("_")[0] == Path(path).name.split("_")[0]
    assert found >= 12


def test_the_sheet_of_procedural_shapes(example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = example("procedural_shapes")
    monkeypatch.setattr(script, "SIDE", 2)
    script.draw(tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_every_example_is_in_the_list() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    assert all(f"`{path.name}`" in listed for path in EXAMPLES.glob("*.py"))


WITH_ARGUMENTS = sorted({path.stem for path in EXAMPLES.glob("*.py")} - {"features_from_points"})


@pytest.mark.parametrize("name", WITH_ARGUMENTS)
def test_help_explains_and_makes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    script = str(EXAMPLES / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_path(script, run_name="__main__")
    assert f"python examples/{name}.py" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_finetune_own_data(example, tmp_path: Path, capsys) -> None:
    script = example("finetune_own_data")
    folder = script.sorted_into_classes(tmp_path / "data")
    assert len(list(folder.iterdir())) == 7 and len(list(folder.glob("*/*"))) == len(MESHES)
    quick = {"steps": 1, "batch_size": 4, "num_points": 256, "warmup_steps": 0, "calibration_batches": 1}
    found = script.classify(folder, tmp_path / "run", **quick)
    assert set(found.labels) == {path.name for path in folder.iterdir()}
    assert len(found.paths) == len(MESHES) and not found.failures
    assert len([line for line in capsys.readouterr().out.splitlines() if "%" in line]) == len(MESHES)


def test_few_shot(example, untrained, capsys) -> None:
    pytest.importorskip("sklearn")
    script = example("few_shot")
    assert 0 <= script.name_the_others(untrained) <= 1
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_part_colours(example, tmp_path: Path, capsys) -> None:
    script = example("part_colours")
    quick = {"steps": 1, "num_points": 256, "warmup_steps": 0, "calibration_batches": 1}
    ply, glb = script.colour(tmp_path, shapes=12, **quick)
    assert ply.read_bytes().startswith(b"ply") and glb.read_bytes().startswith(b"glTF")
    assert np.load(tmp_path / "features.npy").shape[0] == 1024
    assert "chair/" in capsys.readouterr().out


def test_masks_and_reconstruction(example, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = example("masks_and_reconstruction").show(
        tmp_path, steps=1, batch_size=2, procedural_clouds=4, warmup_steps=0
    )
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_export_onnx(example, untrained, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from pointmae_zoo.inference.export import OLDEST_TORCH

    if tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2]) < OLDEST_TORCH:
        pytest.skip("this torch is too old to export")
    features = example("export_onnx").export_and_run(tmp_path / "encoder.onnx", untrained)
    table = pointmae_zoo.embed_files(EXAMPLES / "meshes", untrained, progress=False)
    np.testing.assert_allclose(features, table.features, atol=1e-4)
