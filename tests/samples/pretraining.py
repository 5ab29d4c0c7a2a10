"""Small models to pre-train, and what their losses and gradients are."""

from typing import Any

import torch
from torch import Tensor

from pointmae_zoo.models.pretraining_model import TeacherViews, weighted_sum
from pointmae_zoo.models.registry import create_model

SMALL: dict[str, Any] = {
    "num_tokens": (24, 8),
    "num_neighbors": (6, 4),
    "dims": (12, 24),
    "num_heads": 3,
    "stem_widths": (8, 16),
}
MODELS: dict[str, dict[str, Any]] = {
    "i2p_mae_tiny": {**SMALL, "depths": (2, 2), "teacher_dim": 5, "num_views": 3},
    "joint_mae_tiny": {
        **SMALL,
        "depths": (0, 2),
        "image_size": 32,
        "image_strides": (4, 2, 1),
        "image_dims": (8, 12, 24),
    },
}


def model_and_batch(name: str, dtype: torch.dtype = torch.float32) -> tuple[Any, Tensor, TeacherViews | None]:
    """A small model in training mode with drop path, and what it is trained on."""
    torch.manual_seed(0)
    model = create_model(name, kind="pretraining", drop_path=0.3, **MODELS[name]).train().to(dtype)
    points = 0.4 * torch.randn(5, 80, 3, dtype=dtype)
    views = None
    if name.startswith("i2p"):
        views = TeacherViews(
            [torch.randn(5, 3, 5, 4, 4, dtype=dtype)],
            torch.rand(5, 3, 4, 4, dtype=dtype),
            2 * torch.rand(5, 3, 80, 2, dtype=dtype) - 1,
        )
    return model, points, views


def losses_and_gradients(model: Any, points: Tensor, views: TeacherViews | None) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)  # masks and drop path
    model.zero_grad()
    losses = model(points, views).losses
    weighted_sum(losses).backward()
    grads = [one.grad.flatten() for one in model.parameters() if one.grad is not None]
    return torch.stack([one.value for one in losses.values()]).detach(), torch.cat(grads)
