"""Recipes: strict, typed, complete."""

import json
from pathlib import Path

import pytest

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
