"""``evaluate``."""

import argparse
import os
from pathlib import Path
from typing import Any

from pointmae_zoo.cli.arguments import Parser, check_device, positive


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("evaluate", help="measure a model, beside its baselines")
    tasks = parser.add_subparsers(metavar="TASK", required=True, parser_class=Parser)
    linear = tasks.add_parser(
        "linear",
        help="linear probe of frozen features",
        description="Linear probe of frozen features, beside random weights of the same architecture.",
    )
    linear.add_argument(
        "model",
        nargs="+",
        metavar="NAME|FOLDER|ORG/REPO",
        help="weights; several are averaged (seeds of one recipe)",
    )
    linear.add_argument(
        "--data",
        required=True,
        metavar="FILE.npz|BENCHMARK:FOLDER",
        help="points, y, classes, split, group; or modelnet40:FOLDER, scanobjectnn:FOLDER",
    )
    linear.add_argument(
        "--classes", choices=("core", "all"), help="(default: core where the file names some)"
    )
    linear.add_argument(
        "--split",
        choices=("test", "validation"),
        default="test",
        help="validation: cross-validation on train alone, test is not touched; to choose settings with",
    )
    linear.add_argument(
        "--points", type=positive(int), default=1024, metavar="N", help="of each cloud (default: 1024)"
    )
    linear.add_argument("--pool", metavar="P", help="default: as stored with the weights")
    linear.add_argument(
        "--seeds",
        type=int,
        help="random initialisations of each baseline; 0: no baselines, faster (default: 3, validation: 0)",
    )
    linear.add_argument(
        "--classifier", nargs="+", choices=("svm", "logistic"), help="(default: both; protocol paper: svm)"
    )
    linear.add_argument(
        "--robustness", action="store_true", help="also turned, thinned, noisy and cut test clouds"
    )
    linear.add_argument("--few-shot", action="store_true", help="also 5 and 10 ways of 10 shots")
    linear.add_argument(
        "--protocol",
        choices=("standard", "paper"),
        default="standard",
        help="paper: raw points and features, fixed C (default: standard)",
    )
    linear.add_argument(
        "--C",
        type=positive(float),
        metavar="C",
        help="of protocol paper (default: 0.0093, ModelNet40's; ScanObjectNN OBJ-BG: 0.018)",
    )
    linear.add_argument("--label", metavar="TEXT", help="what tables call these weights")
    linear.add_argument("--device", default="cpu")
    linear.add_argument(
        "--out",
        type=Path,
        metavar="FILE.json",
        help="write the numbers here (default: of one folder in its evaluations/, where push finds them; "
        "what is there with other settings stays)",
    )
    linear.set_defaults(run=_evaluate_linear, less_memory="fewer --points, or --classes core, need less")

    _add_finetuned(tasks)
    compare = tasks.add_parser(
        "compare",
        help="evaluations on the same clouds, each minus the first",
        description="Compare what 'evaluate linear --out' wrote, cloud by cloud: every file minus the first.",
    )
    compare.add_argument("files", nargs="+", metavar="FILE.json", help="two or more, on the same data")
    compare.add_argument("--out", type=Path, metavar="FILE.json", help="write the numbers here")
    compare.set_defaults(run=_evaluate_compare)


def _add_finetuned(tasks: argparse._SubParsersAction) -> None:
    parser = tasks.add_parser(
        "finetuned",
        help="accuracy of fine-tuned classifiers",
        description="How often fine-tuned classifiers are right: accuracy and class mean with 95 % "
        "intervals, class by class.",
    )
    _add_runs(parser)
    parser.add_argument(
        "--protocol",
        choices=("standard", "paper"),
        default="standard",
        help="paper: farthest point sampling, points as they are in the file (default: standard)",
    )
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw what is taken for what")
    parser.set_defaults(run=_evaluate_finetuned)


def _add_runs(parser: argparse.ArgumentParser) -> None:
    """What evaluations of fine-tuned networks share."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN|NAME|ORG/REPO",
        help="what finetune wrote; several are averaged (seeds of one recipe)",
    )
    _add_data(parser)
    parser.add_argument(
        "--split",
        choices=("test", "validation"),
        default="test",
        help="validation: what the runs held out of train, test is not touched; to choose settings with",
    )
    parser.add_argument(
        "--points", type=positive(int), metavar="N", help="of each cloud (default: as in training)"
    )
    parser.add_argument(
        "--votes",
        type=int,
        default=0,
        metavar="N",
        help="also the mean over N random views of each cloud; never the headline",
    )
    parser.add_argument("--label", metavar="TEXT", help="what tables and pictures call these runs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="keep the points of meshes there")
    _add_out(parser)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        required=True,
        metavar="FILE.npz|FOLDER|BENCHMARK:FOLDER",
        help="labelled clouds (see docs/own_data.md), or modelnet40:FOLDER, scanobjectnn:FOLDER, "
        "shapenetpart:FOLDER",
    )
    parser.add_argument("--classes", choices=("core", "all"), help="(default: core where the data name some)")


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.json",
        help="write the numbers here (default: of one folder in its evaluations/, where push finds them; "
        "what is there with other settings stays)",
    )


def _evaluate_finetuned(args: argparse.Namespace) -> int:
    check_device(args.device)
    from pointmae_zoo.evaluate import evaluate_finetuned

    folder = None if args.out else _evaluations_of(args.runs)
    report = evaluate_finetuned(
        args.runs,
        args.data,
        classes=args.classes,
        split=args.split,
        num_points=args.points,
        votes=args.votes,
        protocol=args.protocol,
        label=args.label,
        device=args.device,
        picture=args.picture,
        out=args.out,
        keep_in=folder,
        cache=args.cache,
    )
    _told(report, args, folder)
    return 0


def _told(report: Any, args: argparse.Namespace, folder: Path | None) -> None:
    """Print an evaluation, and where it is."""
    from pointmae_zoo.evaluate.report import file_name

    print(report.table())
    out = args.out if folder is None else folder / file_name(report.context)
    if out is not None:
        print(f"written to {out}")


def _evaluate_linear(args: argparse.Namespace) -> int:
    check_device(args.device)
    from pointmae_zoo.evaluate import evaluate_linear
    from pointmae_zoo.evaluate.report import file_name

    seeds = args.seeds
    if seeds is None:
        seeds = 0 if args.split == "validation" else 3
    folder = None if args.out else _evaluations_of(args.model)
    report = evaluate_linear(
        args.model,
        args.data,
        classes=args.classes,
        split=args.split,
        num_points=args.points,
        pool=args.pool,
        seeds=seeds,
        classifiers=args.classifier,
        protocol=args.protocol,
        C=args.C,
        robustness=args.robustness,
        few_shot_episodes=args.few_shot,
        label=args.label,
        device=args.device,
        out=args.out,
        keep_in=folder,
    )
    print(report.table())
    out = args.out if folder is None else folder / file_name(report.context)
    if out is not None:
        print(f"written to {out}")
    return 0


def _evaluations_of(models: list[str]) -> Path | None:
    """Where the numbers of a single folder of weights are kept, if nothing else was said.

    Raises:
        PermissionError: nothing can be written there; found before minutes of work, not after.
    """
    from pointmae_zoo.registry import list_models, list_weights

    folder = Path(models[0])
    if len(models) > 1 or models[0] in list_weights() + list_models() or not folder.is_dir():
        return None
    kept = folder / "evaluations"
    if not os.access(kept if kept.is_dir() else folder, os.W_OK):
        raise PermissionError(f"{folder}: cannot be written to; name another place with --out")
    return kept


def _evaluate_compare(args: argparse.Namespace) -> int:
    from pointmae_zoo.evaluate import compare, comparison_table

    print(comparison_table(compare(args.files, args.out)))
    if args.out is not None:
        print(f"written to {args.out}")
    return 0
