"""Hashes that identify an encoder or a whole model by its numbers, whatever file they are in."""

import hashlib
import json
from typing import Any

import torch
from torch import nn

from pointmae_zoo.hub.checkpoint.wrappers import plain_state, unwrapped
from pointmae_zoo.models.encoder import PointEncoder


def encoder_sha256(encoder: PointEncoder) -> str:
    """Hexadecimal sha256 of an encoder's arguments, its preprocessing and its float32 tensors, in the order
    of their names.

    A run's folder, a folder that holds its encoder alone and copies on the Hub have the same hash. Rounded
    weights (``save_pretrained(half=True)``) have another one.
    """
    config = encoder.config
    return _sha256(encoder, {"arguments": config.arguments, "preprocess": config.preprocess.to_dict()})


def model_sha256(model: nn.Module) -> str:
    """The hash of a whole model, which also covers its kind, its head and the names of its outputs. For a
    network without ``config`` only the tensors count."""
    config = getattr(unwrapped(model), "config", None)
    if config is None:
        return _sha256(model, {})
    shaped = {"kind": config.kind, "arguments": config.arguments, "labels": config.labels}
    return _sha256(model, {**shaped, "preprocess": config.preprocess.to_dict()})


def _sha256(model: nn.Module, shaped: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(shaped, sort_keys=True).encode() + b"\n")
    for name, tensor in sorted(plain_state(model).items()):
        tensor = tensor.detach().to("cpu")
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32)
        array = tensor.contiguous().numpy()
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {array.dtype.str} {list(array.shape)}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
