"""Running files through a network in batches.

On a GPU (`inference.gpu_batches`) the next clouds are prepared while the network works.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.inference.batch_size import BatchSize, is_out_of_memory
from pointmae_zoo.models.preprocess import Preprocess, rotated
from pointmae_zoo.shapes.measures import Measures
from pointmae_zoo.shapes.pose import Pose, rotations
from pointmae_zoo.shapes.reader_pool import ReaderPool, Reading
from pointmae_zoo.shapes.up_axis import DEFAULT_UP, turn_up

if TYPE_CHECKING:
    from torch import Tensor

    Network = Callable[[Tensor], Tensor]


Clouds = dict[Path, NDArray[np.float32]]
"""File -> points (N, 3) as they were read."""
Outputs = dict[Path, NDArray[np.float32]]
"""File -> what the network says of it."""


class View(NamedTuple):
    """What goes through the network: a file's points (N, 3) in one of its poses."""

    file: Path
    points: NDArray[np.float32]
    rotation: NDArray[np.float64] | None
    """(3, 3); see `Launcher.launch`. None: as it stands."""
    last: bool
    """Whether it is the last of its file."""


@dataclass(frozen=True)
class Poses:
    """The poses in which files go through the network.

    Args:
        pose: see `embed_files`.
        up: the axis that points up in the files.
        upright: the axis that points up in the network's input.
    """

    pose: Pose = "upright"
    up: str = DEFAULT_UP
    upright: str = DEFAULT_UP

    def views(self, file: Path, reading: Reading) -> list[View]:
        """A read file in each pose. Its points are there once."""
        assert reading.points is not None
        if self.pose == "upright":
            return [View(file, reading.points, None, True)]
        assert reading.moments is not None
        half = turn_up(reading.moments, self.up, self.upright)
        found = rotations(turn_up(half.T, self.up, self.upright), self.pose, self.upright)
        last = len(found) - 1
        return [View(file, reading.points, matrix, number == last) for number, matrix in enumerate(found)]


class Launched(Protocol):
    """A batch under way."""

    @property
    def failed(self) -> dict[int, str]:
        """Which of the clouds the network cannot take, and why; their outputs mean nothing."""

    def outputs(self) -> NDArray[np.float32]:
        """(number of clouds, ...), as soon as they are there."""


class Launcher(Protocol):
    """Prepares clouds and starts to compute the network's outputs for them."""

    ahead: int
    """Batches that may be under way while files for the next are waited for."""
    tries_sizes: bool
    """Whether it pays to look for the best batch size."""

    def launch(
        self,
        network: "Network",
        clouds: list[NDArray[np.float32]],
        size: int,
        rotations: NDArray[np.float32] | None = None,
    ) -> Launched:
        """Start a batch of 1 to ``size`` clouds. The network always gets ``size`` of them, because kernels
        are chosen by shape and a row must not depend on how many clouds share its batch.

        ``rotations`` (number of clouds, 3, 3): each cloud is turned by its own when it is ready for the
        network: ``input @ rotation.T``. None: all stay as they are.
        """

    def seconds(self, network: "Network", clouds: list[NDArray[np.float32]], size: int) -> float:
        """How long a batch of this size takes, filled by repeating these clouds."""


class Batches:
    """Goes through files in order, a batch at a time."""

    def __init__(
        self,
        launcher: Launcher,
        surface_samples: int,
        *,
        seed: int,
        batch_size: int | None,
        poses: Poses = Poses(),
    ) -> None:
        self._launcher, self._surface_samples, self._seed = launcher, surface_samples, seed
        self._batch_size, self._poses = BatchSize(batch_size), poses
        self._unfinished: list[NDArray[np.float32]] = []
        """Outputs for the first poses of a file whose other poses are in the next batch."""
        self.notes: dict[Path, tuple[str, ...]] = {}
        """Remarks about files that were read so far."""
        self.measures: dict[Path, Measures] = {}
        """Their size."""

    def run(
        self, network: "Network", files: list[Path], readers: ReaderPool, failures: dict[Path, str], bar: Any
    ) -> Iterator[tuple[Clouds, Outputs]]:
        """Batches of files that can be read, and the network's outputs for them: of a file in several poses
        the mean. Files that can't be read, and those without outputs, go to failures."""
        under_way: deque[tuple[list[View], Launched]] = deque()
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
                    todo = [part for views in todo for part in _parts(views, self._batch_size.size)]
        while under_way:
            yield self._finished(*under_way.popleft(), failures)

    def _read(
        self, network: "Network", files: list[Path], readers: ReaderPool, failures: dict[Path, str], bar: Any
    ) -> Iterator[list[View]]:
        """Views, a batch or more at a time; the batch size may change in between."""
        batch: list[View] = []
        searching = self._launcher.tries_sizes
        readings = readers.read(files, self._surface_samples, self._seed)
        for number, (file, reading) in enumerate(zip(files, readings, strict=True)):
            if reading.points is None:
                failures[file] = reading.reason
            else:
                batch += self._poses.views(file, reading)
                if reading.notes:
                    self.notes[file] = reading.notes
                if reading.measures is not None:
                    self.measures[file] = reading.measures
            if searching and len(batch) >= self._batch_size.size:
                searching = False
                self._find_size(network, [view.points for view in batch], len(files) - number)
            if full := len(batch) // self._batch_size.size * self._batch_size.size:
                yield batch[:full]
                batch = batch[full:]
            bar.update()
        if batch:
            yield batch

    def _find_size(self, network: "Network", clouds: list[NDArray[np.float32]], waiting: int) -> None:
        self._batch_size.find(lambda size: self._launcher.seconds(network, clouds, size), waiting)

    def _launched(self, network: "Network", views: list[View]) -> Launched | None:
        """None: not enough memory."""
        clouds, turns = [view.points for view in views], [view.rotation for view in views]
        rotations = None if turns[0] is None else np.array(turns, np.float32)
        try:
            return self._launcher.launch(network, clouds, self._batch_size.size, rotations)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _finished(
        self, views: list[View], launched: Launched, failures: dict[Path, str]
    ) -> tuple[Clouds, Outputs]:
        """The files whose last pose is in this batch, and their rows."""
        outputs, failed = launched.outputs(), dict(launched.failed)
        finite = np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)
        for number in np.flatnonzero(~finite):
            failed.setdefault(int(number), "the network gives NaN or infinity for it")
        failures.update((views[number].file, reason) for number, reason in failed.items())
        clouds: Clouds = {}
        rows: Outputs = {}
        for view, output in zip(views, outputs, strict=True):
            self._unfinished.append(output)
            if view.last:
                clouds[view.file] = view.points
                if view.file not in failures:
                    rows[view.file] = np.array(self._unfinished, np.float64).mean(axis=0).astype(np.float32)
                self._unfinished = []
        return clouds, rows


def _parts(views: list[View], size: int) -> list[list[View]]:
    return [views[start : start + size] for start in range(0, len(views), size)]


def launcher_for(recipe: Preprocess, device: str, up: str) -> Launcher:
    """The launcher for this device."""
    if not device.startswith("cuda"):
        return Direct(recipe, device, up)
    from pointmae_zoo.inference.gpu_batches import Overlapped

    return Overlapped(recipe, device, up)


class Direct:
    """One batch after the other, in the caller's thread. On a CPU, preparing clouds at the same time would
    only take cores from the network."""

    ahead = 0
    tries_sizes = False

    def __init__(self, recipe: Preprocess, device: str, up: str) -> None:
        self._recipe, self._device, self._up = recipe, device, up

    def launch(
        self,
        network: "Network",
        clouds: list[NDArray[np.float32]],
        size: int,
        rotations: NDArray[np.float32] | None = None,
    ) -> Launched:
        import torch

        distinct = {id(cloud): cloud for cloud in clouds}  # the poses of a file share a cloud
        prepared, broken = self._prepared(list(distinct.values()))
        numbers = [list(distinct).index(id(cloud)) for cloud in clouds]
        failed = {place: broken[number] for place, number in enumerate(numbers) if number in broken}
        points = torch.stack([prepared[number] for number in numbers])
        if rotations is not None:
            points = rotated(points, torch.from_numpy(rotations).to(self._device))
        padding = [points[-1]] * (size - len(points))
        with torch.no_grad():
            outputs = network(torch.stack([*points, *padding]))[: len(points)].float().cpu().numpy()
        return _Computed(outputs, failed)

    def seconds(self, network: "Network", clouds: list[NDArray[np.float32]], size: int) -> float:
        raise NotImplementedError("nothing is tried on this device")

    def _prepared(self, clouds: list[NDArray[np.float32]]) -> "tuple[list[Tensor], dict[int, str]]":
        """The network's input for each cloud, and why some have none; these get a placeholder."""
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
