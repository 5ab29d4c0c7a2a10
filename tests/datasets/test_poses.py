"""Poses of stored clouds: rotations, repeatable, and as uniform as they claim to be."""

from typing import Any

import numpy as np
import pytest

from pointmae_zoo.datasets.poses import posed
from pointmae_zoo.datasets.sources import CloudSource, InMemory, concatenate, procedural_source


def source(count: int, num_points: int = 12, seed: int = 0) -> CloudSource:
    points = np.random.default_rng(seed).normal(size=(count, num_points, 3)).astype(np.float32)
    return CloudSource(num_points, [InMemory(points)], [f"cloud {i}" for i in range(count)], ["0" * 64])


def everything(source: CloudSource) -> np.ndarray:
    return source.read(np.arange(len(source)))


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, :, None] - points[:, None], axis=3)


@pytest.mark.parametrize("pose", ["turned", "any", "principal"])
def test_a_posed_cloud_is_the_same_shape_and_no_mirror_image(pose: Any) -> None:
    upright = source(20)
    other = posed(upright, pose)
    before, after = everything(upright), everything(other)
    assert after.dtype == np.float32 and other.names == upright.names and other.sha256 == upright.sha256
    np.testing.assert_allclose(distances(after), distances(before), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(after, axis=2), np.linalg.norm(before, axis=2), atol=1e-5)
    volumes = [np.linalg.det(points[:, :3].astype(np.float64)) for points in (before, after)]
    np.testing.assert_allclose(*volumes, atol=1e-4)
    assert np.abs(after - before).max((1, 2)).min() > 1e-3
    same_height = np.allclose(after[..., 1], before[..., 1], atol=1e-6)
    assert same_height == (pose == "turned")


@pytest.mark.parametrize("pose", ["turned", "any", "principal"])
def test_a_rotation_depends_on_the_number_and_the_seed_alone(pose: Any) -> None:
    whole = everything(posed(source(20), pose, 3))
    np.testing.assert_array_equal(everything(posed(source(20), pose, 3)), whole)
    some = np.array([17, 2, 2, 9])
    np.testing.assert_array_equal(posed(source(20), pose, 3).read(some), whole[some])
    longer = posed(concatenate([source(20), source(5, seed=1)]), pose, 3)
    np.testing.assert_array_equal(everything(longer)[:20], whole)
    assert not np.allclose(everything(posed(source(20), pose, 4)), whole)


@pytest.mark.parametrize("pose", ["turned", "any", "principal"])
def test_every_cloud_is_there_in_each_of_its_poses(pose: Any) -> None:
    upright = source(20)
    thrice = posed(upright, pose, 3, poses=3)
    points = everything(thrice)
    np.testing.assert_array_equal(points[:20], everything(posed(upright, pose, 3)))
    np.testing.assert_allclose(
        distances(points), np.tile(distances(everything(upright)), (3, 1, 1)), atol=1e-5
    )
    for one, other in ((0, 20), (0, 40), (20, 40)):
        assert np.abs(points[one : one + 20] - points[other : other + 20]).max((1, 2)).min() > 1e-3
    assert thrice.names[19:21] == ["cloud 19, pose 1", "cloud 0, pose 2"]
    with pytest.raises(ValueError, match="poses is 3, but all are upright"):
        posed(upright, "upright", poses=3)


def test_closing_a_posed_source_closes_what_it_turns() -> None:
    made = procedural_source(4, 0, 16, workers=1)
    turned = posed(made, "any")
    turned.read(np.arange(4))
    turned.close()
    with pytest.raises(RuntimeError):
        turned.read(np.arange(4))


def test_upright_clouds_stay_as_they_are() -> None:
    upright = source(3)
    assert posed(upright, "upright") is upright
    with pytest.raises(ValueError, match=r"pose: one of upright, .* expected, got 'upside down'"):
        posed(upright, "upside down")  # type: ignore[arg-type]


def test_rotations_are_uniform() -> None:
    """Where a fixed point goes: for ``any`` each coordinate is uniform in [-1, 1] (Archimedes), for
    ``turned`` the angle about y is uniform. Distances to the uniform distribution, of 4,000 clouds."""
    count = 4000
    corner = np.tile(np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1.0]]], np.float32), (count, 1, 1))
    corners = CloudSource(3, [InMemory(corner)], [""] * count, [])
    most = 2.2 / np.sqrt(count)  # of Kolmogorov's statistic; uniform samples exceed it once in 10,000

    def farthest(values: np.ndarray) -> float:
        return float(np.abs(np.sort(values) - (np.arange(count) + 0.5) / count).max())

    anywhere = everything(posed(corners, "any"))
    for axis in range(3):
        for coordinate in range(3):
            assert farthest((anywhere[:, axis, coordinate] + 1) / 2) < most
    # About the direction in which the first axis points, the second is anywhere, too.
    x, y = anywhere[:, 0], anywhere[:, 1]
    side = np.cross(x, [0.0, 0.0, 1.0])
    angle = np.arctan2((np.cross(x, side) * y).sum(1), (side * y).sum(1) * 1.0)
    assert farthest((angle + np.pi) / (2 * np.pi)) < most
    turned = everything(posed(corners, "turned"))
    assert farthest((np.arctan2(turned[:, 0, 2], turned[:, 0, 0]) + np.pi) / (2 * np.pi)) < most
