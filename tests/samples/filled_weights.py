"""Weights that nobody has to store: every entry follows from its name and shape."""

import zlib

import numpy as np
import torch
from torch import Tensor


def fill(key: str, shape: list[int]) -> Tensor:
    """One checkpoint entry, from its name and shape alone (float64 arithmetic, rounded at the end)."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    noise = np.asarray(np.random.default_rng(zlib.crc32(key.encode())).standard_normal(tuple(shape)))
    if key.endswith("running_mean"):
        value = 0.02 * noise
    elif key.endswith("running_var"):
        value = 0.25 * (1.0 + np.abs(0.1 * noise))
    elif len(shape) <= 1:
        value = 1.0 + 0.1 * noise if key.endswith(".weight") else 0.05 * noise
    else:
        value = noise / np.sqrt(float(np.prod(shape[1:])))
    return torch.from_numpy(value.astype(np.float32))
