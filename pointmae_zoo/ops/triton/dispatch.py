"""Where Triton's kernels serve instead of torch's operators: the one place that decides.

They take float32 tensors on a GPU, up to the sizes below, where Triton is installed (it comes with torch's
GPU builds for Linux) and can be used. Everything else, float64 too, is torch's. Triton is imported, and a
kernel compiled, at its first use.
"""

import importlib.util

import torch
from torch import Tensor

# What one program's registers hold.
MOST_SAMPLED = 1 << 14
MOST_NEIGHBORS = 64
MOST_PAIRS = 1 << 12
_INSTALLED = importlib.util.find_spec("triton") is not None


def samples(points: Tensor) -> bool:
    """Whether a kernel picks farthest points of (B, N, 3)."""
    return _serves(points) and points.shape[1] <= MOST_SAMPLED


def searches(query: Tensor, points: Tensor, k: int) -> bool:
    """Whether a kernel finds k neighbours in (B, N, 3); N is as large as it likes."""
    return _serves(query, points) and k <= MOST_NEIGHBORS


def compares(prediction: Tensor, target: Tensor) -> bool:
    """Whether a kernel computes the Chamfer distance of (B, N, 3) and (B, M, 3)."""
    if not _serves(prediction, target):
        return False
    return padded(prediction.shape[1]) * padded(target.shape[1]) <= MOST_PAIRS


def padded(count: int) -> int:
    """What a block of Triton's holds for ``count``: the next power of two, 16 at least."""
    return max(16, 1 << (count - 1).bit_length())


def _serves(*tensors: Tensor) -> bool:
    if not _INSTALLED or not all(tensor.is_cuda for tensor in tensors):
        return False
    if any(tensor.dtype != torch.float32 or tensor.shape[-1] != 3 for tensor in tensors):
        return False
    from pointmae_zoo.ops.triton import operators

    return operators.USABLE
