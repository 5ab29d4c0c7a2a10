"""The folder that a model is stored in: ``model.safetensors`` and ``config.json``. Strict, and never a
pickle."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pointmae_zoo.data.files import file_sha256, written_whole
from pointmae_zoo.data.preprocess import Preprocess
from pointmae_zoo.models.config import ModelConfig
from pointmae_zoo.registry import create_model, encoder_config

FORMAT_VERSION = 1
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
_FIELDS = (
    "format_version",
    "architecture",
    "kind",
    "arguments",
    "preprocess",
    "labels",
    "provenance",
    "weights_sha256",
)


class CheckpointError(ValueError):
    """A stored model that can't be used; the message names the file, what is wrong and what to do."""


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
            inside one.
        folder: made if missing.
        provenance: entries to add to what the model remembers of its origin (status, data, licence, ...).
        half: store matrices in float16 (vectors and BatchNorm statistics stay float32): half the size, and
            about 1e-3 relative rounding. `from_pretrained` gives float32 again.

    Returns:
        The folder.

    Raises:
        TypeError: a model without ``.config``.
        ValueError: weights with NaN or infinity.
    """
    config = getattr(model, "config", None)
    if not isinstance(config, ModelConfig):
        raise TypeError(
            f"{type(model).__name__} has no .config of the zoo; "
            "save a model from create_model or from_pretrained"
        )
    config = dataclasses.replace(config, provenance={**config.provenance, **(provenance or {})})
    tensors = {}
    for key, tensor in model.state_dict().items():
        tensor = tensor.detach().to("cpu")
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float16 if half and tensor.ndim > 1 else torch.float32)
            if not bool(tensor.isfinite().all()):
                raise ValueError(f"{key} holds NaN or infinity; such weights are not saved")
        tensors[key] = tensor.contiguous()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = save(tensors, metadata={"format": "pt"})
    with written_whole(folder / WEIGHTS_FILE) as unfinished:
        unfinished.write_bytes(weights)
    content = {
        "format_version": FORMAT_VERSION,
        "architecture": config.architecture,
        "kind": config.kind,
        "arguments": config.arguments,
        "preprocess": config.preprocess.to_dict(),
        "labels": None if config.labels is None else list(config.labels),
        "provenance": config.provenance,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    with written_whole(folder / CONFIG_FILE) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return folder


def read_config(folder: Path) -> tuple[ModelConfig, str]:
    """``config.json`` of a folder, every field checked, and the sha256 that the weights must have.

    Raises:
        CheckpointError: missing, unreadable, from a newer format, or with a wrong field, which is named.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(_nothing_here(folder))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error}); copy or download it again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: a JSON object expected")
    version = content.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CheckpointError(f"{path}: field 'format_version': a positive integer expected, got {version!r}")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format_version {version} is newer than this pointmae-zoo reads ({FORMAT_VERSION}); "
            "pip install --upgrade pointmae-zoo"
        )
    missing, unknown = set(_FIELDS) - set(content), set(content) - set(_FIELDS)
    if missing or unknown:
        raise CheckpointError(
            f"{path}: " + "; ".join(_named("missing field", missing) + _named("unknown field", unknown))
        )
    for name, kind in (("architecture", str), ("kind", str), ("arguments", dict), ("provenance", dict)):
        if not isinstance(content[name], kind):
            raise CheckpointError(f"{path}: field {name!r}: {kind.__name__} expected, got {content[name]!r}")
    labels = content["labels"]
    if labels is not None and not (
        isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    ):
        raise CheckpointError(f"{path}: field 'labels': null or a list of names expected, got {labels!r}")
    try:
        preprocess = Preprocess.from_dict(content["preprocess"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: field 'preprocess': {error}") from None
    config = ModelConfig(
        content["architecture"],
        content["kind"],
        content["arguments"],
        preprocess,
        None if labels is None else tuple(labels),
        content["provenance"],
    )
    return config, str(content["weights_sha256"])


def load_folder(folder: Path, *, kind: str | None = None, sha256: str | None = None) -> nn.Module:
    """Rebuild the model of a folder; float32, CPU, evaluation mode.

    Args:
        folder: as `save_pretrained` writes it.
        kind: None: as stored. ``encoder`` takes the encoder out of any other kind.
        sha256: what the weights must have; default: what ``config.json`` says.

    Raises:
        CheckpointError: anything missing, extra, wrongly shaped, damaged or not finite.
    """
    config, stored_sha256 = read_config(folder)
    wanted = kind or config.kind
    if wanted not in (config.kind, "encoder"):
        raise CheckpointError(
            f"{folder}: holds a model of kind {config.kind!r}, out of which no {wanted!r} can be taken; "
            f"create_model({config.architecture!r}, {wanted!r}) makes a new one"
        )
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(_nothing_here(folder))
    source = _build(folder, config)
    expected = {key: tuple(tensor.shape) for key, tensor in source.state_dict().items()}
    _check_keys(path, expected)
    if file_sha256(path) != (sha256 or stored_sha256):
        raise CheckpointError(
            f"{path}: damaged or exchanged (its sha256 is not the one "
            f"{'that was published' if sha256 else 'in ' + CONFIG_FILE}); copy or download it again"
        )
    prefix = "encoder." if wanted != config.kind else ""
    tensors = _read_tensors(path, prefix)
    if prefix:
        config = encoder_config(config)
        source = _build(folder, config)
    source.load_state_dict(tensors, strict=True, assign=True)
    return source.eval()


def _build(folder: Path, config: ModelConfig) -> nn.Module:
    """The model without storage: a wrong file is found out before anything is allocated."""
    try:
        with torch.device("meta"):
            model: nn.Module = create_model(
                config.architecture,
                config.kind,
                preprocess=config.preprocess,
                labels=config.labels,
                provenance=config.provenance,
                **config.arguments,
            )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / CONFIG_FILE}: {error}") from None
    stored: Any = model.config
    left_out = _named("missing argument", stored.arguments.keys() - config.arguments.keys())
    if left_out:  # else a later change of a default would change these weights' features
        raise CheckpointError(f"{folder / CONFIG_FILE}: field 'arguments': {left_out[0]}")
    outputs = stored.arguments.get("num_classes", stored.arguments.get("num_parts"))
    if config.labels is not None and len(config.labels) != outputs:
        raise CheckpointError(
            f"{folder / CONFIG_FILE}: field 'labels': {len(config.labels)} names "
            f"for {outputs or 'no'} outputs"
        )
    return model


def _check_keys(path: Path, expected: dict[str, tuple[int, ...]]) -> None:
    try:
        with safe_open(path, framework="pt") as file:
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({error}); copy or download it again"
        ) from None
    problems = key_problems(expected, found)
    if problems:
        raise CheckpointError(f"{path}: does not fit its architecture: {problems}")


def key_problems(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    """What keeps ``found`` from being loaded strictly, in words, or an empty string."""
    shapes = [
        f"{key} is {list(found[key])}, not {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    problems = _named("missing", expected.keys() - found.keys()) + _named(
        "unexpected", found.keys() - expected.keys()
    )
    return "; ".join(problems + _named("wrong shape:", shapes))


def _read_tensors(path: Path, prefix: str) -> dict[str, Tensor]:
    tensors = {}
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 - not a dict
            if not key.startswith(prefix):
                continue
            # Cloned into torch's own aligned memory: matrix kernels round differently by alignment, and
            # the same weights must give the same features, bit for bit, at every load.
            tensor = file.get_tensor(key).clone()
            if tensor.is_floating_point():
                tensor = tensor.float()
                if not bool(tensor.isfinite().all()):
                    raise CheckpointError(f"{path}: {key} holds NaN or infinity; these weights can't be used")
            tensors[key.removeprefix(prefix)] = tensor
    return tensors


def _nothing_here(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder}: no such folder"
    pickles = sorted(
        path.name for path in folder.iterdir() if path.suffix in (".pth", ".pt", ".bin", ".ckpt")
    )
    if pickles:
        return (
            f"{folder}: holds {pickles[0]}, a pickle, which can run code and is never loaded; "
            "'pointmae-zoo convert' turns a reference checkpoint into safetensors"
        )
    return f"{folder}: {WEIGHTS_FILE} and {CONFIG_FILE} expected, as save_pretrained writes them"


def _named(what: str, names: Any) -> list[str]:
    names = sorted(names)
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return [f"{what} {', '.join(names[:8])}{more}"] if names else []
