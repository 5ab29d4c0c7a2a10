"""What every reader returns (`Geometry`), the error of files (`MeshError`), and sampling points. numpy
only."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.system.files import shown

# Float32 has 24 bits. An object farther from the origin than this many times its own size (a scan in map
# coordinates) would lose more than 10 of them to the offset, so it is moved to the origin first.
FAR_AWAY = 1000.0
# Squares and products of lengths outside this range do not fit into float32.
SMALLEST_FLOAT32_LENGTH, LARGEST_FLOAT32_LENGTH = 1e-12, 1e12
# Below this fraction of the squared size, an area computed in float32 may be nothing but rounding.
DOUBTFUL_AREA, ZERO_AREA = 1e-5, 1e-13
# A shape narrower than this fraction of its length is a line.
LINE_WIDTH = 1e-6


class MeshError(ValueError):
    """A file that cannot give points. The message is one line, `.path` and `.reason`.

    A reader gets the content alone and gives the reason; whoever opened the file adds the path.
    """

    def __init__(self, reason: str, path: Path | str = "") -> None:
        super().__init__(reason)
        self.reason = " ".join(reason.split())
        self.path = str(path)

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.reason}" if self.path else self.reason


class Geometry(NamedTuple):
    """The content of a file: its triangles if it has any, otherwise its points."""

    # (3 corners, 3 axes, F): every coordinate of every corner is one contiguous row, which numpy works
    # through three times faster than through (F, 3, 3).
    triangles: NDArray[np.floating]
    points: NDArray[np.floating]  # (N, 3)


def from_points(points: NDArray[np.floating]) -> Geometry:
    """The geometry of (N, 3) points without faces."""
    return Geometry(np.empty((3, 3, 0), np.float32), points)


def from_triangles(triangles: NDArray[np.floating]) -> Geometry:
    """The geometry of (F, 3 corners, 3) triangles."""
    rows = np.ascontiguousarray(triangles.reshape(-1, 9).T).reshape(3, 3, -1)
    return Geometry(_resolvable(rows), np.empty((0, 3), np.float32))


def from_faces(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> Geometry:
    """The geometry of vertices (V, 3) and faces (F, 3) of vertex numbers; without faces, of the vertices.

    Raises MeshError if a face names a vertex that does not exist.
    """
    if len(faces) == 0:
        return from_points(vertices)
    check_faces(faces, len(vertices))
    low, high = _bounds(vertices.T)
    if not max(-low.min(), high.max()) < np.finfo(np.float32).max / 4:  # loose vertices may be anything
        vertices, faces = only_used(vertices, faces)
    axes = _resolvable(np.ascontiguousarray(vertices.T))
    triangles = np.empty((3, 3, len(faces)), axes.dtype)
    for corner in range(3):
        numbers = np.ascontiguousarray(faces[:, corner])
        for axis in range(3):
            # They are in range; mode="raise" would go through a buffer.
            axes[axis].take(numbers, out=triangles[corner, axis], mode="clip")
    return Geometry(triangles, np.empty((0, 3), np.float32))


def only_used(
    vertices: NDArray[np.floating], faces: NDArray[np.integer]
) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    """Vertices (V, 3) and faces (F, 3) without the vertices that no face names."""
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    if used.all():
        return vertices, faces
    return vertices[used], (np.cumsum(used) - 1)[faces]


def check_faces(faces: NDArray[np.integer], num_vertices: int) -> None:
    """Raises MeshError if a face names a vertex that does not exist."""
    if faces.size and not (faces.min() >= 0 and faces.max() < num_vertices):
        wrong = int(faces.min() if faces.min() < 0 else faces.max())
        raise MeshError(f"has a face that names vertex {wrong}, but only 0 to {num_vertices - 1} exist")


def fan(corner_counts: NDArray[np.integer], corners: NDArray[np.integer]) -> NDArray[np.int64]:
    """Polygons as (F, 3) triangles, each polygon a fan around its first corner.

    corner_counts: (P,) corners of every polygon; corners: all their vertex numbers, one polygon after
    another. Polygons with fewer than 3 corners vanish.
    """
    counts = np.asarray(corner_counts, dtype=np.int64)
    if len(counts) and (counts == 3).all():
        return np.asarray(corners, dtype=np.int64).reshape(-1, 3)
    starts = np.cumsum(counts) - counts
    triangles = np.maximum(counts - 2, 0)
    first = np.repeat(starts, triangles)
    step = np.arange(len(first)) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    return np.asarray(corners, dtype=np.int64)[np.stack((first, first + step + 1, first + step + 2), axis=1)]


def points_of(geometry: Geometry, num_points: int, seed: int) -> NDArray[np.float32]:
    """(num_points, 3) area-uniform samples of the triangles, or the loose points, at most as many.

    Raises MeshError if there is nothing to sample or a coordinate is not a finite float32.
    """
    triangles, points = geometry
    if triangles.shape[2]:
        return _sample(triangles, num_points, np.random.default_rng(seed))
    if len(points) < 2:
        found = "only one point" if len(points) else "no faces and no points"
        raise MeshError(f"has {found} (lines do not count): export it with its surface")
    if (finite := np.isfinite(points).all(axis=1)).sum() < len(points):
        raise MeshError(
            f"has NaN or infinity in {int((~finite).sum()):,} of its {len(points):,} points: leave those "
            f"rows out "
            "(`points[np.isfinite(points).all(axis=1)]`)",
        )
    points = _resolvable(np.ascontiguousarray(points.T)).T
    if (points == points[0]).all():
        raise MeshError(f"all its {len(points)} points are equal: a shape needs at least two places")
    if len(points) > num_points:
        points = points[np.random.default_rng(seed).permutation(len(points))[:num_points]]
    return np.ascontiguousarray(points, dtype=np.float32)


def _sample(
    triangles: NDArray[np.floating], num_points: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(num_points, 3) points, uniform by area, on triangles (3 corners, 3 axes, F)."""
    low, high = _bounds(triangles)
    size = float((high - low).max())
    if not np.isfinite(size):
        raise MeshError("has NaN or infinity among its coordinates: repair or remove those vertices")
    areas = _areas(triangles)
    if areas.sum(dtype=np.float64) < DOUBTFUL_AREA * size * size:
        areas = _areas(triangles.astype(np.float64))
    cumulative = np.cumsum(areas, dtype=np.float64)
    if not cumulative[-1] > ZERO_AREA * size * size:
        raise _no_area()
    # side="right" never picks a face of zero area; rounding may still step past the last one.
    chosen = np.searchsorted(cumulative, rng.random(num_points) * cumulative[-1], side="right")
    chosen = np.minimum(chosen, np.flatnonzero(areas)[-1])
    root = np.sqrt(rng.random(num_points, dtype=np.float32))
    along = rng.random(num_points, dtype=np.float32)
    a, b, c = triangles[:, :, chosen]
    # Corners that were rounded to float32 on a line have a little area left.
    spread = np.linalg.eigvalsh(np.cov(np.concatenate((a, b, c), axis=1, dtype=np.float64)))
    if spread[1] < LINE_WIDTH**2 * spread[2]:
        raise _no_area()
    points = (1 - root) * a + root * (1 - along) * b + root * along * c
    return np.ascontiguousarray(points.T, dtype=np.float32)


def _no_area() -> MeshError:
    return MeshError("has faces but no area (all in one point or line): export it with its surface")


def _areas(triangles: NDArray[np.floating]) -> NDArray[np.floating]:
    """(F,) twice the areas of triangles (3 corners, 3 axes, F)."""
    ux, uy, uz = triangles[1] - triangles[0]
    vx, vy, vz = triangles[2] - triangles[0]
    x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    return np.sqrt(x * x + y * y + z * z)


def _bounds(rows: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and the highest x, y, z (3,) in coordinates (..., 3 axes, N)."""
    low, high = rows.min(axis=-1).reshape(-1, 3), rows.max(axis=-1).reshape(-1, 3)
    return low.min(axis=0).astype(np.float64), high.max(axis=0).astype(np.float64)


def _resolvable(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Coordinates (..., 3 axes, N) in float32, or in float64 where squared lengths would not fit.

    NaN and infinity stay, because loose vertices may hold anything.
    """
    low, high = _bounds(rows)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        low, high = _bounds(np.where(np.isfinite(rows), rows, 0.0))
    reach = float(max(np.abs(low).max(), np.abs(high).max()))
    if reach > np.finfo(np.float32).max / 4:
        raise MeshError(f"has a coordinate of {reach:.1e}, too large for float32: scale the object down")
    size = float((high - low).max())
    if reach > FAR_AWAY * size > 0:
        rows = rows.astype(np.float64) - ((low + high) / 2)[:, None]
    safe = size == 0 or SMALLEST_FLOAT32_LENGTH < size < LARGEST_FLOAT32_LENGTH
    return rows.astype(np.float32 if safe else np.float64, copy=False)
