"""AdamW with its parameter groups, and the moving average of weights."""

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pointmae_zoo.models.encoder import PointEncoder
from pointmae_zoo.models.layers import Stage
from pointmae_zoo.models.reconstruction import TokenPropagation
from pointmae_zoo.models.tokenizer import TokenEmbedding

# The reference exempts every parameter with "token" in its name, which in it is also these modules'.
_NAMED_TOKEN = (TokenEmbedding, TokenPropagation)


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Decayed matrices, and what is never decayed; and with ``layer_decay`` below 1 both for each layer.

    Not decayed are biases and all other 1-D parameters, the mask token, token embedding and token
    propagation. Frozen parameters are in no group.

    Args:
        layer_decay: the learning rate of a layer is that of the one above it times this
            (``lr_scale`` of its groups). Layers are those of `layer_depths`.

    Raises:
        ValueError: layers are wanted of a model whose encoder has none.
    """
    exempt_ids = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, _NAMED_TOKEN)
        for parameter in module.parameters()
    }
    depths = {} if layer_decay == 1.0 else layer_depths(model)
    top = max(depths.values(), default=0)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_exempt = (
            parameter.ndim <= 1 or name.endswith("bias") or "token" in name or id(parameter) in exempt_ids
        )
        groups.setdefault((depths.get(name, top), is_exempt), []).append(parameter)
    kept = sorted({depth for depth, _ in groups}) or [top]
    return [
        {
            "params": groups.get((depth, is_exempt), []),
            "weight_decay": 0.0 if is_exempt else weight_decay,
            "lr_scale": layer_decay ** (top - depth),
        }
        for depth in kept
        for is_exempt in (False, True)
    ]


def layer_depths(model: nn.Module) -> dict[str, int]:
    """The layer of every parameter of a model with an encoder, counted from the points up.

    A layer is a level's token embedding with its positions, then each of its transformer blocks, the last
    together with the norm on the level's output; so on through all levels; and one layer for all that is not
    the encoder's.

    Raises:
        ValueError: the model has no `PointEncoder` in it.
    """
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, PointEncoder):
        raise ValueError(
            f"layer_decay: {type(model).__name__} has no encoder whose layers are known; leave it at 1"
        )
    found: dict[str, int] = {}
    layer = -1
    for level, (embedding, stage) in enumerate(zip(encoder.embeddings, encoder.stages, strict=True)):
        assert isinstance(stage, Stage)
        layer += 1
        below: dict[str, nn.Module] = {f"embeddings.{level}.": embedding}
        if len(stage.blocks):
            below[f"stages.{level}.position."] = stage.position
        for prefix, module in below.items():
            found |= {f"encoder.{prefix}{name}": layer for name, _ in module.named_parameters()}
        for number, block in enumerate(stage.blocks):
            layer += 1
            prefix = f"encoder.stages.{level}.blocks.{number}."
            found |= {f"{prefix}{name}": layer for name, _ in block.named_parameters()}
        if str(level) in encoder.norms:
            norm = encoder.norms[str(level)]
            found |= {f"encoder.norms.{level}.{name}": layer for name, _ in norm.named_parameters()}
    return {name: found.get(name, layer + 1) for name, _ in model.named_parameters()}


def adamw(
    model: nn.Module, weight_decay: float, betas: tuple[float, float], layer_decay: float = 1.0
) -> torch.optim.AdamW:
    """AdamW over ``parameter_groups``; the learning rate is set anew before every step."""
    return torch.optim.AdamW(parameter_groups(model, weight_decay, layer_decay), lr=0.0, betas=betas)


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of a model: of its weights, and of the statistics of its BatchNorms,
    which belong to them. It begins with the model as it is after the first step."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
