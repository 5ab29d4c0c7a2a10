"""Nearest neighbours, gathering by index, and interpolation from the three nearest."""

import torch
from torch import Tensor

from pointmae_zoo.ops import exportable
from pointmae_zoo.ops.cpu import numba_operators
from pointmae_zoo.ops.triton import dispatch

# Distances computed at a time. More than this leaves the processor's cache and costs page faults.
_CHUNK = 1 << 21


def index_points(values: Tensor, indices: Tensor) -> Tensor:
    """Gather rows per cloud: values (B, N, C), indices (B, ...) into N -> (B, ..., C). Differentiable in
    ``values``."""
    batch, count, channels = values.shape
    # (B, 1, ...)
    offsets = torch.arange(batch, device=values.device).view(-1, *[1] * (indices.ndim - 1)) * count
    rows = values.reshape(batch * count, channels).index_select(0, (indices + offsets).reshape(-1))
    return rows.view(*indices.shape, channels)


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Pairwise squared distances (..., M, 3), (..., N, 3) -> (..., M, N), summed x, y, z in this order.

    Computed from differences: the expansion |a|^2 - 2ab + |b|^2 loses digits to cancellation and then orders
    near neighbours wrongly.
    """
    total = (a[..., :, None, 0] - b[..., None, :, 0]).square_()
    for axis in (1, 2):
        total += (a[..., :, None, axis] - b[..., None, :, axis]).square_()
    return total


def knn(query: Tensor, points: Tensor, k: int) -> Tensor:
    """Indices of the k nearest points of each query, nearest first; the lowest index first among equal
    distances.

    Args:
        query: (B, M, 3) float coordinates.
        points: (B, N, 3) float coordinates.
        k: how many. If N < k, the nearest point fills the remaining places.

    Returns:
        (B, M, k) int64. A query that is one of the points finds itself.

    Raises:
        ValueError: shapes that do not fit, no points, or k below 1.
    """
    if query.ndim != 3 or points.ndim != 3 or query.shape[0] != points.shape[0] or points.shape[1] == 0:
        raise ValueError(
            "query (B, M, 3) and points (B, N, 3), N >= 1, expected; "
            f"got {tuple(query.shape)} and {tuple(points.shape)}"
        )
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    # Halves are compared as floats; doubles stay doubles, so that a float64 brute force agrees.
    precision = torch.float64 if torch.float64 in (query.dtype, points.dtype) else torch.float32
    query, points = query.detach().to(precision), points.detach().to(precision)
    found_k = min(k, points.shape[1])
    if exportable.exporting():
        found = exportable.nearest_k(squared_distances(query, points), found_k)
    elif dispatch.searches(query, points, found_k):
        from pointmae_zoo.ops.triton import operators

        found = operators.knn(query, points, found_k)
    elif query.device.type == "cpu" and precision == torch.float32 and numba_operators.available():
        found = numba_operators.knn(query, points, found_k)
    else:
        found = _knn_torch(query, points, found_k)
    if found_k < k:
        found = torch.cat([found, found[..., :1].expand(-1, -1, k - found_k)], dim=-1)
    return found


def _knn_torch(query: Tensor, points: Tensor, k: int) -> Tensor:
    batch, rows, _ = query.shape
    found = torch.empty((batch, rows, k), dtype=torch.int64, device=query.device)
    # On a CPU in pieces that fit its cache; an accelerator takes all rows at once.
    step = max(1, _CHUNK // (batch * points.shape[1])) if query.device.type == "cpu" else rows
    for start in range(0, rows, step):
        distance = squared_distances(query[:, start : start + step], points)  # (B, step, N)
        # One more than wanted, to see a tie across the last place. topk breaks ties arbitrarily, so rows with
        # ties are sorted.
        values, indices = distance.topk(min(k + 1, points.shape[1]), largest=False, sorted=True)
        nearest = indices[..., :k]
        tied = (values[..., 1:] == values[..., :-1]).any(-1)
        if tied.any():
            nearest[tied] = distance[tied].argsort(dim=-1, stable=True)[:, :k]
        found[:, start : start + step] = nearest
    return found


def three_nn_interpolate(query: Tensor, source: Tensor, features: Tensor) -> Tensor:
    """Carry features from few points to many: the three nearest, weighted by 1 / (squared distance + 1e-8).

    Args:
        query: (B, N, 3), the points that get features.
        source: (B, G, 3), the points that have them. If G < 3, all are used.
        features: (B, G, C). Differentiable.

    Returns:
        (B, N, C) in the dtype of ``features``.
    """
    nearest = knn(query, source, min(3, source.shape[1]))
    distance = (query.unsqueeze(2) - index_points(source, nearest)).square().sum(-1)
    weight = 1.0 / (distance + 1e-8)
    weight = weight / weight.sum(-1, keepdim=True)  # (B, N, 3)
    return (index_points(features, nearest) * weight.unsqueeze(-1).to(features.dtype)).sum(2)
