"""AdamW with its parameter groups, and the moving average of weights; neither waits for a GPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pointmae_zoo.models.encoder import PointEncoder
from pointmae_zoo.models.layers import Stage
from pointmae_zoo.models.reconstruction import TokenPropagation
from pointmae_zoo.models.tokenizer import TokenEmbedding

# The reference exempts every parameter with "token" in its name; there these modules have such names.
_NAMED_TOKEN = (TokenEmbedding, TokenPropagation)


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Two groups of parameters, with weight decay and without; with ``layer_decay`` below 1 two for each
    layer.

    Without weight decay are biases and all other 1-D parameters, the mask token, token embedding and token
    propagation. Frozen parameters are in no group.

    Args:
        layer_decay: a layer's learning rate is that of the layer above times this (``lr_scale`` of its
            groups). Layers are those of `layer_depths`.

    Raises:
        ValueError: ``layer_decay`` is below 1, but the model has no encoder with layers.
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

    In each level the token embedding with its positions is a layer, then each transformer block; the last
    block's layer includes the norm on the level's output. All that is not the encoder's is the last layer.

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
    """AdamW over ``parameter_groups``; the loop sets the learning rate before every step.

    On a GPU one kernel updates many weights; on a CPU torch chooses, which keeps earlier results
    reproducible.
    """
    fused = True if next(model.parameters()).device.type == "cuda" else None
    groups = parameter_groups(model, weight_decay, layer_decay)
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=fused)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the state of a checkpoint. It may be from another device, so the optimizer keeps its own
    ``fused``."""
    pairs = zip(state["param_groups"], optimizer.param_groups, strict=False)
    groups = [{**saved, "fused": own.get("fused")} for saved, own in pairs]
    optimizer.load_state_dict({**state, "param_groups": groups})


class MovingAverage(AveragedModel):
    """The exponential moving average of a model's weights and BatchNorm statistics. It begins with the model
    after the first step.

    torch's own class copies its count of steps to the model's device at every step, which waits for a GPU.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        if self.n_averaged == 0:
            for average, now in pairs:
                average.copy_(now)
        else:
            floats = [pair for pair in pairs if pair[0].is_floating_point()]
            averages, values = zip(*floats, strict=True)
            torch._foreach_lerp_(list(averages), list(values), 1 - self.decay)
            for average, now in pairs:
                if not average.is_floating_point():  # how many batches a BatchNorm has seen
                    average.copy_(average * self.decay + now * (1 - self.decay))
        self.n_averaged += 1


def _tensors(model: nn.Module) -> list[Tensor]:
    return [one.detach() for one in (*model.parameters(), *model.buffers())]
