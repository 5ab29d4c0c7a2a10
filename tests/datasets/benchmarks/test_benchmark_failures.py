"""Benchmarks with something missing, damaged or of another kind: it is named."""

from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo.datasets.benchmarks import NAMES, open_benchmark
from pointmae_zoo.datasets.sources import open_sources
from samples.benchmarks import (
    BUILDERS,
    clouds,
    modelnet40_text,
    scanobjectnn,
    shapenet55,
    shapenetpart,
    write_h5,
)

h5py = pytest.importorskip("h5py")


def break_it(root: Path, name: str, how: str) -> Path:
    folder = BUILDERS[name.partition("/")[0]][1 if name.endswith("/text") else 0](root)
    if how == "no list":
        for list_file in folder.rglob("*train*"):
            if list_file.suffix in (".txt", ".json"):
                list_file.unlink()
    elif how == "empty list":
        for list_file in folder.rglob("*train*"):
            if list_file.suffix in (".txt", ".json"):
                list_file.write_text("[]" if list_file.suffix == ".json" else "\n")
    elif how == "no cloud":
        wanted = {"modelnet40": "*train1.h5", "modelnet40/text": "*0003.txt", "shapenetpart": "t2.txt"}
        next(folder.rglob(wanted.get(name, "*b2.npy"))).unlink()
    return folder


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("shapenet55", "no list", r"ShapeNet-55/train\.txt: missing; get it with the links"),
        ("shapenet55", "empty list", r"ShapeNet-55/train\.txt: is empty"),
        (
            "shapenet55",
            "no cloud",
            r"train\.txt: 1 of its 4 files are missing, the first is .*02691156-b2\.npy",
        ),
        (
            "modelnet40",
            "no list",
            r"train_files\.txt: missing; get it with: pointmae-zoo download modelnet40",
        ),
        ("modelnet40", "empty list", r"train_files\.txt: is empty"),
        ("modelnet40", "no cloud", r"1 of its 2 files are missing, the first is .*ply_data_train1\.h5"),
        ("modelnet40/text", "no list", r"modelnet40_train\.txt: missing"),
        ("modelnet40/text", "no cloud", r"1 of its 3 files are missing, the first is .*airplane_0003\.txt"),
        ("shapenetpart", "no list", r"shuffled_train_file_list\.json: missing; where to get it"),
        ("shapenetpart", "empty list", r"shuffled_train_file_list\.json: expected a list of names"),
        ("shapenetpart", "no cloud", r"1 of its 3 files are missing, the first is .*t2\.txt"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, name: str, how: str, message: str) -> None:
    folder = break_it(tmp_path, name, how)
    with pytest.raises((FileNotFoundError, ValueError), match=message) as caught:
        open_benchmark(name.partition("/")[0], folder, split="train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_there(tmp_path: Path, name: str) -> None:
    for folder, message in ((tmp_path / "absent", "no such folder; expected"), (tmp_path, "there; expected")):
        with pytest.raises(FileNotFoundError, match=message) as caught:
            open_benchmark(name, folder, split="train")
        assert "get it" in str(caught.value) or "terms" in str(caught.value)
    with pytest.raises(ValueError, match="has no split 'valid'; expected train or"):
        open_benchmark(name, tmp_path, split="valid")
    with pytest.raises(ValueError, match="no benchmark 'shapenet'; known: shapenet55"):
        open_benchmark("shapenet", tmp_path, split="train")


def test_pickles_of_others_are_not_taken_for_the_clouds(tmp_path: Path) -> None:
    """What Point-BERT's users have: lists, and all clouds in a pickle."""
    folder = modelnet40_text(tmp_path)
    for file in (*folder.rglob("airplane_*.txt"), *folder.rglob("night_*.txt")):
        file.unlink()
    (folder / "modelnet40_train_8192pts_fps.dat").write_bytes(b"cos\nsystem\n")
    with pytest.raises(
        FileNotFoundError, match=r"3 of its 3 files are missing, .* Python pickles, which are"
    ):
        open_benchmark("modelnet40", folder, split="train")


def test_whole_numbers_in_another_type_are_labels(tmp_path: Path) -> None:
    file = tmp_path / "training_objectdataset.h5"
    write_h5(file, clouds(3), np.array([0.0, 14.0, 2.0]))
    assert open_benchmark("scanobjectnn", file, split="train").labels.tolist() == [0, 14, 2]


def test_a_variant_that_is_not_there(tmp_path: Path) -> None:
    folder = scanobjectnn(tmp_path)
    for file in folder.rglob("*augmentedrot*"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match="or the training file of another variant"):
        open_benchmark("scanobjectnn", folder, split="train")
    with pytest.raises(ValueError, match="name the training file of the one you mean"):
        open_benchmark("scanobjectnn", folder / "main_split_nobg", split="train")
    (folder / "main_split" / "test_objectdataset.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"main_split/test_objectdataset\.h5: no such file"):
        open_benchmark("scanobjectnn", folder / "main_split" / "training_objectdataset.h5", split="test")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points": clouds(3), "labels": np.array([0, 15, 1])}, "'label': label 15, expected 0 to 14"),
        ({"points": clouds(3), "labels": np.array([0, -1, 1])}, "'label': label -1, expected 0 to 14"),
        ({"points": clouds(3), "labels": np.array([0.5, 1, 1])}, "labels are float64 of shape"),
        ({"points": clouds(3), "labels": np.zeros((3, 2), int)}, r"labels are int64 of shape \(3, 2\)"),
        ({"points": clouds(3), "labels": np.zeros(2, int)}, "2 labels for 3 clouds"),
        ({"points": clouds(3)[:, :, :2], "labels": np.zeros(3, int)}, r"'data' has shape \(3, 64, 2\)"),
        ({"points": clouds(3)[0], "labels": np.zeros(3, int)}, r"'data' has shape \(64, 3\)"),
    ],
)
def test_wrong_hdf5_files(tmp_path: Path, arrays: dict, message: str) -> None:
    file = tmp_path / "training_objectdataset.h5"
    write_h5(file, arrays["points"], arrays["labels"])
    with pytest.raises(ValueError, match=message) as caught:
        open_benchmark("scanobjectnn", file, split="train")
    assert str(file) in str(caught.value)


def test_damaged_hdf5_files(tmp_path: Path) -> None:
    file = tmp_path / "training_objectdataset.h5"
    file.write_text("<html>not found</html>")
    with pytest.raises(ValueError, match="is not an HDF5 file or was cut off"):
        open_benchmark("scanobjectnn", file, split="train")
    with h5py.File(file, "w") as archive:
        archive["points"] = clouds(3)
    with pytest.raises(ValueError, match="no array 'data'; it has points"):
        open_benchmark("scanobjectnn", file, split="train")
    write_h5(file, clouds(50, 128), np.zeros(50, int))
    file.write_bytes(file.read_bytes()[:-20_000])
    with pytest.raises(ValueError, match="is not an HDF5 file or was cut off"):
        open_benchmark("scanobjectnn", file, split="train").points(49)


def test_wrong_clouds_are_named(tmp_path: Path) -> None:
    folder = shapenet55(tmp_path)
    file = folder / "shapenet_pc" / "02691156-b2.npy"
    train = open_benchmark("shapenet55", folder, split="train")
    broken = clouds(1, 128)[0]
    broken[3, 1] = np.nan
    for stored, message in (
        (broken, "holds NaN or infinity"),
        (clouds(1, 128), r"float32 of shape \(1, 128, 3\), expected numbers \(N, 3\)"),
        (np.zeros((5, 3), bool), "bool of shape"),
        (np.array([{"a": 1}], dtype=object), "is not an .npy file or was cut off"),
    ):
        np.save(file, stored)
        with pytest.raises(ValueError, match=message) as caught:
            train.points(1)
        assert str(file) in str(caught.value)
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"b2\.npy: is not an \.npy file or was cut off"):
        open_sources([f"shapenet55:{folder}"], 64, cache=tmp_path / "cache")


def test_too_few_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shapenet55(tmp_path)
    with pytest.raises(ValueError, match=r"a1\.npy: has 128 points, the recipe asks for 129: --set cloud_po"):
        open_sources([f"shapenet55:{folder}"], 129, cache=tmp_path / "cache")
    # Where every cloud has a number of its own, the smaller ones are left out, and said.
    parts = shapenetpart(tmp_path)
    source = open_sources([f"shapenetpart:{parts}"], 64, cache=tmp_path / "cache")
    assert [Path(name).name for name in source.names] == ["m1.txt", "t1.txt"]
    assert "t2.txt: has 40 points, the recipe asks for 64" in capsys.readouterr().err


def test_wrong_parts(tmp_path: Path) -> None:
    folder = shapenetpart(tmp_path)
    file = folder / "04379243" / "t1.txt"
    train = open_benchmark("shapenetpart", folder, split="train")
    rows = np.loadtxt(file)
    for column, message in ((46, "part 46, expected 47 to 49 for Table"), (47.5, "not of whole numbers")):
        rows[0, 6] = column
        np.savetxt(file, rows)
        with pytest.raises(ValueError, match=message):
            train.part_labels(1)
    np.savetxt(file, rows[:, :3])
    with pytest.raises(ValueError, match=r"has shape \(80, 3\), expected rows of x y z nx ny nz part"):
        train.points(1)
    file.write_text("hello\n")
    with pytest.raises(ValueError, match="is not a table of numbers"):
        train.points(1)
    with pytest.raises(ValueError, match="has no part labels"):
        open_benchmark("shapenet55", shapenet55(tmp_path), split="train").part_labels(0)


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("ShapeNet-55/train.txt", "99999999-a.npy", "'99999999-a.npy' is not the name of a cloud"),
        ("ShapeNet-55/train.txt", "02691156-../../etc.npy", "is not the name of a cloud"),
    ],
)
def test_lists_of_something_else(tmp_path: Path, file: str, line: str, message: str) -> None:
    folder = shapenet55(tmp_path)
    (folder / file).write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        open_benchmark("shapenet55", folder, split="train")
