"""Transformer parts: attention, MLP, block with drop path, and the position embedding."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointmae_zoo.ops.batch_random import draw_per_cloud


def init_linear(module: nn.Module) -> None:
    """The initialisation of vision transformers: truncated normal weights (std 0.02), zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Attention(nn.Module):
    """Multi-head self-attention; qkv without bias, as in the Point-MAE family."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, allowed: Tensor | None) -> Tensor:
        """x (B, G, C); ``allowed`` bool, broadcastable to (B, heads, G, G), True where a pair may attend;
        None: all may.

        Prefer None to a mask that is all True: without a mask the fused kernels are more than twice as fast.
        """
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.num_heads, dim // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, G, C / heads)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, dim))


class Mlp(nn.Module):
    """Linear, exact GELU, Linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class DropPath(nn.Module):
    """Stochastic depth: drops a cloud's whole residual branch with the given rate."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def draw(self, x: Tensor) -> Tensor | None:
        """The divisor (B, 1, ...) of a branch of the shape of x (B, ...), for `without`: infinity for the
        clouds that lose the branch. None: nothing is dropped."""
        if not self.training or self.rate == 0.0:
            return None
        ones, dtype = [1] * (x.ndim - 1), torch.promote_types(x.dtype, torch.float32)
        keep = draw_per_cloud(
            lambda batch: x.new_empty(batch, *ones, dtype=dtype).bernoulli_(1.0 - self.rate), len(x)
        )
        return (1.0 - self.rate) / keep

    def forward(self, x: Tensor) -> Tensor:
        return without(x, self.draw(x))


def without(branch: Tensor, divisor: Tensor | None) -> Tensor:
    """A residual branch, divided by what `DropPath.draw` gave."""
    return branch if divisor is None else (branch / divisor).to(branch.dtype)


class Dropout(nn.Dropout):
    """Dropout on one feature vector per cloud, (B, C); it does not depend on how a batch is split."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        keep = draw_per_cloud(lambda batch: x.new_empty(batch, x.shape[1]).bernoulli_(1.0 - self.p), len(x))
        return x * keep / (1.0 - self.p)


class Block(nn.Module):
    """Pre-norm transformer block (LayerNorm eps 1e-5).

    Random numbers are drawn first, so that the rest, ``residuals``, is a pure function of tensors and the
    same for all blocks of a size. That is what `torch.compile` compiles.
    """

    compiled: Callable[..., Tensor] | None = None
    """``residuals``, compiled; it is not part of copies and stored models."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, allowed: Tensor | None = None) -> Tensor:
        compute = Block.residuals if self.compiled is None else self.compiled
        return compute(self, x, allowed, self.drop_path.draw(x), self.drop_path.draw(x))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "compiled"}

    def residuals(
        self, x: Tensor, allowed: Tensor | None, attention: Tensor | None, mlp: Tensor | None
    ) -> Tensor:
        """x (B, G, C), which pairs may attend, and the divisors of both branches (see `DropPath.draw`)."""
        x = x + without(self.attn(self.norm1(x), allowed), attention)
        return x + without(self.mlp(self.norm2(x)), mlp)


def run_blocks(blocks: Iterable[nn.Module], x: Tensor, position: Tensor, allowed: Tensor | None) -> Tensor:
    """Blocks over x (B, G, C); the positions, of the same shape, are added before *every* block."""
    for block in blocks:
        x = block(x + position, allowed)
    return x


class Stage(nn.Module):
    """The blocks of one level and their position embedding. Without blocks it has no weights and returns its
    input."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, drop_path: list[float]) -> None:
        super().__init__()
        if drop_path:
            self.position = nn.Sequential(nn.Linear(3, dim), nn.GELU(), nn.Linear(dim, dim))
        self.blocks = nn.ModuleList([Block(dim, num_heads, mlp_ratio, rate) for rate in drop_path])

    def forward(self, x: Tensor, centers: Tensor, allowed: Tensor | None = None) -> Tensor:
        """x (B, G, C), centers (B, G, 3) -> (B, G, C)."""
        if not len(self.blocks):
            return x
        return run_blocks(self.blocks, x, self.position(centers.to(x.dtype)), allowed)
