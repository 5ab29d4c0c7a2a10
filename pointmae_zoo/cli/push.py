"""``push``: weights to the Hugging Face Hub."""

import argparse
import sys
from pathlib import Path

from pointmae_zoo.cli.printing import print_table


def add_push(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "push",
        help="a run folder to the Hugging Face Hub, with its card",
        description="Check a folder of weights, render its card, and put both on the Hugging Face Hub in one "
        "commit. Log in before with 'hf auth login', or set HF_TOKEN.",
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="a finished run, or a folder of weights")
    parser.add_argument("repo", metavar="ORG/REPO", help="where to; made if there is none")
    parser.add_argument("--private", action="store_true", help="a repository that others can't see")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--branch", metavar="B", help="where to in it (default: main); made if there is none")
    where.add_argument("--pr", action="store_true", help="open a pull request instead")
    parser.add_argument("--message", metavar="TEXT", help="of the commit")
    parser.add_argument(
        "--card",
        type=Path,
        metavar="FILE.yaml",
        help="what a person states for the card, and beside it evaluations/ (default: RUN/card.yaml)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, show files and card, send nothing"
    )
    parser.set_defaults(run=_push)


def _push(args: argparse.Namespace) -> int:
    from pointmae_zoo.hub.cards.release import FACTS_FILE
    from pointmae_zoo.hub.push import push_to_hub
    from pointmae_zoo.hub.push_files import OWN_FILES

    try:
        done = push_to_hub(
            args.folder,
            args.repo,
            private=True if args.private else None,
            branch=args.branch,
            create_pr=args.pr,
            commit_message=args.message,
            dry_run=args.dry_run,
            card=args.card,
        )
    except KeyboardInterrupt:
        print(
            f"\n{args.repo}: stopped in the middle: the repository may be there and be empty; the "
            "same command again completes it",
            file=sys.stderr,
        )
        raise
    print_table(
        [
            (
                file.name,
                f"{file.size:,} bytes",
                f"sha256 {file.sha256}",
                "paths cleaned" if file.cleaned else "",
            )
            for file in done.files
        ]
    )
    if all(file.name != FACTS_FILE for file in done.files):
        print(f"no {FACTS_FILE} in {args.folder}, so the card states neither licence nor data nor limits")
    if args.dry_run:
        print(f"\nREADME.md:\n\n{done.card}")
        ours = ", ".join([*OWN_FILES, "evaluations/*.json"])
        print(f"there, files of these names (README.md, too) are replaced, and others of {ours} deleted")
        print(f"dry run: nothing was sent to {args.repo}")
        return 0
    print()
    for what, names in (("replaced", done.replaced), ("deleted", done.deleted)):
        if names:
            print(f"{what} there: {', '.join(names)}")
    if not done.changed:
        print(f"{args.repo}: has all of it already, nothing to change")
    if done.pull_request is not None:
        print(f"pull request: {done.pull_request}")
    print(f"commit: {done.url} ({'private' if done.private else 'public'})")
    print(f'load it: pointmae_zoo.from_pretrained("{done.name}")')
    return 0
