"""The recipe from raw points to a network's input."""

import numpy as np
import pytest
import torch

from pointmae_zoo.models.preprocess import Preprocess, _bounds


def brute_force_fps(points: np.ndarray, count: int) -> list[int]:
    """Farthest point sampling in float64, by the definition."""
    picked = [0]
    nearest = ((points - points[0]) ** 2).sum(1)
    while len(picked) < count:
        picked.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((points - points[picked[-1]]) ** 2).sum(1))
    return picked


def cloud(seed: int = 0, count: int = 300) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32) * (1, 2, 5) + (7, -3, 2)


def test_samples_centres_and_scales_as_the_definition_says() -> None:
    points = cloud()
    result = Preprocess(num_points=40, surface_samples=100)(points)
    expected = points[brute_force_fps(points.astype(np.float64), 40)].astype(np.float64)
    expected -= expected.mean(0)
    expected /= np.linalg.norm(expected, axis=1).max()
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), expected, atol=2e-6)


def test_none_keeps_place_and_units() -> None:
    points = cloud().astype(np.float32)
    result = Preprocess(num_points=64, surface_samples=64, center="none", scale="none")(points).numpy()
    assert {tuple(row) for row in result} <= {tuple(row) for row in points}


@pytest.mark.parametrize("place", [(5e5, 5.4e6, 300.0), (-4e8, 0.0, 7e9)])
def test_map_coordinates_keep_the_shape(place: tuple[float, float, float]) -> None:
    recipe = Preprocess(num_points=64, surface_samples=64)
    near = np.round(cloud() * 1024) / 1024  # moved by whole numbers, it stays the same in float64
    torch.testing.assert_close(recipe(near + place), recipe(near), atol=1e-5, rtol=0)


def test_far_float32_points_are_centred_exactly() -> None:
    near = np.random.default_rng(0).integers(0, 4, (300, 3)).astype(np.float32)
    recipe = Preprocess(num_points=32, surface_samples=64)
    torch.testing.assert_close(recipe(near + np.float32(2**22)), recipe(near), atol=1e-6, rtol=0)


def test_number_types_that_hold_the_same_values_give_the_same_bits() -> None:
    points = cloud().astype(np.float32)
    recipe = Preprocess(num_points=64, surface_samples=64)
    assert torch.equal(recipe(points.astype(np.float64)), recipe(points))
    assert torch.equal(recipe(points.tolist()), recipe(points))
    whole = np.round(points * 8)
    assert torch.equal(recipe(whole.astype(np.int64)), recipe(whole))


def test_tensors_are_taken_as_they_are() -> None:
    recipe = Preprocess(num_points=64, surface_samples=64)
    points = torch.from_numpy(cloud().astype(np.float32))
    tracked = points.clone().requires_grad_()
    assert torch.equal(recipe(tracked), recipe(points)) and not recipe(tracked).requires_grad
    assert torch.equal(recipe(tracked[None]), recipe([tracked]))
    assert torch.equal(recipe(points.bfloat16()), recipe(points.bfloat16().float()))


def test_up_z_of_a_turned_cloud_is_the_cloud_itself() -> None:
    recipe = Preprocess(num_points=50, surface_samples=100)
    points = cloud().astype(np.float32)
    lying = np.stack((points[:, 0], -points[:, 2], points[:, 1]), axis=1)  # +90 degrees about x: y becomes z
    torch.testing.assert_close(recipe(lying, up="z"), recipe(points), atol=1e-6, rtol=0)


def test_a_small_cloud_is_repeated_in_sampling_order() -> None:
    points = cloud(count=5).astype(np.float32)
    result = Preprocess(num_points=12, surface_samples=12, center="none", scale="none")(points).numpy()
    order = brute_force_fps(points.astype(np.float64), 5)
    np.testing.assert_array_equal(result, points[[order[i % 5] for i in range(12)]])


def test_every_cloud_stands_alone_bit_for_bit() -> None:
    clouds = [cloud(seed, count) for seed, count in enumerate((300, 80, 300, 20, 1000, 300))]
    recipe = Preprocess(num_points=64, surface_samples=64)
    together = recipe(clouds)
    for one, row in zip(clouds, together, strict=True):
        assert torch.equal(recipe(one), row)
    assert torch.equal(recipe(clouds[::-1]), together.flip(0))
    assert torch.equal(recipe(np.stack(clouds[::2][:2])), together[[0, 2]])


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_size_does_not_matter_even_where_squares_overflow(factor: float) -> None:
    points = cloud().astype(np.float32)
    recipe = Preprocess(num_points=64, surface_samples=64)
    torch.testing.assert_close(recipe(points * np.float32(factor)), recipe(points), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.full((5, 3), np.nan), "NaN or infinity"),
        (np.array([[0, 0, 0], [1e300, 0, 0]]), "NaN or infinity"),
        (np.ones((5, 3)), "two different points"),
        (np.ones((1, 3)), "two different points"),
        (np.empty((0, 3)), "two different points"),
        (np.ones((5, 2)), r"\(5, 2\)"),
        (np.array([["a", "b", "c"]]), "numbers expected"),
        ([], "at least one cloud"),
        (np.empty((0, 7, 3)), "at least one cloud"),
        (torch.empty((0, 7, 3)), "at least one cloud"),
    ],
)
def test_unusable_points_are_named(points: np.ndarray, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Preprocess()(points)


def test_the_wrong_cloud_of_a_list_is_named() -> None:
    with pytest.raises(ValueError, match="cloud 1:"):
        Preprocess()([cloud(), np.ones((9, 3))])


def test_wrong_up_is_named() -> None:
    with pytest.raises(ValueError, match="up: x, y, z, -x, -y or -z expected, got 'w'"):
        Preprocess()(cloud(), up="w")


def test_dict_round_trip() -> None:
    recipe = Preprocess(num_points=17, surface_samples=99, center="none", scale="none", up="z")
    assert Preprocess.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_points": "1024"}, "num_points: a whole number"),
        ({"num_points": True}, "num_points: a whole number"),
        ({"num_points": 1}, "num_points: from 2 to"),
        ({"surface_samples": 10}, "surface_samples: from 1024 to"),
        ({"center": "middle"}, "center: 'centroid' or 'none'"),
        ({"scale": None}, "scale: "),
        ({"up": "Y"}, "up: "),
        ({"up": "-y"}, "up: 'x' or 'y' or 'z' expected"),
        ({"colour": 1}, "unknown field 'colour'"),
    ],
)
def test_wrong_fields_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Preprocess.from_dict({**Preprocess().to_dict(), **change})


def test_a_missing_field_is_named() -> None:
    fields = Preprocess().to_dict()
    del fields["up"]
    with pytest.raises(ValueError, match="'up' is missing"):
        Preprocess.from_dict(fields)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1000])
def test_bounds_are_numpys(count: int) -> None:
    points = np.random.default_rng(count).normal(size=(count, 3))
    for row in (0, count - 1):
        for value in (1e9, -np.inf, np.nan):
            points[row, row % 3] = value
            low, high = _bounds(points)
            np.testing.assert_array_equal(low, points.min(axis=0))
            np.testing.assert_array_equal(high, points.max(axis=0))
