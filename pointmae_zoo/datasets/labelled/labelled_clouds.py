"""Labelled clouds of one split, whatever they were read from, and hashes that tell which ones they are."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "val", "test"]
ClassSet = Literal["core", "all"]


@dataclass(frozen=True)
class LabelledClouds:
    """M clouds of N points of one split, and what is known of them.

    Args:
        points: (M, N, 3) float32 as stored, not normalised (``datasets.clouds.normalize_clouds`` does
            it). The first points of a cloud are a fair sample of it.
        labels: (M,) int64 positions in ``classes``.
        groups: (M,) int64; clouds of one group are near duplicates of each other, in all splits of the data
            together. A number of its own for each cloud where nobody knows.
        classes: names; of all splits, so that labels of train and test agree.
        names: M names for messages: the file, and the row if it has several clouds.
        name: of the data, without the folders above it.
        sha256: of the file; of the files' bytes and classes where it is a folder; of a benchmark's clouds and
            labels. The same however many points are read.
        class_set: ``core`` or ``all`` classes of the data.
        part_labels: (M, N) int64 part numbers, counted through all classes as ShapeNetPart's; None unless
            asked for.
        parts: for each class its part numbers; empty without part labels.
        part_names: by part number, such as ``Chair/leg``; ``Chair/0`` where nobody named them.
        skipped: files that gave no cloud, and why.
        splits: those that the data states itself; empty where it states none.
        hashed: (M, n, 3) the points that ``sha256`` is of, of a benchmark with clouds of one size.
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
    splits: tuple[str, ...] = ()
    hashed: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.points)

    def select(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "LabelledClouds":
        """The clouds of these rows, or for which a mask (M,) is true. ``sha256`` stays that of the whole,
        ``hashed`` is left out."""
        chosen = np.arange(len(self))[rows]
        return replace(
            self,
            points=self.points[chosen],
            labels=self.labels[chosen],
            groups=self.groups[chosen],
            names=[self.names[row] for row in chosen.tolist()],
            part_labels=None if self.part_labels is None else self.part_labels[chosen],
            hashed=None,
        )


def joint_sha256(splits: Sequence[LabelledClouds]) -> str:
    """One hash of several whole splits of the same data: of the file, of a benchmark's clouds and labels in
    order, or of the splits' hashes."""
    if len({clouds.sha256 for clouds in splits}) == 1:
        return splits[0].sha256
    arrays: list[NDArray] = []
    for clouds in splits:
        if clouds.hashed is None:
            return hashlib.sha256("".join(clouds.sha256 for clouds in splits).encode()).hexdigest()
        arrays += [clouds.hashed, clouds.labels]
    return sha256_of(arrays)


def sha256_of(arrays: Sequence[NDArray]) -> str:
    """A hash of the arrays' bytes, one after another."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def draw_indices(there: int, count: int, seed: int) -> NDArray[np.int64]:
    """Indices (count,) of the points to take of ``there``: in random order, repeated if there are too few."""
    return np.resize(np.random.default_rng(seed).permutation(there), count)


def part_ranges(sizes: Sequence[int]) -> tuple[range, ...]:
    """For each class its part numbers, counted through all classes. ``sizes``: how many parts each class
    has."""
    ends = np.cumsum(sizes).tolist()
    return tuple(range(end - size, end) for end, size in zip(ends, sizes, strict=True))


def unnamed_parts(classes: Sequence[str], parts: Sequence[range]) -> tuple[str, ...]:
    """``Chair/0`` and so on, for parts without names."""
    return tuple(
        f"{name}/{number}"
        for name, numbers in zip(classes, parts, strict=True)
        for number in range(len(numbers))
    )


def identity_sha256(clouds: LabelledClouds) -> str:
    """A hash of which clouds these are, in order. It depends neither on how many points of each are read, nor
    on where they lie.

    It covers each cloud's class name and near-duplicate group, and its first point if it is from an ``.npz``,
    else its file's name, because there the first point may depend on how many are drawn.
    """
    digest = hashlib.sha256()
    for label, group, name in zip(clouds.labels.tolist(), clouds.groups.tolist(), clouds.names, strict=True):
        digest.update(f"{clouds.classes[label]}\0{group}\0".encode("utf-8", "surrogateescape"))
        if not clouds.name.endswith(".npz"):
            digest.update(f"{Path(name).name}\0".encode("utf-8", "surrogateescape"))
    if clouds.name.endswith(".npz"):
        digest.update(clouds.points[:, 0].tobytes())
    return digest.hexdigest()
