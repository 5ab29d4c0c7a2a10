"""Random views of clouds for training: whole batches at once, on the clouds' device, from one generator."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pointmae_zoo.ops import farthest_point_sample


@dataclass(frozen=True)
class Augmentation:
    """How a stored cloud becomes a training sample.

    Args:
        fps_share: share of the clouds that are thinned by farthest point sampling, the others at random.
            Features must serve both: mesh files are thinned by farthest point sampling, benchmarks take
            random points.
        scale: each axis is multiplied by its own factor, log-uniform in [1 / scale, scale]; 1 for none. The
            paper's is 1.5.
        shift: each axis is shifted by its own offset, uniform in [-shift, shift], after normalisation.
        jitter: standard deviation of the noise on every coordinate.
        normalize: centre on the centroid and scale to the unit sphere after scaling, as features are
            extracted later.

    Raises:
        ValueError: a value out of range; names the field.
    """

    fps_share: float = 0.5
    scale: float = 1.25
    shift: float = 0.0
    jitter: float = 0.0
    normalize: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.fps_share <= 1:
            raise ValueError(f"augmentation: fps_share is {self.fps_share}, expected between 0 and 1")
        for name, least in (("scale", 1), ("shift", 0), ("jitter", 0)):
            value = getattr(self, name)
            if not (value >= least and math.isfinite(value)):
                raise ValueError(f"augmentation: {name} is {value}, expected at least {least}")


def subsample(points: Tensor, count: int, fps_share: float, generator: torch.Generator) -> Tensor:
    """Choose ``count`` of N points of every cloud, some clouds by farthest point sampling, the others at
    random.

    Args:
        points: (B, N, 3) with N >= count.
        fps_share: probability that a cloud is thinned by farthest point sampling (from a random first point).
        generator: of the points' device.

    Returns:
        (B, count) int64 indices into N, no index twice.

    Raises:
        ValueError: fewer than ``count`` points.
    """
    batch, available, _ = points.shape
    if available < count:
        raise ValueError(f"{available} points a cloud, but {count} are to be chosen; lower num_points")
    order = torch.rand(batch, available, device=points.device, generator=generator).argsort(dim=1)
    spread = torch.rand(batch, device=points.device, generator=generator) < fps_share
    chosen = order[:, :count].clone()
    which = spread.nonzero()[:, 0]
    if len(which):
        shuffled = points[which].gather(1, order[which, :, None].expand(-1, -1, 3))
        chosen[which] = order[which].gather(1, farthest_point_sample(shuffled, count))
    return chosen


def augment(points: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Scale, normalise, shift and jitter: (B, N, 3) -> (B, N, 3). The order of the points stays."""
    batch = len(points)

    def uniform(*shape: int) -> Tensor:
        return 2.0 * torch.rand(*shape, device=points.device, dtype=points.dtype, generator=generator) - 1.0

    if settings.scale != 1.0:
        points = points * (uniform(batch, 1, 3) * math.log(settings.scale)).exp()
    if settings.normalize:
        points = points - points.mean(dim=1, keepdim=True)
        points = points / points.norm(dim=2).amax(dim=1).clamp_min(1e-12)[:, None, None]
    if settings.shift:
        points = points + uniform(batch, 1, 3) * settings.shift
    if settings.jitter:
        noise = torch.randn(points.shape, device=points.device, dtype=points.dtype, generator=generator)
        points = points + settings.jitter * noise
    return points
