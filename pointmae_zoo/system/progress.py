"""Progress of long work, on stderr: a bar on a terminal, elsewhere a plain line now and then."""

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

SECONDS_BETWEEN_LINES = 30.0
"""Without a terminal. Work that takes less prints nothing."""


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    unit: str,
    desc: str,
    initial: int = 0,
    disable: bool = False,
) -> Any:
    """A progress bar to iterate over or to ``update()``, in a ``with`` block or not: tqdm on a terminal, else
    `Lines`.

    Args:
        iterable: the items to work on; None: ``update`` is called instead.
        total: how many items there are; by default ``len(iterable)``, if it has one.
        unit: what one item is called.
        desc: what the work is.
        initial: how many items were done before.
        disable: show nothing.
    """
    if disable or sys.stderr.isatty():
        from tqdm import tqdm

        return tqdm(iterable, total=total, unit=unit, desc=desc, initial=initial, disable=disable)
    return Lines(iterable, total=total, unit=unit, desc=desc, initial=initial)


class Lines:
    """Progress without a terminal: every ``SECONDS_BETWEEN_LINES`` a line for a log file, such as
    ``teacher: 640 of 2000 clouds, 12.5 a second, 1:49 left``. It has those of tqdm's methods that are used
    here.
    """

    disable = False

    def __init__(
        self, iterable: Iterable[Any] | None, *, total: int | None, unit: str, desc: str, initial: int
    ) -> None:
        self.iterable = iterable
        self.total = len(iterable) if total is None and hasattr(iterable, "__len__") else total  # type: ignore[arg-type]
        self.unit, self.desc = unit, desc
        self.n = self.first = initial
        self.postfix = ""
        self.started = self.told = time.monotonic()

    def __iter__(self) -> Iterator[Any]:
        for one in self.iterable or ():
            yield one
            self.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def update(self, n: int = 1) -> None:
        """Count ``n`` more items as done."""
        self.n += n
        now = time.monotonic()
        if now - self.told >= SECONDS_BETWEEN_LINES:
            self.told = now
            print(self.line(now - self.started), file=sys.stderr, flush=True)

    def set_postfix_str(self, s: str = "") -> None:
        """Set what the following lines end with."""
        self.postfix = s

    def close(self) -> None:
        """As in tqdm; there is nothing to clear."""

    def line(self, seconds: float) -> str:
        """The line to print when so many seconds have passed."""
        done, total = self.n - self.first, self.total
        said = f"{self.desc}: {self.n}{'' if total is None else f' of {total}'} {self.unit}s"
        rate = done / seconds if seconds > 0 else 0.0
        if rate:
            said += f", {rate:.3g} a second" if rate >= 1 else f", {1 / rate:.3g} s each"
            if total is not None and total >= self.n:
                said += f", {clock((total - self.n) / rate)} left"
        return said + (f", {self.postfix}" if self.postfix else "")


def clock(seconds: float) -> str:
    """1:05 for 65 seconds, 2:00:00 for two hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
