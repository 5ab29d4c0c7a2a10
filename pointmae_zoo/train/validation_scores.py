"""How a model does on the validation part."""

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointmae_zoo.datasets.augmentation import FixedView
from pointmae_zoo.datasets.labelled import LabelledClouds
from pointmae_zoo.reports.part_overlap import overlaps, predicted_parts
from pointmae_zoo.train.finetune_recipe import FinetuneRecipe

if TYPE_CHECKING:
    from accelerate import Accelerator


class Scorer:
    """``accuracy`` of a classifier, or ``miou`` by instance of a part segmenter, and ``loss`` without label
    smoothing, on the view of the clouds that evaluations take, too (see ``FixedView.of_training``).

    Several processes share the clouds, and get the same scores.
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
        for start in range(0, len(self.points), self.batch_size):  # none: fewer clouds than processes
            rows = slice(start, start + self.batch_size)
            points, labels = self.points[rows].to(device), self.labels[rows].to(device)
            if self.part_labels is None:
                logits = model(points).float()
                right = (logits.argmax(dim=1) == labels).double()
                loss = F.cross_entropy(logits, labels, reduction="none")
            else:
                truth = self.part_labels[rows].to(device)
                logits = model(points, labels).float()
                right = self._overlaps(logits, truth, labels).to(device)
                loss = F.cross_entropy(logits.transpose(1, 2), truth, reduction="none").mean(dim=1)
            sums += torch.stack([right.sum(), loss.double().sum(), right.new_tensor(len(right))]).cpu()
        total = self.accelerator.reduce(sums.float().to(device), "sum").tolist()
        return {self.headline: total[0] / total[2], "loss": total[1] / total[2]}

    def _overlaps(self, logits: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
        """(B,): of each cloud the mean over its class's parts."""
        parts, own = self.clouds.parts, labels.cpu().numpy()
        predicted = predicted_parts(logits.detach().cpu().numpy(), own, parts)
        return torch.from_numpy(np.nanmean(overlaps(truth.cpu().numpy(), predicted, own, parts), axis=1))
