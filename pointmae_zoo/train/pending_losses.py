"""Losses that nobody has read yet: to read them is to wait for the device.

They are read when a line of metrics is due and before anything is stored, all together. A run that breaks
between two lines goes on until the next, but its broken weights are never kept.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointmae_zoo.train.checkpoints import whole_checkpoints
from pointmae_zoo.train.task import Task

NORM = "gradient_norm"
_NAMED_CLOUDS = 3


class Unread:
    """Losses and gradient norms of the steps since the last line of metrics, on the device.

    Args:
        out: run folder, where the clouds of a broken step are listed.
        task: what calls them by their names.
        indices: the clouds of a step.
        is_main: whether this process writes.
    """

    def __init__(
        self, out: Path, task: Task, indices: Callable[[int], NDArray[np.int64]], is_main: bool
    ) -> None:
        self._out, self._task, self._indices, self._is_main = out, task, indices, is_main
        self._steps: list[dict[str, Tensor]] = []

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, values: dict[str, Tensor]) -> None:
        """What a step gave: scalars by name, the same names in all steps."""
        self._steps.append(values)

    def clear(self) -> None:
        self._steps = []

    def read(self, done: int) -> list[dict[str, float]]:
        """All of them, of the last of ``done`` steps.

        Raises:
            ValueError: the first that is not finite; names step, clouds and last good checkpoint.
        """
        if not self._steps:
            return []
        names = list(self._steps[0])
        rows = torch.stack([torch.stack([one[name] for name in names]) for one in self._steps]).tolist()
        for offset, row in enumerate(rows):
            for name, value in zip(names, row, strict=True):
                if not math.isfinite(value):
                    raise ValueError(self._broken(done - len(rows) + offset, name, value))
        return [dict(zip(names, row, strict=True)) for row in rows]

    def state(self) -> list[dict[str, Tensor]]:
        """For a checkpoint."""
        return [{name: value.cpu() for name, value in one.items()} for one in self._steps]

    def load(self, state: list[dict[str, Tensor]], device: torch.device) -> None:
        """From a checkpoint."""
        self._steps = [{name: value.to(device) for name, value in one.items()} for one in state]

    def _broken(self, step: int, name: str, value: float) -> str:
        clouds = self._task.describe(self._indices(step))
        named = "; ".join(clouds[:_NAMED_CLOUDS])
        if len(clouds) > _NAMED_CLOUDS:
            path = self._out / f"broken_step_{step:08d}.txt"
            named += f" and {len(clouds) - _NAMED_CLOUDS} more"
            if self._is_main:
                try:
                    path.write_text("\n".join(clouds) + "\n", encoding="utf-8")
                    named += f" (all in {path.name})"
                except OSError:
                    pass
        kept = whole_checkpoints(self._out / "checkpoints")
        last = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
        return (
            f"step {step}: {name.replace('_', ' ')} is {value}; its clouds are {named}; {last}; "
            "lower learning_rate or use float32"
        )
