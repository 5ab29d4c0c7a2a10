"""``download``: data sets that may be fetched, and where to get the others."""

import argparse
from pathlib import Path

from pointmae_zoo.cli.printing import print_table


def add_download(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "download",
        help="fetch a data set, or list them with their terms",
        description="Fetch a data set and unpack it. An interrupted download resumes. Without a name: "
        "all that are known, and how to get those that have to be requested.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="such as modelnet40")
    parser.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="where to unpack it (no default: needed for what can be fetched)",
    )
    parser.set_defaults(run=_download)


def _download(args: argparse.Namespace) -> int:
    from pointmae_zoo.datasets.benchmarks.downloadable import DATASETS, described, download_dataset

    if args.name is None:
        print_table([row for dataset in DATASETS.values() for row in described(dataset)])
        return 0
    if args.name not in DATASETS:
        raise ValueError(f"no data set {args.name!r}; known: {', '.join(DATASETS)}")
    dataset = DATASETS[args.name]
    if dataset.urls and args.to is None:
        raise ValueError(f"--to FOLDER is missing: where to put {args.name}")
    to = args.to or Path()
    was_there = bool(dataset.urls) and (to / dataset.folder).is_dir()
    folder = download_dataset(dataset, to)
    if was_there:
        checked = "was there already, not checked"
    elif dataset.sha256:
        checked = "verified by its sha256"
    else:
        checked = "not verified: nobody has published its sha256"
    print(f"{folder}: {dataset.summary}; {checked}")
    print(f"terms: {dataset.terms}")
    print(f"use it in a recipe as data: [{dataset.use.replace('FOLDER', str(folder))}]")
    return 0
