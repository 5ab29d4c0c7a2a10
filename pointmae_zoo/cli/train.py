"""``pretrain``, ``finetune`` and ``recipes``."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, Unpack

from cyclopts import Parameter

from pointmae_zoo.cli.options import SEVERAL, Axis, Folder, Model, Name, options
from pointmae_zoo.cli.printing import print_table
from pointmae_zoo.train.metrics import TRACKERS

if TYPE_CHECKING:
    from pointmae_zoo.train import TrainingResult

RunFolder = Annotated[Path, Parameter(metavar="RUN")]
Source = Annotated[str, Parameter(metavar="SOURCE")]
Sources = Annotated[list[Source], SEVERAL]


@options()
def recipes() -> int:
    """The recipes that training knows by name."""
    from pointmae_zoo.train import list_recipes
    from pointmae_zoo.train.recipe_files import default_family, recipe_command

    print_table([(name, recipe_command(name), what) for name, what in list_recipes().items()])
    family = default_family()
    print(f"A name without its family is {family}'s, or the only one: pretrain --recipe smoke --out RUN")
    return 0


@options()
class Run(TypedDict, total=False):
    """What `pretrain` and `finetune` have in common.

    Args:
        recipe: such as joint_mae/smoke; 'pointmae-zoo recipes' lists them
        settings: change a field of the recipe, such as steps=500 or augmentation.scale=1.2; repeatable
        resume: continue from the newest checkpoint in RUN, by RUN's own recipe
        cache: what is prepared once and may be shared by runs (default: RUN/cache; with --resume as before)
        device: where to train (default: cpu; with --resume as before)
        trackers: send metrics there, too; repeatable
    """

    recipe: Annotated[str, Parameter(metavar="NAME|FILE.yaml")]
    settings: Annotated[list[str], Parameter(name="--set", metavar="FIELD=VALUE")]
    resume: bool
    cache: Folder
    device: Name
    trackers: Annotated[list[str], Parameter(name="--track", choices=TRACKERS)]


@options()
def pretrain(
    *,
    out: RunFolder,
    data: Sources | None = None,
    up: Axis | None = None,
    weights: Model | None = None,
    **run: Unpack[Run],
) -> int:
    """Train a model on clouds without labels.

    Ctrl-C writes a checkpoint and ends the run; --resume continues it. On several processes: torchrun
    --nproc-per-node 2 -m pointmae_zoo.cli pretrain ...

    Exit codes: 0 the run is finished, 2 an error, 130 stopped with a checkpoint to resume from.

    Args:
        out: run folder
        data: .npz or .npy files of clouds, folders of meshes, or BENCHMARK:FOLDER such as shapenet55:PATH
        up: axis that points up in the data; of depth cameras -y (default: the recipe's, y in all of ours)
        weights: whose encoder to begin with: published weights, a folder, a Hub repository (default: random
            weights)
    """
    from pointmae_zoo.system.devices import check_device

    check_device(run.get("device"))
    from pointmae_zoo.train import pretrain

    changes: dict[str, Any] = {} if data is None else {"data": data}
    if up is not None:
        changes["up"] = up
    if weights is not None:
        changes["weights"] = weights
    return _train("pretrain", pretrain, out, changes, run)


@options()
def finetune(
    *,
    out: RunFolder,
    data: Source | None = None,
    up: Axis | None = None,
    weights: Model | None = None,
    from_scratch: Name | None = None,
    **run: Unpack[Run],
) -> int:
    """Train a classifier or part segmenter on labelled clouds.

    Ctrl-C writes a checkpoint and ends the run; --resume continues it.

    Exit codes: 0 the run is finished, 2 an error, 130 stopped with a checkpoint to resume from.

    Args:
        out: run folder
        data: a folder with a folder for each class, an .npz file with labels, or BENCHMARK:FOLDER such as
            modelnet40:PATH
        up: axis that points up in the data; of depth cameras -y (default: the recipe's, y in all of ours)
        weights: what to begin with instead of the recipe's: published weights, a folder, a Hub repository
        from_scratch: begin with random weights of an architecture that 'pointmae-zoo list' names
    """
    if weights is not None and from_scratch is not None:
        raise ValueError("--weights, --from-scratch: a run begins with one of the two")
    from pointmae_zoo.system.devices import check_device

    check_device(run.get("device"))
    from pointmae_zoo.train import finetune

    changes: dict[str, Any] = {} if data is None else {"data": data}
    if up is not None:
        changes["up"] = up
    if weights is not None:
        changes |= {"weights": weights, "model": ""}
    if from_scratch is not None:
        changes |= {"weights": "", "model": from_scratch}
    return _train("finetune", finetune, out, changes, run)


def _train(
    command: str, train: "Callable[..., TrainingResult]", out: Path, changes: dict[str, Any], run: Run
) -> int:
    """Train by the recipe that was asked for, with what was asked to change in it."""
    from pointmae_zoo.train import list_recipes, parse_setting, read_recipe
    from pointmae_zoo.train.recipe_files import recipe_command
    from pointmae_zoo.train.recipes import merged

    for text in run.pop("settings", []):
        changes = merged(changes, parse_setting(text))
    name = run.pop("recipe", None)
    recipe = None
    if name is not None:
        if (right := recipe_command(name)) != command:
            raise ValueError(f"--recipe {name}: is one for 'pointmae-zoo {right}'")
        recipe = read_recipe(name, **changes)
    elif run.get("resume"):
        stored = out / "recipe.yaml"
        if changes and stored.is_file():
            recipe = read_recipe(stored, **changes)
    else:
        known = [name for name in list_recipes() if recipe_command(name) == command]
        raise ValueError(f"--recipe: a name ({', '.join(known)}) or a YAML file is needed")
    result = train(recipe, out, **run)
    if os.environ.get("RANK", "0") == "0":  # one of several processes speaks
        print(result)
    return 0 if result.completed else 130
