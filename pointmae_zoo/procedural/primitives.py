"""Closed surfaces with exact inside tests: the bricks of the procedural shapes.

Four makers cover everything: a box, a lathe (cylinders, cones, spheres, tori, cups ... with any number of
sides), an extrusion (of stars, strips and rectangles) and a tube along a curve. All faces are flat
triangles, so that a surface and its inside test agree exactly: a point is inside the low-poly solid, not
inside the smooth one it approximates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Primitive:
    """A closed surface in its own coordinates.

    triangles: (F, 3, 3) corners, counterclockwise seen from outside. low, high: (3,) bounding box. inside:
    (M, 3) points of that box -> (M,) bool; None for a solid that fills its bounding box.
    """

    triangles: Array
    low: Array
    high: Array
    inside: Callable[[Array], Mask] | None


@dataclass(frozen=True, eq=False)
class Section:
    """A flat region: outline edges (E, 4) as x0 y0 x1 y1 (even-odd, any number of loops) and triangles (T,
    3, 2).
    """

    edges: Array
    triangles: Array


def _primitive(triangles: Array, inside: Callable[[Array], Mask] | None) -> Primitive:
    corners = triangles.reshape(-1, 3)
    return Primitive(triangles, corners.min(0), corners.max(0), inside)


def _quads(grid: Array) -> Array:
    """(R, S, 3) grid of points -> (2 (R - 1) (S - 1), 3, 3) triangles."""
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    return np.concatenate([np.stack([a, b, c], 2), np.stack([a, c, d], 2)]).reshape(-1, 3, 3)


def _loop_edges(loop: Array, *, hole: bool = False) -> Array:
    """(K, 2) -> (K, 4): counterclockwise, whichever way it was drawn; clockwise around a hole."""
    x, y = loop.T
    if (np.dot(x, np.roll(y, -1)) > np.dot(y, np.roll(x, -1))) == hole:
        loop = loop[::-1]
    return np.concatenate([loop, np.roll(loop, -1, axis=0)], axis=1)


def _section(edges: Array, triangles: Array) -> Section:
    """With all triangles (T, 3, 2) made counterclockwise."""
    (ax, ay), (bx, by) = (triangles[:, 1] - triangles[:, 0]).T, (triangles[:, 2] - triangles[:, 0]).T
    clockwise = ax * by < ay * bx
    triangles[clockwise] = triangles[clockwise, ::-1]
    return Section(edges, triangles)


def _even_odd(x: Array, y: Array, edges: Array) -> Mask:
    """(M,), (M,), (E, 4) -> (M,) whether each point lies inside the outline: an odd number of edges to its
    right.
    """
    x0, y0, x1, y1 = edges[np.abs(edges[:, 3] - edges[:, 1]) > 1e-12].T
    above = y[:, None]
    crosses = (y0 > above) != (y1 > above)
    right = x[:, None] < x0 + (above - y0) * ((x1 - x0) / (y1 - y0))
    return np.logical_xor.reduce(crosses & right, axis=1)


# --- box ------------------------------------------------------------------------------------------


def _box() -> Primitive:
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))]
    return _primitive(corners[np.array(faces)], None)


BOX = _box()  # [-0.5, 0.5]^3


# --- lathes ---------------------------------------------------------------------------------------


def lathe(profile: ArrayLike, sides: int, *, closed: bool = False) -> Primitive:
    """Turn a profile (K, 2) of radius, height about the y axis, as a solid with ``sides`` flat sides.

    An open profile begins and ends on the axis (radius 0); a closed one is a loop off the axis (a ring).
    Radii are those of the corners; the sides face +x, +z, ... so that four sides make an upright box. A
    cross-section at any height is a regular polygon, therefore the inside test is the profile's own, at the
    radius where the corner would be.
    """
    outline = np.asarray(profile, dtype=np.float64)
    line = np.concatenate([outline, outline[:1]]) if closed else outline
    angle = (np.arange(sides + 1) + 0.5) * (2 * np.pi / sides)
    grid = np.empty((len(line), sides + 1, 3))
    grid[..., 0] = line[:, :1] * np.cos(angle)
    grid[..., 1] = line[:, 1:]
    grid[..., 2] = line[:, :1] * np.sin(angle)
    edges = _loop_edges(outline)
    step = 2 * np.pi / sides
    shrink = 1.0 / np.cos(step / 2)

    def inside(points: Array) -> Mask:
        x, y, z = points.T
        turn = (np.arctan2(z, x) + step / 2) % step - step / 2
        return _even_odd(np.hypot(x, z) * np.cos(turn) * shrink, y, edges)

    return _primitive(_quads(grid), inside)


@lru_cache(maxsize=256)
def cylinder(sides: int = 12, top: float = 1.0) -> Primitive:
    """Diameter 1 and height 1; ``top`` is the upper radius over the lower one (0: a cone)."""
    return lathe([(0, -0.5), (0.5, -0.5), (0.5 * top, 0.5), (0, 0.5)], sides)


@lru_cache(maxsize=256)
def frustum(top: float = 0.0) -> Primitive:
    """A box of side 1 whose upper face is scaled by ``top`` (0: a pyramid)."""
    r = np.sqrt(0.5)
    return lathe([(0, -0.5), (r, -0.5), (r * top, 0.5), (0, 0.5)], 4)


@lru_cache(maxsize=64)
def sphere(sides: int = 12, rings: int = 8) -> Primitive:
    """Diameter 1, ``rings`` bands from pole to pole."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)
    radius = 0.5 * np.cos(angle)
    radius[[0, -1]] = 0.0
    return lathe(np.stack([radius, 0.5 * np.sin(angle)], 1), sides)


@lru_cache(maxsize=64)
def dome(sides: int = 12, rings: int = 5) -> Primitive:
    """Half a ball on the ground: diameter 1, height 0.5, floor at y = 0."""
    angle = np.linspace(0, np.pi / 2, rings + 1)
    radius = 0.5 * np.cos(angle)
    radius[-1] = 0.0
    return lathe(np.concatenate([[(0, 0)], np.stack([radius, 0.5 * np.sin(angle)], 1)]), sides)


@lru_cache(maxsize=256)
def torus(thickness: float = 0.25, sides: int = 16, tube_sides: int = 8) -> Primitive:
    """Outer diameter 1, lying flat; ``thickness`` is the tube's diameter over the outer diameter (below
    0.5).
    """
    angle = np.arange(tube_sides) * (2 * np.pi / tube_sides)
    r = thickness / 2
    return lathe(np.stack([0.5 - r + r * np.cos(angle), r * np.sin(angle)], 1), sides, closed=True)


@lru_cache(maxsize=256)
def capsule(slenderness: float = 3.0, sides: int = 10, rings: int = 3) -> Primitive:
    """A rod with round ends: length 1, diameter 1 / ``slenderness`` (at least 1)."""
    r = 0.5 / slenderness
    angle = np.linspace(0, np.pi / 2, rings + 1)
    end = np.stack([r * np.cos(angle), 0.5 - r + r * np.sin(angle)], 1)
    end[-1, 0] = 0.0
    return lathe(np.concatenate([end[::-1] * (1, -1), end]), sides)


# --- extrusions -----------------------------------------------------------------------------------


def fan(loop: ArrayLike) -> Section:
    """A region seen whole from the origin: regular polygons, stars, gears, blobs. loop: (K, 2) in order."""
    points = np.asarray(loop, dtype=np.float64)
    after = np.roll(points, -1, axis=0)
    return _section(_loop_edges(points), np.stack([np.zeros_like(points), points, after], 1))


def convex(loop: ArrayLike) -> Section:
    """Any convex region (K, 2), wherever it lies."""
    points = np.asarray(loop, dtype=np.float64)
    first = np.broadcast_to(points[:1], (len(points) - 2, 2))
    return _section(_loop_edges(points), np.stack([first, points[1:-1], points[2:]], 1))


def strip(left: ArrayLike, right: ArrayLike, *, closed: bool = False) -> Section:
    """The region between two lines (K, 2) of equally many points: arches, hulls, blades; closed: rings and
    frames.
    """
    a, b = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if closed:
        outer = np.abs(a).max() > np.abs(b).max()
        edges = np.concatenate([_loop_edges(a, hole=not outer), _loop_edges(b, hole=bool(outer))])
        a, b = np.concatenate([a, a[:1]]), np.concatenate([b, b[:1]])
    else:
        edges = _loop_edges(np.concatenate([a, b[::-1]]))
    lower = np.stack([a[:-1], b[:-1], b[1:]], 1)
    upper = np.stack([a[:-1], b[1:], a[1:]], 1)
    return _section(edges, np.concatenate([lower, upper]))


def outline(loop: ArrayLike, rectangles: Sequence[tuple[float, float, float, float]]) -> Section:
    """A rectilinear region: its loop (K, 2) and the rectangles x0 y0 x1 y1 that tile it."""
    tiles = [
        corner
        for x0, y0, x1, y1 in rectangles
        for corner in (((x0, y0), (x1, y0), (x1, y1)), ((x0, y0), (x1, y1), (x0, y1)))
    ]
    return _section(_loop_edges(np.asarray(loop, dtype=np.float64)), np.array(tiles))


def extrude(section: Section, *, taper: float = 1.0) -> Primitive:
    """Pull a section of the x-y plane along z, from -0.5 to 0.5, scaling it to ``taper`` (above 0) at the
    far end.
    """
    edges, flat = section.edges, section.triangles
    near, far = np.full((*flat.shape[:2], 1), -0.5), np.full((*flat.shape[:2], 1), 0.5)
    walls = np.empty((len(edges), 4, 3))
    walls[:, 0, :2], walls[:, 1, :2] = edges[:, :2], edges[:, 2:]
    walls[:, 2, :2], walls[:, 3, :2] = edges[:, 2:] * taper, edges[:, :2] * taper
    walls[:, :2, 2], walls[:, 2:, 2] = -0.5, 0.5
    triangles = np.concatenate(
        [
            np.concatenate([flat, near], -1)[:, ::-1],
            np.concatenate([flat * taper, far], -1),
            walls[:, [0, 1, 2]],
            walls[:, [0, 2, 3]],
        ]
    )

    def inside(points: Array) -> Mask:
        x, y, z = points.T
        scale = 1.0 + (taper - 1.0) * (z + 0.5)
        return _even_odd(x / scale, y / scale, edges)

    return _primitive(triangles, inside)


# --- tubes ----------------------------------------------------------------------------------------


def tube(
    curve: ArrayLike, radius: ArrayLike, sides: int = 6, *, across: ArrayLike = (0.0, 0.0, 1.0)
) -> Primitive:
    """A round tube along a curve (K, 3), radius a number or (K,), with flat ends.

    across: a direction that the curve never runs along (the normal of a flat curve, the axis of a helix).
    """
    c = np.asarray(curve, dtype=np.float64)
    r = np.broadcast_to(np.asarray(radius, dtype=np.float64), (len(c),))
    along = np.empty_like(c)
    along[1:-1] = c[2:] - c[:-2]
    along[0], along[-1] = c[1] - c[0], c[-1] - c[-2]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    first = np.cross(np.asarray(across, dtype=np.float64), along)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.cross(along, first)
    angle = np.arange(sides + 1) * (2 * np.pi / sides)
    around = np.cos(angle)[:, None] * first[:, None] + np.sin(angle)[:, None] * second[:, None]
    grid = np.concatenate(
        [
            np.broadcast_to(c[0], (1, sides + 1, 3)),
            c[:, None] + r[:, None, None] * around,
            np.broadcast_to(c[-1], (1, sides + 1, 3)),
        ]
    )
    step = c[1:] - c[:-1]
    squared = np.maximum((step**2).sum(1), 1e-18)
    # the largest smooth tube within the flat sides
    fit = np.cos(np.pi / sides)

    def inside(points: Array) -> Mask:
        rel = points[:, None] - c[:-1]
        t = np.einsum("mkc,kc->mk", rel, step) / squared
        near = np.clip(t, 0.0, 1.0)
        gap = rel - near[..., None] * step
        reach = (r[:-1] + near * (r[1:] - r[:-1])) * fit
        hit = (gap**2).sum(-1) < reach**2
        hit[:, 0] &= t[:, 0] > 0
        hit[:, -1] &= t[:, -1] < 1
        return hit.any(1)

    return _primitive(_quads(grid[:, ::-1]), inside)
