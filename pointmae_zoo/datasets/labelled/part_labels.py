"""Part labels: files of points with a part number for each, folders of them, and how parts are numbered.

Whoever made the data may have counted parts within each class or through all classes, from 0 or from 1. Here
they are counted from 0 through all classes, as in ShapeNetPart.
"""

import codecs
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.cloud_cache import cache_name, cached_arrays, file_stamps
from pointmae_zoo.datasets.labelled.folder_layout import Listing
from pointmae_zoo.datasets.labelled.labelled_clouds import draw_indices, part_ranges, unnamed_parts
from pointmae_zoo.shapes.contents import no_shape
from pointmae_zoo.shapes.formats.pcd import field_names, read_fields
from pointmae_zoo.shapes.formats.ply import read_vertex_columns
from pointmae_zoo.shapes.formats.points import KEYS, read_columns, read_npz
from pointmae_zoo.shapes.surface import MeshError, from_points, points_of
from pointmae_zoo.system.progress import progress_bar
from pointmae_zoo.system.yaml_files import load_yaml

PARTS_FILE = "parts.yaml"
PART_SUFFIXES = (".txt", ".xyz", ".ply", ".npz", ".pcd")
PART_NAMES = ("part", "parts", "label", "labels")
"""What part numbers may be called in a PLY, NPZ or PCD file, also with CloudCompare's ``scalar_`` before."""

_MOST_PARTS = 1000  # beyond, they are instances, colours or a coordinate


@dataclass(frozen=True)
class PartNumbers:
    """How the parts of the classes are counted.

    Args:
        first: for each class what its first part is called in the data.
        parts: for each class its numbers through all classes.
        names: by number through all classes.
    """

    first: tuple[int, ...]
    parts: tuple[range, ...]
    names: tuple[str, ...]

    def counted(self, found: NDArray[np.integer], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers as in the data (M, N), of clouds of these classes (M,) -> counted through all classes."""
        shift = np.array([numbers.start for numbers in self.parts]) - np.array(self.first)
        return found.astype(np.int64) + shift[labels][:, None]


def part_numbers(
    where: Path | str,
    classes: Sequence[str],
    spans: Sequence[tuple[int, int] | None],
    named: Mapping[str, Sequence[str]],
) -> PartNumbers:
    """Number parts through all classes, however the data counts them.

    A class's first part is the lowest number that its points have; if its parts are named, it is 0 where all
    numbers fit.

    Args:
        where: file or folder, for errors.
        spans: for each class the lowest and highest number that its points have, None where it has no clouds.
        named: names of the parts of some classes.

    Raises:
        ValueError: more numbers than names, or names of a class that is not there.
    """
    if unknown := sorted(set(named) - set(classes)):
        raise ValueError(
            f"{where}: parts of {unknown[0]!r} are named, but it is no class (known: {', '.join(classes)})"
        )
    first, sizes = [], []
    for name, span in zip(classes, spans, strict=True):
        low, high = span or (0, -1)
        if name not in named:
            first.append(low)
            sizes.append(high - low + 1)
            continue
        count = len(named[name])
        first.append(0 if high < count else low)
        sizes.append(count)
        if high - first[-1] >= count:
            raise ValueError(
                f"{where}: {name} has parts {low} to {high}, but {count} are named; name every one, in the "
                "order of the numbers"
            )
    parts = part_ranges(sizes)
    names = list(unnamed_parts(classes, parts))
    for name, numbers in zip(classes, parts, strict=True):
        if name in named:
            names[numbers.start : numbers.stop] = [f"{name}/{part}" for part in named[name]]
    return PartNumbers(tuple(first), parts, tuple(names))


def listed_parts(where: Path | str, classes: Sequence[str], names: Sequence[str]) -> PartNumbers:
    """Parts that are listed by name, ``CLASS/PART``, in the order of their numbers through all classes.

    Raises:
        ValueError: a name without a class, a class without parts, or parts of a class apart from each other.
    """
    rows: dict[str, list[int]] = {name: [] for name in classes}
    for row, name in enumerate(names):
        if owners := [one for one in classes if name.startswith(f"{one}/") and name != f"{one}/"]:
            rows[max(owners, key=len)].append(row)
        elif "/" not in name:
            raise ValueError(f"{where}: part {row} is named {name!r}, expected CLASS/PART such as chair/leg")
    for name, found in rows.items():
        if not found:
            raise ValueError(f"{where}: 'part_names' has no part of class {name!r}")
        if found != list(range(found[0], found[-1] + 1)):
            raise ValueError(f"{where}: 'part_names' has the parts of {name!r} in several places")
    parts = part_ranges([len(found) for found in rows.values()])
    chosen = [names[row] for found in rows.values() for row in found]
    return PartNumbers(tuple(found[0] for found in rows.values()), parts, tuple(chosen))


def read_part_names(path: Path) -> dict[str, list[str]]:
    """``CLASS: [name, name]`` for every class of a file; empty without the file.

    Raises:
        ValueError: another file than that; names what is wrong.
    """
    if not path.is_file():
        return {}
    named = {}
    for label, names in load_yaml(path, "names of parts in YAML").items():
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"{path}: {label} is {names!r}, expected a list of names such as [seat, back, leg]"
            )
        if len(set(names)) < len(names):
            raise ValueError(f"{path}: {label} has a name twice")
        named[str(label)] = names
    return named


class PartPoints(NamedTuple):
    """Points (N, 3) float32 of one file and the part number of each (N,), as they are in the file."""

    points: NDArray[np.float32]
    parts: NDArray[np.int64]


def read_part_points(path: Path) -> PartPoints:
    """Read one file: text whose last column is the part, or a PLY, NPZ or PCD with a field ``part`` or
    ``label``. Of a PLY with faces the vertices are the points.

    Raises:
        MeshError: it cannot be read, has no part numbers, or they are no whole numbers of 0 or more.
    """
    try:
        return _part_points(path.read_bytes(), path.suffix.lower())
    except OSError as error:
        raise MeshError(f"cannot be read: {error.strerror or error}", path) from error
    except MeshError as error:
        error.path = str(path)
        raise


def _part_points(data: bytes, suffix: str) -> PartPoints:
    if not data:
        raise MeshError("is empty (0 bytes): export or copy it again")
    if suffix in (".txt", ".xyz", ".ply", ".pcd"):
        data = data.removeprefix(codecs.BOM_UTF8)
    if (what := no_shape(data)) is not None:
        raise MeshError(what)
    with np.errstate(all="ignore"):
        if suffix in (".txt", ".xyz"):
            points, parts = _of_text(data)
        elif suffix == ".ply":
            points, parts = _of_ply(data)
        elif suffix == ".npz":
            points, parts = _of_npz(data)
        elif suffix == ".pcd":
            points, parts = _of_pcd(data)
        else:
            raise MeshError(f"has the suffix {suffix!r}: expected one of {' '.join(PART_SUFFIXES)}")
    return _checked(points, parts)


def _of_text(data: bytes) -> tuple[NDArray, NDArray]:
    table = read_columns(data)
    if table.shape[1] < 4:
        raise MeshError("has three columns: expected x y z, perhaps more, and last the part number")
    return table[:, :3], table[:, -1]


def _of_ply(data: bytes) -> tuple[NDArray, NDArray]:
    points, columns = read_vertex_columns(data)
    return points, columns[_part_name(list(columns))]


def _of_pcd(data: bytes) -> tuple[NDArray, NDArray]:
    name = _part_name(field_names(data))
    table = read_fields(data, ("x", "y", "z", name))
    return table[:, :3], table[:, 3]


def _of_npz(data: bytes) -> tuple[NDArray, NDArray]:
    read_npz(data)  # says what is wrong with it
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        key = next((key for key in KEYS if key in archive.files), None)
        if key is None:
            raise MeshError(f"has no array {' or '.join(KEYS)} beside the part numbers")
        points, parts = archive[key][:, :3], archive[_part_name(archive.files)]
    if parts.shape not in ((len(points),), (len(points), 1)):
        raise MeshError(f"has part numbers {parts.shape} for {len(points):,} points: expected one each")
    return points, parts.reshape(-1)


def _part_name(names: list[str]) -> str:
    plain = {name.lower().removeprefix("scalar_"): name for name in reversed(names)}
    found = next((plain[name] for name in PART_NAMES if name in plain), None)
    if found is None:
        there = ", ".join(names) or "nothing"
        raise MeshError(f"has no part numbers (it has {there}): expected a field 'part' or 'label'")
    return found


def _checked(points: NDArray, parts: NDArray) -> PartPoints:
    # All of them, in their order, after the checks that every file of points has to pass.
    single = points_of(from_points(points.astype(np.float64)), max(2, len(points)), 0)
    if parts.dtype.kind not in "fiu" or not np.array_equal(parts, np.round(parts)):
        raise MeshError("has part numbers that are no whole numbers (in text the last column counts)")
    low, high = parts.min(), parts.max()
    if low < 0 or high > _MOST_PARTS:
        wrong = low if low < 0 else high
        raise MeshError(f"has part number {wrong:g}: expected 0 to {_MOST_PARTS}, a number for every point")
    return PartPoints(single, parts.astype(np.int64))


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
    """Read the files ``rows`` of a listing, and the part numbers of all its files: which parts a class has
    must not depend on the split.

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
            "files": file_stamps(files),
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
    order = [draw_indices(len(cloud.points), count, seed) for cloud in clouds]
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
