"""What every command on files asks first: which model, and in which numbers."""

import copy
import os
from typing import Any

DTYPES = ("float32", "bfloat16")
"""In which a network's weights and activations may be; distances and what comes out are always float32."""


def opened(model: Any, device: str | None, *, kind: str | None = None) -> tuple[Any, str | None]:
    """A model, and what tables call it (None where it was given as an object).

    Args:
        model: weights by name, folder or repository of the Hub, or a model.
        device: None: a model stays where it is, weights are loaded on the CPU.
        kind: of weights, see `from_pretrained`.

    Raises ValueError for a device that is not there; as `from_pretrained` for weights.
    """
    check_device(device)
    if isinstance(model, str | os.PathLike):
        from pointmae_zoo.hub.pretrained import from_pretrained, full_name

        loaded = from_pretrained(model, kind=kind, device=device or "cpu")
        return loaded, full_name(model, loaded)
    if not hasattr(model, "config") or not hasattr(model, "state_dict"):
        raise TypeError(
            f"model: weights by name or folder, or a model expected, got {type(model).__name__}; "
            "from_pretrained(...) gives one"
        )
    return (model if device is None else model.to(device)), None


def check_device(device: str | None) -> None:
    """Raises ValueError, before any work is done, where torch cannot compute on this device."""
    if device in (None, "cpu"):
        return
    import torch

    try:
        torch.zeros(1, device=device).add(1).cpu()
    except (RuntimeError, AssertionError) as error:
        if str(device).startswith("cuda") and not torch.cuda.is_available():
            why = "no GPU is found here" if torch.version.cuda else "this torch was built without CUDA"
            reason = f"{why} (torch.cuda.is_available() is False)"
        else:
            reason = " ".join(str(error).split(".")[0].split())
        raise ValueError(f"device: {device!r}: {reason}; use 'cpu'") from None


def stored_config(model: Any) -> Any:
    """The ModelConfig of weights that lie on this machine, without reading them; None for anything else."""
    if not isinstance(model, str | os.PathLike):
        return None
    from pointmae_zoo.hub.pretrained import local_config

    return local_config(model)


def in_dtype(model: Any, dtype: str | None) -> Any:
    """The model if its weights are of this type (None: of any), else a copy with weights that are."""
    import torch

    from pointmae_zoo.ops.precision import dtype_of

    if dtype in (None, dtype_of(model)):
        return model
    return copy.deepcopy(model).to(getattr(torch, str(dtype)))
