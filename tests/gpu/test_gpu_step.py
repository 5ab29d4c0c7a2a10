"""The pre-training step on a GPU: nobody waits for it, it computes what a CPU does, and a run goes on.

Skipped where there is no GPU; ``test_fake_gpu.py`` and ``test_train_step.py`` test what can be tested
without.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pointmae_zoo.models.pretraining_model import weighted_sum
from pointmae_zoo.train import PretrainRecipe, TeacherSettings, loop, pretrain
from pointmae_zoo.train.optimizer import MovingAverage, adamw
from pointmae_zoo.train.pretraining import PretrainTask, create_pretraining_model
from pointmae_zoo.train.runtime import compile_blocks
from samples.pretraining import MODELS, model_and_batch

pytest.importorskip("accelerate")
pytest.importorskip("triton")  # without it the search for neighbours asks the GPU about ties
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

GPU = torch.device("cuda", 0)


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """An error where something waits for the GPU."""
    yield
    torch.cuda.set_sync_debug_mode("default")


def on_gpu(model: Any, points: Tensor, views: Any) -> tuple[Any, Tensor, Any]:
    if views is not None:
        saliency = None if views.saliency is None else views.saliency.to(GPU)
        views = views._replace(
            maps=[one.to(GPU) for one in views.maps], saliency=saliency, pixels=views.pixels.to(GPU)
        )
    return model.to(GPU), points.to(GPU), views


@pytest.mark.parametrize("name", list(MODELS))
def test_losses_and_gradients_are_the_cpus(name: str) -> None:
    """With masks given, as each device draws its own."""
    model, points, views = model_and_batch(name, torch.float64)
    model.eval()  # no drop path; BatchNorm's statistics are tested by training below
    visible = torch.zeros(5, 8, dtype=torch.bool)
    visible[:, [0, 3, 5]] = True
    given: dict[str, Any] = {"visible": visible}
    if name.startswith("joint"):
        config = model.hyper
        patches = torch.rand(5, config.views, config.num_patches).topk(config.num_visible_patches).indices
        given["visible_patches"] = torch.zeros(
            5, config.views, config.num_patches, dtype=torch.bool
        ).scatter_(2, patches, True)
        given["rotations"] = torch.eye(3, dtype=torch.float64).expand(5, config.views, 3, 3)
    found = []
    for away in (False, True):
        if away:
            model, points, views = on_gpu(model, points, views)
            given = {key: value.to(GPU) for key, value in given.items()}
        model.zero_grad()
        losses = model(points, views, **given).losses
        weighted_sum(losses).backward()
        grads = torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])
        found.append((torch.stack([one.value for one in losses.values()]).detach().cpu(), grads.cpu()))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-8, atol=0, check_dtype=False)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", list(MODELS))
def test_nobody_waits_in_a_step(name: str, compiled: bool, no_waiting: None) -> None:
    model, points, views = on_gpu(*model_and_batch(name))
    if compiled:
        compile_blocks(model, backward_once=True)
    optimizer, average = adamw(model, 0.05, (0.9, 0.95)), MovingAverage(model, 0.9)
    for step in range(4):
        if step == 3:  # before, kernels are compiled and memory is taken
            torch.cuda.set_sync_debug_mode("error")
        torch.manual_seed(step)
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(points, views).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(model)
    torch.cuda.set_sync_debug_mode("default")
    assert bool(loss.isfinite())


RECIPE = PretrainRecipe(
    model_arguments={"num_tokens": [32, 8], "depths": [1, 1]},
    procedural_clouds=24,
    cloud_points=256,
    num_points=128,
    teacher=TeacherSettings(name="mobilenetv2_035", weights="random", views=3, size=64),
    steps=8,
    batch_size=8,
    learning_rate=1e-3,
    precision="bfloat16",
    checkpoint_steps=4,
    log_steps=2,
    deterministic=False,
)


def test_nobody_waits_for_clouds_and_targets(tmp_path: Path, no_waiting: None) -> None:
    from pointmae_zoo.train.pretraining import _targets, _untrained_teacher, open_training_source

    recipe = RECIPE.override(augmentation={"jitter": 0.02, "density": 1.5, "turn": 20.0})
    teacher = _untrained_teacher(recipe)
    model = create_pretraining_model(recipe, teacher).to(GPU)
    source = open_training_source(recipe, tmp_path, progress=False)

    class Here:
        device = GPU

    targets = _targets(recipe, teacher, source, tmp_path, Here(), False)  # type: ignore[arg-type]
    task = PretrainTask(model, source, targets, recipe)
    for step in range(3):
        if step == 2:
            torch.cuda.set_sync_debug_mode("error")
        batch = task.batch(np.arange(8), torch.Generator(GPU).manual_seed(step))
        weighted_sum(task.losses(batch)).backward()
    torch.cuda.set_sync_debug_mode("default")
    assert batch[0].device == GPU


@pytest.mark.parametrize("compiled", [False, True])
def test_a_run_stops_and_goes_on(tmp_path: Path, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPE.override(compile=compiled)
    whole = pretrain(recipe, tmp_path / "whole", cache=tmp_path / "cache", device="cuda", progress=False)
    assert whole.completed
    original, done = loop._Run._one_step, 0

    def dying(self: loop._Run) -> Any:
        nonlocal done
        if done == 6:
            raise KeyboardInterrupt
        done += 1
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "_one_step", dying)
        with pytest.raises(KeyboardInterrupt):
            pretrain(recipe, tmp_path / "cut", cache=tmp_path / "cache", device="cuda", progress=False)
    resumed = pretrain(None, tmp_path / "cut", resume=True, progress=False)
    assert resumed.completed and resumed.steps == 8
    lines = [
        [json.loads(one) for one in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    assert [one["step"] for one in lines[1]] == [2, 4, 6, 8]
    for first, second in zip(*lines, strict=True):  # sums by atomics vary from run to run
        assert second["loss"] == pytest.approx(first["loss"], rel=0.05)
