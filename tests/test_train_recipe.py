"""Recipes: strict, typed, complete."""

import json
from pathlib import Path

import pytest

import pointmae_zoo
from pointmae_zoo.train.recipe import PretrainRecipe, parse_setting, read_recipe


def test_round_trip_and_override() -> None:
    recipe = PretrainRecipe(data=("a.npz",), steps=7, model_arguments={"dims": [24, 48]})
    assert PretrainRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    changed = recipe.override(learning_rate=2e-3, augmentation={"scale": 1.2})
    assert changed.learning_rate == 2e-3
    assert (changed.augmentation.scale, changed.augmentation.fps_share) == (
        1.2,
        recipe.augmentation.fps_share,
    )
    assert changed.steps == 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": 10}, r"no field 'step'; did you mean steps\?"),
        ({"zzzz": 10}, "no field 'zzzz'; its fields are model,"),
        ({"steps": "10"}, "steps is '10', expected int"),
        ({"steps": True}, "steps is True, expected int"),
        ({"steps": 1.5}, "steps is 1.5, expected int"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast', expected float"),
        ({"data": "a.npz"}, "data is 'a.npz', expected a list"),
        ({"teacher_strides": [8, "16"]}, "teacher_strides is '16', expected int"),
        ({"precision": "float16"}, "precision is 'float16', expected 'float32' or 'bfloat16'"),
        ({"augmentation": {"scales": 1}}, r"augmentation: no field 'scales'; did you mean scale\?"),
        ({"augmentation": 3}, "augmentation is 3, expected an object"),
        ({"procedural_clouds": "all"}, "procedural_clouds is 'all', expected int"),
        ({"steps": 0}, "steps is 0, expected at least 1"),
        ({"num_points": 4096}, "num_points is 4096, more than cloud_points"),
        ({"views": 4}, "views is 4, expected 3 or 6"),
        ({"clip_norm": -1.0}, "clip_norm is -1.0, expected at least 0"),
        ({"clip_norm": float("nan")}, "clip_norm is nan, expected at least 0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf, expected above 0"),
        ({"final_learning_rate": -1e-6}, "final_learning_rate is -1e-06, expected at least 0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1, expected at least 0"),
        ({"warmup_steps": -1}, "warmup_steps is -1, expected at least 0"),
        ({"procedural_clouds": -1}, "procedural_clouds is -1, expected at least 0"),
        ({"seed": -1}, "seed is -1, expected at least 0"),
        ({"procedural_seed": -1}, "procedural_seed is -1, expected at least 0"),
        ({"view_cover": 0}, "view_cover is 0, expected at least 1"),
        ({"view_cover": 2}, "view_cover is 2, expected an odd number"),
        ({"teacher_strides": [8, 0]}, "teacher_strides holds 0, expected above 0"),
        ({"betas": [0.9, 1.0]}, "betas holds 1.0, expected at least 0 and below 1"),
        ({"augmentation": {"scale": 0.8}}, "augmentation: scale is 0.8, expected at least 1"),
        ({"augmentation": {"shift": -0.1}}, "augmentation: shift is -0.1, expected at least 0"),
        ({"augmentation": {"jitter": -0.1}}, "augmentation: jitter is -0.1, expected at least 0"),
        ({"augmentation": {"fps_share": 1.5}}, "augmentation: fps_share is 1.5, expected between 0 and 1"),
        ({"data": [], "procedural_clouds": None}, "neither data files nor procedural_clouds"),
    ],
)
def test_wrong_fields_are_named(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PretrainRecipe.from_dict({"data": ["a.npz"], **values})


def test_settings_of_the_command_line() -> None:
    assert parse_setting("steps=500") == {"steps": 500}
    assert parse_setting("augmentation.scale=1.2") == {"augmentation": {"scale": 1.2}}
    assert parse_setting("teacher_weights=my=file.npz") == {"teacher_weights": "my=file.npz"}
    assert parse_setting('data=["a.npz", "b.npz"]') == {"data": ["a.npz", "b.npz"]}
    with pytest.raises(ValueError, match="expected FIELD=VALUE"):
        parse_setting("steps")


def test_recipe_files(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    with pytest.raises(FileNotFoundError, match="no such recipe"):
        read_recipe(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"recipe\.json: not JSON"):
        read_recipe(path)
    path.write_text('{"data": ["a"], "steps": null}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"recipe\.json: recipe: steps is None"):
        read_recipe(path)
    path.write_text('{"data": ["a"], "steps": 3}', encoding="utf-8")
    assert read_recipe(path).steps == 3


def test_recipe_of_the_bundled_weights() -> None:
    example = Path(__file__).parents[1] / "examples" / "recipes" / "i2p_mae_tiny.demo.json"
    weights = Path(pointmae_zoo.__file__).parent / "weights" / "i2p_mae_tiny.demo" / "config.json"
    stored = json.loads(weights.read_text(encoding="utf-8"))["provenance"]["recipe"]
    assert read_recipe(example).to_dict() == stored
