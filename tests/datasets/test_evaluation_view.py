"""What trained models are judged by is what they were trained on."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pointmae_zoo import from_pretrained, save_pretrained
from pointmae_zoo.datasets.augmentation import Augmentation
from pointmae_zoo.datasets.evaluation_view import FixedView
from pointmae_zoo.datasets.labelled.opening import open_labelled
from pointmae_zoo.evaluate.finetuned_models import load_runs
from pointmae_zoo.train import FinetuneRecipe, finetune, open_training_parts
from pointmae_zoo.train.validation import Scorer
from samples.labelled import SHAPES, labelled_file
from samples.models import small

pytest.importorskip("accelerate")

RAW = {"normalize": False, "normalize_first": False}


def test_what_fits_a_training() -> None:
    fits = FixedView.of_training
    assert fits(8, Augmentation()) == FixedView(8, farthest=False, normalized=True)
    assert (
        fits(8, Augmentation(fps_share=1.0)).farthest and not fits(8, Augmentation(fps_share=0.99)).farthest
    )
    assert fits(8, Augmentation(normalize=False, normalize_first=True)).normalized
    assert not fits(8, Augmentation(normalize=False)).normalized


def test_farthest_points_do_not_depend_on_the_other_clouds() -> None:
    points = np.random.default_rng(0).normal(size=(130, 40, 3)).astype(np.float32)
    view = FixedView(16, farthest=True)
    rows = view.rows(points)
    assert rows.shape == (130, 16) and (rows[:, 0] == 0).all()
    for row in (0, 63, 64, 129):
        assert (view.rows(points[row : row + 1])[0] == rows[row]).all()
    assert view.rows(points[:0]).shape == (0, 16)
    assert FixedView(16).rows(points[:0]).shape == (0, 16)


class Told(nn.Module):
    """Remembers what it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Tensor] = []

    def forward(self, points: Tensor, labels: Tensor | None = None) -> Tensor:
        self.asked.append(points)
        if labels is None:
            return torch.zeros(len(points), 3)
        upper = points[:, :, 1] > points[:, :, 1].mean(dim=1, keepdim=True)
        both = torch.stack([~upper, upper], dim=2).float()
        return both.repeat(1, 1, 3)


def _scores(recipe: FinetuneRecipe, model: nn.Module, **process: Any) -> dict[str, float]:
    accelerator: Any = SimpleNamespace(
        process_index=0, num_processes=1, device=torch.device("cpu"), reduce=lambda sums, _: sums
    )
    vars(accelerator).update(process)
    _, validation = open_training_parts(recipe)
    assert validation is not None
    return Scorer(validation, recipe, accelerator)(model)


@pytest.mark.parametrize("fps_share", [0.5, 1.0])
@pytest.mark.parametrize("raw", [False, True])
def test_validation_takes_the_view_of_evaluations(tmp_path: Path, raw: bool, fps_share: float) -> None:
    data = labelled_file(tmp_path / "clouds.npz")
    recipe = FinetuneRecipe(data=str(data), validation_share=0.25, cloud_points=96, num_points=64, steps=1)
    recipe = recipe.override(augmentation={"fps_share": fps_share, **(RAW if raw else {})})
    network = Told()
    _scores(recipe, network)
    _, validation = open_training_parts(recipe)
    assert validation is not None
    seen, stored = torch.cat(network.asked), validation.points
    first = torch.from_numpy(stored[:, :64])
    if raw:
        known = {point.tobytes() for cloud in stored for point in cloud}
        assert {point.tobytes() for cloud in seen.numpy() for point in cloud} <= known
        assert torch.equal(seen, first) == (fps_share == 0.5)
    else:
        assert float(seen.mean(dim=1).abs().max()) < 1e-5
        torch.testing.assert_close(seen.norm(dim=2).amax(dim=1), torch.ones(len(seen)))


def test_a_process_without_validation_clouds_asks_nothing(tmp_path: Path) -> None:
    """Fewer clouds than processes: most models refuse a batch of none."""
    data = labelled_file(tmp_path / "clouds.npz")
    recipe = FinetuneRecipe(data=str(data), validation_share=0.25, cloud_points=96, num_points=64, steps=1)
    told: dict[str, Any] = {"num_processes": 7, "reduce": lambda sums, _: sums + 1.0}  # of another process
    network = Told()
    assert _scores(recipe, network, process_index=6, **told) == {"accuracy": 1.0, "loss": 1.0}
    assert network.asked == []
    _scores(recipe, network, process_index=5, **told)
    assert [len(points) for points in network.asked] == [1]


def test_parts_are_those_of_the_points(tmp_path: Path) -> None:
    """Halves by height, told from farthest points alone: nearly all right, however they are ordered."""
    data = labelled_file(tmp_path / "clouds.npz")
    recipe = FinetuneRecipe(task="parts", data=str(data), validation_share=0.25, num_points=80, steps=1)
    recipe = recipe.override(cloud_points=96, augmentation={"fps_share": 1.0})
    assert _scores(recipe, Told())["miou"] > 0.9


@pytest.mark.parametrize("raw", [False, True])
def test_trained_weights_say_whether_clouds_were_scaled(tmp_path: Path, raw: bool) -> None:
    data = labelled_file(tmp_path / "clouds.npz")
    weights = save_pretrained(small(kind="pretraining", num_views=3), tmp_path / "weights")
    recipe = FinetuneRecipe(
        weights=str(weights), data=str(data), cloud_points=96, num_points=64, steps=1, batch_size=4
    )
    changes: dict[str, Any] = RAW if raw else {"normalize": False, "normalize_first": True}
    finetune(recipe.override(augmentation=changes), tmp_path / "run", progress=False)
    stored = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["preprocess"]
    assert (stored["center"], stored["scale"]) == (("none", "none") if raw else ("centroid", "unit_sphere"))
    [found] = load_runs(tmp_path / "run", "classification", "cpu")
    assert found.normalized != raw and found.view(64) == FixedView(64, normalized=not raw)
    # What `predict` gives the model follows, too.
    cloud = open_labelled(data, "test", num_points=96).points[0]  # far away
    near = float(from_pretrained(tmp_path / "run").config.preprocess(cloud).abs().max()) < 2
    assert near != raw and found.labels == SHAPES
