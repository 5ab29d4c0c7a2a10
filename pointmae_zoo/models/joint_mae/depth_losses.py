"""Losses of depth images: of the masked patches, and of predicted points against the image."""

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
    """Mean squared error of masked patches, and of those among them that show something of the object. That
    they are reconstructed is the paper's; this form of the loss is ours.

    Args:
        predicted: (B, V, P, S, S).
        images: (B, V, H, W), background 0.
        visible: (B, V, P) bool.
        weight: of the first; the second is only watched.
    """
    target = cut_patches(images, predicted.shape[-1])
    errors = (predicted - target).square().mean((3, 4))
    masked = ~visible
    return _mean(errors, masked, weight), _mean(errors.detach(), masked & (target.amax((3, 4)) > 0), 0.0)


def cross_loss(
    points: Tensor, valid: Tensor, images: Tensor, frames: ViewFrames, margin: float, weight: float
) -> LossTerm:
    """Predicted points against the depth images: how far a point lies, along the view, from the surface that
    the image shows where the point falls. Squared up to ``margin``, linear beyond: a point beside an edge-on
    wall lies before it by all the depth that the wall hides, and the squares of a few such points would
    outweigh everything else. Read bilinearly, so that there is a gradient along the image, too. That this
    loss exists is the paper's; this form of it is ours.

    The image puts the nearest depth on all the pixels that a point covers, so that a slope appears up to half
    a cover too near: true points lie at it or behind it, and to compare with it alone draws everything
    outwards. So the surface has a front, the image, and a back, the image without the covers' reach (the
    least value around); between the two a point is blamed for nothing.

    What an image can't tell counts for nothing, either: points behind the surface by more than ``margin``
    (they may well be there), and points beside it. Beside are those with an empty pixel among the four that
    are read: background is no depth to be drawn to.

    Args:
        points: (B, M, 3) where the points are, in the cloud's coordinates. Differentiable.
        valid: (B, M) bool; the others count for nothing.
        images: (B, V, H, W), background 0.
        frames: of the images.
        margin: how far behind the surface points still count, and how far distances are squared; as all
            distances here in units of the view's extent: those of the image's depth mean nothing
            where a cloud is thin along the view.
        weight: of the term; its count is the number of points that count.
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
    """Depth at given places, and whether there is some.

    ``grid_sample`` by hand: its gradient has no deterministic implementation on a GPU, and here no image
    needs one.

    Args:
        images: (B, V, H, W), H equal to W, background 0.
        place: (B, V, M, 2) in grid_sample coordinates. Differentiable.

    Returns:
        (B, V, M), bilinear among four pixels; and bool: none of the four is empty.
    """
    size = images.shape[-1]
    at = (((place + 1.0) * size - 1.0) / 2.0).clamp(0, size - 1)
    # A broken prediction must reach the check of the losses, not fail as an index here.
    first = at.detach().nan_to_num(0.0).floor().clamp(max=size - 2)
    right, down = (at - first).unbind(-1)
    corner = (first[..., 1] * size + first[..., 0]).long()
    flat = images.flatten(2)
    four = [flat.gather(2, corner + step) for step in (0, 1, size, size + 1)]
    upper, lower = torch.lerp(four[0], four[1], right), torch.lerp(four[2], four[3], right)
    return torch.lerp(upper, lower, down), torch.stack(four).amin(0) > 0


def _bounded_square(distance: Tensor, bound: float) -> Tensor:
    """Squared up to ``bound``, and on from there along the tangent (twice Huber's loss)."""
    size = distance.abs()
    inner = size.clamp_max(bound)
    return inner * (2.0 * size - inner)


def _mean(values: Tensor, counted: Tensor, weight: float) -> LossTerm:
    """Over the entries that count; 0 where none does."""
    count = counted.sum()
    # Not a product: what does not count may be anything, and its gradient is 0.
    total = torch.where(counted, values, 0.0).sum()
    return LossTerm(total / count.clamp_min(1), weight, count.to(values.dtype))
