"""Labelled clouds: to fine-tune on, to evaluate on, to be split.

An entry is one of

- an ``.npz`` file of clouds (``data.clouds``) with ``y``, ``classes`` and ``split``, for parts ``parts``,
- ``modelnet40:PATH``, ``scanobjectnn:PATH`` or ``shapenetpart:PATH``: the official splits of a benchmark,
- a folder of one's own files, with a folder for each class or a list of labels (``data.labelled_folder``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.data import benchmarks
from pointmae_zoo.data.clouds import read_clouds, read_parts
from pointmae_zoo.data.labelled_clouds import (
    ClassSet,
    LabelledClouds,
    Split,
    drawn,
    joint_sha256,
    sha256_of,
    unnamed_parts,
)
from pointmae_zoo.data.labelled_folder import read_labelled_folder
from pointmae_zoo.data.part_numbers import PartNumbers, listed_parts, part_numbers

__all__ = ["ClassSet", "LabelledClouds", "Split", "joint_sha256", "open_labelled"]

# Groups of benchmarks: every cloud is one of its own, in all splits together.
_FIRST_GROUP = {"train": 0, "val": 1 << 40, "test": 1 << 41}


def open_labelled(
    entry: str | Path,
    split: Split,
    *,
    num_points: int,
    most_points: int | None = None,
    classes: ClassSet | None = None,
    with_parts: bool = False,
    cache: Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> LabelledClouds:
    """Read the clouds of one split of an entry (see above).

    Every cloud gets as many points as all of them have, up to ``most_points``: the first ones where
    a file holds clouds of one size, in random order, and repeated if there are too few, where they differ.

    Args:
        entry: file, ``BENCHMARK:PATH`` or folder.
        split: which clouds.
        num_points: the fewest points that will do.
        most_points: the most to keep; ``num_points`` unless given.
        classes: the cleaner core classes, or all; None: core where the file names some.
        with_parts: also part labels, without which it is an error.
        cache: folder to keep the points of meshes in, which take time to read; without one they are read
            again whenever they are asked for.
        seed: of points on meshes, and of the choice among points.
        progress: progress bars on a terminal, and what is worth saying.

    Raises:
        ValueError: classes, a split, points, labels or parts are missing or wrong; names file and what to do.
        FileNotFoundError: no such file or folder.
        OSError: no room for a cache.
    """
    most_points = num_points if most_points is None else most_points
    if not 2 <= num_points <= most_points:
        raise ValueError(f"num_points {num_points}, most_points {most_points}: expected 2 or more, in order")
    if split not in get_args(Split):
        raise ValueError(f"split: {split!r}, expected one of {', '.join(get_args(Split))}")
    name, path = benchmarks.split_entry(entry)
    if name is not None:
        if classes == "core":
            raise ValueError(f"{name}: has no core classes; use classes 'all'")
        found = _of_benchmark(name, path, split, num_points, most_points, with_parts, seed)
    elif not path.exists():
        known = ", ".join(benchmarks.NAMES)
        raise FileNotFoundError(
            f"{entry}: no such file or folder; expected an .npz file, a folder, or BENCHMARK:FOLDER ({known})"
        )
    elif path.is_dir():
        if classes == "core":
            raise ValueError(f"{path}: a folder has no core classes; use classes 'all'")
        found = read_labelled_folder(
            path,
            split,
            num_points,
            most_points,
            with_parts=with_parts,
            cache=cache,
            seed=seed,
            progress=progress,
        )
    else:
        found = _of_file(path, split, num_points, most_points, classes, with_parts)
    return found


def _of_file(
    path: Path,
    split: Split,
    num_points: int,
    most_points: int,
    classes: ClassSet | None,
    with_parts: bool,
) -> LabelledClouds:
    clouds = read_clouds(path)
    class_set: ClassSet = classes or ("core" if clouds.core_classes else "all")
    names = clouds.core_classes if class_set == "core" else clouds.classes
    if not names:
        missing = "core_classes" if class_set == "core" else "classes"
        raise ValueError(f"{path}: no '{missing}' array; class names are needed")
    if clouds.points.shape[1] < num_points:
        raise ValueError(
            f"{path}: {clouds.points.shape[1]} points a cloud, fewer than the {num_points} asked for"
        )
    # From class number in the file to position among the chosen ones, -1 for the others.
    position = np.full(len(clouds.classes) + 1, -1, dtype=np.int64)
    position[[clouds.classes.index(name) for name in names]] = np.arange(len(names))
    labels = position[clouds.labels]
    rows = np.flatnonzero((clouds.splits == split) & (labels >= 0))
    if not len(rows):
        there = ", ".join(sorted({repr(str(one)) for one in clouds.splits if one})) or "none"
        raise ValueError(f"{path}: no labelled cloud of split '{split}' (its splits: {there})")
    _check_classes(path, split, names, labels, clouds.splits, with_parts)
    found = part_labels = None
    if with_parts:
        stored, listed = read_parts(path)
        if listed is None:
            spans = [_span(stored[labels == number]) for number in range(len(names))]
            found = part_numbers(path, names, spans, {})
        else:
            found = listed_parts(path, names, listed)
        part_labels = found.counted(stored[rows, :most_points], labels[rows])
        _check_parts(path, rows, part_labels, labels[rows], found)
    return LabelledClouds(
        points=np.ascontiguousarray(clouds.points[rows, :most_points]),
        labels=labels[rows],
        groups=clouds.groups[rows],
        classes=tuple(names),
        names=[f"{path}, row {row}" for row in rows.tolist()],
        name=path.name,
        sha256=clouds.sha256,
        class_set=class_set,
        part_labels=part_labels,
        parts=() if found is None else found.parts,
        part_names=() if found is None else found.names,
    )


def _check_classes(
    path: Path,
    split: Split,
    names: Sequence[str],
    labels: NDArray[np.int64],
    splits: NDArray[np.str_],
    with_parts: bool,
) -> None:
    """Raises ValueError for one class alone to train on, and for a class to test on that train has not."""
    trained = set(labels[splits == "train"].tolist()) - {-1}
    if split == "train" and len(trained) < 2 and not with_parts:
        raise ValueError(
            f"{path}: clouds of one class only, {names[min(trained)]!r}; expected two or more to tell apart"
        )
    if trained and (absent := set(labels[splits == split].tolist()) - trained - {-1}):
        raise ValueError(
            f"{path}: class {names[min(absent)]!r} is in {split}, but not in train, so that nothing is "
            "learned of it; add training clouds, or take it out"
        )


def _span(numbers: NDArray[np.integer]) -> tuple[int, int] | None:
    return (int(numbers.min()), int(numbers.max())) if numbers.size else None


def _check_parts(
    path: Path,
    rows: NDArray[np.int64],
    part_labels: NDArray[np.int64],
    labels: NDArray[np.int64],
    found: PartNumbers,
) -> None:
    """Raises ValueError for a part that its class does not have."""
    low = np.array([numbers.start for numbers in found.parts])[labels]
    high = np.array([numbers.stop for numbers in found.parts])[labels]
    wrong = np.flatnonzero((part_labels.min(axis=1) < low) | (part_labels.max(axis=1) >= high))
    if len(wrong):
        raise ValueError(f"{path}: cloud {rows[wrong[0]]} has parts that are not those of its class")


def _of_benchmark(
    name: str, folder: Path, split: Split, num_points: int, most_points: int, with_parts: bool, seed: int
) -> LabelledClouds:
    found = benchmarks.open_benchmark(name, folder, split=split)
    if with_parts and found.load_parts is None:
        raise ValueError(f"{name}: has no part labels; use shapenetpart:FOLDER or clouds of your own")
    clouds = [found.points(row) for row in range(len(found))]
    parts = [found.part_labels(row) for row in range(len(found))] if with_parts else None
    count = min(most_points, max(num_points, min(map(len, clouds))))
    for row, points in enumerate(clouds):
        if found.same_size:
            if len(points) < num_points:
                raise ValueError(
                    f"{found.names[row]}: {len(points)} points, fewer than the {num_points} asked for"
                )
            chosen = np.arange(count)
        else:
            chosen = drawn(len(points), count, seed)
        clouds[row] = points[chosen]
        if parts is not None:
            parts[row] = parts[row][chosen]
    stacked = np.stack(clouds)
    return LabelledClouds(
        points=stacked,
        labels=found.labels,
        groups=_FIRST_GROUP[split] + np.arange(len(found)),
        classes=found.classes,
        names=found.names,
        name=f"{name}:{found.variant or folder.resolve().name}",
        sha256=sha256_of([stacked, found.labels]),
        class_set="all",
        part_labels=None if parts is None else np.stack(parts),
        parts=found.parts if with_parts else (),
        part_names=unnamed_parts(found.classes, found.parts) if with_parts else (),
    )
