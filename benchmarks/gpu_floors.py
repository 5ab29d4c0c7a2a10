"""What a device can do, measured in the same run as all else: the floors that times are held against."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from benchmarks.clocks import seconds_of
from pointmae_zoo.ops.triton.dispatch import samples


@dataclass(frozen=True)
class Floors:
    """Rates of a device.

    Args:
        bandwidth: bytes a second, of a large copy, read and written.
        float32: operations a second of a float32 matrix product, without TF32. Each multiplication and each
            addition counts, as everywhere.
        bfloat16: of a bfloat16 one.
        chain_step: seconds of a step that the next one waits for (``benchmarks.gpu_chain``).
        chain: how that was measured.
    """

    bandwidth: float
    float32: float
    bfloat16: float
    chain_step: float
    chain: str

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def measure(device: torch.device, seconds: float, *, megabytes: int = 1024, side: int = 8192) -> Floors:
    """The floors of a device.

    Args:
        megabytes: of the copy; more than the caches hold.
        side: of the matrices.
    """
    step, how = _chain_step(device, seconds)
    return Floors(
        bandwidth=_copy_rate(device, megabytes, seconds),
        float32=_product_rate(device, torch.float32, side // 2, seconds),
        bfloat16=_product_rate(device, torch.bfloat16, side, seconds),
        chain_step=step,
        chain=how,
    )


def _copy_rate(device: torch.device, megabytes: int, seconds: float) -> float:
    source = torch.ones(megabytes * 2**20 // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / seconds_of([lambda: target.copy_(source)], device, seconds)[0]


def _product_rate(device: torch.device, dtype: torch.dtype, side: int, seconds: float) -> float:
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        return 2 * side**3 / seconds_of([lambda: a @ b], device, seconds)[0]
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _chain_step(
    device: torch.device, seconds: float, *, width: int = 2048, steps: int = 2000
) -> tuple[float, str]:
    table = torch.randperm(width, generator=torch.Generator().manual_seed(0)).int().to(device)
    if device.type == "cuda" and samples(torch.empty(1, width, 3, device=device)):
        from benchmarks.gpu_chain import run_chain

        def run(count: int) -> Tensor:
            return run_chain(table, 1, count)

        how = f"one program of 128 threads: a dependent load and a maximum over {width:,} numbers"
    else:
        lanes = torch.arange(width, dtype=torch.int32, device=device)

        def run(count: int) -> Tensor:
            last = table[0]
            for _ in range(count):
                last = (lanes ^ table[last.long()]).max()
            return last

        steps, how = steps // 20, f"torch: an index and a maximum over {width:,} numbers"
    # The difference of two lengths: what a launch costs is in neither.
    short, long = seconds_of([lambda: run(steps // 2), lambda: run(steps)], device, seconds)
    return max(0.0, long - short) / (steps - steps // 2), how
