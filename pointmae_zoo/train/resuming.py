"""Whether a run may be resumed, with which recipe, and whether it is finished already."""

import json
import shlex
from pathlib import Path
from typing import TypeVar

from pointmae_zoo.train.checkpoints import list_checkpoints
from pointmae_zoo.train.recipe_files import check_task, read_recipe
from pointmae_zoo.train.recipes import TrainingRecipe
from pointmae_zoo.train.task import TrainingResult

_Recipe = TypeVar("_Recipe", bound=TrainingRecipe)

# Fields that may change when a run is resumed: they decide when things are written, not what is computed.
MAY_CHANGE = (
    "checkpoint_steps",
    "checkpoint_minutes",
    "keep_checkpoints",
    "log_steps",
    "log_gradient_norms",
)


def recipe_of_run(recipe: _Recipe | None, out: Path, kind: type[_Recipe], *, resume: bool) -> _Recipe:
    """The recipe of a run: the given one, or with ``resume`` that of the run in ``out``.

    Raises:
        ValueError: ``out`` holds a run and ``resume`` is off; the recipe differs from that of the run to
            resume, or is for another command.
        FileNotFoundError: nothing to resume.
    """
    stored = out / "recipe.yaml"
    if recipe is not None:
        recipe = check_task(recipe, kind, "recipe")
    if not resume:
        if recipe is None:
            raise ValueError("no recipe; give one, or resume a run")
        if list_checkpoints(out / "checkpoints") or (out / "model.safetensors").exists():
            raise ValueError(f"{out}: holds a run already; resume it, or choose another folder")
        return recipe
    if not stored.is_file():
        raise FileNotFoundError(
            f"{out}: there is no run in it (no recipe.yaml); check the path, or don't resume"
        )
    before = check_task(read_recipe(stored), kind, str(stored))
    if recipe is None:
        return before
    recipe = recipe.keeping_choices(before)
    ours, theirs = recipe.to_dict(), before.to_dict()
    for name in ours:
        if name not in MAY_CHANGE and ours[name] != theirs[name]:
            instead = "resume it without changes, or choose another folder"
            if "weights" in ours and (out / "model.safetensors").is_file():
                base = shlex.quote(str(out))
                instead = f"it is finished; to train its model further: --weights {base} --out NEW"
            raise ValueError(
                f"recipe: {name} is {ours[name]!r}, but the run in {out} has {theirs[name]!r}; {instead}"
            )
    return recipe


def finished_run(out: Path, command: str) -> TrainingResult | None:
    """The result of a finished run (its weights are written last); None: it is not finished."""
    try:
        config = json.loads((out / "config.json").read_text(encoding="utf-8"))
        made = config["provenance"]
        if not (out / "model.safetensors").is_file():
            return None
        return TrainingResult(
            out,
            int(made["steps"]),
            completed=True,
            command=command,
            losses=made["final_losses"],
            validation=made.get("validation") or {},
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
