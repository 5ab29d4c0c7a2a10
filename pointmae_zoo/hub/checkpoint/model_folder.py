"""Saving a model to a folder (``model.safetensors``, ``config.json``) and loading it: strictly, no
pickles."""

import dataclasses
import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pointmae_zoo.hub.checkpoint import kind_conversion
from pointmae_zoo.hub.checkpoint.config_file import CONFIG_FILE, build, build_empty, config_text, read_config
from pointmae_zoo.hub.checkpoint.errors import CheckpointError, key_problems, shapes_of
from pointmae_zoo.hub.checkpoint.safetensors_header import check_header
from pointmae_zoo.hub.checkpoint.wrappers import plain_name, plain_state, unwrapped
from pointmae_zoo.models.registry import Weights
from pointmae_zoo.models.stored_config import ModelConfig
from pointmae_zoo.system.files import file_sha256, written_whole

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "model.safetensors"
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")


def save_pretrained(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    provenance: dict[str, Any] | None = None,
    half: bool = False,
) -> Path:
    """Write ``model.safetensors`` and ``config.json``, from which `from_pretrained` rebuilds the model.

    Each file is written under a temporary name and then renamed. A crash between the two leaves new weights
    beside the old ``config.json``; loading then says that they don't belong together.

    Args:
        model: from `create_model` or `from_pretrained` (its ``.config`` is what gets stored), or the encoder
            inside one. If it is compiled, or wrapped in DataParallel or DistributedDataParallel, it is stored
            without the wrapper.
        folder: made if missing.
        provenance: entries to add to what the model remembers of its origin (status, data, licence, ...).
        half: store matrices in float16 (vectors and BatchNorm statistics stay float32): half the size, and
            about 1e-3 relative rounding. `from_pretrained` gives float32 again.

    Returns:
        The folder.

    Raises:
        TypeError: a model without ``.config``, or with weights spread over several processes (FSDP).
        OSError: a file can't be written. The message names it; if the disk is full, it says what is kept.
        ValueError: weights with NaN or infinity; labels or provenance of more than 1 MB, or with numbers
            that JSON does not have.
    """
    inner = unwrapped(model) if isinstance(model, nn.Module) else model
    config = getattr(inner, "config", None)
    if not isinstance(config, ModelConfig):
        raise TypeError(
            f"{type(inner).__name__} has no .config of the zoo; "
            "save a model from create_model or from_pretrained"
        )
    config = dataclasses.replace(config, provenance={**config.provenance, **(provenance or {})})
    return write_folder(folder, config, plain_state(model), half=half)


def write_folder(
    folder: str | os.PathLike[str], config: ModelConfig, state: Mapping[str, Tensor], *, half: bool
) -> Path:
    """Write a configuration and tensors as `save_pretrained` does; ``state`` may be a part of a model's."""
    tensors = {}
    for key, tensor in state.items():
        tensor = tensor.detach().to("cpu")
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float16 if half and tensor.ndim > 1 else torch.float32)
            if not bool(tensor.isfinite().all()):
                raise ValueError(f"{key} holds NaN or infinity; such weights are not saved")
        tensors[key] = tensor.contiguous()
    weights = save(tensors, metadata={"format": "pt"})
    text = config_text(config, hashlib.sha256(weights).hexdigest())
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / WEIGHTS_FILE) as unfinished:
        unfinished.write_bytes(weights)
    with written_whole(folder / CONFIG_FILE) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    return folder


def load_folder(
    folder: Path,
    *,
    kind: str | None = None,
    head: Mapping[str, Any] | None = None,
    pinned: Weights | None = None,
    origin: Mapping[str, str] | None = None,
    name: str | None = None,
    encoder: nn.Module | None = None,
) -> nn.Module:
    """Rebuild the model of a folder; float32, CPU, evaluation mode.

    Memory is allocated only after the configuration was checked and the header of the weights fits it.

    Args:
        folder: as `save_pretrained` writes it.
        kind: None: as stored; else see `from_pretrained`.
        head: fields of the head's configuration, and ``labels``.
        pinned: the registry's entry, whose hashes the files must have. None: the hash in ``config.json``.
        origin: the Hub repository and commit that it came from, kept as ``provenance["hub"]``. Its files may
            be links, as they are in the Hub's cache.
        name: what messages call the model.
        encoder: used if the file leaves the encoder out.

    Raises:
        CheckpointError: anything missing, extra, wrongly shaped, damaged or not finite.
        TypeError, ValueError: a wrong ``kind`` or ``head``.
    """
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        _check_there(folder / file, may_be_link=origin is not None)
    path = folder / WEIGHTS_FILE
    if pinned is not None:
        check_pinned_config(folder / CONFIG_FILE, pinned)
    config, sha256 = read_config(folder / CONFIG_FILE)
    if origin is not None:
        config = dataclasses.replace(config, provenance={**config.provenance, "hub": dict(origin)})
    stored = build_empty(folder / CONFIG_FILE, config)
    plan = kind_conversion.plan(config, stored, kind, dict(head or {}), name or str(folder))
    if pinned is not None and path.stat().st_size != pinned.size:
        raise CheckpointError(
            f"{path}: damaged or exchanged: {path.stat().st_size:,} bytes, not the {pinned.size:,} that were "
            "published; copy or download it again"
        )
    lent = {} if encoder is None else {f"encoder.{key}": one for key, one in encoder.state_dict().items()}
    check_header(path, {key: one for key, one in stored.state_dict().items() if key not in lent})
    if file_sha256(path) != (pinned.sha256 if pinned else sha256):
        raise CheckpointError(
            f"{path}: damaged or exchanged (its sha256 is not the one "
            f"{'that was published' if pinned else 'in ' + CONFIG_FILE}); copy or download it again"
        )
    read = _read_tensors(path, [key for key in plan.tensors if key not in lent])
    tensors = {to: lent[key] if key in lent else read[key] for key, to in plan.tensors.items()}
    model: Any
    if plan.new:
        logger.warning(
            "%s: %s (%s) is new and random; train it before use", name or folder, plan.what, plan.why
        )
        model = build(_initialised(plan, config, _public_name(folder, pinned, origin)))
        fresh = model.state_dict()
        kept = {key: shape for key, shape in shapes_of(fresh).items() if not key.startswith(plan.new)}
        problems = key_problems(kept, shapes_of(tensors))
        if problems:
            raise CheckpointError(f"{path}: does not become a {plan.config.kind} model: {problems}")
        model.load_state_dict({**fresh, **tensors}, strict=True)
    else:
        model = stored if plan.config is config else build_empty(folder / CONFIG_FILE, plan.config)
        model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval()


def _initialised(plan: kind_conversion.Plan, stored: ModelConfig, name: str) -> ModelConfig:
    """The configuration of a model with a new head. The stored provenance moves into ``initialised_from``."""
    made_from = {
        "name": name,
        "kind": stored.kind,
        "new": plan.what,
        "provenance": stored.provenance,
    }
    return dataclasses.replace(plan.config, provenance={"initialised_from": made_from})


def _public_name(folder: Path, pinned: Weights | None, origin: Mapping[str, str] | None) -> str:
    """What others may read of where a model came from: of a folder its last name alone."""
    if pinned is not None:
        return pinned.name
    return f"{origin['repo']}@{origin['commit']}" if origin is not None else folder.resolve().name


def check_pinned_config(path: Path, pinned: Weights) -> None:
    """Raise a CheckpointError unless ``config.json`` is the one that was published."""
    if file_sha256(path) != pinned.config_sha256:
        raise CheckpointError(
            f"{path}: damaged or exchanged (its sha256 is not the one that was published); "
            "copy or download it again"
        )


def nothing_here(place: str, names: list[str]) -> str:
    """Why a folder or repository with these files holds no model."""
    pickles = sorted(name for name in names if name.lower().endswith(PICKLES))
    if pickles and WEIGHTS_FILE not in names:
        return (
            f"{place}: holds {pickles[0]}, a pickle, which can run code and is never loaded; "
            "'pointmae-zoo convert' turns a reference checkpoint into safetensors"
        )
    of_run = "recipe.yaml" in names and {"checkpoints", "environment.json"} & set(names)
    if of_run and WEIGHTS_FILE not in names:
        return (
            f"{place}: a run that has not finished, so there are no weights yet; --resume continues it "
            f"('pointmae-zoo pretrain' or 'finetune' --out {place} --resume)"
        )
    expected = f"{place}: {WEIGHTS_FILE} and {CONFIG_FILE} expected, as save_pretrained writes them"
    if WEIGHTS_FILE in names and CONFIG_FILE not in names:
        return f"{expected}; 'pointmae-zoo convert' reads some weights of other programs"
    return expected


def _check_there(file: Path, *, may_be_link: bool) -> None:
    """Check that it is a file in this folder: no device, which might never end, and no link that leads
    out."""
    folder = file.parent
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder")
    if not file.is_file():
        raise CheckpointError(nothing_here(str(folder), [path.name for path in folder.iterdir()]))
    homes = [folder.resolve()]
    repository = homes[0].parent.parent
    if homes[0].parent.name == "snapshots" and repository.name.startswith("models--"):
        # The Hub client's cache: a snapshot's files are links into its repository's folder, and that one's,
        # by newer clients, into a store for all repositories.
        homes = [repository, repository.parent / "blobs"]
    if not may_be_link and not any(file.resolve().is_relative_to(home) for home in homes):
        raise CheckpointError(f"{file}: a link that leads out of its folder; put the file itself there")


def _read_tensors(path: Path, wanted: Iterable[str]) -> dict[str, Tensor]:
    tensors = {}
    with safe_open(path, framework="pt") as file:
        stored = {plain_name(name): name for name in file.keys()}  # noqa: SIM118 - no mapping
        for key in wanted:
            # Cloned into torch's own aligned memory: matrix kernels round differently by alignment, and
            # the same weights must give the same features, bit for bit, at every load.
            tensor = file.get_tensor(stored[key]).clone()
            if tensor.is_floating_point():
                tensor = tensor.float()
                if not bool(tensor.isfinite().all()):
                    raise CheckpointError(f"{path}: {key} holds NaN or infinity; these weights can't be used")
            tensors[key] = tensor
    return tensors
