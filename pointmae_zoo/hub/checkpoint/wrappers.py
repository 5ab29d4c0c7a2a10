"""Models inside torch's wrappers (compiled, on several GPUs), and their tensors without the wrappers'
names."""

import re

from torch import Tensor, nn

COMPILED = "_orig_mod"
_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``, in any order."""
    while (inner := _inside(model)) and isinstance(found := getattr(model, inner), nn.Module):
        model = found
    return model


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model, named as if neither it nor any part of it were wrapped.

    Raises TypeError for weights that are spread over several processes (FSDP).
    """
    state = model.state_dict()
    spread = next((name for name, one in state.items() if hasattr(one, "full_tensor")), None)
    if spread is not None or type(model).__name__ == "FullyShardedDataParallel":
        raise TypeError(
            "model: its weights are spread over several processes (FSDP); gather them into a plain model "
            "first (torch.distributed.checkpoint.state_dict.get_model_state_dict with full_state_dict=True)"
        )
    # In "encoder._orig_mod.levels.0.weight" a wrapper added "_orig_mod". The empty name is the model itself.
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
    """The name of a tensor without what ``torch.compile`` adds; some programs save compiled models as they
    are."""
    return re.sub(rf"(^|\.){COMPILED}\.", r"\1", name)


def _inside(module: nn.Module) -> str | None:
    """The attribute that holds a wrapper's model; None for any other module."""
    if isinstance(module, _PARALLEL):
        return "module"
    # Not by its class: that would import torch's compiler, which takes seconds.
    return COMPILED if COMPILED in module._modules else None
