"""Farthest point sampling and neighbour search in operators that `torch.export` can trace; the same indices.

The usual implementations can't be traced: they run numba or numpy, or they look at values, which don't exist
during tracing.
"""

import torch
from torch import Tensor


def exporting() -> bool:
    """Whether `torch.export` is tracing. Always False before torch 2.7, which can't tell."""
    asked = getattr(torch.compiler, "is_exporting", None)
    return asked is not None and bool(asked())


def farthest_point_sample(points: Tensor, num_samples: int, never: Tensor | None, far: float) -> Tensor:
    """`ops.farthest_point_sample` as a single ``scan``, for any number of samples.

    Args:
        points: (B, N, 3).
        num_samples: how many.
        never: (B, N) bool, points that must not be picked.
        far: a squared distance above all others.

    Returns:
        (B, num_samples) int64.
    """
    nearest = torch.full_like(points[..., 0], far)
    if never is not None:
        nearest = torch.where(never, -1.0, nearest)
    first = torch.zeros((points.shape[0], 1), dtype=torch.int64, device=points.device)
    if num_samples == 1:
        return first
    from torch._higher_order_ops.scan import scan

    def pick(carried: list[Tensor], _: Tensor) -> tuple[list[Tensor], Tensor]:
        nearest, last = carried
        apart = points - points.gather(1, last.unsqueeze(-1).expand(-1, -1, 3))
        square = apart * apart
        # x + y + z in this order, as in all implementations; ``sum`` does not fix the order.
        nearest = torch.minimum(nearest, square[..., 0] + square[..., 1] + square[..., 2])
        last = nearest.argmax(1, keepdim=True)
        return [nearest, last], last.clone()

    steps = torch.arange(num_samples - 1, device=points.device)
    _, picked = scan(pick, [nearest, first], steps)
    return torch.cat([first, picked.squeeze(-1).t()], dim=1)


def nearest_k(distance: Tensor, k: int) -> Tensor:
    """(B, M, N) -> (B, M, k) int64: indices of the k smallest, the lowest index first among equals."""
    return distance.sort(dim=-1, stable=True).indices[..., :k]
