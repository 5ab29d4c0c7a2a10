"""Arrays of clouds or targets for a device: copied there once as a whole, where there is room.

A copy from ordinary memory to a GPU waits until the GPU has finished all earlier work. A copy from pinned
memory doesn't, and rows that lie on the GPU already are only gathered.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_FOR_THE_STEP = 0.5
"""The share of a GPU's memory that all copies together leave free."""
_UPLOADED = 256
"""Rows that are copied at a time."""


class Rows:
    """M rows that are fetched by number, batch after batch.

    Args:
        read: row numbers (B,) -> rows (B, ...), always of one shape and type.
        count: M.
        copied: False: rows are made when they are read, so they are never copied as a whole.
    """

    def __init__(
        self, read: Callable[[NDArray[np.int64]], NDArray[Any]], count: int, *, copied: bool = True
    ) -> None:
        self._read, self._count, self._copied = read, count, copied
        self._resident: dict[torch.device, Tensor | None] = {}  # None: no room there

    def fetch(self, indices: NDArray[np.int64], device: torch.device) -> Tensor:
        """(B,) -> (B, ...) on the device, without waiting for it. The first call for a GPU copies all rows
        there if half of its memory stays free; every process has its own copy."""
        if device.type == "cpu":
            return torch.from_numpy(self._read(indices))
        if device not in self._resident:
            self._resident[device] = self._uploaded(device) if self._copied else None
        resident = self._resident[device]
        if resident is None:
            return to_device(self._read(indices), device)
        return resident.index_select(0, to_device(indices, device))

    def _uploaded(self, device: torch.device) -> Tensor | None:
        first = self._read(np.zeros(1, np.int64))
        if first.nbytes * self._count > free_bytes(device):
            return None
        like = torch.from_numpy(first)
        resident = _empty((self._count, *first.shape[1:]), like.dtype, device)
        for start in range(0, self._count, _UPLOADED):
            rows = self._read(np.arange(start, min(start + _UPLOADED, self._count)))
            resident[start : start + len(rows)] = to_device(rows, device)
        return resident


def _empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=device)


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array on a device; a GPU goes on working meanwhile."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def free_bytes(device: torch.device) -> int:
    """Bytes that copies may take on a device now; 0 if unknown."""
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return int(free - _FOR_THE_STEP * total)
