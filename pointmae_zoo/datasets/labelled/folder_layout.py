"""The labelled files of a folder: of which class and split each is.

    FOLDER/CLASS/files
    FOLDER/{train,val,test}/CLASS/files
    FOLDER/CLASS/{train,val,test}/files             as the meshes of ModelNet40
    FOLDER/labels.csv                               file,class[,split][,group]

Folders within a class belong to it. Where nothing says which files are for testing, a fifth of each class is
held out: those whose names have the lowest hashes, so that hardly any file moves when others are added.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets import benchmarks
from pointmae_zoo.datasets.mesh_folder import is_held_out
from pointmae_zoo.datasets.splits import test_split
from pointmae_zoo.system.files import file_sha256

LABELS_FILE = "labels.csv"
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What splits may be called, in any case, in the list and as names of folders."""

_COLUMNS = ("file", "class", "split", "group")
_MOST_NAMED = 3


_LAYOUTS = "FOLDER/CLASS/files, FOLDER/train/CLASS/files and FOLDER/test/CLASS/files, or FOLDER/labels.csv"


class Listed(NamedTuple):
    """One labelled file, relative to the folder; split and group are empty where unstated, line is where the
    list has it, 0 without one."""

    file: Path
    label: str
    split: str = ""
    group: str = ""
    line: int = 0


@dataclass(frozen=True)
class Listing:
    """The labelled files of a folder, of all splits.

    Args:
        files: sorted; every one has a split.
        groups: of each file; files of the same bytes, or that the list puts together, share one.
        classes: sorted names.
        stated: whether the folder itself says what is for testing.
        left_out: folders and files that belong to no class, and why.
        passed_over: suffix -> how many files in classes have it and are not read, such as textures; and how
            many are ``hidden``.
        doubtful: pairs of files of the same bytes that are of different classes; for each pair of classes the
            first.
    """

    files: list[Listed]
    groups: NDArray[np.int64]
    classes: tuple[str, ...]
    stated: bool
    left_out: tuple[tuple[str, str], ...]
    doubtful: tuple[tuple[Listed, Listed], ...] = ()
    passed_over: Counter[str] = field(default_factory=Counter)

    def of(self, split: str) -> list[int]:
        """Numbers of the files of one split."""
        return [number for number, one in enumerate(self.files) if one.split == split]

    def missing_in_train(self) -> dict[str, int]:
        """Classes that other splits have and train has not, with how many files."""
        there = {one.label for one in self.files if one.split == "train"}
        return dict(Counter(one.label for one in self.files if one.label not in there))


def list_labelled(folder: Path, suffixes: Collection[str]) -> Listing:
    """Look through a folder.

    Args:
        suffixes: of the files that count, such as ``.obj``.

    Raises:
        ValueError: a benchmark; splits for some classes or files only; class names that differ in case or
            blanks only; what `read_labels` finds.
        FileNotFoundError: no files, or none in a class.
    """
    if name := benchmarks.recognise(folder):
        raise ValueError(f"{folder}: this is {name}, which has its own splits; write {name}:{folder}")
    left_out: list[tuple[str, str]] = []
    passed_over = Counter[str]()
    if (folder / LABELS_FILE).is_file():
        found = read_labels(folder / LABELS_FILE)
    else:
        found = _sorted_by_class(folder, suffixes, left_out, passed_over)
    found.sort(key=lambda one: one.file.as_posix())
    classes = tuple(sorted({one.label for one in found}))
    _check_names(folder, found)
    groups, doubtful = _groups(folder, found)
    stated = any(one.split for one in found)
    if not stated:
        found = _with_test(found, groups)
    return Listing(found, groups, classes, stated, tuple(left_out), doubtful, passed_over)


def _sorted_by_class(
    folder: Path, suffixes: Collection[str], left_out: list[tuple[str, str]], passed_over: Counter[str]
) -> list[Listed]:
    folders = _folders(folder)
    named = {place.name: SPLIT_NAMES.get(place.name.lower(), "") for place in folders}
    for place in folders:
        if not named[place.name] and is_held_out(place.name):
            raise ValueError(
                f"{folder}: a folder {place.name!r}; call it test, or val, or sort it into classes"
            )
    loose = [name for name in _files(folder) if name.suffix.lower() in suffixes]
    left_out += [(str(folder / name), "lies in no class") for name in loose]
    found: list[Listed] = []
    if any(named.values()):
        if other := [name for name, split in named.items() if not split]:
            splits = ", ".join(name for name, split in named.items() if split)
            raise ValueError(
                f"{folder}: has {splits} beside {other[0]!r}; expected either splits or classes there"
            )
        for place in folders:
            left_out += [
                (str(place / name), "lies in no class")
                for name in _files(place)
                if name.suffix.lower() in suffixes
            ]
            for inner in _folders(place):
                split = named[place.name]
                found += _of_class(folder, inner, inner.name, split, suffixes, left_out, passed_over)
    else:
        for place in folders:
            found += _of_split_class(folder, place, suffixes, left_out, passed_over)
        without = next((one for one in found if not one.split), None)
        if without and any(one.split for one in found):
            raise ValueError(
                f"{folder}: some classes have folders train and test, {without.label!r} has not; "
                "expected them in every class, or in none"
            )
    if not found:
        several = f"{len(loose):,} files that lie in no class" if loose else "no files in folders of classes"
        empty = [f"; {Path(place).name}: {reason}" for place, reason in left_out if Path(place).is_dir()]
        raise FileNotFoundError(f"{folder}: {several}; expected {_LAYOUTS}{''.join(empty[:1])}")
    return found


def _of_split_class(
    folder: Path,
    place: Path,
    suffixes: Collection[str],
    left_out: list[tuple[str, str]],
    passed_over: Counter[str],
) -> list[Listed]:
    """The files of one class, which may have folders train and test."""
    inner = _folders(place)
    splits = {one.name: SPLIT_NAMES.get(one.name.lower(), "") for one in inner}
    if not any(splits.values()):
        return _of_class(folder, place, place.name, "", suffixes, left_out, passed_over)
    loose = [str(name) for name in _files(place) if name.suffix.lower() in suffixes]
    if other := [name for name, split in splits.items() if not split] + loose:
        raise ValueError(f"{place}: has folders of splits beside {other[0]!r}; expected only splits there")
    return [
        one
        for below in inner
        for one in _of_class(folder, below, place.name, splits[below.name], suffixes, left_out, passed_over)
    ]


def _of_class(
    folder: Path,
    place: Path,
    label: str,
    split: str,
    suffixes: Collection[str],
    left_out: list[tuple[str, str]],
    passed_over: Counter[str],
) -> list[Listed]:
    files, others = [], Counter[str]()
    seen = {_identity(place)}  # links may lead to a folder above, or twice to the same
    for current, below, names in os.walk(place, followlinks=True):
        listed, below[:] = sorted(name for name in below if not _hidden(name)), []
        for name in listed:
            if (identity := _identity(Path(current, name))) not in seen:
                seen.add(identity)
                below.append(name)
        for name in names:
            if _hidden(name):
                passed_over["hidden"] += 1
                continue
            if Path(name).suffix.lower() in suffixes:
                if os.path.isfile(os.path.join(current, name)):
                    files.append(Path(current, name).relative_to(folder))
                else:
                    left_out.append((os.path.join(current, name), "is no file, or a link to none"))
            else:
                others[Path(name).suffix.lower() or name] += 1
    if files:
        passed_over.update(others)
    else:
        there = ", ".join(f"{count} x {suffix}" for suffix, count in others.most_common(3))
        hint = "; text with a point in each line is called .xyz" if ".txt" in others else ""
        reason = f"no files there with a suffix of {' '.join(suffixes)}"
        left_out.append((str(place), f"{reason} (there are {there}{hint})" if there else reason))
    return [Listed(file, label, split) for file in files]


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _folders(folder: Path) -> list[Path]:
    return sorted(place for place in folder.iterdir() if place.is_dir() and not _hidden(place.name))


def _files(folder: Path) -> list[Path]:
    return sorted(
        Path(place.name) for place in folder.iterdir() if place.is_file() and not _hidden(place.name)
    )


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"  # what macOS puts into archives


def _check_names(folder: Path, files: Iterable[Listed]) -> None:
    first: dict[str, Listed] = {}
    for one in sorted(files, key=lambda one: (one.label, one.line)):
        before = first.setdefault("".join(one.label.split()).casefold(), one)
        if before.label != one.label:
            place = f"{folder / LABELS_FILE}: lines {before.line} and {one.line}" if one.line else f"{folder}"
            raise ValueError(
                f"{place}: classes {before.label!r} and {one.label!r} differ in case or blanks only; "
                "rename one, so that both are the same or really different"
            )


def _groups(folder: Path, files: list[Listed]) -> tuple[NDArray[np.int64], tuple[tuple[Listed, Listed], ...]]:
    """Files of the same bytes, or of one group in the list, are near duplicates; so is what these lead to.
    Also the first of the same bytes for each pair of classes."""
    paths = [folder / one.file for one in files]
    sizes = [path.stat().st_size for path in paths]
    often = Counter(sizes)
    first: dict[tuple[str, str], int] = {}  # file of each group of the list, and of each content
    leads = list(range(len(files)))  # to an earlier file of the same group, or to itself
    doubtful: dict[tuple[str, str], tuple[Listed, Listed]] = {}

    def root(number: int) -> int:
        while leads[number] != number:
            leads[number] = number = leads[leads[number]]
        return number

    for number, (one, path, size) in enumerate(zip(files, paths, sizes, strict=True)):
        keys = [("listed", one.group)] if one.group else []
        if often[size] > 1:
            keys.append(("bytes", file_sha256(path)))
        for key in keys:
            before = files[first.setdefault(key, number)]
            if key[0] == "bytes" and before.label != one.label:
                doubtful.setdefault((before.label, one.label), (before, one))
            low, high = sorted((root(first[key]), root(number)))
            leads[high] = low
    _, groups = np.unique([root(number) for number in range(len(files))], return_inverse=True)
    return groups.astype(np.int64), tuple(doubtful.values())


def _with_test(files: list[Listed], groups: NDArray[np.int64]) -> list[Listed]:
    """Give every file a split."""
    _, labels = np.unique([one.label for one in files], return_inverse=True)
    testing = test_split(labels, groups, [os.fsencode(one.file.as_posix()) for one in files])
    return [one._replace(split="test" if held else "train") for one, held in zip(files, testing, strict=True)]


def read_labels(path: Path) -> list[Listed]:
    """Read a list of files: columns ``file`` (relative to the list) and ``class``, and optionally ``split``
    (train, val or test) and ``group`` (any text; files of one group are near duplicates). Columns may be
    divided by commas, semicolons or tabs; others are left alone.

    Raises:
        ValueError: not UTF-8, columns or values missing, a split unknown or given for some files only, a file
            listed twice; names the line.
        FileNotFoundError: files that are not there.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: is not UTF-8 (byte {error.start}); save it as 'CSV UTF-8', with columns file,class"
        ) from error
    first = text.partition("\n")[0]
    divider = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=divider, skipinitialspace=True, strict=True)
    found: list[Listed] = []
    try:
        columns = _columns(path, next(reader, []))
        for values in reader:
            if any(value.strip() for value in values):
                found.append(_listed(path, reader.line_num, values, columns))
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num} is no line of a table ({error})") from error
    if not found:
        raise ValueError(f"{path}: lists no files; expected lines such as chairs/a.obj,chair")
    _check(path, found)
    return found


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    for name in ("file", "class"):
        if name not in names:
            there = ", ".join(name for name in names if name) or "nothing"
            raise ValueError(
                f"{path}: no column '{name}' (its first line has {there}); expected a first line file,class"
            )
    for name in _COLUMNS:
        if names.count(name) > 1:
            raise ValueError(f"{path}: column '{name}' is there {names.count(name)} times, expected once")
    return {name: names.index(name) for name in _COLUMNS if name in names}


def _listed(path: Path, line: int, values: Sequence[str], columns: dict[str, int]) -> Listed:
    def value(name: str) -> str:
        place = columns.get(name)
        return values[place] if place is not None and place < len(values) else ""

    for name in ("file", "class"):
        if not value(name).strip():
            raise ValueError(f"{path}: line {line} has no {name}; expected such as chairs/a.obj,chair")
    said = value("split").strip()
    split = SPLIT_NAMES.get(said.lower(), "")
    if said and not split:
        raise ValueError(f"{path}: line {line} has split {said!r}, expected train, val or test")
    file = Path(value("file").strip().replace("\\", "/"))
    return Listed(file, value("class"), split, value("group").strip(), line)


def _check(path: Path, found: list[Listed]) -> None:
    unstated = [one for one in found if not one.split]
    if unstated and len(unstated) < len(found):
        raise ValueError(
            f"{path}: line {unstated[0].line} has no split, others have one; give all of them one, or none"
        )
    missing = [one for one in found if not (path.parent / one.file).is_file()]
    if missing:
        named = ", ".join(f"{one.file} (line {one.line})" for one in missing[:_MOST_NAMED])
        raise FileNotFoundError(
            f"{path}: {len(missing):,} of its {len(found):,} files are not there: {named}"
            f"{' ...' if len(missing) > _MOST_NAMED else ''}; files are looked for below {path.parent}"
        )
    before: dict[Path, int] = {}
    for one in found:
        place = (path.parent / one.file).resolve()
        if place in before:
            raise ValueError(f"{path}: {one.file} is listed twice, in lines {before[place]} and {one.line}")
        before[place] = one.line
