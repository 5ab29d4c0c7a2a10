"""A person's own copy of a reference checkpoint -> our layout.

The reference implementations (I2P-MAE, Point-M2AE's segmentation model) publish pickles. Only their tensors
are read (``weights_only``); every key must be known and every weight of ours filled.
"""

import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointmae_zoo.data.contents import no_shape
from pointmae_zoo.data.files import file_sha256
from pointmae_zoo.data.preprocess import Preprocess
from pointmae_zoo.hub.checkpoint.errors import CheckpointError, key_problems
from pointmae_zoo.hub.checkpoint.folder import save_pretrained
from pointmae_zoo.hub.checkpoint.wrappers import plain_name
from pointmae_zoo.registry import create_model

# What weights can't tell: neighbours, radii of local attention, pooling, input (papers' fine-tuning
# configurations).
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "pretraining": {"shapenet": {}},
    "classification": {
        "modelnet40": {
            "num_neighbors": (48, 24, 24),
            "local_radius": (0.24, 0.48, 0.96),
            "head_pool": "mean+max",
            "pool": "mean+max",
        },
        "scanobjectnn": {
            "num_neighbors": (32, 16, 16),
            "local_radius": (0.32, 0.64, 1.28),
            "head_pool": "mean,max",
            "pool": "mean,max",
        },
        "scanobjectnn_pb": {
            "num_neighbors": (32, 16, 16),
            "local_radius": (0.48, 0.96, 1.92),
            "head_pool": "mean,max",
            "pool": "mean,max",
        },
    },
    "part_segmentation": {"shapenetpart": {"local_radius": (0.32, 0.64, 1.28)}},
}
_NUMPY_SCALARS: list[Any] = [
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64")),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
]
_POINTS = {"modelnet40": 1024}  # the others: 2,048

_TOKENIZER = {
    "first_conv.0": "conv1",
    "first_conv.1": "norm1",
    "first_conv.3": "conv2",
    "second_conv.0": "conv3",
    "second_conv.1": "norm2",
    "second_conv.3": "conv4",
}
_PROPAGATION = {
    "fuse.net.0": "fuse",
    "fuse.net.1": "fuse_norm",
    "extraction.operation.0.net1.0": "conv1",
    "extraction.operation.0.net1.1": "norm1",
    "extraction.operation.0.net2.0": "conv2",
    "extraction.operation.0.net2.1": "norm2",
}
_SEGMENTATION_HEAD = {"convs1": 0, "bns1": 1, "convs2": 4, "bns2": 5, "convs3": 7, "bns3": 8, "convs4": 10}

# Reference module -> our module; the last part of a key (weight, bias, running_mean, ...) stays.
_RULES: list[tuple[str, Any]] = [
    (r"h_encoder\.token_embed\.(\d+)\.(.+)", lambda m: f"encoder.embeddings.{m[1]}.{_TOKENIZER[m[2]]}"),
    (r"h_encoder\.encoder_pos_embeds\.(\d+)\.(\d+)", r"encoder.stages.\1.position.\2"),
    (r"h_encoder\.encoder_blocks\.(\d+)\.blocks\.(.+)", r"encoder.stages.\1.blocks.\2"),
    (r"h_encoder\.encoder_norms\.(\d+)", r"encoder.norms.\1"),
    (r"h_decoder\.(\d+)\.blocks\.(.+)", r"stages.\1.blocks.\2"),
    (r"decoder_pos_embeds\.(\d+)\.(\d+)", r"stages.\1.position.\2"),
    (r"token_prop\.(\d+)\.(.+)", lambda m: f"propagations.{m[1]}.{_PROPAGATION[m[2]]}"),
    (r"decoder_norm", "norm"),
    (r"rec_head_(2d|3d)", r"head_\1"),
    (r"norm", "encoder.norms.2"),
    (r"cls_head_finetune\.(\d+)", r"head.\1"),
    (r"label_conv\.(\d+)", r"label_embedding.\1"),
    (r"propagations\.(\d+)\.mlp_convs\.(\d+)", lambda m: f"propagations.{m[1]}.{3 * int(m[2])}"),
    (r"propagations\.(\d+)\.mlp_bns\.(\d+)", lambda m: f"propagations.{m[1]}.{3 * int(m[2]) + 1}"),
    (r"convs\d|bns\d", lambda m: f"head.{_SEGMENTATION_HEAD[m[0]]}"),
]


def convert_checkpoint(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    architecture: str = "i2p_mae_base",
    kind: str,
    preset: str | None = None,
) -> Path:
    """Turn a reference checkpoint into a folder that `from_pretrained` loads, with the flags that reproduce
    the reference.

    Args:
        file: ``.pth`` with the keys bare or under ``base_model``, with or without ``module.``; its
            ``clip_model.*`` entries are ignored.
        out: folder to write.
        architecture: ``i2p_mae_base``.
        kind: ``pretraining``, ``classification`` or ``part_segmentation``.
        preset: the data set it was fine-tuned on, which fixes what weights can't tell; needed for
            ``classification``.

    Returns:
        ``out``.

    Raises:
        ValueError: unknown kind or preset, a file that holds more than tensors, or keys that don't fit, which
            are listed.
    """
    file = Path(file)
    arguments, preprocess = _settings(kind, preset)
    state = _read_state(file)
    converted: dict[str, Tensor] = {}
    unknown = []
    for key, tensor in state.items():
        name = our_key(key)
        if name is None:
            unknown.append(key)
        else:
            converted[name] = tensor.squeeze(-1) if tensor.ndim == 3 else tensor
    if unknown:
        raise CheckpointError(
            f"{file}: {len(unknown)} keys are not of the reference's {kind} model, "
            f"such as {', '.join(unknown[:5])}"
        )
    if "mask_token" in converted:
        converted["mask_token"] = converted["mask_token"].flatten()
    if kind == "classification" and "head.8.weight" in converted:
        arguments["num_classes"] = len(converted["head.8.weight"])
    model = create_model(
        architecture,
        kind,
        preprocess=preprocess,
        provenance={
            "status": "converted",
            "source": file.name,
            "source_sha256": file_sha256(file),
            "preset": preset,
        },
        **arguments,
    )
    expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    problems = key_problems(expected, {key: tuple(tensor.shape) for key, tensor in converted.items()})
    if problems:
        raise CheckpointError(f"{file}: does not fit {architecture} as {kind}: {problems}")
    model.load_state_dict(converted, strict=True)
    return save_pretrained(model, out)


def _settings(kind: str, preset: str | None) -> tuple[dict[str, Any], Preprocess]:
    """Arguments and preprocessing of a kind and preset, the reference's sampling and masking rules switched
    on."""
    if kind not in PRESETS:
        raise ValueError(f"kind: one of {', '.join(PRESETS)} expected, got {kind!r}")
    known = PRESETS[kind]
    if preset is None:
        if len(known) > 1:
            raise ValueError(
                "preset: weights can't tell neighbours, radii and pooling; "
                f"name the data set: {' or '.join(known)}"
            )
        preset = next(iter(known))
    if preset not in known:
        raise ValueError(f"preset: one of {', '.join(known)} expected for {kind}, got {preset!r}")
    arguments = {"skip_near_origin": True, "hide_uncovered": kind == "pretraining", **known[preset]}
    return arguments, Preprocess(num_points=_POINTS.get(preset, 2048))


def our_key(key: str) -> str | None:
    """The name here of a reference key (no ``module.`` in front), or None for a key that no rule knows."""
    module, _, leaf = key.rpartition(".")
    if not module:
        return key if key == "mask_token" else None
    for pattern, replacement in _RULES:
        match = re.fullmatch(pattern, module)
        if match:
            try:
                name = replacement(match) if callable(replacement) else match.expand(replacement)
            except KeyError:
                return None
            return f"{name}.{leaf}"
    return None


def _read_state(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    with file.open("rb") as stream:
        if (what := no_shape(stream.read(4096))) is not None:
            raise CheckpointError(f"{file}: {what}")
    try:
        # Real checkpoints carry their best accuracy as a numpy scalar, which is data and no code.
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it holds {foreign[1]}" if foreign else "damaged, or not written by torch.save"
        raise CheckpointError(
            f"{file}: not readable as a checkpoint of plain tensors ({reason}); "
            "re-save its state_dict alone with torch.save"
        ) from None
    if isinstance(content, dict) and isinstance(content.get("base_model"), dict):
        content = content["base_model"]
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(v, Tensor) for v in content.values())
    ):
        raise CheckpointError(f"{file}: a dictionary of tensors expected, bare or under 'base_model'")
    state = {plain_name(str(key)).removeprefix("module."): tensor for key, tensor in content.items()}
    return {key: tensor for key, tensor in state.items() if not key.startswith("clip_model.")}
