"""Joint-MAE's masks: which patches of the depth images stay visible, which tokens attend to each other.

Which 3D tokens stay visible is drawn by `JointMAEForPretraining.draw_visible`, all equally likely.
"""

import torch
from torch import Tensor

from pointmae_zoo.models.joint_mae.joint_config import JointMAEConfig
from pointmae_zoo.models.reconstruction import draw_visible
from pointmae_zoo.models.tokens import Groups
from pointmae_zoo.ops import draw_per_cloud, index_points


def draw_visible_patches(shared: Tensor | None, visible: Tensor, config: JointMAEConfig) -> Tensor:
    """Draw every image's visible patches, (B, V, P) bool.

    Args:
        shared: (B, G, V P) bool, which patches show which 3D tokens; needed where masks are aligned or
            complementary.
        visible: (B, G) bool, the visible 3D tokens.
        config: decides how many are drawn, and how.
    """
    shape = len(visible), config.views, config.num_patches
    if config.mask_alignment == "independent":
        return draw_visible(torch.ones(shape, device=visible.device), config.num_visible_patches)
    assert shared is not None
    share = preferred_patches(shared, visible, config.views)
    if config.mask_alignment == "complementary":
        share = 1.0 - share
    # Different shares differ by at least 1 / G^2. Noise below that only breaks ties.
    noise = draw_per_cloud(lambda clouds: share.new_empty(clouds, *shape[1:]).uniform_(), len(share))
    chosen = (share + noise * (0.5 / visible.shape[1] ** 2)).topk(config.num_visible_patches).indices
    return torch.zeros_like(share, dtype=torch.bool).scatter_(-1, chosen, True)


def preferred_patches(shared: Tensor, visible: Tensor, views: int) -> Tensor:
    """Of the tokens that each patch shows, the share that is visible; a half if it shows none.

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


def check_masks(
    visible: Tensor | None,
    visible_patches: Tensor | None,
    rotations: Tensor | None,
    groups: Groups,
    config: JointMAEConfig,
) -> None:
    """Raise a ValueError that names the first mask or rotation of a wrong shape or type."""
    batch, tokens, _ = groups.centers[-1].shape
    masks: list[tuple[str, Tensor | None, tuple[int, ...]]] = [
        ("visible", visible, (batch, tokens)),
        ("visible_patches", visible_patches, (batch, config.views, config.num_patches)),
    ]
    for name, given, shape in masks:
        if given is not None and (given.shape != shape or given.dtype != torch.bool):
            raise ValueError(f"{name}: bool {shape} expected, got {given.dtype} {tuple(given.shape)}")
    if rotations is not None and rotations.shape != (batch, config.views, 3, 3):
        raise ValueError(f"rotations: {(batch, config.views, 3, 3)} expected, got {tuple(rotations.shape)}")


def joint_attention_mask(
    shared: Tensor, allowed_3d: Tensor | None, valid_3d: Tensor, valid_2d: Tensor
) -> Tensor:
    """Which tokens may attend to each other in a sequence of 3D tokens followed by 2D ones.

    Within a modality all valid tokens, across modalities those that ``shared`` names, and always a token to
    itself, so that no row is empty.

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


def token_patch_map(groups: Groups, patches: Tensor, count: int) -> Tensor:
    """Which coarsest tokens and patches share points of the cloud.

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
    seen = patches.gather(2, points.flatten(1).unsqueeze(1).expand(-1, views, -1))  # (B, V, G M)
    shared.scatter_(3, seen.view(batch, views, tokens, -1), True)
    return shared.transpose(1, 2).flatten(2)


def patches_of_points(pixels: Tensor, side: int) -> Tensor:
    """The patch that holds each point's own pixel.

    Args:
        pixels: (B, V, N, 2) column, row in grid_sample coordinates, as depth images come with.
        side: patches along a side of the image.

    Returns:
        (B, V, N) int64, patches counted row by row.
    """
    # A pixel's centre is half a pixel from any patch's edge, so rounding errors don't matter.
    column, row = ((pixels + 1.0) * (side / 2.0)).floor().long().clamp(0, side - 1).unbind(-1)
    return row * side + column


def receptive_points(groups: Groups) -> Tensor:
    """The points that each coarsest token gathers through all levels: (B, G, M) int64, M the product of the
    levels' K. A point that is gathered in several ways occurs several times."""
    reached = groups.neighbors[-1]
    for neighbors in reversed(groups.neighbors[:-1]):
        reached = index_points(neighbors, reached).flatten(2)
    return reached
