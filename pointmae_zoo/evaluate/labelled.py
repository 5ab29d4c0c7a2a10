"""Labelled clouds to be evaluated on: a file with its own splits, or a benchmark's official ones."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.data.benchmarks import Benchmark, open_benchmark, split_entry
from pointmae_zoo.data.clouds import Clouds, read_clouds


class Parts(NamedTuple):
    """Train and, unless it stays untouched, test clouds of the chosen classes.

    Args:
        train, test: with as many points as may be asked for, at least ``num_points``.
        classes: names of the chosen classes.
        class_set: ``core`` or ``all``.
        name: of the data, without where it lies.
        sha256: of the file; of the points and labels that were read from a benchmark.
    """

    train: Clouds
    test: Clouds | None
    classes: list[str]
    class_set: str
    name: str
    sha256: str


def read_parts(
    data: str | Path, *, classes: str | None, split: str, num_points: int, most_points: int
) -> Parts:
    """Read what an evaluation may see.

    Args:
        data: a file of clouds, or ``modelnet40:FOLDER``, ``scanobjectnn:FOLDER``.
        classes: ``core``, ``all``, or None: core if the file names some.
        split: ``test`` reads train and test, ``validation`` train alone.
        num_points: that every cloud must have.
        most_points: that are kept of a benchmark's clouds, if they have them.

    Raises:
        ValueError: classes, a split or points are missing, or the benchmark is wrong; names what.
        FileNotFoundError: no such file or folder.
    """
    wanted = ("train", "test") if split == "test" else ("train",)
    name, path = split_entry(data)
    if name is not None:
        return _of_benchmark(name, path, classes, wanted, num_points, most_points)
    return _of_file(path, classes, wanted, num_points)


def _of_file(path: Path, classes: str | None, wanted: tuple[str, ...], num_points: int) -> Parts:
    clouds = read_clouds(path)
    if classes is None:
        classes = "core" if clouds.core_classes else "all"
    names = clouds.core_classes if classes == "core" else clouds.classes
    if not names:
        missing = "core_classes" if classes == "core" else "classes"
        raise ValueError(f"{path}: no '{missing}' array; a linear probe needs class names")
    if clouds.points.shape[1] < num_points:
        raise ValueError(
            f"{path}: {clouds.points.shape[1]} points a cloud, fewer than the {num_points} asked for"
        )
    numbers = [clouds.classes.index(one) for one in names]
    parts = []
    for needed in wanted:
        part = clouds.select((clouds.splits == needed) & np.isin(clouds.labels, numbers))
        if not len(part):
            raise ValueError(
                f"{path}: no labelled cloud of split '{needed}'; a linear probe needs train and test"
            )
        parts.append(part)
    return Parts(*_pair(parts), list(names), classes, path.name, clouds.sha256)


def _of_benchmark(
    name: str,
    folder: Path,
    classes: str | None,
    wanted: tuple[str, ...],
    num_points: int,
    most_points: int,
) -> Parts:
    if classes == "core":
        raise ValueError(f"{name}: has no core classes; use classes 'all'")
    digest, parts, called, before = hashlib.sha256(), [], "", 0
    for split in wanted:
        found = open_benchmark(name, folder, split=split)
        points = _first_points(found, num_points, most_points)
        digest.update(points.tobytes())
        digest.update(found.labels.tobytes())
        called = found.variant or folder.resolve().name
        # Nobody has published near duplicates: every cloud is a group of its own, in all splits together.
        groups = np.arange(before, before + len(found))
        before += len(found)
        parts.append(
            Clouds(
                points=points,
                labels=found.labels,
                groups=groups,
                splits=np.full(len(found), split),
                classes=found.classes,
                core_classes=(),
                sha256="",
            )
        )
    known = list(parts[0].classes)
    return Parts(*_pair(parts), known, "all", f"{name}:{called}", digest.hexdigest())


def _first_points(clouds: Benchmark, num_points: int, most_points: int) -> NDArray[np.float32]:
    """(M, n, 3) with the largest n up to ``most_points`` that all clouds have."""
    rows = []
    for row in range(len(clouds)):
        points = clouds.points(row)[:most_points]
        if len(points) < num_points:
            raise ValueError(
                f"{clouds.names[row]}: {len(points)} points, fewer than the {num_points} asked for"
            )
        rows.append(points)
    count = min(len(points) for points in rows)
    return np.stack([points[:count] for points in rows])


def _pair(parts: list[Clouds]) -> tuple[Clouds, Clouds | None]:
    return parts[0], parts[1] if len(parts) > 1 else None
