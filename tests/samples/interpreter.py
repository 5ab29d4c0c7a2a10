"""Triton's kernels on a CPU: the public operations in a process of its own, where triton is imported with
``TRITON_INTERPRET=1`` (it asks once, when a kernel is defined) and the kernels take what they take on a GPU.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np

Run = Callable[..., Any]


@contextmanager
def interpreter() -> Iterator[Run]:
    """Gives ``run(function, *arguments)``, which runs a function of this module over there."""
    start = multiprocessing.get_context("spawn")
    with (
        mock.patch.dict(os.environ, TRITON_INTERPRET="1", OMP_NUM_THREADS="1"),
        ProcessPoolExecutor(1, start) as pool,
    ):

        def run(function: Callable[..., Any], *arguments: Any) -> Any:
            return pool.submit(function, *arguments).result()

        run(_serve_the_cpu)
        yield run


def _serve_the_cpu() -> None:
    import torch

    from pointmae_zoo.ops.triton import dispatch

    torch.set_num_threads(1)

    def serves(*tensors: torch.Tensor) -> bool:
        return all(tensor.dtype == torch.float32 and tensor.shape[-1] == 3 for tensor in tensors)

    dispatch._serves = serves


@contextmanager
def _kernel(name: str) -> Iterator[None]:
    """The operation in question comes from its kernel, and not from torch."""
    from pointmae_zoo.ops.triton import operators

    with mock.patch.object(operators, name, wraps=getattr(operators, name)) as operator:
        yield
    assert operator.called


def sample(points: np.ndarray, count: int, skip: bool) -> np.ndarray:
    import torch

    from pointmae_zoo import ops

    with _kernel("farthest_point_sample"):
        return ops.farthest_point_sample(torch.from_numpy(points), count, skip_near_origin=skip).numpy()


def nearest(query: np.ndarray, points: np.ndarray, k: int) -> np.ndarray:
    import torch

    from pointmae_zoo import ops

    with _kernel("knn"):
        return ops.knn(torch.from_numpy(query), torch.from_numpy(points), k).numpy()


def chamfer(
    prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None, dtype: str = "float32"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distance and its gradients."""
    import torch

    from pointmae_zoo import ops

    a, b = (torch.from_numpy(x).to(getattr(torch, dtype)).requires_grad_() for x in (prediction, target))
    with _kernel("chamfer"):
        loss = ops.chamfer_distance(a, b, None if valid is None else torch.from_numpy(valid))
    loss.backward()
    assert a.grad is not None and b.grad is not None
    return loss.detach().numpy(), a.grad.float().numpy(), b.grad.float().numpy()


def checks_of_operators() -> None:
    """torch's own checks: schemas, shapes without values, gradients under `torch.compile`'s tracing."""
    import torch

    from pointmae_zoo.ops.triton import operators

    cloud = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    a, b = cloud[:, :4].clone().requires_grad_(), cloud[:, 4:].clone().requires_grad_()
    torch.library.opcheck(operators.farthest_point_sample, (cloud, 3, 1e10, -1.0))
    torch.library.opcheck(operators.knn, (cloud, cloud, 2))
    torch.library.opcheck(operators.chamfer, (a, b))


def compiled_whole() -> bool:
    """Whether a function around all three operations compiles without a break, and gives the same."""
    import torch

    from pointmae_zoo import ops

    def work(points: torch.Tensor, guess: torch.Tensor) -> torch.Tensor:
        centers = ops.index_points(points, ops.farthest_point_sample(points, 4))
        groups = ops.index_points(points, ops.knn(centers, points, 3))
        return ops.chamfer_distance(guess * 2, groups.flatten(0, 1))

    random = torch.Generator().manual_seed(0)
    points = torch.randn(2, 9, 3, generator=random)
    guess = torch.randn(8, 3, 3, generator=random).requires_grad_()
    plain = torch.autograd.grad(work(points, guess), guess)[0]
    compiled = torch.compile(work, backend="aot_eager", fullgraph=True)
    return bool(torch.allclose(torch.autograd.grad(compiled(points, guess), guess)[0], plain))
