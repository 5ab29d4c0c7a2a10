"""Which files are found behind paths: links, loops, odd names, and counts that add up."""

import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo.shapes import file_search
from pointmae_zoo.shapes.file_search import Found, find_files, search_files
from pointmae_zoo.shapes.suffixes import SUPPORTED_SUFFIXES


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def names(found: Found, folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in found.files]


def test_search_files_goes_on_after_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "b.stl").touch()
    (tmp_path / "void").mkdir()
    given = [tmp_path / name for name in ("none.stl", "b.stl", "void", "*.blend")]
    found = search_files(given)
    assert found.files == [tmp_path / "b.stl"]
    assert [name for name, _ in found.missing] == [str(given[number]) for number in (0, 2, 3)]
    assert found.missing[0][1] == "no such file or folder"


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    for name in (
        "a.dae",
        "sub/b.DAE",
        "sub/c.fbx",
        "d.stl",
        "e.png",
        "sub/.f.dae",
        "g.blend",
        ".git/h.stl",
        "i",
    ):
        touch(tmp_path / name)
    inputs = [tmp_path, tmp_path / "sub", tmp_path / "g.blend"]  # a folder within a folder counts once
    found = search_files(inputs)
    assert names(found, tmp_path) == ["d.stl", "g.blend"]  # what is named is no longer passed over
    counts = {".dae": 2, ".fbx": 1, ".png": 1, "hidden": 2, "without suffix": 1}
    assert found.passed_over == counts
    assert len(found.files) + sum(counts.values()) == sum(len(files) for _, _, files in os.walk(tmp_path))
    assert search_files(tmp_path / "a.dae").passed_over == {}


def test_find_files(tmp_path: Path) -> None:
    for name in ("b.stl", "a/x.OBJ", "a/deep/y.npz", "a/._x.obj", "a/notes.txt", "a/x.mtl", "[1].ply"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def names(*paths: str) -> list[str]:
        return [
            file.relative_to(tmp_path).as_posix() for file in find_files([tmp_path / path for path in paths])
        ]

    everything = ["[1].ply", "a/deep/y.npz", "a/x.OBJ", "b.stl"]
    assert names("") == everything
    assert names("b.stl", "", "a", "a/x.OBJ") == everything
    assert names("a/notes.txt") == ["a/notes.txt"]  # named by hand: its reader says what is wrong with it
    assert names("[1].ply") == ["[1].ply"]
    assert names("**/*") == ["[1].ply", "a/deep/y.npz", "a/x.OBJ", "b.stl"]
    assert names("*.stl") == ["b.stl"]
    assert find_files(str(tmp_path / "b.stl")) == [tmp_path / "b.stl"]
    (tmp_path / "void").mkdir()
    for path in ("void", "*.blend", "none.stl"):
        with pytest.raises(FileNotFoundError, match=path.replace("*", r"\*")):
            names(path)
    with pytest.raises(FileNotFoundError, match=" ".join(SUPPORTED_SUFFIXES)):
        names("void")


def test_linked_folders_are_searched_once(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    touch(root / "a.stl", root / "sub" / "b.stl", other / "c.stl", other / "deep" / "d.stl")
    for place, target in {
        "0": other,  # before its second name, in every order of names
        "sub/up": root,  # to a folder above: a loop
        "sub/self": root / "sub",
        "z": other / "deep",  # is within another link
        "again": root / "sub",  # a folder that is there itself keeps its own name
    }.items():
        (root / place).symlink_to(target, target_is_directory=True)
    (other / "back").symlink_to(root, target_is_directory=True)
    assert names(search_files(root), root) == ["0/c.stl", "0/deep/d.stl", "a.stl", "sub/b.stl"]
    assert len(find_files([root / "0", root, other, root / "sub" / "up"])) == 4
    assert len(find_files(str(root / "**" / "*.stl"))) == 4
    assert names(search_files(str(root / "**")), root) == ["0/c.stl", "0/deep/d.stl", "a.stl", "sub/b.stl"]


def test_globs_enter_folders_that_link_to_each_other_once(tmp_path: Path) -> None:
    touch(tmp_path / "x.stl")
    for name in "abcdef":  # six ways at each of forty levels: glob alone never ends
        (tmp_path / name).symlink_to(tmp_path, target_is_directory=True)
    assert find_files(str(tmp_path / "**" / "*.stl")) == [tmp_path / "x.stl"]


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    touch(tmp_path / "a.stl")
    for name, target in {"gone.stl": "none", "gone": "none", "ring": "ring", "ring.obj": "ring.obj"}.items():
        (tmp_path / name).symlink_to(tmp_path / target)
    found = search_files(tmp_path)
    # What is called a shape is read, and its reader says what is wrong with it.
    assert names(found, tmp_path) == ["a.stl", "gone.stl", "ring.obj"]
    assert found.passed_over == {"broken link(s)": 2}


def test_what_is_no_file_is_counted_and_never_opened(tmp_path: Path) -> None:
    touch(tmp_path / "a.stl")
    for name in ("pipe.npz", "pipe"):
        os.mkfifo(tmp_path / name)
    short = Path("/tmp") / f"s{os.getpid()}-{time.monotonic_ns()}"  # a socket's name may have 100 letters
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(short))
        short.rename(tmp_path / "socket.txt")
    found = search_files(tmp_path)
    assert names(found, tmp_path) == ["a.stl", "pipe.npz"]
    assert found.passed_over == {"special file(s)": 2}


@pytest.mark.parametrize(
    "name", ["with\nnewline.stl", "\udcff\udc80.stl", "a" * 251 + ".stl", "-x.stl", "%d {}.stl"]
)
def test_names_of_any_kind(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    assert search_files(tmp_path).files == [tmp_path / name]
    assert search_files(tmp_path / name).files == [tmp_path / name]


def test_paths_longer_than_the_system_takes(tmp_path: Path) -> None:
    assert search_files("x" * 5000).missing == [("x" * 5000, "no such file or folder")]
    assert search_files("a\0b.stl").missing == [("a\0b.stl", "no such file or folder")]
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(20):  # a folder at the end of more than 4,096 bytes of path
            os.mkdir("d" * 250, dir_fd=here)
            inner = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(os.open("x.stl", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        touch(tmp_path / "a.stl")
        found = search_files(tmp_path)
        assert names(found, tmp_path) == ["a.stl"] and "File name too long" in found.missing[0][1]
    finally:
        os.close(here)


def test_a_folder_that_may_not_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a.stl", tmp_path / "locked" / "b.stl")
    scandir = os.scandir

    def guarded(path: str) -> object:  # root, who runs many test machines, may open everything
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(file_search.os, "scandir", guarded)
    found = search_files(tmp_path)
    assert names(found, tmp_path) == ["a.stl"]
    assert found.missing == [
        (str(tmp_path / "locked"), "this folder cannot be opened (Permission denied): check its permissions")
    ]
    with pytest.raises(FileNotFoundError, match="locked: this folder cannot be opened"):
        find_files(tmp_path)


def test_suffixes_in_any_case_and_compressed(tmp_path: Path) -> None:
    for name in ("a.STL", "b.Ply.GZ", "c.obj.gz", "d.gz", "e.tar.gz", "f.txt.gz", "g.Zip"):
        touch(tmp_path / name)
    found = search_files(tmp_path)
    assert names(found, tmp_path) == ["a.STL", "b.Ply.GZ", "c.obj.gz"]
    assert found.passed_over == {".gz": 3, ".zip": 1}


def test_tables_of_features_are_counted(tmp_path: Path) -> None:
    np.savez(tmp_path / "features.npz", paths=np.array(["a"]), features=np.ones((1, 3), np.float32))
    np.savez(tmp_path / "points.npz", points=np.ones((9, 3)))
    found = search_files(tmp_path)
    assert names(found, tmp_path) == ["points.npz"] and found.passed_over == {"table(s) of features": 1}


def test_folders_with_the_letters_of_globs_in_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("parts[1]/a.stl", "parts1/b.stl", "what?/c.stl", "x[ab]*/[1].stl", "x[ab]*/deep/2.stl"):
        touch(tmp_path / name)
    for pattern, wanted in {
        "parts[1]/*.stl": ["parts[1]/a.stl"],  # a folder of this very name is no pattern
        "parts[12]/*.stl": ["parts1/b.stl"],
        "what?/*": ["what?/c.stl"],
        "x[ab]*/**/*.stl": ["x[ab]*/[1].stl", "x[ab]*/deep/2.stl"],
        "**/deep/*.stl": ["x[ab]*/deep/2.stl"],
        "x[ab]*/**/**/*.stl": ["x[ab]*/[1].stl", "x[ab]*/deep/2.stl"],
    }.items():
        assert names(search_files(tmp_path / pattern), tmp_path) == wanted
    monkeypatch.chdir(tmp_path)
    assert find_files("**/b.stl") == [Path("parts1/b.stl")] and find_files("*/*1*.stl") == [
        Path("x[ab]*/[1].stl")
    ]
    with pytest.raises(FileNotFoundError, match=r"write \[\[\] for a bracket"):
        find_files("none[1].stl")
