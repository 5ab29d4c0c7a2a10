"""``pretrain``, ``finetune`` and ``recipes``."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointmae_zoo.cli.arguments import check_device
from pointmae_zoo.cli.printing import print_table
from pointmae_zoo.train.metrics import TRACKERS

if TYPE_CHECKING:
    from pointmae_zoo.train import TrainingResult

_CODES = "Exit codes: 0 the run is finished, 2 an error, 130 stopped with a checkpoint to resume from."


def add_recipes(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("recipes", help="the recipes that training knows by name")
    parser.set_defaults(run=_recipes)


def _recipes(args: argparse.Namespace) -> int:
    from pointmae_zoo.train import list_recipes
    from pointmae_zoo.train.recipe_files import default_family, recipe_command

    print_table([(name, recipe_command(name), what) for name, what in list_recipes().items()])
    family = default_family()
    print(f"A name without its family is {family}'s, or the only one: pretrain --recipe smoke --out RUN")
    return 0


def add_pretrain(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "pretrain",
        help="train a model on clouds without labels",
        description="Pre-train a model. Ctrl-C writes a checkpoint and ends the run; --resume continues it. "
        "On several processes: torchrun --nproc-per-node 2 -m pointmae_zoo.cli pretrain ...",
        epilog=_CODES,
    )
    parser.add_argument(
        "--data",
        nargs="+",
        action="extend",
        metavar="SOURCE",
        help=".npz or .npy files of clouds, folders of meshes, or BENCHMARK:FOLDER such as shapenet55:PATH",
    )
    _add_run_arguments(parser, "joint_mae/smoke", "prepared clouds and targets")
    parser.set_defaults(run=_pretrain)


def add_finetune(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "finetune",
        help="train a classifier or part segmenter on labelled clouds",
        description="Fine-tune a model. Ctrl-C writes a checkpoint and ends the run; --resume continues it.",
        epilog=_CODES,
    )
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        help="a folder with a folder for each class, an .npz file with labels, or BENCHMARK:FOLDER such as "
        "modelnet40:PATH",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--weights",
        metavar="NAME|RUN|ORG/REPO",
        help="what to begin with instead of the recipe's: published weights, a folder, a Hub repository",
    )
    start.add_argument(
        "--from-scratch",
        metavar="ARCHITECTURE",
        help="begin with random weights of an architecture that 'pointmae-zoo list' names",
    )
    _add_run_arguments(parser, "finetune_tiny", "points read from meshes")
    parser.set_defaults(run=_finetune)


def _add_run_arguments(parser: argparse.ArgumentParser, example: str, cached: str) -> None:
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="run folder")
    parser.add_argument(
        "--recipe",
        metavar="NAME|FILE.yaml",
        help=f"such as {example}; 'pointmae-zoo recipes' lists them",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the recipe, such as steps=500 or augmentation.scale=1.2; repeatable",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the newest checkpoint in RUN, by RUN's own recipe",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help=f"{cached}, shared by runs (default: RUN/cache; with --resume as before)",
    )
    parser.add_argument("--device", help="where to train (default: cpu; with --resume as before)")
    parser.add_argument(
        "--track",
        action="append",
        default=[],
        choices=TRACKERS,
        help="send metrics there, too; repeatable",
    )
    parser.set_defaults(
        less_memory="--set accumulation_steps=2 (4, 8, ...) works off a batch in parts, which needs less",
    )


def _pretrain(args: argparse.Namespace) -> int:
    if args.device is not None:
        check_device(args.device)
    from pointmae_zoo.train import pretrain

    return _train(args, pretrain, "pretrain", {} if args.data is None else {"data": args.data})


def _finetune(args: argparse.Namespace) -> int:
    if args.device is not None:
        check_device(args.device)
    from pointmae_zoo.train import finetune

    changes: dict[str, Any] = {} if args.data is None else {"data": args.data}
    if args.weights is not None:
        changes |= {"weights": args.weights, "model": ""}
    if args.from_scratch is not None:
        changes |= {"weights": "", "model": args.from_scratch}
    return _train(args, finetune, "finetune", changes)


def _train(
    args: argparse.Namespace,
    train: "Callable[..., TrainingResult]",
    command: str,
    changes: dict[str, Any],
) -> int:
    """Do what the arguments say with the function that trains, by a recipe for its command."""
    from pointmae_zoo.train import list_recipes, parse_setting, read_recipe
    from pointmae_zoo.train.recipe_files import recipe_command
    from pointmae_zoo.train.recipes import merged

    for text in args.set:
        changes = merged(changes, parse_setting(text))
    recipe = None
    if args.recipe is not None:
        if (right := recipe_command(args.recipe)) != command:
            raise ValueError(f"--recipe {args.recipe}: is one for 'pointmae-zoo {right}'")
        recipe = read_recipe(args.recipe, **changes)
    elif args.resume:
        stored = args.out / "recipe.yaml"
        if changes and stored.is_file():
            recipe = read_recipe(stored, **changes)
    else:
        known = [name for name in list_recipes() if recipe_command(name) == command]
        raise ValueError(f"--recipe: a name ({', '.join(known)}) or a YAML file is needed")
    result = train(
        recipe,
        args.out,
        resume=args.resume,
        cache=args.cache,
        device=args.device,
        trackers=args.track,
    )
    if os.environ.get("RANK", "0") == "0":  # one of several processes speaks
        print(result)
    return 0 if result.completed else 130
