"""Weights of an image teacher from a local file.

- ``.safetensors``, ``.pth``, ``.pt``, ``.bin``: a state dict with timm's or torchvision's names, OpenAI's
  CLIP (``visual.*`` keys), or what else timm itself converts for that model (such as DINOv2's own names),
  bare or under ``model`` or ``state_dict``; an EfficientNet-Lite with the names of the package
  efficientnet-pytorch;
- ``.npz`` of *plain convolutions*: arrays ``..N_weight`` and ``..N_bias`` numbered in network order,
  BatchNorm already folded into them, as ONNX tools export them. They are put into the model's convolutions in
  the same order, their biases into unit BatchNorms.

Pickled code is never run.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# Layers of the package efficientnet-pytorch and timm's names for them.
_EFFICIENTNET_ENDS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EFFICIENTNET_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_EFFICIENTNET_BLOCK_WITHOUT_EXPANSION = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill a teacher's network from a local file (kinds: see the module), in place.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unknown suffix, a damaged file, or one that does not fit the network (names the first
            key).
    """
    check_weights_file(path)
    state = _read_arrays(path)
    if path.suffix == ".npz":
        try:
            load_plain_convolutions(network, state)
        except ValueError as error:
            raise ValueError(f"teacher weights {path}: {error}") from error
        return
    expected = network.state_dict()
    if "_conv_stem.weight" in state:
        state = _efficientnet_as_in_timm(expected, state)
    state = _under_names_of(expected, _converted(state, network, path))
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    # A feature extractor has neither head nor classifier, so a full model's file may hold more than is asked
    # for.
    wrong = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    if missing or wrong:
        counts = f"{len(missing)} of {len(expected)} keys missing, {len(wrong)} of another shape"
        first = f"the first is {(missing + wrong)[0]}"
        if not missing:
            shapes = tuple(state[wrong[0]].shape), tuple(expected[wrong[0]].shape)
            first += f", {shapes[0]} in the file and {shapes[1]} in the model"
        raise ValueError(f"teacher weights {path}: does not fit the model: {counts}; {first}")
    network.load_state_dict({key: value for key, value in state.items() if key in expected}, strict=False)


def check_weights_file(path: Path) -> None:
    """Check a file's path before the file is read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unknown suffix.
    """
    if not path.is_file():
        raise FileNotFoundError(f"teacher weights {path}: no such file")
    if path.suffix not in (".npz", ".safetensors", ".pth", ".pt", ".bin"):
        raise ValueError(f"teacher weights {path}: unknown suffix; expected .safetensors, .pth, .pt or .npz")


def _converted(state: dict[str, Any], network: nn.Module, path: Path) -> dict[str, Any]:
    """A published file's names and shapes -> timm's, if timm can convert them."""
    model_file = sys.modules[type(network).__module__]
    convert = getattr(model_file, "checkpoint_filter_fn", None)
    if convert is None:
        return state
    if "visual.class_embedding" in state:  # CLIP's text network is left out
        state = {key: value for key, value in state.items() if key.startswith("visual.")}
    try:
        return convert(dict(state), network)
    except (KeyError, RuntimeError, ValueError, AttributeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else first_line(error)
        raise ValueError(
            f"teacher weights {path}: incomplete, or made for another model ({reason}); download it again"
        ) from error


def _efficientnet_as_in_timm(expected: Mapping[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """Keys of efficientnet-pytorch, whose blocks are numbered through, under timm's names, where blocks are
    numbered in every stage. Keys that timm's network hasn't are left out or stay."""
    blocks = [found[0] for key in expected if (found := re.match(r"blocks\.\d+\.\d+", key))]
    blocks = list(dict.fromkeys(blocks))
    renamed = {}
    for key, value in state.items():
        layer, _, array = key.rpartition(".")
        if found := re.fullmatch(r"_blocks\.(\d+)\.(\w+)", layer):
            number, name = int(found[1]), found[2]
            wider = f"_blocks.{number}._expand_conv.weight" in state
            names = _EFFICIENTNET_BLOCK if wider else _EFFICIENTNET_BLOCK_WITHOUT_EXPANSION
            if number < len(blocks) and name in names:
                renamed[f"{blocks[number]}.{names[name]}.{array}"] = value
        else:
            renamed[f"{_EFFICIENTNET_ENDS.get(layer, layer)}.{array}"] = value
    return renamed


def _under_names_of(expected: Mapping[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """A full model's keys, ``stages.0.``, under a feature extractor's names, ``stages_0.``."""
    found = dict(state)
    for key in expected:
        full = re.sub(r"^([a-z]+)_(\d+)\.", r"\1.\2.", key)
        if key not in found and full in found:
            found[key] = found[full]
    return found


def _read_arrays(path: Path) -> dict[str, Any]:
    """A file's arrays (``.npz``) or tensors by name. No pickled code is ever run."""
    found: Any
    try:
        if path.suffix == ".npz":
            found = np.load(path, allow_pickle=False)
            if not isinstance(found, np.ndarray):
                with found:
                    found = dict(found)
        elif path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (PermissionError, MemoryError):  # nothing wrong with the file
        raise
    except Exception as error:  # a damaged file may raise anything
        raise ValueError(
            f"teacher weights {path}: damaged, or no {path.suffix} of plain weights ({first_line(error)}); "
            "download it again, or save the network's state_dict() as .safetensors"
        ) from error
    if isinstance(found, dict):
        for name in ("model", "state_dict"):  # beside the optimizer's state and the like
            found = found[name] if isinstance(found.get(name), dict) else found
    kind = np.ndarray if path.suffix == ".npz" else Tensor
    if not isinstance(found, dict) or not any(isinstance(value, kind) for value in found.values()):
        raise ValueError(
            f"teacher weights {path}: no named weights in it; save the network's state_dict() as .safetensors"
        )
    return {str(key): value for key, value in found.items() if isinstance(value, kind)}


def first_line(error: Exception) -> str:
    """The first line of a library's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@torch.no_grad()
def load_plain_convolutions(network: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Copy numbered plain convolutions, with BatchNorm folded in, into a network's convolutions in the order
    of their definition.

    A stored bias is copied to a convolution that has one. Otherwise a BatchNorm must follow, which becomes
    the identity plus that bias (running variance 1 - eps, so that eps has no effect). Arrays after the
    network's last convolution (of a head that a feature extractor lacks) are ignored.

    Args:
        network: modules defined in the order in which they run.
        arrays: ``*N_weight`` (O, I, h, w) and ``*N_bias`` (O,), N counting up in network order.

    Raises:
        ValueError: too few convolutions, or one of another shape.
    """
    numbered: dict[int, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        found = re.fullmatch(r".*?(\d+)_(weight|bias)", key)
        if found:
            numbered.setdefault(int(found[1]), {})[found[2]] = array
    stored = [
        (number, numbered[number])
        for number in sorted(numbered)
        if numbered[number].get("weight", np.empty(0)).ndim == 4
    ]
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d))]
    convolutions = [index for index, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    if len(stored) < len(convolutions):
        raise ValueError(f"{len(stored)} convolutions, but the network has {len(convolutions)}")
    for index, (number, pair) in zip(convolutions, stored, strict=False):
        convolution = layers[index]
        assert isinstance(convolution, nn.Conv2d)
        if "bias" not in pair:
            raise ValueError(f"convolution {number} has no bias; fold the BatchNorms into the convolutions")
        if pair["weight"].shape != tuple(convolution.weight.shape):
            expected = tuple(convolution.weight.shape)
            shape = pair["weight"].shape
            raise ValueError(f"convolution {number} is {shape}, the network has {expected} there")
        if pair["bias"].shape != pair["weight"].shape[:1] or {pair[key].dtype.kind for key in pair} != {"f"}:
            raise ValueError(
                f"convolution {number} has {pair['weight'].dtype} weights and a {pair['bias'].dtype} bias of "
                f"shape {pair['bias'].shape}; expected floats, one bias for each filter"
            )
        convolution.weight.copy_(torch.from_numpy(pair["weight"]))
        bias = torch.from_numpy(pair["bias"])
        if convolution.bias is not None:
            convolution.bias.copy_(bias)
            continue
        norm = layers[index + 1] if index + 1 < len(layers) else None
        if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
            raise ValueError(
                f"convolution {number} has a bias, but the network has neither a bias nor a BatchNorm there"
            )
        norm.weight.fill_(1.0)
        norm.bias.copy_(bias)
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - norm.eps)
