"""What fine-tuning refuses, and how it says so; what it does not use."""

from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo.evaluate import evaluate_finetuned
from pointmae_zoo.train import FinetuneRecipe, PretrainRecipe, finetune, open_training_parts
from samples.finetuning import config, pretrained, run, small_recipe
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
            {"weights": "joint_mae_base"},
            "joint_mae_base has no published weights yet; give --weights FOLDER of your own pretrain run, or "
            "--from-scratch joint_mae_base",
        ),
        ({"weights": "i2p_mae_tinny"}, "no weights are called 'i2p_mae_tinny'"),
        ({"model_arguments": {"num_classes": 7}}, r"model_arguments\.num_classes: the data decides it"),
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
    with pytest.raises(ValueError, match="task is pretraining; use 'pointmae-zoo pretrain'"):
        finetune(PretrainRecipe(steps=1), tmp_path / "other")  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.25, 0.0])
def test_a_stated_validation_split_is_the_one_that_is_looked_at(
    share: float, recipe: FinetuneRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for label in ("a", "b"):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for number in range(count):
                file = tmp_path / "data" / split / label / f"{number}.npy"
                np.save(file, rng.normal(size=(96, 3)))
    data, out = tmp_path / "data", tmp_path / "run"
    own = recipe.override(data=str(data), validation_share=share, steps=2)
    train, validation = open_training_parts(own, progress=False)
    assert len(train) == 12 and all("/train/" in name for name in train.names)
    finetune(own, out)
    made = config(out)["provenance"]
    said = capsys.readouterr().err
    if not share:
        assert validation is None and made["validation_split"] is None and "(no validation)" in said
        with pytest.raises(ValueError, match="kept no cloud of data for validation"):
            evaluate_finetuned(out, data, split="validation", progress=False)
        return
    assert validation is not None and len(validation) == 4
    assert all("/val/" in name for name in validation.names)
    assert (made["validation_split"], made["clouds_validation"]) == ("val", 4)
    assert "(4 for validation in its own split)" in said
    report = evaluate_finetuned(out, data, split="validation", progress=False)
    assert report.context["num_test"] == 4
    assert report.context["protocol"].endswith("; on the data's own validation split; test was not touched")
    # It is what training said of the weights.
    assert report.summary[0]["mean"] == pytest.approx(100 * made["validation"]["accuracy"])
    np.save(data / "val" / "a" / "9.npy", rng.normal(size=(96, 3)))
    with pytest.raises(ValueError, match="not the data that run was trained on"):
        evaluate_finetuned(out, data, split="validation", progress=False)
