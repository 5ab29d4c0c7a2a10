"""The Triton kernels behind `ops.triton.operators`: sampling, neighbour search and Chamfer distance.

Two rules hold in all of them:

- Floating point fusion is off (`PLAIN`). Distances then have the same bits as in the other implementations,
  so ties are broken alike.
- To find the smallest or largest distance, the bits of the floats are compared as int32. Non-negative floats
  order like their bits, and a warp reduces integers in one instruction; a second reduction finds the lowest
  index among equals.

Triton 3.2 to 3.9 compile them. `TRITON_INTERPRET=1`, set before triton is imported, runs them on a CPU.
"""

import warnings
from typing import Any

import torch
import triton
import triton.language as tl

PLAIN: dict[str, Any] = {"enable_fp_fusion": False, "num_stages": 1}
# The lowest compute capability that Triton supports. Our tests compile the kernels for 8.0 and 9.0.
_OLDEST = 80


def _usable() -> bool:
    """Whether this GPU runs the kernels; warns if it does not."""
    if not torch.cuda.is_available():
        return False
    try:
        # Loads the driver by way of a small module that the C compiler makes; some images have none.
        target = triton.runtime.driver.active.get_current_target()
        why = (
            ""
            if target.backend == "cuda" and target.arch >= _OLDEST
            else f"it is {target.backend} {target.arch}"
        )
    except Exception as error:
        why = str(error).partition("\n")[0]
    if why:
        warnings.warn(
            f"Triton's kernels can't be used on this GPU ({why}); torch serves, slower", stacklevel=2
        )
    return not why


USABLE = _usable()


def padded(count: int) -> int:
    """The size of the Triton block that holds ``count`` items: the next power of two, at least 16."""
    return max(16, 1 << (count - 1).bit_length())


@triton.jit(do_not_specialize=["count", "samples"])
def sample_kernel(  # type: ignore[no-untyped-def]
    xyz,  # (B, 3, block) float32; what is beyond count only has to be there
    picked,  # (B, samples) int64
    count,
    samples,
    far: tl.constexpr,
    near_origin: tl.constexpr,  # squared radius; negative: none
    held: tl.constexpr,
    block: tl.constexpr,
):
    """Farthest points of one cloud per program: a chain of dependent steps, each over all its points."""
    cloud = tl.program_id(0).to(tl.int64)
    xyz += cloud * 3 * block
    picked += cloud * samples
    index = tl.arange(0, block)
    x = tl.load(xyz + index)
    y = tl.load(xyz + block + index)
    z = tl.load(xyz + 2 * block + index)
    # A negative distance survives every minimum and loses to all others; where all points have it, the lowest
    # index wins, which is never one of the padding.
    nearest = tl.where(index < count, far, -1.0)
    if near_origin >= 0:
        nearest = tl.where(x * x + y * y + z * z <= near_origin, -1.0, nearest)
    last = tl.full([], 0, tl.int32)
    tl.store(picked, last)
    for step in range(1, samples):
        # The point picked last is in the first-level cache: shorter than a reduction that carries it along.
        px = tl.load(xyz + last)
        py = tl.load(xyz + block + last)
        pz = tl.load(xyz + 2 * block + last)
        # Read one after another where they are not held, so that one coordinate at a time takes up registers.
        if not held:
            x = tl.load(xyz + index)
        distance = (x - px) * (x - px)
        if not held:
            y = tl.load(xyz + block + index)
        distance += (y - py) * (y - py)
        if not held:
            z = tl.load(xyz + 2 * block + index)
        distance += (z - pz) * (z - pz)
        nearest = tl.minimum(nearest, distance)
        bits = nearest.to(tl.int32, bitcast=True)
        farthest = tl.max(bits, 0)
        last = tl.min(tl.where(bits == farthest, index, block), 0)
        tl.store(picked + step, last)


def sample_meta(count: int) -> dict[str, Any]:
    """Block and warps of `sample_kernel` for clouds of ``count`` points.

    Up to 8,192 points their coordinates stay in registers. Of more, the registers take the distances alone,
    and each step reads the coordinates again, from the first-level cache.
    """
    block = padded(count)
    held = block <= 8192
    return {"block": block, "held": held, "num_warps": min(max(block // 256, 1), 16) if held else 32, **PLAIN}


@triton.jit(do_not_specialize=["rows", "count", "k"])
def nearest_kernel(  # type: ignore[no-untyped-def]
    query,  # (B, rows, 3) float32
    xyz,  # (B, 3, count) float32
    found,  # (B, rows, k) int64
    rows,
    count,
    k,
    slots: tl.constexpr,
    tile: tl.constexpr,
):
    """The k nearest points of one query per program, which is one warp, in one pass over the points.

    The k best so far stay in registers. Of each tile only points nearer than the worst of them are taken, one
    by one: about k (1 + 1/2 + 1/3 + ...) in all, for points in any order but by falling distance. Sorting
    every tile costs more from the second on; k rounds over all points at once cost k N and don't fit into
    registers. A warp per query: no query waits for another's tile.
    """
    never: tl.constexpr = 0x7FFFFFFF  # larger than any distance
    row = tl.program_id(0).to(tl.int64)
    plane = tl.full([], 0, tl.int64) + count
    xyz += (row // rows) * 3 * plane
    query += row * 3
    qx = tl.load(query)
    qy = tl.load(query + 1)
    qz = tl.load(query + 2)
    slot = tl.arange(0, slots)
    wanted = slot < k
    kept = tl.where(wanted, never, -1)  # slots beyond k are never the worst
    kept_index = count + slot
    worst = tl.max(kept, 0)
    for start in range(0, count, tile):
        index = start + tl.arange(0, tile)
        real = index < count
        dx = tl.load(xyz + index, mask=real, other=0.0) - qx
        dy = tl.load(xyz + plane + index, mask=real, other=0.0) - qy
        dz = tl.load(xyz + 2 * plane + index, mask=real, other=0.0) - qz
        bits = (dx * dx + dy * dy + dz * dz).to(tl.int32, bitcast=True)
        # What is not a number comes last, but before nothing at all: every slot gets a point.
        bits = tl.where(real, tl.minimum(bits, never - 1), never)
        best = tl.min(bits, 0)
        # Not <=: a later point has the higher index and loses a tie.
        while best < worst:
            here = tl.min(tl.where(bits == best, index, never), 0)
            out = kept_index == tl.max(tl.where(kept == worst, kept_index, -1), 0)
            kept = tl.where(out, best, kept)
            kept_index = tl.where(out, here, kept_index)
            worst = tl.max(kept, 0)
            bits = tl.where(index == here, never, bits)
            best = tl.min(bits, 0)
    nearer = kept[None, :] < kept[:, None]
    before = (kept[None, :] == kept[:, None]) & (kept_index[None, :] < kept_index[:, None])
    rank = tl.sum(((nearer | before) & wanted[None, :]).to(tl.int32), 1)
    tl.store(found + row * k + rank, kept_index, mask=wanted)


def nearest_meta(k: int) -> dict[str, Any]:
    """Slots, tile and warps of `nearest_kernel`."""
    return {"slots": 32 if k <= 32 else 64, "tile": 256, "num_warps": 1, **PLAIN}


@triton.jit
def _pairwise(a, b, rows, columns, axis: tl.constexpr, height: tl.constexpr, width: tl.constexpr):  # type: ignore[no-untyped-def]
    """Differences a - b along an axis, (height, width); a (rows, 3), b (columns, 3)."""
    row = tl.arange(0, height)
    column = tl.arange(0, width)
    left = tl.load(a + row * 3 + axis, mask=row < rows, other=0.0)
    right = tl.load(b + column * 3 + axis, mask=column < columns, other=0.0)
    return left[:, None] - right[None, :]


@triton.jit(do_not_specialize=["rows", "columns", "row_share", "column_share"])
def chamfer_kernel(  # type: ignore[no-untyped-def]
    a,  # (B, rows, 3) float32
    b,  # (B, columns, 3) float32
    each,  # (B,) float32
    to_b,  # (B, rows) int32
    to_a,  # (B, columns) int32
    rows,
    columns,
    row_share,  # 1 / rows
    column_share,  # 1 / columns
    height: tl.constexpr,
    width: tl.constexpr,
):
    """Chamfer distance and nearest indices, one pair of sets per program."""
    never: tl.constexpr = 0x7FFFFFFF
    pair = tl.program_id(0).to(tl.int64)
    a += pair * rows * 3
    b += pair * columns * 3
    row = tl.arange(0, height)
    column = tl.arange(0, width)
    dx = _pairwise(a, b, rows, columns, 0, height, width)
    dy = _pairwise(a, b, rows, columns, 1, height, width)
    dz = _pairwise(a, b, rows, columns, 2, height, width)
    bits = (dx * dx + dy * dy + dz * dz).to(tl.int32, bitcast=True)
    bits = tl.where((row < rows)[:, None] & (column < columns)[None, :], bits, never)
    near_b = tl.min(bits, 1)
    near_a = tl.min(bits, 0)
    first_b = tl.min(tl.where(bits == near_b[:, None], column[None, :], width), 1)
    first_a = tl.min(tl.where(bits == near_a[None, :], row[:, None], height), 0)
    tl.store(to_b + pair * rows + row, first_b, mask=row < rows)
    tl.store(to_a + pair * columns + column, first_a, mask=column < columns)
    forward = tl.sum(tl.where(row < rows, near_b.to(tl.float32, bitcast=True), 0.0), 0)
    backward = tl.sum(tl.where(column < columns, near_a.to(tl.float32, bitcast=True), 0.0), 0)
    tl.store(each + pair, forward * row_share + backward * column_share)


@triton.jit(do_not_specialize=["rows", "columns", "row_share", "column_share"])
def chamfer_gradient_kernel(  # type: ignore[no-untyped-def]
    a,
    b,
    to_b,
    to_a,
    each_gradient,  # (B,) float32
    a_gradient,  # (B, rows, 3) float32
    b_gradient,  # (B, columns, 3) float32
    rows,
    columns,
    row_share,
    column_share,
    height: tl.constexpr,
    width: tl.constexpr,
):
    """Gradients of `chamfer_kernel`. A point may be the nearest of many: they are summed over a row or column
    of all pairs, in an order that is always the same, and not by atomic additions."""
    pair = tl.program_id(0).to(tl.int64)
    a += pair * rows * 3
    b += pair * columns * 3
    a_gradient += pair * rows * 3
    b_gradient += pair * columns * 3
    row = tl.arange(0, height)
    column = tl.arange(0, width)
    chosen_b = tl.load(to_b + pair * rows + row, mask=row < rows, other=-1)
    chosen_a = tl.load(to_a + pair * columns + column, mask=column < columns, other=-1)
    scale = 2.0 * tl.load(each_gradient + pair)
    forward = chosen_b[:, None] == column[None, :]
    backward = chosen_a[None, :] == row[:, None]
    share = tl.where(forward, row_share, 0.0) + tl.where(backward, column_share, 0.0)
    for axis in tl.static_range(3):
        apart = _pairwise(a, b, rows, columns, axis, height, width)
        # Chosen pairs only: 0 times the infinite distance of another would not be 0.
        part = tl.where(forward | backward, apart * share, 0.0)
        tl.store(a_gradient + row * 3 + axis, scale * tl.sum(part, 1), mask=row < rows)
        tl.store(b_gradient + column * 3 + axis, -scale * tl.sum(part, 0), mask=column < columns)


def chamfer_meta(rows: int, columns: int) -> dict[str, Any]:
    """Block and warps of both Chamfer kernels."""
    height, width = padded(rows), padded(columns)
    return {"height": height, "width": width, "num_warps": max(1, height * width // 1024), **PLAIN}
