"""What every command on files asks first: which model, in which numbers, and where to write."""

import copy
import os
from pathlib import Path
from typing import Any

DTYPES = ("float32", "bfloat16")
"""In which a network's weights and activations may be; distances and what comes out are always float32."""


def opened(model: Any, device: str | None, *, kind: str | None = None) -> tuple[Any, str | None]:
    """A model, and what tables call it (None where it was given as an object).

    Args:
        model: weights by name, folder or repository of the Hub, or a model.
        device: None: a model stays where it is, weights are loaded on the CPU.
        kind: of weights, see `from_pretrained`.
    """
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


def stored_config(model: Any) -> Any:
    """The ModelConfig of weights that lie on this machine, without reading them; None for anything else."""
    if not isinstance(model, str | os.PathLike):
        return None
    from pointmae_zoo.hub.pretrained import local_config

    return local_config(model)


def in_dtype(model: Any, dtype: str | None) -> Any:
    """The model if its weights are of this type (None: of any), else a copy with weights that are."""
    import torch

    if dtype in (None, dtype_of(model)):
        return model
    return copy.deepcopy(model).to(getattr(torch, str(dtype)))


def dtype_of(model: Any) -> str:
    """float32, bfloat16 or what else the weights are."""
    return str(next(model.parameters()).dtype).removeprefix("torch.")


def check_out(path: Path, suffixes: tuple[str, ...]) -> None:
    """Raises ValueError or OSError if no such file can be written there: to be called before the work."""
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: a name that ends in one of {' '.join(suffixes)} expected")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; the name of a file expected")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder to write {path.name} into; make it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path.parent}: may not be written to; choose another folder")
