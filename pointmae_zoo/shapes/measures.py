"""The size of a shape: extents, area and volume in the file's own unit. numpy only."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.surface import Geometry

# Triangles that are worked on in float64 at the same time.
_CHUNK = 1 << 16


class Measures(NamedTuple):
    """The size of a shape, in the file's unit. A cloud of points has extents only."""

    extents: tuple[float, float, float]
    """Lengths of its bounding box along x, y, z."""
    area: float | None
    """Of the whole surface; None without triangles."""
    volume: float | None
    """What the surface encloses, not negative; None unless it is watertight."""
    triangles: int
    watertight: bool
    """Whether the surface is closed and every triangle faces the same side as its neighbours. Corners are one
    if their coordinates are equal, bit for bit."""

    @classmethod
    def of_json(cls, values: Sequence[Any]) -> Self:
        """What JSON makes of one."""
        extents, *others = values
        return cls(tuple(extents), *others)


def measure(geometry: Geometry) -> Measures:
    """The size of a shape with finite coordinates."""
    triangles, points = geometry
    count = triangles.shape[2]
    rows = triangles.transpose(1, 0, 2).reshape(3, -1) if count else points.T  # (3 axes, all corners)
    low, high = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
    extents = tuple(float(length) for length in high - low)
    if not count:
        return Measures(extents, None, None, 0, False)  # type: ignore[arg-type]
    middle = (low + high) / 2  # about which volumes are summed: far away, they would lose their digits
    area, volume, boundary = 0.0, 0.0, 0
    for start in range(0, count, _CHUNK):
        stored = triangles[:, :, start : start + _CHUNK]
        a, b, c = stored - middle[:, None]  # (3 axes, F) float64 each
        normals = np.cross(b - a, c - a, axis=0)
        area += float(np.linalg.norm(normals, axis=0).sum()) / 2
        volume += float((a * normals).sum()) / 6
        boundary += _boundary(stored)
    watertight = boundary % (1 << 64) == 0
    return Measures(extents, area, abs(volume) if watertight else None, count, watertight)  # type: ignore[arg-type]


def _boundary(triangles: NDArray[np.floating]) -> int:
    """A number that is 0, modulo 2**64 and summed over all triangles (3 corners, 3 axes, F), where every edge
    is passed as often in one direction as in the other.

    Each corner becomes 64 bits of hash, each edge the difference of two hashes that changes its sign with the
    direction. Other sums are 0 by a chance of 1 in 2**64. A table of edges would have to be sorted, which
    takes ten times as long.
    """
    corners = np.ascontiguousarray(triangles + 0.0)  # -0.0 and 0.0 are one coordinate
    whole = corners.view(np.uint32 if corners.dtype == np.float32 else np.uint64).astype(np.uint64)
    hashes = np.zeros((3, whole.shape[2]), np.uint64)
    with np.errstate(over="ignore"):
        for axis in range(3):
            hashes = _mixed(hashes * np.uint64(0x9E3779B97F4A7C15) + whole[:, axis])
        following = np.roll(hashes, -1, axis=0)  # of the corner at the other end of each edge
        turn = np.uint64(0xC2B2AE3D27D4EB4F)
        edges = _mixed(hashes * turn + following) - _mixed(following * turn + hashes)
        return int(edges.sum(dtype=np.uint64))


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A permutation of 64-bit numbers that spreads every bit (the finaliser of SplitMix64)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
