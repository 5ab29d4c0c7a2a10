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
    """A model, its training clouds and its losses."""

    model: nn.Module
    count: int
    """How many clouds there are."""
    command: str
    """The command that trains this task, and resumes it."""

    def batch(self, indices: NDArray[np.int64], generator: torch.Generator) -> Any:
        """The clouds with these numbers (B,), ready for ``losses``: read, augmented, on the generator's
        device."""

    def losses(self, batch: Any) -> dict[str, LossTerm]:
        """Every loss by its name. A value with weight 0 and no gradient is only logged, under a name without
        "loss"."""

    def monitors(self, batch: Any) -> dict[str, LossTerm]:
        """Values to watch that are too costly for every step: called at the last step before a line of
        metrics, for each part of its batch, between backward pass and update; in evaluation mode, without
        gradients, with the step's random numbers. Their weights are ignored."""

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        """Names of these clouds (B,) for error messages."""


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    Args:
        folder: the run folder.
        steps: optimizer steps done, in all sessions.
        completed: False if a signal stopped the run; its folder then has a checkpoint to resume from, but no
            weights.
        command: the command that trains this task.
        losses: means over the steps of the last line of metrics: losses, and what else the task logs.
        validation: validation scores of the final weights, and the ``step`` that these are from; empty
            without validation.
        steps_now: steps done in this session.
        seconds: of training in this session, without preparing teacher and data; 0 if the run was finished
            before.
        clouds_per_second: mean over ``seconds``.
        total_seconds: of training in all sessions, each up to the checkpoint that the next one resumed from.
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
