"""How many clouds go through the network at a time, and which errors say that they were too many."""

import sys
from collections.abc import Callable

FIRST_CLOUDS = 16
"""The first size that is tried, and the size if none is tried."""
MOST_CLOUDS = 512
"""The largest size that is tried."""
GAIN = 1.05
"""Doubling the size must raise clouds per second by this factor to be worth the memory."""


class BatchSize:
    """The size of a batch: ``size``, a power of two where it was not given.

    Args:
        given: None: it starts at `FIRST_CLOUDS`, and `find` looks for the best.
    """

    def __init__(self, given: int | None) -> None:
        self.given = given
        self.size = given or FIRST_CLOUDS

    def find(self, seconds: Callable[[int], float], waiting: int) -> int:
        """Double the size as long as that brings more than 5 % more clouds per second and fits into memory.

        Does nothing where the size was given.

        Args:
            seconds: how long a batch of so many clouds takes. Raises an error that `is_out_of_memory`
                recognises if they don't fit.
            waiting: clouds that are still to come. Sizes above a thirty-second of them are not tried: that
                would take longer than they save, and the last batch is filled up.
        """
        most = min(MOST_CLOUDS, waiting // 32)
        if self.given is not None or 2 * self.size > most:
            return self.size
        if (taken := _tried(seconds, self.size)) is None:
            self.halve()
            return self.size
        rate = self.size / taken
        while 2 * self.size <= most:
            taken = _tried(seconds, 2 * self.size)
            if taken is None or 2 * self.size / taken <= GAIN * rate:
                break
            self.size, rate = 2 * self.size, 2 * self.size / taken
        return self.size

    def halve(self) -> None:
        """Halve the size, after a batch that did not fit. Raises RuntimeError if it held a single cloud."""
        if self.size == 1:
            raise RuntimeError(
                "the GPU has no room for a single cloud; end other programs on it, or use dtype bfloat16 or "
                "device cpu"
            )
        self.size = (self.size + 1) // 2
        if self.given is not None:  # the caller wanted another one
            print(f"out of memory: going on with {self.size} clouds at a time", file=sys.stderr)


def _tried(seconds: Callable[[int], float], size: int) -> float | None:
    """None: not enough memory."""
    try:
        return max(seconds(size), 1e-9)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it is one of the ways in which torch and the libraries under it say so."""
    said = str(error).lower()
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in said
        or any(f"{library}_status_alloc_failed" in said for library in ("cublas", "cudnn"))
    )
