"""BatchNorm over rows: accurate on a CPU, with weighted rows, and independent of the number of processes.

With more than one process (``torch.distributed`` initialised) the statistics are those of the global batch:
sums, and their gradients, are added over the processes. (``nn.SyncBatchNorm`` supports neither CPUs nor
weights.)
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


def batch_norm(norm: nn.BatchNorm1d, x: Tensor, counts: Tensor | None = None) -> Tensor:
    """``norm`` applied to rows.

    Args:
        norm: in training mode the batch's statistics are used, otherwise the stored ones.
        x: (M, C).
        counts: (M,) how often each row counts in the statistics; None: once.

    Returns:
        (M, C) of ``x``'s dtype.
    """
    if norm.training and (counts is not None or _processes() > 1):
        return _normalize(norm, x, counts)
    if not norm.training or x.dtype == torch.bfloat16 or x.device.type != "cpu":
        return nn.BatchNorm1d.forward(norm, x)
    # torch's CPU kernel for (M, C) adds the rows one by one in float32: with 10^5 rows the gradient loses
    # three digits (bfloat16 has no more anyway). The kernel for (1, C, M) does not.
    return nn.BatchNorm1d.forward(norm, x.t().contiguous().unsqueeze(0)).squeeze(0).t()


class BatchNorm(nn.BatchNorm1d):
    """`batch_norm` as a layer on rows (M, C).

    A single row has no statistics: in training it is normalised by the stored ones, which stay as they are.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) * _processes() == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return batch_norm(self, x)


@contextlib.contextmanager
def averaging_statistics(model: nn.Module) -> Iterator[None]:
    """Inside this context the statistics of a model's BatchNorms become the plain average over the batches
    that go through it. Nothing else of the model changes, and afterwards it is in its former mode.

    Only the BatchNorms and the modules that hold them are in training mode (these would use folded statistics
    otherwise); drop path and the like stay off. A BatchNorm that saw no batch keeps its statistics.
    """
    modes = {module: module.training for module in model.modules()}
    norms = [module for module in modes if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [
        (norm.momentum, {name: value.clone() for name, value in norm.named_buffers()}) for norm in norms
    ]
    model.eval()
    for module in modes:
        if any(child in norms for child in module.children()):
            module.training = True
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # None: the plain average over all batches
        norm.train()
    try:
        with torch.no_grad():
            yield
    finally:
        for norm, (momentum, buffers) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if not norm.num_batches_tracked:
                norm.load_state_dict(buffers, strict=False)
        for module, mode in modes.items():
            module.training = mode


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _normalize(norm: nn.BatchNorm1d, x: Tensor, counts: Tensor | None) -> Tensor:
    assert norm.running_mean is not None and norm.running_var is not None
    given = x.dtype
    # Half precision can't hold these sums, and autocast would compute the products in it.
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(torch.promote_types(given, torch.float32))
        weights = x.new_ones(len(x)) if counts is None else counts.to(x.dtype)
        total = _sum_over_processes(weights.sum())
        mean = _sum_over_processes(weights @ x) / total
        var = _sum_over_processes(weights @ (x - mean).square()) / total
    with torch.no_grad():
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        momentum = norm.momentum if norm.momentum is not None else 1.0 / float(norm.num_batches_tracked)
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
        unbiased = var * (total / (total - 1).clamp_min(1))
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), momentum)
    return ((x - mean) * torch.rsqrt(var + norm.eps) * norm.weight + norm.bias).to(given)


def _sum_over_processes(x: Tensor) -> Tensor:
    return _AllReduce.apply(x) if _processes() > 1 else x


class _AllReduce(torch.autograd.Function):
    """Sum over all processes, forward and backward: each process' loss depends on the rows of all."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
