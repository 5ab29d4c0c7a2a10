"""Parts that masked pre-training models share: drawing masks, carrying tokens to finer levels, and predicting
the neighbours of hidden tokens."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointmae_zoo.models.batch_norm import batch_norm
from pointmae_zoo.models.pretraining_model import LossTerm
from pointmae_zoo.models.tokenizer import group_coordinates
from pointmae_zoo.models.tokens import Groups, pack
from pointmae_zoo.ops import chamfer_distance, draw_per_cloud, index_points, three_nn_interpolate


class Prediction(NamedTuple):
    """What some tokens predict, packed: W is the largest number of them in any cloud."""

    order: Tensor  # (B, W) int64: which tokens
    valid: Tensor  # (B, W) bool: False where a cloud has fewer than W
    predicted: Tensor  # (B, W, ...)
    target: Tensor  # (B, W, ...)


class TokenPropagation(nn.Module):
    """Coarse tokens to the finer level: 3-NN interpolation, fusion with the finer tokens, a residual unit."""

    def __init__(self, dim: int, coarse_dim: int) -> None:
        super().__init__()
        self.fuse = nn.Linear(dim + coarse_dim, dim)
        self.fuse_norm = nn.BatchNorm1d(dim)
        self.conv1 = nn.Linear(dim, dim)
        self.norm1 = nn.BatchNorm1d(dim)
        self.conv2 = nn.Linear(dim, dim)
        self.norm2 = nn.BatchNorm1d(dim)

    def forward(self, centers: Tensor, coarse_centers: Tensor, skip: Tensor, coarse: Tensor) -> Tensor:
        """(B, G, 3), (B, S, 3), (B, G, C), (B, S, C of the coarser level) -> (B, G, C)."""
        carried = three_nn_interpolate(centers, coarse_centers, coarse)
        x = torch.cat([skip, carried], dim=-1).flatten(0, 1)
        x = F.gelu(batch_norm(self.fuse_norm, self.fuse(x)))
        residual = batch_norm(self.norm2, self.conv2(F.gelu(batch_norm(self.norm1, self.conv1(x)))))
        return F.gelu(residual + x).view_as(skip)


def predict_neighbors(
    head: nn.Module,
    decoded: Tensor,
    points: Tensor,
    groups: Groups,
    level: int,
    hidden: Tensor,
    most_hidden: int | None,
) -> Prediction:
    """The neighbours' coordinates that hidden tokens predict, relative to the tokens' centres.

    Args:
        head: (..., C) -> (..., 3 K).
        decoded: (B, G, C) tokens of ``level``.
        points: (B, N, 3), which level 0 groups.
        groups: the hierarchy over them.
        level: of the tokens that predict.
        hidden: (B, G) bool.
        most_hidden: an upper limit of a cloud's hidden tokens, if it is known (see `pack`).

    Returns:
        predicted, float32, and target (B, W, K, 3).
    """
    order, valid = pack(hidden, most_hidden)
    source = points if level == 0 else groups.centers[level - 1]
    target = group_coordinates(
        source, index_points(groups.centers[level], order), index_points(groups.neighbors[level], order)
    )
    predicted = head(index_points(decoded, order)).view(target.shape).float()
    return Prediction(order, valid, predicted, target)


def neighbors_loss(prediction: Prediction, weight: float) -> LossTerm:
    """Chamfer-L2 between predicted and true neighbours, the mean over the tokens."""
    count = prediction.valid.sum().float()
    if not prediction.predicted.numel():
        # No token is masked. The (empty) sum is 0 and still part of the autograd graph.
        return LossTerm(prediction.predicted.sum(), weight, count)
    sets = prediction.predicted.flatten(0, 1), prediction.target.flatten(0, 1)
    return LossTerm(chamfer_distance(*sets, valid=prediction.valid.flatten()), weight, count)


def count_visible(ratio: float, count: int) -> int:
    """How many of ``count`` stay visible if the share ``ratio`` is masked."""
    return count - int(ratio * count)


def draw_visible(probability: Tensor, kept: int) -> Tensor:
    """Draw ``kept`` of the last axis without replacement: probabilities (B, ..., G) -> bool (B, ..., G).

    Uses torch's global generator of the device.
    """
    shape = probability.shape[1:]
    # The largest p / e with exponential noise e, as in torch.multinomial; the noise is drawn per cloud.
    noise = draw_per_cloud(
        lambda clouds: probability.new_empty(clouds, *shape).exponential_(), len(probability)
    )
    drawn = (probability / noise).topk(kept, dim=-1).indices
    return torch.zeros_like(probability, dtype=torch.bool).scatter_(-1, drawn, True)
