"""Finding the files behind paths, folders and globs, each once; files that are passed over are counted."""

import glob
import os
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pointmae_zoo.shapes.suffixes import readable_suffixes, suffix_of

Identity = tuple[int, int]


@dataclass(frozen=True)
class Found:
    """The files behind some paths. Every file that was seen is in ``files`` or counted in ``passed_over``."""

    files: list[Path]
    """To be read; sorted by name, each once."""
    missing: list[tuple[str, str]]
    """(path, reason) of paths and globs that lead to nothing, and of folders that cannot be opened."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """What was passed over in folders -> how many: a suffix, "hidden", "without suffix", "broken link(s)",
    "special file(s)", "table(s) of features"."""


def find_files(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files behind paths. A file is taken whatever its suffix. Folders, searched to the bottom, and globs
    give the files that have a supported suffix (``.gz`` may follow it) and aren't hidden. Sorted by name,
    each file once.

    Raises FileNotFoundError if a path or glob leads to nothing, or a folder cannot be opened.
    """
    found = search_files(paths)
    for name, reason in found.missing:
        raise FileNotFoundError(f"{name}: {reason}")
    return found.files


def search_files(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Found:
    """The files that `find_files` gives, the paths that lead to nothing, and what was passed over.

    Linked folders are searched like others, but after them. Each folder is searched once, so links to a
    folder above do no harm. A link to a file is a file of its own.
    """
    search = _Search()
    for given in [paths] if isinstance(paths, str | os.PathLike) else paths:
        search.add(os.fspath(given))
    files = sorted(search.files.values(), key=lambda file: file.as_posix())
    passed = {key: what for key, what in search.passed.items() if key not in search.files}
    return Found(files, list(search.missing.items()), Counter(sorted(passed.values())))


class _Search:
    """A search through several paths. A file is identified by its folder's number on the disk and its
    name."""

    def __init__(self) -> None:
        self.files: dict[tuple[Identity, str], Path] = {}
        self.passed: dict[tuple[Identity, str], str] = {}
        self.missing: dict[str, str] = {}
        self._searched: set[Identity] = set()
        self._folders: dict[str, Identity] = {}

    def add(self, name: str) -> None:
        path = Path(name)
        if os.path.isdir(name):
            if not self._search(name):
                expected = " ".join(readable_suffixes())
                self.missing.setdefault(name, f"no files there with a suffix of {expected}")
        elif os.path.lexists(path):
            self.files.setdefault(self._key(path), path)
        elif glob.has_magic(name):
            self._add_glob(name)
        else:
            self.missing[name] = "no such file or folder"

    def _add_glob(self, name: str) -> None:
        there = False
        for match in _matches(name):
            path = Path(match)
            if os.path.isdir(match):
                continue
            there |= self._take(path, path.name, hidden=path.name.startswith("."))
        if not there:
            reason = f"matches no file with a suffix of {' '.join(readable_suffixes())}"
            if "[" in name:
                reason += "; [abc] stands for one of these letters, write [[] for a bracket"
            self.missing[name] = reason

    def _search(self, root: str) -> bool:
        """Search everything below a folder. Returns whether it holds a file to read, now or in an earlier
        path."""
        there = False
        here, linked = [(root, False)], list[tuple[str, bool]]()
        while here or linked:
            folder, hidden = here.pop() if here else linked.pop(0)
            try:
                identity = self._identity(folder)
                if identity in self._searched:
                    there = True
                    continue
                self._searched.add(identity)
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self.missing[folder] = (
                    f"this folder cannot be opened ({error.strerror}): check its permissions"
                )
                continue
            for entry in listed:
                out_of_sight = hidden or entry.name.startswith(".")
                if _is_folder(entry):
                    (linked if entry.is_symlink() else here).append((entry.path, out_of_sight))
                else:
                    there |= self._take(Path(entry.path), entry.name, hidden=out_of_sight)
        return there

    def _take(self, path: Path, name: str, *, hidden: bool) -> bool:
        """Add a file to those that are read or to those passed over; returns whether it is read."""
        what = _passed_over(path, name, hidden)
        key = self._key(path)
        if what is None:
            self.files.setdefault(key, path)
        else:
            self.passed.setdefault(key, what)
        return what is None

    def _key(self, path: Path) -> tuple[Identity, str]:
        return self._identity(str(path.parent)), path.name

    def _identity(self, folder: str) -> Identity:
        if folder not in self._folders:
            status = os.stat(folder)
            self._folders[folder] = (status.st_dev, status.st_ino)
        return self._folders[folder]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _passed_over(path: Path, name: str, hidden: bool) -> str | None:
    """Why a file in a folder is not read, in a word; None for one that is."""
    if hidden:
        return "hidden"
    suffix = suffix_of(name)
    if suffix in readable_suffixes():
        return "table(s) of features" if suffix == ".npz" and _is_feature_table(path) else None
    if not os.path.exists(path):
        return "broken link(s)"
    if not os.path.isfile(path):
        return "special file(s)"
    last = Path(name).suffix.lower()
    return last if 1 < len(last) <= 12 else "without suffix"


def _is_feature_table(path: Path) -> bool:
    """An .npz of features, as `embed_files` writes it, is not a shape that somebody left in the folder."""
    if not os.path.isfile(path):  # a named pipe would be waited for
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {"paths.npy", "features.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False  # read_points will say what is wrong with it


def _matches(pattern: str) -> list[str]:
    """The paths that a glob matches. Leading folders that exist under exactly this name aren't patterns, and
    ``**`` enters every folder once, whatever the links."""
    literal, left = "", list(Path(pattern).parts)
    while len(left) > 1 and os.path.isdir(os.path.join(literal, left[0])):
        literal = os.path.join(literal, left.pop(0))
    return sorted(_below(literal, left, set()))


def _below(folder: str, parts: list[str], seen: set[tuple[Identity, int]]) -> Iterable[str]:
    """Paths that match the parts of a pattern, one after the other, below a folder ("": the current one)."""
    if "**" not in parts:
        prefix = os.path.join(glob.escape(folder), "") if folder else ""
        yield from glob.glob(prefix + os.path.join(*parts)) if parts else [folder]
        return
    at = parts.index("**")
    bases = list(_below(folder, parts[:at], seen)) if at else [folder]
    rest = parts[at + 1 :] or ["*"]
    for base in bases:
        here, linked = [base], list[str]()
        while here or linked:
            place = here.pop() if here else linked.pop(0)
            try:
                status = os.stat(place or ".")
                if (known := ((status.st_dev, status.st_ino), len(rest))) in seen:
                    continue
                seen.add(known)
                with os.scandir(place or ".") as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in listed:
                if _is_folder(entry) and not entry.name.startswith("."):
                    (linked if entry.is_symlink() else here).append(os.path.join(place, entry.name))
            yield from _below(place, rest, seen)
