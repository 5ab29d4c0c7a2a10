"""Turning shapes upright: always a rotation, from any of six directions."""

import numpy as np
import pytest

from pointmae_zoo.shapes.up_axis import AXES, UP_AXES, check_up, turn_up


def direction(name: str) -> np.ndarray:
    vector = np.zeros(3)
    vector["xyz".index(name[-1])] = -1 if name[0] == "-" else 1
    return vector


@pytest.mark.parametrize("source", UP_AXES)
@pytest.mark.parametrize("target", AXES)
def test_up_is_turned_by_a_proper_rotation(source: str, target: str) -> None:
    matrix = turn_up(np.eye(3, dtype=np.float32), source, target).T  # columns: where the axes go
    assert np.linalg.det(matrix) == pytest.approx(1.0)
    np.testing.assert_array_equal(matrix @ direction(source), direction(target))
    np.testing.assert_array_equal(matrix @ matrix.T, np.eye(3))


def test_a_batch_is_turned_cloud_by_cloud_and_the_given_points_stay() -> None:
    clouds = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    given = clouds.copy()
    for source in UP_AXES:
        turned = turn_up(clouds, source, "y")
        for one, alone in zip(turned, clouds, strict=True):
            np.testing.assert_array_equal(one, turn_up(alone, source, "y"))
    np.testing.assert_array_equal(clouds, given)


def test_a_depth_camera_looks_along_minus_z_when_upright() -> None:
    """Its x points right, its y down, its z forward; upright and seen from the same side, x still points
    right."""
    np.testing.assert_array_equal(turn_up(np.eye(3, dtype=np.float32), "-y", "y"), np.diag([1, -1, -1]))


def test_what_is_no_direction() -> None:
    with pytest.raises(ValueError, match=r"up: x, y, z, -x, -y or -z expected, got 'up'"):
        check_up("up")
