"""The command line: ``pointmae-zoo embed parts/ --out features.npz`` and its companions.

Only argparse is imported at the top: ``--help`` must answer at once, and torch alone takes seconds. Every
command imports what it needs when it runs.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from pointmae_zoo import DEFAULT_MODEL, __version__

# What to install when an optional library is missing: import name -> extra.
_EXTRAS = {
    "DracoPy": "draco",
    "matplotlib": "viz",
    "numba": "fast",
    "pyarrow": "parquet",
    "sklearn": "eval",
    "timm": "train",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 done, 1 some files failed, 2 nothing done, or 130 interrupted."""
    args = build_parser().parse_args(argv)
    debug = hasattr(args, "debug") or os.environ.get("POINTMAE_ZOO_DEBUG", "0") not in ("", "0")
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        if debug:
            raise
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone. Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError:
        if debug:
            raise
        print("error: out of memory; a smaller --batch-size or fewer --workers need less", file=sys.stderr)
        return 2
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        ours = isinstance(error, ImportError) and (error.name or "").startswith("pointmae_zoo")
        if debug or ours:
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return 2


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = _joined(str(error)) or type(error).__name__
    module = (getattr(error, "name", None) or "").partition(".")[0]
    if module in _EXTRAS and "pip install" not in text:
        text += f'; install it with: pip install "pointmae-zoo[{_EXTRAS[module]}]"'
    return text


class _Parser(argparse.ArgumentParser):
    """One line for a wrong argument, like every other error; ``--debug`` before or after the command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show the traceback of an error (or set POINTMAE_ZOO_DEBUG=1)",
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {' '.join(message.split())} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """Every command with its arguments; ``parse_args(...).run`` is the function that does it."""
    parser = _Parser(
        prog="pointmae-zoo",
        description="Self-supervised encoders for 3D point clouds: mesh files in, features out.",
        epilog="Exit codes: 0 done, 1 some files failed, 2 nothing done. More: pointmae-zoo COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"pointmae-zoo {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for add in (_add_embed, _add_list, _add_info, _add_similar, _add_convert, _add_pretrain, _add_evaluate):
        add(commands)
    return parser


def _add_embed(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "embed",
        help="mesh and point files -> a table of features",
        description="Read mesh and point files, write one row of features for each. OUT.partial keeps the "
        "rows until the end: the same command goes on from there if the run was stopped.",
        epilog="Exit codes: 0 every file has a row, 1 some files failed (they are listed), "
        "2 nothing to do or a wrong argument.",
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="files, folders (searched to the bottom) or globs"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help=".npz, .safetensors, .csv or .parquet"
    )
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, metavar="NAME|FOLDER", help="weights (default: %(default)s)"
    )
    parser.add_argument(
        "--up", default="y", choices=("x", "y", "z"), help="which axis of the files points up (default: y)"
    )
    parser.add_argument(
        "--pool", metavar="P", help="max, mean, mean+max, mean,max or levels (default: as stored)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the surface samples (default: 0)")
    parser.add_argument(
        "--batch-size", type=_positive(int), default=16, metavar="B", help="clouds at a time (default: 16)"
    )
    parser.add_argument(
        "--workers", type=_positive(int), metavar="N", help="processes that read files (default: by cores)"
    )
    parser.add_argument(
        "--timeout",
        type=_positive(float),
        default=60.0,
        metavar="SECONDS",
        help="for reading one file (default: 60)",
    )
    parser.add_argument(
        "--memory-limit",
        type=_positive(float),
        default=2.0,
        metavar="GB",
        help="for reading one file, in each worker (default: 2)",
    )
    parser.add_argument("--device", default="cpu", help="where the network runs (default: cpu)")
    parser.set_defaults(run=_embed)


def _embed(args: argparse.Namespace) -> int:
    _check_device(args.device)
    from pointmae_zoo.embed import embed_files

    table = embed_files(
        args.paths,
        args.model,
        out=args.out,
        up=args.up,
        seed=args.seed,
        pool=args.pool,
        batch_size=args.batch_size,
        workers=args.workers,
        timeout=args.timeout,
        memory_limit_gb=args.memory_limit,
        device=args.device,
    )
    rows, width = table.features.shape
    if rows:
        print(f"{args.out}: {rows:,} row{'s' if rows > 1 else ''} of {width} features")
    else:
        print(f"{args.out}: not written, because no file could be read", file=sys.stderr)
    if table.failures:
        print(f"{len(table.failures):,} of {rows + len(table.failures):,} files failed:", file=sys.stderr)
        _print_table([(str(path), _joined(reason)) for path, reason in table.failures], sys.stderr)
        return 1
    return 0


def _add_list(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("list", help="architectures, or the weights that exist for them")
    parser.add_argument(
        "pattern", nargs="?", default="*", metavar="PATTERN", help='such as "i2p*" (default: all)'
    )
    parser.add_argument("--weights", action="store_true", help="list weights, architecture.tag")
    parser.set_defaults(run=_list)


def _list(args: argparse.Namespace) -> int:
    from pointmae_zoo import registry

    rows: list[tuple[str, ...]]
    if args.weights:
        entries = [registry.get_weights(name) for name in registry.list_weights(args.pattern)]
        rows = [(entry.name, entry.status, entry.licence, entry.summary) for entry in entries]
        known = registry.list_weights()
    else:
        names = registry.list_models(args.pattern)
        rows = [(name, registry.get_architecture(name).summary) for name in names]
        known = registry.list_models()
    if not rows:
        raise ValueError(f"no name matches {args.pattern!r}; known: {', '.join(known) or 'none'}")
    _print_table(rows)
    return 0


def _add_info(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "info", help="what a name or a folder of weights is: size, input, status, licence"
    )
    parser.add_argument(
        "name", metavar="NAME|FOLDER", help="an architecture, weights, or a folder of weights"
    )
    parser.set_defaults(run=_info)


def _info(args: argparse.Namespace) -> int:
    from pointmae_zoo import hub, registry

    if not ("." in args.name or os.sep in args.name or Path(args.name).is_dir()):
        entry = registry.get_architecture(args.name)
        model = registry.create_model(args.name)
        rows = [("architecture", args.name), ("summary", entry.summary), ("paper", entry.paper)]
        names = registry.list_weights(f"{args.name}.*")
        tail = [("weights", ", ".join(names) or "none published; 'pointmae-zoo convert' takes your own copy")]
    else:
        model = hub.from_pretrained(args.name)
        config = model.config
        rows = [("weights", args.name), ("architecture", config.architecture), ("kind", config.kind)]
        if args.name in registry.list_weights():
            published = registry.get_weights(args.name)
            rows += [
                ("status", published.status),
                ("licence", published.licence),
                ("summary", published.summary),
            ]
        if config.labels:
            rows.append(("labels", ", ".join(config.labels)))
        tail = [("provenance", "")] if config.provenance else []
        tail += [(f"  {key}", _joined(str(value))) for key, value in config.provenance.items()]
    encoder = getattr(model, "encoder", model)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    rows.append(
        ("encoder", f"{parameters:,} parameters, {encoder.feature_dim()} features ({encoder.hyper.pool})")
    )
    rows.append(("input", ""))
    rows += [(f"  {key}", str(value)) for key, value in model.config.preprocess.to_dict().items()]
    _print_table(rows + tail)
    return 0


def _add_similar(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "similar", help="the shapes of a table of features that are nearest to one file"
    )
    parser.add_argument("query", metavar="QUERY", help="a row of the table, or another mesh or point file")
    parser.add_argument(
        "features", metavar="FEATURES", type=Path, help="a file that 'pointmae-zoo embed' wrote"
    )
    parser.add_argument("-k", type=_positive(int), default=5, metavar="N", help="how many (default: 5)")
    parser.add_argument(
        "--model", metavar="NAME|FOLDER", help="what made the table, if it does not say so itself (.csv)"
    )
    how = "as the table was made, if it does not say so itself (.csv)"
    parser.add_argument("--up", choices=("x", "y", "z"), help=f"axis that points up, {how}")
    parser.add_argument("--pool", metavar="P", help=f"{how}; default: as stored with the weights")
    parser.add_argument("--seed", type=int, help=f"{how}; default: 0")
    parser.set_defaults(run=_similar)


def _similar(args: argparse.Namespace) -> int:
    from pointmae_zoo.embed import similar

    found = similar(
        args.query, args.features, args.k, model=args.model, up=args.up, pool=args.pool, seed=args.seed
    )
    if not found:
        raise ValueError(f"{args.features}: holds no row but the query's; embed more files into it")
    _print_table([(f"{score:.3f}", str(path)) for path, score in found])
    return 0


def _add_convert(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "convert",
        help="your copy of a reference checkpoint -> a folder of weights",
        description="Turn a reference checkpoint (.pth) into model.safetensors and config.json. "
        "Nothing but tensors is read from it.",
    )
    parser.add_argument("file", metavar="FILE.pth", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write")
    parser.add_argument("--architecture", required=True, metavar="NAME", help="such as i2p_mae_base")
    parser.add_argument(
        "--kind", required=True, choices=("pretraining", "classification", "part_segmentation")
    )
    parser.add_argument(
        "--preset", help="data set it was fine-tuned on: neighbours, radii and pooling follow from it"
    )
    parser.set_defaults(run=_convert)


def _convert(args: argparse.Namespace) -> int:
    from pointmae_zoo.hub import convert_checkpoint

    convert_checkpoint(
        args.file, args.out, architecture=args.architecture, kind=args.kind, preset=args.preset
    )
    print(f"{args.out}: {args.architecture}, {args.kind}; load it with from_pretrained({str(args.out)!r})")
    return 0


def _add_pretrain(commands: argparse._SubParsersAction) -> None:
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
    _check_device(args.device)
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


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("evaluate", help="measure a model, beside its baselines")
    tasks = parser.add_subparsers(metavar="TASK", required=True, parser_class=_Parser)
    linear = tasks.add_parser(
        "linear",
        help="linear probe of frozen features",
        description="Linear probe of frozen features, beside random weights of the same architecture.",
    )
    linear.add_argument(
        "model", nargs="+", metavar="NAME|FOLDER", help="weights; several are averaged (seeds of one recipe)"
    )
    linear.add_argument(
        "--data", required=True, type=Path, metavar="FILE.npz", help="points, y, classes, split, group"
    )
    linear.add_argument("--classes", choices=("core", "all"), default="core", help="(default: core)")
    linear.add_argument(
        "--points", type=_positive(int), default=1024, metavar="N", help="of each cloud (default: 1024)"
    )
    linear.add_argument("--pool", metavar="P", help="default: as stored with the weights")
    linear.add_argument(
        "--seeds", type=int, default=3, help="of each random baseline; 0 for none (default: 3)"
    )
    linear.add_argument(
        "--classifier", nargs="+", choices=("svm", "logistic"), default=["svm"], help="(default: svm)"
    )
    linear.add_argument("--device", default="cpu")
    linear.add_argument("--out", type=Path, metavar="FILE.json", help="write the numbers here")
    linear.set_defaults(run=_evaluate_linear)


def _evaluate_linear(args: argparse.Namespace) -> int:
    _check_device(args.device)
    from pointmae_zoo.evaluate import evaluate_linear

    report = evaluate_linear(
        args.model,
        args.data,
        classes=args.classes,
        num_points=args.points,
        pool=args.pool,
        seeds=args.seeds,
        classifiers=args.classifier,
        device=args.device,
        out=args.out,
    )
    print(report.table())
    return 0


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """An argparse type: a number above 0."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(0)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(
                f"a {'whole ' if kind is int else ''}number above 0 expected, got {text!r}"
            )
        return value

    return parse


def _check_device(name: str) -> None:
    """Raise a ValueError, before any work is done, where torch can't compute on this device."""
    if name == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=name).add(1).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"--device {name}: {reason}; use --device cpu") from None


def _joined(text: str) -> str:
    return " ".join(text.split())


def _print_table(rows: Sequence[Sequence[str]], stream: TextIO | None = None) -> None:
    """Columns two spaces apart, all but the last padded to their widest entry (at most 60)."""
    widths = [min(60, max(len(row[column]) for row in rows)) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip(), file=stream or sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
