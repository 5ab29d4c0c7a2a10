"""Farthest point sampling and neighbour search on a CPU, with numba (extra ``fast``).

The results are those of torch and numpy, index by index. numba is imported, and its loops compiled, at the
first call. Without numba, torch and numpy do the work.
"""

import functools
import importlib.util
import itertools
import os
import threading
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@functools.cache
def available() -> bool:
    """True where numba is installed and ``POINTMAE_ZOO_NUMBA`` is not ``0``."""
    return os.environ.get("POINTMAE_ZOO_NUMBA") != "0" and importlib.util.find_spec("numba") is not None


def farthest_point_sample(points: Tensor, num_samples: int, skip_near_origin: bool) -> Tensor:
    """`ops.farthest_point_sample` for float32 CPU points (B, N, 3)."""
    from pointmae_zoo.ops.cpu.numba_kernels import sample

    xyz = _planes(points)
    picked = np.empty((xyz.shape[0], num_samples), dtype=np.int64)
    _in_threads(lambda clouds: sample(xyz[clouds], skip_near_origin, picked[clouds]), xyz.shape[0])
    return torch.from_numpy(picked)


def knn(query: Tensor, points: Tensor, k: int) -> Tensor:
    """`ops.knn` for float32 CPU query (B, M, 3) and points (B, N, 3) with k <= N."""
    from pointmae_zoo.ops.cpu.numba_kernels import nearest_k

    xyz = _planes(points)
    rows = np.ascontiguousarray(query.numpy())
    found = np.empty((*query.shape[:2], k), dtype=np.int64)
    batch, count = query.shape[:2]
    pieces = [(b, slice(start, start + 256)) for b in range(batch) for start in range(0, count, 256)]

    def search(chosen: slice) -> None:
        for b, piece in pieces[chosen]:
            nearest_k(rows[b, piece], xyz[b], found[b, piece])

    _in_threads(search, len(pieces))
    return torch.from_numpy(found)


def _planes(points: Tensor) -> NDArray[np.float32]:
    """(B, N, 3) -> (B, 3, N), each coordinate contiguous.

    numpy copies: after a parallel copy, torch's threads would spin on the cores that the loops need next.
    """
    return np.ascontiguousarray(points.numpy().transpose(0, 2, 1))


def _in_threads(work: Callable[[slice], None], count: int) -> None:
    """Run ``work`` on ``count`` items, split evenly over as many threads as torch uses.

    The loops release the interpreter lock, so plain threads are enough. numba's own thread pools break when
    they are called from two threads at once or after a fork; both happen to a library.
    """
    threads = max(1, min(torch.get_num_threads(), count))
    edges = [count * i // threads for i in range(threads + 1)]
    first, *others = [slice(a, b) for a, b in itertools.pairwise(edges)]
    failures: list[BaseException] = []

    def share(piece: slice) -> None:
        try:
            work(piece)
        except BaseException as error:  # Python would print a thread's exception and lose it
            failures.append(error)

    helpers = [threading.Thread(target=share, args=(piece,)) for piece in others]
    for helper in helpers:
        helper.start()
    share(first)
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]
