"""The command line: ``pointmae-zoo embed parts/ --out features.npz`` and its companions.

Only argparse is imported at the top: ``--help`` must answer at once, and torch alone takes seconds. Every
command imports what it needs when it runs.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from pointmae_zoo._version import __version__
from pointmae_zoo.cli.arguments import Parser
from pointmae_zoo.cli.data import add_download
from pointmae_zoo.cli.embed import add_embed, add_similar
from pointmae_zoo.cli.evaluate import add_evaluate
from pointmae_zoo.cli.export import add_export
from pointmae_zoo.cli.models import add_convert, add_info, add_list
from pointmae_zoo.cli.predict import add_predict
from pointmae_zoo.cli.printing import one_line, print_any_name
from pointmae_zoo.cli.push import add_push
from pointmae_zoo.cli.train import add_finetune, add_pretrain, add_recipes


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 done, 1 some files failed, 2 nothing done, or 130 interrupted."""
    print_any_name()
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
        remedy = getattr(args, "less_memory", "close other programs, or use a larger machine")
        print(f"error: out of memory; {remedy}", file=sys.stderr)
        return 2
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        ours = isinstance(error, ImportError) and (error.name or "").startswith("pointmae_zoo")
        if debug or ours:
            raise
        print(f"error: {_by_option(one_line(error), args.options)}", file=sys.stderr)
        return 2


def _by_option(text: str, options: dict[str, str]) -> str:
    """What is said of an argument is said of the option that it was given by."""
    name, colon, rest = text.partition(": ")
    return f"{options.get(name, name)}{colon}{rest}"


def build_parser() -> argparse.ArgumentParser:
    """Every command with its arguments; ``parse_args(...).run`` is the function that does it."""
    parser = Parser(
        prog="pointmae-zoo",
        description="Self-supervised encoders for 3D point clouds: mesh files in, features out.",
        epilog="Exit codes: 0 done, 1 some files failed, 2 nothing done. More: pointmae-zoo COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"pointmae-zoo {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for add in (
        add_embed,
        add_predict,
        add_list,
        add_info,
        add_similar,
        add_convert,
        add_export,
        add_recipes,
        add_download,
        add_pretrain,
        add_finetune,
        add_evaluate,
        add_push,
    ):
        add(commands)
    return parser
