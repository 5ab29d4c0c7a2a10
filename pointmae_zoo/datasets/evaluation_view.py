"""The one view of every cloud that a trained model is judged by: which of its points, and where they are."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from pointmae_zoo.datasets.augmentation import Augmentation
from pointmae_zoo.datasets.clouds import normalize_clouds
from pointmae_zoo.ops import farthest_point_sample

_AT_ONCE = 64


@dataclass(frozen=True)
class FixedView:
    """``num_points`` of each cloud, without anything random.

    Args:
        num_points: how many.
        farthest: by farthest point sampling that begins with the first one; otherwise the first ones.
        normalized: what was chosen is centred on its centroid and scaled to the unit sphere; otherwise it
            stays as it is in the file. Networks that attend within a radius are to see the scale that they
            were trained on.
    """

    num_points: int
    farthest: bool = False
    normalized: bool = True

    @classmethod
    def of_training(cls, num_points: int, settings: Augmentation) -> Self:
        """What fits a training on such clouds: farthest points if it took no others."""
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
        """In words, of clouds of which at most so many points are read."""
        points = f"first {self.num_points} points"
        if self.farthest:
            points = (
                f"{self.num_points} points by farthest point sampling of those in the file (at most "
                f"{most_points})"
            )
        place = "centred on the centroid, scaled to the unit sphere"
        return f"{points}, {place if self.normalized else 'not centred or scaled, as in training'}"
