"""``embed`` and ``similar``: files of shapes into tables of features, and questions to those."""

import argparse
import sys
from pathlib import Path

from pointmae_zoo._version import DEFAULT_MODEL
from pointmae_zoo.cli.arguments import positive
from pointmae_zoo.cli.printing import print_failures, print_table
from pointmae_zoo.cli.reading import add_reading, in_place_of, print_account, reading
from pointmae_zoo.data.files import shown


def add_embed(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "embed",
        help="mesh and point files -> a table of features",
        description="Read mesh and point files, write one row of features for each. OUT.partial keeps the "
        "rows until the end: the same command resumes from there if the run was stopped.",
        epilog="Exit codes: 0 every file has a row, 1 some files failed (they are listed), "
        "2 nothing to do or a wrong argument.",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="FILE",
        help=".npz, .safetensors, .csv or .parquet; replaced at the end if it is there",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME|FOLDER|ORG/REPO",
        help="weights (default: %(default)s); ORG/REPO or ORG/REPO@REVISION: on the Hub",
    )
    parser.add_argument(
        "--pool", metavar="P", help="max, mean, mean+max, mean,max or levels (default: as stored)"
    )
    add_reading(parser)
    parser.set_defaults(run=_embed)


def _embed(args: argparse.Namespace) -> int:
    from pointmae_zoo.inference.network import check_device

    check_device(args.device)
    from pointmae_zoo.inference import embed_files

    replaced = in_place_of(args.out)
    table = embed_files(
        args.paths,
        args.model,
        out=args.out,
        pool=args.pool,
        **reading(args),
    )
    rows, width = table.features.shape
    if rows:
        print(f"{args.out}: {rows:,} row{'s' if rows > 1 else ''} of {width} features{replaced}")
    else:
        print(f"{args.out}: not written, because no file could be read", file=sys.stderr)
    print_account(rows, table.failures, table.notes, table.passed_over)
    return print_failures(table.failures, rows)


def add_similar(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "similar", help="the shapes of a table of features that are nearest to one file"
    )
    parser.add_argument("query", metavar="QUERY", help="a row of the table, or another mesh or point file")
    parser.add_argument(
        "features", metavar="FEATURES", type=Path, help="a file that 'pointmae-zoo embed' wrote"
    )
    parser.add_argument("-k", type=positive(int), default=5, metavar="N", help="how many (default: 5)")
    parser.add_argument(
        "--model",
        metavar="NAME|FOLDER|ORG/REPO",
        help="what made the table, if it does not say so itself (.csv)",
    )
    how = "as the table was made, if it does not say so itself (.csv)"
    parser.add_argument("--up", choices=("x", "y", "z"), help=f"axis that points up, {how}")
    parser.add_argument("--pool", metavar="P", help=f"{how}; default: as stored with the weights")
    parser.add_argument("--seed", type=int, help=f"{how}; default: 0")
    parser.set_defaults(run=_similar)


def _similar(args: argparse.Namespace) -> int:
    from pointmae_zoo.data.notes import collecting
    from pointmae_zoo.inference import similar

    with collecting() as notes:
        found = similar(
            args.query, args.features, args.k, model=args.model, up=args.up, pool=args.pool, seed=args.seed
        )
    if not found:
        raise ValueError(f"{args.features}: holds no row but the query's; embed more files into it")
    print_account(1, [], [(args.query, text) for text in notes], {})
    print_table([(f"{score:.3f}", shown(path)) for path, score in found])
    return 0
