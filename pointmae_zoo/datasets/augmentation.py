"""Which points of a cloud a model sees: random views for training, and the one fixed view for evaluation.

Training clouds are augmented as whole batches, on the clouds' device, from one generator.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointmae_zoo.datasets.clouds import normalize_clouds
from pointmae_zoo.ops import draw_per_cloud, farthest_point_sample

_AT_ONCE = 64


@dataclass(frozen=True)
class Augmentation:
    """How a stored cloud becomes a training sample.

    Args:
        fps_share: share of the clouds that are thinned by farthest point sampling, the others at random.
            Features must serve both: mesh files are thinned by farthest point sampling, benchmarks take
            random points.
        fps_surplus: farthest point sampling takes this many times the wanted points, and the wanted ones are
            drawn from them at random, so that they differ each time. The papers' fine-tuning takes 1,200 for
            1,024.
        scale: each axis is multiplied by its own factor in [scale_low, scale]; 1 for none. The paper's is
            1.5.
        scale_low: the lower end of that range; None: 1 / scale.
        scale_draw: how that factor is drawn: ``log``, uniform in its logarithm, so that shapes grow as often
            as they shrink; ``uniform`` as in the paper.
        scale_axes: ``each`` axis has a factor of its own, or all ``together`` have one.
        turn: largest angle, in degrees, by which a cloud is turned about the y axis (up), either way; 180 for
            any.
        shift: each axis is shifted by its own offset, uniform in [-shift, shift], after normalisation.
        jitter: largest standard deviation of the noise on every coordinate; each cloud has its own, uniform
            in [0, jitter].
        density: the number of points is multiplied by a factor, log-uniform in [1 / density, density], the
            same for all clouds of a step.
        normalize: centre on the centroid and scale to the unit sphere after the axes' scaling, as features
            are extracted later.
        normalize_first: do so before that scaling, too, as the paper does: a choice of a cloud's points is
            not quite in the unit sphere.

    Raises:
        ValueError: a value out of range; names the field.
    """

    fps_share: float = 0.5
    fps_surplus: float = 1.0
    scale: float = 1.25
    scale_low: float | None = None
    scale_draw: Literal["log", "uniform"] = "log"
    scale_axes: Literal["each", "together"] = "each"
    turn: float = 0.0
    shift: float = 0.0
    jitter: float = 0.0
    density: float = 1.0
    normalize: bool = True
    normalize_first: bool = False

    @property
    def normalizes(self) -> bool:
        """Whether training clouds are centred and scaled to the unit sphere at all."""
        return self.normalize or self.normalize_first

    def __post_init__(self) -> None:
        if not 0 <= self.fps_share <= 1:
            raise ValueError(f"augmentation: fps_share is {self.fps_share}, expected between 0 and 1")
        for name, least in (
            ("fps_surplus", 1),
            ("scale", 1),
            ("turn", 0),
            ("shift", 0),
            ("jitter", 0),
            ("density", 1),
        ):
            value = getattr(self, name)
            if not (value >= least and math.isfinite(value)):
                raise ValueError(f"augmentation: {name} is {value}, expected at least {least}")
        if self.scale_low is not None and not 0 < self.scale_low <= 1:
            raise ValueError(f"augmentation: scale_low is {self.scale_low}, expected above 0 and at most 1")


def points_of_step(usual: int, most: int, settings: Augmentation, generator: torch.Generator) -> int:
    """How many points each cloud of a step has: ``usual`` times a random factor (see ``Augmentation``), at
    most ``most``."""
    if settings.density == 1.0:
        return usual
    share = torch.rand(1, generator=_on_host(generator, 1)).item()
    return min(most, round(usual * settings.density ** (2.0 * share - 1.0)))


def _on_host(generator: torch.Generator, stream: int) -> torch.Generator:
    """A generator on the CPU, for numbers that decide shapes of tensors: one would have to wait for a GPU's.
    Every use has a ``stream`` of numbers of its own."""
    if generator.device.type == "cpu":
        return generator
    return torch.Generator().manual_seed(generator.initial_seed() ^ stream)


def subsample(
    points: Tensor, count: int, fps_share: float, generator: torch.Generator, *, fps_surplus: float = 1.0
) -> Tensor:
    """Choose ``count`` of N points of every cloud, some clouds by farthest point sampling, the others at
    random.

    Args:
        points: (B, N, 3) with N >= count.
        fps_share: probability that a cloud is thinned by farthest point sampling (from a random first point).
        fps_surplus: how many times ``count`` it keeps, of which ``count`` are drawn at random.
        generator: of the points' device.

    Returns:
        (B, count) int64 indices into N, no index twice.

    Raises:
        ValueError: fewer than ``count`` points.
    """
    batch, available, _ = points.shape
    if available < count:
        raise ValueError(f"{available} points a cloud, but {count} are to be chosen; lower num_points")

    draw = partial(torch.rand, device=points.device, generator=generator)
    order = draw_per_cloud(lambda clouds: draw(clouds, available), batch).argsort(dim=1)  # (B, N)
    chosen = order[:, :count].clone()
    host = _on_host(generator, 2)
    spread = draw_per_cloud(lambda clouds: torch.rand(clouds, generator=host), batch) < fps_share
    which = spread.nonzero()[:, 0]  # (S,) clouds that are thinned by farthest point sampling
    if points.device.type == "cuda":  # a copy from other memory may wait until the GPU is done
        which = which.pin_memory()
    which = which.to(points.device, non_blocking=True)
    if len(which):
        shuffled = points[which].gather(1, order[which, :, None].expand(-1, -1, 3))  # (S, N, 3)
        kept = farthest_point_sample(shuffled, min(available, round(count * fps_surplus)))
        if kept.shape[1] > count:
            mixed = draw_per_cloud(lambda clouds: draw(clouds, kept.shape[1]), batch).argsort(dim=1)
            kept = kept.gather(1, mixed[which, :count])
        chosen[which] = order[which].gather(1, kept)
    return chosen


def augment(points: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Scale, turn, normalise, shift and jitter: (B, N, 3) -> (B, N, 3). The order of the points stays."""
    batch, count, _ = points.shape
    given: dict[str, Any] = {"device": points.device, "dtype": points.dtype, "generator": generator}

    def uniform(axes: int = 3) -> Tensor:
        return 2.0 * draw_per_cloud(lambda clouds: torch.rand(clouds, 1, axes, **given), batch) - 1.0

    if settings.normalize_first:
        points = _in_unit_sphere(points)
    axes = 3 if settings.scale_axes == "each" else 1
    if settings.scale != 1.0 or settings.scale_low not in (None, 1.0):
        points = points * _scales(settings, uniform(axes))
    if settings.turn:
        points = _turned(points, uniform(1)[:, :, 0] * math.radians(settings.turn))
    if settings.normalize:
        points = _in_unit_sphere(points)
    if settings.shift:
        points = points + uniform() * settings.shift
    if settings.jitter:
        strength = draw_per_cloud(lambda clouds: torch.rand(clouds, 1, 1, **given), batch)
        noise = draw_per_cloud(lambda clouds: torch.randn(clouds, count, 3, **given), batch)
        points = points + settings.jitter * strength * noise
    return points


def _scales(settings: Augmentation, drawn: Tensor) -> Tensor:
    """Factors from what was drawn of [-1, 1]."""
    if settings.scale_draw == "log":
        most = math.log(settings.scale)
        least = -most if settings.scale_low is None else math.log(settings.scale_low)
        return (drawn * ((most - least) / 2.0) + (most + least) / 2.0).exp()
    least = 1.0 / settings.scale if settings.scale_low is None else settings.scale_low
    return least + (settings.scale - least) * 0.5 * (drawn + 1.0)


def _turned(points: Tensor, angle: Tensor) -> Tensor:
    """(B, N, 3) about y by (B, 1) radians."""
    cosine, sine = angle.cos(), angle.sin()
    x, y, z = points.unbind(dim=2)
    return torch.stack([cosine * x + sine * z, y, cosine * z - sine * x], dim=2)


def _in_unit_sphere(points: Tensor) -> Tensor:
    points = points - points.mean(dim=1, keepdim=True)
    return points / points.norm(dim=2).amax(dim=1).clamp_min(1e-12)[:, None, None]


@dataclass(frozen=True)
class FixedView:
    """``num_points`` of each cloud, without anything random.

    Args:
        num_points: how many.
        farthest: take them by farthest point sampling from the first point on; otherwise take the first ones.
        normalized: centre them on their centroid and scale them to the unit sphere; otherwise they stay as in
            the file. Networks that attend within a radius must see the scale that they were trained on.
    """

    num_points: int
    farthest: bool = False
    normalized: bool = True

    @classmethod
    def of_training(cls, num_points: int, settings: Augmentation) -> Self:
        """The view that fits such a training: farthest points if it took no others."""
        return cls(num_points, settings.fps_share == 1.0, settings.normalizes)

    def rows(self, points: NDArray[np.float32]) -> NDArray[np.int64]:
        """(M, N, 3), N at least ``num_points`` -> (M, num_points): which points of each cloud are taken."""
        if not self.farthest:
            return np.broadcast_to(np.arange(self.num_points), (len(points), self.num_points))
        found = [np.empty((0, self.num_points), np.int64)]
        for start in range(0, len(points), _AT_ONCE):
            some = torch.from_numpy(np.ascontiguousarray(points[start : start + _AT_ONCE]))
            found.append(farthest_point_sample(some, self.num_points).numpy())
        return np.concatenate(found)

    def placed(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """(M, n, 3): chosen points as a network sees them."""
        return normalize_clouds(points) if self.normalized else points

    def __call__(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """(M, N, 3) -> (M, num_points, 3)."""
        return self.placed(np.take_along_axis(points, self.rows(points)[:, :, None], axis=1))

    def told(self, most_points: int) -> str:
        """The view in words; at most ``most_points`` points are read of each cloud."""
        points = f"first {self.num_points} points"
        if self.farthest:
            points = (
                f"{self.num_points} points by farthest point sampling of those in the file (at most "
                f"{most_points})"
            )
        place = "centred on the centroid, scaled to the unit sphere"
        return f"{points}, {place if self.normalized else 'not centred or scaled, as in training'}"
