"""How Point-M2AE's weights in the layout of the package torch-pointcloud (0.0.18) become ours.

What it computes is Point-M2AE's official code with three differences: farthest point sampling has no rule
about points near the origin; its MLPs have other names; and where tokens are carried to the points, their
features come before the points' coordinates, not after.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pointmae_zoo.models.i2p_mae.reference_checkpoints import DECODER, PRESETS, Rule, our_key, preset
from pointmae_zoo.models.registry import ReferenceCheckpoints

# Data sets of a kind, and whose settings they have.
_PRESETS = {
    "encoder": {"shapenet": "shapenet"},
    "classification": {
        "modelnet40": "point_m2ae_modelnet40",
        "scanobjectnn": "point_m2ae_scanobjectnn",
    },
    "part_segmentation": {"shapenetpart": "shapenetpart"},
}
_TOKENIZER = {
    "local_mlp.lins.0": "conv1",
    "local_mlp.norms.0.module": "norm1",
    "local_mlp.lins.1": "conv2",
    "global_mlp.lins.0": "conv3",
    "global_mlp.norms.0.module": "norm2",
    "global_mlp.lins.1": "conv4",
}
_PART_HEAD = {
    "lins.0": 0,
    "norms.0.module": 1,
    "lins.1": 4,
    "norms.1.module": 5,
    "lins.2": 7,
    "norms.2.module": 8,
    "lins.3": 10,
}
_ENCODER: list[Rule] = [
    (r"h_encoder\.token_embed\.(\d+)\.(.+)", lambda m: f"encoder.embeddings.{m[1]}.{_TOKENIZER[m[2]]}"),
    (
        r"h_encoder\.encoder_pos_embeds\.(\d+)\.lins\.(\d+)",
        lambda m: f"encoder.stages.{m[1]}.position.{2 * int(m[2])}",
    ),
    (
        r"h_encoder\.encoder_blocks\.(\d+)\.blocks\.(\d+)\.mlp\.lins\.(\d+)",
        lambda m: f"encoder.stages.{m[1]}.blocks.{m[2]}.mlp.fc{int(m[3]) + 1}",
    ),
    (r"h_encoder\.encoder_blocks\.(\d+)\.blocks\.(.+)", r"encoder.stages.\1.blocks.\2"),
    (r"h_encoder\.encoder_norms\.(\d+)", r"encoder.norms.\1"),
    (r"norm", "encoder.norms.2"),
]
_RULES: dict[str, list[Rule]] = {
    "encoder": _ENCODER,
    "classification": [
        *_ENCODER,
        (r"head\.lins\.(\d+)", lambda m: f"head.{4 * int(m[1])}"),
        (r"head\.norms\.(\d+)\.module", lambda m: f"head.{4 * int(m[1]) + 1}"),
    ],
    "part_segmentation": [
        *_ENCODER,
        (r"label_conv\.lins\.0", "label_embedding.0"),
        (r"label_conv\.norms\.0\.module", "label_embedding.1"),
        (r"propagations\.(\d+)\.mlp\.lins\.(\d+)", lambda m: f"propagations.{m[1]}.{3 * int(m[2])}"),
        (
            r"propagations\.(\d+)\.mlp\.norms\.(\d+)\.module",
            lambda m: f"propagations.{m[1]}.{3 * int(m[2]) + 1}",
        ),
        (r"head\.(.+)", lambda m: f"head.{_PART_HEAD[m[1]]}"),
    ],
}
_MARKS = {
    "encoder": ("rec_head.weight",),
    "classification": ("norm.weight", "head.lins.0.weight"),
    "part_segmentation": ("label_conv.lins.0.weight",),
}


def _translator(kind: str) -> Callable[[str, Tensor], tuple[str, Tensor] | None]:
    def translate(key: str, tensor: Tensor) -> tuple[str, Tensor] | None:
        name = our_key(key, _RULES[kind])
        if name is None:
            return None
        if key.startswith("propagations.") and key.endswith(".lins.0.weight"):
            # (O, C + 3): coordinates come first here.
            tensor = torch.cat([tensor[:, -3:], tensor[:, :-3]], dim=1)
        return name, tensor

    return translate


TORCH_POINTCLOUD = tuple(
    ReferenceCheckpoints(
        source="the package torch-pointcloud (Point-M2AE)",
        kind=kind,
        marks=("h_encoder.token_embed.0.local_mlp.lins.0.weight", *marks),
        presets=dict(
            preset(name, kind, PRESETS[kind][like], skip_near_origin=False)
            for name, like in _PRESETS[kind].items()
        ),
        translate=_translator(kind),
        left_out=DECODER if kind == "encoder" else (),
    )
    for kind, marks in _MARKS.items()
)
