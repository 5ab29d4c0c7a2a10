"""Scores on validation clouds between steps, and the weights that did best there."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointmae_zoo.datasets.augmentation import FixedView
from pointmae_zoo.datasets.labelled import LabelledClouds
from pointmae_zoo.models.encoder import evaluating
from pointmae_zoo.reports.mean_iou import cloud_ious, part_ious, predicted_parts
from pointmae_zoo.train.recipes import FinetuneRecipe

if TYPE_CHECKING:
    from accelerate import Accelerator


MOST_VALIDATIONS = 20
"""In a run, unless its recipe says how often."""

VALIDATION_SHARE = 0.1
"""Validations see at most this share of the clouds that are trained on, unless there is only one."""


def steps_between(steps: int, batch_size: int, clouds: int) -> int:
    """Steps between validations, so that these cost little beside the training: at most `MOST_VALIDATIONS`,
    and `VALIDATION_SHARE` of the clouds trained on; at least one, after the last step.

    Args:
        steps: of the run.
        batch_size: clouds in a step.
        clouds: that the network sees for one validation, those to recompute BatchNorm's statistics included.
    """
    affordable = int(VALIDATION_SHARE * steps * batch_size / max(clouds, 1))
    return math.ceil(steps / min(MOST_VALIDATIONS, max(1, affordable)))


class Validation:
    """Scores a model on validation clouds, every so many steps and after the last one.

    Args:
        scores: gives the scores of a model in evaluation mode, by name; the same in every process.
        every: steps between validations.
        chosen_by: the run ends with the weights that have the highest value of this score (of equal ones the
            earlier); None: with the last ones.
    """

    def __init__(
        self, scores: Callable[[nn.Module], dict[str, float]], every: int, chosen_by: str | None = None
    ) -> None:
        self.scores = scores
        self.every = every
        self.chosen_by = chosen_by
        self.of_kept: dict[str, float] = {}
        """Scores of the weights that the run would end with now, and their ``step``."""
        self.weights: dict[str, Tensor] | None = None
        """These weights, on the CPU; None: the last ones."""

    def due(self, step: int, steps: int) -> bool:
        """Whether to validate when ``step`` of ``steps`` steps are done."""
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
        """For a checkpoint."""
        return {"of_kept": self.of_kept, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.of_kept, self.weights = dict(state["of_kept"]), state["weights"]


class Scorer:
    """Scores of fine-tuning: a classifier's ``accuracy`` or a part segmenter's ``miou`` by instance, and the
    ``loss`` without label smoothing, on the same points as evaluations (see ``FixedView.of_training``).

    Several processes share the clouds, and all get the same scores.
    """

    def __init__(self, clouds: LabelledClouds, recipe: FinetuneRecipe, accelerator: "Accelerator") -> None:
        self.clouds = clouds
        self.accelerator = accelerator
        self.batch_size = recipe.batch_size
        self.parts = recipe.task == "parts"
        self.headline = "miou" if self.parts else "accuracy"
        mine = np.arange(accelerator.process_index, len(clouds), accelerator.num_processes)
        view = FixedView.of_training(recipe.num_points, recipe.augmentation)
        self.points = torch.from_numpy(view(clouds.points[mine]))
        self.labels = torch.from_numpy(clouds.labels[mine])
        self.part_labels: Tensor | None = None
        if self.parts and clouds.part_labels is not None:
            chosen = view.rows(clouds.points[mine])
            self.part_labels = torch.from_numpy(np.take_along_axis(clouds.part_labels[mine], chosen, axis=1))

    def __call__(self, model: nn.Module) -> dict[str, float]:
        device = self.accelerator.device
        sums = torch.zeros(3, dtype=torch.float64)
        # A process has none of the clouds if there are fewer of them than processes.
        for start in range(0, len(self.points), self.batch_size):
            rows = slice(start, start + self.batch_size)
            points, labels = self.points[rows].to(device), self.labels[rows].to(device)
            if self.part_labels is None:
                logits = model(points).float()
                right = (logits.argmax(dim=1) == labels).double()
                loss = F.cross_entropy(logits, labels, reduction="none")
            else:
                truth = self.part_labels[rows].to(device)
                logits = model(points, labels).float()
                right = self._ious(logits, truth, labels).to(device)
                loss = F.cross_entropy(logits.transpose(1, 2), truth, reduction="none").mean(dim=1)
            sums += torch.stack([right.sum(), loss.double().sum(), right.new_tensor(len(right))]).cpu()
        total = self.accelerator.reduce(sums.float().to(device), "sum").tolist()
        return {self.headline: total[0] / total[2], "loss": total[1] / total[2]}

    def _ious(self, logits: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
        """(B,): for each cloud the mean IoU over the parts of its class."""
        parts, own = self.clouds.parts, labels.cpu().numpy()
        predicted = predicted_parts(logits.detach().cpu().numpy(), own, parts)
        return torch.from_numpy(cloud_ious(part_ious(truth.cpu().numpy(), predicted, own, parts)))
