"""What a task gives the training loop, and what the loop gives back."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
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


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    Args:
        folder: the run folder.
        steps: optimizer steps done, in all.
        completed: False if a signal stopped it; the run folder then holds a checkpoint to resume from, but no
            weights.
        command: the word for the task on the command line.
        losses: means over the last logged interval, of the losses and of what else the task watches.
        validation: scores of the final weights on the validation part, and the ``step`` that they are of;
            empty where there is none.
        steps_now: of these, done by this process.
        seconds: of training in this process, teacher and data not counted; 0 if the run was finished before.
        clouds_per_second: over ``seconds``.
        total_seconds: of training in all sessions of the run, up to the checkpoints each was resumed from.
    """

    folder: Path
    steps: int
    completed: bool
    command: str
    losses: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    steps_now: int = 0
    seconds: float = 0.0
    clouds_per_second: float = 0.0
    total_seconds: float = 0.0

    def __str__(self) -> str:
        losses = ", ".join(f"{name} {value:.4f}" for name, value in self.losses.items())
        if self.validation:
            scores = (f"{name} {value:.4f}" for name, value in self.validation.items() if name != "step")
            losses += f"; validation {', '.join(scores)} (weights of step {self.validation['step']:.0f})"
        resumed = self.steps_now != self.steps
        speed = f"{self.seconds:.0f} s, {self.clouds_per_second:.0f} clouds/s"
        if self.completed and not self.seconds:
            return f"{self.folder}: finished already, {self.steps} steps; {losses}"
        if self.completed:
            steps = f"{self.steps_now} of {self.steps}" if resumed else f"{self.steps}"
            return f"{self.folder}: {steps} steps in {speed}; {losses}"
        done = f"{self.steps_now} steps in {speed}" if resumed else speed
        go_on = f"pointmae-zoo {self.command} --out {shlex.quote(str(self.folder))} --resume"
        return f"{self.folder}: stopped after step {self.steps} ({done}); to go on: {go_on}"
