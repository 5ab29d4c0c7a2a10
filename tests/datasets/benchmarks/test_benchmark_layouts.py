"""Readers of benchmarks, on small folders in their real layouts, written by hand, and on the real samples."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo.datasets.benchmarks import NAMES, open_benchmark, recognise, split_entry
from pointmae_zoo.datasets.benchmarks.shapenet55 import CATEGORIES
from pointmae_zoo.datasets.sources import open_sources
from samples.benchmarks import (
    BUILDERS,
    EVERY,
    clouds,
    modelnet40_h5,
    modelnet40_text,
    scanobjectnn,
    shapenet55,
    shapenetpart,
)

h5py = pytest.importorskip("h5py")


def test_there_is_a_layout_for_each() -> None:
    assert set(BUILDERS) == set(NAMES) and len(CATEGORIES) == 55


# What is read


def test_entries_are_split_after_a_benchmarks_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert split_entry("modelnet40:a/b") == ("modelnet40", Path("a/b"))
    assert split_entry("modelnet40:~/b:c") == ("modelnet40", Path("/home/somebody/b:c"))
    assert split_entry("~/modelnet40") == (None, Path("/home/somebody/modelnet40"))
    for path in ("runs/12:30/clouds.npz", "C:/clouds.npz", "other:clouds.npz", "modelnet40"):
        assert split_entry(path) == split_entry(Path(path)) == (None, Path(path))
    with pytest.raises(ValueError, match="'modelnet40:' has no path; expected modelnet40:FOLDER"):
        split_entry("modelnet40:")


def test_shapenet55(tmp_path: Path) -> None:
    folder = shapenet55(tmp_path)
    train = open_benchmark("shapenet55", folder, split="train")
    assert [train.classes[label] for label in train.labels] == ["airplane", "airplane", "chair", "airplane"]
    assert train.names[2] == str(folder / "shapenet_pc" / "03001627-c3.npy")
    for row in range(4):
        np.testing.assert_array_equal(train.points(row), clouds(4, 128, 0)[row])
    test = open_benchmark("shapenet55", folder, split="test")
    np.testing.assert_array_equal(test.points(1), clouds(2, 128, 1)[1])


def test_modelnet40_in_hdf5(tmp_path: Path) -> None:
    train = open_benchmark("modelnet40", modelnet40_h5(tmp_path), split="train")
    np.testing.assert_array_equal(train.labels, [0, 1, 2, 3, 4, 1, 2, 3])
    assert train.classes[39] == "class39"
    for row in (6, 0, 4, 7):  # in any order, over the files
        expected = clouds(5, 128, 0)[row] if row < 5 else clouds(3, 128, 1)[row - 5]
        np.testing.assert_array_equal(train.points(row), expected)
    assert train.names[6].endswith("ply_data_train1.h5, row 1")
    assert len(open_benchmark("modelnet40", tmp_path, split="test")) == 2


def test_modelnet40_in_text(tmp_path: Path) -> None:
    train = open_benchmark("modelnet40", modelnet40_text(tmp_path), split="train")
    assert [train.classes[label] for label in train.labels] == ["airplane", "night_stand", "airplane"]
    np.testing.assert_allclose(train.points(1), clouds(3, 128, 0)[1], atol=1e-6)
    assert open_benchmark("modelnet40", tmp_path, split="test").labels.tolist() == [1]


def test_scanobjectnn_and_its_variants(tmp_path: Path) -> None:
    folder = scanobjectnn(tmp_path)
    hardest = open_benchmark("scanobjectnn", folder, split="train")
    assert [hardest.classes[label] for label in hardest.labels] == [
        "bag",
        "box",
        "chair",
        "display",
        "shelf",
        "bed",
    ]
    np.testing.assert_array_equal(hardest.points(5), clouds(6, 128, 6)[5])
    for place, count in (("main_split", 4), ("main_split_nobg", 3)):
        file = folder / place / "training_objectdataset.h5"
        assert len(open_benchmark("scanobjectnn", file, split="train")) == count
        assert (
            open_benchmark("scanobjectnn", file, split="test")
            .names[0]
            .endswith(f"{place}/test_objectdataset.h5, row 0")
        )
    with pytest.raises(ValueError, match="expected a training file"):
        open_benchmark("scanobjectnn", folder / "main_split" / "test_objectdataset.h5", split="train")


def test_shapenetpart(tmp_path: Path) -> None:
    folder = shapenetpart(tmp_path)
    train = open_benchmark("shapenetpart", folder, split="train")
    assert [train.classes[label] for label in train.labels] == ["Motorbike", "Table", "Table"]
    np.testing.assert_allclose(train.points(1), clouds(1, 80)[0], atol=1e-6)
    np.testing.assert_array_equal(train.part_labels(1), 47 + np.arange(80) % 3)
    # The numbers that publications give, by category.
    parts = dict(zip(train.classes, train.parts, strict=True))
    assert parts["Airplane"] == range(0, 4) and parts["Table"] == range(47, 50)
    assert parts["Lamp"] == range(24, 28) and parts["Motorbike"] == range(30, 36)
    assert [len(open_benchmark("shapenetpart", tmp_path, split=split)) for split in ("val", "test")] == [1, 1]


@pytest.mark.parametrize(("name", "build"), EVERY)
def test_only_the_training_split_is_a_source(
    tmp_path: Path, name: str, build: Callable[[Path], Path]
) -> None:
    folder = build(tmp_path / "data")
    train = open_benchmark(name, folder, split="train")
    count = min(len(train.points(row)) for row in range(len(train)))
    source = open_sources([f"{name}:{folder}"], count, cache=tmp_path / "cache")
    assert list(source.names) == train.names
    for row, points in enumerate(source.read(np.arange(len(source)))):
        stored = train.points(row).astype(np.float64)
        if len(stored) == count:  # all of its points, in whatever order
            stored -= stored.mean(axis=0)
            stored /= np.linalg.norm(stored, axis=1).max()
            np.testing.assert_allclose(np.sort(points, axis=0), np.sort(stored, axis=0), atol=1e-6)
    assert recognise(folder) == name
    with pytest.raises(ValueError, match=f"write {name}:"):
        open_sources([str(folder)], 40, cache=tmp_path / "cache")


def test_a_part_of_the_points_holds_each_at_most_once(tmp_path: Path) -> None:
    folder = shapenet55(tmp_path)
    ruler = np.zeros((128, 3), dtype=np.float32)
    ruler[:, 0] = np.arange(128)
    np.save(folder / "shapenet_pc" / "02691156-b2.npy", ruler)
    source = open_sources([f"shapenet55:{folder}"], 64, cache=tmp_path / "cache")
    marks = np.sort(source.read(np.array([1]))[0, :, 0].astype(np.float64))
    steps = np.diff(marks) / np.diff(marks).min()  # some two of 64 are neighbours on the ruler
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert 63 <= round(steps.sum()) <= 127


# Where people have it


@pytest.mark.parametrize(
    "given", ["ShapeNet55-34", ".", "ShapeNet55-34/shapenet_pc", "ShapeNet55-34/ShapeNet-55"]
)
def test_shapenet55_wherever_people_point(tmp_path: Path, given: str) -> None:
    shapenet55(tmp_path)
    assert len(open_benchmark("shapenet55", tmp_path / given, split="train")) == 4


def test_shapenet55_unpacked_into_a_folder_of_its_name(tmp_path: Path) -> None:
    folder = shapenet55(tmp_path)
    (folder / "shapenet_pc").rename(folder / "inner")
    (folder / "shapenet_pc").mkdir()
    (folder / "inner").rename(folder / "shapenet_pc" / "shapenet_pc")
    assert open_benchmark("shapenet55", folder, split="train").points(0).shape == (128, 3)


@pytest.mark.parametrize("given", [".", "h5_files", "h5_files/main_split"])
def test_scanobjectnn_wherever_people_point(tmp_path: Path, given: str) -> None:
    scanobjectnn(tmp_path)
    assert len(open_benchmark("scanobjectnn", tmp_path / given, split="train")) == 6


# Real files


def test_the_real_text_layout(testdata: Path, tmp_path: Path) -> None:
    """Three of the real files, in their own folders."""
    sample = testdata / "modelnet40_sample"
    folder = tmp_path / "modelnet40_normal_resampled"
    folder.mkdir()
    names = []
    for file in sorted((sample / "raw").rglob("*.txt")):
        (folder / file.parent.name).mkdir()
        (folder / file.parent.name / file.name).write_bytes(file.read_bytes())
        names.append(file.stem)
    (folder / "modelnet40_shape_names.txt").write_bytes((sample / "modelnet40_shape_names.txt").read_bytes())
    (folder / "modelnet40_train.txt").write_text("\n".join(names))
    train = open_benchmark("modelnet40", folder, split="train")
    assert len(train) == 3 and len(train.classes) == 40
    assert [train.classes[label] for label in train.labels] == ["airplane", "chair", "vase"]
    for row, name in enumerate(names):
        expected = np.genfromtxt(folder / train.classes[train.labels[row]] / f"{name}.txt", delimiter=",")
        assert expected.shape == (10_000, 6)
        np.testing.assert_allclose(train.points(row), expected[:, :3], atol=1e-6)


def test_real_hdf5_files(testdata: Path, tmp_path: Path) -> None:
    real = testdata / "h5_modelnet_layout" / "data" / "modelnet40_ply_hdf5_2048"
    folder = tmp_path / "modelnet40_ply_hdf5_2048"
    folder.mkdir()
    for file in real.glob("*.h5"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "train_files.txt").write_text("data/x/ycb_objects_train.h5\ndata/x/box.h5\n")
    (folder / "shape_names.txt").write_text("\n".join(str(number) for number in range(100)))
    train = open_benchmark("modelnet40", folder, split="train")
    with h5py.File(real / "ycb_objects_train.h5") as ycb, h5py.File(real / "box.h5") as box:
        np.testing.assert_array_equal(train.points(59), ycb["data"][59])
        np.testing.assert_array_equal(train.points(60), box["data"][0].astype(np.float32))
        np.testing.assert_array_equal(train.labels[:60], ycb["label"][:])
    source = open_sources([f"modelnet40:{folder}"], 1024, cache=tmp_path / "cache")
    assert len(source) == 61 and source.read(np.array([60, 0])).shape == (2, 1024, 3)
