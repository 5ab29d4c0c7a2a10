"""What fine-tuning refuses, and how it says so; what it does not use."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo.train import FinetuneRecipe, PretrainRecipe, finetune, open_training_parts
from samples.finetuning import pretrained, run, small_recipe
from samples.labelled import labelled_file

pytest.importorskip("accelerate")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled_file(tmp_path_factory.mktemp("data") / "clouds.npz")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(tmp_path_factory.mktemp("weights") / "mine")


@pytest.fixture
def recipe(data: Path, weights: Path) -> FinetuneRecipe:
    return small_recipe(data, weights)


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
