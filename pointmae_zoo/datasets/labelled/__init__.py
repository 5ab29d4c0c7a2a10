"""Labelled clouds, for fine-tuning and evaluation.

An entry is one of

- an ``.npz`` file of clouds (``datasets.clouds``) with ``y``, ``classes`` and ``split``, for parts ``parts``,
- ``modelnet40:PATH``, ``scanobjectnn:PATH`` or ``shapenetpart:PATH``: the official splits of a benchmark,
- a folder of one's own files, with a folder for each class or a list of labels
  (``datasets.labelled.folder_layout``).
"""

from dataclasses import replace
from pathlib import Path
from typing import get_args

from pointmae_zoo.datasets import benchmarks
from pointmae_zoo.datasets.labelled.from_benchmark import read_labelled_benchmark
from pointmae_zoo.datasets.labelled.from_folder import read_labelled_folder
from pointmae_zoo.datasets.labelled.from_npz import read_labelled_file
from pointmae_zoo.datasets.labelled.labelled_clouds import ClassSet, LabelledClouds, Split, joint_sha256
from pointmae_zoo.shapes.up_axis import DEFAULT_UP, check_up, turn_up

__all__ = ["ClassSet", "LabelledClouds", "Split", "joint_sha256", "open_labelled"]


def open_labelled(
    entry: str | Path,
    split: Split,
    *,
    num_points: int,
    most_points: int | None = None,
    classes: ClassSet | None = None,
    with_parts: bool = False,
    cache: str | Path | None = None,
    seed: int = 0,
    up: str = DEFAULT_UP,
    progress: bool = True,
) -> LabelledClouds:
    """Read the clouds of one split of an entry (see above).

    Every cloud gets as many points as all of them have, up to ``most_points``: the first ones where
    a file holds clouds of one size, in random order, and repeated if there are too few, where they differ.
    If you ask for fewer points, you get the first ones of the larger sample (from a folder: of up to 8,192).

    Args:
        entry: file, ``BENCHMARK:PATH`` or folder.
        split: which clouds.
        num_points: the fewest points that will do.
        most_points: the most to keep; ``num_points`` unless given.
        classes: the cleaner core classes, or all; None: core if the file names some.
        with_parts: read part labels, too; it is an error if there are none.
        cache: folder to keep points in that take time to read; None: they are read again each time.
        seed: of points on meshes, and of the choice among points.
        up: what points up in the data: x, y, z, -x, -y or -z. Clouds are turned so that y does.
        progress: show progress, and print notes on the data.

    Raises:
        ValueError: classes, a split, points, labels or parts are missing or wrong; names file and what to do.
        FileNotFoundError: no such file or folder.
        OSError: no room for a cache.
    """
    check_up(up)
    most_points = num_points if most_points is None else most_points
    if not 2 <= num_points <= most_points:
        raise ValueError(f"num_points {num_points}, most_points {most_points}: expected 2 or more, in order")
    if split not in get_args(Split):
        raise ValueError(f"split: {split!r}, expected one of {', '.join(get_args(Split))}")
    found = _read(
        entry,
        split,
        num_points,
        most_points,
        classes,
        with_parts=with_parts,
        cache=None if cache is None else Path(cache),
        seed=seed,
        progress=progress,
    )
    return replace(found, points=turn_up(found.points, up, DEFAULT_UP))


def _read(
    entry: str | Path,
    split: Split,
    num_points: int,
    most_points: int,
    classes: ClassSet | None,
    *,
    with_parts: bool,
    cache: Path | None,
    seed: int,
    progress: bool,
) -> LabelledClouds:
    """The clouds as they are in the data, whatever points up."""
    name, path = benchmarks.split_entry(entry)
    if name is not None:
        if classes == "core":
            raise ValueError(f"{name}: has no core classes; use classes 'all'")
        return read_labelled_benchmark(
            name,
            path,
            split,
            num_points,
            most_points,
            with_parts=with_parts,
            cache=cache,
            seed=seed,
            progress=progress,
        )
    if not path.exists():
        known = ", ".join(benchmarks.NAMES)
        raise FileNotFoundError(
            f"{entry}: no such file or folder; expected an .npz file, a folder, or BENCHMARK:FOLDER ({known})"
        )
    if not path.is_dir():
        return read_labelled_file(path, split, num_points, most_points, classes, with_parts)
    if classes == "core":
        raise ValueError(f"{path}: a folder has no core classes; use classes 'all'")
    return read_labelled_folder(
        path,
        split,
        num_points,
        most_points,
        with_parts=with_parts,
        cache=cache,
        seed=seed,
        progress=progress,
    )
