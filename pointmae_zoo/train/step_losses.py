"""The losses of a step: over all processes, kept on the device until they are read, with their gradients."""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointmae_zoo.models.encoder import evaluating
from pointmae_zoo.models.pretraining_model import LossTerm
from pointmae_zoo.train.checkpoints import whole_checkpoints
from pointmae_zoo.train.recipes import TrainingRecipe
from pointmae_zoo.train.runtime import precision
from pointmae_zoo.train.task import Task

if TYPE_CHECKING:
    from accelerate import Accelerator


def over_processes(losses: dict[str, LossTerm], accelerator: "Accelerator") -> tuple[Tensor, Tensor]:
    """The losses that each process back-propagates, and the losses over all processes: (terms,) each.

    A loss over all processes is sum(value * count) / sum(count). Gradients are averaged over processes, so
    each back-propagates its value * count * processes / sum(count).
    """
    values = torch.stack([one.value.float() for one in losses.values()])
    if accelerator.num_processes == 1:
        return values, values.detach()
    counts = torch.stack(
        [
            one.count.to(values) if isinstance(one.count, Tensor) else values.new_full((), one.count)
            for one in losses.values()
        ]
    )
    sums = accelerator.reduce(torch.stack([values.detach() * counts, counts]), "sum")
    totals = sums[1].clamp_min(1e-12)
    return values * (counts * accelerator.num_processes / totals), sums[0] / totals


class LossDetails:
    """The part of a line of metrics that costs extra, and is therefore of its last step only: the gradient
    norm of each weighted loss, if the recipe wants it, and the task's monitors. It doesn't change the
    step."""

    def __init__(self, task: Task, recipe: TrainingRecipe, accelerator: "Accelerator") -> None:
        self.task = task
        self.recipe = recipe
        self.accelerator = accelerator
        self.gradients: dict[str, Tensor] = {}  # sums over the parts of a batch, flat
        self.monitors: list[dict[str, Tensor]] = []

    def at_gradients(self, terms: dict[str, Tensor]) -> None:
        """Call it with each part's weighted losses, before they are back-propagated."""
        if not self.recipe.log_gradient_norms:
            return
        weights = [one for one in self.task.model.parameters() if one.requires_grad]
        for name, term in terms.items():
            # Not .backward(): it would add to the weights' gradients, and processes would average them.
            found = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
            flat = torch.cat(
                [
                    (torch.zeros_like(weight) if one is None else one).flatten().float()
                    for one, weight in zip(found, weights, strict=True)
                ]
            )
            self.gradients[name] = self.gradients.get(name, 0.0) + flat / self.recipe.accumulation_steps

    def at_batch(self, batch: Any, seed: int) -> None:
        """Call it with each part of the batch, inside its ``share_of_batch``."""
        torch.manual_seed(seed)
        autocast: contextlib.AbstractContextManager[Any] = self.accelerator.autocast()
        device = self.accelerator.device
        with torch.no_grad(), evaluating(self.task.model), autocast, precision(self.recipe.precision, device):
            found = self.task.monitors(batch)
        if found:
            _, means = over_processes(found, self.accelerator)
            self.monitors.append(dict(zip(found, means, strict=True)))

    def values(self) -> dict[str, float]:
        """The values for the line of metrics, by name."""
        norms = {
            f"gradient_norm_{name}": self.accelerator.reduce(flat, "mean").norm()
            for name, flat in self.gradients.items()
        }
        monitors = {
            f"loss_{name}": torch.stack([one[name] for one in self.monitors]).mean()
            for name in (self.monitors[0] if self.monitors else ())
        }
        return {name: float(value) for name, value in {**monitors, **norms}.items()}


NORM = "gradient_norm"
_NAMED_CLOUDS = 3


class UnreadLosses:
    """Losses and gradient norms of the steps since the last line of metrics, on the device.

    Reading them waits for the device, so they are read all together, when a line of metrics is due and before
    anything is stored. After a broken step a run goes on until then, but broken weights are never stored.

    Args:
        out: run folder, where the clouds of a broken step are listed.
        task: names the clouds.
        indices: gives the clouds of a step.
        is_main: whether this process writes files.
    """

    def __init__(
        self, out: Path, task: Task, indices: Callable[[int], NDArray[np.int64]], is_main: bool
    ) -> None:
        self._out, self._task, self._indices, self._is_main = out, task, indices, is_main
        self._steps: list[dict[str, Tensor]] = []

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, values: dict[str, Tensor]) -> None:
        """Add the scalars of a step by name; all steps have the same names."""
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
