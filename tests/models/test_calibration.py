"""BatchNorm statistics that belong to the weights: averages over batches, in place of what training left."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pointmae_zoo.datasets.augmentation import Augmentation
from pointmae_zoo.datasets.labelled import LabelledClouds
from pointmae_zoo.models.batch_norm import BatchNorm, averaging_statistics
from pointmae_zoo.train import FinetuneRecipe, finetune_model

pytest.importorskip("accelerate")

BATCH, POINTS = 6, 16


class Centres(nn.Module):
    """Classes by where the centroid of a cloud lies."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = BatchNorm(3)
        self.last = nn.Linear(3, 2)

    def forward(self, points: Tensor) -> Tensor:
        return self.last(self.norm(points.mean(1)))


def clouds() -> LabelledClouds:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3 * BATCH, POINTS, 3)) + rng.normal(size=(3 * BATCH, 1, 3)) + 5.0
    labels = np.arange(len(points)) % 2
    return LabelledClouds(
        points=points.astype(np.float32),
        labels=labels,
        groups=np.arange(len(points)),
        classes=("one", "two"),
        names=[str(row) for row in range(len(points))],
        name="made",
        sha256="0" * 64,
        class_set="all",
    )


def trained(out: Path, batches: int) -> Centres:
    model = Centres()
    recipe = FinetuneRecipe(
        calibration_batches=batches,
        steps=4,
        batch_size=BATCH,
        cloud_points=POINTS,
        num_points=POINTS,
        precision="float32",
        validation_share=0.0,
        augmentation=Augmentation(scale=1.0, normalize=False),
    )
    finetune_model(model, clouds(), None, recipe, out, progress=False)
    return model


def test_statistics_of_a_trained_model_are_those_of_all_clouds(tmp_path: Path) -> None:
    """Three batches are all clouds, each once."""
    model = trained(tmp_path, 3)
    centres = clouds().points.astype(np.float64).mean(1)
    assert model.norm.running_mean is not None
    np.testing.assert_allclose(model.norm.running_mean, centres.mean(0), rtol=1e-5)


def test_nothing_else_is_changed_by_them(tmp_path: Path) -> None:
    with_them, without = trained(tmp_path / "with", 3), trained(tmp_path / "without", 0)
    for (name, one), other in zip(with_them.state_dict().items(), without.state_dict().values(), strict=True):
        assert torch.equal(one, other) == (name not in ("norm.running_mean", "norm.running_var",
                                                        "norm.num_batches_tracked")), name  # fmt: skip


def test_modes_and_what_was_not_shown_stay() -> None:
    model = nn.ModuleDict({"shown": BatchNorm(4), "hidden": BatchNorm(4), "row": BatchNorm(4)}).train()
    model["hidden"].eval()
    for norm in model.values():
        norm.running_mean.fill_(7.0)
    rows = torch.randn(3, 10, 4, generator=torch.Generator().manual_seed(0))
    with averaging_statistics(model):
        for batch in rows:
            model["shown"](batch)
        model["row"](rows[0, :1])  # a single row has no statistics
    assert [norm.training for norm in model.values()] == [True, False, True]
    assert [norm.momentum for norm in model.values()] == [0.1] * 3
    torch.testing.assert_close(model["shown"].running_mean, rows.mean((0, 1)))
    torch.testing.assert_close(model["shown"].running_var, rows.var(1).mean(0))
    for name in ("hidden", "row"):
        assert torch.equal(model[name].running_mean, torch.full((4,), 7.0)), name
