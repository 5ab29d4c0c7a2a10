"""``export``: a model for programs without this package."""

import argparse
from pathlib import Path


def add_export(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "export",
        help="a model -> ONNX or a torch.export program",
        description="Write an encoder's features, or a classifier's logits, as ONNX or torch.export program: "
        "any number of clouds, each of as many points as the weights were trained with, prepared as the "
        "file's metadata says. The file is compared with the model before it is kept.",
    )
    parser.add_argument("model", metavar="NAME|FOLDER|ORG/REPO", help="weights")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help=".onnx or .pt2")
    parser.add_argument("--pool", metavar="P", help="of features; default: as stored with the weights")
    parser.add_argument("--features", action="store_true", help="a classifier's features, not its logits")
    parser.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> int:
    from pointmae_zoo.inference.export import export_model

    made = export_model(args.model, args.out, pool=args.pool, labels=False if args.features else None)
    print(
        f"{made.path}: points (batch, {made.num_points}, 3) -> {made.outputs} (batch, {made.width}), "
        f"{made.bytes / 1e6:.1f} MB; differs from the model by at most {made.difference:.1g}"
    )
    return 0
