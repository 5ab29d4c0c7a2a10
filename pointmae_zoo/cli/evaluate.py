"""``evaluate``."""

import argparse
from pathlib import Path

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
        "model", nargs="+", metavar="NAME|FOLDER", help="weights; several are averaged (seeds of one recipe)"
    )
    linear.add_argument(
        "--data", required=True, type=Path, metavar="FILE.npz", help="points, y, classes, split, group"
    )
    linear.add_argument("--classes", choices=("core", "all"), default="core", help="(default: core)")
    linear.add_argument(
        "--points", type=positive(int), default=1024, metavar="N", help="of each cloud (default: 1024)"
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
    check_device(args.device)
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
