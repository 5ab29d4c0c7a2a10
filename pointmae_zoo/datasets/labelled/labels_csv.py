"""``labels.csv``: a list of files with their classes, for folders that are not sorted by class."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

NAME = "labels.csv"
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What splits may be called, in any case, in the list and as names of folders."""

_COLUMNS = ("file", "class", "split", "group")
_MOST_NAMED = 3


class Listed(NamedTuple):
    """One labelled file, relative to the folder; split and group are empty where unstated, line is where the
    list has it, 0 without one."""

    file: Path
    label: str
    split: str = ""
    group: str = ""
    line: int = 0


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
