"""A small Joint-MAE, clouds for it, and what its joint encoder gives."""

from typing import Any

import torch
from torch import Tensor

from pointmae_zoo import create_model
from pointmae_zoo.models.joint_mae.joint_network import JointMAEForPretraining, JointOutput

SMALL: dict[str, Any] = {
    "num_tokens": (32, 8),
    "num_neighbors": (8, 8),
    "dims": (48, 96),
    "depths": (0, 2),
    "stem_widths": (32, 64),
    "image_size": 56,
    "image_strides": (2, 2, 2),
    "image_dims": (16, 32, 96),
    "filled_gaps": 5,
}


def small(**overrides: Any) -> JointMAEForPretraining:
    torch.manual_seed(0)
    model: JointMAEForPretraining = create_model("joint_mae_tiny", "pretraining", **{**SMALL, **overrides})
    return model


def shapes(batch: int = 2, points: int = 512, seed: int = 0) -> Tensor:
    """A plate on a ball, of different proportions."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(batch, points, 3, generator=generator)
    ball = 0.6 * drawn / drawn.norm(dim=-1, keepdim=True)
    plate = torch.rand(batch, points, 3, generator=generator) * torch.tensor([1.8, 0.05, 1.0])
    plate = plate + torch.tensor([-0.9, 0.5, -0.5])
    shape = torch.where(torch.arange(points).view(1, -1, 1) % 2 == 0, ball, plate)
    return shape * (0.6 + 0.4 * torch.rand(batch, 1, 3, generator=generator))


def half(rows: int, count: int, shown: int) -> Tensor:
    """Masks (rows, count) with ``shown`` entries true, others in every row."""
    drawn = torch.rand(rows, count, generator=torch.Generator().manual_seed(4)).argsort(1) < shown
    return drawn


def encoded(model: JointMAEForPretraining, *inputs: Any, **masks: Any) -> tuple[JointOutput, list[Tensor]]:
    """A step's output, and every visible token that leaves the joint encoder: 3D by level, and 2D."""
    found: list[Tensor] = []
    hooks = [
        norm.register_forward_hook(lambda _, __, out: found.append(out.detach().clone()))
        for norm in (*model.encoder.norms.values(), model.image_norm)
    ]
    torch.manual_seed(1)  # drop path
    output = model(*inputs, **masks)
    for hook in hooks:
        hook.remove()
    assert len(found) == len(hooks)
    for level, mask in enumerate(
        model.encoder.visible_below(masks["visible"], model.encoder.group(inputs[0]))
    ):
        found[level] = found[level][mask]
    return output, found
