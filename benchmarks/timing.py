"""Two ways of doing the same thing, timed in turns."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table. Times are medians in seconds; ``ratio`` is plain / ours."""

    name: str
    ours: float
    plain: float | None
    target: float | None  # smallest ratio that counts as met; None where nothing was promised
    note: str  # what was checked, and what the two sides are
    precision: str = "float32"  # of our side's network

    @property
    def ratio(self) -> float | None:
        return None if self.plain is None else self.plain / self.ours

    @property
    def met(self) -> bool | None:
        return None if self.ratio is None or self.target is None else self.ratio >= self.target

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


def interleaved_medians(
    ours: Callable[[], object],
    plain: Callable[[], object],
    seconds: float,
    *,
    fewest: int = 5,
    warm_up: int = 2,
) -> tuple[float, float]:
    """Median time of each, run in turns, so that a slow minute of the machine hits both alike.

    At least ``fewest`` rounds, then as many as fit into ``seconds``, at most 200. The ``warm_up`` rounds
    before them are not counted: compilation, caches and page faults are paid there.
    """
    for _ in range(warm_up):
        ours()
        plain()
    times: tuple[list[float], list[float]] = ([], [])
    began = time.perf_counter()
    while len(times[0]) < fewest or (time.perf_counter() - began < seconds and len(times[0]) < 200):
        for run, kept in zip((ours, plain), times, strict=True):
            start = time.perf_counter()
            run()
            kept.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])
