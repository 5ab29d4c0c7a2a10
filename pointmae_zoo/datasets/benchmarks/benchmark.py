"""What every reader of a benchmark returns, and what readers share: looking through folders, HDF5 files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Benchmark:
    """M labelled clouds of one split; the points are read one cloud at a time.

    Args:
        name: such as ``modelnet40``.
        split: ``train``, ``val`` or ``test``.
        classes: names of the classes.
        labels: (M,) int64 positions in ``classes``.
        names: the file of each cloud, and the row if the file has several.
        files: all files that the clouds come from, lists included: if none of them changes, no cloud does.
        load: row -> its points (N, 3), unchecked.
        same_size: whether all clouds have the same number of points.
        load_parts: row -> part number of each of its points (N,), or None where there are no part labels.
        parts: for each class the numbers of its parts; empty without part labels.
        variant: which one, if a benchmark has several; without the folders above it.
        splits: all splits of the benchmark.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    names: list[str]
    files: list[Path]
    load: Callable[[int], NDArray]
    same_size: bool = True
    load_parts: Callable[[int], NDArray[np.int64]] | None = None
    parts: tuple[range, ...] = ()
    variant: str = ""
    splits: tuple[str, ...] = ("train", "test")

    def __len__(self) -> int:
        return len(self.names)

    def points(self, row: int) -> NDArray[np.float32]:
        """Points (N, 3) of one cloud, as they are stored.

        Raises:
            ValueError: not of that shape, or NaN or infinity in them; names the file.
        """
        stored = self.load(row)
        if stored.ndim != 2 or stored.shape[1] != 3 or len(stored) < 2 or stored.dtype.kind not in "fiu":
            raise ValueError(
                f"{self.names[row]}: {stored.dtype} of shape {stored.shape}, expected numbers (N, 3)"
            )
        points = stored.astype(np.float32)
        if not np.isfinite(points).all():
            raise ValueError(f"{self.names[row]}: holds NaN or infinity; get the file again")
        return points

    def part_labels(self, row: int) -> NDArray[np.int64]:
        """Part number (N,) of each point of one cloud.

        Raises:
            ValueError: no part labels in this benchmark, or one that its class does not have.
        """
        if self.load_parts is None:
            raise ValueError(f"{self.name} has no part labels")
        found, allowed = self.load_parts(row), self.parts[self.labels[row]]
        if found.min() < allowed.start or found.max() >= allowed.stop:
            wrong = found.min() if found.min() < allowed.start else found.max()
            raise ValueError(
                f"{self.names[row]}: part {wrong}, expected {allowed.start} to {allowed.stop - 1} for "
                f"{self.classes[self.labels[row]]}"
            )
        return found


def locate(folder: Path, marker: str, within: Sequence[str], name: str, wanted: str, source: str) -> Path:
    """The folder that holds ``marker`` (a file or folder): ``folder``, the one above, or one of ``within``
    below it.

    Raises:
        FileNotFoundError: no such folder, or no marker there; says what was expected and where it is to be
            had.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected {wanted}; {source}")
    for place in (folder, *(folder / part for part in within), folder.parent):
        if (place / marker).exists():
            return place
    raise FileNotFoundError(f"{folder}: no {marker} there; expected {wanted}; {source}")


def read_list(path: Path, source: str) -> list[str]:
    """The lines of a text file that are not blank.

    Raises:
        FileNotFoundError: no such file; says where to get it.
        ValueError: no text, or no lines.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; {source}")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not text; expected one name a line") from error
    lines = [line for line in lines if line]
    if not lines:
        raise ValueError(f"{path}: is empty; expected one name a line; {source}")
    return lines


def check_files(files: Sequence[Path], listed_in: Path, source: str) -> None:
    """Raises FileNotFoundError if any is missing: how many, and the first."""
    # One look into each folder: asking for every file takes minutes on a network disk.
    there: dict[Path, set[str]] = {}
    missing = []
    for file in files:
        if file.parent not in there:
            here = file.parent
            there[here] = {entry.name for entry in here.iterdir()} if here.is_dir() else set()
        if file.name not in there[file.parent]:
            missing.append(file)
    if missing:
        raise FileNotFoundError(
            f"{listed_in}: {len(missing):,} of its {len(files):,} files are missing, the first is "
            f"{missing[0]}; {source}"
        )


def check_labels(labels: NDArray, num_classes: int, where: str) -> NDArray[np.int64]:
    """(M,) class numbers from an array (M,) or (M, 1).

    Raises:
        ValueError: another shape or type, or numbers that are not 0 to num_classes - 1.
    """
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.dtype.kind == "f" and np.array_equal(flat, np.round(flat)):
        flat = flat.astype(np.int64)
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise ValueError(
            f"{where}: labels are {labels.dtype} of shape {labels.shape}, expected whole numbers, one a cloud"
        )
    if flat.size and not (flat.min() >= 0 and flat.max() < num_classes):
        wrong = flat.min() if flat.min() < 0 else flat.max()
        raise ValueError(f"{where}: label {wrong}, expected 0 to {num_classes - 1}")
    return flat.astype(np.int64)


def check_split(split: str, known: Sequence[str], name: str) -> None:
    """Raises ValueError for a split that the benchmark does not have."""
    if split not in known:
        raise ValueError(f"{name} has no split {split!r}; expected {' or '.join(known)}")


class Hdf5Clouds:
    """The clouds of several files, one after another; one file at a time is held in memory.

    Raises:
        ValueError: a file is damaged, lacks an array, or they have the wrong shape; names file and array.
        ModuleNotFoundError: without h5py.
    """

    def __init__(self, files: Sequence[Path], num_classes: int) -> None:
        self.files = list(files)
        self.names: list[str] = []
        labels = []
        for file in self.files:
            with _open_hdf5(file) as archive:
                shape, found = _check_arrays(archive, file)
            labels.append(check_labels(found, num_classes, f"{file}, 'label'"))
            if len(found) != shape[0]:
                raise ValueError(f"{file}: {len(found)} labels for {shape[0]} clouds")
            self.names += [f"{file}, row {row}" for row in range(shape[0])]
        self.labels: NDArray[np.int64] = np.concatenate(labels)
        self._starts = np.cumsum([0, *(len(part) for part in labels)])
        self._held: tuple[int, NDArray] | None = None

    def load(self, row: int) -> NDArray:
        """Points (N, 3) of one cloud."""
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        if self._held is None or self._held[0] != number:
            with _open_hdf5(self.files[number]) as archive:
                try:
                    self._held = number, archive["data"][:, :, :3]
                except OSError as error:
                    raise _damaged(self.files[number], error) from error
        return self._held[1][row - self._starts[number]]


def _open_hdf5(file: Path) -> Any:
    import h5py

    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        return h5py.File(file, "r")
    except OSError as error:
        raise _damaged(file, error) from error


def _check_arrays(archive: Any, file: Path) -> tuple[tuple[int, ...], NDArray]:
    """Shape of the points, and the labels."""
    for key in ("data", "label"):
        if key not in archive or not hasattr(archive[key], "shape"):
            found = ", ".join(sorted(archive)) or "nothing"
            raise ValueError(f"{file}: no array '{key}'; it has {found}")
    shape = archive["data"].shape
    if len(shape) != 3 or shape[2] < 3 or 0 in shape:
        raise ValueError(f"{file}: 'data' has shape {shape}, expected (M, N, 3) with M and N above 0")
    try:
        return shape, archive["label"][()]
    except OSError as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: OSError) -> ValueError:
    said = " ".join(str(error).split())[:120]
    return ValueError(f"{file}: is not an HDF5 file or was cut off ({said}); get it again")
