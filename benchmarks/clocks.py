"""Time on a device: CUDA events on a GPU, the processor's clock on a CPU, where all of this is tested."""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch

_SHORTEST = 2e-3  # seconds that are timed at a time: what is shorter is run several times in a row
_MOST_REPEATS = 100
_MOST_ROUNDS = 100


class Clock(Protocol):
    """Marks in the course of something, and what lies between two of them."""

    def mark(self) -> Any:
        """Now."""

    def between(self, first: Any, second: Any) -> float:
        """From one mark to another; both have been reached."""

    def wait(self) -> None:
        """Until all marks so far have been reached."""


class ProcessorClock:
    """Seconds of ``time.perf_counter``."""

    def mark(self) -> float:
        return time.perf_counter()

    def between(self, first: float, second: float) -> float:
        return second - first

    def wait(self) -> None:
        pass


class EventClock:
    """Seconds of the GPU, by events in its current stream: what it did, and what it waited for in between."""

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, first: torch.cuda.Event, second: torch.cuda.Event) -> float:
        return first.elapsed_time(second) / 1e3

    def wait(self) -> None:
        torch.cuda.synchronize()


class Counted:
    """Not seconds but operations, as a `torch.utils.flop_counter.FlopCounterMode` counts them."""

    def __init__(self, counter: Any) -> None:
        self.counter = counter

    def mark(self) -> int:
        return int(self.counter.get_total_flops())

    def between(self, first: int, second: int) -> float:
        return second - first

    def wait(self) -> None:
        pass


def clock_of(device: torch.device) -> Clock:
    return EventClock() if device.type == "cuda" else ProcessorClock()


def seconds_of(
    runs: list[Callable[[], object]],
    device: torch.device,
    seconds: float,
    *,
    warm_up: int = 2,
    fewest: int = 5,
) -> list[float]:
    """Median seconds of each of several ways, run in turns so that whatever happens meanwhile hits all alike.

    At least ``fewest`` rounds, then as many as fit into ``seconds``, at most 100. The ``warm_up`` rounds
    before are not counted: kernels are compiled and memory is taken there.
    """
    clock = clock_of(device)
    repeats = []
    for run in runs:
        for _ in range(warm_up):
            run()
        clock.wait()
        once = _elapsed(clock, run, 1)
        repeats.append(max(1, min(_MOST_REPEATS, math.ceil(_SHORTEST / max(once, 1e-9)))))
    times: list[list[float]] = [[] for _ in runs]
    began = time.perf_counter()
    while len(times[0]) < fewest or (time.perf_counter() - began < seconds and len(times[0]) < _MOST_ROUNDS):
        for run, repeat, kept in zip(runs, repeats, times, strict=True):
            kept.append(_elapsed(clock, run, repeat))
    return [statistics.median(one) for one in times]


def _elapsed(clock: Clock, run: Callable[[], object], repeat: int) -> float:
    first = clock.mark()
    for _ in range(repeat):
        run()
    last = clock.mark()
    clock.wait()
    return clock.between(first, last) / repeat


class Parts:
    """What lies in named parts of something, by a clock; a part within a part counts for the inner one
    only. Nothing is read before `taken`, so that a GPU runs on."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._open: list[str] = []
        self._marks: list[tuple[str | None, Any]] = []  # which part begins there, or goes on

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._open.append(name)
        self._mark()
        try:
            yield
        finally:
            self._open.pop()
            self._mark()

    def watch(self, owner: Any, method: str, name: str) -> None:
        """From now on that object's method is the part ``name``."""
        inner = getattr(owner, method)

        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return inner(*args, **kwargs)

        setattr(owner, method, watched)

    def taken(self) -> dict[str, float]:
        """All parts since it was asked last."""
        self.clock.wait()
        found: dict[str, float] = {}
        for (name, begin), (_, end) in zip(self._marks, self._marks[1:], strict=False):
            if name is not None:
                found[name] = found.get(name, 0.0) + self.clock.between(begin, end)
        self._marks.clear()
        return found

    def _mark(self) -> None:
        self._marks.append((self._open[-1] if self._open else None, self.clock.mark()))


def peak_memory(device: torch.device, run: Callable[[], object]) -> int | None:
    """Bytes of tensors that were on a GPU at most while something ran; None: not known of a CPU."""
    if device.type != "cuda":
        run()
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    run()
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated(device))
