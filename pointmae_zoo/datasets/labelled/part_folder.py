"""Point files with part labels in a folder of classes: what ``labelled_folder`` reads with parts."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.array_cache import cached_arrays
from pointmae_zoo.datasets.cloud_cache import cache_name
from pointmae_zoo.datasets.labelled.class_listing import Listing
from pointmae_zoo.datasets.labelled.labelled_clouds import drawn
from pointmae_zoo.datasets.labelled.part_files import PartPoints, read_part_points
from pointmae_zoo.datasets.labelled.part_numbers import PARTS_FILE, PartNumbers, part_numbers, read_part_names
from pointmae_zoo.datasets.sources import stamps
from pointmae_zoo.shapes.surface import MeshError
from pointmae_zoo.system.progress import progress_bar


class PartClouds(NamedTuple):
    """Clouds of one split with their parts.

    Args:
        points: (M, N, 3) float32 as stored.
        part_labels: (M, N) counted through all classes.
        numbers: of the parts, settled by the files of all splits.
        kept: (M,) which of the files asked for they are.
        skipped: the others, and why.
    """

    points: NDArray[np.float32]
    part_labels: NDArray[np.int64]
    numbers: PartNumbers
    kept: NDArray[np.int64]
    skipped: list[tuple[str, str]]


def read_part_folder(
    folder: Path,
    listing: Listing,
    rows: list[int],
    num_points: int,
    most_points: int,
    cache: Path | None,
    seed: int,
    progress: bool,
) -> PartClouds:
    """Read the files ``rows`` of a listing, and the part numbers of all: which parts a class has must not
    depend on the split.

    Every cloud gives as many points as all have, at most ``most_points``, in random order; one of fewer than
    ``num_points`` repeats them.

    Raises:
        ValueError: ``parts.yaml`` is wrong or names too few parts; none of the files can be used.
        OSError: no room for the cache.
    """
    named = read_part_names(folder / PARTS_FILE)
    files = [folder / one.file for one in listing.files]
    kept = None
    if cache is not None:
        settings = {
            "files": stamps(files),
            "labels": [one.label for one in listing.files],
            "rows": rows,
            "points": [num_points, most_points],
            "seed": seed,
        }
        kept = cache / cache_name("labelled-parts", settings)
    found = cached_arrays(kept, lambda: _read(folder, listing, rows, num_points, most_points, seed, progress))
    spans = [(low, high) if low <= high else None for low, high in found["spans"].tolist()]
    numbers = part_numbers(folder, listing.classes, spans, named)
    return PartClouds(
        points=found["points"],
        part_labels=numbers.counted(found["parts"], found["labels"]),
        numbers=numbers,
        kept=found["kept"],
        skipped=[
            (str(files[rows[position]]), reason)
            for position, reason in zip(found["skipped"].tolist(), found["reasons"].tolist(), strict=True)
        ],
    )


def _read(
    folder: Path,
    listing: Listing,
    rows: list[int],
    num_points: int,
    most_points: int,
    seed: int,
    progress: bool,
) -> dict[str, NDArray]:
    """Of the files that can be read: ``points`` (M, N, 3), ``parts`` (M, N) as in the files, ``labels`` (M,)
    and ``kept`` (M,) positions in ``rows``; positions of the others (``skipped``) with ``reasons``; ``spans``
    (classes, 2), the lowest and highest part of each class, (0, -1) without any."""
    spans: dict[str, tuple[int, int]] = {}
    found: dict[int, PartPoints] = {}
    reasons: dict[int, str] = {}
    wanted = set(rows)
    bar = progress_bar(listing.files, unit="file", desc=str(folder), disable=not progress)
    for number, one in enumerate(bar):
        try:
            cloud = read_part_points(folder / one.file)
        except MeshError as error:
            reasons[number] = error.reason
            continue
        low, high = spans.get(one.label, (int(cloud.parts[0]), int(cloud.parts[0])))
        spans[one.label] = (min(low, int(cloud.parts.min())), max(high, int(cloud.parts.max())))
        if number in wanted:
            found[number] = cloud
    skipped = [position for position, row in enumerate(rows) if row in reasons]
    kept = [position for position, row in enumerate(rows) if row in found]
    if not kept:
        first = f"{folder / listing.files[rows[0]].file}: {reasons[rows[0]]}"
        raise ValueError(f"{folder}: none of its {len(rows):,} files can be used; {first}")
    clouds = [found[rows[position]] for position in kept]
    count = min(most_points, max(num_points, min(len(cloud.points) for cloud in clouds)))
    order = [drawn(len(cloud.points), count, seed) for cloud in clouds]
    labels = [listing.classes.index(listing.files[rows[position]].label) for position in kept]
    return {
        "points": np.stack([cloud.points[chosen] for cloud, chosen in zip(clouds, order, strict=True)]),
        "parts": np.stack([cloud.parts[chosen] for cloud, chosen in zip(clouds, order, strict=True)]),
        "labels": np.array(labels, dtype=np.int64),
        "kept": np.array(kept, dtype=np.int64),
        "skipped": np.array(skipped, dtype=np.int64),
        "reasons": np.array([reasons[rows[position]] for position in skipped], dtype=np.str_),
        "spans": np.array([spans.get(name, (0, -1)) for name in listing.classes], dtype=np.int64),
    }
