"""Files through a network, many clouds at a time; on a GPU the next ones are made ready while it works."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.inference.batch_size import BatchSize, is_out_of_memory
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.shapes.reader_pool import ReaderPool

if TYPE_CHECKING:
    from torch import Tensor

    Network = Callable[[Tensor], Tensor]

Clouds = dict[Path, NDArray[np.float32]]
"""File -> points (N, 3) as they were read."""
Outputs = dict[Path, NDArray[np.float32]]
"""File -> what the network says of it."""


class Launched(Protocol):
    """A batch under way."""

    @property
    def failed(self) -> dict[int, str]:
        """Which of the clouds the network cannot take, and why; their outputs mean nothing."""

    def outputs(self) -> NDArray[np.float32]:
        """(number of clouds, ...), as soon as they are there."""


class Launcher(Protocol):
    """Prepares clouds and begins to compute what a network says of them."""

    ahead: int
    """Batches that may be under way while files for the next are waited for."""
    tries_sizes: bool
    """Whether it pays to look for the best batch size."""

    def launch(self, network: "Network", clouds: list[NDArray[np.float32]], size: int) -> Launched:
        """Of 1 to ``size`` clouds. The network always sees ``size`` of them, because kernels are chosen by
        shape: a row must not depend on how many share its batch."""

    def seconds(self, network: "Network", clouds: list[NDArray[np.float32]], size: int) -> float:
        """What a batch of this size takes, made of these clouds over and over."""


class Batches:
    """Goes through files in order, a batch at a time."""

    def __init__(
        self, launcher: Launcher, surface_samples: int, *, seed: int, batch_size: int | None
    ) -> None:
        self._launcher, self._surface_samples, self._seed = launcher, surface_samples, seed
        self._batch_size = BatchSize(batch_size)
        self.notes: dict[Path, tuple[str, ...]] = {}
        """What was remarked of the files read so far; those without a remark are left out."""

    def run(
        self, network: "Network", files: list[Path], readers: ReaderPool, failures: dict[Path, str], bar: Any
    ) -> Iterator[tuple[Clouds, Outputs]]:
        """Batches of files that can be read, and the network's outputs for them; the others, and those
        without outputs, go to failures."""
        under_way: deque[tuple[Clouds, Launched]] = deque()
        for batch in self._read(network, files, readers, failures, bar):
            todo = _parts(batch, self._batch_size.size)
            while todo:
                launched = self._launched(network, todo[0])
                if launched is not None:
                    under_way.append((todo.pop(0), launched))
                most = 0 if launched is None else self._launcher.ahead
                while len(under_way) > most:
                    yield self._finished(*under_way.popleft(), failures)
                if launched is None:  # now nothing else takes room
                    self._batch_size.halve()
                    todo = [part for clouds in todo for part in _parts(clouds, self._batch_size.size)]
        while under_way:
            yield self._finished(*under_way.popleft(), failures)

    def _read(
        self, network: "Network", files: list[Path], readers: ReaderPool, failures: dict[Path, str], bar: Any
    ) -> Iterator[Clouds]:
        """As many clouds at a time as the batch size says, which may change in between."""
        batch: Clouds = {}
        searching = self._launcher.tries_sizes
        readings = readers.read(files, self._surface_samples, self._seed)
        for number, (file, reading) in enumerate(zip(files, readings, strict=True)):
            if reading.points is None:
                failures[file] = reading.reason
            else:
                batch[file] = reading.points
                if reading.notes:
                    self.notes[file] = reading.notes
            if searching and len(batch) == self._batch_size.size:
                searching = False
                self._find_size(network, list(batch.values()), len(files) - number)
            if len(batch) >= self._batch_size.size:
                yield batch
                batch = {}
            bar.update()
        if batch:
            yield batch

    def _find_size(self, network: "Network", clouds: list[NDArray[np.float32]], waiting: int) -> None:
        self._batch_size.find(lambda size: self._launcher.seconds(network, clouds, size), waiting)

    def _launched(self, network: "Network", clouds: Clouds) -> Launched | None:
        """None: not enough memory."""
        try:
            return self._launcher.launch(network, list(clouds.values()), self._batch_size.size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _finished(
        self, batch: Clouds, launched: Launched, failures: dict[Path, str]
    ) -> tuple[Clouds, Outputs]:
        outputs, failed = launched.outputs(), dict(launched.failed)
        finite = np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)
        for number in np.flatnonzero(~finite):
            failed.setdefault(int(number), "the network gives NaN or infinity for it")
        failures.update((list(batch)[number], reason) for number, reason in failed.items())
        return batch, {file: outputs[number] for number, file in enumerate(batch) if number not in failed}


def _parts(clouds: Clouds, size: int) -> list[Clouds]:
    files = list(clouds)
    return [
        {file: clouds[file] for file in files[start : start + size]} for start in range(0, len(files), size)
    ]


def launcher_for(recipe: Preprocess, device: str, up: str) -> Launcher:
    """What suits the device."""
    if not device.startswith("cuda"):
        return Direct(recipe, device, up)
    from pointmae_zoo.inference.gpu_overlap import Overlapped

    return Overlapped(recipe, device, up)


class Direct:
    """One batch after the other, by whoever asks for it: where the network and what prepares clouds for it
    would only take the same cores from each other."""

    ahead = 0
    tries_sizes = False

    def __init__(self, recipe: Preprocess, device: str, up: str) -> None:
        self._recipe, self._device, self._up = recipe, device, up

    def launch(self, network: "Network", clouds: list[NDArray[np.float32]], size: int) -> Launched:
        import torch

        points, failed = self._prepared(clouds)
        padding = [points[-1]] * (size - len(points))
        with torch.no_grad():
            outputs = network(torch.stack(points + padding))[: len(points)].float().cpu().numpy()
        return _Computed(outputs, failed)

    def seconds(self, network: "Network", clouds: list[NDArray[np.float32]], size: int) -> float:
        raise NotImplementedError("nothing is tried on this device")

    def _prepared(self, clouds: list[NDArray[np.float32]]) -> "tuple[list[Tensor], dict[int, str]]":
        """The network's input for each cloud, something in its place where there is none, and why."""
        import torch

        try:
            return list(self._recipe(clouds, up=self._up, device=self._device)), {}
        except ValueError:
            pass  # one of them; find out which
        points, failed = [], {}
        for number, cloud in enumerate(clouds):
            try:
                points.append(self._recipe(cloud, up=self._up, device=self._device))
            except ValueError as error:
                failed[number] = str(error)
                points.append(
                    torch.linspace(0, 1, self._recipe.num_points * 3, device=self._device).reshape(-1, 3)
                )
        return points, failed


@dataclass(frozen=True)
class _Computed:
    values: NDArray[np.float32]
    failed: dict[int, str]

    def outputs(self) -> NDArray[np.float32]:
        return self.values
