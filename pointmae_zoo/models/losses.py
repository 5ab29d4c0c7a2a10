"""The language in which pre-training models speak of their losses, whatever their number."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LossTerm:
    """One loss of a batch: a mean over ``count`` items of this process, so that the mean over all processes
    is that over all items, however unevenly they are spread."""

    value: Tensor
    """Scalar."""
    weight: float
    """Its share in what is minimised; 0: it is only watched."""
    count: Tensor | float
    """A scalar tensor stays on the device; nobody has to wait for it."""


def weighted_sum(losses: Mapping[str, LossTerm]) -> Tensor:
    """What is minimised: the sum of weight * value."""
    total = sum(term.weight * term.value for term in losses.values())
    if not isinstance(total, Tensor):
        raise ValueError("losses: at least one expected, got none")
    return total
