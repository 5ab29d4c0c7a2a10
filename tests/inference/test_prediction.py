"""Files to class names and to coloured parts: the network's own answers, and what any reader of PLY and glTF
finds in what was written."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

import pointmae_zoo
from pointmae_zoo.cli import main
from pointmae_zoo.inference import predict_files, predict_parts
from pointmae_zoo.inference.part_prediction import Objects, write_coloured
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.shapes.read import read_points
from pointmae_zoo.viz.part_pictures import part_colours
from samples.models import small

SIZE = Preprocess(64, 256)
LABELS = ("box", "ball", "pipe", "rest")
PARTS = ("lamp/foot", "lamp/shade", "mug/body", "mug/handle", "mug/rim")


@pytest.fixture(scope="module")
def model() -> Any:
    return small(kind="classification", num_classes=4, labels=LABELS, preprocess=SIZE)


def segmenter(**more: Any) -> Any:
    given = {"num_parts": 5, "num_object_classes": 2, "labels": PARTS, **more}
    return small(kind="part_segmentation", preprocess=SIZE, **given)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("shapes")
    (home / "sub").mkdir()
    trimesh.creation.box(extents=(1, 2, 3)).export(home / "a.stl")
    trimesh.creation.icosphere().export(home / "sub" / "a.stl")
    np.save(home / "b.npy", np.random.default_rng(0).normal(size=(300, 3)))
    (home / "c.off").write_text("a poem")
    return home


def test_probabilities_are_the_models(model: Any, folder: Path) -> None:
    found = predict_files(folder, model, top=2, up="z", seed=3, batch_size=2, progress=False)
    assert [Path(path).name for path in found.paths] == ["a.stl", "b.npy", "a.stl"]
    assert found.labels == LABELS and found.probabilities.shape == (3, 4)
    for path, row, best in zip(found.paths, found.probabilities, found.best, strict=True):
        points = model.config.preprocess(read_points(path, 256, seed=3), up="z")
        with torch.no_grad():
            wanted = model(points[None])[0].softmax(0).numpy()
        np.testing.assert_allclose(row, wanted, atol=1e-5)
        order = sorted(range(4), key=lambda number: -wanted[number])[:2]
        assert [name for name, _ in best] == [LABELS[number] for number in order]
        assert best[0][1] >= best[1][1]
    ((path, reason),) = found.failures
    assert path.endswith("c.off") and reason.startswith("is not an OFF file")
    assert found.metadata["up"] == "z" and found.metadata["seed"] == 3


def test_a_models_mode_is_left_alone_and_does_not_matter(folder: Path) -> None:
    training = small(kind="classification", num_classes=4, labels=LABELS, preprocess=SIZE).train()
    found = predict_files(folder, training, workers=1, progress=False)
    assert training.training
    again = predict_files(folder, training.eval(), workers=1, progress=False)
    np.testing.assert_array_equal(found.probabilities, again.probabilities)


def test_bfloat16_is_close_and_said(model: Any, folder: Path, tmp_path: Path) -> None:
    exact = predict_files(folder, model, progress=False)
    rough = predict_files(folder, model, dtype="bfloat16", out=tmp_path / "t.json", progress=False)
    np.testing.assert_allclose(rough.probabilities, exact.probabilities, atol=0.03)
    assert not np.array_equal(rough.probabilities, exact.probabilities)
    assert json.loads((tmp_path / "t.json").read_text())["dtype"] == "bfloat16"
    coloured = [
        predict_parts(
            folder, segmenter(), tmp_path / str(dtype), object_class="mug", dtype=dtype, progress=False
        )
        for dtype in (None, "bfloat16")
    ]
    for path, shares in coloured[0].shares.items():
        np.testing.assert_allclose(coloured[1].shares[path], shares, atol=0.1)


def test_tables(model: Any, folder: Path, tmp_path: Path) -> None:
    found = predict_files(folder, model, out=tmp_path / "t.csv", progress=False)
    predict_files(folder, model, out=tmp_path / "t.json", top=99, progress=False)
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == found.paths and len(rows[0]) == 7
    for row, best in zip(rows, found.best, strict=True):
        for number, (name, share) in enumerate(best, start=1):
            assert row[f"class_{number}"] == name
            assert float(row[f"probability_{number}"]) == pytest.approx(share, abs=1e-6)
    content = json.loads((tmp_path / "t.json").read_text())
    assert content["labels"] == list(LABELS) and len(content["failures"]) == 1
    for row in content["files"]:
        assert sum(entry["probability"] for entry in row["classes"]) == pytest.approx(1, abs=1e-5)
        assert len(row["classes"]) == 4
    assert not list(tmp_path.glob("*.partial"))


def test_stopped_and_started_again(
    model: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = model.forward, []

    def stopped(points: torch.Tensor) -> torch.Tensor:
        calls.append(len(points))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return forward(points)

    whole = predict_files(folder, model, batch_size=1, progress=False)
    monkeypatch.setattr(model, "forward", stopped)
    with pytest.raises(KeyboardInterrupt):
        predict_files(folder, model, out=tmp_path / "t.csv", batch_size=1, progress=False)
    found = predict_files(folder, model, out=tmp_path / "t.csv", batch_size=1, progress=False)
    assert len(calls) == 2 + 2  # the first row was kept
    np.testing.assert_array_equal(found.probabilities, whole.probabilities)


def test_a_model_without_names_gives_numbers(folder: Path) -> None:
    nameless = small(kind="classification", num_classes=3, preprocess=SIZE)
    found = predict_files(folder / "a.stl", nameless, workers=1, progress=False)
    assert found.labels == ("0", "1", "2")


def test_wrong_models_and_arguments(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of kind 'encoder' and has no classes; 'pointmae-zoo finetune'"):
        predict_files(folder, small(preprocess=SIZE), progress=False)
    with pytest.raises(ValueError, match="is a part segmenter; use predict_parts"):
        predict_files(folder, segmenter(), progress=False)
    with pytest.raises(ValueError, match=r"t\.npz: expected the name of a \.csv or \.json file"):
        predict_files(folder, "none", out=tmp_path / "t.npz", progress=False)
    with pytest.raises(ValueError, match="top: "):
        predict_files(folder, "none", top=0, progress=False)
    with pytest.raises(ValueError, match="of kind 'encoder' and has no parts"):
        predict_parts(folder, small(preprocess=SIZE), tmp_path, object_class="mug", progress=False)
    for kind, said in {
        "classification": "'pointmae-zoo predict' without --parts-out predicts classes",
        "pretraining": "'pointmae-zoo embed' gives its features",
    }.items():
        with pytest.raises(ValueError, match=f"of kind '{kind}' and has no parts; {said}"):
            predict_parts(folder, small(kind=kind, preprocess=SIZE), tmp_path, progress=False)
    with pytest.raises(ValueError, match="suffix: "):
        predict_parts(folder, "none", tmp_path, suffix=".obj", progress=False)
    with pytest.raises(ValueError, match="object_class: missing; choose from lamp, mug"):
        predict_parts(folder, segmenter(), tmp_path, progress=False)
    with pytest.raises(ValueError, match="knows no 'mugg'; did you mean 'mug'"):
        predict_parts(folder, segmenter(), tmp_path, object_class="mugg", progress=False)
    with pytest.raises(TypeError, match="model: weights by name or folder"):
        predict_files(folder, torch.nn.Linear(1, 1), progress=False)


def read_ply(path: Path) -> dict[str, np.ndarray]:
    """By trimesh."""
    cloud = trimesh.load(path)
    raw = cloud.metadata["_ply_raw"]["vertex"]["data"]
    return {"points": np.asarray(cloud.vertices), "colours": np.asarray(cloud.colors), "part": raw["part"]}


def test_parts_of_files(folder: Path, tmp_path: Path) -> None:
    model = segmenter()
    found = predict_parts(
        folder, model, tmp_path / "out", object_class="mug", seed=2, up="z", batch_size=3, progress=False
    )
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in found.written.values()) == [
        "a.stl.parts.ply",
        "b.npy.parts.ply",
        "sub/a.stl.parts.ply",
    ]
    assert [Path(path).name for path, _ in found.failures] == ["c.off"]
    for path, target in found.written.items():
        raw = read_points(path, 256, seed=2)
        stored = read_ply(target)
        np.testing.assert_array_equal(stored["points"].astype(np.float32), raw)
        np.testing.assert_array_equal(stored["colours"][:, :3], found.colours[stored["part"]])
        with torch.no_grad():
            logits = model(SIZE(raw, up="z")[None], torch.tensor([1]))[0]
        wanted = 2 + logits[:, 2:].argmax(1).numpy()  # only a mug's parts compete
        # The points that the network took keep their own labels; the others have that of the nearest.
        kept = SIZE.kept(raw, up="z")
        np.testing.assert_array_equal(stored["part"][kept], wanted)
        apart = ((raw[:, None].astype(np.float64) - raw[kept][None]) ** 2).sum(-1)
        lowest = apart.min(1, keepdims=True)
        near = apart <= lowest * (1 + 1e-5) + 1e-12
        assert all(part in wanted[row] for part, row in zip(stored["part"], near, strict=True))
        shares = np.bincount(stored["part"], minlength=5) / len(raw)
        np.testing.assert_allclose(found.shares[path], shares)


def test_parts_again_into_the_same_folder(folder: Path, tmp_path: Path) -> None:
    trimesh.creation.box().export(tmp_path / "a.stl")
    for _ in range(2):  # what the first run wrote is no input of the second
        found = predict_parts(
            tmp_path, segmenter(), tmp_path / "out", object_class="mug", workers=1, progress=False
        )
        assert list(found.written) == [str(tmp_path / "a.stl")]


def test_parts_that_are_there_are_not_made_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = segmenter(), tmp_path / "out"
    shapes = tmp_path / "in"
    shapes.mkdir()
    for number in range(4):
        trimesh.creation.box(extents=(1, 1, 1 + number)).export(shapes / f"{number}.stl")
    forward, calls = model.forward, []

    def counted(points: torch.Tensor, object_class: torch.Tensor) -> torch.Tensor:
        calls.append(len(points))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(points, object_class)

    monkeypatch.setattr(model, "forward", counted)
    settings: dict[str, Any] = {"object_class": "mug", "batch_size": 1, "workers": 1, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        predict_parts(shapes, model, out, **settings)
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.ply")}
    assert len(kept) == 2
    stopped = predict_parts(shapes, model, out, **settings)
    assert len(calls) == 3 + 2 and "2 of 4 clouds are there" in capsys.readouterr().err
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in out.glob("*.ply")}.items()
    whole = predict_parts(shapes, model, tmp_path / "whole", **settings)
    assert list(stopped.written) == list(whole.written) == list(stopped.shares)
    for path, target in whole.written.items():
        assert stopped.written[path].read_bytes() == target.read_bytes()
        np.testing.assert_array_equal(stopped.shares[path], whole.shares[path])

    def made_again(**changes: Any) -> int:
        calls[:] = [0] * 9
        predict_parts(shapes, changes.pop("model", model), out, **{**settings, **changes})
        return len(calls) - 9

    assert made_again() == 0
    trimesh.creation.box(extents=(3, 1, 1)).export(shapes / "0.stl")  # changed,
    (out / "1.stl.parts.ply").write_bytes(b"ply")  # damaged,
    (out / "2.stl.parts.ply").unlink()  # and gone
    assert made_again() == 3 and made_again() == 0
    for change in ({"seed": 1}, {"up": "z"}, {"object_class": "lamp"}, {"dtype": "bfloat16"}):
        predict_parts(shapes, segmenter(), out, **{**settings, **change})
        assert made_again() == 4, change
    with torch.no_grad():
        model.head[-1].bias += 1e-3
    assert made_again() == 4
    (out / "parts.json").write_text("{}")
    with pytest.raises(ValueError, match=r"parts\.json: this name is needed, but another program"):
        made_again()


def test_parts_of_files_that_are_gone_are_deleted(tmp_path: Path) -> None:
    model, out = segmenter(), tmp_path / "out"
    for name in ("in/0.stl", "in/1.stl", "in/2.stl", "away/3.stl", "in/4.stl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        trimesh.creation.box().export(tmp_path / name)
    settings: dict[str, Any] = {"object_class": "mug", "workers": 1, "progress": False}
    predict_parts([tmp_path / "in", tmp_path / "away"], model, out, **settings)
    (tmp_path / "in" / "0.stl").unlink()
    (tmp_path / "in" / "1.stl").unlink()
    (out / "in" / "1.stl.parts.ply").write_bytes(b"my own work")
    (tmp_path / "away").rename(tmp_path / "elsewhere")  # as a disk that is not there just now
    content = json.loads((out / "parts.json").read_text())
    (out.parent / "x.parts.ply").write_bytes(b"of somebody else")
    status = (out.parent / "x.parts.ply").stat()
    gone = content["clouds"]["in/0.stl.parts.ply"]
    content["clouds"]["../x.parts.ply"] = {**gone, "cloud": [status.st_size, status.st_mtime_ns]}
    (out / "parts.json").write_text(json.dumps(content))
    again = predict_parts([tmp_path / "in" / "2.stl", tmp_path / "in" / "4.stl"], model, out, **settings)
    assert again.removed == [out / "in" / "0.stl.parts.ply"] and not again.removed[0].exists()
    assert (out / "in" / "1.stl.parts.ply").read_bytes() == b"my own work"
    assert (out / "away" / "3.stl.parts.ply").exists() and (out.parent / "x.parts.ply").exists()
    assert "in/0.stl.parts.ply" not in json.loads((out / "parts.json").read_text())["clouds"]


def test_a_name_without_room_for_an_ending_is_a_failure(tmp_path: Path) -> None:
    long = tmp_path / ("a" * 250 + ".stl")
    trimesh.creation.box().export(long)
    trimesh.creation.box().export(tmp_path / "b.stl")
    found = predict_parts(
        [long, tmp_path / "b.stl"],
        segmenter(),
        tmp_path / "out",
        object_class="mug",
        workers=1,
        progress=False,
    )
    assert list(found.written) == [str(tmp_path / "b.stl")]
    assert found.failures == [(str(long), "its name is too long to add '.parts.ply': shorten it")]


def test_a_ply_names_its_parts(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    parts = np.array([0, 2, 2, 0, 2])
    write_coloured(tmp_path / "c.ply", points, parts, part_colours(3), ["leg", "seat", "back\nrest \u00e9"])
    header = (tmp_path / "c.ply").read_bytes().split(b"end_header")[0].decode("ascii").splitlines()
    assert [line for line in header if line.startswith("comment")] == [
        "comment part 0 leg",
        "comment part 2 back rest \\xe9",
    ]
    np.testing.assert_array_equal(read_points(tmp_path / "c.ply"), points)


def test_kept_points_are_those_of_a_call() -> None:
    plain = Preprocess(20, 256, center="none", scale="none")
    for count in (7, 300):
        cloud = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
        np.testing.assert_array_equal(cloud[plain.kept(cloud)], plain(cloud).numpy())
    with pytest.raises(ValueError, match="at least two different points"):
        plain.kept(np.zeros((5, 3)))


def test_a_glb_shows_each_point_in_its_colour(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points, parts = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 3, 50)
    colours = part_colours(3)
    write_coloured(tmp_path / "c.glb", points, parts, colours, ["a", "b", "c"])
    mesh = trimesh.load(tmp_path / "c.glb", force="mesh", process=False)
    assert len(mesh.faces) == 200
    corners = np.asarray(mesh.vertices).reshape(50, 4, 3)
    np.testing.assert_allclose(corners.mean(1), points, atol=1e-5)
    outwards = mesh.face_normals.reshape(50, 4, 3)
    middles = np.asarray(mesh.triangles_center).reshape(50, 4, 3) - points[:, None]
    assert ((outwards * middles).sum(-1) > 0).all()
    seen, numbers = attributes(tmp_path / "c.glb")
    np.testing.assert_array_equal(numbers, np.repeat(parts, 4))
    linear = ((colours / 255 + 0.055) / 1.055) ** 2.4  # of glTF's vertex colours, for all but the darkest
    bright = colours > 10
    np.testing.assert_allclose(
        np.where(bright, linear, 0)[np.repeat(parts, 4)],
        np.where(bright[np.repeat(parts, 4)], seen[:, :3] / 255, 0),
        atol=0.003,
    )


def attributes(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Colours (V, 4) and part numbers (V,) of a GLB, by the layout in glTF's specification."""
    content = path.read_bytes()
    length = int.from_bytes(content[12:16], "little")
    header, data = json.loads(content[20 : 20 + length]), content[28 + length :]
    assert len(content) == int.from_bytes(content[8:12], "little")
    named = header["meshes"][0]["primitives"][0]["attributes"]

    def values(name: str, kind: str, width: int) -> np.ndarray:
        accessor = header["accessors"][named[name]]
        view = header["bufferViews"][accessor["bufferView"]]
        piece = data[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        return np.frombuffer(piece, kind).reshape(accessor["count"], width)

    return values("COLOR_0", "u1", 4), values("_PART", "<f4", 1)[:, 0]


def test_colours_differ() -> None:
    colours = part_colours(50).astype(int)
    assert len({tuple(colour) for colour in colours}) == 50
    few = part_colours(6).astype(float)
    apart = np.linalg.norm(few[:, None] - few[None], axis=-1) + 1e9 * np.eye(6)
    assert apart.min() > 60


def test_whose_parts_they_are(tmp_path: Path) -> None:
    by_name = Objects.of(segmenter().config, "m")
    assert by_name.classes == ("lamp", "mug") and by_name.parts == ([0, 1], [2, 3, 4])
    noted = segmenter(labels=None)
    noted.config.provenance.update(object_classes=["x", "y"], parts=[[0, 4], [4, 5]])
    assert Objects.of(noted.config, "m").parts == ([0, 1, 2, 3], [4])
    assert Objects.of(noted.config, "m").number("y") == Objects.of(noted.config, "m").number(1) == 1
    nothing = Objects.of(segmenter(labels=None).config, "m")
    assert nothing.classes == ("0", "1") and nothing.parts[1] == [0, 1, 2, 3, 4]
    assert nothing.number("1") == 1


def test_the_commands(model: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pointmae_zoo.save_pretrained(model, tmp_path / "classifier")
    pointmae_zoo.save_pretrained(segmenter(), tmp_path / "segmenter")
    command = ["predict", str(folder), "--workers", "1", "--model"]
    assert main([*command, str(tmp_path / "classifier"), "--out", str(tmp_path / "t.csv"), "--top", "1"]) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3 and "1 of 4 files failed:" in said.err
    assert len(said.out.splitlines()[0].split()) == 3 and "in place of" not in said.err
    assert main([*command, str(tmp_path / "classifier"), "--out", str(tmp_path / "t.csv")]) == 1
    assert f"{tmp_path / 't.csv'}: 3 files, in place of the file that was there" in capsys.readouterr().err
    parts = [str(tmp_path / "segmenter"), "--parts-out", str(tmp_path / "p"), "--parts-format", "glb"]
    assert main([*command, *parts, "--class", "lamp"]) == 1
    said = capsys.readouterr()
    assert len(list((tmp_path / "p").rglob("*.glb"))) == 3
    legend = said.out.split("colours:\n")[1].split()
    assert {word for word in legend if "/" in word} <= {"lamp/foot", "lamp/shade"}
    (tmp_path / "segmenter" / "model.safetensors").write_bytes(b"")  # not read before the class is known
    for given, said in (
        (["--class", "lmap"], "--class: the model knows no 'lmap'; did you mean 'lamp'?"),
        ([], "--class: missing; choose from lamp, mug"),
    ):
        assert main([*command, *parts, *given]) == 2
        assert capsys.readouterr().err == f"error: {said}\n"
    for wrong in (
        parts,
        ["none"],
        [str(tmp_path / "segmenter")],
        [str(tmp_path / "classifier"), "--class", "lamp"],
        [*parts, "--class", "lamp", "--top", "2"],
    ):
        assert main([*command, *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1
