"""AdamW with the parameter groups of masked pre-training, and the moving average of weights."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pointmae_zoo.models.reconstruction import TokenPropagation
from pointmae_zoo.models.tokenizer import TokenEmbedding

# The reference exempts every parameter with "token" in its name, which in it is also these modules'.
_NAMED_TOKEN = (TokenEmbedding, TokenPropagation)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two groups: decayed matrices, and what is never decayed.

    Not decayed are biases and all other 1-D parameters, the mask token, token embedding and token
    propagation. Frozen parameters are in neither.
    """
    exempt_ids = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, _NAMED_TOKEN)
        for parameter in module.parameters()
    }
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_exempt = (
            parameter.ndim <= 1 or name.endswith("bias") or "token" in name or id(parameter) in exempt_ids
        )
        (exempt if is_exempt else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]


def adamw(model: nn.Module, weight_decay: float, betas: tuple[float, float]) -> torch.optim.AdamW:
    """AdamW over ``parameter_groups``; the learning rate is set anew before every step."""
    return torch.optim.AdamW(parameter_groups(model, weight_decay), lr=0.0, betas=betas)


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of a model: of its weights, and of the statistics of its BatchNorms,
    which belong to them. It begins with the model as it is after the first step."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
