"""``config.json``: everything about a stored model except its weights. Nothing in it is ever run or
opened."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pointmae_zoo.hub.checkpoint.errors import CheckpointError, named
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.models.registry import create_model
from pointmae_zoo.models.stored_config import ModelConfig
from pointmae_zoo.shapes.contents import no_shape

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
MAX_CONFIG = 1 << 20
"""The most bytes that are read as JSON. Ours have 4 kB; the names of 30,000 classes would fit."""

_DEEPEST = 32  # levels of nesting
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


def config_text(config: ModelConfig, weights_sha256: str) -> str:
    """What is written to ``config.json``.

    Raises:
        ValueError: it is longer than `read_config` accepts, or holds NaN or infinity.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "architecture": config.architecture,
        "kind": config.kind,
        "arguments": config.arguments,
        "preprocess": config.preprocess.to_dict(),
        "labels": None if config.labels is None else list(config.labels),
        "provenance": config.provenance,
        "weights_sha256": weights_sha256,
    }
    odd = next(_not_finite(content), None)
    if odd is not None:
        raise ValueError(
            f"{CONFIG_FILE}: field {odd}: NaN or infinity, which JSON does not have; store null or a text"
        )
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    if len(text.encode()) > MAX_CONFIG:
        raise ValueError(
            f"{CONFIG_FILE}: {len(text.encode()):,} bytes, more than {MAX_CONFIG:,}; "
            "shorten labels or provenance"
        )
    return text


def read_config(path: Path) -> tuple[ModelConfig, str]:
    """Read ``config.json`` and check every field. Also returns the sha256 that the weights must have.

    Raises:
        CheckpointError: it is too large, unreadable or of a newer format, or a field is wrong (says which).
    """
    content = _read_json(path)
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
            f"{path}: " + "; ".join(named("missing field", missing) + named("unknown field", unknown))
        )
    for name, kind in (("architecture", str), ("kind", str), ("arguments", dict), ("provenance", dict)):
        if not isinstance(content[name], kind):
            raise CheckpointError(f"{path}: field {name!r}: {kind.__name__} expected, got {content[name]!r}")
    labels = content["labels"]
    if labels is not None and not (
        isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    ):
        raise CheckpointError(f"{path}: field 'labels': null or a list of names expected, got {labels!r}")
    sha256 = content["weights_sha256"]
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise CheckpointError(
            f"{path}: field 'weights_sha256': 64 hexadecimal digits expected, got {sha256!r}"
        )
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
    return config, sha256


def build(config: ModelConfig) -> nn.Module:
    """A model of this configuration with random weights, drawn as `create_model` does."""
    model: nn.Module = create_model(
        config.architecture,
        config.kind,
        preprocess=config.preprocess,
        labels=config.labels,
        provenance=config.provenance,
        **config.arguments,
    )
    return model


def build_empty(path: Path, config: ModelConfig) -> nn.Module:
    """The model on the meta device, without memory for weights, so that wrong files are found early.

    Args:
        path: of the ``config.json``, for errors.
        config: as it was read.

    Raises:
        CheckpointError: no such architecture or kind, an argument that is unknown, missing or out of range,
            or labels that don't fit the outputs.
    """
    others = config.arguments.keys() & {"name", "kind", "preprocess", "labels", "provenance"}
    if others:  # what create_model takes beside the architecture's arguments
        raise CheckpointError(f"{path}: field 'arguments': {named('unknown argument', others)[0]}")
    try:
        with torch.device("meta"):
            model = build(config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    stored: Any = model.config
    left_out = named("missing argument", stored.arguments.keys() - config.arguments.keys())
    if left_out:  # else a later change of a default would change these weights' features
        raise CheckpointError(f"{path}: field 'arguments': {left_out[0]}")
    outputs = stored.arguments.get("num_classes", stored.arguments.get("num_parts"))
    if config.labels is not None and len(config.labels) != outputs:
        raise CheckpointError(
            f"{path}: field 'labels': {len(config.labels)} names for {outputs or 'no'} outputs"
        )
    return model


def _read_json(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        raw = file.read(MAX_CONFIG + 1)
    if (what := no_shape(raw)) is not None:  # a pointer of Git LFS, an error message of a server
        raise CheckpointError(f"{path}: {what}")
    if len(raw) > MAX_CONFIG:
        raise CheckpointError(f"{path}: more than {MAX_CONFIG:,} bytes, which no configuration has")
    try:
        content = json.loads(raw.decode("utf-8"))
        deep = _nested_deeper(content, _DEEPEST)
    except RecursionError:
        deep = True
    except ValueError as error:  # no UTF-8, no JSON, or a number of thousands of digits
        raise CheckpointError(f"{path}: not readable as JSON ({error}); copy or download it again") from None
    if deep:
        raise CheckpointError(f"{path}: nested deeper than {_DEEPEST} levels, which no configuration is")
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: a JSON object expected")
    return content


def _not_finite(content: Any, name: str = "") -> Iterator[str]:
    """The names of numbers that are NaN or infinite, such as ``provenance.final_losses.loss``."""
    if isinstance(content, float) and not math.isfinite(content):
        yield name
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _not_finite(value, f"{name}.{key}" if name else str(key))
    elif isinstance(content, (list, tuple)):
        for number, value in enumerate(content):
            yield from _not_finite(value, f"{name}[{number}]")


def _nested_deeper(content: Any, most: int) -> bool:
    level = [content]
    for _ in range(most):
        level = [
            inner
            for value in level
            if isinstance(value, (dict, list))
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True
