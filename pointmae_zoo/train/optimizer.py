"""AdamW with the parameter groups of masked pre-training, and its learning rate."""

import math

import torch
from torch import nn

from pointmae_zoo.models.tokenizer import TokenEmbedding


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two groups: decayed matrices, and what is never decayed.

    Not decayed are biases and all other 1-D parameters, the mask token, and the token embedding (the
    reference exempts every parameter with "token" in its name, which is these).
    """
    embeddings = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, TokenEmbedding)
        for parameter in module.parameters()
    }
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_exempt = (
            parameter.ndim <= 1 or name.endswith("bias") or "token" in name or id(parameter) in embeddings
        )
        (exempt if is_exempt else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]


def adamw(model: nn.Module, weight_decay: float, betas: tuple[float, ...]) -> torch.optim.AdamW:
    """AdamW over ``parameter_groups``; the learning rate is set anew before every step."""
    return torch.optim.AdamW(parameter_groups(model, weight_decay), lr=0.0, betas=(betas[0], betas[1]))


def learning_rate(step: int, *, steps: int, warmup: int, peak: float, final: float) -> float:
    """Linear from ``final`` to ``peak`` over ``warmup`` steps, then half a cosine down to ``final``."""
    if step < warmup:
        return final + (peak - final) * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - 1 - warmup)
    return final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
