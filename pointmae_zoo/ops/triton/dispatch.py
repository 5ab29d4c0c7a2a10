"""Where Triton's kernels run instead of torch's operators.

The kernels take float32 tensors on a GPU, up to the sizes below, if Triton is installed (torch's GPU builds
for Linux include it) and supports the GPU. Torch does everything else, including float64. Triton is imported,
and a kernel compiled, at its first use.
"""

import importlib.util

import torch
from torch import Tensor

# What the registers of one program hold.
MOST_SAMPLED = 1 << 14
MOST_NEIGHBORS = 64
MOST_PAIRS = 1 << 12
_INSTALLED = importlib.util.find_spec("triton") is not None


def samples(points: Tensor) -> bool:
    """Whether a kernel picks the farthest points of (B, N, 3)."""
    return _serves(points) and points.shape[1] <= MOST_SAMPLED


def searches(query: Tensor, points: Tensor, k: int) -> bool:
    """Whether a kernel finds k neighbours of each query in (B, N, 3), for any N."""
    return _serves(query, points) and k <= MOST_NEIGHBORS


def compares(prediction: Tensor, target: Tensor) -> bool:
    """Whether a kernel computes the Chamfer distance of (B, N, 3) and (B, M, 3)."""
    if not _serves(prediction, target):
        return False
    from pointmae_zoo.ops.triton.kernels import padded

    return padded(prediction.shape[1]) * padded(target.shape[1]) <= MOST_PAIRS


def _serves(*tensors: Tensor) -> bool:
    if not _INSTALLED or not all(tensor.is_cuda for tensor in tensors):
        return False
    if any(tensor.dtype != torch.float32 or tensor.shape[-1] != 3 for tensor in tensors):
        return False
    from pointmae_zoo.ops.triton import kernels

    return kernels.USABLE
