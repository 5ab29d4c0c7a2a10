"""Clouds of coming steps, read while the present step runs."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS_AHEAD = 4


class ReadAhead:
    """Reads the rows that are expected in threads of its own, until `close`.

    Expecting rows changes only how long it takes to read them. Memory holds those that are expected and not
    yet read.

    Args:
        read: row numbers (B,) -> rows (B, ...), the same every time; called from several threads.
    """

    def __init__(self, read: Callable[[NDArray[np.int64]], NDArray[Any]]) -> None:
        self._read = read
        self._threads = ThreadPoolExecutor(STEPS_AHEAD)
        self._coming: dict[bytes, Future[NDArray[Any]]] = {}

    def expect(self, indices: NDArray[np.int64]) -> None:
        """Begin to read these rows (B,)."""
        self._coming[indices.tobytes()] = self._threads.submit(self._read, indices)

    def read(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """The rows (B,) -> (B, ...), as ``read`` gives them. Raises what it raises, in any thread."""
        coming = self._coming.pop(indices.tobytes(), None)
        return self._read(indices) if coming is None else coming.result()

    def close(self) -> None:
        """End the threads; what is being read is read to its end."""
        self._threads.shutdown(cancel_futures=True)
