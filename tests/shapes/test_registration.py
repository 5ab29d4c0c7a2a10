"""Surfaces laid on each other: shapes whose place, size and distance are known."""

import numpy as np
import pytest
import trimesh

from pointmae_zoo.datasets.poses import uniform_rotations
from pointmae_zoo.shapes.registration import IN_PLACE, Surface, _to_triangles, compare, measured
from pointmae_zoo.shapes.surface import MeshError, from_points, from_triangles
from pointmae_zoo.shapes.surface_sample import SurfaceSample, sample_surface

pytest.importorskip("scipy")


def bracket(hole: float = 0.0) -> trimesh.Trimesh:
    """An L with a long and a short arm and a peg on one side: no symmetry, not even a mirror's."""
    parts = [
        trimesh.creation.box((60.0, 20.0, 4.0)),
        trimesh.creation.box((4.0, 20.0, 30.0)).apply_translation((28.0, 0.0, 15.0)),
        trimesh.creation.cylinder(4.0, 10.0).apply_translation((-20.0, 5.0, 6.0)),
    ]
    if hole:
        parts.append(trimesh.creation.cylinder(hole, 14.0).apply_translation((10.0, -6.0, 6.0)))
    return trimesh.util.concatenate(parts)


def surface(mesh: trimesh.Trimesh, seed: int = 0) -> Surface:
    return Surface(sample_surface(from_triangles(np.asarray(mesh.triangles)), seed))


def anywhere(rng: np.random.Generator, scale: float = 1.0) -> np.ndarray:
    place = np.eye(4)
    place[:3, :3] = scale * uniform_rotations(1, rng)[0]
    place[:3, 3] = rng.normal(size=3) * 100
    return place


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [1.0, 25.4])
def test_the_place_of_a_copy_is_found(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    mesh, place = bracket(), anywhere(rng, scale)
    found = compare(surface(mesh), surface(mesh.copy().apply_transform(place), seed=7))
    np.testing.assert_allclose(found.placement.matrix()[:3, :3], place[:3, :3], atol=2e-3 * scale)
    corners = trimesh.transform_points(mesh.vertices, place)
    np.testing.assert_allclose(found.placement.apply(mesh.vertices), corners, atol=0.1 * scale)
    assert found.largest < 0.004 and found.agreeing(0.004) > 0.99


@pytest.mark.parametrize("seed", range(3))
def test_a_mirror_image_fits_only_as_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mesh = bracket()
    other = mesh.copy().apply_transform(np.diag([1.0, -1.0, 1.0, 1.0])).apply_transform(anywhere(rng))
    assert compare(surface(mesh), surface(other, 7)).largest > 0.03
    found = compare(surface(mesh), surface(other, 7), mirrored=True)
    assert found.largest < 0.004 and np.linalg.det(found.placement.rotation) < 0


def test_shapes_without_clear_axes_are_found_too() -> None:
    rng = np.random.default_rng(1)
    cube = trimesh.creation.box((10.0, 10.0, 10.0))
    flange = trimesh.util.concatenate(
        [trimesh.creation.cylinder(20.0, 3.0, sections=64)]
        + [
            trimesh.creation.cylinder(2.0, 8.0).apply_translation((14 * np.cos(a), 14 * np.sin(a), 2.5))
            for a in 2 * np.pi * np.arange(5) / 5
        ]
    )
    for mesh in (cube, flange):
        found = compare(surface(mesh), surface(mesh.copy().apply_transform(anywhere(rng)), 7))
        assert found.largest < 0.004


def test_what_one_has_more_is_seen_by_its_share() -> None:
    found = compare(surface(bracket()), surface(bracket(hole=3.0), 7))
    added = 1 - bracket().area / bracket(hole=3.0).area  # a little of it is near the plate's own surface
    assert found.largest > 0.02
    assert 0.75 * added < 1 - found.agreeing(0.004) < added


def test_distances_are_those_of_trimesh() -> None:
    rng = np.random.default_rng(0)
    mesh = bracket()
    one = surface(mesh)
    points = rng.normal(size=(300, 3)) * 25
    _, expected, _ = trimesh.proximity.closest_point_naive(mesh, points)
    found = one.distances((points - one.centroid) / one.size) * one.size
    spacing = one.spacing * one.size
    assert (found > expected - spacing).all()  # beside an edge it is the distance to the plane
    near = expected < 5 * spacing
    assert near.sum() > 20 and (found[near] < expected[near] + 0.5 * spacing).all()
    assert np.abs(found - expected)[near].mean() < 0.25 * spacing


def test_distances_to_triangles_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    points, corners = rng.normal(size=(50, 3)), rng.normal(size=(50, 3, 3))
    corners[:5, 2] = corners[:5, 1]  # lines
    u, v = np.meshgrid(np.linspace(0, 1, 301), np.linspace(0, 1, 301))
    inside = (u + v) <= 1
    weights = np.stack([1 - u - v, u, v], -1)[inside]
    places = np.einsum("wc,mcx->mwx", weights, corners)
    expected = np.linalg.norm(places - points[:, None], axis=2).min(axis=1)
    np.testing.assert_allclose(_to_triangles(points, corners), expected, atol=5e-3)


def test_in_place_means_where_the_files_say() -> None:
    mesh = bracket().apply_translation((1000.0, 0.0, 0.0))
    moved = mesh.copy().apply_translation((5.0, 0.0, 0.0))
    assert measured(surface(mesh), surface(mesh, 7), IN_PLACE).largest < 0.004
    assert measured(surface(mesh), surface(moved, 7), IN_PLACE).largest > 0.02


def test_a_cloud_of_points_fits_its_mesh() -> None:
    rng = np.random.default_rng(0)
    mesh = bracket()
    points, _ = trimesh.sample.sample_surface(mesh, 6000, seed=1)
    cloud = Surface(sample_surface(from_points(trimesh.transform_points(points, anywhere(rng)))))
    assert cloud.is_cloud
    found = compare(cloud, surface(mesh))
    assert found.largest < 0.03 and found.mean < 0.004


def test_samples_survive_their_bytes_and_lie_evenly() -> None:
    sample = sample_surface(from_triangles(np.asarray(bracket().triangles)))
    header, body = sample.to_bytes()
    back = SurfaceSample.of_bytes(body, header)
    for one, other in zip(sample, back, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.abs(sample.stored.mean(axis=0)).max() < 0.3  # about the centroid
    with pytest.raises(MeshError, match="only 3 points"):
        sample_surface(from_points(np.eye(3)))
