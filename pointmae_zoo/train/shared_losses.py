"""The losses of a batch that several processes share, and what each of them asks of the weights."""

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from pointmae_zoo.models.encoder import evaluating
from pointmae_zoo.models.pretraining_model import LossTerm
from pointmae_zoo.train.process_setup import precision
from pointmae_zoo.train.recipe import TrainingRecipe

if TYPE_CHECKING:
    from accelerate import Accelerator


def over_processes(losses: dict[str, LossTerm], accelerator: "Accelerator") -> tuple[Tensor, Tensor]:
    """What each process back-propagates of its losses, and the losses over all processes: (terms,) each.

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


class Monitored(Protocol):
    """The part of a task that is asked here."""

    model: nn.Module

    def monitors(self, batch: Any) -> dict[str, LossTerm]: ...


class CloserLook:
    """What a line of metrics says of its last step only, as it costs extra: the norm of each weighted loss's
    own gradient, if the recipe wants it, and the task's monitors. Nothing of it changes the step."""

    def __init__(self, task: Monitored, recipe: TrainingRecipe, accelerator: "Accelerator") -> None:
        self.task = task
        self.recipe = recipe
        self.accelerator = accelerator
        self.gradients: dict[str, Tensor] = {}  # sums over the parts of a batch, flat
        self.monitors: list[dict[str, Tensor]] = []

    def at_gradients(self, terms: dict[str, Tensor]) -> None:
        """To be called with each part's weighted losses before they are back-propagated."""
        if not self.recipe.log_gradient_norms:
            return
        weights = [one for one in self.task.model.parameters() if one.requires_grad]
        for name, term in terms.items():
            # Not .backward(): that would add to the weights' gradients, and have processes average them.
            found = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
            flat = torch.cat(
                [
                    (torch.zeros_like(weight) if one is None else one).flatten().float()
                    for one, weight in zip(found, weights, strict=True)
                ]
            )
            self.gradients[name] = self.gradients.get(name, 0.0) + flat / self.recipe.accumulation_steps

    def at_batch(self, batch: Any, seed: int) -> None:
        """To be called with each part of the batch, in its share of it."""
        torch.manual_seed(seed)
        autocast: contextlib.AbstractContextManager[Any] = self.accelerator.autocast()
        device = self.accelerator.device
        with torch.no_grad(), evaluating(self.task.model), autocast, precision(self.recipe.precision, device):
            found = self.task.monitors(batch)
        if found:
            _, means = over_processes(found, self.accelerator)
            self.monitors.append(dict(zip(found, means, strict=True)))

    def values(self) -> dict[str, float]:
        """For the line, by name."""
        norms = {
            f"gradient_norm_{name}": self.accelerator.reduce(flat, "mean").norm()
            for name, flat in self.gradients.items()
        }
        monitors = {
            f"loss_{name}": torch.stack([one[name] for one in self.monitors]).mean()
            for name in (self.monitors[0] if self.monitors else ())
        }
        return {name: float(value) for name, value in {**monitors, **norms}.items()}
