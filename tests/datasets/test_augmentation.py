"""Random views of clouds."""

import dataclasses
import math
from typing import Literal

import pytest
import torch

from pointmae_zoo.datasets.augmentation import Augmentation, augment, points_of_step, subsample


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_subsample_draws_without_replacement_and_depends_on_the_generator_alone() -> None:
    points = torch.randn(5, 40, 3, generator=_generator(9))
    chosen = subsample(points, 16, 0.5, _generator(1))
    assert chosen.shape == (5, 16)
    assert all(len(set(row.tolist())) == 16 for row in chosen)
    assert torch.equal(chosen, subsample(points, 16, 0.5, _generator(1)))
    assert not torch.equal(chosen, subsample(points, 16, 0.5, _generator(2)))
    with pytest.raises(ValueError, match="40 points a cloud, but 41"):
        subsample(points, 41, 0.5, _generator())


def test_farthest_point_subsets_cover_better_than_random_ones_and_start_anywhere() -> None:
    points = torch.rand(16, 256, 3, generator=_generator(3))

    def covering_radius(share: float) -> torch.Tensor:
        chosen = subsample(points, 32, share, _generator(4))
        picked = points.gather(1, chosen[:, :, None].expand(-1, -1, 3))
        return torch.cdist(points, picked).amin(dim=2).amax(dim=1)

    assert (covering_radius(1.0) < covering_radius(0.0)).all()
    first = subsample(points, 32, 1.0, _generator(5))[:, 0]
    assert len(set(first.tolist())) > 8


def test_share_of_farthest_point_subsets() -> None:
    # Half of the points are one tight clump: a random subset takes about half from it, an even one very few.
    scattered = torch.rand(64, 32, 3, generator=_generator(6))
    points = torch.cat([scattered, 1e-3 * scattered], dim=1)
    chosen = subsample(points, 16, 0.5, _generator(7))
    even = ((chosen >= 32).sum(dim=1) <= 2).sum().item()
    assert 16 <= even <= 48


def test_scaling_is_per_axis_and_bounded_and_keeps_the_order() -> None:
    points = torch.randn(200, 12, 3, generator=_generator(8))
    scaled = augment(points, Augmentation(scale=1.5, normalize=False), _generator(1))
    factors = scaled / points
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors), rtol=1e-4, atol=1e-4)
    assert factors.min() >= 1 / 1.5 - 1e-4 and factors.max() <= 1.5 + 1e-4
    assert factors.amin() < 0.75 and factors.amax() > 1.35
    assert abs(float(factors[:, 0].log().mean())) < 0.05


def test_the_papers_scaling_is_uniform_after_normalisation() -> None:
    points = torch.randn(400, 12, 3, generator=_generator(8)) * 2 + 1
    first = augment(points, Augmentation(scale=1.0), _generator(1))
    settings = Augmentation(scale=1.5, scale_draw="uniform", normalize_first=True, normalize=False)
    factors = augment(points, settings, _generator(1)) / first
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors), rtol=1e-3, atol=1e-3)
    each = factors.median(dim=1).values
    assert each.min() >= 2 / 3 - 1e-4 and each.max() <= 1.5 + 1e-4
    assert abs(float(each.mean()) - (2 / 3 + 3 / 2) / 2) < 0.03  # uniform; log-uniform has 1.028


@pytest.mark.parametrize(("draw", "mean"), [("uniform", 1.0), ("log", 0.997)])
def test_the_lower_end_of_the_scaling(draw: Literal["uniform", "log"], mean: float) -> None:
    points = torch.rand(2000, 1, 3, generator=_generator(8)) + 1
    settings = Augmentation(scale=1.1, scale_low=0.9, scale_draw=draw, normalize=False)
    factors = augment(points, settings, _generator(1)) / points
    assert 0.9 - 1e-4 <= factors.min() < 0.901 and 1.099 < factors.max() <= 1.1 + 1e-4
    assert abs(float(factors.mean()) - mean) < 0.002
    symmetric = dataclasses.replace(settings, scale_low=None)
    said = dataclasses.replace(settings, scale_low=1 / 1.1)
    torch.testing.assert_close(*(augment(points, one, _generator(1)) for one in (symmetric, said)))
    smaller = dataclasses.replace(settings, scale=1.0)
    assert (augment(points, smaller, _generator(1)) <= points).all()
    assert torch.equal(augment(points, dataclasses.replace(smaller, scale_low=1.0), _generator(1)), points)
    for wrong in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"scale_low is .*, expected above 0 and at most 1"):
            Augmentation(scale_low=wrong)


def test_scaling_draws_what_it_always_drew() -> None:
    """Stored recipes, which know no lower end, mean what they meant."""
    points = torch.ones(2, 1, 3)
    drawn = 2.0 * torch.rand(2, 1, 3, generator=_generator(1)) - 1.0
    log = augment(points, Augmentation(scale=1.5, normalize=False), _generator(1))
    assert torch.equal(log, (drawn * math.log(1.5)).exp())
    uniform = augment(points, Augmentation(scale=1.5, scale_draw="uniform", normalize=False), _generator(1))
    assert torch.equal(uniform, 1 / 1.5 + (1.5 - 1 / 1.5) * 0.5 * (drawn + 1.0))


def test_normalised_shift_and_jitter() -> None:
    points = torch.randn(8, 100, 3, generator=_generator(2)) * 3 + 5
    normal = augment(points, Augmentation(), _generator(1))
    torch.testing.assert_close(normal.mean(dim=1), torch.zeros(8, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.norm(dim=2).amax(dim=1), torch.ones(8))
    shifted = augment(points, Augmentation(shift=0.2), _generator(1))
    offsets = shifted - normal
    torch.testing.assert_close(offsets, offsets[:, :1].expand_as(offsets), atol=1e-5, rtol=0)
    assert 0.1 < offsets.abs().max() <= 0.2 + 1e-5


def test_jitter_has_a_strength_of_its_own_for_every_cloud() -> None:
    points = torch.randn(64, 400, 3, generator=_generator(2))
    off = Augmentation(scale=1.0, normalize=False)
    noise = augment(points, Augmentation(scale=1.0, normalize=False, jitter=0.01), _generator(1)) - points
    torch.testing.assert_close(augment(points, off, _generator(1)), points)
    strengths = noise.flatten(1).std(dim=1)
    assert strengths.max() < 0.0105 and strengths.min() < 0.001
    assert 0.004 < strengths.mean() < 0.006  # uniform in [0, 0.01]


def test_number_of_points_of_a_step() -> None:
    settings = Augmentation(density=2.0)
    generator = _generator(3)
    counts = [points_of_step(1000, 1800, settings, generator) for _ in range(400)]
    assert min(counts) >= 500 and min(counts) < 520 and max(counts) == 1800
    assert 0.4 < sum(count < 1000 for count in counts) / 400 < 0.6  # log-uniform: as often below as above
    assert points_of_step(1000, 1800, Augmentation(), _generator(3)) == 1000
    assert points_of_step(1000, 1800, settings, _generator(4)) == points_of_step(
        1000, 1800, settings, _generator(4)
    )


def test_everything_off_is_the_identity() -> None:
    points = torch.randn(2, 10, 3)
    off = Augmentation(scale=1.0, normalize=False)
    assert torch.equal(augment(points, off, _generator()), points)


def test_one_factor_for_all_axes() -> None:
    points = torch.randn(200, 12, 3, generator=_generator(8))
    settings = Augmentation(scale=1.25, scale_draw="uniform", scale_axes="together", normalize=False)
    factors = augment(points, settings, _generator(1)) / points
    torch.testing.assert_close(factors, factors[:, :1, :1].expand_as(factors), rtol=1e-4, atol=1e-4)
    assert 0.8 - 1e-4 <= factors.amin() < 0.85 and 1.2 < factors.amax() <= 1.25 + 1e-4


def test_turned_about_up_as_far_as_allowed() -> None:
    points = torch.randn(300, 12, 3, generator=_generator(8))
    for most in (30.0, 180.0):
        turned = augment(points, Augmentation(scale=1.0, turn=most, normalize=False), _generator(1))
        assert torch.equal(turned[..., 1], points[..., 1])
        before, after = (torch.complex(one[..., 2], one[..., 0]) for one in (points, turned))
        quotient = after / before  # of one cloud's points all the same, of length 1
        torch.testing.assert_close(quotient, quotient[:, :1].expand_as(quotient), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(quotient.abs(), torch.ones(300, 12), rtol=1e-4, atol=1e-4)
        angles = quotient[:, 0].angle().rad2deg()
        assert angles.abs().max() <= most + 0.01
        assert angles.min() < -0.9 * most and angles.max() > 0.9 * most


def test_surplus_of_farthest_points() -> None:
    """Another choice each time, but never of the points that are passed over: the second of a pair."""
    spread = torch.rand(8, 24, 3, generator=_generator(3)) * 10
    points = torch.cat([spread, spread + 1e-4], dim=1)
    one, other = (subsample(points, 16, 1.0, _generator(seed), fps_surplus=1.5) for seed in (1, 2))
    for chosen in (one, other):
        assert all(len({int(index) % 24 for index in row}) == 16 for row in chosen)
    assert not torch.equal(one.sort(dim=1).values % 24, other.sort(dim=1).values % 24)
    assert subsample(points, 40, 1.0, _generator(1), fps_surplus=9.0).shape == (8, 40)
    with pytest.raises(ValueError, match=r"fps_surplus is 0\.5, expected at least 1"):
        Augmentation(fps_surplus=0.5)
