"""Readers of benchmarks, on small folders in their real layouts, written by hand, and on the real samples."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo.data.benchmarks import NAMES, open_benchmark, recognise, split_entry
from pointmae_zoo.data.benchmarks.shapenet55 import CATEGORIES
from pointmae_zoo.data.sources import open_sources

h5py = pytest.importorskip("h5py")


def clouds(count: int, num_points: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, num_points, 3)).astype(np.float32)


def write_h5(path: Path, points: np.ndarray, labels: np.ndarray, **more: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as archive:
        for key, array in {"data": points, "label": labels, **more}.items():
            archive.create_dataset(key, data=array, compression="gzip")


def shapenet55(root: Path) -> Path:
    """ShapeNet55-34: three airplanes and a chair for training, one of each for testing."""
    folder = root / "ShapeNet55-34"
    (folder / "shapenet_pc").mkdir(parents=True)
    (folder / "ShapeNet-55").mkdir()
    (folder / "ShapeNet-34").mkdir()
    names = {
        "train": ["02691156-a1.npy", "02691156-b2.npy", "03001627-c3.npy", "02691156-d4.npy"],
        "test": ["02691156-e5.npy", "03001627-f6.npy"],
    }
    for seed, (split, files) in enumerate(names.items()):
        for name, points in zip(files, clouds(len(files), 128, seed), strict=True):
            np.save(folder / "shapenet_pc" / name, points)
        (folder / "ShapeNet-55" / f"{split}.txt").write_text("\n".join(files) + "\n")
    return folder


def modelnet40_h5(root: Path) -> Path:
    """Two training files and a test file, labels (M, 1) of uint8, listed as its makers did."""
    folder = root / "modelnet40_ply_hdf5_2048"
    for seed, (name, count) in enumerate((("train0", 5), ("train1", 3), ("test0", 2))):
        labels = (np.arange(count) + seed).astype(np.uint8)[:, None]
        points = clouds(count, 128, seed)
        write_h5(folder / f"ply_data_{name}.h5", points, labels, normal=points, faceId=np.zeros((count, 128)))
    for split, files in (("train", ["train0", "train1"]), ("test", ["test0"])):
        lines = [f"data/modelnet40_ply_hdf5_2048/ply_data_{name}.h5" for name in files]
        (folder / f"{split}_files.txt").write_text("\n".join(lines) + "\n")
    (folder / "shape_names.txt").write_text("\n".join(f"class{number}" for number in range(40)) + "\n")
    return folder


def modelnet40_text(root: Path) -> Path:
    folder = root / "modelnet40_normal_resampled"
    splits = {"train": ["airplane_0001", "night_stand_0002", "airplane_0003"], "test": ["night_stand_0201"]}
    for seed, (split, names) in enumerate(splits.items()):
        for name, points in zip(names, clouds(len(names), 128, seed), strict=True):
            file = folder / name.rpartition("_")[0] / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = np.concatenate([points, points[:, ::-1]], axis=1)
            file.write_text("\n".join(",".join(f"{value:.6f}" for value in row) for row in rows) + "\n")
        (folder / f"modelnet40_{split}.txt").write_text("\n".join(names) + "\n")
    (folder / "modelnet40_shape_names.txt").write_text("airplane\nnight_stand\n")
    return folder


def scanobjectnn(root: Path) -> Path:
    folder = root / "h5_files"
    for place, suffix, count in (
        ("main_split", "_augmentedrot_scale75", 6),
        ("main_split", "", 4),
        ("main_split_nobg", "", 3),
    ):
        for prefix, number in (("training", count), ("test", 2)):
            file = folder / place / f"{prefix}_objectdataset{suffix}.h5"
            write_h5(file, clouds(number, 128, count), np.arange(number) * 2, mask=np.zeros((number, 128)))
    return folder


def shapenetpart(root: Path) -> Path:
    folder = root / "shapenetcore_partanno_segmentation_benchmark_v0_normal"
    categories = (
        "Airplane 02691156|Bag 02773838|Cap 02954340|Car 02958343|Chair 03001627|Earphone 03261776|"
        "Guitar 03467517|Knife 03624134|Lamp 03636649|Laptop 03642806|Motorbike 03790512|Mug 03797390|"
        "Pistol 03948459|Rocket 04099429|Skateboard 04225987|Table 04379243"
    )
    (folder / "train_test_split").mkdir(parents=True)
    (folder / "synsetoffset2category.txt").write_text(categories.replace("|", "\n").replace(" ", "\t") + "\n")
    # Motorbikes have parts 30 to 35, tables 47 to 49.
    splits = {
        "train": [("03790512", "m1", 100, 30), ("04379243", "t1", 80, 47), ("04379243", "t2", 40, 47)],
        "val": [("04379243", "t3", 50, 47)],
        "test": [("03790512", "m2", 60, 30)],
    }
    for split, entries in splits.items():
        for offset, name, count, first in entries:
            (folder / offset).mkdir(exist_ok=True)
            part = first + np.arange(count) % 3
            rows = np.column_stack([clouds(1, count)[0], clouds(1, count)[0], part.astype(float)])
            np.savetxt(folder / offset / f"{name}.txt", rows, fmt="%.6f")
        listed = [f"shape_data/{offset}/{name}" for offset, name, _, _ in entries]
        file = folder / "train_test_split" / f"shuffled_{split}_file_list.json"
        file.write_text(json.dumps(listed))
    return folder


BUILDERS: dict[str, list[Callable[[Path], Path]]] = {
    "shapenet55": [shapenet55],
    "modelnet40": [modelnet40_h5, modelnet40_text],
    "scanobjectnn": [scanobjectnn],
    "shapenetpart": [shapenetpart],
}
EVERY = [(name, builder) for name, builders in BUILDERS.items() for builder in builders]


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


# What is wrong


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
