"""``pretrain``."""

import argparse
from pathlib import Path
from typing import Any

from pointmae_zoo.cli.arguments import check_device


def add_pretrain(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "pretrain",
        help="train a model on clouds without labels",
        description="Pre-train a model. Ctrl-C writes a checkpoint and ends the run; --resume goes on.",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="run folder")
    parser.add_argument("--recipe", type=Path, metavar="FILE.json", help="see PretrainRecipe for its fields")
    parser.add_argument(
        "--data", nargs="+", metavar="FILE", help=".npz or .npy files of clouds; the same as --set data=[...]"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the recipe; repeatable",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint in RUN, by RUN's own recipe"
    )
    parser.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="teacher targets, shared by runs (default: RUN/cache)"
    )
    parser.add_argument("--device", default="cpu", help="where to train (default: cpu)")
    parser.set_defaults(run=_pretrain)


def _pretrain(args: argparse.Namespace) -> int:
    check_device(args.device)
    from pointmae_zoo.train import PretrainRecipe, parse_setting, pretrain, read_recipe

    changes: dict[str, Any] = {} if args.data is None else {"data": args.data}
    for text in args.set:
        for name, value in parse_setting(text).items():
            nested = isinstance(value, dict) and isinstance(changes.get(name), dict)
            changes[name] = {**changes[name], **value} if nested else value
    recipe = None
    if args.recipe is not None:
        recipe = read_recipe(args.recipe).override(**changes)
    elif changes and args.resume and (args.out / "recipe.json").is_file():
        recipe = read_recipe(args.out / "recipe.json").override(**changes)
    elif changes:
        recipe = PretrainRecipe.from_dict(changes)
    elif not args.resume:
        raise ValueError("nothing to train on: give --recipe FILE.json or --data FILE, or --resume a run")
    result = pretrain(recipe, args.out, resume=args.resume, cache=args.cache, device=args.device)
    print(result)
    return 0 if result.completed else 130
