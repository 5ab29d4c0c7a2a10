"""Polygons to triangles, against the area of a polygon by the shoelace formula and counts of points
inside."""

import math

import numpy as np
import pytest

from pointmae_zoo.shapes.formats.polygons import triangulate
from pointmae_zoo.shapes.notes import collecting
from samples.geometry import area

rng = np.random.default_rng(0)


def shoelace(places: np.ndarray) -> float:
    x, y = places.T
    return abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) / 2


def star(corners: int, seed: int) -> np.ndarray:
    """A polygon around the origin whose corners are at random distances: seldom convex."""
    draws = np.random.default_rng(seed)
    angles = 2 * math.pi * np.arange(corners) / corners
    return (draws.uniform(0.1, 1, corners) * np.stack((np.cos(angles), np.sin(angles)))).T


def turned(places: np.ndarray, seed: int) -> np.ndarray:
    """The polygon (N, 2) somewhere in space (N, 3)."""
    frame = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return np.pad(places, ((0, 0), (0, 1))) @ frame.T + [3, 4, 5]


@pytest.mark.parametrize("corners", [4, 5, 6, 9, 40, 300])
@pytest.mark.parametrize("seed", range(4))
def test_any_simple_polygon_anywhere_in_space_is_covered_once(corners: int, seed: int) -> None:
    places = star(corners, seed)
    vertices = turned(places, seed)
    triangles, owners = triangulate(vertices, np.array([corners]), np.arange(corners))
    assert area(vertices[triangles]) == pytest.approx(shoelace(places)) and (owners == 0).all()
    # As the polygon goes round: all normals on one side.
    normals = np.cross(*(vertices[triangles[:, k]] - vertices[triangles[:, 0]] for k in (1, 2)))
    assert (normals @ normals.sum(axis=0) >= -1e-12).all()


def test_convex_polygons_are_fans_around_their_first_corner() -> None:
    angles = np.sort(rng.uniform(0, 2 * math.pi, 7))
    vertices = turned(np.stack((np.cos(angles), np.sin(angles)), axis=1), 1)
    triangles, owners = triangulate(
        vertices, np.array([3, 7, 2, 4]), np.array([0, 1, 2, *range(7), 0, 1, 3, 4, 5, 6])
    )
    fans = [(0, 1, 2), *[(0, k, k + 1) for k in range(1, 6)], (3, 4, 5), (3, 5, 6)]
    assert triangles.tolist() == [list(fan) for fan in fans]
    assert owners.tolist() == [0, 1, 1, 1, 1, 1, 3, 3]


def test_polygons_keep_their_order_beside_one_that_is_cut_otherwise() -> None:
    places = np.array([(2, 0), (2, 1), (1, 1), (1, 2), (0, 2), (0, 0), (5, 5), (6, 5), (5, 6)], float)
    vertices = np.pad(places, ((0, 0), (0, 1)))
    corners = np.array([6, 7, 8, *range(6), 8, 7, 6, 0, 1, 2, 4])
    triangles, owners = triangulate(vertices, np.array([3, 6, 3, 4]), corners)
    assert owners.tolist() == sorted(owners.tolist()) and triangles[0].tolist() == [6, 7, 8]
    assert area(vertices[triangles[owners == 1]]) == 3
    assert triangles[owners == 2].tolist() == [[8, 7, 6]]


def test_repeated_and_collinear_corners() -> None:
    vertices = np.array([(0, 0, 0), (1, 0, 0), (2, 0, 0), (2, 1, 0), (0, 1, 0)], float)
    for corners in ([0, 1, 2, 3, 4], [1, 2, 3, 4, 0], [0, 0, 1, 2, 2, 3, 4, 4], [0, 1, 2, 1, 2, 3, 4]):
        triangles, _ = triangulate(vertices, np.array([len(corners)]), np.array(corners))
        assert area(vertices[triangles]) == pytest.approx(2)


def test_a_hole_cut_in_by_a_bridge() -> None:
    """A square of 16 with a hole of 4, as exporters write it: out and back along one edge."""
    outer, inner = [(0, 0), (4, 0), (4, 4), (0, 4)], [(1, 1), (1, 3), (3, 3), (3, 1)]
    vertices = np.pad(np.array(outer + inner, float), ((0, 0), (0, 1)))
    corners = np.array([0, 1, 2, 3, 0, 4, 5, 6, 7, 4])
    triangles, _ = triangulate(vertices, np.array([10]), corners)
    assert area(vertices[triangles]) == 12
    middles = vertices[triangles].mean(axis=1)
    assert not ((middles[:, :2] > 1) & (middles[:, :2] < 3)).all(axis=1).any()


def test_polygons_that_cross_themselves_stay_fans_and_are_counted() -> None:
    vertices = np.array([(0, 0, 0), (2, 2, 0), (2, 0, 0), (0, 1, 0)], float)
    with collecting() as notes:
        triangles, _ = triangulate(vertices, np.array([4]), np.arange(4))
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 3]] and "1 polygons cross themselves" in notes[0]


def test_polygons_that_are_far_from_flat_stay_fans() -> None:
    vertices = np.array([(0, 0, 0), (1, 0, 0), (0.1, 0.1, 1), (0, 1, 0)], float)
    triangles, _ = triangulate(vertices, np.array([4]), np.arange(4))
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_numbers_that_are_none_do_not_stop_it() -> None:
    vertices = np.array([(0, 0, 0), (1, 0, np.nan), (1, 1, 0), (0, 1, np.inf)])
    assert len(triangulate(vertices, np.array([4]), np.arange(4))[0]) == 2
