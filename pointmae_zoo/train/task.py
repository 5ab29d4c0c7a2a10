"""What the training loop asks of a task."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pointmae_zoo.models.pretraining_model import LossTerm


class Task(Protocol):
    """What is trained on what."""

    model: nn.Module
    count: int
    """Clouds."""
    command: str
    """The word for it on the command line, by which a stopped run is resumed."""

    def batch(self, indices: NDArray[np.int64], generator: torch.Generator) -> Any:
        """The clouds of these numbers (B,), ready for ``losses``: read, augmented, on the generator's
        device."""

    def losses(self, batch: Any) -> dict[str, LossTerm]:
        """Every loss by its name; and with weight 0 and no gradient whatever else is to be logged, which is
        not called a loss there."""

    def monitors(self, batch: Any) -> dict[str, LossTerm]:
        """What is worth a look now and then: asked at the last step before a line of metrics, for each part
        of its batch, after that is back-propagated and before the weights change; in evaluation mode, without
        gradients, with the step's random numbers. Their weights don't matter."""

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        """What to call these clouds (B,) in an error message."""
