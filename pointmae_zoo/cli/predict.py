"""``predict``: what files are, or what their parts are."""

import argparse
import sys
from pathlib import Path

from pointmae_zoo._version import DEFAULT_CLASSIFIER
from pointmae_zoo.cli.arguments import positive
from pointmae_zoo.cli.printing import print_failures, print_table
from pointmae_zoo.cli.reading import add_reading, in_place_of, print_account, reading
from pointmae_zoo.data.files import shown


def add_predict(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "predict",
        help="mesh and point files -> class names with probabilities, or coloured parts",
        description="Read mesh and point files and say what each is, by a classifier; or write each, "
        "coloured by part, by a part segmenter. With --out, OUT.partial keeps rows until the end: the same "
        "command resumes from there if the run was stopped.",
        epilog="Exit codes: 0 every file was read, 1 some files failed (they are listed), "
        "2 nothing to do or a wrong argument.",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_CLASSIFIER,
        metavar="NAME|FOLDER|ORG/REPO",
        help="a classifier or part segmenter (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="also write .csv or .json; replaced at the end if it is there",
    )
    parser.add_argument(
        "--top", type=positive(int), metavar="K", help="of a classifier: classes of each file (default: 3)"
    )
    parser.add_argument(
        "--parts-out",
        type=Path,
        metavar="FOLDER",
        help="of a part segmenter: where coloured clouds go; made already, the same way: kept",
    )
    parser.add_argument(
        "--parts-format", choices=("ply", "glb"), default="ply", help="of these (default: ply)"
    )
    parser.add_argument(
        "--class", dest="object_class", metavar="NAME", help="of a part segmenter: what the files show"
    )
    add_reading(parser)
    parser.set_defaults(run=_predict)


def _predict(args: argparse.Namespace) -> int:
    from pointmae_zoo.inference.network import check_device

    check_device(args.device)
    if args.parts_out is not None:
        return _parts(args)
    if args.object_class is not None:
        raise ValueError("--class: tells a part segmenter what the files show; --parts-out FOLDER is missing")
    from pointmae_zoo.inference import predict_files

    replaced = in_place_of(args.out)
    found = predict_files(args.paths, args.model, top=args.top or 3, out=args.out, **reading(args))
    if found.paths:
        print_table(
            [
                (shown(path), *(text for name, share in best for text in (name, f"{share:.3f}")))
                for path, best in zip(found.paths, found.best, strict=True)
            ]
        )
    if args.out is not None:
        count = len(found.paths)
        said = (
            f"{count:,} file{'s' if count > 1 else ''}{replaced}"
            if count
            else "not written, no file could be read"
        )
        print(f"{args.out}: {said}", file=sys.stderr)
    print_account(len(found.paths), found.failures, found.notes, found.passed_over)
    return print_failures(found.failures, len(found.paths))


def _parts(args: argparse.Namespace) -> int:
    if args.out is not None:
        raise ValueError("--out: is a classifier's table; --parts-out is enough for a part segmenter")
    if args.top is not None:
        raise ValueError("--top: is for a classifier's classes; with --parts-out every point has one part")
    import numpy as np

    from pointmae_zoo.inference import predict_parts

    found = predict_parts(
        args.paths,
        args.model,
        args.parts_out,
        object_class=args.object_class,
        suffix=f".{args.parts_format}",
        **reading(args),
    )
    rows = []
    for path, target in found.written.items():
        shares = found.shares[path]
        seen = [f"{found.labels[part]} {shares[part]:.0%}" for part in range(len(shares)) if shares[part] > 0]
        rows.append((shown(path), shown(target), ", ".join(seen)))
    if rows:
        print_table(rows)
        used = np.stack(list(found.shares.values())).sum(axis=0)
        print("colours:")
        print_table(
            [
                (f"  {label}", f"part {number}", "#" + bytes(found.colours[number]).hex())
                for number, label in enumerate(found.labels)
                if used[number]
            ]
        )
    for cloud in found.removed:
        print(f"{shown(cloud)}: deleted, as the file it was made of is gone", file=sys.stderr)
    print_account(len(found.written), found.failures, found.notes, found.passed_over)
    return print_failures(found.failures, len(found.written))
