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

# Points among which the farthest one is looked for at a time.
_BLOCK = 128


@functools.cache
def available() -> bool:
    """True where numba is installed and ``POINTMAE_ZOO_NUMBA`` is not ``0``."""
    return os.environ.get("POINTMAE_ZOO_NUMBA") != "0" and importlib.util.find_spec("numba") is not None


def farthest_point_sample(points: Tensor, num_samples: int, skip_near_origin: bool) -> Tensor:
    """`ops.farthest_point_sample` for float32 CPU points (B, N, 3)."""
    xyz = _planes(points)
    picked = np.empty((xyz.shape[0], num_samples), dtype=np.int64)
    sample, _ = _compiled()
    _in_threads(lambda clouds: sample(xyz[clouds], skip_near_origin, picked[clouds]), xyz.shape[0])
    return torch.from_numpy(picked)


def knn(query: Tensor, points: Tensor, k: int) -> Tensor:
    """`ops.knn` for float32 CPU query (B, M, 3) and points (B, N, 3) with k <= N."""
    xyz = _planes(points)
    rows = np.ascontiguousarray(query.numpy())
    found = np.empty((*query.shape[:2], k), dtype=np.int64)
    _, nearest_k = _compiled()
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


@functools.cache
def _compiled() -> tuple[Callable[..., None], Callable[..., None]]:
    import numba

    # No fastmath: the order of roundings must be that of the torch path, or ties fall differently.
    # Each streaming loop is a function of its own over plain 1-D arrays: only so does the compiler vectorise
    # it.
    @numba.njit(cache=True, nogil=True)
    def distances(x, y, z, px, py, pz, out):  # type: ignore[no-untyped-def]
        for i in range(out.size):
            dx, dy, dz = x[i] - px, y[i] - py, z[i] - pz
            out[i] = dx * dx + dy * dy + dz * dz

    @numba.njit(cache=True, nogil=True)
    def update(x, y, z, px, py, pz, nearest):  # type: ignore[no-untyped-def]
        for i in range(nearest.size):
            dx, dy, dz = x[i] - px, y[i] - py, z[i] - pz
            d = dx * dx + dy * dy + dz * dz
            nearest[i] = min(d, nearest[i])

    @numba.njit(cache=True, nogil=True)
    def maximum(bits):  # type: ignore[no-untyped-def]
        top = bits[0]
        for i in range(bits.size):
            top = max(top, bits[i])
        return top

    @numba.njit(cache=True, nogil=True)
    def first_maximum(bits):  # type: ignore[no-untyped-def]
        # Block by block, so that the search for the place, which can't be vectorised, is a short one.
        best, top = 0, maximum(bits[:_BLOCK])
        for start in range(_BLOCK, bits.size, _BLOCK):
            here = maximum(bits[start : start + _BLOCK])
            if here > top:
                best, top = start, here
        while bits[best] != top:
            best += 1
        return best

    @numba.njit(cache=True, nogil=True)
    def sample(xyz, skip_near_origin, picked):  # type: ignore[no-untyped-def]
        batch, _, count = xyz.shape
        for b in range(batch):
            x, y, z = xyz[b, 0], xyz[b, 1], xyz[b, 2]
            nearest = np.full(count, np.float32(1e10), dtype=np.float32)
            if skip_near_origin:
                for i in range(count):
                    if x[i] * x[i] + y[i] * y[i] + z[i] * z[i] <= np.float32(1e-3):
                        nearest[i] = np.float32(-1.0)
            # Non-negative floats order like their bit patterns, and an integer maximum vectorises where a
            # float one (which must mind NaN) does not.
            bits = nearest.view(np.int32)
            last = 0
            picked[b, 0] = 0
            for step in range(1, picked.shape[1]):
                update(x, y, z, x[last], y[last], z[last], nearest)
                last = first_maximum(bits)
                picked[b, step] = last

    @numba.njit(cache=True, nogil=True)
    def nearest_k(query, xyz, found):  # type: ignore[no-untyped-def]
        rows, k = found.shape
        distance = np.empty(xyz.shape[1], dtype=np.float32)
        best = np.empty(k, dtype=np.float32)
        for q in range(rows):
            distances(xyz[0], xyz[1], xyz[2], query[q, 0], query[q, 1], query[q, 2], distance)
            held = 0
            for i in range(distance.size):
                d = distance[i]
                if held < k:
                    slot = held
                    held += 1
                elif d < best[k - 1]:
                    slot = k - 1
                else:
                    continue
                # Insertion behind equal distances keeps the lowest index first.
                while slot > 0 and d < best[slot - 1]:
                    best[slot] = best[slot - 1]
                    found[q, slot] = found[q, slot - 1]
                    slot -= 1
                best[slot] = d
                found[q, slot] = i

    return sample, nearest_k
