"""Fine-tuning: learns by heart, resumes exactly, keeps the encoder where it shall, chooses by validation."""

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pointmae_zoo import from_pretrained, save_pretrained
from pointmae_zoo.data.augment import Augmentation
from pointmae_zoo.data.clouds import normalize_clouds
from pointmae_zoo.data.labelled import LabelledClouds, open_labelled
from pointmae_zoo.train import (
    FinetuneRecipe,
    PretrainRecipe,
    TrainingResult,
    engine,
    finetune,
    finetune_model,
    open_training_parts,
    pretrain,
)
from pointmae_zoo.train.optimizer import layer_depths, parameter_groups
from pointmae_zoo.train.validation import Validation
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
    """A pre-training model, as a run of it leaves it."""
    folder = tmp_path_factory.mktemp("weights") / "mine"
    model = small(7, kind="pretraining", num_views=3)
    save_pretrained(model, folder, provenance={"status": "own-recipe"})
    return folder


@pytest.fixture
def recipe(data: Path, weights: Path) -> FinetuneRecipe:
    return FinetuneRecipe(
        weights=str(weights),
        model_arguments={"head_width": 16},
        data=str(data),
        validation_share=0.25,
        cloud_points=96,
        num_points=64,
        steps=6,
        batch_size=6,
        learning_rate=3e-3,
        checkpoint_steps=2,
        log_steps=2,
    )


def run(recipe: FinetuneRecipe | None, out: Path, **arguments: Any) -> TrainingResult:
    return finetune(recipe, out, progress=False, **arguments)


def curve(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def config(out: Path) -> dict:
    return json.loads((out / "config.json").read_text(encoding="utf-8"))


def assert_same_run(one: Path, other: Path) -> None:
    assert curve(one) == curve(other)
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    made, again = (config(folder)["provenance"] for folder in (one, other))
    assert made["validation"] == again["validation"]


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    original, done = engine._Run._one_step, 0

    def step(self: object) -> object:
        nonlocal done
        done += 1
        if done == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self)

    monkeypatch.setattr(engine._Run, "_one_step", step)


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
        model_arguments={"head_dropout": 0.0},
        augmentation={"scale": 1.0},
    )
    result = run(recipe, tmp_path / "run")
    assert result.completed and result.losses["loss_wrong"] < 0.02
    assert result.validation == {**result.validation, "accuracy": 1.0, "step": 60}
    model = from_pretrained(tmp_path / "run")
    for split in ("train", "test"):  # those of test lie far away: nothing but their place is new
        clouds = open_labelled(recipe.data, split, num_points=64)
        assert accuracy(model, clouds, 64) == 1.0


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
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]  # twenty looks are wanted, in six steps
    assert all(0 <= line["validation_accuracy"] <= 1 for line in lines)
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
    with pytest.raises(
        ValueError, match=r"task is classification; that is what 'pointmae-zoo finetune' does"
    ):
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
    result = run(recipe.override(select="best"), tmp_path / "run")
    assert result.validation == {"accuracy": 0.7, "loss": 1.0, "step": 2}
    left = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(left[name], seen[1][name]) for name in left)
    assert not all(torch.equal(left[name], seen[5][name]) for name in left)
    assert "weights of step 2" in str(result)


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


def test_label_smoothing_and_batches_of_one(recipe: FinetuneRecipe, tmp_path: Path) -> None:
    smooth = run(recipe.override(steps=1, label_smoothing=0.3), tmp_path / "smooth")
    plain = run(recipe.override(steps=1), tmp_path / "plain")
    assert smooth.losses != plain.losses
    for name, changes in (("one", {"batch_size": 1}), ("parts", {"accumulation_steps": 6})):
        assert run(recipe.override(steps=3, **changes), tmp_path / name).completed


class Flat(nn.Module):
    """No encoder, no configuration."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, points: Tensor) -> Tensor:
        return self.layers(torch.cat([points.abs().mean(dim=1), points.std(dim=1)], dim=1))


def test_any_module(recipe: FinetuneRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe.override(steps=80, learning_rate=2e-2, select="best", validate_steps=40)
    clouds, validation = open_training_parts(recipe)

    def trained(out: Path, **arguments: Any) -> tuple[Flat, TrainingResult]:
        torch.manual_seed(0)
        model = Flat()
        return model, finetune_model(model, clouds, validation, recipe, out, progress=False, **arguments)

    model, result = trained(tmp_path / "whole")
    assert not model.training and result.validation["accuracy"] == 1.0
    with monkeypatch.context() as patch:
        stop_after(patch, 50)
        assert not trained(tmp_path / "parts")[1].completed
    for out in ("parts", "parts", "whole"):  # resumed, finished already, finished already
        again, _ = trained(tmp_path / out, resume=True)
        assert all(
            torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True)
        )
    for changes, message in (
        ({"trained_part": "head"}, "Flat has no encoder"),
        ({"layer_decay": 0.5}, "Flat has no"),
    ):
        with pytest.raises(ValueError, match=message):
            finetune_model(
                Flat(), clouds, None, recipe.override(**changes), tmp_path / "wrong", progress=False
            )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ""}, "no data; give --data"),
        ({"data": "nowhere"}, "nowhere: no such file or folder"),
        ({"classes": "core"}, "no 'core_classes' array"),
        ({"num_points": 128, "cloud_points": 128}, "96 points a cloud, fewer than the 128"),
        (
            {"weights": "i2p_mae_base"},
            "i2p_mae_base has no published weights yet; give --weights FOLDER of your own pretrain run, or "
            "of a reference checkpoint that 'pointmae-zoo convert' has read, or --from-scratch i2p_mae_base",
        ),
        (
            {"weights": "joint_mae_tiny"},
            "joint_mae_tiny has no published weights yet; give --weights FOLDER of your own pretrain run, or "
            "--from-scratch joint_mae_tiny",
        ),
        ({"weights": "i2p_mae_tinny"}, "no weights are called 'i2p_mae_tinny'"),
        ({"model_arguments": {"num_classes": 7}}, r"model_arguments\.num_classes: the data says it"),
        ({"model_arguments": {"dims": [24, 48]}}, "model_arguments: dims: .* holds weights of other shapes"),
        ({"model_arguments": {"deepths": [1, 1]}}, r"no argument 'deepths'; did you mean depths"),
        ({"weights": "", "model": "i2p_mae_tinny"}, "no architecture is called 'i2p_mae_tinny'"),
        (
            {"weights": "", "model": "i2p_mae_tiny", "model_arguments": {"head_pol": 1}},
            "no argument 'head_pol'",
        ),
        ({"batch_size": 10, "accumulation_steps": 3}, "expected a multiple"),
    ],
)
def test_what_does_not_fit_is_named(
    recipe: FinetuneRecipe, tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(recipe.override(**changes), tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_data_that_does_not_fit_is_named(recipe: FinetuneRecipe, tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2], 4)
    one = labelled_file(tmp_path / "one.npz", train=4, test=0, y=np.zeros(12, int))
    with pytest.raises(ValueError, match="one class only"):
        run(recipe.override(data=str(one)), tmp_path / "run")
    absent = labelled_file(
        tmp_path / "absent.npz", train=4, test=0, split=np.where(labels == 1, "test", "train")
    )
    with pytest.raises(ValueError, match="no training cloud of class 'rod'"):
        run(recipe.override(data=str(absent)), tmp_path / "run")
    alike = labelled_file(tmp_path / "alike.npz", train=4, test=0, group=labels)
    with pytest.raises(ValueError, match="nothing can be held out"):
        run(recipe.override(data=str(alike), select="best"), tmp_path / "run")
    assert run(recipe.override(data=str(alike)), tmp_path / "alike").validation == {}
    single = labelled_file(tmp_path / "single.npz", train=1, test=0)
    assert run(recipe.override(data=str(single)), tmp_path / "single").completed


def test_another_recipe_does_not_resume(recipe: FinetuneRecipe, tmp_path: Path) -> None:
    run(recipe, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"recipe: shots is 3, but the run in .* has None"):
        run(recipe.override(shots=3), tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match="task is pretraining; that is what 'pointmae-zoo pretrain' does"):
        finetune(PretrainRecipe(steps=1), tmp_path / "other")  # type: ignore[arg-type]


def test_parts(recipe: FinetuneRecipe, tmp_path: Path) -> None:
    """Lower and upper half of every shape: learned by heart, and scored as ShapeNetPart is."""
    arguments = {"propagated_dims": [24, 24], "head_dims": [32, 24, 16], "label_dim": 4, "head_dropout": 0.0}
    recipe = dataclasses.replace(recipe, task="parts", model_arguments=arguments, steps=100)
    recipe = recipe.override(learning_rate=1e-2, augmentation={"scale": 1.0})
    result = run(recipe.override(log_steps=20, validate_steps=50), tmp_path / "run")
    assert result.losses["loss_wrong"] < 0.15 and result.validation["miou"] > 0.75
    stored = config(tmp_path / "run")
    assert stored["kind"] == "part_segmentation"
    assert stored["labels"][:2] == ["ball/lower", "ball/upper"] and len(stored["labels"]) == 6
    assert stored["provenance"]["object_classes"] == list(SHAPES)
    assert stored["provenance"]["parts"] == [[0, 2], [2, 4], [4, 6]]
    model = from_pretrained(tmp_path / "run")
    _, validation = open_training_parts(recipe)
    assert validation is not None and validation.part_labels is not None
    ious = []
    for row in range(len(validation)):
        points = torch.from_numpy(normalize_clouds(validation.points[row : row + 1, :64]))
        label, true = int(validation.labels[row]), validation.part_labels[row, :64]
        with torch.no_grad():
            scores = model(points, torch.tensor([label]))[0].numpy()
        allowed = list(validation.parts[label])
        predicted = np.array(allowed)[scores[:, allowed].argmax(axis=1)]
        for part in allowed:
            union = ((predicted == part) | (true == part)).sum()
            ious.append(((predicted == part) & (true == part)).sum() / union if union else 1.0)
    assert result.validation["miou"] == pytest.approx(np.mean(ious), abs=1e-6)
    with pytest.raises(ValueError, match="parts"):
        plain = labelled_file(tmp_path / "plain.npz")
        arrays = dict(np.load(plain))
        del arrays["parts"]
        np.savez(plain, **arrays)
        run(recipe.override(data=str(plain)), tmp_path / "plain")


@pytest.mark.parametrize("share", [0.25, 0.0])
def test_a_stated_validation_split_is_not_used_and_that_is_said(
    share: float, recipe: FinetuneRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for label in ("a", "b"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(count):
                np.save(tmp_path / split / label / f"{number}.npy", rng.normal(size=(96, 3)))
    own = recipe.override(data=str(tmp_path), validation_share=share)
    train, validation = open_training_parts(own)
    assert not any("/val/" in name for part in (train, validation) if part for name in part.names)
    said = f"its split val is not used; validation is a part of train (validation_share {share:g})\n"
    assert capsys.readouterr().err.count(said) == 1
    shutil.rmtree(tmp_path / "val")
    for quiet in (own, recipe):  # without one; the file has none either
        open_training_parts(quiet)
    assert "split val" not in capsys.readouterr().err
