"""The least that one program of a GPU needs for a step that the next one waits for.

Farthest point sampling is such a chain: which point is next is known when all distances have been compared.
Here every step is one load from where the step before says, and one maximum over the program's threads.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def chain_kernel(table, out, steps, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    lanes = tl.arange(0, WIDTH)
    last = tl.program_id(0) * 0
    for _ in range(steps):
        value = tl.load(table + last)
        last = tl.max((lanes ^ value) & (WIDTH - 1), axis=0)
        last = (last + value) & (WIDTH - 1)
    tl.store(out + tl.program_id(0), last)


def run_chain(table: Tensor, programs: int, steps: int, warps: int = 4) -> Tensor:
    """(WIDTH,) int32, WIDTH a power of two -> (programs,) where each chain ends after so many steps."""
    out = torch.empty(programs, dtype=torch.int32, device=table.device)
    chain_kernel[(programs,)](table, out, steps, WIDTH=len(table), num_warps=warps)
    return out


def chain_in_torch(table: Tensor, steps: int) -> int:
    """The same, step by step."""
    width = len(table)
    lanes = torch.arange(width, dtype=torch.int32, device=table.device)
    last = 0
    for _ in range(steps):
        value = int(table[last])
        last = int(((lanes ^ value) & (width - 1)).max())
        last = (last + value) & (width - 1)
    return last
