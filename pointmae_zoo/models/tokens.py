"""An encoder's tokens at several levels: their geometry, packing of visible ones, pooling to one vector."""

from typing import NamedTuple

import torch
from torch import Tensor

POOLS = ("max", "mean", "mean+max", "mean,max", "mean,max[1:]", "levels")


class Groups(NamedTuple):
    """The hierarchy over one batch of clouds: pure geometry, no weights."""

    centers: list[Tensor]  # per level (B, G, 3)
    indices: Tensor  # (B, G of level 0) into the points; a coarser level's centres are the first of these
    neighbors: list[Tensor]  # per level (B, G, K) into the points (level 0) or the finer level's tokens


class Tokens(NamedTuple):
    """An encoder's output, one entry per level, fine to coarse."""

    features: list[Tensor]  # (B, G, C), normalised where the level has a norm; zero where hidden
    centers: list[Tensor]  # (B, G, 3)
    visible: list[Tensor | None]  # (B, G) bool, or None: all are
    groups: Groups


def pack(mask: Tensor, bound: int | None) -> tuple[Tensor, Tensor]:
    """The indices of a mask's true entries, moved to the front.

    Args:
        mask: (B, G) bool.
        bound: an upper limit of a row's true entries, if it is known: then a GPU need not be waited for. On a
            CPU the exact number is used instead.

    Returns:
        (B, W) int64 indices into G, those of true entries first and in order, W the largest number of them
        (or the bound); and (B, W) bool: which of them are those of true entries.
    """
    counts = mask.sum(1, keepdim=True)
    width = int(counts.max()) if bound is None or mask.device.type == "cpu" else bound
    order = mask.int().argsort(dim=1, descending=True, stable=True)[:, :width]
    return order, torch.arange(width, device=mask.device) < counts


def check_pool(pool: str) -> str:
    """``pool`` itself; raises a ValueError that lists the known ones."""
    if pool not in POOLS:
        raise ValueError(f"pool: one of {', '.join(map(repr, POOLS))} expected, got {pool!r}")
    return pool


def pool_tokens(tokens: Tensor, pool: str) -> Tensor:
    """One level's (B, G, C) -> (B, C), or (B, 2 C) with a comma; ``mean+max`` adds."""
    if pool == "max":
        return tokens.amax(1)
    if pool == "mean":
        return tokens.mean(1)
    if pool == "mean+max":
        return tokens.mean(1) + tokens.amax(1)
    first = min(1, tokens.shape[1] - 1) if pool == "mean,max[1:]" else 0
    return torch.cat([tokens.mean(1), tokens[:, first:].amax(1)], dim=-1)


def pooled(tokens: Tokens, pool: str) -> Tensor:
    """One vector for each cloud, (B, D), from the coarsest tokens, or from all levels with ``levels``."""
    return pool_levels(tokens) if pool == "levels" else pool_tokens(tokens.features[-1], pool)


def pool_levels(tokens: Tokens) -> Tensor:
    """Mean and standard deviation of every level's visible tokens, fine to coarse: (B, 2 sum of dims).

    Ours: better than mean and maximum in cross-validation of a linear probe.
    """
    pooled = []
    for features, visible in zip(tokens.features, tokens.visible, strict=True):
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        shown = None if visible is None else visible.unsqueeze(-1)
        count = features.shape[1] if shown is None else shown.sum(1)
        mean = features.sum(1) / count  # hidden ones are zero
        apart = features - mean.unsqueeze(1)
        variance = (apart if shown is None else apart * shown).square().sum(1) / count
        # The lower limit keeps the gradient finite where all tokens are equal.
        pooled += [mean, variance.clamp_min(1e-12).sqrt()]
    return torch.cat(pooled, dim=-1)
