"""``python -m benchmarks gpu`` on a CPU: all its pieces, in sizes that take no time."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import benchmarks.__main__
from benchmarks import gpu, gpu_embed, gpu_floors, gpu_ops, gpu_rows, gpu_steps
from benchmarks.clocks import Counted, Parts, ProcessorClock, peak_memory, seconds_of
from benchmarks.gpu_floors import Floors
from benchmarks.gpu_rows import Bench, DeviceRow, floor_of, plain_ops
from model_cards import render
from samples.pretraining import losses_and_gradients, model_and_batch

CPU = torch.device("cpu")
FLOORS = Floors(bandwidth=1e9, float32=1e9, bfloat16=2e9, chain_step=1e-6, chain="by hand")
BENCH = Bench(CPU, 0.0, FLOORS)
ROOT = Path(__file__).resolve().parents[2]
TINY: dict[str, Any] = {
    "cloud_points": 128,
    "num_points": 64,
}


def test_without_a_gpu_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "gpu", "ops"])
    assert benchmarks.__main__.main() == 2
    said = capsys.readouterr()
    assert said.err == "benchmarks gpu: torch sees no CUDA device on this machine; nothing was measured\n"
    assert not said.out
    assert gpu.measure_gpu({}, 1.0, None, ["ops", "opps"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("benchmarks gpu: no part opps; parts are agreement, ops,")


def test_times_of_what_takes_known_time() -> None:
    now = [0.0]

    class Clock(ProcessorClock):
        def mark(self) -> float:
            return now[0]

    def takes(seconds: float) -> Any:
        return lambda: now.__setitem__(0, now[0] + seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.clocks.clock_of", lambda _: Clock())
        assert seconds_of([takes(0.25), takes(1e-4)], CPU, 0.0) == pytest.approx([0.25, 1e-4])
    parts = Parts(Clock())
    with parts.part("outer"):
        takes(1.0)()
        with parts.part("inner"):
            takes(2.0)()
        takes(4.0)()
    takes(8.0)()
    with parts.part("inner"):
        takes(16.0)()
    assert parts.taken() == {"outer": 5.0, "inner": 18.0}
    assert parts.taken() == {}
    assert peak_memory(CPU, takes(1.0)) is None and now[0] > 30


def test_operations_are_counted_by_part() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    weight = torch.randn(3, 5, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        parts = Parts(Counted(counter))
        with parts.part("forward"):
            out = torch.ones(2, 3) @ weight
        with parts.part("backward"):
            out.sum().backward()
    assert parts.taken() == {"forward": 2 * 2 * 3 * 5, "backward": 2 * 2 * 3 * 5}


def test_floors() -> None:
    found = gpu_floors.measure(CPU, 0.0, megabytes=1, side=64)
    assert min(found.bandwidth, found.float32, found.bfloat16) > 0 and found.chain_step >= 0
    assert floor_of(FLOORS, bytes_moved=1e9, operations=0) == (1.0, "bytes")
    assert floor_of(FLOORS, bytes_moved=0, operations=3e9, chain=5) == (3.0, "operations")
    assert floor_of(FLOORS, bytes_moved=0, operations=0, chain=511) == (pytest.approx(511e-6), "latency")


def test_targets() -> None:
    row = DeviceRow("x", 0.5, 2.0, 0.25, "bytes", 3.0, "floor")
    assert (row.ratio, row.of_floor, row.met) == (4.0, 2.0, True)
    assert DeviceRow("x", 1.0, 2.0, 0.25, "bytes", 3.0, "floor").met is False
    assert DeviceRow("x", 1.0, 5.1, target=5.0, target_of="plain").met is True
    assert DeviceRow("x", 1.0, 4.9, target=5.0, target_of="plain").met is False
    assert DeviceRow("x", 1.0).met is None
    assert json.loads(json.dumps(row.as_json()))["of_floor"] == 2.0


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("fps", {"batch": 2, "points": 60, "samples": 9}),
        ("knn", {"batch": 2, "points": 60, "queries": 9, "k": 4}),
        ("three-nn", {"batch": 2, "points": 30, "sources": 9, "channels": 5}),
        ("chamfer", {"patches": 20, "size": 6}),
        ("summed", {"batch": 2, "points": 60, "size": 32}),
        ("zbuffer", {"batch": 2, "points": 60, "views": 3, "size": 32}),
    ],
)
def test_ops(name: str, sizes: dict[str, int]) -> None:
    row = gpu_ops.OPS[name](BENCH, **sizes)  # type: ignore[call-arg]
    assert row.ours > 0 and row.floor and row.floor > 0 and row.floor_by
    assert (row.plain is None) == (name == "zbuffer")
    if name == "fps":
        assert row.floor_by == "latency" or row.floor == 2 * 9 * 60 * 10 / 1e9
    assert json.dumps(row.as_json()) and str(row).startswith(row.name)


def test_plain_ops_give_the_same_losses() -> None:
    given = model_and_batch("i2p_mae_tiny", torch.float64)
    expected = losses_and_gradients(*given)
    with plain_ops():
        found = losses_and_gradients(*given)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=0)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The compiler is tested elsewhere."""
    called: list[str] = []
    monkeypatch.setattr(gpu_steps, "compile_blocks", lambda model, **_: called.append("model"))
    monkeypatch.setattr(gpu_steps, "compile_teacher", lambda teacher: called.append("teacher"))
    return called


@pytest.mark.parametrize("name", ["I2P-MAE, tiny", "Joint-MAE, tiny"])
def test_steps(name: str, uncompiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")

    def once(runs: list[Callable[[], object]], *_: Any) -> list[float]:
        for run in runs:
            run()
        return [1.0 for _ in runs]

    monkeypatch.setattr(gpu_rows, "seconds_of", once)
    changes: dict[str, Any] = {**TINY, "model_arguments": {"num_tokens": [16, 8], "depths": [0, 1]}}
    if name.startswith("I2P"):
        changes |= {"teacher": {"name": "mobilenetv2_035", "weights": "random", "views": 3, "size": 64}}
    rows = gpu_steps.recipe_step(BENCH, name, batch=2, **changes)
    assert [row.name.split(", ", 2)[2] for row in rows] == [
        "2 clouds, bfloat16",
        "2 clouds, bfloat16, compiled",
    ]
    assert all(row.plain and row.target == 5.0 for row in rows) and uncompiled == ["model"]
    step = gpu_steps.where_time_goes(BENCH, name, batch=2, rounds=1, **changes)
    assert set(step["seconds"]) >= {"data", "sampling and neighbours", "encoder", "backward", "optimizer"}
    assert step["operations"]["backward"] > step["operations"]["encoder"] > 0
    share = step["operations"]["encoder"] / step["seconds"]["encoder"] / FLOORS.bfloat16
    assert step["share_of_peak"]["encoder"] == pytest.approx(share)
    assert "optimizer" not in step["share_of_peak"] and step["peak_memory"] is None
    assert json.dumps(step)


def test_the_papers_step(uncompiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows; the steps themselves, too large for a test, are held against each other elsewhere."""
    half = 1.0

    class Sides:
        def __init__(self, batch: int, device: torch.device) -> None:
            assert (batch, device) == (3, CPU)
            self.half, self.model = False, torch.nn.Linear(1, 1)
            self.teacher = SimpleNamespace(precision="float32")

        def ours(self, update: bool = True) -> torch.Tensor:
            return torch.tensor([1.0, 2.0]) * (half if self.half else 1.0)

        def theirs(self, update: bool = True) -> torch.Tensor:
            return torch.tensor([1.0, 2.001])

    monkeypatch.setattr(gpu_steps, "Sides", Sides)
    half = 1.04
    rows = gpu_steps.paper_step(BENCH, batch=3)
    assert [row.target for row in rows] == [None, 5.0, 5.0] and uncompiled == ["model", "teacher"]
    assert "within 5e-04" in rows[0].note and "within 4e-02" in rows[1].note
    half = 1.06
    with pytest.raises(AssertionError, match=r"in bfloat16 the losses differ by 0\.06"):
        gpu_steps.paper_step(BENCH, batch=3)


@pytest.mark.parametrize("name", list(gpu_steps.RECIPES))
def test_recipes_exist(name: str) -> None:
    recipe = gpu_steps._recipe(name, None, {})
    assert recipe.precision == "bfloat16" and recipe.model.endswith(name.split(", ")[1])
    assert recipe.teacher.weights == "random" or not recipe.teacher.name


def test_embedding() -> None:
    found = gpu_embed.clouds_per_second(BENCH, "i2p_mae_tiny", "bfloat16", (1, 2))
    assert [one["clouds"] for one in found["batches"]] == [1, 2]
    assert all(one["clouds_per_second"] > 0 for one in found["batches"])
    rows = gpu_embed.over_points(BENCH, (150, 200), batch=1, name="i2p_mae_tiny")
    assert [row["points"] for row in rows] == [150, 200]
    assert set(rows[0]["seconds"]) == {"sampling", "neighbours", "features"}
    assert json.dumps([found, rows])


def test_agreement_and_disagreement(monkeypatch: pytest.MonkeyPatch) -> None:
    found = gpu_embed.agreement(BENCH, "i2p_mae_tiny", batch=2)
    assert found["met"] and found["largest_difference"] == 0 and found["smallest_cosine"] < 1
    monkeypatch.setattr(gpu_embed, "SMALLEST_COSINE", 0.9999999)
    assert not gpu_embed.agreement(BENCH, "i2p_mae_tiny", batch=2)["met"]


def test_a_run_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry fails, one disagrees, one misses its target: the others are there, and the run says so."""
    monkeypatch.setattr(gpu_floors, "measure", lambda *_: FLOORS)
    monkeypatch.setattr(gpu_embed, "MODELS", ("i2p_mae_tiny",))
    monkeypatch.setattr(gpu_embed, "DTYPES", {"float32": torch.float32})
    monkeypatch.setattr(gpu_steps, "RECIPES", {"one": ()})
    written: list[int] = []

    def failing(_: Bench) -> DeviceRow:
        written.append(len(json.loads((tmp_path / "gpu.json").read_text())["agreement"]))
        raise RuntimeError("no such kernel\nmore")

    monkeypatch.setattr(gpu_ops, "OPS", {"good": lambda _: DeviceRow("good", 1.0), "bad": failing})
    slow = DeviceRow("slow", 1.0, 2.0, target=5.0, target_of="plain")
    monkeypatch.setattr(gpu_steps, "STEPS", {"step": lambda _: [slow]})
    step = {"name": "one", "seconds": {"encoder": 0.5, "data": 0.5}, "share_of_peak": {"encoder": 0.25}}
    monkeypatch.setattr(gpu_steps, "where_time_goes", lambda *_: step)
    agreed = {"model": "i2p_mae_tiny", "largest_difference": 1.0, "smallest_cosine": 0.5, "met": False}
    monkeypatch.setattr(gpu_embed, "agreement", lambda *_: agreed)
    speed = {"model": "i2p_mae_tiny", "batches": [{"clouds": 1, "clouds_per_second": 3.0}]}
    monkeypatch.setattr(gpu_embed, "clouds_per_second", lambda *_: speed)
    monkeypatch.setattr(gpu_embed, "over_points", lambda _: [{"points": 1024}])
    report = gpu.Report({"gpu": "none"}, tmp_path / "gpu.json")
    gpu.measure_all(report, CPU, 0.0)
    assert written == [1]
    assert report.missed == [
        "bad (RuntimeError: no such kernel)",
        "agreement of i2p_mae_tiny with the CPU",
        "slow",
    ]
    stored = json.loads((tmp_path / "gpu.json").read_text())
    assert stored == json.loads(json.dumps(report.as_json()))
    assert [row["name"] for row in stored["rows"]] == ["good", "slow"]
    assert stored["steps"] == [step] and stored["over_points"] == [{"points": 1024}]


REPORT = {
    "machine": {"processor": "p", "threads": 1, "torch": "2.9", "gpu": "A GPU", "cuda": "13.0"},
    "rows": [
        DeviceRow("farthest points", 2e-4, 1e-2, 1e-4, "latency", 3.0, "floor").as_json(),
        DeviceRow("a step", 0.5).as_json(),
    ],
    "steps": [
        {
            "name": "base, 64 clouds",
            "seconds": {"teacher": 0.03, "backward": 0.01},
            "share_of_peak": {"teacher": 0.5},
        }
    ],
    "clouds_per_second": [
        {
            "model": "i2p_mae_tiny",
            "dtype": "bfloat16",
            "points": 1024,
            "batches": [
                {"clouds": 1, "clouds_per_second": 100.0, "peak_memory": 10**9},
                {"clouds": 64, "clouds_per_second": 12345.6, "peak_memory": 2 * 10**9},
            ],
        }
    ],
    "over_points": [
        {
            "points": 1024,
            "clouds": 32,
            "model": "i2p_mae_base",
            "seconds": {"sampling": 1e-3, "features": 2e-3},
            "peak_memory": 3 * 10**9,
        }
    ],
    "agreement": [{"model": "m", "largest_difference": 2e-6, "smallest_cosine": 0.99991, "met": True}],
    "failures": [],
}


def test_tables_from_a_report_written_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gpu.json").write_text(json.dumps(REPORT))
    monkeypatch.setattr(render, "ROOT", tmp_path)
    block = "before\n<!-- table: gpu gpu.json -->\n<!-- end -->\nafter\n"
    text = render.rendered(block)
    assert "| farthest points | 10.00 ms | 0.20 ms | 50.0× | 2.0× (latency) |" in text
    assert "| a step | | 500.00 ms | | |" in text
    assert (
        "| teacher | 30.0 ms, 75 %, at 50 % of the rate |" in text and "| backward | 10.0 ms, 25 % |" in text
    )
    assert "| i2p_mae_tiny, bfloat16 | 100 | 12,346 |" in text
    assert "| 1,024 | 1.00 ms | 2.00 ms | 3.0 GB |" in text
    assert "2e-06" in text and "0.9999" in text and "A GPU, torch 2.9, CUDA 13.0." in text
    assert text.startswith("before\n<!-- table: gpu gpu.json -->\n") and text.endswith(
        "<!-- end -->\nafter\n"
    )
    assert render.rendered(text) == text
    (tmp_path / "gpu.json").unlink()
    assert render.rendered(text) == block


def test_the_chain_of_dependent_steps() -> None:
    pytest.importorskip("triton")
    code = (
        "import torch\nfrom benchmarks.gpu_chain import chain_in_torch, run_chain\n"
        "table = torch.randperm(64, generator=torch.Generator().manual_seed(0)).int()\n"
        "for steps in (0, 1, 9):\n"
        "    assert run_chain(table, 2, steps).tolist() == [chain_in_torch(table, steps)] * 2, steps\n"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("capability", [80, 90])
def test_the_chain_compiles_for_gpus(capability: int) -> None:
    triton = pytest.importorskip("triton")
    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 3):
        pytest.skip("an older triton is told otherwise what to compile")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from benchmarks.gpu_chain import chain_kernel

    source = ASTSource(
        chain_kernel, {"table": "*i32", "out": "*i32", "steps": "i32", "WIDTH": "constexpr"}, {"WIDTH": 2048}
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert "ld.global" in compiled.asm["ptx"]
