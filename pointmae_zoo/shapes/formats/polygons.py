"""Polygons to triangles: fans where a fan covers the polygon, ears where it does not."""

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.notes import note
from pointmae_zoo.shapes.surface import fan

# A fan triangle that is turned over by less than this fraction of its polygon's area is rounding.
TURNED = 1e-6
# A polygon that is bent by more than this fraction of its extent has no plane to cut it in.
FLAT = 0.1
MOST_TURNED = 8  # corners: fewer tries than diagonals to cut along
# The ears of a polygon add up to its area, or it crosses itself and has no inside to speak of.
SAME_AREA = 1e-3


def triangulate(
    vertices: NDArray[np.floating], corner_counts: NDArray[np.integer], corners: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Polygons as triangles (F, 3) of vertex numbers, and the polygon that each triangle belongs to (F,).

    vertices: (V, 3); corner_counts: (P,) corners of every polygon; corners: all their vertex numbers, one
    polygon after another, all of them existing. The triangles keep the polygons' order. A polygon is a fan
    around its first corner if that covers it, as it does every convex one; other polygons are cut along
    their diagonals in the plane that fits them best. A polygon that crosses itself or is far from flat stays
    a fan. Polygons with fewer than 3 corners vanish.
    """
    counts = np.asarray(corner_counts, dtype=np.int64)
    triangles = fan(counts, corners)
    if (counts == 3).all():
        return triangles, np.arange(len(counts))
    owners = np.repeat(np.arange(len(counts)), np.maximum(counts - 2, 0))
    if (counts <= 3).all():
        return triangles, owners
    starts = np.cumsum(counts) - counts
    several = np.flatnonzero(counts > 3)
    wrong = several[_not_fans(vertices, counts[several], starts[several], corners)]
    firsts = np.cumsum(np.maximum(counts - 2, 0)) - np.maximum(counts - 2, 0)
    # Most small polygons have another corner whose fan covers them: all of a size at once, tried in turn.
    for corner_count in range(4, MOST_TURNED + 1):
        alike = wrong[counts[wrong] == corner_count]
        places = np.asarray(corners, dtype=np.int64)[starts[alike][:, None] + np.arange(corner_count)]
        flat = _bends(np.asarray(vertices[places], dtype=np.float64)) <= FLAT
        alike, places = alike[flat], places[flat]
        for _ in range(corner_count - 1):
            if len(alike) == 0:
                break
            places = np.roll(places, -1, axis=1)
            sizes = np.full(len(alike), corner_count)
            good = ~_not_fans(vertices, sizes, np.arange(len(alike)) * corner_count, places.reshape(-1))
            rows = firsts[alike[good]][:, None] + np.arange(corner_count - 2)
            triangles[rows.reshape(-1)] = fan(sizes[good], places[good].reshape(-1))
            wrong = np.setdiff1d(wrong, alike[good])
            alike, places = alike[~good], places[~good]
    if len(wrong) == 0:
        return triangles, owners
    import mapbox_earcut

    pieces, places, crossing, done = [], [], 0, 0
    for polygon in wrong.tolist():
        numbers = np.asarray(corners[starts[polygon] : starts[polygon] + counts[polygon]], dtype=np.int64)
        plane, area, bent = _flattened(np.asarray(vertices[numbers], dtype=np.float64))
        if bent > FLAT:
            continue
        ears = mapbox_earcut.triangulate_float64(plane, np.array([len(plane)], np.uint32)).reshape(-1, 3)
        a, b, c = plane[ears[:, 0]], plane[ears[:, 1]], plane[ears[:, 2]]
        covered = np.abs(_cross(b - a, c - a)).sum()
        if not abs(covered - area) <= SAME_AREA * area:
            crossing += 1
            continue
        turned = ears[:, ::-1] if _cross(b - a, c - a).sum() < 0 else ears  # as the polygon goes round
        start = firsts[polygon]
        pieces += [triangles[done:start], numbers[turned]]
        places += [owners[done:start], np.full(len(turned), polygon)]
        done = start + counts[polygon] - 2
    if crossing:
        note(f"{crossing:,} polygons cross themselves: each is read as a fan around its first corner")
    return (
        np.concatenate([*pieces, triangles[done:]]).astype(np.int64),
        np.concatenate([*places, owners[done:]]).astype(np.int64),
    )


def _not_fans(
    vertices: NDArray[np.floating],
    counts: NDArray[np.int64],
    starts: NDArray[np.int64],
    corners: NDArray[np.integer],
) -> NDArray[np.bool_]:
    """Which polygons (P,) a fan around their first corner does not cover: some of its triangles are turned
    over, or together they go round that corner more than once."""
    rows = counts - 2
    first = np.repeat(starts, rows)
    step = np.arange(len(first)) - np.repeat(np.cumsum(rows) - rows, rows)
    origin = np.asarray(vertices, dtype=np.float64)[corners[first]]
    u = vertices[corners[first + step + 1]] - origin
    v = vertices[corners[first + step + 2]] - origin
    crosses = np.cross(u, v)
    ends = np.cumsum(rows) - rows
    normals = np.add.reduceat(crosses, ends)
    lengths = np.linalg.norm(normals, axis=1)
    signed = (
        crosses * np.repeat(normals / np.maximum(lengths, np.finfo(float).tiny)[:, None], rows, axis=0)
    ).sum(axis=1)
    low = np.minimum.reduceat(signed, ends) < -TURNED * lengths
    angles = np.arctan2(np.linalg.norm(crosses, axis=1), (u * v).sum(axis=1))
    round_it = np.add.reduceat(angles, ends) > 2 * np.pi * (1 + TURNED)
    return (low | round_it) & (lengths > 0)


def _bends(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,) the heights of polygons (P, N, 3) across their mean normals, as fractions of their extents."""
    moved = places - places[:, :1]
    normals = np.cross(moved[:, 1:-1], moved[:, 2:]).sum(axis=1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    heights = (moved * normals[:, None]).sum(axis=2)
    return np.ptp(heights, axis=1) / np.ptp(moved, axis=1).max(axis=1)


def _flattened(places: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float]:
    """A polygon (N, 3) in the plane across its mean normal (N, 2), as seen from the normal's tip, twice its
    area there, and its height above that plane as a fraction of its extent."""
    moved = places - places[0]
    normal = np.cross(moved[1:-1], moved[2:]).sum(axis=0)
    area = float(np.linalg.norm(normal))
    normal = normal / area
    side = np.eye(3)[np.argmin(np.abs(normal))]
    across = np.cross(normal, side)
    across /= np.linalg.norm(across)
    plane = np.stack((moved @ across, moved @ np.cross(normal, across)), axis=1)
    heights = moved @ normal
    return np.ascontiguousarray(plane), area, float(np.ptp(heights) / np.ptp(plane, axis=0).max())


def _cross(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
