"""The arguments of every command that reads mesh and point files."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pointmae_zoo.cli.arguments import positive
from pointmae_zoo.cli.printing import joined
from pointmae_zoo.data.files import shown

_MOST_NOTES = 10


def print_account(
    rows: int,
    failures: Sequence[tuple[str, str]],
    notes: Sequence[tuple[str, str]],
    passed_over: Mapping[str, int],
) -> None:
    """On stderr: what was remarked of files, and what became of all that were found, so that the counts add
    up; nothing if every file has a row and nothing was remarked."""
    by_text: dict[str, list[str]] = {}
    for path, text in notes:
        by_text.setdefault(text, []).append(path)
    for text, paths in list(by_text.items())[:_MOST_NOTES]:
        more = f" (and {len(paths) - 1:,} more files)" if len(paths) > 1 else ""
        print(f"{shown(paths[0])}: {joined(text)}{more}", file=sys.stderr)
    if len(by_text) > _MOST_NOTES:
        print(f"and {len(by_text) - _MOST_NOTES:,} more remarks", file=sys.stderr)
    if passed_over:
        from pointmae_zoo.data.search import OTHER_SHAPES

        unread = [(what, count) for what, count in passed_over.items() if what in OTHER_SHAPES]
        others = [(what, count) for what, count in passed_over.items() if what not in OTHER_SHAPES]
        parts = []
        if unread:
            parts.append(
                "formats that are not read: " + ", ".join(f"{count:,} {what}" for what, count in unread)
            )
        if others:
            parts.append("others: " + ", ".join(f"{count:,} {what}" for what, count in others))
        passed, failed = sum(passed_over.values()), len(failures)
        print(
            f"{rows + failed + passed:,} found: {rows:,} read, {failed:,} failed, {passed:,} passed over "
            f"({'; '.join(parts)})",
            file=sys.stderr,
        )


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Which files, and how they are read and computed."""
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="files, folders (searched to the bottom) or globs"
    )
    parser.add_argument(
        "--up", default="y", choices=("x", "y", "z"), help="which axis of the files points up (default: y)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the surface samples (default: 0)")
    parser.add_argument(
        "--batch-size",
        type=positive(int),
        metavar="B",
        help="clouds at a time (default: 16 on a CPU, what is fastest on a GPU)",
    )
    parser.add_argument(
        "--workers", type=positive(int), metavar="N", help="processes that read files (default: by cores)"
    )
    parser.add_argument(
        "--timeout",
        type=positive(float),
        default=60.0,
        metavar="SECONDS",
        help="for reading one file (default: 60)",
    )
    parser.add_argument(
        "--memory-limit",
        dest="memory_limit_gb",
        type=positive(float),
        default=2.0,
        metavar="GB",
        help="for reading one file, in each worker (default: 2)",
    )
    parser.add_argument("--device", default="cpu", help="where the network runs (default: cpu)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of weights and activations; what comes out is float32 (default: float32)",
    )
    parser.set_defaults(less_memory="a smaller --batch-size or fewer --workers need less")


def in_place_of(out: Path | None) -> str:
    """What to add to the last line about an output, asked before the work; both commands replace a file that
    is there, once the new one is complete."""
    return ", in place of the file that was there" if out is not None and out.exists() else ""


def reading(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments for `embed_files` and its like."""
    return {
        "up": args.up,
        "seed": args.seed,
        "batch_size": args.batch_size,
        "workers": args.workers,
        "timeout": args.timeout,
        "memory_limit_gb": args.memory_limit_gb,
        "device": args.device,
        "dtype": args.dtype,
    }
