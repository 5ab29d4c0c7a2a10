"""Frozen features of clouds, and the networks without training that they are compared with."""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pointmae_zoo.models.batch_norm import averaging_statistics
from pointmae_zoo.models.registry import create_model


def embed_clouds(
    encoder: Any,
    points: NDArray[np.float32],
    *,
    pool: str | None = None,
    batch_size: int = 64,
    device: str = "cpu",
) -> NDArray[np.float32]:
    """(M, N, 3) prepared clouds -> (M, D) features."""
    rows = [
        encoder.embed(torch.from_numpy(points[start : start + batch_size]).to(device), pool=pool)
        .cpu()
        .numpy()
        for start in range(0, len(points), batch_size)
    ]
    return np.concatenate(rows)


def random_encoder(config: Any, seed: int, device: str = "cpu") -> Any:
    """The network that ``config`` describes, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create_model(config.architecture, kind="encoder", **config.arguments).to(device).eval()


def calibrate_batch_norm(
    model: nn.Module, points: NDArray[np.float32], *, batch_size: int = 64, seed: int = 0
) -> nn.Module:
    """A copy whose BatchNorm statistics are the average over ``points`` (M, N, 3), everything else untouched;
    see `averaging_statistics`."""
    calibrated: Any = copy.deepcopy(model).eval()
    device = next(calibrated.parameters()).device
    order = np.random.default_rng(seed).permutation(len(points))
    with averaging_statistics(calibrated):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            if (
                len(chosen) == batch_size or start == 0
            ):  # a short last batch would weigh as much as a full one
                calibrated.forward_features(torch.from_numpy(points[chosen]).to(device))
    return calibrated
