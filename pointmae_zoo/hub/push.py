"""Weights to the Hub: everything checked first, then one commit."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointmae_zoo import __version__
from pointmae_zoo.hub.client import HubError, check_token, explained, patiently, status_of
from pointmae_zoo.hub.outgoing import OWN_FILES, File, prepare

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi, ModelInfo


@dataclass(frozen=True)
class Pushed:
    """What `push_to_hub` did, or with ``dry_run`` would do.

    Args:
        repo_id: ``org/repo``.
        files: all that belongs to the weights, as it is on the Hub now.
        card: the text of ``README.md``.
        url: of the commit; None: dry run.
        commit: to load exactly this by; None: dry run.
        pull_request: its address, if one was asked for.
        changed: False: all files were there already, and there is no new commit.
    """

    repo_id: str
    files: list[File]
    card: str
    url: str | None = None
    commit: str | None = None
    pull_request: str | None = None
    changed: bool = False

    @property
    def name(self) -> str:
        """What `from_pretrained` loads exactly this by."""
        return f"{self.repo_id}@{self.commit}" if self.commit else self.repo_id


def push_to_hub(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool | None = None,
    branch: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    token: str | None = None,
    dry_run: bool = False,
    card: str | os.PathLike[str] | None = None,
) -> Pushed:
    """Put a folder of weights on the Hugging Face Hub, with its card, in one commit.

    Before the first request the weights are loaded strictly, features of a few shapes are computed, and the
    card is rendered and read back. What goes up are weights, ``config.json``, and whatever is there of
    ``recipe.yaml``, ``metrics.jsonl``, ``environment.json``, ``preview.png``, ``card.yaml`` and
    ``evaluations/*.json``, and the card; never checkpoints or caches. Such files that an earlier push has
    left in the repository and that are gone here are deleted there; all others stay. Nothing is changed in
    the folder; names of home folders are taken out of ``recipe.yaml`` and ``environment.json`` on the way.

    Args:
        folder: a finished run, or any that `save_pretrained` wrote.
        repo_id: ``org/repo``; made if there is none.
        private: of the repository, if it has to be made; one that is there must be as asked for. None: as it
            is, or what the account's settings make new ones (usually public).
        branch: where to; made if there is none. Default: main.
        create_pr: open a pull request to main instead; the repository must exist.
        commit_message: default: says what was uploaded.
        token: with the right to write; default: what ``hf auth login`` or HF_TOKEN gave.
        dry_run: check everything, ask nobody, send nothing.
        card: a ``card.yaml`` elsewhere, with the evaluations that it lists beside it.

    Raises:
        ValueError: something in the folder is wrong, see ``hub.outgoing.prepare``; no name of a repository; a
            public repository where a private one was asked for, or the reverse.
        FileNotFoundError: no such folder.
        OSError: the Hub did not take it (`HubError`); says why and what to do.
    """
    folder = Path(folder).expanduser()
    check_token(token)
    _check_names(repo_id, branch, create_pr)
    from huggingface_hub import HfApi, get_token

    known = [secret for secret in (token, get_token()) if secret]
    files, text = prepare(folder, repo_id, card=None if card is None else Path(card), secrets=known)
    if dry_run:
        return Pushed(repo_id, files, text)
    if not known:
        raise ValueError(f"{repo_id}: not logged in; log in with 'hf auth login' or set HF_TOKEN")
    api = HfApi(token=token, library_name="pointmae-zoo", library_version=__version__)
    message = commit_message or f"Upload {folder.resolve().name} with pointmae-zoo {__version__}"
    with _in_words(repo_id, branch):
        if not create_pr:
            wanted: dict[str, Any] = {} if private is None else {"private": private}
            patiently(lambda: api.create_repo(repo_id, exist_ok=True, **wanted))
        head = patiently(lambda: api.model_info(repo_id))
    if private is not None and head.private != private:
        there, other = ("private", "public") if head.private else ("public", "private")
        raise ValueError(
            f"{repo_id}: is there and {there}, not {other}; nothing was sent. Change that in its settings, "
            "or choose another name"
        )
    with _in_words(repo_id, branch, create_pr):
        if create_pr:
            done = _open_pull_request(api, repo_id, files, message)
        else:
            if branch is not None:
                patiently(lambda: api.create_branch(repo_id, branch=branch, exist_ok=True))
                head = patiently(lambda: api.model_info(repo_id, revision=branch))
            # All of it again, where it is tried again: what an answer that got lost has done is seen then.
            done = patiently(lambda: _commit(api, repo_id, files, message, branch))
    changed = done.oid != head.sha
    return Pushed(repo_id, files, text, done.commit_url, done.oid, done.pr_url, changed)


def _commit(api: "HfApi", repo_id: str, files: list[File], message: str, branch: str | None) -> "CommitInfo":
    head = api.model_info(repo_id, revision=branch)
    return api.create_commit(
        repo_id,
        _operations(files, head),
        commit_message=message,
        revision=branch,
        parent_commit=head.sha,
    )


def _open_pull_request(api: "HfApi", repo_id: str, files: list[File], message: str) -> "CommitInfo":
    from huggingface_hub import CommitOperationAdd

    head = patiently(lambda: api.model_info(repo_id))
    operations = _operations(files, head)
    added = [one for one in operations if isinstance(one, CommitOperationAdd)]
    patiently(lambda: api.preupload_lfs_files(repo_id, added, create_pr=True))
    # Once: if the answer got lost, a second attempt would open a second pull request.
    return api.create_commit(
        repo_id, operations, commit_message=message, create_pr=True, parent_commit=head.sha
    )


def _operations(files: list[File], head: "ModelInfo") -> list[Any]:
    """Every file, and what an earlier push has left and is no more."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    names = {file.name for file in files}
    there = [one.rfilename for one in head.siblings or ()]
    ours = [name for name in there if name in OWN_FILES or fnmatchcase(name, "evaluations/*.json")]
    return [
        *(CommitOperationAdd(file.name, file.content) for file in files),
        *(CommitOperationDelete(name) for name in ours if name not in names),
    ]


@contextlib.contextmanager
def _in_words(repo_id: str, branch: str | None, create_pr: bool = False) -> Iterator[None]:
    """Whatever the client raises in a line of ours."""
    from huggingface_hub import constants

    try:
        yield
    except Exception as error:
        status = status_of(error)
        if isinstance(error, ValueError) and status == 400:  # the client has read the Hub's answer
            said = " ".join(str(error).split())
            raise ValueError(f"{repo_id}: the Hub does not take the card: {said}") from error
        if status in (409, 412):
            raise HubError(
                f"{repo_id}: has changed meanwhile (HTTP {status}); nothing was committed, push again"
            ) from error
        found = explained(error, f"{repo_id}@{branch}" if branch else repo_id, right="write")
        if create_pr and (status is None or status >= 500):
            found = HubError(
                f"{found}; {constants.ENDPOINT}/{repo_id}/discussions tells whether it was opened"
            )
        raise found from error


def _check_names(repo_id: str, branch: str | None, create_pr: bool) -> None:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    if "@" in repo_id:
        raise ValueError(f"{repo_id}: 'org/repo' expected; a branch is given as branch (--branch)")
    try:
        validate_repo_id(repo_id)
        known = repo_id.count("/") == 1
    except HFValidationError:
        known = False
    if not known:
        raise ValueError(f"{repo_id!r}: no name of a repository; 'org/repo' expected")
    if branch is not None and create_pr:
        raise ValueError("branch and create_pr: a pull request goes to main; choose one of them")
    if branch is not None and not branch.strip():
        raise ValueError("branch: a name expected")
