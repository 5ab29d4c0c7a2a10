"""Files -> points -> batches of a network's input, and why some files give none."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.data.mesh import check_seed, search_files
from pointmae_zoo.data.preprocess import AXES, Preprocess
from pointmae_zoo.data.workers import ReaderPool, available_cores

if TYPE_CHECKING:
    from torch import Tensor

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
Clouds = dict[Path, NDArray[np.float32]]
"""File -> points (N, 3) as they were read."""
MOST_WORKERS = 8  # a network on the same machine keeps no more readers busy


def check_arguments(
    up: str, seed: int, batch_size: int, workers: int | None, timeout: float, memory_limit_gb: float
) -> None:
    """Raises ValueError for a value that no run can have: to be called before the work."""
    if up not in AXES:
        raise ValueError(f"up: {' or '.join(AXES)} expected, got {up!r}")
    check_seed(seed)
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"{name}: a whole number above 0 expected, got {value!r}")
    for name, limit in (("timeout", timeout), ("memory_limit_gb", memory_limit_gb)):
        if not 0 < limit < float("inf"):
            raise ValueError(f"{name}: a number above 0 expected, got {limit!r}")


def find_inputs(paths: Paths, own: Path | None) -> tuple[list[Path], list[tuple[str, str]]]:
    """The files to read, and (path, reason) of every path that leads to none.

    Args:
        paths: files, folders or globs.
        own: the file or folder that will be written, which is no input where an earlier run left it.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise ValueError("paths: at least one file, folder or glob expected, got none")
    files, missing = search_files(given)
    if own is not None:
        written = os.path.realpath(own)
        if any(os.path.realpath(path) == written for path in given):
            raise ValueError(f"out: {own} is also one of the inputs; choose another name for the output")
        files = [file for file in files if not _is_in(os.path.realpath(file), written)]
    if not files and missing:
        others = f" (and {len(missing) - 1} more lead to nothing)" if len(missing) > 1 else ""
        raise FileNotFoundError(f"{missing[0][0]}: {missing[0][1]}{others}")
    if not files:
        raise FileNotFoundError(f"{own}: no files there but what was written itself; add mesh or point files")
    return files, missing


def _is_in(file: str, place: str) -> bool:
    return file == place or file.startswith(place + os.sep)


def readers_for(files: list[Path], workers: int | None, timeout: float, memory_limit_gb: float) -> ReaderPool:
    """Processes that read; None: as many as cores, at most 8."""
    wanted = workers or min(MOST_WORKERS, available_cores())
    return ReaderPool(min(wanted, len(files)), timeout=timeout, memory_limit_gb=memory_limit_gb)


class Batches:
    """What decides how the points of files become a network's input, and goes through files that way."""

    def __init__(self, recipe: Preprocess, device: str, *, up: str, seed: int, batch_size: int) -> None:
        self.recipe, self.device = recipe, device
        self.up, self.seed, self.batch_size = up, seed, batch_size

    def read(
        self, files: list[Path], readers: ReaderPool, failures: dict[Path, str], bar: Any
    ) -> Iterator[Clouds]:
        """Points of the files that can be read, batch_size at a time, in order; the others go to failures."""
        batch: Clouds = {}
        readings = readers.read(files, self.recipe.surface_samples, self.seed)
        for file, reading in zip(files, readings, strict=True):
            if reading.points is None:
                failures[file] = reading.reason
            else:
                batch[file] = reading.points
            if len(batch) == self.batch_size:
                yield batch
                batch = {}
            bar.update()
        if batch:
            yield batch

    def compute(
        self, network: "Callable[[Tensor], Tensor]", batch: Clouds, failures: dict[Path, str]
    ) -> dict[Path, NDArray[np.float32]]:
        """File -> the network's output for it, without those that go to failures."""
        import torch

        points, failed = self._prepared(list(batch.values()))
        # Always the same shape, because kernels are chosen by shape: a row must not depend on how many
        # share its batch.
        padding = [points[-1]] * (self.batch_size - len(points))
        with torch.no_grad():
            outputs = network(torch.stack(points + padding))[: len(points)].float().cpu().numpy()
        finite = np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)
        for number in np.flatnonzero(~finite):
            failed.setdefault(int(number), "the network gives NaN or infinity for it")
        failures.update((list(batch)[number], reason) for number, reason in failed.items())
        return {file: outputs[number] for number, file in enumerate(batch) if number not in failed}

    def _prepared(self, clouds: list[NDArray[np.float32]]) -> "tuple[list[Tensor], dict[int, str]]":
        """The network's input for each cloud, something in its place where there is none, and why."""
        import torch

        try:
            return list(self.recipe(clouds, up=self.up, device=self.device)), {}
        except ValueError:
            pass  # one of them; find out which
        points, failed = [], {}
        for number, cloud in enumerate(clouds):
            try:
                points.append(self.recipe(cloud, up=self.up, device=self.device))
            except ValueError as error:
                failed[number] = str(error)
                points.append(
                    torch.linspace(0, 1, self.recipe.num_points * 3, device=self.device).reshape(-1, 3)
                )
        return points, failed


def sorted_failures(failures: dict[Path, str], missing: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """(path, reason) of the files that gave nothing and of the paths that lead to nothing."""
    both = [(str(path), reason) for path, reason in failures.items()] + missing
    return sorted(both, key=lambda failure: Path(failure[0]).as_posix())


def progress_bar(total: int, done: int, shown: bool) -> Any:
    from tqdm import tqdm

    # None: only on a terminal. A log file gets no line per update.
    return tqdm(total=total, initial=done, unit="file", file=sys.stderr, disable=None if shown else True)
