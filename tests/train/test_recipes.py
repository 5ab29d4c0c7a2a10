"""Recipes: strict, typed, complete; YAML in and out."""

import re
from pathlib import Path

import pytest
import torch

from pointmae_zoo.cli import main
from pointmae_zoo.datasets.augmentation import augment
from pointmae_zoo.models.i2p_mae.reference_checkpoints import PRESETS
from pointmae_zoo.models.registry import Family, create_model, list_weights
from pointmae_zoo.system.yaml_files import dump_yaml
from pointmae_zoo.train.recipe_files import (
    find_recipe,
    list_recipes,
    parse_setting,
    read_recipe,
    recipe_command,
    write_recipe,
)
from pointmae_zoo.train.recipes import PretrainRecipe


def test_round_trip_and_override(tmp_path: Path) -> None:
    recipe = PretrainRecipe(
        data=("a.npz", "no", "1e-3", "shapenet55:/x y", "010"), steps=7, model_arguments={"dims": [24, 48]}
    )
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe
    changed = recipe.override(learning_rate=2e-3, augmentation={"scale": 1.2}, teacher={"name": ""})
    assert changed.learning_rate == 2e-3
    assert (changed.augmentation.scale, changed.augmentation.fps_share) == (
        1.2,
        recipe.augmentation.fps_share,
    )
    assert (changed.teacher.name, changed.teacher.views) == ("", recipe.teacher.views)
    assert changed.steps == 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": 10}, r"no field 'step'; did you mean steps\?"),
        ({"zzzz": 10}, "no field 'zzzz'; known: steps,"),
        ({"views": 3}, r"no field 'views'; did you mean teacher\.views\?"),
        ({"steps": "10"}, "steps is '10', expected a whole number or null"),
        ({"steps": True}, "steps is True, expected a whole number"),
        ({"steps": 1.5}, "steps is 1.5, expected a whole number"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast', expected a number"),
        ({"compile": "yes"}, "compile is 'yes', expected true or false"),
        ({"data": "a.npz"}, "data is 'a.npz', expected a list of text"),
        ({"teacher": {"strides": 8}}, r"teacher\.strides is 8, expected a list of whole numbers"),
        ({"teacher": {"strides": [8, "16"]}}, r"teacher\.strides\[1\] is '16', expected a whole number"),
        ({"teacher": {"nam": "x"}}, r"no field 'teacher\.nam'; did you mean teacher\.name\?"),
        ({"teacher": "resnet18"}, "teacher is 'resnet18', expected a mapping of fields"),
        ({"precision": "float16"}, "precision is 'float16', expected one of 'auto', 'float32', 'bfloat16'"),
        (
            {"augmentation": {"scales": 1}},
            r"no field 'augmentation\.scales'; did you mean augmentation\.scale\?",
        ),
        ({"augmentation": 3}, "augmentation is 3, expected a mapping"),
        ({"procedural_clouds": "all"}, "procedural_clouds is 'all', expected a whole number or null"),
        ({"steps": 0}, "steps is 0, expected at least 1"),
        ({"steps": None}, "steps and epochs are both None"),
        ({"epochs": 0}, "epochs is 0.0, expected above 0"),
        ({"num_points": 4096}, "num_points is 4096, more than cloud_points"),
        ({"teacher": {"views": 4}}, "views is 4, expected 3 or 6"),
        ({"teacher": {"projection": "summed", "views": 6}}, "views is 6, expected 3 "),
        ({"clip_norm": -1.0}, "clip_norm is -1.0, expected at least 0"),
        ({"clip_norm": float("nan")}, "clip_norm is nan, expected at least 0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf, expected above 0"),
        ({"final_learning_rate": -1e-6}, "final_learning_rate is -1e-06, expected at least 0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1, expected at least 0"),
        ({"warmup_steps": -1}, "warmup_steps is -1, expected at least 0"),
        ({"warmup_steps": 1, "warmup_epochs": 1}, "warmup_steps and warmup_epochs are both set"),
        ({"procedural_clouds": -1}, "procedural_clouds is -1, expected at least 0"),
        ({"seed": -1}, "seed is -1, expected at least 0"),
        ({"procedural_seed": -1}, "procedural_seed is -1, expected at least 0"),
        ({"pose": "sideways"}, "pose is 'sideways', expected"),
        ({"pose_seed": -1}, "pose_seed is -1, expected at least 0"),
        ({"batch_size": 10, "accumulation_steps": 3}, r"batch_size is 10, expected a multiple of .*\(3\)"),
        ({"teacher": {"cover": 2}}, "cover is 2, expected an odd number"),
        ({"teacher": {"strides": [8, 0]}}, "strides holds 0, expected above 0"),
        ({"teacher": {"image_size": 0}}, r"teacher\.image_size is 0, expected at least 1"),
        ({"betas": [0.9, 1.0]}, "betas holds 1.0, expected at least 0 and below 1"),
        ({"betas": [0.9]}, r"betas is \[0\.9\], expected a list of 2 numbers"),
        ({"ema_decay": 1.0}, "ema_decay holds 1.0, expected at least 0 and below 1"),
        ({"poses": 2}, "poses is 2, but pose is 'upright'"),
        ({"poses": 0}, "poses is 0, expected at least 1"),
        ({"procedural_shapes": "live"}, r"procedural_shapes is 'live', but teacher\.targets is 'cached'"),
        ({"augmentation": {"scale": 0.8}}, "augmentation: scale is 0.8, expected at least 1"),
        ({"augmentation": {"shift": -0.1}}, "augmentation: shift is -0.1, expected at least 0"),
        ({"augmentation": {"jitter": -0.1}}, "augmentation: jitter is -0.1, expected at least 0"),
        ({"augmentation": {"fps_share": 1.5}}, "augmentation: fps_share is 1.5, expected between 0 and 1"),
    ],
)
def test_wrong_fields_are_named(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PretrainRecipe.from_dict({"data": ["a.npz"], "steps": 3, **values})


def test_settings_of_the_command_line() -> None:
    assert parse_setting("steps=500") == {"steps": 500}
    assert parse_setting("learning_rate=1e-3") == {"learning_rate": 0.001}
    assert parse_setting("augmentation.scale=1.2") == {"augmentation": {"scale": 1.2}}
    assert parse_setting("teacher.weights=my=file.npz") == {"teacher": {"weights": "my=file.npz"}}
    assert parse_setting("teacher.name=") == {"teacher": {"name": ""}}
    assert parse_setting("epochs=null") == {"epochs": None}
    assert parse_setting('data=["a.npz", b.npz]') == {"data": ["a.npz", "b.npz"]}
    for text, message in (("steps", "expected FIELD=VALUE"), ("data=[a", r"'data=\[a': not a value")):
        with pytest.raises(ValueError, match=message):
            parse_setting(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [", "not a recipe in YAML"),
        ("- steps", "expected lines such as"),
        ("", "expected lines such as"),
        ("steps: 3\nseed: 1\nsteps: 4", "line 3: field 'steps' is there twice"),
        ("augmentation:\n  scale: 1.1\n  scale: 1.2\n", "line 3: field 'scale' is there twice"),
        ("steps: 3\n[seed, 1]: 1", r"line 2: \['seed', 1\] is no name of a field"),
        ("steps: 3\nteacher:\n  {views: 3}: 1", r"line 3: \{'views': 3\} is no name of a field"),
        ("steps: 3\ndata: no", "data is 'no', expected a list"),
        ("steps: 3\nmodle: x", "no field 'modle'; did you mean model"),
        ("steps: 3\n1: x", "no field '1'"),
        ("steps: !!python/object:os.system {}", "could not determine a constructor"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"mine\.yaml: .*{message}"):
        read_recipe(path)


def test_numbers_and_words_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "steps: 010\nlearning_rate: 1e-3\nweight_decay: 0\nmodel: no\ncompile: true\n"
        "procedural_clouds: null\ndata: [a.npz, 1:30]\n",
        encoding="utf-8",
    )
    recipe = read_recipe(path, data=["b.npz"])
    assert (recipe.steps, recipe.learning_rate, recipe.model, recipe.compile) == (10, 0.001, "no", True)
    assert isinstance(recipe.weight_decay, float) and recipe.data == ("b.npz",)
    assert read_recipe(path).data == ("a.npz", "1:30")


def test_names_of_recipes() -> None:
    known = list_recipes()
    assert {"i2p_mae/smoke", "i2p_mae/pretrain_tiny", "i2p_mae/pretrain_shapenet"} <= set(known)
    assert all(len(summary) > 20 for summary in known.values())
    assert {"joint_mae/smoke", "joint_mae/pretrain_tiny", "joint_mae/pretrain_shapenet"} <= set(known)
    assert find_recipe("smoke") == find_recipe("i2p_mae/smoke")
    models = find_recipe("smoke").parents[2]
    assert find_recipe("joint_mae/smoke") == models / "joint_mae" / "recipes" / "smoke.yaml"
    assert read_recipe("pretrain_tiny", steps=5).steps == 5
    with pytest.raises(FileNotFoundError, match=r"'smok'; did you mean i2p_mae/smoke\?"):
        find_recipe("smok")
    with pytest.raises(FileNotFoundError, match=r"'joint_mae/smok'; did you mean joint_mae/smoke\?"):
        find_recipe("joint_mae/smok")
    with pytest.raises(FileNotFoundError, match=r"known: i2p_mae/finetune_modelnet40, .*joint_mae/smoke"):
        find_recipe("zebra")
    with pytest.raises(
        FileNotFoundError, match="'joint_mae'; known: joint_mae/finetune_modelnet40, joint_mae"
    ):
        find_recipe("joint_mae")
    with pytest.raises(FileNotFoundError, match=r"nowhere/mine\.yaml: no such recipe file"):
        find_recipe("nowhere/mine.yaml")
    with pytest.raises(ValueError, match="recipe smoke, as changed: no field 'stpes'; did you mean steps"):
        read_recipe("smoke", stpes=5)


@pytest.mark.parametrize("name", [name for name in list_recipes() if recipe_command(name) == "finetune"])
def test_shipped_recipes_of_finetuning_fit_their_model(name: str) -> None:
    """All but the weights, which are not there for all: a model of their architecture takes the arguments."""
    recipe = read_recipe(name)
    kind = {"classification": "classification", "parts": "part_segmentation"}[recipe.task]
    architecture = recipe.weights.partition(".")[0]
    plain = create_model(architecture, kind)
    model = create_model(architecture, kind, **recipe.model_arguments)
    published = recipe.weights in list_weights()
    assert published or recipe.weights.endswith("_base"), "our own recipes begin with published weights"
    shapes, changed = (
        {key: value.shape for key, value in one.encoder.state_dict().items()} for one in (plain, model)
    )
    assert {key: changed[key] for key in shapes} == shapes  # so that pre-trained weights fit
    assert type(recipe).from_dict(recipe.to_dict()) == recipe


# Of the papers' fine-tuning, written by hand: neighbours, radii, pooling; learning rate, batch, epochs,
# warm-up, clip, label smoothing; points, of which farthest; range of the scale, of the shift, largest turn in
# degrees.
# Joint-MAE leaves most open: those are I2P-MAE's, without local attention, and ScanObjectNN is not turned.
_MODELNET40 = (5e-4, 32, 300, 10, 10, 0.2, 1024, 1200, (2 / 3, 3 / 2), 0.2, 0)
_PARTS = (2e-4, 16, 300, 10, 10, 0.0, 2048, 2048, (0.8, 1.25), 0.1, 0)
_SCANOBJECTNN = (5e-4, 32, 300, 10, 10, 0.0, 2048, 2048, (0.9, 1.1), 0.0)
PAPERS = {
    "i2p_mae/finetune_modelnet40": ((48, 24, 24), (0.24, 0.48, 0.96), "mean+max", *_MODELNET40),
    "i2p_mae/finetune_scanobjectnn": ((32, 16, 16), (0.48, 0.96, 1.92), "mean,max", *_SCANOBJECTNN, 180),
    "i2p_mae/finetune_shapenetpart": (None, (0.32, 0.64, 1.28), None, *_PARTS),
    "joint_mae/finetune_modelnet40": ((48, 24, 24), None, "mean+max", *_MODELNET40),
    "joint_mae/finetune_scanobjectnn": ((32, 16, 16), None, "mean+max", *_SCANOBJECTNN, 0),
    "joint_mae/finetune_shapenetpart": (None, None, None, *_PARTS),
}


@pytest.mark.parametrize(
    ("data", "kind", "preset"),
    [
        ("modelnet40", "classification", "modelnet40"),
        ("scanobjectnn", "classification", "scanobjectnn_pb"),
        ("shapenetpart", "part_segmentation", "shapenetpart"),
    ],
)
def test_fine_tuned_models_are_those_of_the_reference(data: str, kind: str, preset: str) -> None:
    """Whose checkpoints are converted with these arguments."""
    recipe = read_recipe(f"i2p_mae/finetune_{data}")
    given = {name: value for name, value in PRESETS[kind][preset].items() if name != "pool"}
    assert recipe.model_arguments == {
        name: list(value) if isinstance(value, tuple) else value for name, value in given.items()
    }


def test_every_recipe_with_a_papers_values_is_in_the_table() -> None:
    own = {"finetune_tiny", "finetune_modelnet40_tiny", "parts_tiny"}
    shipped = {name for name in list_recipes() if recipe_command(name) == "finetune"}
    assert {name for name in shipped if name.rpartition("/")[2] not in own} == set(PAPERS)


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_values(name: str) -> None:
    """The ranges are measured on what `augment` makes of clouds."""
    neighbours, radii, pool, *training, points, farthest, scale, shift, turn = PAPERS[name]
    recipe = read_recipe(name)
    given = recipe.model_arguments
    assert given.get("num_neighbors") == (neighbours and list(neighbours))
    assert given.get("local_radius") == (radii and list(radii))
    assert given.get("head_pool") == pool
    fields = ("learning_rate", "batch_size", "epochs", "warmup_epochs", "clip_norm", "label_smoothing")
    assert [getattr(recipe, field) for field in fields] == training
    assert (recipe.weight_decay, recipe.final_learning_rate, recipe.schedule) == (0.05, 1e-6, "epoch")
    settings = recipe.augmentation
    assert (recipe.num_points, recipe.select, recipe.validation_share) == (points, "last", 0.0)
    if settings.fps_share:
        assert (settings.fps_share, round(points * settings.fps_surplus)) == (1.0, farthest)
    assert settings.jitter == 0 and settings.density == 1

    corners = torch.cat([torch.eye(3), -torch.eye(3)]).expand(3000, 6, 3)  # centred, within the unit sphere
    views = augment(corners, settings, torch.Generator().manual_seed(0))
    offsets, arms = views.mean(dim=1), (views[:, :3] - views[:, 3:]) / 2  # (B, 3), (B, 3 axes, 3)
    factors = arms.norm(dim=2)
    assert offsets.abs().max() == pytest.approx(shift, abs=2e-3) and offsets.abs().max() <= shift + 1e-5
    least, most = scale
    assert least - 1e-5 <= factors.min() <= least + 2e-3 and most - 2e-3 <= factors.max() <= most + 1e-5
    assert float(factors.mean()) == pytest.approx((least + most) / 2, abs=0.02)  # uniform
    together = recipe.task == "parts"
    assert bool((factors.amax(dim=1) - factors.amin(dim=1) < 1e-5).all()) == together
    angles = torch.rad2deg(torch.atan2(-arms[:, 0, 2], arms[:, 0, 0]))  # of what was the x axis, about y
    assert angles.abs().max() == pytest.approx(turn, abs=0.5)
    torch.testing.assert_close(
        arms[:, 1] * torch.tensor([1.0, 0.0, 1.0]), torch.zeros(3000, 3)
    )  # up stays up


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"task": "segmentation"},
            "task is 'segmentation', expected one of 'pretraining', 'classification', 'parts'",
        ),
        ({"task": "classification", "weights": ""}, "weights and model are both empty"),
        ({"task": "classification", "model": "i2p_mae_tiny"}, "model is 'i2p_mae_tiny', but weights"),
        ({"task": "classification", "teacher": {}}, "no field 'teacher'"),
        ({"task": "classification", "select": "first"}, "select is 'first', expected one of 'last', 'best'"),
        ({"task": "classification", "select": "best", "validation_share": 0.0}, "validation_share is 0"),
        (
            {"task": "classification", "layer_decay": 1.5},
            "layer_decay is 1.5, expected above 0 and at most 1",
        ),
        ({"task": "classification", "layer_decay": 0}, "layer_decay is 0.0, expected above 0"),
        ({"task": "classification", "shots": 0}, "shots is 0, expected at least 1"),
        ({"task": "classification", "label_smoothing": 1.0}, "label_smoothing is 1.0, expected at least 0"),
        ({"task": "classification", "num_points": 4096}, "num_points is 4096, more than cloud_points"),
        ({"task": "parts", "data": ["a.npz"]}, r"data is \['a.npz'\], expected text"),
    ],
)
def test_wrong_fields_of_finetuning_are_named(tmp_path: Path, values: dict, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_yaml({"steps": 3, **values}), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_recipe(path)


def test_the_other_command_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["--out", str(tmp_path / "run")]
    assert main(["pretrain", "--recipe", "finetune_tiny", *run]) == 2
    assert "finetune_tiny: is one for 'pointmae-zoo finetune'" in capsys.readouterr().err
    assert main(["finetune", "--recipe", "smoke", *run]) == 2
    assert "smoke: is one for 'pointmae-zoo pretrain'" in capsys.readouterr().err
    assert main(["finetune", *run]) == 2
    assert "--recipe: a name (i2p_mae/finetune_modelnet40" in capsys.readouterr().err
    assert main(["finetune", "--recipe", "finetune_tiny", *run]) == 2
    assert "no data; give --data" in capsys.readouterr().err
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"i2p_mae/parts_tiny +finetune +Part segmentation", listed)
    assert re.search(r"i2p_mae/smoke +pretrain +A minute", listed)


def test_an_ambiguous_name_lists_what_it_may_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, names in (("one", "smoke"), ("two", "smoke long"), ("i2p_mae", "tiny"), ("three", "tiny")):
        (tmp_path / folder).mkdir()
        for name in names.split():
            path = tmp_path / folder / f"{name}.yaml"
            path.write_text("# A recipe\nsteps: 1\n", encoding="utf-8")
    families = [Family(folder.name, recipes=folder) for folder in sorted(tmp_path.iterdir())]
    monkeypatch.setattr("pointmae_zoo.train.recipe_files.list_families", lambda: [Family("bare"), *families])
    with pytest.raises(ValueError, match="one/smoke or two/smoke"):
        find_recipe("smoke")
    assert find_recipe("two/smoke") == tmp_path / "two" / "smoke.yaml"
    assert find_recipe("long") == tmp_path / "two" / "long.yaml"
    assert find_recipe("tiny") == tmp_path / "i2p_mae" / "tiny.yaml"


def test_the_tiny_models_have_the_same_data_and_budget() -> None:
    """What is compared in their cards. Only the number of points does not vary without a teacher."""
    one, other = (read_recipe(f"{family}_mae/pretrain_tiny").to_dict() for family in ("i2p", "joint"))
    own = ("model", "teacher", "learning_rate", "log_steps", "log_gradient_norms")
    assert (one["augmentation"].pop("density"), other["augmentation"].pop("density")) == (2.0, 1.0)
    assert {name: one[name] for name in one if name not in own} == {
        name: other[name] for name in other if name not in own
    }
