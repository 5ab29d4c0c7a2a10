"""A look at the validation part between steps, and the weights that did best there."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pointmae_zoo.models.encoder import evaluating


class Validation:
    """Scores of a model on clouds that it is not trained on, every so many steps and after the last.

    Args:
        scores: of a model in evaluation mode, by name; the same in every process.
        every: steps from one look to the next.
        chosen_by: the score whose highest value decides which weights a run ends with (of equal ones, the
            earlier); None: the last ones, whatever they score.
    """

    def __init__(
        self, scores: Callable[[nn.Module], dict[str, float]], every: int, chosen_by: str | None = None
    ) -> None:
        self.scores = scores
        self.every = every
        self.chosen_by = chosen_by
        self.of_kept: dict[str, float] = {}
        """The scores of the weights that the run would end with now, and their ``step``."""
        self.weights: dict[str, Tensor] | None = None
        """These weights, on the CPU; None: the last ones."""

    def due(self, step: int, steps: int) -> bool:
        """Whether to look when ``step`` of ``steps`` steps are done."""
        return step % self.every == 0 or step == steps

    def look(self, model: nn.Module, step: int) -> dict[str, float]:
        """Score a model after ``step`` steps, and keep its weights if they are the best so far."""
        with torch.no_grad(), evaluating(model):
            found = self.scores(model)
        chosen_by = self.chosen_by
        if chosen_by is None or not self.of_kept or found[chosen_by] > self.of_kept[chosen_by]:
            self.of_kept = {**found, "step": step}
            if chosen_by is not None:
                self.weights = {
                    name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()
                }
        return found

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to know."""
        return {"of_kept": self.of_kept, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.of_kept, self.weights = dict(state["of_kept"]), state["weights"]
