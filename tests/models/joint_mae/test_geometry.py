"""Depth images against plain loops in float64, and which patches show which tokens against sets of points."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from pointmae_zoo import create_model, ops
from pointmae_zoo.models.joint_mae.depth_losses import cross_loss, cut_patches, patch_losses
from pointmae_zoo.models.joint_mae.joint_masks import (
    joint_attention_mask,
    patches_of_points,
    preferred_patches,
    token_patch_map,
)

FARTHEST = 0.25


def clouds(batch: int = 2, points: int = 200, seed: int = 0) -> Tensor:
    drawn = torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn * torch.tensor([1.0, 0.6, 0.8])


def views(batch: int, count: int, seed: int = 1) -> Tensor:
    """Rotations (B, V, 3, 3) from anywhere around, some from above, some from below."""
    drawn = torch.rand(2, batch, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ops.orbit_rotations(drawn[0] * 2 * math.pi, (drawn[1] - 0.5) * math.pi)


def by_hand(
    points: NDArray[np.float64], rotation: NDArray[np.float64], size: int, cover: int
) -> tuple[NDArray[np.float64], list[tuple[int, int]], NDArray[np.float64]]:
    """The image of one view, every point's row and column, and its depth: one point and pixel at a time."""
    right, up, towards = (points @ row for row in rotation)
    extent = max(right.max() - right.min(), up.max() - up.min())
    usable = size - 1 - 2 * (cover // 2)
    middle = (size - 1) / 2
    depth = FARTHEST + (1 - FARTHEST) * (towards - towards.min()) / (towards.max() - towards.min())
    image = np.zeros((size, size))
    pixels = []
    for x, y, d in zip(
        right - (right.max() + right.min()) / 2, up - (up.max() + up.min()) / 2, depth, strict=True
    ):
        column, row = round(x / extent * usable + middle), size - 1 - round(y / extent * usable + middle)
        pixels.append((row, column))
        for dr, dc in itertools.product(range(-(cover // 2), cover // 2 + 1), repeat=2):
            image[row + dr, column + dc] = max(image[row + dr, column + dc], d)
    return image, pixels, depth


def test_views_from_around() -> None:
    yaw = torch.tensor([0.0, math.pi / 2, 1.0, -2.0], dtype=torch.float64)
    elevation = torch.tensor([0.0, 0.0, math.pi / 2, -0.4], dtype=torch.float64)
    rotations = ops.orbit_rotations(yaw, elevation)
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).double().expand(4, 3, 3))
    assert bool((torch.linalg.det(rotations) > 0.999).all())
    expected = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]).double()  # towards +z, +x, straight above
    torch.testing.assert_close(rotations[:3, 2], expected, rtol=0, atol=1e-12)
    assert bool((rotations[:, 0, 1] == 0).all())  # the horizon is level
    assert float(rotations[3, 2, 1]) == pytest.approx(math.sin(-0.4))
    assert bool((rotations[:, 1, 1] > -1e-12).all())  # and up is up


@pytest.mark.parametrize("cover", [1, 3, 5])
def test_every_view_by_hand(cover: int) -> None:
    """The nearest point wins every pixel; every other point reads a nearer one's depth at its own pixel."""
    points, rotations = clouds(), views(2, 3)
    frames = ops.fit_view_frames(points, rotations, size=40, cover=cover, farthest=FARTHEST)
    images, pixels = ops.render_depth_images(points, frames)
    read = ops.read_maps(images.unsqueeze(2), pixels, mode="bilinear").squeeze(-1)  # (B, N, V)
    _, values = frames.project(points)
    for b, v in itertools.product(range(2), range(3)):
        image, places, depth = by_hand(points[b].numpy(), rotations[b, v].numpy(), 40, cover)
        np.testing.assert_allclose(images[b, v].numpy(), image, atol=1e-12)
        np.testing.assert_allclose(values[b, v].numpy(), depth, atol=1e-12)
        won = 0
        for point, (row, column) in enumerate(places):
            at = ((pixels[b, v, point] + 1) * 40 - 1) / 2
            assert at.tolist() == pytest.approx([column, row], abs=1e-5)
            reach = range(-(cover // 2), cover // 2 + 1)
            covering = [
                other for other, (r, c) in enumerate(places) if r - row in reach and c - column in reach
            ]
            nearest = max(covering, key=lambda other: depth[other])
            assert float(read[b, point, v]) == pytest.approx(depth[nearest], abs=1e-5)
            won += nearest == point
        assert 10 < won < 200


def test_a_view_of_its_own_for_every_cloud() -> None:
    points, rotations = clouds(3).float(), views(3, 2).float()
    together = ops.zbuffer_depth_images(points, rotations, size=32)
    for b in range(3):
        alone = ops.zbuffer_depth_images(points[b : b + 1], rotations[b], size=32)
        assert torch.equal(alone.images[0], together.images[b])
        assert torch.equal(alone.pixels[0], together.pixels[b])


def test_projection_of_any_points() -> None:
    """Places of the cloud's own points are those of its pixels before rounding; others follow linearly."""
    points, rotations = clouds(), views(2, 2)
    frames = ops.fit_view_frames(points, rotations, size=64, cover=3)
    place, _ = frames.project(points)
    pixels = ops.render_depth_images(points, frames).pixels
    assert float((place - pixels).abs().max()) <= 1 / 64 + 1e-6  # half a pixel
    other = clouds(seed=5) * 1.5
    between = frames.project(0.25 * points + 0.75 * other)
    for mixed, own, far in zip(between, frames.project(points), frames.project(other), strict=True):
        torch.testing.assert_close(mixed, 0.25 * own + 0.75 * far)
    few = other[:, :5].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: frames.project(x), (few,))


@pytest.mark.parametrize("width", [1, 3, 5])
def test_gaps_are_filled_by_hand(width: int) -> None:
    images = torch.rand(1, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    images = torch.where(images > 0.6, images, 0.0)
    filled = ops.fill_holes(images, width)
    reach = width // 2

    def window(at: int) -> slice:
        return slice(max(0, at - reach), at + reach + 1)

    for v in range(2):
        image = images[0, v].numpy()
        wide = np.array([[image[window(r), window(c)].max() for c in range(9)] for r in range(9)])
        expected = np.array([[wide[window(r), window(c)].min() for c in range(9)] for r in range(9)])
        np.testing.assert_array_equal(filled[0, v].numpy(), expected)
    assert bool((filled >= images).all())


# Tokens and patches.


def reached(groups: object, level: int, cloud: int, token: int) -> set[int]:
    """The points below a token, level by level."""
    below = groups.neighbors[level][cloud, token].tolist()  # type: ignore[attr-defined]
    if level == 0:
        return set(below)
    return set().union(*(reached(groups, level - 1, cloud, finer) for finer in below))


def test_the_map_of_tokens_and_patches_by_brute_force() -> None:
    encoder = create_model(
        "i2p_mae_tiny",
        num_tokens=(40, 20, 6),
        num_neighbors=(5, 3, 2),
        dims=(24, 24, 24),
        depths=(1, 1, 1),
        local_radius=(0.0, 0.0, 0.0),
    )
    points = clouds().float()
    groups = encoder.group(points)
    rotations = views(2, 2).float()
    pixels = ops.zbuffer_depth_images(points, rotations, size=32, cover=1).pixels
    found = token_patch_map(groups, patches_of_points(pixels, 4), 16)
    assert found.shape == (2, 6, 32)
    expected = torch.zeros_like(found)
    for b, v in itertools.product(range(2), range(2)):
        _, places, _ = by_hand(points[b].double().numpy(), rotations[b, v].double().numpy(), 32, 1)
        for token in range(6):
            for point in reached(groups, 2, b, token):
                row, column = places[point]
                expected[b, token, v * 16 + row // 8 * 4 + column // 8] = True
    assert torch.equal(found, expected)
    assert 0.05 < float(found.float().mean()) < 0.9

    visible = torch.rand(2, 6, generator=torch.Generator().manual_seed(2)) < 0.5
    shares = preferred_patches(found, visible, 2)
    for b, patch in itertools.product(range(2), range(32)):
        tokens = [token for token in range(6) if found[b, token, patch]]
        share = sum(bool(visible[b, token]) for token in tokens) / len(tokens) if tokens else 0.5
        assert float(shares[b, patch // 16, patch % 16]) == pytest.approx(share)


def test_joint_attention_by_brute_force() -> None:
    generator = torch.Generator().manual_seed(0)
    shared = torch.rand(2, 3, 4, generator=generator) < 0.4
    shared[0] = False
    solid = torch.tensor([[True, True, False], [True, True, True]])
    flat = torch.tensor([[True, True, True, True], [True, False, False, False]])
    allowed = joint_attention_mask(shared, solid[:, None, None, :], solid, flat)
    for b, i, j in itertools.product(range(2), range(7), range(7)):
        valid = torch.cat([solid[b], flat[b]])
        if (i < 3) == (j < 3):
            expected = bool(valid[j])
        else:
            expected = bool(shared[b, min(i, j), max(i, j) - 3] and valid[i] and valid[j])
        assert bool(allowed[b, 0, i, j]) == (expected or i == j), (b, i, j)
    assert bool(allowed.any(-1).all())


# Losses of depth images.


def terraces() -> Tensor:
    """Three level squares at different heights, seen from the front without overlap, and a wall far behind
    them that they hide."""
    grid = torch.stack(torch.meshgrid(torch.arange(7), torch.arange(7), indexing="ij"), -1).double()
    flat = grid.flatten(0, 1) / 6 * 0.5
    parts = [
        torch.cat([flat + torch.tensor([x, y]), torch.full((49, 1), z).double()], 1)
        for x, y, z in ((-1.0, -1.0, 0.0), (0.5, -1.0, 0.7), (-0.25, 0.5, 1.0), (-1.0, -1.0, -1.0))
    ]
    return torch.cat(parts).unsqueeze(0)


FRONT = torch.eye(3).double()[None, None]


def test_the_cross_loss_of_a_perfect_reconstruction_is_zero() -> None:
    points = terraces()
    frames = ops.fit_view_frames(points, FRONT, size=64, cover=5)
    images = ops.render_depth_images(points, frames).images
    for given in (images, ops.fill_holes(images, 5)):
        perfect = points.clone().requires_grad_()
        every = torch.ones(1, 196, dtype=torch.bool)
        term = cross_loss(perfect, every, given, frames, 0.05, 1.0)
        term.value.backward()
        assert term.value.item() < 1e-24 and float(term.count) == 147  # the hidden wall counts for nothing
        assert perfect.grad is not None and float(perfect.grad.abs().max()) < 1e-12


def sphere(count: int, seed: int) -> Tensor:
    drawn = torch.randn(1, count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn / drawn.norm(dim=-1, keepdim=True)


def test_the_cross_loss_leaves_true_surfaces_where_they_are() -> None:
    """The points that made the image, and others of the same surface: next to no loss, and a gradient whose
    mean along the view is next to none, against that of the same points pushed in or out."""
    points = sphere(2000, 0)
    frames = ops.fit_view_frames(points, views(1, 2), size=112, cover=3)
    images = ops.fill_holes(ops.render_depth_images(points, frames).images, 11)
    noise = 0.05 * torch.randn(1, 2000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def scored(at: Tensor) -> tuple[float, float, float]:
        """Value, mean pull towards the middle, and share of the points that count."""
        at = at.clone().requires_grad_()
        term = cross_loss(at, torch.ones(1, 2000, dtype=torch.bool), images, frames, 0.03, 1.0)
        term.value.backward()
        assert at.grad is not None
        pull = (at.grad * at.detach()).sum() / at.detach().norm(dim=-1).mean()
        return term.value.item(), float(pull), float(term.count) / 4000

    far, near = scored(0.95 * points), scored(1.05 * points)
    assert far[1] < 0.0 < near[1]
    for true, fold in ((points, 50), (sphere(2000, 5), 4)):
        value, pull, counted = scored(true)
        assert 0.4 < counted < 0.6  # half of them face the viewer
        assert value < scored(true + noise)[0] / fold
        # Points moved by more than the margin pull no harder than at the margin.
        assert far[1] / 4 < pull < near[1] / 4


def test_the_cross_loss_of_thin_clouds() -> None:
    """A cloud without any depth, or with next to none, is judged as one that has some."""
    generator = torch.Generator().manual_seed(0)
    plate = torch.rand(1, 2000, 3, generator=generator) - 0.5
    noise = 0.05 * torch.randn(1, 2000, 3, generator=generator)
    found = []
    for thickness in (0.0, 1e-9, 1e-3, 0.1):
        points = plate * torch.tensor([1.0, thickness, 1.0])
        frames = ops.fit_view_frames(points, ops.view_rotations(3)[2:], size=112, cover=3)
        images = ops.fill_holes(ops.render_depth_images(points, frames).images, 11)
        moved = (points + noise).requires_grad_()
        term = cross_loss(moved, torch.ones(1, 2000, dtype=torch.bool), images, frames, 0.03, 1.0)
        term.value.backward()
        assert moved.grad is not None
        found.append((term.value.item(), float(moved.grad.norm())))
    for value, slope in found:
        assert value == pytest.approx(found[0][0], rel=0.7) and slope == pytest.approx(found[0][1], rel=0.7)


def test_no_true_point_lies_before_its_surface() -> None:
    """On any cloud: what a perfect reconstruction is blamed for is the cover's width, never more than the
    margin."""
    points = clouds(4, 400)
    frames = ops.fit_view_frames(points, views(4, 3), size=64, cover=3)
    images = ops.fill_holes(ops.render_depth_images(points, frames).images, 7)
    place, depth = frames.project(points)
    surface = ops.read_maps(images.unsqueeze(2), place, mode="bilinear").squeeze(-1).permute(0, 2, 1)
    assert float((depth - surface).max()) < 1e-9
    term = cross_loss(points, torch.ones(4, 400, dtype=torch.bool), images, frames, 0.05, 1.0)
    assert term.value.item() < 0.05**2


def test_the_cross_loss_draws_to_the_true_depth() -> None:
    """Every point of the terraces that is seen, moved along the view, those at the rims to the front alone:
    the loss is its mean squared error, linear from the margin on, the gradient is that of finite differences,
    and a step against it brings the point back."""
    true = terraces()
    frames = ops.fit_view_frames(true, FRONT, size=64, cover=5)
    images = ops.render_depth_images(true, frames).images
    every = torch.ones(1, 196, dtype=torch.bool)
    generator = torch.Generator().manual_seed(3)
    moved = true.clone()
    # Up to the margin behind, and any way to the front; a little aside, but not over an edge.
    away = torch.rand(147, generator=generator, dtype=torch.float64)
    at_rim = (torch.arange(49) % 7 % 6 == 0) | (torch.arange(49) // 7 % 6 == 0)
    moved[0, :147, 2] += torch.where((away < 0.3) & ~at_rim.repeat(3), -0.1 * away, away)
    points = moved.clone().requires_grad_()

    def value(at: Tensor) -> Tensor:
        return cross_loss(at, every, images, frames, 0.05, 1.0).value

    loss = value(points)
    apart = (moved - true)[0, :147, 2] / float(frames.extent)
    expected = 2.0 * functional.huber_loss(apart, torch.zeros_like(apart), delta=0.05)
    assert loss.item() == pytest.approx(float(expected))
    loss.backward()
    gradient = points.grad
    assert gradient is not None and bool((gradient[0, 147:] == 0).all())
    assert bool((torch.sign(gradient[0, :147, 2]) == torch.sign((moved - true)[0, :147, 2])).all())
    step = 1e-6
    for point, axis in itertools.product(range(0, 147, 12), range(3)):
        ahead, back = moved.clone(), moved.clone()
        ahead[0, point, axis] += step
        back[0, point, axis] -= step
        slope = (value(ahead) - value(back)).item() / (2 * step)
        assert float(gradient[0, point, axis]) == pytest.approx(slope, abs=1e-8), (point, axis)


def test_the_cross_loss_moves_points_along_the_image() -> None:
    """On a slope a point's error falls along the image, too."""
    grid = torch.linspace(-1, 1, 161, dtype=torch.float64)  # finer than the pixels
    x, y = torch.meshgrid(grid, grid, indexing="ij")
    slope = torch.stack([x, y, 0.5 * x], -1).view(1, -1, 3)
    frames = ops.fit_view_frames(slope, FRONT, size=64, cover=3)
    images = ops.render_depth_images(slope, frames).images
    drawn = torch.rand(1, 20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = drawn * 1.6 - 0.8
    points[..., 2] = 0.5 * points[..., 0] + 0.3
    every = torch.ones(1, 20, dtype=torch.bool)
    assert torch.autograd.gradcheck(
        lambda at: cross_loss(at, every, images, frames, 0.05, 1.0).value, (points.requires_grad_(),)
    )
    cross_loss(points, every, images, frames, 0.05, 1.0).value.backward()
    assert points.grad is not None and bool((points.grad[0, :, 0] < 0).all())  # the slope rises with x


def test_points_beside_the_surface_count_for_nothing() -> None:
    true = terraces()
    frames = ops.fit_view_frames(true, FRONT, size=64, cover=5)
    images = ops.render_depth_images(true, frames).images
    stray = torch.tensor([[[0.0, 0.0, 0.3], [9.0, 0.0, 0.0], [-0.75, -0.75, 0.5], [-0.75, -0.75, -0.9]]])
    stray = stray.double().requires_grad_()
    term = cross_loss(stray, torch.ones(1, 4, dtype=torch.bool), images, frames, 0.05, 2.0)
    term.value.backward()
    assert float(term.count) == 1 and term.weight == 2.0
    assert stray.grad is not None and stray.grad[0].any(-1).tolist() == [False, False, True, False]
    nothing = cross_loss(stray, torch.zeros(1, 4, dtype=torch.bool), images, frames, 0.05, 1.0)
    assert nothing.value.item() == 0.0 and float(nothing.count) == 0.0
    broken = cross_loss(stray * torch.nan, torch.ones(1, 4, dtype=torch.bool), images, frames, 0.05, 1.0)
    assert float(broken.count) == 0.0


def test_patch_losses_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 1, 12, 12, generator=generator)
    images[:, :, :4] = 0.0  # the first row of patches is background
    predicted = torch.rand(2, 1, 9, 4, 4, generator=generator)
    visible = torch.rand(2, 1, 9, generator=generator) < 0.4
    loss, of_object = patch_losses(predicted, images, visible, 0.5)
    errors, on_object = [], []
    for b, row, column in itertools.product(range(2), range(3), range(3)):
        patch = row * 3 + column
        cut = images[b, 0, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4]
        assert torch.equal(cut_patches(images, 4)[b, 0, patch], cut)
        if not visible[b, 0, patch]:
            errors.append(float((predicted[b, 0, patch] - cut).square().mean()))
            on_object += errors[-1:] if row else []
    assert float(loss.value) == pytest.approx(sum(errors) / len(errors)) and loss.count == len(errors)
    assert float(of_object.value) == pytest.approx(sum(on_object) / len(on_object))
    assert loss.weight == 0.5 and of_object.weight == 0.0 and of_object.count == len(on_object)
