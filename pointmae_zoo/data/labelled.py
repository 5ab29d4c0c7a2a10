"""Labelled clouds: to fine-tune on, to evaluate on, to be split.

An entry is one of

- an ``.npz`` file of clouds (``data.clouds``) with ``y``, ``classes`` and ``split``, for parts ``parts``,
- ``modelnet40:PATH``, ``scanobjectnn:PATH`` or ``shapenetpart:PATH``: the official splits of a benchmark,
- a folder of one's own files, with a folder for each class or a list of labels (``data.labelled_folder``).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.data import benchmarks
from pointmae_zoo.data.clouds import read_clouds

Split = Literal["train", "val", "test"]
ClassSet = Literal["core", "all"]

# Groups of benchmarks: every cloud is one of its own, in all splits together.
_FIRST_GROUP = {"train": 0, "val": 1 << 40, "test": 1 << 41}


@dataclass(frozen=True)
class LabelledClouds:
    """M clouds of N points of one split, and what is known of them.

    Args:
        points: (M, N, 3) float32 as stored, not normalised (``data.clouds.normalize_clouds`` does it). Any
            first part of a cloud is a fair sample of it.
        labels: (M,) int64 positions in ``classes``.
        groups: (M,) int64; clouds of one group are near duplicates of each other, in all splits of the data
            together. A number of its own for each cloud where nobody knows.
        classes: names; of all splits, so that labels of train and test agree.
        names: M names for messages: the file, and the row if it has several clouds.
        name: of the data, without where it lies.
        sha256: of the file; of points and labels where there are several.
        class_set: ``core`` or ``all`` classes of the data.
        part_labels: (M, N) int64 part numbers, counted through all classes as ShapeNetPart's; None unless
            asked for.
        parts: for each class its part numbers; empty without part labels.
        part_names: by part number, such as ``Chair/leg``; ``Chair/0`` where nobody named them.
        skipped: files that gave no cloud, and why.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    classes: tuple[str, ...]
    names: list[str]
    name: str
    sha256: str
    class_set: ClassSet
    part_labels: NDArray[np.int64] | None = None
    parts: tuple[range, ...] = ()
    part_names: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.points)

    def select(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "LabelledClouds":
        """The clouds of these rows, or for which a mask (M,) is true. ``sha256`` stays that of the whole."""
        chosen = np.arange(len(self))[rows]
        return replace(
            self,
            points=self.points[chosen],
            labels=self.labels[chosen],
            groups=self.groups[chosen],
            names=[self.names[row] for row in chosen.tolist()],
            part_labels=None if self.part_labels is None else self.part_labels[chosen],
        )


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
    else:
        found = _of_file(path, split, num_points, most_points, classes, with_parts)
    return found


def joint_sha256(parts: Sequence[LabelledClouds]) -> str:
    """One hash of several splits of the same data: of the file, or of all points and labels in order."""
    if len({part.sha256 for part in parts}) == 1:
        return parts[0].sha256
    return _sha256([array for part in parts for array in (part.points, part.labels)])


def _sha256(arrays: Sequence[NDArray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()


def _of_file(
    path: Path,
    split: Split,
    num_points: int,
    most_points: int,
    classes: ClassSet | None,
    with_parts: bool,
) -> LabelledClouds:
    clouds = read_clouds(path)
    if with_parts:
        raise ValueError(f"{path}: no array 'parts' with a part number for every point")
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
    return LabelledClouds(
        points=np.ascontiguousarray(clouds.points[rows, :most_points]),
        labels=labels[rows],
        groups=clouds.groups[rows],
        classes=tuple(names),
        names=[f"{path}, row {row}" for row in rows.tolist()],
        name=path.name,
        sha256=clouds.sha256,
        class_set=class_set,
    )


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
        sha256=_sha256([stacked, found.labels]),
        class_set="all",
        part_labels=None if parts is None else np.stack(parts),
        parts=found.parts if with_parts else (),
        part_names=part_names(found.classes, found.parts) if with_parts else (),
    )


def drawn(there: int, count: int, seed: int) -> NDArray[np.int64]:
    """Which of ``there`` points to take to have ``count``: in random order, again and again if need be."""
    return np.resize(np.random.default_rng(seed).permutation(there), count)


def part_names(classes: Sequence[str], parts: Sequence[range]) -> tuple[str, ...]:
    """``Chair/0`` and so on, for parts without names."""
    return tuple(
        f"{name}/{number}"
        for name, numbers in zip(classes, parts, strict=True)
        for number in range(len(numbers))
    )
