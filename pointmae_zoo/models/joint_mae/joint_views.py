"""The depth images of a batch for Joint-MAE: the views they are taken from, and how they are rendered."""

from math import pi, radians
from typing import NamedTuple

import torch
from torch import Tensor

from pointmae_zoo.models.joint_mae.joint_config import JointMAEConfig
from pointmae_zoo.models.joint_mae.joint_masks import patches_of_points, token_patch_map
from pointmae_zoo.models.tokens import Groups
from pointmae_zoo.ops import (
    ViewFrames,
    draw_per_cloud,
    fit_view_frames,
    orbit_rotations,
    render_depth_images,
    view_rotations,
)


class RenderedViews(NamedTuple):
    """The depth images of a batch."""

    images: Tensor  # (B, V, H, W)
    frames: ViewFrames
    shared: Tensor | None  # (B, G, V P) bool, which patches show which 3D tokens; None: not needed


class SeenImages(NamedTuple):
    """Depth images, their visible patches, and the tokens of these."""

    views: RenderedViews
    visible: Tensor  # (B, V, P) bool
    order: Tensor  # (B, U) int64 into V P, the visible ones
    valid: Tensor | None  # (B, U) bool: False where a cloud has fewer than U; None: all have U
    tokens: Tensor  # (B, U, C)


def draw_rotations(batch: int, device: torch.device, config: JointMAEConfig) -> Tensor:
    """The rotations of a batch's views, (B, V, 3, 3): random, or three along the axes."""
    if config.views > 1:
        return view_rotations(config.views, device).expand(batch, -1, -1, -1)
    drawn = draw_per_cloud(lambda clouds: torch.rand(clouds, 2, device=device), batch)
    yaw, elevation = drawn[:, :1] * (2 * pi), (2 * drawn[:, 1:] - 1) * radians(config.elevation)
    return orbit_rotations(yaw, elevation)


def render_views(
    points: Tensor, groups: Groups, config: JointMAEConfig, rotations: Tensor | None = None
) -> RenderedViews:
    """The depth images of clouds (B, N, 3), and which patches show which tokens if the model needs it.

    ``rotations``: (B, V, 3, 3) of the views; None: random ones, or those along the axes.
    """
    # In float32 even under autocast: which pixel a point falls on must not depend on it.
    with torch.no_grad(), torch.autocast(points.device.type, enabled=False):
        if rotations is None:
            rotations = draw_rotations(len(points), points.device, config)
        frames = fit_view_frames(
            points, rotations, size=config.image_size, cover=config.cover, farthest=config.farthest
        )
        images, pixels = render_depth_images(points, frames)
        shared = None
        if config.cross_attention == "local" or config.mask_alignment != "independent":
            at = patches_of_points(pixels, config.image_size // config.patch_side)
            shared = token_patch_map(groups, at, config.num_patches)
    return RenderedViews(images, frames, shared)
