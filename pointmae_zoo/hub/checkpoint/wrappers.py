"""What torch puts around a model (compiled, on several GPUs), and the names that its tensors have without."""

import re

from torch import Tensor, nn

COMPILED = "_orig_mod"
_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, out of ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``, in any
    order."""
    while (inner := _inside(model)) and isinstance(found := getattr(model, inner), nn.Module):
        model = found
    return model


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model by the names that they have where nothing is wrapped: neither the model nor a
    part of it.

    Raises TypeError for weights that are spread over several processes (FSDP).
    """
    state = model.state_dict()
    spread = next((name for name, one in state.items() if hasattr(one, "full_tensor")), None)
    if spread is not None or type(model).__name__ == "FullyShardedDataParallel":
        raise TypeError(
            "model: its weights are spread over several processes (FSDP); gather them into a plain model "
            "first (torch.distributed.checkpoint.state_dict.get_model_state_dict with full_state_dict=True)"
        )
    # Of "encoder._orig_mod.levels.0.weight" the part that a wrapper adds; an empty name is the model itself.
    wrappers = {
        f"{name}." if name else "": inner
        for name, module in model.named_modules(remove_duplicate=False)
        if (inner := _inside(module))
    }
    plain = {}
    for name, tensor in state.items():
        for prefix in sorted(wrappers, key=len, reverse=True):
            if name.startswith(f"{prefix}{wrappers[prefix]}."):
                name = prefix + name.removeprefix(f"{prefix}{wrappers[prefix]}.")
        plain[name] = tensor
    return plain


def plain_name(name: str) -> str:
    """Of a tensor in a file that was saved from a compiled model, as some programs do: without what
    ``torch.compile`` puts into it."""
    return re.sub(rf"(^|\.){COMPILED}\.", r"\1", name)


def _inside(module: nn.Module) -> str | None:
    """The name under which a wrapper has what it wraps; None for any other module."""
    if isinstance(module, _PARALLEL):
        return "module"
    # Not by its class: that would import torch's compiler, which takes seconds.
    return COMPILED if COMPILED in module._modules else None
