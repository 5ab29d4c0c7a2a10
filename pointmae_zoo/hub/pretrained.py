"""From a name or a folder to a model.

Which files a published name stands for, by size and sha256, is written where its family is, in
``models/FAMILY/__init__.py``; `models.registry.get_weights` gives it. The files lie in
``pointmae_zoo/weights``.
"""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, overload

import torch
from torch import nn

from pointmae_zoo.hub.checkpoint.config_file import CONFIG_FILE, build_empty, read_config
from pointmae_zoo.hub.checkpoint.errors import CheckpointError
from pointmae_zoo.hub.checkpoint.model_folder import PICKLES, load_folder
from pointmae_zoo.hub.client import HubError
from pointmae_zoo.hub.snapshot import HubSource, check_name, download_snapshot, naming
from pointmae_zoo.models.encoder import PointEncoder
from pointmae_zoo.models.heads import PointForClassification, PointForPartSegmentation
from pointmae_zoo.models.pretraining_model import PretrainingModel
from pointmae_zoo.models.registry import get_weights, list_models, list_weights
from pointmae_zoo.models.stored_config import ModelConfig
from pointmae_zoo.system.devices import check_device

# Weights that come with the package, one folder each.
BUNDLED = Path(__file__).resolve().parent.parent / "weights"


class _Options(TypedDict, total=False):
    """The keywords of `from_pretrained` beside ``kind``, for editors and type checkers."""

    device: str | torch.device
    dtype: torch.dtype
    revision: str | None
    token: str | bool | None
    cache_dir: str | os.PathLike[str] | None
    local_files_only: bool
    force_download: bool
    labels: Sequence[str] | None  # from here on, of the head
    num_classes: int
    head_pool: str
    head_width: int
    head_dropout: float
    num_parts: int
    num_object_classes: int
    propagated_dims: tuple[int, int]
    label_dim: int
    head_dims: tuple[int, int, int]


_Source = str | os.PathLike[str]


@overload
def from_pretrained(
    source: _Source, *, kind: Literal["encoder"], **options: Unpack[_Options]
) -> PointEncoder: ...
@overload
def from_pretrained(
    source: _Source, *, kind: Literal["pretraining"], **options: Unpack[_Options]
) -> PretrainingModel: ...
@overload
def from_pretrained(
    source: _Source, *, kind: Literal["classification"], **options: Unpack[_Options]
) -> PointForClassification: ...
@overload
def from_pretrained(
    source: _Source, *, kind: Literal["part_segmentation"], **options: Unpack[_Options]
) -> PointForPartSegmentation: ...
@overload
def from_pretrained(source: _Source, *, kind: str | None = None, **options: Unpack[_Options]) -> Any: ...
def from_pretrained(
    source: str | os.PathLike[str],
    *,
    kind: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    **head: Any,
) -> Any:
    """Load a model with its weights, in evaluation mode.

    Args:
        source: published weights (``"i2p_mae_tiny.shapes"``; ``"i2p_mae_tiny"``: its first); a folder that
            `save_pretrained`, ``pointmae-zoo pretrain`` or ``convert`` wrote (a path, or text that begins
            with ``./``, ``../``, ``/`` or ``~`` or is an existing folder); or a repository of the Hub,
            ``"org/repo"`` or ``"org/repo@revision"``. A published name means the published weights, whatever
            folder has it.
        kind: None: the kind that is stored. ``"encoder"`` takes the encoder out of any other kind.
            ``"classification"`` and ``"part_segmentation"`` out of another kind take its encoder and a new
            head.
        device: to load to.
        dtype: of the weights; geometry is always computed in float32.
        revision: branch, tag or commit of a Hub repository; default: main.
        token: for private and gated repositories; default: what ``hf auth login`` or HF_TOKEN gave; False:
            none.
        cache_dir: where downloads are kept; default: the Hub client's own cache (HF_HOME).
        local_files_only: don't contact the Hub; use what an earlier load left in the cache.
        force_download: download again what is in the cache.
        head: of a classifier or part segmenter, fields of its head's configuration (`ClassifierConfig`,
            `PartSegmenterConfig`), and ``labels``, the names of the outputs. Where they are not the stored
            ones, the last layer or the whole head is new, drawn from torch's global seed; a warning of the
            logger "pointmae_zoo" says which and why.

    Returns:
        The model, with ``.config`` (architecture, arguments, preprocessing, labels, provenance).
        ``config.provenance["hub"]`` is the repository and commit it was downloaded from, if it was.

    Raises:
        ValueError: unknown name (near ones are suggested); a folder or repository whose files don't fit
            exactly, lists the keys (`CheckpointError`); a wrong ``kind`` or value; no such device.
        TypeError: a field that the head does not have.
        OSError: the Hub could not be read (`HubError`); says why and what to do.
    """
    check_device(device)
    name = str(source)
    loading: dict[str, Any] = {"kind": kind, "head": head, "name": name}
    cache = {"local_files_only": local_files_only, "force_download": force_download}
    place = None if cache_dir is None else Path(cache_dir)
    if is_hub_name(source):
        repo, at, given = name.partition("@")
        if at and revision is not None:
            raise ValueError(f"{name}: revision: given twice, {given!r} and {revision!r}")
        where = HubSource(repo, given if at else revision, token, place)
        model = _load_from_hub(where, cache, loading, may_be_folder=not at)
    elif revision is not None:
        why = "published weights are of one commit" if is_published(source) else "a folder has no revision"
        raise ValueError(f"{name}: {why}; revision is for repositories of the Hub")
    elif is_published(source):
        pinned = get_weights(name)
        if pinned.encoder is not None:
            loading["encoder"] = from_pretrained(
                pinned.encoder,
                kind="encoder",
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                force_download=force_download,
            )
        if pinned.repo is None or (BUNDLED / pinned.name).is_dir():
            model = load_folder(BUNDLED / pinned.name, pinned=pinned, **loading)
        else:
            where = HubSource(pinned.repo, pinned.commit, token, place, pinned)
            model = _load_from_hub(where, cache, loading)
    else:
        model = load_folder(_checked_folder(Path(source).expanduser()), **loading)
    return model.to(device=device, dtype=dtype)


def local_config(source: str | os.PathLike[str]) -> ModelConfig | None:
    """The configuration of weights that lie in a folder or came with the package; the weights aren't read.
    None for anything else. Raises CheckpointError if it is damaged."""
    if is_published(source):
        entry = get_weights(str(source)) if source in list_weights() else None
        folder = None if entry is None else BUNDLED / entry.name
    else:
        folder = None if is_hub_name(source) else Path(source).expanduser()
    if folder is None or not (folder / CONFIG_FILE).is_file():
        return None
    path = folder / CONFIG_FILE
    checked: Any = build_empty(path, read_config(path)[0])
    return checked.config


def _load_from_hub(
    where: HubSource, cache: dict[str, bool], loading: dict[str, Any], *, may_be_folder: bool = False
) -> nn.Module:
    """``may_be_folder``: a folder may have been meant, so errors also say that there is none."""
    if may_be_folder:
        if near := _near_folder(Path(where.repo)):
            raise ValueError(
                f"{where.repo}: no such folder; did you mean {near}? ({where.repo}@main asks the Hub)"
            )
        try:
            check_name(where.repo)
        except ValueError as error:
            raise ValueError(f"{error}, and there is no such folder") from None
    try:
        folder, commit = download_snapshot(where, **cache)
    except HubError as error:
        if not may_be_folder:
            raise
        said = str(error).removeprefix(f"{where.repo}: ")
        raise HubError(f"{where.repo}: no such folder; on the Hub: {said}") from error
    with naming(loading["name"], folder):
        origin = {"repo": where.repo, "commit": commit}
        return load_folder(folder, pinned=where.pinned, origin=origin, **loading)


def is_published(source: str | os.PathLike[str]) -> bool:
    """Whether it is a name of the registry (a wrong one, too) rather than a folder or a repository."""
    if not isinstance(source, str):
        return False
    known = source in list_weights() or source in list_models()
    return known or not (_looks_like_a_path(source) or "/" in source)


def is_hub_name(source: str | os.PathLike[str]) -> bool:
    """Whether it is a repository of the Hub: text with a slash that is no path and no existing folder."""
    return isinstance(source, str) and not is_published(source) and not _looks_like_a_path(source)


def full_name(source: str | os.PathLike[str], model: Any) -> str:
    """What a table of results calls a model that was loaded from ``source``: a repository of the Hub with its
    commit, anything else as it was given."""
    if is_hub_name(source):
        hub = model.config.provenance["hub"]
        return f"{hub['repo']}@{hub['commit']}"
    return os.fspath(source)


def public_name(source: str | os.PathLike[str], model: Any = None) -> str:
    """Where a model comes from, without what is private: the name of published weights; the repository of the
    Hub, with the commit that ``model`` was loaded from; of a folder only its own name."""
    if is_published(source):
        return get_weights(os.fspath(source)).name
    if is_hub_name(source):
        known = model is not None and "hub" in model.config.provenance
        return full_name(source, model) if known else os.fspath(source)
    return Path(source).expanduser().resolve().name


def _looks_like_a_path(source: str) -> bool:
    return (
        source in (".", "..", "~")
        or source.startswith(("./", "../", "/", "~/"))
        or (os.sep != "/" and os.sep in source)
        or os.path.lexists(source)
    )


def _checked_folder(folder: Path) -> Path:
    if folder.is_file():
        raise CheckpointError(f"{folder}: a folder expected, not a file; {_way_out(folder)}")
    if not folder.is_dir():
        near = _near_folder(folder)
        raise CheckpointError(f"{folder}: no such folder" + (f"; did you mean {near}?" if near else ""))
    return folder


def _near_folder(folder: Path) -> Path | None:
    """An existing folder with a similar name, beside the missing one."""
    try:
        beside = [path.name for path in folder.parent.iterdir() if path.is_dir()]
    except OSError:
        return None
    near = difflib.get_close_matches(folder.name, beside, n=1)
    return folder.parent / near[0] if near else None


def _way_out(file: Path) -> str:
    if file.suffix in PICKLES:
        return (
            "a pickle can run code and is never loaded; "
            "'pointmae-zoo convert' turns a reference checkpoint into a folder"
        )
    return f"give the folder that holds it: {file.parent}"
