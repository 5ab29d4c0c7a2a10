"""Which image patches show which 3D tokens: exact, through the points of the cloud."""

import torch
from torch import Tensor

from pointmae_zoo.models.tokens import Groups
from pointmae_zoo.ops import index_points


def patches_of_points(pixels: Tensor, side: int) -> Tensor:
    """The patch that holds each point's own pixel.

    Args:
        pixels: (B, V, N, 2) column, row in grid_sample coordinates, as depth images come with.
        side: patches along a side of the image.

    Returns:
        (B, V, N) int64, patches counted row by row.
    """
    # A pixel's centre lies half a pixel from any patch's edge: rounding errors don't reach it.
    column, row = ((pixels + 1.0) * (side / 2.0)).floor().long().clamp(0, side - 1).unbind(-1)
    return row * side + column


def receptive_points(groups: Groups) -> Tensor:
    """The points that each coarsest token is made of, through all levels: (B, G, M) int64, M the product of
    the levels' K. A point that several ways lead to is there several times."""
    reached = groups.neighbors[-1]
    for neighbors in reversed(groups.neighbors[:-1]):
        reached = index_points(neighbors, reached).flatten(2)
    return reached


def token_patch_map(groups: Groups, patches: Tensor, count: int) -> Tensor:
    """Where a coarsest token and a patch have points of the cloud in common.

    Args:
        groups: the hierarchy over the points.
        patches: (B, V, N) int64, the patch of each point, in each view.
        count: P, patches of an image.

    Returns:
        (B, G, V P) bool.
    """
    points = receptive_points(groups)
    batch, views, _ = patches.shape
    tokens = points.shape[1]
    shared = torch.zeros(batch, views, tokens, count, dtype=torch.bool, device=points.device)
    seen = patches.gather(2, points.flatten(1).unsqueeze(1).expand(-1, views, -1))
    shared.scatter_(3, seen.view(batch, views, tokens, -1), True)
    return shared.transpose(1, 2).flatten(2)


def joint_attention_mask(
    shared: Tensor, allowed_3d: Tensor | None, valid_3d: Tensor, valid_2d: Tensor
) -> Tensor:
    """Who may attend in a sequence of 3D tokens followed by 2D ones.

    Within a modality all valid tokens, between them those that ``shared`` names, and always a token itself,
    so that no row is empty.

    Args:
        shared: (B, W, U) bool.
        allowed_3d: (B, 1, W or 1, W) bool between 3D tokens; None: all.
        valid_3d: (B, W) bool, False for padding.
        valid_2d: (B, U) bool, likewise.

    Returns:
        (B, 1, W + U, W + U) bool.
    """
    batch, solids, flats = shared.shape
    shared = shared & valid_3d.unsqueeze(2) & valid_2d.unsqueeze(1)
    allowed = torch.eye(solids + flats, dtype=torch.bool, device=shared.device).repeat(batch, 1, 1)
    allowed[:, :solids, :solids] |= valid_3d.unsqueeze(1) if allowed_3d is None else allowed_3d.squeeze(1)
    allowed[:, solids:, solids:] |= valid_2d.unsqueeze(1)
    allowed[:, :solids, solids:] = shared
    allowed[:, solids:, :solids] = shared.mT
    return allowed.unsqueeze(1)


def preferred_patches(shared: Tensor, visible: Tensor, views: int) -> Tensor:
    """How much each patch belongs to the visible tokens: of the tokens that it shows, the share that is
    visible; a half where it shows none.

    Args:
        shared: (B, G, V P) bool.
        visible: (B, G) bool.
        views: V.

    Returns:
        (B, V, P) float, 0 to 1.
    """
    every = shared.sum(1)
    seen = (shared & visible.unsqueeze(2)).sum(1)
    share = torch.where(every > 0, seen / every.clamp_min(1), 0.5)
    return share.unflatten(1, (views, -1))
