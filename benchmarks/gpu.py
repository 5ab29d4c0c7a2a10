"""``python -m benchmarks gpu --out FILE.json``: all that only a GPU can show, in one run (docs/gpu.md)."""

import importlib.metadata
import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_embed, gpu_floors, gpu_ops, gpu_steps
from benchmarks.gpu_rows import Bench, DeviceRow
from benchmarks.results_file import write_results


@dataclass
class Report:
    """What is measured, as it is written: after every entry, so that a run that is cut off keeps what it has.

    Args:
        machine: what the times depend on.
        out: None: not written.
    """

    machine: dict[str, Any]
    out: Path | None
    floors: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    clouds_per_second: list[dict[str, Any]] = field(default_factory=list)
    over_points: list[dict[str, Any]] = field(default_factory=list)
    agreement: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    def attempt(self, name: str, measure: Callable[[], None]) -> None:
        """One entry; what goes wrong with it is noted and leaves the others alone."""
        try:
            measure()
        except Exception as error:  # of one entry, whatever it is: the device may not be there again soon
            traceback.print_exc()
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            self.failures.append({"name": name, "reason": f"{type(error).__name__}: {reason}"})
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.out is not None:
            write_results(self.out, self.as_json())

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "out"}

    def add(self, row: DeviceRow) -> None:
        self.rows.append(row.as_json())
        print(row, flush=True)

    @property
    def missed(self) -> list[str]:
        """What failed, and agreements and targets that were not met."""
        return [
            *(f"{one['name']} ({one['reason']})" for one in self.failures),
            *(f"agreement of {one['model']} with the CPU" for one in self.agreement if not one["met"]),
            *(row["name"] for row in self.rows if row["met"] is False),
        ]


PARTS = ("agreement", "ops", "steps", "profile", "embed", "points")


def measure_gpu(
    machine: dict[str, Any], seconds: float, out: Path | None, chosen: Sequence[str] = PARTS
) -> int:
    """All entries on the current GPU.

    Args:
        machine: of the run, without the GPU.
        seconds: for each row, after its warm-up.
        out: where to write.
        chosen: which of ``PARTS``.

    Returns:
        0; 1 if something failed, disagrees with the CPU or missed its target; 2 if there is no GPU, or no
        such part.
    """
    if unknown := set(chosen) - set(PARTS):
        print(
            f"benchmarks gpu: no part {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}",
            file=sys.stderr,
        )
        return 2
    if not torch.cuda.is_available():
        said = "benchmarks gpu: torch sees no CUDA device on this machine; nothing was measured"
        print(said, file=sys.stderr)
        return 2
    device = torch.device("cuda", torch.cuda.current_device())
    report = Report({**machine, **gpu_of(device)}, out)
    print(f"{report.machine['gpu']}, torch {machine['torch']}, CUDA {report.machine['cuda']}\n", flush=True)
    measure_all(report, device, seconds, chosen)
    print(f"\n{'missed: ' + '; '.join(report.missed) if report.missed else 'every target met'}")
    return 1 if report.missed else 0


def measure_all(report: Report, device: torch.device, seconds: float, chosen: Sequence[str] = PARTS) -> None:
    """Every entry of the chosen parts; the floors first, as the others need them."""
    floors = gpu_floors.measure(device, seconds)
    report.floors = floors.as_json()
    print(
        f"copies {floors.bandwidth / 1e9:,.0f} GB/s; products {floors.float32 / 1e12:.1f} (float32) and "
        f"{floors.bfloat16 / 1e12:.1f} (bfloat16) Tflop/s; {1e9 * floors.chain_step:.0f} ns a dependent "
        "step\n",
        flush=True,
    )
    bench = Bench(device, seconds, floors)
    for part in chosen:
        for name, measure in entries(part, report, bench).items():
            report.attempt(name, measure)


def entries(part: str, report: Report, bench: Bench) -> dict[str, Callable[[], None]]:
    """What a part measures, by name."""
    if part == "agreement":
        return {f"agreement of {name}": partial(agree, report, bench, name) for name in gpu_embed.MODELS}
    if part == "ops":
        return {name: partial(add_op, report, bench, op) for name, op in gpu_ops.OPS.items()}
    if part == "steps":
        return {name: partial(add_steps, report, bench, step) for name, step in gpu_steps.STEPS.items()}
    if part == "profile":
        return {f"parts of {name}": partial(profile, report, bench, name) for name in gpu_steps.RECIPES}
    if part == "embed":
        return {
            f"embed, {name}, {dtype}": partial(speeds, report, bench, name, dtype)
            for name in gpu_embed.MODELS
            for dtype in gpu_embed.DTYPES
        }
    return {"over points": lambda: report.over_points.extend(gpu_embed.over_points(bench))}


def gpu_of(device: torch.device) -> dict[str, Any]:
    """What the times depend on beside the machine."""
    properties = torch.cuda.get_device_properties(device)
    with_triton = importlib.util.find_spec("triton") is not None
    return {
        "gpu": properties.name,
        "gpu_memory": properties.total_memory,
        "cuda": torch.version.cuda,
        "triton": importlib.metadata.version("triton") if with_triton else None,
    }


def agree(report: Report, bench: Bench, name: str) -> None:
    found = gpu_embed.agreement(bench, name)
    report.agreement.append(found)
    verdict = "agrees with the CPU" if found["met"] else "DISAGREES with the CPU"
    full, half = found["largest_difference"], found["smallest_cosine"]
    print(f"{name}: {verdict}; float32 within {full:.0e}, bfloat16 at a cosine of {half:.5f}", flush=True)


def add_op(report: Report, bench: Bench, op: Callable[[Bench], DeviceRow]) -> None:
    report.add(op(bench))


def add_steps(report: Report, bench: Bench, step: Callable[[Bench], list[DeviceRow]]) -> None:
    for row in step(bench):
        report.add(row)


def profile(report: Report, bench: Bench, name: str) -> None:
    step = gpu_steps.where_time_goes(bench, name)
    report.steps.append(step)
    whole = sum(step["seconds"].values())
    print(f"\n{step['name']}: {1e3 * whole:.1f} ms a step")
    for part, time in step["seconds"].items():
        share = step["share_of_peak"].get(part)
        peak = "" if share is None else f", {100 * share:.0f} % of the rate of bfloat16 products"
        print(f"  {part:<26} {1e3 * time:9.2f} ms {100 * time / whole:5.1f} %{peak}", flush=True)


def speeds(report: Report, bench: Bench, name: str, dtype: str) -> None:
    found = gpu_embed.clouds_per_second(bench, name, dtype)
    report.clouds_per_second.append(found)
    said = ", ".join(f"{one['clouds']}: {one['clouds_per_second']:,.0f}" for one in found["batches"])
    print(f"embed, {name}, {dtype}, clouds/s by batch: {said}", flush=True)
