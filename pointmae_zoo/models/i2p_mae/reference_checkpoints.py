"""How checkpoints of the official code of I2P-MAE and Point-M2AE become ours. Both have the same encoder."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.models.registry import ReferenceCheckpoints, ReferencePreset

Rule = tuple[str, str | Callable[[re.Match[str]], str]]
"""A pattern of a module's whole name, and the name here: a template, or a function that raises KeyError for a
name that it doesn't know."""

# What weights can't tell: neighbours, radii of local attention, pooling (the papers' fine-tuning settings).
# Pre-training has no local attention: Point-M2AE's radii only reach padding there.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "pretraining": {"shapenet": {}},
    "encoder": {"shapenet": {"pool": "mean+max"}},  # Point-M2AE's pre-training
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
        "point_m2ae_modelnet40": {
            "num_neighbors": (16, 8, 8),
            "local_radius": (0.32, 0.64, 1.28),
            "head_pool": "mean+max",
            "pool": "mean+max",
        },
        "point_m2ae_scanobjectnn": {
            "num_neighbors": (32, 16, 16),
            "local_radius": (0.32, 0.64, 1.28),
            "head_pool": "mean,max[1:]",
            "pool": "mean,max[1:]",
        },
    },
    "part_segmentation": {"shapenetpart": {"local_radius": (0.32, 0.64, 1.28)}},
}
DECODER = ("mask_token", "h_decoder.", "decoder_pos_embeds.", "decoder_norm.", "token_prop.", "rec_head.")
"""Of Point-M2AE's pre-training: it predicts 16 points where 8 are hidden, which no model here does."""

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

# Their module -> our module; the last part of a key (weight, bias, running_mean, ...) stays.
_RULES: list[Rule] = [
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


def our_key(key: str, rules: Sequence[Rule] = _RULES) -> str | None:
    """The name here of their key (no ``module.`` in front), or None for a key that no rule knows."""
    module, _, leaf = key.rpartition(".")
    if not module:
        return key if key == "mask_token" else None
    for pattern, replacement in rules:
        match = re.fullmatch(pattern, module)
        if match:
            try:
                name = replacement(match) if callable(replacement) else match.expand(replacement)
            except KeyError:
                return None
            return f"{name}.{leaf}"
    return None


def preset(
    name: str, kind: str, arguments: dict[str, Any], *, skip_near_origin: bool
) -> tuple[str, ReferencePreset]:
    """With what the data sets and the kinds have in common: numbers of points, scaling, masking.

    Their code leaves ScanObjectNN's points as the data set has them.
    """
    own: dict[str, Any] = {"center": "none", "scale": "none"} if "scanobjectnn" in name else {}
    return name, ReferencePreset(
        {
            "skip_near_origin": skip_near_origin,
            "hide_uncovered": kind in ("encoder", "pretraining"),
            **arguments,
        },
        Preprocess(num_points=1024 if "modelnet40" in name else 2048, **own),
    )


def _translate(key: str, tensor: Tensor) -> tuple[str, Tensor] | None:
    """Their 1x1 convolutions (O, I, 1) are linear layers (O, I) here."""
    name = our_key(key)
    if name is None:
        return None
    if name == "mask_token":
        return name, tensor.flatten()
    return name, tensor.squeeze(-1) if tensor.ndim == 3 else tensor


_BOTH = "I2P-MAE's or Point-M2AE's code"  # their fine-tuned models have the same keys
_SOURCES = {"pretraining": "I2P-MAE's code", "encoder": "Point-M2AE's code"}
_MARKS = {
    "pretraining": "rec_head_3d.weight",
    "encoder": "rec_head.weight",
    "classification": "cls_head_finetune.0.weight",
    "part_segmentation": "convs1.weight",
}
REFERENCES = tuple(
    ReferenceCheckpoints(
        source=_SOURCES.get(kind, _BOTH),
        kind=kind,
        marks=("h_encoder.token_embed.0.first_conv.0.weight", mark),
        presets=dict(
            preset(name, kind, arguments, skip_near_origin=True) for name, arguments in PRESETS[kind].items()
        ),
        translate=_translate,
        left_out=DECODER if kind == "encoder" else ("clip_model.",),
    )
    for kind, mark in _MARKS.items()
)
