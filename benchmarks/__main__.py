"""Print a table: ``python -m benchmarks [ROW...] [--seconds 5] [--out benchmarks/results/NAME.json]``.

``python -m benchmarks train`` measures training steps instead, and where their time goes; ``python -m
benchmarks gpu`` all that only a GPU can show (docs/gpu.md); ``python -m benchmarks weights`` clouds a second
of all published weights, for the table of results. ``python -m benchmarks copies FOLDER`` measures how often
copies of meshes find their originals, in every pose of ``embed``.
"""

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.copies import measure_copies
from benchmarks.gpu import PARTS as GPU_PARTS
from benchmarks.gpu import measure_gpu
from benchmarks.results_file import write_results
from benchmarks.rows import ROWS, seconds_of_a_cloud
from benchmarks.steps import TRAIN_ROWS, where_time_goes
from benchmarks.timing import Row
from pointmae_zoo.models.default_weights import DEFAULT_MODEL
from pointmae_zoo.models.registry import list_weights
from pointmae_zoo.shapes.up_axis import AXES
from pointmae_zoo.system.source_state import current_commit


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "rows",
        nargs="*",
        metavar="ROW",
        help=f"which rows; all by default: {', '.join(ROWS)}; or 'train': {', '.join(TRAIN_ROWS)}; "
        f"or 'gpu', and of that, if not all: {', '.join(GPU_PARTS)}; or 'weights'; or 'copies' and a folder",
    )
    parser.add_argument("--most", type=int, help="of 'copies': only so many meshes, the smallest files")
    parser.add_argument("--up", choices=AXES, default="z", help="of 'copies': the files' axis that points up")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="of 'copies': which weights")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each row, after its warm-up")
    parser.add_argument("--out", type=Path, help="write the numbers here, as JSON")
    args = parser.parse_args()
    if args.rows[:1] == ["gpu"]:
        return measure_gpu(machine(), args.seconds, args.out, args.rows[1:] or GPU_PARTS)
    if args.rows == ["weights"]:
        return measure_weights(args.seconds, args.out)
    if args.rows[:1] == ["copies"]:
        if len(args.rows) != 2:
            parser.error("copies: one folder expected after it")
        folder = Path(args.rows[1])
        return measure_copies(machine(), folder, args.out, most=args.most, up=args.up, model=args.model)
    known = {**ROWS, **TRAIN_ROWS}
    train = args.rows == ["train"]
    chosen = list(TRAIN_ROWS if train else args.rows or ROWS)
    if unknown := set(chosen) - set(known):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; rows are {', '.join(known)}")
    here = machine()
    print(f"{here['processor']}, {here['threads']} threads, torch {here['torch']}")
    if (here["load"] or 0) > 0.5:
        print(f"others use this machine ({here['load']:.1f} processes): times and ratios will be off")
    print()
    print(f"{'':<44} {'ours ms':>9} {'plain ms':>9} {'ratio':>7} {'target':>7}")
    rows = []
    for name in chosen:
        rows.append(known[name](args.seconds))
        print(line(rows[-1]), flush=True)
    missed = [row.name for row in rows if row.met is False]
    print(f"\n{'missed: ' + '; '.join(missed) if missed else 'every target met'}")
    results: dict[str, Any] = {"machine": here, "rows": [row.as_json() for row in rows]}
    if train:
        results["steps"] = where_time_goes()
        for step in results["steps"]:
            whole = sum(step["seconds"].values())
            print(f"\n{step['name']}, {step['recipe']['batch_size']} clouds: {1e3 * whole:.0f} ms a step")
            for part, seconds in step["seconds"].items():
                print(f"  {part:<26} {1e3 * seconds:9.1f} ms {100 * seconds / whole:5.1f} %")
    if args.out is not None:
        write_results(args.out, results)
    return 1 if missed else 0


def measure_weights(seconds: float, out: Path | None) -> int:
    """Clouds a second of all published weights on the CPU, of as many points as in training."""
    here, found = machine(), {}
    for name in list_weights():
        found[name] = 1 / seconds_of_a_cloud(name, seconds)
        print(f"{name:<44} {found[name]:9.0f} clouds/s", flush=True)
    if out is not None:
        write_results(out, {"machine": here, "commit": current_commit(), "clouds_per_second": found})
    return 0


def line(row: Row) -> str:
    """What was measured, both times, their ratio, the target, whether it was met, and what was checked."""
    plain = "" if row.plain is None else f"{1e3 * row.plain:9.2f}"
    ratio = "" if row.ratio is None else f"{row.ratio:6.1f}x"
    target = "" if row.target is None else f"{row.target:6.0f}x"
    verdict = {None: "", True: "met", False: "MISSED"}[row.met]
    return f"{row.name:<44} {1e3 * row.ours:9.2f} {plain:>9} {ratio:>7} {target:>7} {verdict:<6} {row.note}"


def machine() -> dict[str, Any]:
    """What the times depend on; ``load``: processes that ran, on average, during the minute before."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            row.split(":", 1)[1].strip()
            for row in cpuinfo.read_text(encoding="utf-8").splitlines()
            if row.startswith("model name")
        ]
        processor = names[0] if names else processor
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,  # not on Windows
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())
