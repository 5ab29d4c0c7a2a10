"""Losses on depth images: masked patches, and predicted points against the image."""

import torch
from torch import Tensor

from pointmae_zoo.models.pretraining_model import LossTerm
from pointmae_zoo.ops import ViewFrames, without_covers


def cut_patches(images: Tensor, patch: int) -> Tensor:
    """(B, V, H, W) -> (B, V, P, S, S), patches of side S, row by row."""
    batch, views, height, width = images.shape
    cut = images.view(batch, views, height // patch, patch, width // patch, patch)
    return cut.transpose(3, 4).reshape(batch, views, -1, patch, patch)


def patch_losses(
    predicted: Tensor, images: Tensor, visible: Tensor, weight: float
) -> tuple[LossTerm, LossTerm]:
    """Mean squared error of masked patches, and of those that show something of the object.

    Reconstructing masked patches is the paper's; the form of the loss is ours.

    Args:
        predicted: (B, V, P, S, S).
        images: (B, V, H, W), background 0.
        visible: (B, V, P) bool.
        weight: of the first; the second is only monitored.
    """
    target = cut_patches(images, predicted.shape[-1])
    errors = (predicted - target).square().mean((3, 4))
    masked = ~visible
    return _mean(errors, masked, weight), _mean(errors.detach(), masked & (target.amax((3, 4)) > 0), 0.0)


def cross_loss(
    points: Tensor, valid: Tensor, images: Tensor, frames: ViewFrames, margin: float, weight: float
) -> LossTerm:
    """Predicted points against the depth images: the distance along the view between a point and the surface
    that the image shows at its pixel. That such a loss exists is the paper's; its form is ours.

    The distance is squared up to ``margin`` and linear beyond. A point beside an edge-on wall is before it by
    the whole depth that the wall hides, and the squares of a few such points would outweigh all others. The
    image is read bilinearly, so that there is a gradient along the image, too.

    A point puts its depth on all pixels that it covers, so slopes appear up to half a ``cover`` too near.
    True points lie at this surface or behind it, and comparing with it alone would draw everything outwards.
    So the surface has a front, the image, and a back, the image without the covers' reach (the smallest value
    around). Between the two the loss is 0.

    Points that an image can't judge don't count: those behind the surface by more than ``margin`` (there may
    well be something), and those beside it, with an empty pixel among the four that are read.

    Args:
        points: (B, M, 3) where the points are, in the cloud's coordinates. Differentiable.
        valid: (B, M) bool; the others count for nothing.
        images: (B, V, H, W), background 0.
        frames: of the images.
        margin: how far behind the surface points still count, and up to where distances are squared. All
            distances are shares of the view's extent; units of the image's depth would mean nothing where a
            cloud is thin along the view.
        weight: of the term. Its count is the number of points that count.
    """
    with torch.autocast(points.device.type, enabled=False):
        place, depth = frames.project(points)
        unit = frames.depth_unit.unsqueeze(2)
        front, covered = _read_surface(images, place)
        back, has_back = _read_surface(without_covers(images, frames.cover), place)
        before, behind = (depth - front) * unit, (depth - back) * unit
        excess = before.clamp_min(0.0) + behind.clamp_max(0.0)
        near = torch.where(has_back, behind, before).detach() > -margin
        inside = place.detach().abs().amax(-1) < 1.0
        counted = valid.unsqueeze(1) & inside & covered & near
        return _mean(_bounded_square(excess, margin), counted, weight)


def _read_surface(images: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """The depth at given places, and whether there is any.

    Written by hand, because the gradient of ``grid_sample`` is not deterministic on a GPU; the images need
    none here.

    Args:
        images: (B, V, H, W), H equal to W, background 0.
        place: (B, V, M, 2) in grid_sample coordinates. Differentiable.

    Returns:
        (B, V, M), bilinear among four pixels; and bool: none of the four is empty.
    """
    size = images.shape[-1]
    at = (((place + 1.0) * size - 1.0) / 2.0).clamp(0, size - 1)
    # A NaN prediction must reach the check of the losses; as an index it would fail here.
    first = at.detach().nan_to_num(0.0).floor().clamp(max=size - 2)
    right, down = (at - first).unbind(-1)
    corner = (first[..., 1] * size + first[..., 0]).long()
    flat = images.flatten(2)
    four = [flat.gather(2, corner + step) for step in (0, 1, size, size + 1)]
    upper, lower = torch.lerp(four[0], four[1], right), torch.lerp(four[2], four[3], right)
    return torch.lerp(upper, lower, down), torch.stack(four).amin(0) > 0


def _bounded_square(distance: Tensor, bound: float) -> Tensor:
    """Squared up to ``bound``, linear from there with the same slope (twice Huber's loss)."""
    size = distance.abs()
    inner = size.clamp_max(bound)
    return inner * (2.0 * size - inner)


def _mean(values: Tensor, counted: Tensor, weight: float) -> LossTerm:
    """The mean over the entries that count; 0 if none does."""
    count = counted.sum()
    # Not a product: entries that don't count may be NaN, and their gradient must be 0.
    total = torch.where(counted, values, 0.0).sum()
    return LossTerm(total / count.clamp_min(1), weight, count.to(values.dtype))
