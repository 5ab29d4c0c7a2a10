"""Size of shapes, beside trimesh's."""

import numpy as np
import pytest
import trimesh

from pointmae_zoo.shapes.measures import measure
from pointmae_zoo.shapes.surface import from_points, from_triangles


def _of(mesh: trimesh.Trimesh, dtype: type = np.float32):
    return measure(from_triangles(np.asarray(mesh.triangles, dtype)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_closed_shapes_as_trimesh_measures_them(dtype: type) -> None:
    rotation = trimesh.transformations.random_rotation_matrix(np.array([0.1, 0.5, 0.7]))
    for mesh in (
        trimesh.creation.box((10.0, 20.0, 3.5)),
        trimesh.creation.annulus(2.0, 5.0, 1.0),
        trimesh.creation.icosphere(3, 7.0),
    ):
        mesh.apply_transform(rotation)
        mesh.apply_translation((100.0, -50.0, 3.0))
        found = _of(mesh, dtype)
        assert found.watertight
        assert found.triangles == len(mesh.faces)
        assert found.extents == pytest.approx(mesh.extents, rel=1e-4)
        assert found.area == pytest.approx(mesh.area, rel=1e-5)
        assert found.volume == pytest.approx(mesh.volume, rel=1e-4)


def test_more_triangles_than_a_chunk() -> None:
    mesh = trimesh.creation.icosphere(6, 2.0)
    assert len(mesh.faces) > 65536
    found = _of(mesh)
    assert found.watertight and found.volume == pytest.approx(mesh.volume, rel=1e-5)


def test_inside_out_has_the_same_volume() -> None:
    mesh = trimesh.creation.box((1.0, 2.0, 3.0))
    mesh.invert()
    assert _of(mesh).volume == pytest.approx(6.0)


def test_open_and_inconsistent_surfaces_have_no_volume() -> None:
    mesh = trimesh.creation.icosphere(2)
    for wrong in range(0, len(mesh.faces), 37):
        opened = np.delete(mesh.triangles, wrong, axis=0)
        flipped = mesh.triangles.copy()
        flipped[wrong] = flipped[wrong, ::-1]
        moved = mesh.triangles.copy()
        moved[wrong, 0] *= 1.001
        for triangles in (opened, flipped, moved):
            found = measure(from_triangles(triangles.astype(np.float32)))
            assert not found.watertight and found.volume is None
            assert found.area == pytest.approx(mesh.area, rel=0.02)


def test_zero_and_minus_zero_are_one_place() -> None:
    triangles = trimesh.creation.box((1.0, 1.0, 1.0)).triangles + 0.5
    triangles[::2][triangles[::2] == 0] = -0.0
    assert measure(from_triangles(triangles.astype(np.float32))).watertight


def test_points_have_extents_only() -> None:
    points = np.random.default_rng(0).random((50, 3), np.float32)
    found = measure(from_points(points))
    assert found.extents == pytest.approx(np.ptp(points, axis=0))
    assert found[1:] == (None, None, 0, False)
