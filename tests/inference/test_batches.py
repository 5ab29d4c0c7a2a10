"""Batches: as large as pays and fits, several under way at a time, and the same rows all the while."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pointmae_zoo.inference.batches import Batches, Direct
from pointmae_zoo.inference.gpu_batches import Overlapped
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.shapes import reader_pool
from pointmae_zoo.shapes.reader_pool import ReaderPool, Reading
from samples.models import small

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB"


class Readers:
    """In place of processes: clouds by number, each its own; counts how many were asked for."""

    def __init__(self, failing: tuple[int, ...] = ()) -> None:
        self.failing, self.delivered = failing, 0

    def read(self, files: list[Path], num_points: int, seed: int, moments: bool = False) -> Any:
        for file in files:
            self.delivered += 1
            number = int(file.name)
            points = np.random.default_rng(number).normal(size=(40 + 7 * (number % 3), 3)).astype(np.float32)
            yield Reading(None, "is empty") if number in self.failing else Reading(points)


class Bar:
    count = 0

    def update(self) -> None:
        self.count += 1


class Asynchronous:
    """A made-up GPU with room for ``most`` clouds: a batch is done only once its outputs are asked for, and
    the network's answer is the largest coordinate."""

    tries_sizes = False

    def __init__(self, ahead: int, most: int = 10**9) -> None:
        self.ahead, self.most = ahead, most
        self.under_way, self.busiest = 0, 0
        self.events: list[str] = []

    def launch(self, network: Any, clouds: list[Any], size: int, rotations: Any = None) -> Any:
        assert len(clouds) <= size
        if size > self.most:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        self.events.append(f"launch {len(clouds)}")
        self.under_way += 1
        self.busiest = max(self.busiest, self.under_way)
        return Pending(self, clouds)


class Pending:
    def __init__(self, gpu: Asynchronous, clouds: list[Any]) -> None:
        self.gpu, self.clouds, self.failed = gpu, clouds, {}

    def outputs(self) -> Any:
        self.gpu.events.append(f"done {len(self.clouds)}")
        self.gpu.under_way -= 1
        return np.array([[cloud.max()] for cloud in self.clouds])


def answers(
    launcher: Any, count: int, batch_size: int, readers: Any
) -> tuple[dict[int, float], dict[int, str]]:
    batches = Batches(launcher, 64, seed=0, batch_size=batch_size)
    files, failures = [Path(str(number)) for number in range(count)], {}
    found: dict[int, float] = {}
    for clouds, outputs in batches.run(None, files, readers, failures, Bar()):
        assert set(outputs) <= set(clouds)
        found.update({int(file.name): float(row[0]) for file, row in outputs.items()})
    return found, {int(file.name): reason for file, reason in failures.items()}


def largest(number: int) -> float:
    return float(next(Readers().read([Path(str(number))], 0, 0)).points.max())


@pytest.mark.parametrize(("ahead", "most"), [(0, 99), (2, 99), (2, 3), (2, 1)])
def test_batches_under_way_keep_their_order_and_every_file(ahead: int, most: int) -> None:
    gpu = Asynchronous(ahead, most)
    found, failures = answers(gpu, 23, 4, Readers(failing=(0, 9)))
    assert list(found) == [number for number in range(23) if number not in (0, 9)]
    assert all(value == largest(number) for number, value in found.items())
    assert failures == {0: "is empty", 9: "is empty"}
    assert gpu.busiest == ahead + 1
    assert gpu.under_way == 0


def test_the_next_batch_is_read_while_one_is_under_way() -> None:
    """The made-up network blocks until the files after its own batch were delivered: without overlap this
    would never end, here it would fail."""
    readers, gpu = Readers(), Asynchronous(ahead=1)

    def outputs(pending: Pending) -> Any:
        last = int(pending.numbers[-1])
        assert readers.delivered >= min(24, last + 1 + 4), "the network waits for files that nobody reads"
        return np.zeros((len(pending.clouds), 1))

    launch, started = gpu.launch, [0]

    def launched(network: Any, clouds: list[Any], size: int, rotations: Any) -> Any:
        pending: Any = launch(network, clouds, size)
        pending.numbers = range(started[0], started[0] + len(clouds))
        started[0] += len(clouds)
        pending.outputs = lambda: outputs(pending)
        return pending

    gpu.launch = launched  # type: ignore[method-assign]
    found, _ = answers(gpu, 24, 4, readers)
    assert len(found) == 24


def test_out_of_memory_waits_for_what_is_under_way_and_goes_on_with_half() -> None:
    class Shrinking(Asynchronous):
        def launch(self, network: Any, clouds: list[Any], size: int, rotations: Any = None) -> Any:
            if self.events.count("launch 8") == 2:
                self.most = 4
            return super().launch(network, clouds, size, rotations)

    gpu = Shrinking(2)
    found, _ = answers(gpu, 32, 8, Readers())
    assert list(found) == list(range(32))
    assert gpu.events[:6] == ["launch 8", "launch 8", "done 8", "done 8", "launch 4", "launch 4"]


def test_nothing_fits() -> None:
    with pytest.raises(RuntimeError, match="single cloud"):
        answers(Asynchronous(2, most=0), 5, 4, Readers())


@pytest.mark.parametrize(
    "recipe", [Preprocess(32, 64), Preprocess(32, 64, "none", "none"), Preprocess(50, 64)]
)
def test_what_a_gpu_is_given_is_what_a_cpu_is_given(recipe: Preprocess) -> None:
    """Clouds of several lengths (also below num_points), far away ones, repeated points, one that cannot be
    taken: all in one call, against one by one."""
    rng = np.random.default_rng(0)
    clouds = [
        rng.normal(size=(count, 3)) * 10.0**power for count, power in ((64, 0), (20, 3), (33, -9), (2, 0))
    ]
    clouds += [np.repeat(clouds[0][:9], 3, axis=0), rng.integers(0, 2, (40, 3)), np.zeros((9, 3))]
    clouds = [cloud.astype(np.float32) for cloud in clouds]
    seen: list[torch.Tensor] = []

    def network(points: torch.Tensor) -> torch.Tensor:
        seen.append(points)
        return points.flatten(1)

    for launcher in (Direct(recipe, "cpu", "z"), Overlapped(recipe, "cpu", "z")):
        launched = launcher.launch(network, clouds, 9)
        assert len(launched.outputs()) == 7 and list(launched.failed) == [6]
        assert "at least two different points" in launched.failed[6]
    direct, overlapped = seen
    assert direct.shape == overlapped.shape == (9, recipe.num_points, 3)
    for number in range(6):
        scale = float(direct[number].abs().max())
        torch.testing.assert_close(
            overlapped[number], direct[number], rtol=0, atol=2e-6 * scale
        )  # of the mean in float32


def test_features_are_those_of_the_model_whatever_the_batch() -> None:
    model = small(preprocess=Preprocess(64, 128))
    clouds = [np.random.default_rng(number).normal(size=(128, 3)).astype(np.float32) for number in range(5)]
    wanted = model.embed(model.config.preprocess(clouds)).numpy()
    for size in (5, 8):
        launched = Overlapped(model.config.preprocess, "cpu", "y").launch(model, clouds, size)
        np.testing.assert_allclose(launched.outputs(), wanted, atol=2e-5)


def test_files_are_read_while_the_network_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real pool, whose processes alone are made up: a network that returns only when the files of
    the next batch have been read."""
    read: list[Path] = []

    def reading(worker: Any, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        read.append(Path(request["path"]))
        points = np.random.default_rng(int(request["path"])).normal(size=(request["num_points"], 3))
        size = ((1.0, 1.0, 1.0), None, None, 0, False)
        header = {"outcome": "done", "notes": [], "moments": np.eye(3).tolist(), "measures": size}
        return header, points.astype("<f4").tobytes()

    monkeypatch.setattr(reader_pool._Worker, "ask", reading)
    calls: list[int] = []

    def network(points: torch.Tensor) -> torch.Tensor:
        calls.append(len(points))
        wanted, end = min(20, 4 * (len(calls) + 1)), time.monotonic() + 600
        while len(read) < wanted:
            assert time.monotonic() < end, "nobody reads while the network works"
            time.sleep(0.001)
        return points.flatten(1)

    files, recipe = [Path(str(number)) for number in range(20)], Preprocess(32, 64)
    for launcher in (Direct(recipe, "cpu", "y"), Overlapped(recipe, "cpu", "y")):
        read.clear()
        calls.clear()
        batches = Batches(launcher, 64, seed=0, batch_size=4)
        with ReaderPool(2, timeout=600, memory_limit_gb=1) as pool:
            found = [file for _, rows in batches.run(network, files, pool, {}, Bar()) for file in rows]
        assert found == files and calls == [4] * 5


def test_readers_run_ahead_by_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the consumer takes, no more is read than fits; and so much is read before it asks."""
    read: list[Path] = []

    def reading(worker: Any, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        read.append(Path(request["path"]))
        points = np.random.default_rng(int(request["path"])).normal(size=(request["num_points"], 3))
        size = ((1.0, 1.0, 1.0), None, None, 0, False)
        header = {"outcome": "done", "notes": [], "moments": np.eye(3).tolist(), "measures": size}
        return header, points.astype("<f4").tobytes()

    monkeypatch.setattr(reader_pool._Worker, "ask", reading)
    monkeypatch.setattr(reader_pool, "AHEAD_BYTES", 10 * 12 * 100)
    files = [Path(str(number)) for number in range(50)]
    with ReaderPool(2, timeout=600, memory_limit_gb=1) as pool:
        readings = pool.read(files, 100, 0)
        next(readings)
        for wanted in (10, 20):
            end = time.monotonic() + 600
            while len(read) < wanted and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(0.05)
            assert len(read) == wanted
            for _ in range(10):
                next(readings)
        assert len(list(readings)) == 50 - 21
