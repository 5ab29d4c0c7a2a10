"""Download of a model from the Hub into the client's cache: two files of one commit, checked.

Names, sizes and hashes are checked before the download, because the Hub lists them.
"""

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pointmae_zoo._version import __version__
from pointmae_zoo.hub.checkpoint.config_file import CONFIG_FILE, MAX_CONFIG, build_empty, read_config
from pointmae_zoo.hub.checkpoint.errors import CheckpointError
from pointmae_zoo.hub.checkpoint.model_folder import WEIGHTS_FILE, check_pinned_config, nothing_here
from pointmae_zoo.hub.checkpoint.safetensors_header import file_sizes
from pointmae_zoo.hub.client import (
    ATTEMPTS,
    HubError,
    check_token,
    explained,
    may_pass,
    status_of,
    with_retries,
)
from pointmae_zoo.models.registry import Weights
from pointmae_zoo.system.files import file_sha256

logger = logging.getLogger(__name__)

_TIMEOUT = 20.0  # seconds for the list of files to begin to arrive
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHORT = re.compile(r"[0-9a-f]{7,39}")


class Snapshot(NamedTuple):
    """A model in the client's cache."""

    folder: Path
    commit: str


@dataclass(frozen=True)
class HubSource:
    """A repository to load from."""

    repo: str
    revision: str | None = None
    token: str | bool | None = field(default=None, repr=False)
    cache_dir: Path | None = None
    pinned: Weights | None = None

    @property
    def about(self) -> str:
        """Its name in messages."""
        return f"{self.repo}@{self.revision}" if self.revision else self.repo


def download_snapshot(
    source: HubSource, *, local_files_only: bool = False, force_download: bool = False
) -> Snapshot:
    """Bring ``config.json`` and ``model.safetensors`` of one commit into the cache, or find them there.

    The Hub isn't asked for a commit that lies in the cache. For a branch or tag it is; if it can't be
    reached, or is failing, the commit that was there at the last load is used, with a warning. A file that is
    not what it should be is fetched once more, then refused.

    Args:
        source: repository, revision and how to get at them.
        local_files_only: don't contact the Hub; use what is in the cache.
        force_download: download both files again, whatever is in the cache.

    Raises:
        HubError: no access, no such repository, revision or file, no connection, no room; says what to do.
        CheckpointError: what the repository holds is no model, or not the one that was published.
        ValueError: a name or revision that can't be one, or settings that exclude each other.
    """
    check_name(source.repo, source.revision)
    check_token(source.token)
    if local_files_only and force_download:
        raise ValueError("force_download: excludes local_files_only, with which nothing is downloaded")
    cached = None if force_download else _cached(source)
    if cached is not None and (local_files_only or source.revision == cached.commit):
        try:
            with naming(source.about, cached.folder):
                _check_whole(cached.folder, source.pinned)
            return cached
        except CheckpointError:
            if local_files_only:
                raise
    if local_files_only:
        raise HubError(
            f"{source.about}: not, or not completely, in the cache; load it once without local_files_only"
        )
    try:
        commit, files = _listed(source, attempts=ATTEMPTS if cached is None else 1)
    except HubError:
        raise
    except Exception as error:
        said = explained(error, source.about)
        if cached is None or not (status_of(error) is None or may_pass(error)):
            raise said from error
        logger.warning("%s; using commit %s from the cache", said, cached.commit)
        return cached
    found = _download(source, commit, files, force_download)
    if source.revision != commit and (cached is None or cached.commit != commit):
        _note_commit(source, commit)
    return found


def check_name(repo: str, revision: str | None = None) -> None:
    """Raise a ValueError for what can be no repository or revision, before anybody is asked for it.

    Args:
        repo: ``org/repo``, without a revision.
        revision: a branch, a tag or a commit; None: not given.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
        valid = repo.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise ValueError(
            f"{repo:.200}: no name of a repository on the Hub (org/repo expected, of letters, digits, '.', "
            "'_' and '-')"
        )
    if revision is not None and (
        not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,254}", revision)
        or ".." in revision
        or "//" in revision
        or revision.endswith("/")
    ):
        raise ValueError(f"{repo}: revision: a branch, a tag or a commit expected, got {revision[:80]!r}")


@contextlib.contextmanager
def naming(about: str, folder: Path) -> Iterator[None]:
    """Errors about files of a snapshot name the repository, not a path in the cache."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(f"{folder}{os.sep}", f"{about}: ")) from error


def _listed(source: HubSource, attempts: int) -> tuple[str, dict[str, Any]]:
    """The commit that the revision stands for, and the files in it by name."""
    from huggingface_hub import HfApi

    api = HfApi(library_name="pointmae-zoo", library_version=__version__)
    info = with_retries(
        lambda: api.model_info(
            source.repo,
            revision=source.revision or "main",
            files_metadata=True,
            token=source.token,
            timeout=_TIMEOUT,
        ),
        attempts=attempts,
    )
    if info.sha is None or not _COMMIT.fullmatch(info.sha):
        raise HubError(f"{source.about}: the Hub names no commit for it")
    if _SHORT.fullmatch(source.revision or "") and info.sha.startswith(str(source.revision)):
        raise HubError(
            f"{source.about}: a commit is named by its 40 digits: {source.repo}@{info.sha}. A short one may "
            "come to mean another commit"
        )
    return info.sha, {file.rfilename: file for file in info.siblings or []}


def _download(source: HubSource, commit: str, files: dict[str, Any], force: bool) -> Snapshot:
    if WEIGHTS_FILE not in files or CONFIG_FILE not in files:
        raise CheckpointError(nothing_here(source.about, list(files)))
    config, weights = files[CONFIG_FILE], files[WEIGHTS_FILE]
    pinned = source.pinned
    if (config.size or 0) > MAX_CONFIG:
        raise CheckpointError(
            f"{source.about}: {CONFIG_FILE} of {config.size:,} bytes, which no configuration has; "
            "not downloaded"
        )
    if pinned is not None:
        _check_weights(source, weights, pinned.sha256, pinned.size, pinned.size)
    path = _file(source, commit, config, force, pinned.config_sha256 if pinned else None)
    with naming(source.about, path.parent):
        stored, sha256 = read_config(path)
        least, most = file_sizes(build_empty(path, stored).state_dict())
    _check_weights(source, weights, pinned.sha256 if pinned else sha256, least, most)
    return Snapshot(_file(source, commit, weights, force, pinned.sha256 if pinned else sha256).parent, commit)


def _check_weights(source: HubSource, listed: Any, sha256: str, least: int, most: int) -> None:
    """Refuse weights that can't be the right ones by what the Hub says of them."""
    where = f"{source.about}: {WEIGHTS_FILE}"
    if listed.size is not None and not least <= listed.size <= most:
        wanted = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        why = "were published" if source.pinned else "its architecture needs"
        raise CheckpointError(
            f"{where} of {listed.size:,} bytes, not the {wanted} that {why}; not downloaded"
        )
    if listed.lfs is not None and listed.lfs["sha256"] != sha256:
        why = "that was published" if source.pinned else f"in its {CONFIG_FILE}"
        raise CheckpointError(f"{where} is another file (its sha256 is not the one {why}); not downloaded")


def _file(source: HubSource, commit: str, listed: Any, force: bool, sha256: str | None) -> Path:
    """The cached path of one file; a wrong file, in the cache or as it arrives, is downloaded once more."""
    for again in (force, True):
        path = _downloaded(source, commit, listed.rfilename, again)
        if _matches(path, listed, sha256):
            return path
        # The client, forced or not, keeps a snapshot's link to what came under another ETag.
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    right = "was published" if source.pinned else "was listed"
    raise CheckpointError(
        f"{source.about}: {listed.rfilename} is not what {right}, twice in a row (changed, or damaged "
        "on the way); it is not used"
    )


def _downloaded(source: HubSource, revision: str, name: str, force: bool) -> Path:
    from huggingface_hub import constants, hf_hub_download

    try:
        path = with_retries(
            lambda: hf_hub_download(
                source.repo,
                name,
                revision=revision,
                token=source.token,
                cache_dir=source.cache_dir,
                force_download=force,
                library_name="pointmae-zoo",
                library_version=__version__,
            )
        )
    except Exception as error:
        place = str(source.cache_dir or constants.HF_HUB_CACHE)
        raise explained(error, source.about, file=name, place=place) from error
    return Path(path)


def _note_commit(source: HubSource, commit: str) -> None:
    """Have the client note which commit a branch or tag stands for, for loads when the Hub can't be reached.
    It does so when a file is downloaded by that name; so this is called once both files of the commit are
    there, or a failed download would take the older ones away."""
    try:
        _downloaded(source, source.revision or "main", CONFIG_FILE, force=False)
    except HubError as error:
        logger.warning("%s; commit %s is loaded, but not noted for a time without the Hub", error, commit)


def _matches(path: Path, listed: Any, sha256: str | None) -> bool:
    """Whether a file is the one that the Hub listed, and has this sha256 if one is known."""
    if listed.lfs is not None and sha256 is None:
        sha256 = listed.lfs["sha256"]
    if sha256 is not None:
        return file_sha256(path) == sha256
    return listed.blob_id is None or git_hash(path.read_bytes()) == listed.blob_id


def git_hash(content: bytes) -> str:
    """Git's hash of a file's content, which the Hub lists for small files."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _cached(source: HubSource) -> Snapshot | None:
    """Both files in the cache, of the commit that the revision is, or was at its last load."""
    from huggingface_hub import try_to_load_from_cache

    revision = source.revision or "main"
    config = try_to_load_from_cache(source.repo, CONFIG_FILE, source.cache_dir, revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    if not _COMMIT.fullmatch(folder.name) or not (folder / WEIGHTS_FILE).is_file():
        return None
    return Snapshot(folder, folder.name)


def _check_whole(folder: Path, pinned: Weights | None) -> None:
    """Raise a CheckpointError unless the files of a commit are what they should be."""
    if pinned is not None:
        check_pinned_config(folder / CONFIG_FILE, pinned)
    _, sha256 = read_config(folder / CONFIG_FILE)
    if file_sha256(folder / WEIGHTS_FILE) != (pinned.sha256 if pinned else sha256):
        raise CheckpointError(
            f"{folder / WEIGHTS_FILE}: damaged; load it once without local_files_only, which repairs it"
        )
