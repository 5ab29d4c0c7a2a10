"""Recipes in YAML: files, the recipes of each family, and settings of the command line."""

import difflib
from pathlib import Path
from typing import Any, TypeVar

from pointmae_zoo.models.registry import get_architecture, list_families
from pointmae_zoo.system.files import written_whole
from pointmae_zoo.system.yaml_files import dump_yaml, load_yaml, parse_yaml
from pointmae_zoo.train.recipes import FinetuneRecipe, PretrainRecipe, TrainingRecipe, merged

COMMANDS = {"pretraining": "pretrain", "classification": "finetune", "parts": "finetune"}
"""The command for recipes of each task."""

_Recipe = TypeVar("_Recipe", bound=TrainingRecipe)


def list_recipes() -> dict[str, str]:
    """The recipes of all families: name, as ``family/recipe`` -> the first comment of its file."""
    return {name: _summary(path) for name, path in _shipped().items()}


def default_family() -> str:
    """The family of `PretrainRecipe`'s default model; names of recipes may leave it out."""
    return get_architecture(PretrainRecipe.model).family.name


def _shipped() -> dict[str, Path]:
    """Name, ``family/recipe`` -> file."""
    return {
        f"{family.name}/{path.stem}": path
        for family in list_families()
        if family.recipes is not None
        for path in sorted(family.recipes.glob("*.yaml"))
    }


def _summary(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe: a path, or the name of a family's recipe.

    A name without a family, such as ``smoke``, is a recipe of the default family if that has one; else only
    one family may have it.

    Raises:
        FileNotFoundError: no such file or name; suggests similar names, or all of a family.
        ValueError: several families have one, but the default family doesn't.
    """
    path, known = Path(name), _shipped()
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such recipe file")
        return path
    found = [one for one in known if str(name) in (one, one.rpartition("/")[2])]
    default = default_family()
    if f"{default}/{name}" in found:
        found = [f"{default}/{name}"]
    if len(found) == 1:
        return known[found[0]]
    if found:
        raise ValueError(f"recipe {str(name)!r}: {' or '.join(found)}? give the whole name")
    if path.is_file():
        return path
    family = [one for one in known if one.partition("/")[0] == str(name)]
    first = sorted(known, key=lambda one: not one.startswith(f"{default}/"))  # wins over others of its name
    ends = {one.rpartition("/")[2]: one for one in reversed(first)} | {one: one for one in known}
    near = [] if family else difflib.get_close_matches(str(name), ends, n=1)
    if near:
        hint = f"did you mean {ends[near[0]]}?"
    else:
        hint = f"known: {', '.join(family or known)}; or the path of a YAML file"
    raise FileNotFoundError(f"no recipe is called {str(name)!r}; {hint}")


def read_recipe(name: str | Path, **changes: Any) -> Any:
    """Read a recipe: a YAML file, or the name of a shipped one (see ``find_recipe``).

    Args:
        changes: fields to set instead of the file's.

    Returns:
        `PretrainRecipe` or `FinetuneRecipe`, by the file's ``task``; without one, the former.

    Raises:
        FileNotFoundError: no such file or name.
        ValueError: not YAML; a field that is unknown, given twice, of a wrong type or out of range. Names
            file and field.
    """
    path = find_recipe(name)
    values = load_yaml(path)
    kind = FinetuneRecipe if _command_of(values, path) == "finetune" else PretrainRecipe
    try:
        recipe = kind.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not changes:
        return recipe
    try:
        return kind.from_dict(merged(values, changes))
    except ValueError as error:
        raise ValueError(f"recipe {name}, as changed: {error}") from error


def recipe_command(name: str | Path) -> str:
    """The command for a recipe. Raises what `read_recipe` raises."""
    path = find_recipe(name)
    return _command_of(load_yaml(path), path)


def _command_of(values: dict[str, Any], path: Path) -> str:
    task = values.get("task", "pretraining")
    if isinstance(task, str) and task in COMMANDS:
        return COMMANDS[task]
    raise ValueError(f"{path}: task is {task!r}, expected one of {', '.join(map(repr, COMMANDS))}")


def check_task(recipe: Any, kind: type[_Recipe], where: str) -> _Recipe:
    """The recipe itself, checked.

    Raises:
        ValueError: it is for another command; says which.
    """
    if isinstance(recipe, kind):
        return recipe
    task = recipe.task
    raise ValueError(f"{where}: its task is {task}; use 'pointmae-zoo {COMMANDS[task]}'")


def write_recipe(recipe: TrainingRecipe, path: Path) -> None:
    """Write every field of a recipe."""
    with written_whole(path) as unfinished:
        unfinished.write_text(dump_yaml(recipe.to_dict()), encoding="utf-8")


def parse_setting(text: str) -> dict[str, Any]:
    """``"steps=500"`` or ``"augmentation.scale=1.2"`` -> arguments of ``PretrainRecipe.override``. Values are
    YAML; without one the value is the empty text.

    Raises:
        ValueError: no ``=``, or a value that is not YAML.
    """
    name, separator, written = text.partition("=")
    name = name.strip()
    if not separator or not name:
        raise ValueError(f"{text!r}: expected FIELD=VALUE, for example steps=500")
    try:
        value = parse_yaml(written) if written.strip() else ""
    except ValueError as error:
        raise ValueError(f"{text!r}: not a value ({error}); put text in quotes") from error
    first, *rest = name.split(".")
    for part in reversed(rest):
        value = {part: value}
    return {first: value}
