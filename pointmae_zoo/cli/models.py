"""``list``, ``info`` and ``convert``: architectures and weights."""

import argparse
from pathlib import Path

from pointmae_zoo.cli.printing import field_rows, print_table


def add_list(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("list", help="architectures, or the weights that exist for them")
    parser.add_argument(
        "pattern", nargs="?", default="*", metavar="PATTERN", help='such as "i2p*" (default: all)'
    )
    parser.add_argument("--weights", action="store_true", help="list weights, architecture.tag")
    parser.set_defaults(run=_list)


def _list(args: argparse.Namespace) -> int:
    from pointmae_zoo.models import registry

    rows: list[tuple[str, ...]]
    if args.weights:
        entries = [registry.get_weights(name) for name in registry.list_weights(args.pattern)]
        rows = [
            (
                entry.name,
                entry.status,
                entry.licence,
                entry.repo or "in the package",
                "; ".join(f"{name} {value:g}" for name, value in entry.metrics.items()),
                entry.summary,
            )
            for entry in entries
        ]
        known = registry.list_weights()
    else:
        names = registry.list_models(args.pattern)
        rows = [(name, registry.get_architecture(name).summary) for name in names]
        known = registry.list_models()
    if not rows:
        raise ValueError(f"no name matches {args.pattern!r}; known: {', '.join(known) or 'none'}")
    print_table(rows)
    return 0


def add_info(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "info", help="what a name, a folder or a repository of weights is: size, input, status, licence"
    )
    parser.add_argument(
        "name",
        metavar="NAME|FOLDER|ORG/REPO",
        help="an architecture, weights, a folder of weights, or a repository of the Hub (ORG/REPO@REVISION)",
    )
    parser.set_defaults(run=_info)


def _info(args: argparse.Namespace) -> int:
    from pointmae_zoo import hub
    from pointmae_zoo.hub.pretrained import is_published
    from pointmae_zoo.models import registry

    if is_published(args.name) and "." not in args.name:  # with one it is architecture.tag, weights
        entry = registry.get_architecture(args.name)
        model = registry.create_model(args.name)
        rows = [("architecture", args.name), ("summary", entry.summary), ("paper", entry.paper)]
        names = registry.list_weights(f"{args.name}.*")
        copy = "; 'pointmae-zoo convert' takes your own copy" if entry.has_reference else " yet"
        tail = [("weights", ", ".join(names) or f"none published{copy}")]
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
        tail += field_rows(config.provenance)
    encoder = getattr(model, "encoder", model)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    rows.append(
        ("encoder", f"{parameters:,} parameters, {encoder.feature_dim()} features ({encoder.hyper.pool})")
    )
    rows.append(("input", ""))
    rows += field_rows(model.config.preprocess.to_dict())
    print_table(rows + tail)
    return 0


def add_convert(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "convert",
        help="your copy of a reference checkpoint -> a folder of weights",
        description="Turn a reference checkpoint (.pth) into model.safetensors and config.json. "
        "Nothing but tensors is read from it.",
    )
    parser.add_argument("file", metavar="FILE.pth", type=Path, help="checkpoint, as torch.save wrote it")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write")
    parser.add_argument("--architecture", required=True, metavar="NAME", help="such as i2p_mae_base")
    parser.add_argument(
        "--kind",
        required=True,
        choices=("pretraining", "classification", "part_segmentation"),
        help="what the checkpoint was trained for; its weights have to fit",
    )
    parser.add_argument(
        "--preset",
        metavar="DATASET",
        help="data set it was fine-tuned on: neighbours, radii and pooling follow from it; needed for "
        "classification: modelnet40, scanobjectnn or scanobjectnn_pb",
    )
    parser.set_defaults(run=_convert)


def _convert(args: argparse.Namespace) -> int:
    from pointmae_zoo.hub import convert_checkpoint

    convert_checkpoint(
        args.file, args.out, architecture=args.architecture, kind=args.kind, preset=args.preset
    )
    print(f"{args.out}: {args.architecture}, {args.kind}; load it with from_pretrained({str(args.out)!r})")
    return 0
