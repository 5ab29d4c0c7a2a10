"""What a run over files is given: the model and its dtype, the files, and the processes that read them."""

import copy
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pointmae_zoo.shapes.file_search import Found, search_files
from pointmae_zoo.shapes.read import check_seed
from pointmae_zoo.shapes.reader_pool import ReaderPool, available_cores
from pointmae_zoo.shapes.up_axis import check_up
from pointmae_zoo.system.devices import check_device

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
MOST_WORKERS = 8  # a network on the same cores keeps no more readers busy


DTYPES = ("float32", "bfloat16")
"""In which a network's weights and activations may be; distances and what comes out are always float32."""


def check_arguments(
    up: str,
    seed: int,
    batch_size: int | None,
    workers: int | None,
    timeout: float,
    memory_limit_gb: float,
    dtype: str | None,
) -> None:
    """Raises ValueError for a value that no run can have: to be called before the work."""
    check_up(up)
    check_seed(seed)
    if dtype not in (None, *DTYPES):
        raise ValueError(f"dtype: {' or '.join(DTYPES)} expected, got {dtype!r}")
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"{name}: a whole number above 0 expected, got {value!r}")
    for name, limit in (("timeout", timeout), ("memory_limit_gb", memory_limit_gb)):
        if not 0 < limit < float("inf"):
            raise ValueError(f"{name}: a number above 0 expected, got {limit!r}")


def find_inputs(paths: Paths, own: Path | None) -> Found:
    """The files to read, (path, reason) of every path that leads to none, and what was passed over.

    Args:
        paths: files, folders or globs.
        own: the file or folder that will be written, which is no input where an earlier run left it.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise ValueError("paths: at least one file, folder or glob expected, got none")
    found = search_files(given)
    files, missing, passed_over = found.files, found.missing, found.passed_over
    if own is not None:
        written = os.path.realpath(own)
        if any(os.path.realpath(path) == written for path in given):
            raise ValueError(f"out: {own} is also one of the inputs; choose another name for the output")
        files = [file for file in files if not _is_in(os.path.realpath(file), written)]
        if len(files) < len(found.files):
            passed_over["own output"] = len(found.files) - len(files)
    if not files and missing:
        others = f" (and {len(missing) - 1} more lead to nothing)" if len(missing) > 1 else ""
        raise FileNotFoundError(f"{missing[0][0]}: {missing[0][1]}{others}")
    if not files:
        raise FileNotFoundError(f"{own}: no files there but what was written itself; add mesh or point files")
    return Found(files, missing, passed_over)


def _is_in(file: str, place: str) -> bool:
    return file == place or file.startswith(place + os.sep)


def readers_for(
    files: list[Path], workers: int | None, timeout: float, memory_limit_gb: float, device: str
) -> ReaderPool:
    """Processes that read. None: as many as cores, at most 8; for a network on a GPU one less than cores,
    which is left to what feeds it."""
    cores = available_cores()
    most = max(1, cores - 1) if device.startswith("cuda") else min(MOST_WORKERS, cores)
    return ReaderPool(
        max(1, min(workers or most, len(files))), timeout=timeout, memory_limit_gb=memory_limit_gb
    )


def sorted_failures(failures: dict[Path, str], missing: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """(path, reason) of the files that gave nothing and of the paths that lead to nothing."""
    both = [(str(path), reason) for path, reason in failures.items()] + missing
    return sorted(both, key=lambda failure: Path(failure[0]).as_posix())


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
