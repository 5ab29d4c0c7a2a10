"""Labelled clouds from a folder of one's own: which file is of which class and split, and what is wrong."""

import csv
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo.datasets.labelled import LabelledClouds, open_labelled
from pointmae_zoo.datasets.labelled.folder_layout import Listing, list_labelled
from pointmae_zoo.shapes.read import read_points
from pointmae_zoo.shapes.suffixes import SUPPORTED_SUFFIXES

OFF = "OFF\n4 4 0\n0 0 0\n1 0 0\n0 {height} 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n"


def mesh(path: Path, height: float = 1.0) -> Path:
    """A tetrahedron; another height, another file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OFF.format(height=height), encoding="utf-8")
    return path


def meshes(folder: Path, places: Iterable[str]) -> Path:
    for number, place in enumerate(places):
        mesh(folder / place, 1 + number / 100)
    return folder


def listed(folder: Path, rows: Iterable[Iterable[str]], divider: str = ",", encoding: str = "utf-8") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", newline="", encoding=encoding) as stream:
        csv.writer(stream, delimiter=divider).writerows(rows)
    return folder


def looked_through(folder: Path) -> Listing:
    return list_labelled(folder, SUPPORTED_SUFFIXES)


def splits_of(listing: Listing) -> dict[str, str]:
    return {f"{one.label}/{one.file.name}": one.split for one in listing.files}


def opened(folder: Path, split: str = "train", **more: object) -> LabelledClouds:
    return open_labelled(folder, split, num_points=16, progress=False, **more)  # type: ignore[arg-type]


SPLIT_FILES = {"chair/a.off": "train", "chair/b.off": "test", "lamp/c.off": "train", "lamp/d.off": "val"}


def splits_above(folder: Path) -> None:
    names = {"train": "train", "test": "Test", "val": "validation"}
    meshes(folder, [f"{names[split]}/{place}" for place, split in SPLIT_FILES.items()])


def splits_below(folder: Path) -> None:
    meshes(
        folder, [f"{Path(place).parent}/{split}/{Path(place).name}" for place, split in SPLIT_FILES.items()]
    )


def splits_in_a_list(folder: Path) -> None:
    meshes(folder, [Path(place).name for place in SPLIT_FILES])
    rows = [(Path(place).name, Path(place).parent, split) for place, split in SPLIT_FILES.items()]
    listed(folder, [("file", "class", "split"), *rows])


def test_linked_folders_belong_to_a_class_and_broken_links_are_left_out(tmp_path: Path) -> None:
    meshes(tmp_path / "data", ["chair/a.off", "lamp/b.off"])
    meshes(tmp_path / "elsewhere", ["c.off", "deep/d.off"])
    chair = tmp_path / "data" / "chair"
    for name in ("more", "same"):
        (chair / name).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "deep" / "up").symlink_to(chair, target_is_directory=True)
    (chair / "gone.off").symlink_to("nowhere.off")
    found = looked_through(tmp_path / "data")
    assert [one.file.as_posix() for one in found.files] == [
        *("chair/a.off", "chair/more/c.off", "chair/more/deep/d.off", "lamp/b.off")
    ]
    assert found.left_out == ((str(chair / "gone.off"), "is no file, or a link to none"),)


@pytest.mark.parametrize("layout", [splits_above, splits_below, splits_in_a_list])
def test_every_layout_gives_the_same_classes_and_splits(layout: Callable, tmp_path: Path) -> None:
    layout(tmp_path)
    found = looked_through(tmp_path)
    assert splits_of(found) == SPLIT_FILES
    assert found.stated and found.classes == ("chair", "lamp") and not found.left_out
    train, test = opened(tmp_path), opened(tmp_path, "test")
    assert train.labels.tolist() == [0, 1] and test.labels.tolist() == [0]
    assert len(opened(tmp_path, "val")) == 1 and train.splits == ("test", "train", "val")
    assert (train.classes, train.class_set, train.name) == (("chair", "lamp"), "all", tmp_path.name)
    assert not set(train.groups.tolist()) & set(test.groups.tolist())


def test_clouds_are_the_surface_as_it_is_in_the_file(tmp_path: Path) -> None:
    folder = meshes(tmp_path, ["a/one.off", "b/sub/two.off", "a/.hidden.off", "b/.git/three.off"])
    found = opened(folder, seed=3)
    assert [Path(name).relative_to(folder).as_posix() for name in found.names] == [
        "a/one.off",
        "b/sub/two.off",
    ]
    for name, points in zip(found.names, found.points, strict=True):
        known = {tuple(point) for point in read_points(name, 8192, seed=3).tolist()}
        assert len(set(map(tuple, points.tolist())) & known) == 16


def test_fewer_points_are_the_first_of_more_and_the_hash_is_of_the_files(tmp_path: Path) -> None:
    folder = meshes(tmp_path / "own", [f"train/{place}.off" for place in ("a/one", "b/two")])
    rng = np.random.default_rng(0)
    np.save(folder / "train" / "a" / "some.npy", rng.normal(size=(100, 3)))
    np.save(folder / "train" / "b" / "many.npy", rng.normal(size=(9000, 3)))

    def read(num_points: int, **more: object) -> LabelledClouds:
        return open_labelled(folder, "train", num_points=num_points, progress=False, **more)  # type: ignore[arg-type]

    most = read(8192)
    for num_points, cache in ((16, None), (1000, tmp_path / "cache"), (90, tmp_path / "cache")):
        fewer = read(num_points, cache=cache)
        assert np.array_equal(fewer.points, most.points[:, :num_points]) and fewer.sha256 == most.sha256
    assert np.array_equal(read(16, most_points=200).points, most.points[:, :100])
    assert read(16, seed=1).sha256 == most.sha256
    (folder / "train" / "b" / "two.off").rename(folder / "train" / "b" / "another name.off")
    assert read(16).sha256 == most.sha256
    (folder / "train" / "b" / "another name.off").rename(folder / "train" / "a" / "two.off")
    assert read(16).sha256 != most.sha256


def test_a_cache_gives_the_same_and_is_used(tmp_path: Path) -> None:
    folder = meshes(tmp_path / "own", [f"train/{place}.off" for place in ("a/one", "a/two", "b/three")])
    (folder / "train" / "b" / "broken.off").write_text("OFF\n1 1 1\n")
    plain, first = opened(folder), opened(folder, cache=tmp_path / "cache")
    for found in (first, opened(folder, cache=tmp_path / "cache")):
        assert np.array_equal(found.points, plain.points) and found.sha256 == plain.sha256
        assert found.names == plain.names and found.skipped == plain.skipped
    assert len(list((tmp_path / "cache").glob("labelled-*.npy"))) == 1
    mesh(folder / "train" / "b" / "three.off", 9)
    assert opened(folder, cache=tmp_path / "cache").sha256 != plain.sha256


def test_formats_mix_and_small_clouds_are_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    mesh(folder / "a" / "one.off")
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(30, 3)).astype(np.float32)
    (folder / "b").mkdir()
    np.save(folder / "b" / "few.npy", few)
    np.savetxt(folder / "b" / "many.xyz", many)
    train = opened(tmp_path)
    found = {Path(name).name: points for name, points in zip(train.names, train.points, strict=True)}
    assert train.points.shape == (3, 16, 3) and train.labels.tolist() == [0, 1, 1]
    counts = np.unique(found["few.npy"], axis=0, return_counts=True)
    assert np.array_equal(counts[0], np.unique(few, axis=0)) and counts[1].min() >= 3
    assert len(np.unique(found["many.xyz"], axis=0)) == 16
    # As many as all have: the small cloud decides, but no fewer than asked for.
    asked = open_labelled(tmp_path, "train", num_points=4, most_points=16, progress=False)
    assert asked.points.shape == (3, 5, 3)


def test_a_fifth_is_held_out_of_each_class_and_new_files_move_few(tmp_path: Path) -> None:
    first = [f"{label}/{number}.off" for label in ("a", "b") for number in range(100)]
    before = looked_through(meshes(tmp_path, first))
    assert not before.stated
    for label in ("a", "b"):
        held_out = [name for name, split in splits_of(before).items() if split == "test" and name[0] == label]
        assert len(held_out) == 20
    after = splits_of(
        looked_through(meshes(tmp_path, [*first, *(f"a/new{number}.off" for number in range(30))]))
    )
    assert list(after.values()).count("test") == 26 + 20
    moved = [name for name, split in splits_of(before).items() if after[name] != split]
    assert len(moved) <= 6 and all(name.startswith("a/") for name in moved)
    # Wherever the folder lies, and whatever else is in it.
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere" / "a")
    alone = splits_of(looked_through(tmp_path / "elsewhere"))
    assert alone == {name: split for name, split in after.items() if name[0] == "a"}


@pytest.mark.parametrize("count", [2, 3, 7, 8, 12, 13, 36])
def test_the_share_is_right_in_small_classes_too(count: int, tmp_path: Path) -> None:
    labels = "abcde"
    files = [f"{label}/{number}.off" for label in labels for number in range(count)]
    found = splits_of(looked_through(meshes(tmp_path, files)))
    for label in labels:
        held_out = [name for name, split in found.items() if split == "test" and name[0] == label]
        assert abs(len(held_out) - 0.2 * count) <= 0.5 or len(held_out) == 1


def test_the_counts_of_a_held_out_part_are_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    meshes(tmp_path, [f"{label}/{number}.off" for label in "abc" for number in range(12)])
    open_labelled(tmp_path, "train", num_points=16)
    told = "30 train files of 36 in 3 classes (6 test, for testing 2 of each class, by a hash of names)"
    assert told in capsys.readouterr().err
    mesh(tmp_path / "d" / "alone.off", 9.0)
    open_labelled(tmp_path, "test", num_points=16)
    told = "6 test files of 37 in 4 classes (31 train, for testing 0 to 2 of each class, by a hash of names)"
    assert told in capsys.readouterr().err


def test_the_axis_that_points_up_becomes_y(tmp_path: Path) -> None:
    """Four directions up of the same shape, of an .npz and of a folder with a cache."""
    upright = mesh(tmp_path / "y" / "a" / "1.off", 2.0).read_text().splitlines()
    mesh(tmp_path / "y" / "b" / "2.off", 3.0)
    assert upright[4] == "0 2.0 0"  # a tetrahedron with its longest edge along y
    known = opened(tmp_path / "y").points
    points = {"z": "1 0 0,0 0 {h},0 -1 0", "-y": "1 0 0,0 -{h} 0,0 0 -1", "-z": "1 0 0,0 0 -{h},0 1 0"}
    for up, corners in points.items():
        for name, height in (("a/1.off", "2.0"), ("b/2.off", "3.0")):
            lines = ["OFF", "4 4 0", "0 0 0", *corners.format(h=height).split(","), *upright[-4:]]
            (tmp_path / up / name).parent.mkdir(parents=True)
            (tmp_path / up / name).write_text("\n".join(lines) + "\n")
        for _ in range(2):
            found = opened(tmp_path / up, up=up, cache=tmp_path / "cache")
            np.testing.assert_allclose(found.points, known, atol=1e-6)
    other = opened(tmp_path / "z", cache=tmp_path / "cache")  # the cache holds what is in the files
    assert not np.allclose(other.points, known, atol=0.1)
    with pytest.raises(ValueError, match=r"up: x, y, z, -x, -y or -z expected, got 'Z'"):
        opened(tmp_path / "y", up="Z")


def test_small_classes_are_in_train_first_and_then_in_test(tmp_path: Path) -> None:
    found = splits_of(
        looked_through(meshes(tmp_path, [f"c{n}/{k}.off" for n in range(1, 6) for k in range(n)]))
    )
    for count in range(1, 6):
        splits = [split for name, split in found.items() if name.startswith(f"c{count}/")]
        assert splits.count("train") >= 1
        assert (splits.count("test") >= 1) == (count > 1)


def test_the_same_bytes_under_another_name_stay_together(tmp_path: Path) -> None:
    folder = meshes(tmp_path, [f"{label}/{number}.off" for label in "ab" for number in range(30)])
    for file in list((folder / "a").iterdir()):
        shutil.copy(file, file.with_name(f"copy of {file.name}"))
    found = looked_through(folder)
    group = dict(zip((one.file.as_posix() for one in found.files), found.groups.tolist(), strict=True))
    split = {one.file.as_posix(): one.split for one in found.files}
    for number in range(30):
        assert group[f"a/{number}.off"] == group[f"a/copy of {number}.off"]
        assert split[f"a/{number}.off"] == split[f"a/copy of {number}.off"]
    assert len(set(group.values())) == 60
    assert {"train", "test"} == {one.split for one in found.files if one.label == "a"}


def test_groups_of_a_list_stay_together(tmp_path: Path) -> None:
    folder = meshes(tmp_path, [f"{number}.off" for number in range(60)])
    rows = [(f"{n}.off", "ab"[n % 2], f"scene {n // 6}" if n < 30 else "") for n in range(60)]
    found = looked_through(listed(folder, [("file", "class", "group"), *rows]))
    number = {one.file.name: row for row, one in enumerate(found.files)}
    for scene in range(5):
        together = [number[f"{n}.off"] for n in range(6 * scene, 6 * scene + 6)]
        assert len({int(found.groups[row]) for row in together}) == 1
        assert len({found.files[row].split for row in together}) == 1
    assert len(np.unique(found.groups)) == 5 + 30


def test_equal_bytes_join_the_groups_of_a_list(tmp_path: Path) -> None:
    folder = meshes(tmp_path, [f"{number}.off" for number in range(8)])
    for source, copy in ((0, 5), (1, 2), (4, 6)):  # with and without a group, of two groups, of none
        shutil.copy(folder / f"{source}.off", folder / f"{copy}.off")
    groups = ["", "x", "y", "x", "", "z", "", "y"]
    rows = [(f"{number}.off", "ab"[number % 2], group) for number, group in enumerate(groups)]
    found = looked_through(listed(folder, [("file", "class", "group"), *rows]))
    together = {
        frozenset(np.flatnonzero(found.groups == group).tolist()) for group in np.unique(found.groups)
    }
    assert together == {frozenset(one) for one in ((0, 5), (1, 2, 3, 7), (4, 6))}


@pytest.mark.parametrize("divider", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_lists_as_spreadsheets_write_them(divider: str, encoding: str, tmp_path: Path) -> None:
    folder = meshes(tmp_path, ["x/Stühle, alt.off", "b.off", "c.off"])
    rows = [("File", "note", "Class"), ("x\\Stühle, alt.off", "", "Stuhl"), (), ("b.off", "n", "Tisch")]
    found = looked_through(listed(folder, rows, divider, encoding))
    assert {one.file.as_posix(): one.label for one in found.files} == {
        "x/Stühle, alt.off": "Stuhl",
        "b.off": "Tisch",
    }


LIST_ERRORS: dict[str, tuple[list[tuple[str, ...]], str]] = {
    "no column": (
        [("file", "label"), ("a.off", "x")],
        r"no column 'class' \(its first line has file, label\)",
    ),
    "empty": ([], r"no column 'file' \(its first line has nothing\)"),
    "no rows": ([("file", "class")], "lists no files"),
    "column twice": ([("file", "class", "class"), ("a.off", "x", "y")], "'class' is there 2 times"),
    "no class": ([("file", "class"), ("a.off", "x"), ("b.off", " ")], "line 3 has no class"),
    "short line": ([("file", "class"), ("a.off",)], "line 2 has no class"),
    "unknown split": (
        [("file", "class", "split"), ("a.off", "x", "tests")],
        "line 2 has split 'tests', expected",
    ),
    "some splits": (
        [("file", "class", "split"), ("a.off", "x", "train"), ("b.off", "x", "")],
        "line 3 has no split, others have one",
    ),
    "listed twice": (
        [("file", "class"), ("a.off", "x"), ("b.off", "y"), ("./a.off", "y")],
        "a.off is listed twice, in lines 2 and 4",
    ),
    "missing files": (
        [("file", "class"), ("a.off", "x"), ("z.off", "y"), ("y.off", "y")],
        r"2 of its 3 files are not there: z.off \(line 3\), y.off \(line 4\); files are looked for below",
    ),
    "case": (
        [("file", "class"), ("b.off", "lamp"), ("a.off", "Lamp")],
        r"labels\.csv: lines 3 and 2: classes 'Lamp' and 'lamp' differ in case",
    ),
    "blanks": (
        [("file", "class"), ("a.off", "arm chair"), ("b.off", "armchair ")],
        "differ in case or blanks",
    ),
}


@pytest.mark.parametrize("case", LIST_ERRORS)
def test_what_is_wrong_with_a_list_is_said(case: str, tmp_path: Path) -> None:
    rows, said = LIST_ERRORS[case]
    meshes(tmp_path, ["a.off", "b.off"])
    with pytest.raises((ValueError, FileNotFoundError), match=said) as error:
        looked_through(listed(tmp_path, rows))
    assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)


def test_a_list_in_another_encoding(tmp_path: Path) -> None:
    meshes(tmp_path, ["a.off"])
    listed(tmp_path, [("file", "class"), ("a.off", "Stühle")], encoding="latin-1")
    with pytest.raises(ValueError, match="is not UTF-8"):
        looked_through(tmp_path)


FOLDER_ERRORS: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "no files in folders of classes; expected FOLDER/CLASS/files"),
    "no classes": (["a.off", "b.off"], "2 files that lie in no class"),
    "only other files": (["b/cloud.txt"], r"1 x \.txt; text with a point in each line is called \.xyz"),
    "split beside class": (["train/a/1.off", "lamp/1.off"], "has train beside 'lamp'"),
    "some classes with splits": (["a/train/1.off", "a/test/2.off", "b/3.off"], "'b' has not"),
    "files beside splits": (["a/train/1.off", "a/2.off"], r"has folders of splits beside '2\.off'"),
    "a split of an unknown name": (["holdout/a/1.off", "train/a/2.off"], "a folder 'holdout'; call it test"),
    "case": (["Chair/1.off", "chair/2.off"], "'Chair' and 'chair' differ in case or blanks only"),
}


@pytest.mark.parametrize("case", FOLDER_ERRORS)
def test_what_is_wrong_with_a_folder_is_said(case: str, tmp_path: Path) -> None:
    places, said = FOLDER_ERRORS[case]
    meshes(tmp_path, places)
    if case == "case" and len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this disk does not tell cases apart")
    with pytest.raises((ValueError, FileNotFoundError), match=said) as error:
        looked_through(tmp_path)
    assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)


def test_a_class_in_test_that_train_has_not(tmp_path: Path) -> None:
    meshes(tmp_path, ["train/a/1.off", "train/b/2.off", "test/a/3.off", "test/c/4.off", "test/c/5.off"])
    train = opened(tmp_path)
    assert train.classes == ("a", "b", "c") and set(train.labels) == {0, 1}
    with pytest.raises(ValueError, match=r"'c' \(2 files\) in test or val, but not in train"):
        opened(tmp_path, "test")


def test_a_folder_for_testing_alone(tmp_path: Path) -> None:
    meshes(tmp_path, ["test/a/1.off"])
    assert opened(tmp_path, "test").classes == ("a",)
    with pytest.raises(ValueError, match="no files of split 'train', only of test"):
        opened(tmp_path)


def test_what_cannot_be_asked_of_a_folder(tmp_path: Path) -> None:
    meshes(tmp_path, ["a/1.off"])
    with pytest.raises(ValueError, match="one class, 'a'; expected two or more"):
        opened(tmp_path)
    with pytest.raises(ValueError, match="no files of split 'test', only of train"):
        opened(tmp_path, "test")
    with pytest.raises(ValueError, match="nothing is for validation"):
        opened(tmp_path, "val")
    with pytest.raises(ValueError, match="no core classes"):
        opened(tmp_path, classes="core")


def test_unreadable_files_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    meshes(tmp_path, ["train/a/1.off", "train/a/2.off", "train/b/3.off", "train/loose.off"])
    (tmp_path / "train" / "b" / "broken.off").write_text("OFF\n")
    (tmp_path / "train" / "empty").mkdir()
    (tmp_path / "train" / "texts").mkdir()
    (tmp_path / "train" / "texts" / "cloud.txt").write_text("0 0 0\n")
    for name in ("wood.png", "steel.PNG", "a.mtl", ".DS_Store"):
        (tmp_path / "train" / "a" / name).write_bytes(b"")
    found = open_labelled(tmp_path, "train", num_points=16)
    reasons = {Path(name).name: reason for name, reason in found.skipped}
    assert set(reasons) == {"loose.off", "empty", "texts", "broken.off"}
    assert reasons["loose.off"] == "lies in no class"
    assert "1 x .txt; text with a point in each line is called .xyz" in reasons["texts"]
    said = capsys.readouterr().err
    assert (
        "3 train files" not in said
        and "4 train files of 4 in 2 classes (as it says)" in said
        and "1 of 4 files cannot be used" in said
        and "loose.off" in said
        and "  passed over: 2 .png, 1 " in said
    )
    assert found.classes == ("a", "b")


def test_a_class_without_any_readable_file(tmp_path: Path) -> None:
    meshes(tmp_path, ["train/a/1.off", "train/b/2.off"])
    (tmp_path / "train" / "b" / "2.off").write_text("OFF\nnonsense")
    with pytest.raises(ValueError, match=r"no training file of class 'b' can be used; .*2\.off"):
        opened(tmp_path)
    (tmp_path / "train" / "a" / "1.off").write_text("")
    with pytest.raises(ValueError, match=r"none of its 2 files can be used; .*0 bytes"):
        opened(tmp_path)


def test_a_class_whose_test_files_are_all_broken_is_told_of_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    meshes(tmp_path, ["a/train/1.off", "a/test/2.off", "b/train/3.off", "b/test/4.off", "c/train/5.off"])
    for place in ("a/test/0.off", "b/test/4.off", "b/test/5.off"):
        (tmp_path / place).write_text("OFF\nnonsense")
    (tmp_path / "c" / "test").mkdir()
    open_labelled(tmp_path, "train", num_points=16)
    lines = [line for line in capsys.readouterr().err.splitlines() if "nothing will be known" in line]
    (line,) = lines  # not a, of which another file can be read, nor c, which has none
    assert "none of the 2 test files of class 'b' can be used" in line and "test/4.off: " in line


def test_the_same_bytes_in_two_classes_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    meshes(tmp_path, [f"{label}/{number}.off" for label in "ab" for number in range(3)])
    for name in ("8.off", "9.off"):
        shutil.copy(tmp_path / "a" / "1.off", tmp_path / "b" / name)
    shutil.copy(tmp_path / "a" / "1.off", tmp_path / "a" / "9.off")
    open_labelled(tmp_path, "train", num_points=16)
    told = [line for line in capsys.readouterr().err.splitlines() if "same bytes" in line]
    assert told == [
        "  a/1.off (a) and b/8.off (b) are the same bytes in two classes, of which one must be wrong"
    ]


def test_near_duplicates_across_stated_splits_are_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    meshes(tmp_path, ["train/a/1.off", "train/b/2.off", "test/a/3.off"])
    shutil.copy(tmp_path / "train" / "a" / "1.off", tmp_path / "test" / "a" / "4.off")
    assert len(open_labelled(tmp_path, "test", num_points=16)) == 2
    assert (
        "1 test files are near duplicates of training files, such as test/a/4.off" in capsys.readouterr().err
    )


def test_a_benchmark_is_not_taken_for_a_folder_of_classes(tmp_path: Path) -> None:
    benchmarks = pytest.importorskip("samples.benchmarks")
    folder = benchmarks.modelnet40_text(tmp_path)
    with pytest.raises(ValueError, match=f"this is modelnet40, .* write modelnet40:{folder}"):
        looked_through(folder)


def test_unbalanced_classes_and_equal_names_are_fine(tmp_path: Path) -> None:
    meshes(tmp_path, ["train/a/1.off", *(f"train/b/{number}.off" for number in range(1, 9))])
    assert np.bincount(opened(tmp_path).labels).tolist() == [1, 8]
