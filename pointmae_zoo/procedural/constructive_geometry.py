"""Primitives put together: placing, copying, mirroring, cutting, bending, and points on what can be seen
from outside.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointmae_zoo.procedural.primitives import BOX, Array, Mask, Primitive, cylinder

Warp = Callable[[Array], Array]  # (M, 3) -> (M, 3), smooth, where the shape's longest side goes from -1 to 1

# Parts that only touch hide nothing: inside is deeper than this below the bounding box (of size about 1).
_TOUCH = 1e-4
_NO_NAME = np.zeros(1, dtype=np.int64)
_ROUNDS = 12  # of drawing points, until enough of them are visible


class _Copies(NamedTuple):
    primitive: Primitive
    matrices: Array  # (P, 3, 3)
    offsets: Array  # (P, 3)
    turns: Array  # (P,) when each was added: a cut removes only what was there before it
    cuts: bool
    names: NDArray[np.int64]  # (P,) number of the named part each belongs to, 0 unless said


class LabelledPoints(NamedTuple):
    """Points on an assembly, and the named part that each lies on."""

    points: Array  # (N, 3)
    names: NDArray[np.int64]  # (N,)


def turn_x(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def turn_y(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def turn_z(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


LAID = turn_x(-np.pi / 2)  # an extrusion (drawn in x-y, pulled along z) laid flat: pulled up along y
SIDEWAYS = turn_z(np.pi / 2)  # a lathe's axis along x: wheels and axles
FORWARD = turn_x(np.pi / 2)  # a lathe's axis along z


def aim(direction: ArrayLike) -> Array:
    """A rotation (3, 3) that takes the y axis to the direction (3,)."""
    d = np.asarray(direction, dtype=np.float64)
    y = d / np.linalg.norm(d)
    other = np.array([1.0, 0, 0]) if abs(y[0]) < 0.9 else np.array([0, 0, 1.0])
    z = np.cross(other, y)
    z /= np.linalg.norm(z)
    return np.stack([np.cross(y, z), y, z], 1)


class Assembly:
    """Parts in one coordinate system (y up). Every method returns the assembly, for chaining."""

    def __init__(self) -> None:
        self._copies: list[_Copies] = []
        self._count = 0

    def add(
        self,
        primitive: Primitive,
        at: ArrayLike = (0.0, 0.0, 0.0),
        size: ArrayLike = 1.0,
        turn: Array | None = None,
        *,
        cut: bool = False,
    ) -> Self:
        """Scale by size (a number or three), turn by a rotation, move to ``at``. ``cut``: take it away
        instead.
        """
        matrix = np.zeros((1, 3, 3))
        matrix[0, [0, 1, 2], [0, 1, 2]] = size
        if turn is not None:
            matrix[0] = turn @ matrix[0]
        offset = np.array(at, dtype=np.float64).reshape(1, 3)
        self._copies.append(_Copies(primitive, matrix, offset, np.array([self._count]), cut, _NO_NAME))
        self._count += 1
        return self

    def box(self, at: ArrayLike, size: ArrayLike, turn: Array | None = None, *, cut: bool = False) -> Self:
        return self.add(BOX, at, size, turn, cut=cut)

    def rod(
        self, start: ArrayLike, end: ArrayLike, width: float, *, sides: int = 8, top: float = 1.0
    ) -> Self:
        """A straight rod between two points; ``top`` is its width at the end over that at the start."""
        a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        length = float(np.linalg.norm(b - a))
        primitive = cylinder(sides, top)
        return self.add(primitive, (a + b) / 2, (width, length, width), aim(b - a))

    def include(
        self,
        other: "Assembly",
        at: ArrayLike = (0.0, 0.0, 0.0),
        size: ArrayLike = 1.0,
        turn: Array | None = None,
    ) -> Self:
        """Another assembly's parts, scaled, turned and moved."""
        matrix = np.diag(np.broadcast_to(np.asarray(size, dtype=np.float64), (3,)))
        if turn is not None:
            matrix = turn @ matrix
        return self.copies(other, [(matrix, np.asarray(at, dtype=np.float64))])

    def copies(self, other: "Assembly", places: Iterable[tuple[Array, Array]]) -> Self:
        """One copy of another assembly for every (matrix (3, 3), offset (3,))."""
        matrices, offsets = (np.stack(rows) for rows in zip(*places, strict=True))
        later = self._count + np.arange(len(matrices)) * other._count
        for c in other._copies:
            self._copies.append(
                _Copies(
                    c.primitive,
                    (matrices[:, None] @ c.matrices).reshape(-1, 3, 3),
                    (np.einsum("qij,pj->qpi", matrices, c.offsets) + offsets[:, None]).reshape(-1, 3),
                    (later[:, None] + c.turns).reshape(-1),
                    c.cuts,
                    np.tile(c.names, len(matrices)),
                )
            )
        self._count += len(matrices) * other._count
        return self

    def mirror(self, other: "Assembly", axis: int = 0) -> Self:
        """Another assembly and its mirror image across the plane where coordinate ``axis`` is 0."""
        flip = np.eye(3)
        flip[axis, axis] = -1
        return self.copies(other, [(np.eye(3), np.zeros(3)), (flip, np.zeros(3))])

    def ring(
        self,
        other: "Assembly",
        count: int,
        radius: float = 0.0,
        *,
        start: float = 0.0,
        arc: float = 2 * np.pi,
    ) -> Self:
        """Copies about the y axis, each pushed out along its own x by radius; a full circle unless ``arc``
        is less.
        """
        step = arc / count if arc > 6.28 else arc / max(count - 1, 1)
        turns = [turn_y(start + k * step) for k in range(count)]
        return self.copies(other, [(turn, turn @ np.array([radius, 0.0, 0.0])) for turn in turns])

    def row(self, other: "Assembly", count: int, step: ArrayLike, start: ArrayLike = (0.0, 0.0, 0.0)) -> Self:
        """Copies at start, start + step, ..."""
        s, d = np.asarray(start, dtype=np.float64), np.asarray(step, dtype=np.float64)
        return self.copies(other, [(np.eye(3), s + k * d) for k in range(count)])

    def transformed(self, matrix: Array) -> "Assembly":
        """The whole, under a linear map (3, 3): stretched, sheared, turned."""
        return Assembly().copies(self, [(matrix, np.zeros(3))])

    def named(self, number: int) -> "Assembly":
        """The same, all of it belonging to the named part of this number (see ``sample_named``)."""
        whole = Assembly().include(self)
        whole._copies = [c._replace(names=np.full_like(c.names, number)) for c in whole._copies]
        return whole

    @property
    def parts(self) -> int:
        return sum(len(c.matrices) for c in self._copies)

    def triangles(self) -> Array:
        """The parts' surfaces (F, 3, 3), uncut and overlapping; counterclockwise seen from outside."""
        faces = []
        for c in self._copies:
            if not c.cuts:
                mirrored = np.repeat(np.linalg.det(c.matrices) < 0, len(c.primitive.triangles))
                placed = _placed(c)
                placed[mirrored] = placed[mirrored, ::-1]
                faces.append(placed)
        return np.concatenate(faces)

    def merged(self) -> list[_Copies]:
        """Copies of one primitive together, so that the work per point is done once per primitive."""
        groups: dict[tuple[int, bool], list[_Copies]] = {}
        for c in self._copies:
            groups.setdefault((id(c.primitive), c.cuts), []).append(c)
        return [
            _Copies(
                same[0].primitive,
                np.concatenate([c.matrices for c in same]),
                np.concatenate([c.offsets for c in same]),
                np.concatenate([c.turns for c in same]),
                same[0].cuts,
                np.concatenate([c.names for c in same]),
            )
            for same in groups.values()
        ]


def sample(
    assembly: Assembly,
    num_points: int,
    rng: np.random.Generator,
    *,
    union: bool = True,
    warp: Warp | None = None,
) -> Array | None:
    """Points (num_points, 3) spread evenly over the assembly's surface, or None where almost nothing is
    left of it.

    union: leave out the surface that lies inside another part. Cuts always work: they remove the surface in
    them, and show their own where they meet what was there before. warp: bend the whole afterwards; points
    stay even per area of the bent surface.
    """
    found = sample_named(assembly, num_points, rng, union=union, warp=warp)
    return None if found is None else found.points


def sample_named(
    assembly: Assembly,
    num_points: int,
    rng: np.random.Generator,
    *,
    union: bool = True,
    warp: Warp | None = None,
) -> LabelledPoints | None:
    """The points of ``sample``, and the number of the named part on whose surface each lies."""
    groups = assembly.merged()
    triangles = np.concatenate([_placed(g) for g in groups])
    origin = triangles[:, 0]
    first, second = triangles[:, 1] - origin, triangles[:, 2] - origin
    reach = np.cumsum(_area(first, second))
    counts = [(len(g.matrices), len(g.primitive.triangles)) for g in groups]
    per_part = np.concatenate([np.full(p, f) for p, f in counts])
    part_of = np.repeat(np.arange(len(per_part)), per_part)
    name_of = np.concatenate([g.names for g in groups])
    seen = _Visibility(groups, union)
    middle, half = _frame(triangles)

    kept: list[LabelledPoints] = []
    missing, yields, bound = num_points, 0.75 if seen.trivial else 0.6, 0.0
    for _ in range(_ROUNDS):
        draws = int(missing / max(yields, 0.1) * 1.1) + 32 if not (seen.trivial and warp is None) else missing
        face = np.minimum(np.searchsorted(reach, rng.random(draws) * reach[-1]), len(reach) - 1)
        u, v = rng.random(draws), rng.random(draws)
        over = u + v > 1
        u[over], v[over] = 1 - u[over], 1 - v[over]
        e1, e2 = first[face], second[face]
        points, names = origin[face] + u[:, None] * e1 + v[:, None] * e2, name_of[part_of[face]]
        if not seen.trivial:
            visible = seen(points, part_of[face])
            points, names, e1, e2 = points[visible], names[visible], e1[visible], e2[visible]
        if warp is not None and len(points):
            points = (points - middle) / half
            bent, stretch = _bend(points, e1, e2, warp)
            bound = bound or float(np.quantile(stretch, 0.98))
            even = rng.random(len(bent)) * bound < stretch
            points, names = bent[even], names[even]
        kept.append(LabelledPoints(points, names))
        yields = len(points) / draws
        missing -= len(points)
        if missing <= 0:
            points, names = (np.concatenate(arrays)[:num_points] for arrays in zip(*kept, strict=True))
            return LabelledPoints(points, names)
        if yields < 0.02:
            return None
    return None


def _placed(copies: _Copies) -> Array:
    """(P F, 3, 3) the triangles of all copies."""
    corners = np.einsum("fvj,pij->pfvi", copies.primitive.triangles, copies.matrices)
    return (corners + copies.offsets[:, None, None]).reshape(-1, 3, 3)


def _area(a: Array, b: Array) -> Array:
    """Length (M,) of the cross products of (M, 3) and (M, 3): twice the triangles' areas."""
    ax, ay, az = a.T
    bx, by, bz = b.T
    return np.sqrt((ay * bz - az * by) ** 2 + (az * bx - ax * bz) ** 2 + (ax * by - ay * bx) ** 2)


def _frame(triangles: Array) -> tuple[Array, float]:
    corners = triangles.reshape(-1, 3)
    low, high = corners.min(0), corners.max(0)
    return (low + high) / 2, float((high - low).max()) / 2


def _bend(points: Array, e1: Array, e2: Array, warp: Warp) -> tuple[Array, Array]:
    """Warped points (M, 3), and how much the warp stretches the surface's area at each (M,)."""
    h = 1e-4
    e1, e2 = (e / np.maximum(np.linalg.norm(e, axis=1, keepdims=True), 1e-12) for e in (e1, e2))
    m = len(points)
    bent = warp(np.concatenate([points, points + h * e1, points + h * e2]))
    here = bent[:m]
    return here, _area(bent[m : 2 * m] - here, bent[2 * m :] - here) / np.maximum(
        _area(h * e1, h * e2), 1e-16
    )


class _Visibility:
    """Which points of the parts' surfaces lie on the surface of the whole."""

    def __init__(self, groups: list[_Copies], union: bool) -> None:
        self.groups, self.union = groups, union
        self.cuts = any(g.cuts for g in groups)
        self.trivial = not self.cuts and (not union or sum(len(g.matrices) for g in groups) == 1)
        if self.trivial:
            return
        self.inverses = [np.linalg.inv(g.matrices) for g in groups]
        self.turns = np.concatenate([g.turns for g in groups])
        self.is_cut = np.concatenate([np.full(len(g.turns), g.cuts) for g in groups])

    def __call__(self, points: Array, part: Array) -> Mask:
        """points (M, 3), part (M,) index of the part each lies on -> (M,) bool."""
        within = np.concatenate([self._inside(i, points) for i in range(len(self.groups))])  # (parts, M)
        here = np.arange(len(points))
        within[part, here] = False
        if not self.cuts:
            return np.asarray(~within.any(0))
        turns = self.turns[:, None]
        solid: Mask = within & ~self.is_cut[:, None]
        cut: Mask = within & self.is_cut[:, None]
        last_cut = np.where(cut, turns, -1).max(0)
        own = self.turns[part]
        on_cut = self.is_cut[part]
        # filled: by what was not cut away since
        filled = (solid & (turns > np.maximum(last_cut, np.where(on_cut, own, -1)))).any(0)
        earlier = (solid & (turns < own)).any(0)
        hidden = filled & (self.union | on_cut)
        visible: Mask = (own > last_cut) & ~hidden & (earlier | ~on_cut)
        return visible

    def _inside(self, i: int, points: Array) -> Mask:
        """(P, M): which points lie inside which copies of group i."""
        g = self.groups[i]
        inverse = self.inverses[i][..., None]
        # written out: a matrix product this small would wake BLAS's threads, which costs more than it saves
        local = inverse[:, :, 0] * points[:, 0]
        local += inverse[:, :, 1] * points[:, 1]
        local += inverse[:, :, 2] * points[:, 2]
        local -= np.einsum("pij,pj->pi", self.inverses[i], g.offsets)[..., None]
        low, high = g.primitive.low + _TOUCH, g.primitive.high - _TOUCH
        mask: Mask = np.asarray(((local > low[:, None]) & (local < high[:, None])).all(1))
        if g.primitive.inside is not None:
            copy, point = np.nonzero(mask)
            if len(copy):
                mask[copy, point] = g.primitive.inside(local[copy, :, point])
        return mask
