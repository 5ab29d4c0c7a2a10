"""Fine-tuning: learns by heart, resumes exactly, keeps the encoder where it shall, chooses by validation."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pointmae_zoo import from_pretrained
from pointmae_zoo.datasets.augmentation import Augmentation
from pointmae_zoo.datasets.clouds import normalize_clouds
from pointmae_zoo.datasets.labelled import LabelledClouds, open_labelled
from pointmae_zoo.train import (
    FinetuneRecipe,
    finetune,
    finetuning,
    open_training_parts,
    pretrain,
    read_recipe,
)
from pointmae_zoo.train.finetuning import FinetuneTask
from pointmae_zoo.train.optimizer import layer_depths, parameter_groups
from pointmae_zoo.train.validation import Validation
from samples.finetuning import assert_same_run, config, curve, pretrained, run, small_recipe, stop_after
from samples.labelled import SHAPES, labelled_file
from samples.models import SMALL, small

pytest.importorskip("accelerate")

SCRATCH: dict[str, Any] = {
    name: list(value) if isinstance(value, tuple) else value for name, value in SMALL.items()
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled_file(tmp_path_factory.mktemp("data") / "clouds.npz")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(tmp_path_factory.mktemp("weights") / "mine")


@pytest.fixture
def recipe(data: Path, weights: Path) -> FinetuneRecipe:
    return small_recipe(data, weights)


def accuracy(model: nn.Module, clouds: LabelledClouds, num_points: int) -> float:
    """By hand."""
    right = 0
    with torch.no_grad():
        for points, label in zip(clouds.points, clouds.labels, strict=True):
            cloud = torch.from_numpy(normalize_clouds(points[None, :num_points]))
            right += int(model(cloud).argmax()) == label
    return right / len(clouds)


def test_a_small_set_is_learned_by_heart(recipe: FinetuneRecipe, tmp_path: Path) -> None:
    recipe = recipe.override(
        steps=60,
        log_steps=20,
        validate_steps=30,
        batch_size=9,
        learning_rate=1e-2,
        model_arguments={"head_dropout": 0.0, "drop_path": 0.0},
        augmentation={"scale": 1.0},
    )
    result = run(recipe, tmp_path / "run")
    # Over four seeds 0.011 +- 0.022; the least sure answer is right by 1.6 +- 0.4 of its logits.
    assert result.completed and result.losses["error_rate"] < 0.15
    assert result.validation == {**result.validation, "accuracy": 1.0, "step": 60}
    model = from_pretrained(tmp_path / "run")
    for split in ("train", "test"):  # those of test lie far away: nothing but their place is new
        clouds = open_labelled(recipe.data, split, num_points=64)
        assert accuracy(model, clouds, 64) == 1.0


def test_a_log_is_told_of_steps_losses_and_the_time_left(
    recipe: FinetuneRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("pointmae_zoo.system.progress.SECONDS_BETWEEN_LINES", 0.0)
    finetune(recipe.override(validate_steps=1), tmp_path / "run")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train: ")]
    assert [line.partition(",")[0] for line in lines] == [f"train: {step} of 6 steps" for step in range(1, 7)]
    told = r" left, loss \d\.\d{3}, cross_entropy \d\.\d{3}, error_rate \d\.\d{3}, .*, \d+ clouds/s$"
    assert " left" in lines[0] and re.search(told, lines[2])


def test_run_folder(recipe: FinetuneRecipe, tmp_path: Path) -> None:
    result = run(recipe, tmp_path / "run")
    folder = tmp_path / "run"
    assert {"model.safetensors", "config.json", "recipe.yaml", "metrics.jsonl", "environment.json"} <= {
        one.name for one in folder.iterdir()
    }
    stored = config(folder)
    made = stored["provenance"]
    assert stored["kind"] == "classification" and stored["labels"] == list(SHAPES)
    assert stored["preprocess"]["num_points"] == 64
    assert made["clouds_from_data"] + made["clouds_validation"] == 24 and made["clouds_validation"] == 6
    assert made["class_counts"] == dict.fromkeys(SHAPES, 6)
    assert made["recipe"]["data"] == "clouds.npz" and made["recipe"]["weights"] == "mine"
    assert made["initialised_from"]["name"] == "mine" and made["initialised_from"]["kind"] == "pretraining"
    assert made["initialised_from"]["provenance"] == {"status": "own-recipe"}
    assert made["validation"] == result.validation and set(result.validation) == {"accuracy", "loss", "step"}
    assert str(tmp_path.parent) not in json.dumps(stored)
    lines = curve(folder)
    assert [line["step"] for line in lines] == [2, 4, 6]
    # Six steps of six clouds: one validation of six clouds more than a tenth of that, so only the last one.
    assert ["validation_accuracy" in line for line in lines] == [False, False, True]
    assert 0 <= lines[-1]["validation_accuracy"] <= 1
    again = run(None, folder, resume=True)
    assert again.steps_now == 0 and again.validation == result.validation and "finished already" in str(again)
    with pytest.raises(ValueError, match="holds a run already"):
        run(recipe, folder)
    longer = recipe.override(steps=9)
    with pytest.raises(
        ValueError, match=r"steps is 9, but .* has 6; it is finished; .*--weights \S+ --out NEW"
    ):
        run(longer, folder, resume=True)
    assert run(longer.override(weights=str(folder)), tmp_path / "new").steps == 9
    with pytest.raises(ValueError, match=r"task is classification; use 'pointmae-zoo finetune'"):
        pretrain(None, folder, resume=True)


@pytest.mark.parametrize(
    "changes", [{}, {"select": "best", "ema_decay": 0.5, "layer_decay": 0.5}], ids=["last", "best"]
)
@pytest.mark.parametrize("steps", [1, 4])
def test_stopped_and_resumed_equals_uninterrupted(
    recipe: FinetuneRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    changes: dict[str, Any],
) -> None:
    recipe = recipe.override(validate_steps=3, checkpoint_steps=100, **changes)
    whole = run(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, steps)
        assert run(recipe, tmp_path / "parts").steps == steps
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    assert run(None, tmp_path / "parts", resume=True).validation == whole.validation
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert [line["step"] for line in curve(tmp_path / "whole")] == [2, 3, 4, 6]


def test_the_head_alone(recipe: FinetuneRecipe, weights: Path, tmp_path: Path) -> None:
    """The encoder stays as it is, its BatchNorm statistics too; and the head learns."""
    linear = {"head_pool": "levels", "head_width": 0, "head_dropout": 0.0}
    recipe = recipe.override(trained_part="head", steps=40, learning_rate=1e-2, validate_steps=40)
    recipe = dataclasses.replace(recipe, model_arguments=linear, augmentation=Augmentation(scale=1.0))
    run(recipe, tmp_path / "run")
    before, after = (
        load_file(weights / "model.safetensors"),
        load_file(tmp_path / "run" / "model.safetensors"),
    )
    kept = [name for name in after if name.startswith("encoder.")]
    assert kept and all(torch.equal(before[name], after[name]) for name in kept)
    losses = [line["loss"] for line in curve(tmp_path / "run")]
    assert losses[-1] < 0.7 * losses[0]


def test_the_head_alone_where_labels_are_few(
    recipe: FinetuneRecipe,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """``auto`` depends on how many clouds of a class the data have, whatever is taken for validation; it is
    said, stored and kept."""
    before = load_file(weights / "model.safetensors")
    auto = recipe.override(trained_part="auto", checkpoint_steps=1)

    def frozen(folder: Path) -> bool:
        name = "encoder.embeddings.0.conv1.weight"
        return torch.equal(load_file(folder / "model.safetensors")[name], before[name])

    monkeypatch.setattr(finetuning, "FEW_LABELS", 8)  # as many as there are; 6 are left to train on
    finetune(auto, tmp_path / "all")
    assert "auto is all, " in capsys.readouterr().err and not frozen(tmp_path / "all")
    few = auto.override(shots=5)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        finetune(few, tmp_path / "few")
    said = (
        "trained_part: auto is head, the encoder stays as it is: the data have 5 labelled clouds of a class"
    )
    assert said in capsys.readouterr().err
    monkeypatch.setattr(finetuning, "FEW_LABELS", 2)  # another version of the package
    assert run(few, tmp_path / "few", resume=True).completed and frozen(tmp_path / "few")
    assert read_recipe(tmp_path / "few" / "recipe.yaml").trained_part == "head"
    assert config(tmp_path / "few")["provenance"]["recipe"]["trained_part"] == "head"
    scratch = few.override(weights="", model="i2p_mae_tiny", model_arguments={**SCRATCH, "head_width": 16})
    monkeypatch.setattr(finetuning, "FEW_LABELS", 100)
    run(scratch, tmp_path / "scratch")
    assert config(tmp_path / "scratch")["provenance"]["recipe"]["trained_part"] == "all"


def test_clouds_that_lie_are_turned_in_training_and_validation(
    recipe: FinetuneRecipe, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same run on the same clouds with another axis up, and the run's data say which it was."""
    with np.load(data) as loaded:
        arrays = dict(loaded)
    x, y, z = np.moveaxis(arrays["points"], 2, 0)
    (tmp_path / "lying").mkdir()
    np.savez(tmp_path / "lying" / "clouds.npz", **{**arrays, "points": np.stack([x, -z, y], axis=2)})
    lying = recipe.override(data=str(tmp_path / "lying" / "clouds.npz"), up="z")
    finetune(lying, tmp_path / "turned")
    assert "z is up in the data" in capsys.readouterr().err
    run(recipe, tmp_path / "upright")
    assert_same_run(tmp_path / "turned", tmp_path / "upright")
    assert config(tmp_path / "turned")["provenance"]["recipe"]["up"] == "z"
    assert config(tmp_path / "turned")["preprocess"]["up"] == "y"  # what the network sees


def test_all_of_it(recipe: FinetuneRecipe, weights: Path, tmp_path: Path) -> None:
    """Every tensor of the encoder that the classifier reads moves, and from scratch other ones do."""
    run(recipe, tmp_path / "run")
    before, after = (
        load_file(weights / "model.safetensors"),
        load_file(tmp_path / "run" / "model.safetensors"),
    )
    still = {name for name in after if name.startswith("encoder.") and torch.equal(before[name], after[name])}
    assert still == {"encoder.norms.0.weight", "encoder.norms.0.bias"}  # read by `embed` alone
    scratch = recipe.override(weights="", model="i2p_mae_tiny", model_arguments={**SCRATCH, "head_width": 16})
    run(scratch, tmp_path / "scratch")
    made = config(tmp_path / "scratch")["provenance"]
    assert "initialised_from" not in made and made["recipe"]["weights"] == ""
    other = load_file(tmp_path / "scratch" / "model.safetensors")
    assert not torch.equal(
        other["encoder.embeddings.0.conv1.weight"], after["encoder.embeddings.0.conv1.weight"]
    )
    again = run(scratch.override(seed=1), tmp_path / "again")
    assert again.losses != run(scratch, tmp_path / "same").losses
    assert_same_run(tmp_path / "scratch", tmp_path / "same")


def test_a_classifier_goes_on_or_learns_other_classes(
    recipe: FinetuneRecipe, data: Path, tmp_path: Path
) -> None:
    run(recipe, tmp_path / "first")
    on = recipe.override(weights=str(tmp_path / "first"))
    run(on.override(model_arguments={"head_dropout": 0.0}), tmp_path / "second")
    chain = config(tmp_path / "second")["provenance"]["initialised_from"]
    assert chain["name"] == "first" and chain["kind"] == "classification" and chain["new"] == ""
    assert chain["provenance"]["initialised_from"]["name"] == "mine"
    frozen = on.override(model_arguments={}, learning_rate=1e-30, final_learning_rate=0.0, weight_decay=0.0)
    run(frozen, tmp_path / "same")
    first, same = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "same"))
    assert all(
        torch.allclose(first[name], same[name])
        for name in first
        if "running" not in name and "num_" not in name
    )
    other = labelled_file(tmp_path / "other.npz", classes=np.array(["ball", "rod", "plate"]))
    run(on.override(data=str(other), model_arguments={}), tmp_path / "third")
    assert config(tmp_path / "third")["labels"] == ["ball", "rod", "plate"]
    assert "the last layer" in config(tmp_path / "third")["provenance"]["initialised_from"]["new"]


def test_arguments_that_change_no_weights(recipe: FinetuneRecipe, tmp_path: Path) -> None:
    changed = {"num_neighbors": [6, 3], "local_radius": [0.3, 0.6], "drop_path": 0.2, "head_pool": "mean+max"}
    run(recipe.override(model_arguments=changed), tmp_path / "run")
    stored = config(tmp_path / "run")["arguments"]
    assert {name: stored[name] for name in changed} == changed
    model = from_pretrained(tmp_path / "run")
    assert model.encoder.hyper.num_neighbors == (6, 3) and model.encoder.hyper.local_radius == (0.3, 0.6)


def test_best_on_validation(monkeypatch: pytest.MonkeyPatch, recipe: FinetuneRecipe, tmp_path: Path) -> None:
    """Of given scores the highest decides, of equal ones the earlier; its weights are those that are left."""
    given = iter([0.2, 0.7, 0.5, 0.7, 0.1, 0.3])
    seen: list[dict[str, Tensor]] = []
    look = Validation.look

    def told(self: Validation, model: nn.Module, step: int) -> dict[str, float]:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        score = next(given)
        self.scores = lambda _: {"accuracy": score, "loss": 1.0}
        return look(self, model, step)

    monkeypatch.setattr(Validation, "look", told)
    result = run(recipe.override(select="best", validate_steps=1), tmp_path / "run")
    assert result.validation == {"accuracy": 0.7, "loss": 1.0, "step": 2}
    left = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(left[name], seen[1][name]) for name in left)
    assert not all(torch.equal(left[name], seen[5][name]) for name in left)
    assert "weights of step 2" in str(result)


def test_the_best_of_one_validation_is_said_to_be_the_last(
    recipe: FinetuneRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finetune(recipe.override(select="best", steps=2, validate_steps=None), tmp_path / "run")
    assert "validated only once, at its end" in capsys.readouterr().err
    finetune(recipe.override(select="best", steps=2, validate_steps=1), tmp_path / "other")
    assert "validated only once" not in capsys.readouterr().err


def test_validation_is_what_the_weights_score(recipe: FinetuneRecipe, tmp_path: Path) -> None:
    """And neither validation nor test clouds are trained on; how it is drawn is documented."""
    result = run(recipe.override(steps=3), tmp_path / "run")
    train, validation = open_training_parts(recipe)
    assert validation is not None and not set(train.names) & set(validation.names)
    found = accuracy(from_pretrained(tmp_path / "run"), validation, 64)
    assert result.validation["accuracy"] == pytest.approx(found)
    few, same = open_training_parts(recipe.override(shots=2))
    assert np.bincount(few.labels).tolist() == [2, 2, 2] and set(few.names) < set(train.names)
    assert same is not None and same.names == validation.names
    everything, nothing = open_training_parts(recipe.override(validation_share=0.0))
    assert nothing is None and np.abs(everything.points).max() < 50
    without = run(recipe.override(validation_share=0.0), tmp_path / "without")
    assert without.validation == {} and "; validation" not in str(without)
    assert [line["step"] for line in curve(tmp_path / "without")] == [2, 4, 6]


def test_layers() -> None:
    """From the points up, one after another, each with its learning rate; nothing twice, nothing left out."""
    model = small(kind="classification", depths=(2, 1), num_classes=3)
    depths = layer_depths(model)
    by_hand = {
        "encoder.embeddings.0.conv1.weight": 0,
        "encoder.stages.0.position.0.bias": 0,
        "encoder.stages.0.blocks.0.attn.qkv.weight": 1,
        "encoder.stages.0.blocks.1.norm2.bias": 2,
        "encoder.embeddings.1.conv4.bias": 3,
        "encoder.stages.1.blocks.0.mlp.fc2.weight": 4,
        "encoder.norms.1.weight": 4,
        "head.0.weight": 5,
        "head.8.bias": 5,
    }
    assert {name: depths[name] for name in by_hand} == by_hand
    groups = parameter_groups(model, 0.1, 0.5)
    scales = {id(one): group["lr_scale"] for group in groups for one in group["params"]}
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    assert sum(len(group["params"]) for group in groups) == len(scales) == len(trained)
    for name, one in trained.items():
        assert scales[id(one)] == 0.5 ** (5 - depths[name])
    plain = parameter_groups(model, 0.1)
    for decay in (0.1, 0.0):  # what decays does not depend on layers
        assert {id(one) for group in groups if group["weight_decay"] == decay for one in group["params"]} == {
            id(one) for group in plain if group["weight_decay"] == decay for one in group["params"]
        }


def test_layers_learn_at_their_own_rates(recipe: FinetuneRecipe, weights: Path, tmp_path: Path) -> None:
    """AdamW's first step is the learning rate, whatever the gradient."""
    recipe = recipe.override(steps=1, layer_decay=0.5, weight_decay=0.0, learning_rate=1e-3, clip_norm=0.0)
    run(recipe.override(cosine_steps=100), tmp_path / "run")
    before, after = (
        load_file(weights / "model.safetensors"),
        load_file(tmp_path / "run" / "model.safetensors"),
    )
    model = from_pretrained(weights, kind="classification")
    depths = layer_depths(model)
    for name in ("encoder.stages.0.blocks.0.attn.qkv.weight", "encoder.stages.1.blocks.0.mlp.fc2.weight"):
        moved = float((after[name] - before[name]).abs().median())
        assert moved == pytest.approx(1e-3 * 0.5 ** (max(depths.values()) - depths[name]), rel=0.02)


class Said(nn.Module):
    """Has its answers ready."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, points: Tensor) -> Tensor:
        return self.logits


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_label_smoothing(recipe: FinetuneRecipe, share: float) -> None:
    """The share of the target goes to all classes alike, the right one among them."""
    clouds, _ = open_training_parts(recipe)
    rows = np.arange(6) * 3
    labels = clouds.labels[rows]
    assert set(labels) == {0, 1, 2}
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    task = FinetuneTask(Said(logits), clouds, recipe.override(label_smoothing=share))
    term = task.losses(task.batch(rows, torch.Generator().manual_seed(0)))["cross_entropy"]
    by_hand = []
    for row, label in zip(logits.double().numpy(), labels, strict=True):
        target = np.full(3, share / 3)
        target[label] += 1.0 - share
        by_hand.append(-(target * np.log(np.exp(row) / np.exp(row).sum())).sum())
    assert float(term.value) == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_batches_of_one(recipe: FinetuneRecipe, tmp_path: Path) -> None:
    for name, changes in (("one", {"batch_size": 1}), ("parts", {"accumulation_steps": 6})):
        assert run(recipe.override(steps=3, **changes), tmp_path / name).completed
