"""The loops behind `ops.cpu.numba_operators`, compiled by numba at their first call.

They stand at module level because numba caches compiled code on disk only for such functions; compiling takes
3 seconds.
"""

import numba
import numpy as np

# Points that are searched for the farthest one at a time.
_BLOCK = 128


# No fastmath: rounding must happen in the same order as in torch, or ties are broken differently.
# Each streaming loop is a separate function over 1-D arrays; otherwise the compiler does not vectorise it.
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
    # Block by block: finding the index can't be vectorised, so it should run over one block only.
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
    # xyz (B, 3, N) float32, picked (B, num_samples) int64: filled in.
    batch, _, count = xyz.shape
    for b in range(batch):
        x, y, z = xyz[b, 0], xyz[b, 1], xyz[b, 2]
        nearest = np.full(count, np.float32(1e10), dtype=np.float32)
        if skip_near_origin:
            for i in range(count):
                if x[i] * x[i] + y[i] * y[i] + z[i] * z[i] <= np.float32(1e-3):
                    nearest[i] = np.float32(-1.0)
        # Non-negative floats order like their bits. A maximum of integers is vectorised; one of floats, which
        # has to handle NaN, is not.
        bits = nearest.view(np.int32)
        last = 0
        picked[b, 0] = 0
        for step in range(1, picked.shape[1]):
            update(x, y, z, x[last], y[last], z[last], nearest)
            last = first_maximum(bits)
            picked[b, step] = last


@numba.njit(cache=True, nogil=True)
def nearest_k(query, xyz, found):  # type: ignore[no-untyped-def]
    # query (M, 3) and xyz (3, N) float32, found (M, k) int64: filled in.
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
