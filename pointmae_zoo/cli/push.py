"""``push``: weights to the Hugging Face Hub."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pointmae_zoo.cli.options import Name, options
from pointmae_zoo.cli.printing import print_table


@options()
def push(
    folder: Path,
    repo: str,
    /,
    *,
    private: bool = False,
    branch: Name | None = None,
    pr: bool = False,
    tag: Name | None = None,
    message: Annotated[str | None, Parameter(metavar="TEXT")] = None,
    card: Annotated[Path | None, Parameter(metavar="FILE.yaml")] = None,
    preview: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> int:
    """A run folder to the Hugging Face Hub, with its card.

    Check a folder of weights, render its card, and put both on the Hugging Face Hub in one commit. Log in
    before with 'hf auth login', or set HF_TOKEN.

    Args:
        folder: a finished run, or a folder of weights
        repo: ORG/REPO, where to; made if there is none
        private: a repository that others can't see
        branch: where to in it (default: main); made if there is none
        pr: open a pull request instead
        tag: a name for this version, such as v1, to load it by; a tag never moves
        message: of the commit
        card: what a person states for the card, and beside it evaluations/ (default: FOLDER/card.yaml)
        preview: upload preview.png, too, which draws training shapes
        force: replace a model of another library that is there
        dry_run: check everything, show files and card, send nothing
    """
    if pr and branch is not None:
        raise ValueError("--pr, --branch: a pull request goes to main; give one of the two")
    from pointmae_zoo.hub.cards.card import PREVIEW
    from pointmae_zoo.hub.cards.release import FACTS_FILE
    from pointmae_zoo.hub.push import push_to_hub
    from pointmae_zoo.hub.push_files import OWN_FILES

    try:
        done = push_to_hub(
            folder,
            repo,
            private=private or None,
            branch=branch,
            create_pr=pr,
            tag=tag,
            commit_message=message,
            dry_run=dry_run,
            card=card,
            preview=preview,
            force=force,
        )
    except KeyboardInterrupt:
        print(
            f"\n{repo}: stopped in the middle: the repository may be there and be empty; the "
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
    uploaded = {file.name for file in done.files}
    if PREVIEW not in uploaded and (folder / PREVIEW).is_file():
        print(f"{PREVIEW} stays here, because it draws training shapes; --preview uploads it")
    if FACTS_FILE not in uploaded:
        print(f"no {FACTS_FILE} in {folder}, so the card states neither licence nor data nor limits")
    if dry_run:
        print(f"\nREADME.md:\n\n{done.card}")
        ours = ", ".join([*OWN_FILES, "evaluations/*.json"])
        print(f"there, files of these names (README.md, too) are replaced, and others of {ours} deleted")
        print(f"dry run: nothing was sent to {repo}")
        return 0
    print()
    for what, names in (("replaced", done.replaced), ("deleted", done.deleted)):
        if names:
            print(f"{what} there: {', '.join(names)}")
    if not done.changed:
        print(f"{repo}: has all of it already, nothing to change")
    if done.pull_request is not None:
        print(f"pull request: {done.pull_request}")
    print(f"commit: {done.url} ({'private' if done.private else 'public'})")
    if done.tag is not None:
        print(f'by its tag: pointmae_zoo.from_pretrained("{repo}@{done.tag}")')
    print(f'load it: pointmae_zoo.from_pretrained("{done.name}")')
    return 0
