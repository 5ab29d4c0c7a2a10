"""Files of points with a part number for each: text, PLY, NPZ and PCD."""

import codecs
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.contents import no_shape
from pointmae_zoo.shapes.formats.pcd import field_names, read_fields
from pointmae_zoo.shapes.formats.ply import read_vertex_columns
from pointmae_zoo.shapes.formats.points import KEYS, read_columns, read_npz
from pointmae_zoo.shapes.surface import MeshError, from_points, points_of

PART_SUFFIXES = (".txt", ".xyz", ".ply", ".npz", ".pcd")
PART_NAMES = ("part", "parts", "label", "labels")
"""What part numbers may be called in a PLY, NPZ or PCD file, also with CloudCompare's ``scalar_`` before."""

_MOST_PARTS = 1000  # beyond, they are instances, colours or a coordinate


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
        data = path.read_bytes()
    except OSError as error:
        raise MeshError(path, f"cannot be read: {error.strerror or error}") from error
    suffix = path.suffix.lower()
    if not data:
        raise MeshError(path, "is empty (0 bytes): export or copy it again")
    if suffix in (".txt", ".xyz", ".ply", ".pcd"):
        data = data.removeprefix(codecs.BOM_UTF8)
    if (what := no_shape(data)) is not None:
        raise MeshError(path, what)
    with np.errstate(all="ignore"):
        if suffix in (".txt", ".xyz"):
            points, parts = _of_text(path, data)
        elif suffix == ".ply":
            points, parts = _of_ply(path, data)
        elif suffix == ".npz":
            points, parts = _of_npz(path, data)
        elif suffix == ".pcd":
            points, parts = _of_pcd(path, data)
        else:
            raise MeshError(
                path, f"has the suffix {path.suffix!r}: expected one of {' '.join(PART_SUFFIXES)}"
            )
    return _checked(path, points, parts)


def _of_text(path: Path, data: bytes) -> tuple[NDArray, NDArray]:
    table = read_columns(path, data)
    if table.shape[1] < 4:
        raise MeshError(path, "has three columns: expected x y z, perhaps more, and last the part number")
    return table[:, :3], table[:, -1]


def _of_ply(path: Path, data: bytes) -> tuple[NDArray, NDArray]:
    points, columns = read_vertex_columns(path, data)
    return points, columns[_part_name(path, list(columns))]


def _of_pcd(path: Path, data: bytes) -> tuple[NDArray, NDArray]:
    name = _part_name(path, field_names(path, data))
    table = read_fields(path, data, ("x", "y", "z", name))
    return table[:, :3], table[:, 3]


def _of_npz(path: Path, data: bytes) -> tuple[NDArray, NDArray]:
    read_npz(path, data)  # says what is wrong with it
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        key = next((key for key in KEYS if key in archive.files), None)
        if key is None:
            raise MeshError(path, f"has no array {' or '.join(KEYS)} beside the part numbers")
        points, parts = archive[key][:, :3], archive[_part_name(path, archive.files)]
    if parts.shape not in ((len(points),), (len(points), 1)):
        raise MeshError(path, f"has part numbers {parts.shape} for {len(points):,} points: expected one each")
    return points, parts.reshape(-1)


def _part_name(path: Path, names: list[str]) -> str:
    plain = {name.lower().removeprefix("scalar_"): name for name in reversed(names)}
    found = next((plain[name] for name in PART_NAMES if name in plain), None)
    if found is None:
        there = ", ".join(names) or "nothing"
        raise MeshError(path, f"has no part numbers (it has {there}): expected a field 'part' or 'label'")
    return found


def _checked(path: Path, points: NDArray, parts: NDArray) -> PartPoints:
    # All of them, in their order, after the checks that every file of points has to pass.
    single = points_of(path, from_points(points.astype(np.float64)), max(2, len(points)), 0)
    if parts.dtype.kind not in "fiu" or not np.array_equal(parts, np.round(parts)):
        raise MeshError(path, "has part numbers that are no whole numbers (in text the last column counts)")
    low, high = parts.min(), parts.max()
    if low < 0 or high > _MOST_PARTS:
        wrong = low if low < 0 else high
        raise MeshError(
            path, f"has part number {wrong:g}: expected 0 to {_MOST_PARTS}, a number for every point"
        )
    return PartPoints(single, parts.astype(np.int64))
