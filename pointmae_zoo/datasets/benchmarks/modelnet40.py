"""ModelNet40 in the two layouts in which it is distributed as points.

modelnet40_ply_hdf5_2048/           9,840 + 2,468 clouds of 2,048 points
    ply_data_train0.h5 ..., ply_data_test0.h5 ...
    train_files.txt, test_files.txt, shape_names.txt
modelnet40_normal_resampled/        9,843 + 2,468 clouds of 10,000 points with normals
    airplane/airplane_0001.txt ...
    modelnet40_train.txt, modelnet40_test.txt, modelnet40_shape_names.txt
"""

from pathlib import Path

import numpy as np

from pointmae_zoo.datasets.benchmarks.benchmark import (
    Benchmark,
    Hdf5Clouds,
    check_files,
    check_split,
    locate,
    read_list,
)
from pointmae_zoo.shapes.read import read_geometry

NAME = "modelnet40"
SOURCE = "get it with: pointmae-zoo download modelnet40 --to FOLDER"

_HDF5, _TEXT = "modelnet40_ply_hdf5_2048", "modelnet40_normal_resampled"
_TEXT_MARK = "modelnet40_shape_names.txt"


def recognise(folder: Path) -> bool:
    """Whether this folder is one of the two layouts."""
    return (folder / _TEXT_MARK).exists() or any(folder.glob("ply_data_*.h5"))


def read(folder: Path, split: str) -> Benchmark:
    """The clouds of the official ``train`` or ``test`` split, in whichever layout ``folder`` has.

    Raises:
        FileNotFoundError, ValueError: something is missing or wrong; names it.
    """
    check_split(split, ("train", "test"), NAME)
    wanted = (
        f"{_HDF5} (shape_names.txt, train_files.txt, *.h5) or {_TEXT} ({_TEXT_MARK}, modelnet40_train.txt)"
    )
    if folder.is_dir():
        for place in (folder, folder / _TEXT, folder / "ModelNet" / _TEXT):
            if (place / _TEXT_MARK).exists():
                return _read_text(place, split)
    return _read_hdf5(locate(folder, "shape_names.txt", (_HDF5,), NAME, wanted, SOURCE), split)


def _read_hdf5(root: Path, split: str) -> Benchmark:
    classes = tuple(read_list(root / "shape_names.txt", SOURCE))
    listed = root / f"{split}_files.txt"
    # They are listed as data/modelnet40_ply_hdf5_2048/ply_data_train0.h5, wherever that folder is.
    files = [root / line.replace("\\", "/").rpartition("/")[2] for line in read_list(listed, SOURCE)]
    check_files(files, listed, SOURCE)
    clouds = Hdf5Clouds(files, len(classes))
    return Benchmark(NAME, split, classes, clouds.labels, clouds.names, [listed, *files], clouds.load)


def _read_text(root: Path, split: str) -> Benchmark:
    classes = tuple(read_list(root / _TEXT_MARK, SOURCE))
    listed = root / f"modelnet40_{split}.txt"
    files, labels = [], []
    for line in read_list(listed, SOURCE):
        category, _, number = line.rpartition("_")
        if category not in classes or not number.isdigit():
            raise ValueError(
                f"{listed}: {line!r} names no class of {_TEXT_MARK}; expected such as airplane_0001"
            )
        files.append(root / category / f"{line}.txt")
        labels.append(classes.index(category))
    source = SOURCE.replace("modelnet40 ", "modelnet40_resampled ")
    if any(root.glob("*.dat")):
        source = f"the .dat files there are Python pickles, which are never read; {source}"
    check_files(files, listed, source)
    return Benchmark(
        name=NAME,
        split=split,
        classes=classes,
        labels=np.array(labels, dtype=np.int64),
        names=[str(file) for file in files],
        files=[listed, *files],
        load=lambda row: read_geometry(files[row]).points,
    )
