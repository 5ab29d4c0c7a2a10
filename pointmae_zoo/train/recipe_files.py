"""Recipes in YAML: files, the ones that are shipped, and settings of the command line."""

import difflib
from pathlib import Path
from typing import Any, TypeVar

from pointmae_zoo.system.files import written_whole
from pointmae_zoo.system.yaml_files import dump_yaml, load_yaml, parse_yaml
from pointmae_zoo.train.finetune_recipe import FinetuneRecipe
from pointmae_zoo.train.recipe import PretrainRecipe, TrainingRecipe, merged

SHIPPED = Path(__file__).parents[1] / "recipes"
COMMANDS = {"pretraining": "pretrain", "classification": "finetune", "parts": "finetune"}
"""The command that follows a recipe of each task."""
BARE = "i2p_mae"
"""The family whose recipes are meant by names without a family that several have."""

_Recipe = TypeVar("_Recipe", bound=TrainingRecipe)


def list_recipes() -> dict[str, str]:
    """The shipped recipes: name, ``family/recipe`` -> what it is (the comment on top of its file)."""
    files = sorted(SHIPPED.rglob("*.yaml"))
    return {path.relative_to(SHIPPED).with_suffix("").as_posix(): _summary(path) for path in files}


def _summary(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe: a path, or the name of a shipped one.

    A name without its family, such as ``smoke``, is I2P-MAE's if I2P-MAE has one, else that of the only
    family that has one.

    Raises:
        FileNotFoundError: no such file and no such name; near ones are suggested, of a family all.
        ValueError: several families have one, and I2P-MAE has none.
    """
    path, known = Path(name), list(list_recipes())
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such recipe file")
        return path
    found = [one for one in known if str(name) in (one, one.rpartition("/")[2])]
    if f"{BARE}/{name}" in found:
        found = [f"{BARE}/{name}"]
    if len(found) == 1:
        return SHIPPED / f"{found[0]}.yaml"
    if found:
        raise ValueError(f"recipe {str(name)!r}: {' or '.join(found)}? give the whole name")
    if path.is_file():
        return path
    family = [one for one in known if one.partition("/")[0] == str(name)]
    first = sorted(known, key=lambda one: not one.startswith(f"{BARE}/"))  # of equal ends, the bare name's
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
        `PretrainRecipe` or `FinetuneRecipe`, as the file's ``task`` says; without one it is for pre-training.

    Raises:
        FileNotFoundError: no such file or name.
        ValueError: not YAML, a field twice, unknown, ill-typed or out of range; names file and field.
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
    """The command that follows a recipe. Raises as `read_recipe` does."""
    path = find_recipe(name)
    return _command_of(load_yaml(path), path)


def _command_of(values: dict[str, Any], path: Path) -> str:
    task = values.get("task", "pretraining")
    if isinstance(task, str) and task in COMMANDS:
        return COMMANDS[task]
    raise ValueError(f"{path}: task is {task!r}, expected one of {', '.join(map(repr, COMMANDS))}")


def check_task(recipe: Any, kind: type[_Recipe], where: str) -> _Recipe:
    """The recipe itself.

    Raises:
        ValueError: it is another command's; says which is right.
    """
    if isinstance(recipe, kind):
        return recipe
    task = recipe.task
    raise ValueError(f"{where}: its task is {task}; that is what 'pointmae-zoo {COMMANDS[task]}' does")


def write_recipe(recipe: TrainingRecipe, path: Path) -> None:
    """Write every field of a recipe."""
    with written_whole(path) as unfinished:
        unfinished.write_text(dump_yaml(recipe.to_dict()), encoding="utf-8")


def parse_setting(text: str) -> dict[str, Any]:
    """``"steps=500"`` or ``"augmentation.scale=1.2"`` -> what ``PretrainRecipe.override`` takes. Values are
    YAML; nothing after the ``=`` is the empty text.

    Raises:
        ValueError: no ``=`` in it, or no YAML behind it.
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
