"""Clouds and labels in HDF5 files: ``data`` (M, N, 3 or more) and ``label`` (M,) or (M, 1)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.benchmarks.layout import check_labels


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
            with _opened(file) as archive:
                shape, found = _checked(archive, file)
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
            with _opened(self.files[number]) as archive:
                try:
                    self._held = number, archive["data"][:, :, :3]
                except OSError as error:
                    raise _damaged(self.files[number], error) from error
        return self._held[1][row - self._starts[number]]


def _opened(file: Path) -> Any:
    import h5py

    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        return h5py.File(file, "r")
    except OSError as error:
        raise _damaged(file, error) from error


def _checked(archive: Any, file: Path) -> tuple[tuple[int, ...], NDArray]:
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
