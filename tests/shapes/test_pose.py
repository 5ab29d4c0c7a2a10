"""Second moments and canonical poses: of the surface alone, however it is cut, moved or turned."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pointmae_zoo.shapes.pose import AMBIGUOUS, rotations, second_moments
from pointmae_zoo.shapes.read import read_points, read_points_and_size
from pointmae_zoo.shapes.surface import Geometry, from_points

EXACT = {"rtol": 1e-12, "atol": 0}


def geometry(mesh: Any) -> Geometry:
    """In float64, as no file is, so that only the integral can be inexact."""
    corners = np.asarray(mesh.vertices, np.float64)[mesh.faces]
    return Geometry(np.ascontiguousarray(corners.transpose(1, 2, 0)), np.empty((0, 3)))


def bracket() -> Any:
    """Without any symmetry."""
    parts = [trimesh.creation.box(extents=(5, 3, 1)), trimesh.creation.icosphere(1, 1.0)]
    parts[1].apply_translation((2, 1, 2))
    return trimesh.util.concatenate(parts)


def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(values).max()


def test_moments_of_a_triangle_are_those_of_its_places() -> None:
    """Against the middles of a million small triangles of equal area, in float64."""
    corners = np.array([[0.0, 0.0, 0.0], [4.0, 1.0, -2.0], [1.0, 5.0, 3.0]])
    steps = 1000
    row, column = np.divmod(np.arange(steps * steps), steps)
    upward = row + column < steps
    a = np.where(upward, row + 1 / 3, steps - 1 - row + 2 / 3) / steps
    b = np.where(upward, column + 1 / 3, steps - 1 - column + 2 / 3) / steps
    inside = a + b < 1
    places = (
        corners[0] + a[inside, None] * (corners[1] - corners[0]) + b[inside, None] * (corners[2] - corners[0])
    )
    wanted = np.cov(places.T, bias=True)
    found = second_moments(Geometry(corners[:, :, None], np.empty((0, 3))))
    np.testing.assert_allclose(found, wanted, atol=1e-5 * spread(wanted))


def test_moments_of_a_box_by_its_formula() -> None:
    x, y, z = size = np.array([2.0, 3.0, 7.0])
    area = 2 * (x * y + y * z + z * x)
    wanted = [
        (
            2 * size[(k + 1) % 3] * size[(k + 2) % 3] * size[k] ** 2 / 4
            + (area - 2 * size[(k + 1) % 3] * size[(k + 2) % 3]) * size[k] ** 2 / 12
        )
        / area
        for k in range(3)
    ]
    found = second_moments(geometry(trimesh.creation.box(extents=size)))
    np.testing.assert_allclose(found, np.diag(wanted), atol=1e-13)


def test_moments_do_not_know_how_a_surface_is_cut() -> None:
    mesh = bracket()
    once = second_moments(geometry(mesh))
    uneven = mesh.subdivide(face_index=np.arange(0, len(mesh.faces), 3))
    for other in (mesh.subdivide(), mesh.subdivide().subdivide(), uneven):
        np.testing.assert_allclose(
            second_moments(geometry(other)), once, rtol=1e-12, atol=1e-12 * spread(once)
        )


def test_moments_turn_with_the_surface_and_do_not_move_with_it() -> None:
    mesh, turn = bracket(), Rotation.random(rng=np.random.default_rng(0)).as_matrix()
    once = second_moments(geometry(mesh))
    turned = trimesh.Trimesh(mesh.vertices @ turn.T + [3000, -500, 8], mesh.faces, process=False)
    found = second_moments(geometry(turned))
    np.testing.assert_allclose(found, turn @ once @ turn.T, rtol=0, atol=1e-10 * spread(once))


def test_many_triangles_are_added_up_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    once = second_moments(geometry(bracket()))
    monkeypatch.setattr("pointmae_zoo.shapes.pose.CHUNK", 7)
    np.testing.assert_allclose(second_moments(geometry(bracket())), once, rtol=0, atol=1e-13 * spread(once))


def test_points_have_the_moments_of_points(tmp_path: Path) -> None:
    cloud = np.random.default_rng(0).normal(size=(500, 3)) * (1, 2, 3) + 50
    np.testing.assert_allclose(second_moments(from_points(cloud)), np.cov(cloud.T, bias=True), **EXACT)
    np.save(tmp_path / "cloud.npy", cloud)
    points, moments, _ = read_points_and_size(tmp_path / "cloud.npy", 100, seed=3)
    np.testing.assert_array_equal(points, read_points(tmp_path / "cloud.npy", 100, seed=3))
    np.testing.assert_allclose(moments, np.cov(cloud.T, bias=True), rtol=1e-9)  # of all 500


def of_principal(values: tuple[float, ...], turn: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(turn @ np.diag(values) @ turn.T)


def same_set(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    apart = np.abs(first[:, None] - second[None]).max(axis=(2, 3))
    return bool((apart.min(axis=0) < 1e-6).all() and (apart.min(axis=1) < 1e-6).all())


@pytest.mark.parametrize(
    ("values", "pose", "count"),
    [
        ((9, 4, 1), "any", 4),
        ((9, 9 * (AMBIGUOUS + 0.01), 1), "any", 4),  # a disc
        ((9, 1, AMBIGUOUS + 0.01), "any", 4),  # a rod
        ((9, 9 * (AMBIGUOUS - 0.01), 1), "any", 4),
        ((9, 9, 9), "any", 24),
        ((9, 1, 0), "any", 4),  # flat
        ((9, 0, 0), "any", 4),  # two points
        ((9, 4, 1), "turned", 2),
        ((9, 1, 9), "turned", 4),  # round about y
        ((9, 4, 1), "upright", 1),
    ],
)
def test_poses_are_rotations_and_more_where_axes_are_ambiguous(values: Any, pose: Any, count: int) -> None:
    found = rotations(np.diag(np.array(values, float)), pose, "y")
    assert found.shape == (count, 3, 3)
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.eye(3)[None].repeat(count, 0), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(found), 1)
    for one in range(count):
        assert (np.abs(found - found[one]).max(axis=(1, 2)) < 1e-6).sum() == 1  # no pose twice


@pytest.mark.parametrize("seed", range(5))
def test_any_rotation_leads_to_the_same_poses(seed: int) -> None:
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    found = rotations(of_principal((9, 4, 1), turn), "any", "y")
    assert same_set(found @ turn, rotations(np.diag([9.0, 4.0, 1.0]), "any", "y"))
    along = found @ of_principal((9, 4, 1), turn) @ found.transpose(0, 2, 1)
    np.testing.assert_allclose(along, np.diag([9.0, 4.0, 1.0])[None].repeat(4, 0), atol=1e-7)


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_a_turn_about_up_leads_to_the_same_poses(up: str) -> None:
    base = of_principal((9, 4, 1), Rotation.random(rng=np.random.default_rng(1)).as_matrix())
    wanted = rotations(base, "turned", up)
    axis = np.eye(3)["xyz".index(up)]
    np.testing.assert_allclose(wanted @ axis, axis[None].repeat(2, 0), atol=1e-12)
    turn = Rotation.from_rotvec(2.0 * axis).as_matrix()
    assert same_set(rotations(turn @ base @ turn.T, "turned", up) @ turn, wanted)
    tilt = Rotation.from_rotvec(0.5 * np.roll(axis, 1)).as_matrix()
    assert not same_set(rotations(tilt @ base @ tilt.T, "turned", up) @ tilt, wanted)


def test_poses_do_not_depend_on_the_last_bits() -> None:
    """The axes of a disc or a cube are those that the last bits say, unless these are rounded away."""
    for values in ((9.0, 9.0, 1.0), (1.0, 1.0, 1.0)):
        wanted = rotations(np.diag(values), "any", "y")
        for seed in range(10):
            noise = np.random.default_rng(seed).normal(size=(3, 3)) * 1e-13
            found = rotations(np.diag(values) + noise + noise.T, "any", "y")
            np.testing.assert_allclose(found, wanted, atol=1e-12)
