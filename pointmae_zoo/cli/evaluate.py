"""``evaluate``."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pointmae_zoo.cli.arguments import Parser, positive

_LESS_MEMORY = "fewer --points, or --classes core, need less"
_CONDITIONS = ("rotation-about-up", "rotation", "points", "noise", "missing-ball", "missing-side")


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("evaluate", help="measure a model, beside its baselines")
    tasks = parser.add_subparsers(metavar="TASK", required=True, parser_class=Parser)
    _add_linear(tasks)
    _add_fewshot(tasks)
    _add_finetuned(tasks)
    _add_parts(tasks)
    _add_robustness(tasks)
    _add_compare(tasks)
    _add_curve(tasks)


def _add_linear(tasks: argparse._SubParsersAction) -> None:
    parser = tasks.add_parser(
        "linear",
        help="linear probe of frozen features",
        description="Linear probe of frozen features, beside random weights of the same architecture.",
    )
    _add_models(parser)
    _add_data(parser)
    _add_split(parser, "cross-validation on train alone")
    _add_points(parser, "1024")
    _add_frozen(parser)
    parser.add_argument(
        "--classifier", nargs="+", choices=("svm", "logistic"), help="(default: both; protocol paper: svm)"
    )
    _add_protocol(parser, "raw points and features, fixed C")
    parser.add_argument(
        "--C",
        type=positive(float),
        metavar="C",
        help="of protocol paper (default: 0.0093, ModelNet40's; ScanObjectNN OBJ-BG: 0.018)",
    )
    _add_shared(parser)
    parser.set_defaults(run=_evaluate_linear, less_memory=_LESS_MEMORY)


def _add_fewshot(tasks: argparse._SubParsersAction) -> None:
    parser = tasks.add_parser(
        "fewshot",
        help="frozen features and a handful of labels",
        description="Few-shot classification of frozen features: a linear SVM on a few clouds of a few "
        "classes, 500 episodes that are the same for every model, beside random weights.",
    )
    _add_models(parser)
    _add_data(parser)
    _add_split(parser, "queries from train, too")
    _add_points(parser, "1024")
    _add_frozen(parser)
    parser.add_argument(
        "--ways", nargs="+", type=positive(int), metavar="N", help="classes of an episode (default: 5 10)"
    )
    parser.add_argument(
        "--shots", nargs="+", type=positive(int), metavar="N", help="clouds of each (default: 10 20)"
    )
    parser.add_argument("--episodes", type=positive(int), default=500, metavar="N", help="(default: 500)")
    _add_shared(parser)
    parser.set_defaults(run=_evaluate_fewshot, less_memory=_LESS_MEMORY)


def _add_finetuned(tasks: argparse._SubParsersAction) -> None:
    parser = tasks.add_parser(
        "finetuned",
        help="accuracy of fine-tuned classifiers",
        description="How often fine-tuned classifiers are right: accuracy and class mean with 95 % "
        "intervals, class by class.",
    )
    _add_runs(parser)
    _add_protocol(parser, "farthest point sampling of up to 8,192 points")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw what is taken for what")
    _add_shared(parser)
    parser.set_defaults(run=_evaluate_finetuned, less_memory=_LESS_MEMORY)


def _add_parts(tasks: argparse._SubParsersAction) -> None:
    parser = tasks.add_parser(
        "parts",
        help="mean overlap (mIoU) of fine-tuned part segmenters",
        description="How well fine-tuned segmenters find the parts of clouds: mean overlap (mIoU) by "
        "instance and by category as on ShapeNetPart, with 95 % intervals, class by class and part by part.",
    )
    _add_runs(parser)
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw some clouds' parts")
    _add_shared(parser)
    parser.set_defaults(run=_evaluate_parts, less_memory=_LESS_MEMORY)


def _add_robustness(tasks: argparse._SubParsersAction) -> None:
    parser = tasks.add_parser(
        "robustness",
        help="accuracy on turned, thinned, noisy and cut clouds",
        description="Accuracy on test clouds that were turned, thinned, made noisy or cut: of a fine-tuned "
        "classifier its own, of other weights that of a linear SVM on frozen features, beside random ones.",
    )
    _add_models(parser)
    _add_data(parser)
    _add_points(parser, "1024; of a classifier as in training")
    parser.add_argument(
        "--conditions",
        nargs="+",
        choices=_CONDITIONS,
        help="what is done to the clouds (default: all of it)",
    )
    _add_frozen(parser)
    _add_shared(parser)
    parser.set_defaults(run=_evaluate_robustness, less_memory=_LESS_MEMORY)


def _add_compare(tasks: argparse._SubParsersAction) -> None:
    parser = tasks.add_parser(
        "compare",
        help="evaluations on the same clouds, each minus the first",
        description="Compare what 'evaluate linear', or 'finetuned', or 'parts', wrote, cloud by cloud: "
        "every file minus the first.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE.json", help="two or more, of one task and data")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the numbers here")
    parser.set_defaults(run=_evaluate_compare)


def _add_curve(tasks: argparse._SubParsersAction) -> None:
    parser = tasks.add_parser(
        "curve",
        help="a picture of accuracy over labels per class",
        description="Draw the accuracy of fine-tuned classifiers over the number of labelled clouds of a "
        "class: one line for each --label of 'evaluate finetuned', one point for each file.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE.json", help="what 'evaluate finetuned' wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture")
    parser.add_argument(
        "--measure", choices=("accuracy", "class mean"), default="accuracy", help="(default: accuracy)"
    )
    parser.add_argument("--title", default="", metavar="TEXT", help="above the picture")
    parser.set_defaults(run=_evaluate_curve)


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="+",
        metavar="NAME|FOLDER|ORG/REPO",
        help="weights; several are averaged (seeds of one recipe)",
    )


def _add_runs(parser: argparse.ArgumentParser) -> None:
    """What evaluations of fine-tuned networks have in common."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN|NAME|ORG/REPO",
        help="what finetune wrote; several are averaged (seeds of one recipe)",
    )
    _add_data(parser)
    _add_split(parser, "what the runs held out of train, or the data's own validation split")
    _add_points(parser, "as in training")
    parser.add_argument(
        "--votes",
        type=int,
        default=0,
        metavar="N",
        help="also the mean over N random views of each cloud; a line of its own (default: none)",
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        required=True,
        metavar="FILE.npz|FOLDER|BENCHMARK:FOLDER",
        help="labelled clouds: a file, a folder of your own (docs/own_data.md), or modelnet40:FOLDER, "
        "scanobjectnn:FOLDER, shapenetpart:FOLDER",
    )
    parser.add_argument("--classes", choices=("core", "all"), help="(default: core where the data name some)")
    parser.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="keep points of meshes here, for the next time"
    )


def _add_split(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--split",
        choices=("test", "validation"),
        default="test",
        help=f"validation: {what}, test is not touched; to choose settings with",
    )


def _add_points(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--points", type=positive(int), metavar="N", help=f"of each cloud (default: {default})"
    )


def _add_frozen(parser: argparse.ArgumentParser) -> None:
    """What evaluations of frozen features have in common."""
    parser.add_argument("--pool", metavar="P", help="default: as stored with the weights")
    parser.add_argument(
        "--seeds",
        type=int,
        help="random initialisations of each baseline; 0: no baselines, faster (default: 3, validation: 0)",
    )


def _add_protocol(parser: argparse.ArgumentParser, paper: str) -> None:
    parser.add_argument(
        "--protocol",
        choices=("standard", "paper"),
        default="standard",
        help=f"paper: {paper}; for comparison with published tables (default: standard)",
    )


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", metavar="TEXT", help="what tables and pictures call these weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--markdown", action="store_true", help="print the tables as Markdown, as a card has them"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.json",
        help="write the numbers here (default: of one folder in its evaluations/, where push finds them; "
        "what is there with other settings stays)",
    )


def _evaluate_linear(args: argparse.Namespace) -> int:
    from pointmae_zoo.evaluate import evaluate_linear

    settings = _of_frozen(args)
    settings |= {"classifiers": args.classifier, "protocol": args.protocol, "C": args.C, "split": args.split}
    return _finished(args, evaluate_linear(args.model, args.data, **settings), settings)


def _evaluate_fewshot(args: argparse.Namespace) -> int:
    from pointmae_zoo.evaluate import evaluate_fewshot

    settings = _of_frozen(args) | {"split": args.split}
    settings |= {"ways": args.ways, "shots": args.shots, "episodes": args.episodes}
    return _finished(args, evaluate_fewshot(args.model, args.data, **settings), settings)


def _evaluate_robustness(args: argparse.Namespace) -> int:
    from pointmae_zoo.evaluate import evaluate_robustness

    conditions = args.conditions and [one.replace("-", " ") for one in args.conditions]
    settings = _of_frozen(args) | {"num_points": args.points, "conditions": conditions}
    return _finished(args, evaluate_robustness(args.model, args.data, **settings), settings)


def _evaluate_finetuned(args: argparse.Namespace) -> int:
    from pointmae_zoo.evaluate import evaluate_finetuned

    settings = _of_runs(args) | {"protocol": args.protocol}
    return _finished(args, evaluate_finetuned(args.runs, args.data, **settings), settings)


def _evaluate_parts(args: argparse.Namespace) -> int:
    from pointmae_zoo.evaluate import evaluate_parts

    settings = _of_runs(args)
    return _finished(args, evaluate_parts(args.runs, args.data, **settings), settings)


def _evaluate_compare(args: argparse.Namespace) -> int:
    from pointmae_zoo.evaluate import compare, comparison_table

    print(comparison_table(compare(args.files, args.out)))
    if args.out is not None:
        print(f"written to {args.out}")
    return 0


def _evaluate_curve(args: argparse.Namespace) -> int:
    from pointmae_zoo.evaluate import label_curve

    print(label_curve(args.files, args.out, measure=args.measure, title=args.title))
    print(f"written to {args.out}")
    return 0


def _of_frozen(args: argparse.Namespace) -> dict[str, Any]:
    seeds = args.seeds
    if seeds is None:
        seeds = 0 if getattr(args, "split", "test") == "validation" else 3
    points = 1024 if args.points is None else args.points
    return _common(args, args.model) | {"num_points": points, "pool": args.pool, "seeds": seeds}


def _of_runs(args: argparse.Namespace) -> dict[str, Any]:
    settings = _common(args, args.runs) | {"num_points": args.points, "split": args.split}
    return settings | {"votes": args.votes, "picture": args.picture}


def _common(args: argparse.Namespace, models: Sequence[str]) -> dict[str, Any]:
    from pointmae_zoo.inference.network import check_device

    check_device(args.device)
    return {
        "classes": args.classes,
        "label": args.label,
        "device": args.device,
        "out": args.out,
        "keep_in": None if args.out else _evaluations_of(models),
        "cache": args.cache,
    }


def _finished(args: argparse.Namespace, report: Any, settings: dict[str, Any]) -> int:
    """Print an evaluation, and where it is."""
    from pointmae_zoo.evaluate.report import file_name
    from pointmae_zoo.hub.cards.scores import tables

    print(tables(report.as_json()) if args.markdown else report.table())
    out = settings["out"] or (settings["keep_in"] and settings["keep_in"] / file_name(report.context))
    for place in (settings.get("picture"), out):
        if place:
            print(f"written to {place}")
    return 0


def _evaluations_of(models: Sequence[str]) -> Path | None:
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
