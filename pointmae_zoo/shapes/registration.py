"""Laying one surface on another: by scale, rotation, reflection and translation; and how far apart they then
are. numpy and scipy.

The principal axes of both give the first places to try, and point-to-plane ICP (Chen and Medioni, 1992) the
exact one. What is compared are the surfaces, not their triangles: two meshes of one shape are equal however
they are cut.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.pose import rotations
from pointmae_zoo.shapes.surface_sample import SurfaceSample

Floats = NDArray[np.float64]

NEAREST = 6
"""Stored points whose triangles may be the nearest."""
COARSE, MEDIUM, FINE = 100, 300, 1500
"""Points with which places are tried, with which some are refined, and the best of these."""
TURNS, MOST_PLACES = 36, 600
"""Places to try about an ambiguous axis, and where all axes are ambiguous."""
REFINED, ITERATIONS = 4, 30
"""How many places are refined, each in at most so many steps."""
HOPELESS = 0.15
"""Above this mean distance from planes, in mean radii, surfaces have nothing in common."""
MIRROR = np.diag([1.0, 1.0, -1.0])


class Placement(NamedTuple):
    """Where one surface lies on another: ``other = scale * rotation @ own + translation``."""

    scale: float
    rotation: Floats
    """(3, 3); its determinant is -1 if it mirrors."""
    translation: Floats
    """(3,)"""

    def apply(self, points: Floats) -> Floats:
        """(N, 3) -> (N, 3)."""
        return np.asarray(self.scale * points @ self.rotation.T + self.translation)

    def inverse(self) -> "Placement":
        """The way back."""
        turned = self.rotation.T
        return Placement(1 / self.scale, turned, -turned @ self.translation / self.scale)

    def matrix(self) -> Floats:
        """(4, 4)."""
        found = np.eye(4)
        found[:3, :3], found[:3, 3] = self.scale * self.rotation, self.translation
        return found


IN_PLACE = Placement(1.0, np.eye(3), np.zeros(3))
"""Both as they are in their files."""


class Surface:
    """A shape to be compared: centred on its centroid, with a mean square radius of 1.

    Args:
        sample: of `shapes.surface_sample.sample_surface`.
    """

    def __init__(self, sample: SurfaceSample) -> None:
        self.size = float(np.sqrt(np.trace(sample.moments)))
        """Root mean square distance of its surface from its centroid, in the file's unit."""
        self.centroid, self.moments = sample.centroid, sample.moments / self.size**2
        self.stored, self.asked = sample.stored / self.size, sample.asked / self.size
        reach = max(np.linalg.norm(points, axis=1).max() for points in (self.stored, self.asked))
        self.diagonal = 2 * float(reach)
        """Twice the largest distance of its surface from its centroid."""
        self._corners = None if sample.corners is None else sample.corners / self.size

    @property
    def is_cloud(self) -> bool:
        return self._corners is None

    @cached_property
    def _tree(self):  # type: ignore[no-untyped-def] # scipy has no types
        from scipy.spatial import cKDTree

        return cKDTree(self.stored)

    @cached_property
    def spacing(self) -> float:
        """Distance between neighbouring stored points, in the mean."""
        return float(self._tree.query(self.stored[:1000], k=2)[0][:, 1].mean()) * 2

    @cached_property
    def normals(self) -> Floats:
        """(N, 3) of the stored points' triangles; of a cloud, of the planes through neighbours."""
        if self._corners is None:
            near = self.stored[self._tree.query(self.stored, k=8)[1]]
            return np.asarray(np.linalg.svd(near - near.mean(axis=1, keepdims=True))[2][:, 2])
        a, b, c = self._corners.transpose(1, 0, 2)
        found = np.cross(b - a, c - a)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-300))

    def nearest(self, points: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """Distances (M,) of points (M, 3) to the nearest stored points, and their numbers."""
        found, number = self._tree.query(points)
        return found, number

    def distances(self, points: Floats) -> Floats:
        """Distances (M,) of points (M, 3) to the surface.

        Exact for triangles larger than the spacing of the stored points. Where the surface bends within the
        spacing, or has gaps as small, it is the distance to the planes of the nearest triangles.
        """
        away, number = self._tree.query(points, k=NEAREST)  # (M, K)
        offset = points[:, None] - self.stored[number]
        above = np.abs(np.einsum("mkx,mkx->mk", offset, self.normals[number]))
        beside = np.sqrt(np.maximum(away**2 - above**2, 0))
        planes = np.hypot(above, np.maximum(beside - self.spacing, 0))
        if self._corners is None:
            return np.asarray(planes.min(axis=1))
        exact = _to_triangles(np.repeat(points, NEAREST, axis=0), self._corners[number.ravel()])
        return np.minimum(planes, exact.reshape(planes.shape)).min(axis=1)

    @cached_property
    def floor(self) -> Floats:
        """Distances (ASKED,) of other points of the same surface: what is not a difference."""
        return np.sort(self.distances(self.asked))


class Comparison(NamedTuple):
    """How two surfaces lie on each other."""

    placement: Placement
    """Of the first on the second, in the files' coordinates."""
    away: Floats
    """Distances of points of the first to the second, as a share of the second's diagonal, sorted."""
    back: Floats
    """Distances of points of the second to the first, likewise."""

    @property
    def mean(self) -> float:
        """Mean distance, as a share of the diagonal."""
        return float((self.away.mean() + self.back.mean()) / 2)

    @property
    def largest(self) -> float:
        """What 995 of 1,000 points stay below, in both directions."""
        return float(max(np.quantile(self.away, 0.995), np.quantile(self.back, 0.995)))

    def agreeing(self, tolerance: float) -> float:
        """The share of the surfaces that is nearer than ``tolerance``; the lower one of both directions."""
        return float(min((self.away <= tolerance).mean(), (self.back <= tolerance).mean()))


def compare(first: Surface, second: Surface, *, mirrored: bool = False) -> Comparison:
    """Lay one surface on another as well as possible. See `Comparison`.

    Args:
        mirrored: lay its mirror image on the other.
    """
    moved = _best(first, second, mirrored)
    scale = moved.scale * second.size / first.size
    centre = second.size * moved.translation + second.centroid
    placement = Placement(scale, moved.rotation, centre - scale * moved.rotation @ first.centroid)
    return measured(first, second, placement)


def measured(first: Surface, second: Surface, placement: Placement) -> Comparison:
    """How far apart two surfaces are in this place, which is in the files' coordinates."""

    def between(own: Surface, other: Surface, place: Placement) -> Floats:
        lying = place.apply(own.size * own.asked + own.centroid) - other.centroid
        return np.sort(other.distances(lying / other.size)) / other.diagonal

    return Comparison(
        placement, between(first, second, placement), between(second, first, placement.inverse())
    )


def _best(first: Surface, second: Surface, mirrored: bool) -> Placement:
    """The best place of one unit surface on another."""
    canonical = rotations(first.moments, "any", "y")[0]
    if mirrored:
        canonical = MIRROR @ canonical
    places = rotations(second.moments, "any", "y", turns=TURNS, most=MOST_PLACES)
    tried = places.transpose(0, 2, 1) @ canonical  # (P, 3, 3): own frame -> canonical -> the other's
    few = first.asked[:COARSE]
    apart, _ = second.nearest((few @ tried.transpose(0, 2, 1)).reshape(-1, 3))
    costs = np.square(apart).reshape(len(tried), -1).mean(axis=1)
    starts = [Placement(1.0, tried[number], np.zeros(3)) for number in np.argsort(costs)[:REFINED]]
    refined = [_refined(first.asked[:MEDIUM], second, start) for start in starts]
    best, cost = min(refined, key=lambda one: one[1])
    return best if cost > HOPELESS else _refined(first.asked[:FINE], second, best)[0]


def _refined(points: Floats, other: Surface, moved: Placement) -> tuple[Placement, float]:
    """Point-to-plane ICP with scale: where the points (M, 3) lie on the other surface, and the mean distance
    from its planes."""
    cost = np.inf
    for _ in range(ITERATIONS):
        lying = moved.apply(points)
        apart, number = other.nearest(lying)
        near = apart <= max(3 * np.median(apart), 2 * other.spacing)  # parts that the other lacks don't pull
        lying, normals = lying[near], other.normals[number[near]]
        offsets = np.einsum("mx,mx->m", other.stored[number[near]] - lying, normals)
        now = float(np.abs(offsets).mean() + 0.1 * (1 - near.mean()))
        if now > cost * (1 - 1e-3):
            break
        cost, found = now, moved
        turning = np.concatenate(
            [np.cross(lying, normals), normals, np.einsum("mx,mx->m", lying, normals)[:, None]], axis=1
        )
        # Directions that nothing holds, such as turns of a ball, stay as they are.
        step = np.linalg.lstsq(turning, offsets, rcond=1e-6)[0]
        moved = _stepped(moved, step)
    return found, cost


def _stepped(moved: Placement, step: Floats) -> Placement:
    """After a small turn (3), shift (3) and growth (1)."""
    angle = float(np.linalg.norm(step[:3]))
    if angle > 0.5:  # far too long a step: the start is bad
        step = step * (0.5 / angle)
        angle = 0.5
    axis = step[:3] / max(angle, 1e-300)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    growth = 1 + float(np.clip(step[6], -0.1, 0.1))
    return Placement(
        moved.scale * growth, turn @ moved.rotation, growth * turn @ moved.translation + step[3:6]
    )


def _to_triangles(points: Floats, corners: Floats) -> Floats:
    """Distances (M,) of points (M, 3) to triangles (M, 3 corners, 3), each to its own."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]

    def dot(one: Floats, other: Floats) -> Floats:
        return np.asarray(np.einsum("mx,mx->m", one, other))

    ab, ac, ap = b - a, c - a, points - a
    normal = np.cross(ab, ac)
    square = dot(normal, normal)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = dot(np.cross(ap, ac), normal) / square  # barycentric coordinates of the foot on the plane
        v = dot(np.cross(ab, ap), normal) / square
        inside = (u >= 0) & (v >= 0) & (u + v <= 1)  # False for triangles without area
        plane = np.abs(dot(ap, normal)) / np.sqrt(square)
    edges = np.full(len(points), np.inf)
    for start, along in ((a, ab), (a, ac), (b, c - b)):
        length = np.maximum(dot(along, along), 1e-300)
        place = np.clip(dot(points - start, along) / length, 0, 1)
        edges = np.minimum(edges, np.linalg.norm(points - start - place[:, None] * along, axis=1))
    return np.where(inside, plane, edges)
