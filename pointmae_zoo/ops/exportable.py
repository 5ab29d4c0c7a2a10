"""The two searches as `torch.export` can write them down: the same indices, in plain operators.

The loops that run otherwise are numba's and numpy's, which a traced program cannot hold, or look at values,
which are not there while it is traced.
"""

import torch
from torch import Tensor


def exporting() -> bool:
    """Whether `torch.export` is tracing (torch 2.7 or newer; an older one does not say)."""
    asked = getattr(torch.compiler, "is_exporting", None)
    return asked is not None and bool(asked())


def farthest_point_sample(points: Tensor, num_samples: int, never: Tensor | None, far: float) -> Tensor:
    """`ops.farthest_point_sample` as one ``scan``, whatever the number of samples.

    Args:
        points: (B, N, 3).
        num_samples: how many.
        never: (B, N) bool, points that are not to be picked.
        far: a squared distance that is larger than all.
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
        # Summed x, y, z in this order, as everywhere: a sum over the axis leaves it open.
        nearest = torch.minimum(nearest, square[..., 0] + square[..., 1] + square[..., 2])
        last = nearest.argmax(1, keepdim=True)
        return [nearest, last], last.clone()

    steps = torch.arange(num_samples - 1, device=points.device)
    _, picked = scan(pick, [nearest, first], steps)
    return torch.cat([first, picked.squeeze(-1).t()], dim=1)


def nearest_k(distance: Tensor, k: int) -> Tensor:
    """(B, M, N) -> (B, M, k) int64: where the k smallest are, the lowest index first among equals."""
    return distance.sort(dim=-1, stable=True).indices[..., :k]
