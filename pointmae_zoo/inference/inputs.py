"""The inputs of a run over files: its options, the files, the processes that read them, and the model."""

import copy
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointmae_zoo.shapes.file_search import Found, search_files
from pointmae_zoo.shapes.pose import Pose, check_pose
from pointmae_zoo.shapes.read import check_seed
from pointmae_zoo.shapes.reader_pool import ReaderPool, available_cores
from pointmae_zoo.shapes.up_axis import check_up
from pointmae_zoo.system.devices import check_device

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
MOST_WORKERS = 8  # a network on the same cores keeps no more readers busy


DTYPES = ("float32", "bfloat16")
"""Types of weights and activations. Distances and outputs are always float32."""


@dataclass(frozen=True)
class RunOptions:
    """How files are read and the network runs: arguments of `embed_files`, which explains them.

    Raises ValueError for a value that no run can have.
    """

    up: str
    seed: int
    batch_size: int | None
    workers: int | None
    timeout: float
    memory_limit_gb: float
    device: str | None
    dtype: str | None
    progress: bool
    pose: Pose | None = None

    def __post_init__(self) -> None:
        check_up(self.up)
        if self.pose is not None:
            check_pose(self.pose)
        check_seed(self.seed)
        if self.dtype not in (None, *DTYPES):
            raise ValueError(f"dtype: {' or '.join(DTYPES)} expected, got {self.dtype!r}")
        for name, value in (("batch_size", self.batch_size), ("workers", self.workers)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name}: a whole number above 0 expected, got {value!r}")
        for name, limit in (("timeout", self.timeout), ("memory_limit_gb", self.memory_limit_gb)):
            if not 0 < limit < float("inf"):
                raise ValueError(f"{name}: a number above 0 expected, got {limit!r}")


def find_inputs(paths: Paths, own: Path | None) -> Found:
    """The files to read, (path, reason) of every path that leads to none, and what was passed over.

    Args:
        paths: files, folders or globs.
        own: the output, a file or folder. It is never an input, even if an earlier run left it there.
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
        place = written + os.sep
        files = [file for file in files if not (os.path.realpath(file) + os.sep).startswith(place)]
        if len(files) < len(found.files):
            passed_over["own output"] = len(found.files) - len(files)
    if not files and missing:
        others = f" (and {len(missing) - 1} more lead to nothing)" if len(missing) > 1 else ""
        raise FileNotFoundError(f"{missing[0][0]}: {missing[0][1]}{others}")
    if not files:
        raise FileNotFoundError(f"{own}: holds only what this command wrote itself; add mesh or point files")
    return Found(files, missing, passed_over)


def readers_for(files: list[Path], options: RunOptions, device: str) -> ReaderPool:
    """The processes that read files for a network on this device. One core is left to what feeds a GPU."""
    cores = available_cores()
    most = max(1, cores - 1) if device.startswith("cuda") else min(MOST_WORKERS, cores)
    workers = max(1, min(options.workers or most, len(files)))
    return ReaderPool(workers, timeout=options.timeout, memory_limit_gb=options.memory_limit_gb)


def sorted_failures(failures: dict[Path, str], missing: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """(path, reason) of the files that gave nothing and of the paths that lead to nothing."""
    both = [(str(path), reason) for path, reason in failures.items()] + missing
    return sorted(both, key=lambda failure: Path(failure[0]).as_posix())


def opened(model: Any, device: str | None, *, kind: str | None = None) -> tuple[Any, str | None]:
    """Open a model. Also returns the name that tables use for it (None if it was given as an object).

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
    """The ModelConfig of weights on this machine, without reading the weights; None for anything else."""
    if not isinstance(model, str | os.PathLike):
        return None
    from pointmae_zoo.hub.pretrained import local_config

    return local_config(model)


def in_dtype(model: Any, dtype: str | None) -> Any:
    """The model itself if its weights have this type (None: any type), else a converted copy."""
    import torch

    from pointmae_zoo.ops.precision import dtype_of

    if dtype in (None, dtype_of(model)):
        return model
    return copy.deepcopy(model).to(getattr(torch, str(dtype)))
