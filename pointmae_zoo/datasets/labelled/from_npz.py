"""Labelled clouds from one ``.npz`` file (``datasets.clouds`` says what is in it)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.clouds import read_clouds, read_parts
from pointmae_zoo.datasets.labelled.labelled_clouds import ClassSet, LabelledClouds, Split
from pointmae_zoo.datasets.labelled.part_labels import PartNumbers, listed_parts, part_numbers


def read_labelled_file(
    path: Path,
    split: Split,
    num_points: int,
    most_points: int,
    classes: ClassSet | None,
    with_parts: bool,
) -> LabelledClouds:
    """The clouds of one split of a file; see ``labelled.open_labelled``.

    Raises:
        ValueError: an array is missing or wrong, or the split has no cloud; names the file and the array.
    """
    if path.suffix.lower() != ".npz":
        raise ValueError(
            f"{path}: expected an .npz file with points, y, classes and split, a folder, or BENCHMARK:FOLDER"
        )
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
        splits=tuple(sorted(set(clouds.splits[labels >= 0].tolist()) - {""})),
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
