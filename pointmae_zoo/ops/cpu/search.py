"""The two searches that torch is slow at on a CPU, as numba loops (extra ``fast``); results equal the torch
path bit for bit.

numba is imported, and the loops compiled, at the first call; where it is missing or set aside the torch path
serves.
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
    from pointmae_zoo.ops.cpu.loops import sample

    xyz = _planes(points)
    picked = np.empty((xyz.shape[0], num_samples), dtype=np.int64)
    _in_threads(lambda clouds: sample(xyz[clouds], skip_near_origin, picked[clouds]), xyz.shape[0])
    return torch.from_numpy(picked)


def knn(query: Tensor, points: Tensor, k: int) -> Tensor:
    """`ops.knn` for float32 CPU query (B, M, 3) and points (B, N, 3) with k <= N."""
    from pointmae_zoo.ops.cpu.loops import nearest_k

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
    """(B, N, 3) -> (B, 3, N), one contiguous run per coordinate.

    Copied by numpy: a parallel copy by torch would leave its threads spinning on the cores that the loops are
    about to use.
    """
    return np.ascontiguousarray(points.numpy().transpose(0, 2, 1))


def _in_threads(work: Callable[[slice], None], count: int) -> None:
    """Run ``work`` on ``count`` items, an equal slice to each of torch's threads.

    The loops release the interpreter lock, so plain threads do; numba's own thread pools break when called
    from two threads at once or after a fork, and both happen to a library.
    """
    threads = max(1, min(torch.get_num_threads(), count))
    edges = [count * i // threads for i in range(threads + 1)]
    first, *others = [slice(a, b) for a, b in itertools.pairwise(edges)]
    failures: list[BaseException] = []

    def share(piece: slice) -> None:
        try:
            work(piece)
        except BaseException as error:  # a thread's exception would be printed and lost
            failures.append(error)

    helpers = [threading.Thread(target=share, args=(piece,)) for piece in others]
    for helper in helpers:
        helper.start()
    share(first)
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]
