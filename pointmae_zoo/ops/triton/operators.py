"""Triton's kernels as torch operators, which `torch.compile` can trace.

No operator waits for the GPU. The module is imported at the first use of a GPU, never on a CPU.
"""

import contextlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pointmae_zoo.ops.triton import kernels


def _on(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current GPU, wherever the tensors are."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


@torch.library.custom_op("pointmae_zoo::farthest_point_sample", mutates_args=())
def farthest_point_sample(points: Tensor, num_samples: int, far: float, near_origin: float) -> Tensor:
    """`ops.farthest_point_sample` for float32 points (B, N, 3), N <= `dispatch.MOST_SAMPLED`.

    Args:
        points: (B, N, 3).
        num_samples: how many.
        far: upper limit of squared distances: larger ones count as this.
        near_origin: points with this squared norm or a smaller one are not picked; negative: all may be.
    """
    batch, count, _ = points.shape
    meta = kernels.sample_meta(count)
    xyz = F.pad(points, (0, 0, 0, meta["block"] - count)).transpose(1, 2).contiguous()
    picked = torch.empty((batch, num_samples), dtype=torch.int64, device=points.device)
    with _on(points):
        kernels.sample_kernel[(batch,)](
            xyz, picked, count, num_samples, far=far, near_origin=near_origin, **meta
        )
    return picked


@farthest_point_sample.register_fake
def _(points: Tensor, num_samples: int, far: float, near_origin: float) -> Tensor:
    return points.new_empty((points.shape[0], num_samples), dtype=torch.int64)


@torch.library.custom_op("pointmae_zoo::knn", mutates_args=())
def knn(query: Tensor, points: Tensor, k: int) -> Tensor:
    """`ops.knn` for float32 query (B, M, 3) and points (B, N, 3), k <= N and
    `dispatch.MOST_NEIGHBORS`."""
    batch, rows, _ = query.shape
    xyz = points.transpose(1, 2).contiguous()
    found = torch.empty((batch, rows, k), dtype=torch.int64, device=query.device)
    with _on(query):
        kernels.nearest_kernel[(batch * rows,)](
            query.contiguous(), xyz, found, rows, points.shape[1], k, **kernels.nearest_meta(k)
        )
    return found


@knn.register_fake
def _(query: Tensor, points: Tensor, k: int) -> Tensor:
    return query.new_empty((*query.shape[:2], k), dtype=torch.int64)


@torch.library.custom_op("pointmae_zoo::chamfer", mutates_args=())
def chamfer(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The Chamfer distance of each pair of float32 sets (B, N, 3), (B, M, 3), of sizes that
    `dispatch.compares` accepts.

    Returns:
        (B,) distances; int32 indices of the nearest, (B, N) into ``target`` and (B, M) into ``prediction``.
        Differentiable once.
    """
    batch, rows, _ = prediction.shape
    columns = target.shape[1]
    each = prediction.new_empty(batch)
    to_target = prediction.new_empty((batch, rows), dtype=torch.int32)
    to_prediction = prediction.new_empty((batch, columns), dtype=torch.int32)
    with _on(prediction):
        kernels.chamfer_kernel[(batch,)](
            prediction.contiguous(),
            target.contiguous(),
            each,
            to_target,
            to_prediction,
            rows,
            columns,
            1 / rows,
            1 / columns,
            **kernels.chamfer_meta(rows, columns),
        )
    return each, to_target, to_prediction


@chamfer.register_fake
def _(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    to_target = prediction.new_empty(prediction.shape[:2], dtype=torch.int32)
    to_prediction = prediction.new_empty(target.shape[:2], dtype=torch.int32)
    return prediction.new_empty(prediction.shape[0]), to_target, to_prediction


@torch.library.custom_op("pointmae_zoo::chamfer_gradient", mutates_args=())
def chamfer_gradient(
    gradient: Tensor, prediction: Tensor, target: Tensor, to_target: Tensor, to_prediction: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients (B, N, 3), (B, M, 3) of `chamfer`'s distances, given those of the distances, (B,)."""
    batch, rows, _ = prediction.shape
    columns = target.shape[1]
    of_prediction = torch.empty((batch, rows, 3), dtype=torch.float32, device=prediction.device)
    of_target = torch.empty((batch, columns, 3), dtype=torch.float32, device=prediction.device)
    with _on(prediction):
        kernels.chamfer_gradient_kernel[(batch,)](
            prediction.contiguous(),
            target.contiguous(),
            to_target,
            to_prediction,
            gradient.contiguous(),
            of_prediction,
            of_target,
            rows,
            columns,
            1 / rows,
            1 / columns,
            **kernels.chamfer_meta(rows, columns),
        )
    return of_prediction, of_target


@chamfer_gradient.register_fake
def _(
    gradient: Tensor, prediction: Tensor, target: Tensor, to_target: Tensor, to_prediction: Tensor
) -> tuple[Tensor, Tensor]:
    return prediction.new_empty(prediction.shape), target.new_empty(target.shape)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output[1:])


def _backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    prediction, target, to_target, to_prediction = ctx.saved_tensors
    return chamfer_gradient(gradient, prediction, target, to_target, to_prediction)


chamfer.register_autograd(_backward, setup_context=_keep)
