"""Labelled clouds from the official splits of a benchmark."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.benchmarks import Benchmark, open_benchmark
from pointmae_zoo.datasets.cloud_cache import cache_name, cached_arrays, file_stamps
from pointmae_zoo.datasets.labelled.labelled_clouds import LabelledClouds, Split, draw_indices, unnamed_parts
from pointmae_zoo.system.progress import progress_bar

# No list of near duplicates is published: every cloud is a group of its own, in all splits together.
_FIRST_GROUP = {"train": 0, "val": 1 << 40, "test": 1 << 41}

_MANY_FILES = 100  # more are worth a cache; an HDF5 benchmark has only a few

_HASHED_POINTS = 1024
"""Of each cloud, if all have one size. Evaluations read as many unless told otherwise."""


def read_labelled_benchmark(
    name: str,
    folder: Path,
    split: Split,
    num_points: int,
    most_points: int,
    *,
    with_parts: bool,
    cache: Path | None,
    seed: int,
    progress: bool,
) -> LabelledClouds:
    """The clouds of one split; see ``labelled.open_labelled``.

    Raises:
        ValueError: no such split, no parts, too few points in a cloud, or a file is wrong; names the file.
        FileNotFoundError: something is missing; names it, and says where to get it.
    """
    found = open_benchmark(name, folder, split=split)
    if with_parts and found.load_parts is None:
        raise ValueError(f"{name}: has no part labels; use shapenetpart:FOLDER or clouds of your own")
    kept = None
    if cache is not None and len(found.files) > _MANY_FILES:
        settings = {
            "files": file_stamps(found.files),
            "points": [num_points, most_points, _HASHED_POINTS],
            "parts": with_parts,
            "seed": seed,
        }
        kept = cache / cache_name(f"labelled-{name}", settings)
    arrays = cached_arrays(kept, lambda: _read(found, num_points, most_points, with_parts, seed, progress))
    points = arrays["points"]
    return LabelledClouds(
        points=points,
        labels=found.labels,
        groups=_FIRST_GROUP[split] + np.arange(len(found)),
        classes=found.classes,
        names=found.names,
        name=f"{name}:{found.variant or folder.resolve().name}",
        sha256=str(arrays["sha256"]),
        class_set="all",
        part_labels=arrays.get("part_labels"),
        parts=found.parts if with_parts else (),
        part_names=unnamed_parts(found.classes, found.parts) if with_parts else (),
        splits=found.splits,
        hashed=arrays.get("hashed", points[:, :_HASHED_POINTS]) if found.same_size else None,
    )


def _read(
    found: Benchmark, num_points: int, most_points: int, with_parts: bool, seed: int, progress: bool
) -> dict[str, NDArray]:
    """``points`` (M, N, 3) and, if asked for, ``part_labels`` (M, N); N is what all clouds have.

    ``sha256`` of what does not depend on N: the first points of clouds of one size (``hashed``, where
    ``points`` has fewer), all points of others; then the labels."""
    clouds, parts, sizes, hashed = [], [], [], []
    digest = hashlib.sha256()
    quiet = not progress or len(found.files) <= _MANY_FILES
    bar = progress_bar(range(len(found)), unit="cloud", desc=f"{found.name} {found.split}", disable=quiet)
    for row in bar:
        points = found.points(row)
        if found.same_size and len(points) < num_points:
            raise ValueError(
                f"{found.names[row]}: {len(points)} points, fewer than the {num_points} asked for"
            )
        sizes.append(len(points))
        first = points[:_HASHED_POINTS] if found.same_size else points
        digest.update(np.ascontiguousarray(first).data)
        if found.same_size and most_points < len(first):
            hashed.append(first)
        # In files of one size the points are in random order. Elsewhere they may be part by part.
        in_order = np.arange(min(len(points), most_points))
        order = in_order if found.same_size else draw_indices(len(points), most_points, seed)
        clouds.append(points[order])
        if with_parts:
            parts.append(found.part_labels(row)[order])
    count = min(most_points, max(num_points, min(sizes)))
    digest.update(found.labels.tobytes())
    arrays: dict[str, NDArray] = {"points": np.stack([points[:count] for points in clouds])}
    arrays["sha256"] = np.array(digest.hexdigest())
    if hashed:
        arrays["hashed"] = np.stack(hashed)
    if with_parts:
        arrays["part_labels"] = np.stack([numbers[:count] for numbers in parts])
    return arrays
