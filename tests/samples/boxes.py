"""Boxes that are widest, highest or deepest, and a network that tells them apart without training."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointmae_zoo.evaluate import Run

CLASSES = ("wide", "high", "deep")
_MARKS = itertools.count()


class Longest(nn.Module):
    """Says along which axis a cloud is longest; of ``blind`` classes nothing, so that it takes them for the
    next longest."""

    def __init__(self, order: tuple[int, ...] = (0, 1, 2), blind: int | None = None) -> None:
        super().__init__()
        self.order, self.blind = order, blind
        self.asked: list[Tensor] = []
        self.register_buffer("mark", torch.tensor(next(_MARKS)))  # by it no two are the same network

    def forward(self, points: Tensor) -> Tensor:
        self.asked.append(points)
        extent = points.amax(1) - points.amin(1)
        if self.blind is not None:
            extent[:, self.blind] = 0.0
        return extent[:, list(self.order)]


def run(name: str = "longest", labels: tuple[str, ...] = CLASSES, **more: Any) -> Run:
    order = tuple(CLASSES.index(label) if label in CLASSES else 0 for label in labels)
    network = Longest(order, more.pop("blind", None))
    recipe = more.pop("recipe", {"seed": 0, "validation_share": 0.2})
    provenance = {"recipe": recipe, "clouds_from_data": 45}
    return Run(name, network, labels, num_points=32, provenance=provenance, **more)


def box_file(path: Path) -> Path:
    """90 boxes, half of them to train: 15 of each class; of the test clouds 5, 10 and 30."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.tile([0, 1, 2], 15), np.repeat([0, 1, 2], [5, 10, 30])])
    sides = np.where(np.eye(3, dtype=bool)[labels], 1.0, rng.uniform(0.2, 0.5, size=(90, 3)))
    points = rng.uniform(-1, 1, size=(90, 100, 3)) * sides[:, None]
    np.savez(
        path,
        points=points.astype(np.float32) * 7 + 3,
        y=labels,
        classes=np.array(CLASSES),
        split=np.repeat(["train", "test"], 45),
        group=np.arange(90) // 2,
    )
    return path
