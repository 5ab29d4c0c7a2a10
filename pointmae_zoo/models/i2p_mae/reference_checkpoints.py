"""How checkpoints of the reference implementations become ours: I2P-MAE's, and Point-M2AE's for part
segmentation."""

import re
from typing import Any

from torch import Tensor

from pointmae_zoo.models.registry import ReferenceCheckpoints, ReferencePreset

# What weights can't tell: neighbours, radii of local attention, pooling (the papers' fine-tuning settings).
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


def _translate(key: str, tensor: Tensor) -> tuple[str, Tensor] | None:
    """A key and tensor of the reference -> ours: its 1x1 convolutions (O, I, 1) are linear layers (O, I)."""
    name = our_key(key)
    if name is None:
        return None
    if name == "mask_token":
        return name, tensor.flatten()
    return name, tensor.squeeze(-1) if tensor.ndim == 3 else tensor


REFERENCE = ReferenceCheckpoints(
    presets={
        kind: {
            name: ReferencePreset(
                # The reference's rules of sampling and masking are on.
                {"skip_near_origin": True, "hide_uncovered": kind == "pretraining", **arguments},
                _POINTS.get(name, 2048),
            )
            for name, arguments in presets.items()
        }
        for kind, presets in PRESETS.items()
    },
    translate=_translate,
    ignored="clip_model.",
)
