"""Weights to the Hub: everything checked first, then one commit."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointmae_zoo._version import __version__
from pointmae_zoo.hub.checkpoint.config_file import CONFIG_FILE, MAX_CONFIG, read_config
from pointmae_zoo.hub.checkpoint.errors import CheckpointError
from pointmae_zoo.hub.checkpoint.model_folder import WEIGHTS_FILE
from pointmae_zoo.hub.client import HubError, check_token, explained, status_of, with_retries
from pointmae_zoo.hub.push_files import OWN_FILES, File, prepare
from pointmae_zoo.hub.snapshot import check_name, git_hash

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, ModelInfo


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
        tag: the tag that names this commit, if one was asked for.
        changed: False if all files were there already, so that there is no new commit.
        replaced: names of those files that were there with another content, ``README.md`` for example.
        deleted: names of files that were deleted. A dry run knows of neither.
        private: whether others can't see the repository; None: dry run.
    """

    repo_id: str
    files: list[File]
    card: str
    url: str | None = None
    commit: str | None = None
    pull_request: str | None = None
    tag: str | None = None
    changed: bool = False
    replaced: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    private: bool | None = None

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
    tag: str | None = None,
    commit_message: str | None = None,
    token: str | None = None,
    dry_run: bool = False,
    card: str | os.PathLike[str] | None = None,
    preview: bool = False,
    force: bool = False,
) -> Pushed:
    """Put a folder of weights on the Hugging Face Hub, with its card, in one commit.

    Before the first request the weights are loaded strictly, features of a few shapes are computed, and the
    card is rendered and read back. It uploads weights, ``config.json``, and whatever is there of
    ``recipe.yaml``, ``metrics.jsonl``, ``environment.json``, ``card.yaml`` and ``evaluations/*.json``, and
    the card; ``preview.png`` only with ``preview``; never checkpoints or caches. Files of these names in the
    repository are replaced, ``README.md`` included. Those that are not uploaded are deleted from the
    repository, whoever added them; other files stay. A repository with another library's model is left alone
    unless ``force`` is given. The folder is not changed; names of home folders are taken out of the uploaded
    ``recipe.yaml`` and ``environment.json``.

    Args:
        folder: a finished run, or any that `save_pretrained` wrote.
        repo_id: ``org/repo``; made if there is none.
        private: of a new repository; an existing one must be as asked for. None: an existing one stays as it
            is, a new one is what the account's settings say (usually public).
        branch: to push to; made if there is none. Default: main.
        create_pr: open a pull request to main instead; the repository must exist.
        tag: a name for this version, such as ``v1``; it never moves to another commit.
        commit_message: default: says what was uploaded.
        token: one that may write; default: what ``hf auth login`` or HF_TOKEN gave.
        dry_run: check everything, but don't contact the Hub.
        card: a ``card.yaml`` elsewhere, with the evaluations that it lists beside it.
        preview: upload ``preview.png``, too. It draws shapes that the model was trained on.
        force: replace a model of another library that is in the repository.

    Raises:
        ValueError: a file is wrong (see ``hub.push_files.prepare``), or changed meanwhile; ``repo_id`` is no
            name of a repository; the repository is public where private was asked for, or the reverse; it
            holds another library's model; ``tag`` names another commit already.
        FileNotFoundError: no such folder.
        OSError: the Hub did not take it (`HubError`); says why and what to do.
    """
    folder = Path(folder).expanduser()
    check_token(token)
    _check_names(repo_id, branch, create_pr, tag)
    from huggingface_hub import HfApi, get_token

    known = [secret for secret in (token, get_token()) if secret]
    facts = None if card is None else Path(card)
    files, text = prepare(folder, repo_id, card=facts, preview=preview, secrets=known)
    if dry_run:
        return Pushed(repo_id, files, text)
    if not known:
        raise ValueError(f"{repo_id}: not logged in; log in with 'hf auth login' or set HF_TOKEN")
    api = HfApi(token=token, library_name="pointmae-zoo", library_version=__version__)
    message = commit_message or f"Upload {folder.resolve().name} with pointmae-zoo {__version__}"
    with _errors_explained(repo_id, branch, files):
        if not create_pr:
            wanted: dict[str, Any] = {} if private is None else {"private": private}
            with_retries(lambda: api.create_repo(repo_id, exist_ok=True, **wanted))
        head = with_retries(lambda: _head(api, repo_id))
    if private is not None and head.private != private:
        there, other = ("private", "public") if head.private else ("public", "private")
        raise ValueError(
            f"{repo_id}: is there and {there}, not {other}; nothing was sent. Change that in its settings, "
            "or choose another name"
        )
    with _errors_explained(repo_id, branch, files):
        branches, tags = _refs(api, repo_id) if branch or tag else ({}, {})
        if branch in branches:
            head = with_retries(lambda: _head(api, repo_id, branch))
        foreign = "" if force else _foreign_model(api, repo_id, head)
    if foreign:
        raise ValueError(
            f"{repo_id}: holds a model that pointmae-zoo did not store ({foreign}); nothing was sent. Choose "
            "another name, or replace it with force=True (--force)"
        )
    replaced, deleted = _differing(files, head, new=False), _missing_here(files, head)
    unchanged = head.sha if not (_differing(files, head) or deleted) else None
    if tag in tags and tags[tag] != unchanged:
        raise ValueError(
            f"{repo_id}: tag {tag} is there already, for commit {tags[tag]}; nothing was sent. Choose "
            "another tag: others may load by this one"
        )
    with _errors_explained(repo_id, branch, files, create_pr):
        if branch is not None and branch not in branches:
            with_retries(lambda: api.create_branch(repo_id, branch=branch, revision=head.sha, exist_ok=True))
        if create_pr:
            done = _open_pull_request(api, repo_id, files, message, head)
        else:
            done = _commit(api, repo_id, files, message, branch, head)
        if tag is not None:
            with_retries(lambda: api.create_tag(repo_id, tag=tag, revision=done.oid, exist_ok=True))
    return Pushed(
        repo_id,
        files,
        text,
        done.commit_url,
        done.oid,
        done.pr_url,
        tag,
        changed=done.oid != head.sha,
        replaced=replaced,
        deleted=deleted,
        private=head.private,
    )


def _refs(api: "HfApi", repo_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """Commits of the repository's branches and of its tags, by name."""
    refs = with_retries(lambda: api.list_repo_refs(repo_id))
    branches, tags = ({one.name: one.target_commit for one in kind} for kind in (refs.branches, refs.tags))
    return branches, tags


def _foreign_model(api: "HfApi", repo_id: str, head: "ModelInfo") -> str:
    """What is there of a model that no push of ours put there, in words; empty: nothing, or one of ours."""
    there = {one.rfilename: one for one in head.siblings or ()}
    if CONFIG_FILE not in there:
        return f"{WEIGHTS_FILE} without {CONFIG_FILE}" if WEIGHTS_FILE in there else ""
    if (there[CONFIG_FILE].size or 0) > MAX_CONFIG:
        return f"{CONFIG_FILE} of {there[CONFIG_FILE].size:,} bytes"
    path = Path(with_retries(lambda: api.hf_hub_download(repo_id, CONFIG_FILE, revision=head.sha)))
    try:
        read_config(path)
    except CheckpointError as error:
        return str(error).replace(f"{path}: ", f"{CONFIG_FILE}: ")
    return ""


def _head(api: "HfApi", repo_id: str, branch: str | None = None) -> "ModelInfo":
    return api.model_info(repo_id, revision=branch, files_metadata=True)


def _commit(
    api: "HfApi", repo_id: str, files: list[File], message: str, branch: str | None, head: "ModelInfo"
) -> "CommitInfo":
    """One commit on top of ``head``, retried if need be: never on top of later commits, and never twice, if
    only the answer got lost."""
    first = True

    def attempt() -> "CommitInfo | None":
        nonlocal first
        now = head if first else _head(api, repo_id, branch)
        first = False
        if now.sha != head.sha and (_differing(files, now) or _missing_here(files, now)):
            return None
        # Where all is there already, the client makes no commit.
        return api.create_commit(
            repo_id,
            _operations(files, now),
            commit_message=message,
            revision=branch,
            parent_commit=now.sha,
        )

    done = with_retries(attempt)
    if done is None:
        raise _changed_meanwhile(repo_id)
    return done


def _open_pull_request(
    api: "HfApi", repo_id: str, files: list[File], message: str, head: "ModelInfo"
) -> "CommitInfo":
    operations = _operations(files, head)
    added = operations[: len(files)]
    with_retries(lambda: api.preupload_lfs_files(repo_id, added, create_pr=True))
    # Once: if the answer got lost, a second attempt would open a second pull request.
    return api.create_commit(
        repo_id, operations, commit_message=message, create_pr=True, parent_commit=head.sha
    )


def _operations(files: list[File], head: "ModelInfo") -> list[Any]:
    """Every file, and after them what is deleted."""
    from huggingface_hub import CommitOperationDelete

    return [*map(_added, files), *map(CommitOperationDelete, _missing_here(files, head))]


def _added(file: File) -> "CommitOperationAdd":
    """The file to upload. The client reads weights again: they must be those that were checked."""
    from huggingface_hub import CommitOperationAdd

    try:
        operation = CommitOperationAdd(file.name, file.content)
        same = operation.upload_info.sha256.hex() == file.sha256
    except (OSError, ValueError):  # no such file any more
        same = False
    if not same:
        raise CheckpointError(f"{file.content!s}: changed while it was being pushed; nothing was committed")
    return operation


def _missing_here(files: list[File], head: "ModelInfo") -> list[str]:
    """Files of the repository that a push would replace, and that are missing here."""
    here = {file.name for file in files}
    there = [one.rfilename for one in head.siblings or ()]
    ours = [name for name in there if name in OWN_FILES or fnmatchcase(name, "evaluations/*.json")]
    return [name for name in ours if name not in here]


def _differing(files: list[File], head: "ModelInfo", *, new: bool = True) -> list[str]:
    """What the repository has with another content, and with ``new`` what it lacks."""
    there = {one.rfilename: one for one in head.siblings or ()}
    return [
        file.name for file in files if (not _matches(file, there[file.name]) if file.name in there else new)
    ]


def _matches(file: File, listed: Any) -> bool:
    if listed.lfs is not None:
        return bool(listed.lfs["sha256"] == file.sha256)
    content = file.content.read_bytes() if isinstance(file.content, Path) else file.content
    return bool(listed.blob_id == git_hash(content))


def _changed_meanwhile(repo_id: str, status: int | None = None) -> HubError:
    """The repository has changed: perhaps by our own commit, of an attempt whose answer got lost."""
    why = "" if status is None else f" (HTTP {status})"
    return HubError(f"{repo_id}: has changed meanwhile{why}; nothing was overwritten, push again")


@contextlib.contextmanager
def _errors_explained(
    repo_id: str, branch: str | None, files: list[File], create_pr: bool = False
) -> Iterator[None]:
    """Turn the client's errors into one line of our own."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except (HubError, CheckpointError):
        raise
    except Exception as error:
        status = status_of(error)
        paths = [file.content for file in files if isinstance(file.content, Path)]
        if status is None and (lost := [path for path in paths if not path.is_file()]):
            raise HubError(f"{lost[0]}: went away while it was being pushed to {repo_id}") from error
        # Of what it has checked before a commit, the card, the client tells in an error of Python's.
        if status == 400 and isinstance(error, ValueError) and not isinstance(error, HfHubHTTPError):
            said = " ".join(str(error).split())
            raise ValueError(f"{repo_id}: the Hub does not take the card: {said}") from error
        if status in (409, 412):
            raise _changed_meanwhile(repo_id, status) from error
        found = explained(error, f"{repo_id}@{branch}" if branch else repo_id, right="write")
        if create_pr and (status is None or status >= 500):
            found = HubError(
                f"{found}; {constants.ENDPOINT}/{repo_id}/discussions tells whether it was opened"
            )
        raise found from error


def _check_names(repo_id: str, branch: str | None, create_pr: bool, tag: str | None) -> None:
    if "@" in repo_id:
        raise ValueError(f"{repo_id}: 'org/repo' expected; a branch is given as branch (--branch)")
    check_name(repo_id, branch)
    if branch is not None and create_pr:
        raise ValueError("branch and create_pr: a pull request goes to main; choose one of them")
    if tag is not None:
        check_name(repo_id, tag)
        if create_pr:
            raise ValueError("tag and create_pr: a pull request is no version yet; choose one of them")
