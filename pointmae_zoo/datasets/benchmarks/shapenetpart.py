"""ShapeNetPart with normals: 16,881 clouds of 16 categories, a part label for every point.

    shapenetcore_partanno_segmentation_benchmark_v0_normal/
        02691156/1021a0914a7207aff927ed529ad90a11.txt ...       x y z nx ny nz part
        synsetoffset2category.txt                               Airplane<tab>02691156 ...
        train_test_split/shuffled_train_file_list.json, ..._val_..., ..._test_...

The number of points differs from cloud to cloud.
"""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.benchmarks.benchmark import (
    SPLITS,
    Benchmark,
    check_files,
    check_split,
    locate,
    read_list,
)

NAME = "shapenetpart"
SOURCE = "where to get it: pointmae-zoo download shapenetpart"

# Parts are numbered through all categories, in this order.
NUM_PARTS = {
    "Airplane": 4, "Bag": 2, "Cap": 2, "Car": 4, "Chair": 4, "Earphone": 3, "Guitar": 3, "Knife": 2,
    "Lamp": 4, "Laptop": 2, "Motorbike": 6, "Mug": 2, "Pistol": 3, "Rocket": 3, "Skateboard": 3, "Table": 3,
}  # fmt: skip
_FOLDER = "shapenetcore_partanno_segmentation_benchmark_v0_normal"
_MARK = "synsetoffset2category.txt"


def recognise(folder: Path) -> bool:
    """Whether this folder is one."""
    return (folder / _MARK).exists()


def read(folder: Path, split: str) -> Benchmark:
    """One split, ``train``, ``val`` or ``test``, with part labels.

    Raises:
        FileNotFoundError, ValueError: something is missing or wrong; names it.
    """
    check_split(split, SPLITS, NAME)
    wanted = f"{_FOLDER}, with {_MARK} and train_test_split/*.json"
    root = locate(folder, _MARK, (_FOLDER,), NAME, wanted, SOURCE)
    classes = tuple(NUM_PARTS)
    numbers = {}
    for line in read_list(root / _MARK, SOURCE):
        category, *rest = line.split()
        if category not in NUM_PARTS or len(rest) != 1:
            raise ValueError(f"{root / _MARK}: {line!r}; expected such as 'Airplane 02691156'")
        numbers[rest[0]] = classes.index(category)
    listed = root / "train_test_split" / f"shuffled_{split}_file_list.json"
    files, labels = [], []
    for entry in _entries(listed):
        offset, _, name = entry.removeprefix("shape_data/").partition("/")
        if offset not in numbers or not name or "/" in name:
            raise ValueError(f"{listed}: {entry!r}; expected such as 'shape_data/02691156/1021a091'")
        files.append(root / offset / f"{name}.txt")
        labels.append(numbers[offset])
    check_files(files, listed, SOURCE)
    ends = np.cumsum(list(NUM_PARTS.values())).tolist()
    return Benchmark(
        name=NAME,
        split=split,
        classes=classes,
        labels=np.array(labels, dtype=np.int64),
        names=[str(file) for file in files],
        files=[listed, *files],
        load=lambda row: _table(files[row])[:, :3],
        same_size=False,
        load_parts=lambda row: _parts(files[row]),
        parts=tuple(range(end - size, end) for end, size in zip(ends, NUM_PARTS.values(), strict=True)),
        splits=SPLITS,
    )


def _entries(listed: Path) -> list[str]:
    if not listed.is_file():
        raise FileNotFoundError(f"{listed}: missing; {SOURCE}")
    try:
        entries = json.loads(listed.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{listed}: is not JSON ({error}); get it again") from error
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, str) for entry in entries):
        raise ValueError(f"{listed}: expected a list of names, and not an empty one")
    return entries


def _table(file: Path) -> NDArray[np.float64]:
    """(N, 7): x y z nx ny nz part."""
    stat = file.stat()
    return _parsed(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)  # the points are asked for, and then the parts
def _parsed(file: Path, time: int, size: int) -> NDArray[np.float64]:
    try:
        rows = np.loadtxt(file, dtype=np.float64, ndmin=2)
    except ValueError as error:
        said = " ".join(str(error).split())[:120]
        raise ValueError(f"{file}: is not a table of numbers ({said}); get it again") from error
    if rows.shape[0] < 2 or rows.shape[1] != 7:
        raise ValueError(f"{file}: has shape {rows.shape}, expected rows of x y z nx ny nz part")
    return rows


def _parts(file: Path) -> NDArray[np.int64]:
    stored = _table(file)[:, 6]
    if not np.array_equal(stored, np.round(stored)):
        raise ValueError(f"{file}: the last column is not of whole numbers, expected parts")
    return stored.astype(np.int64)
