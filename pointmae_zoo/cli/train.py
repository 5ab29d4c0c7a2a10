"""``pretrain`` and ``recipes``."""

import argparse
import os
from pathlib import Path
from typing import Any

from pointmae_zoo.cli.arguments import check_device
from pointmae_zoo.cli.printing import print_table
from pointmae_zoo.train.trackers import TRACKERS


def add_recipes(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("recipes", help="the recipes that training knows by name")
    parser.set_defaults(run=_recipes)


def _recipes(args: argparse.Namespace) -> int:
    from pointmae_zoo.train import list_recipes
    from pointmae_zoo.train.recipe_files import BARE

    print_table(list(list_recipes().items()))
    print(f"A name without its family is {BARE}'s, or the only one: pretrain --recipe smoke --out RUN")
    return 0


def add_pretrain(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "pretrain",
        help="train a model on clouds without labels",
        description="Pre-train a model. Ctrl-C writes a checkpoint and ends the run; --resume continues it. "
        "On several processes: torchrun --nproc-per-node 2 -m pointmae_zoo.cli pretrain ...",
        epilog="Exit codes: 0 the run is finished, 2 an error, 130 stopped with a checkpoint to resume from.",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="run folder")
    parser.add_argument(
        "--recipe",
        metavar="NAME|FILE.yaml",
        help="such as joint_mae/smoke; 'pointmae-zoo recipes' lists them",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        action="extend",
        metavar="SOURCE",
        help=".npz or .npy files of clouds, folders of meshes, or BENCHMARK:FOLDER such as shapenet55:PATH",
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
        help="prepared clouds and targets, shared by runs (default: RUN/cache; with --resume as before)",
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
        run=_pretrain,
        less_memory="--set accumulation_steps=2 (4, 8, ...) works off a batch in parts, which needs less",
    )


def _pretrain(args: argparse.Namespace) -> int:
    if args.device is not None:
        check_device(args.device)
    from pointmae_zoo.train import list_recipes, parse_setting, pretrain, read_recipe
    from pointmae_zoo.train.recipe import merged

    changes: dict[str, Any] = {} if args.data is None else {"data": args.data}
    for text in args.set:
        changes = merged(changes, parse_setting(text))
    recipe = None
    if args.recipe is not None:
        recipe = read_recipe(args.recipe, **changes)
    elif args.resume:
        stored = args.out / "recipe.yaml"
        if changes and stored.is_file():
            recipe = read_recipe(stored, **changes)
    else:
        raise ValueError(f"--recipe: a name ({', '.join(list_recipes())}) or a YAML file is needed")
    result = pretrain(
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
