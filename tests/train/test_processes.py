"""Runs that are killed, and runs on several processes: the same numbers as a run that is neither."""

import json
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from pointmae_zoo.cli import main
from samples.processes import in_two, start

for library in ("timm", "accelerate", "yaml"):
    pytest.importorskip(library)

pytestmark = pytest.mark.usefixtures("quick_preview")

SMALL: dict[str, str] = {
    "procedural_clouds": "0",
    "cloud_points": "128",
    "num_points": "64",
    "batch_size": "8",
    "warmup_steps": "2",
    "precision": "float32",
    "log_steps": "1",
}
_ENCODER = "num_tokens: [16, 8], num_neighbors: [8, 4], dims: [24, 48], stem_widths: [8, 16], drop_path: 0.4"
_DEEP = (
    "num_tokens: [16, 8, 4], num_neighbors: [8, 4, 4], dims: [24, 24, 48], stem_widths: [8, 16], "
    "local_radius: [0, 0, 0], target_level: 1"
)
OWN = {
    "i2p_mae": {
        "model_arguments": f"{{{_ENCODER}, depths: [1, 1]}}",
        "teacher": "{name: mobilenetv2_050, weights: random, views: 3, size: 32, precision: float32}",
    },
    "joint_mae": {
        "model_arguments": f"{{{_ENCODER}, depths: [0, 2], image_size: 32, image_dims: [12, 24, 48]}}",
    },
}


def arguments(clouds: Path, out: Path, cache: Path, family: str = "i2p_mae", **changes: object) -> list[str]:
    """A command line of the smallest pre-training."""
    words = ["pretrain", "--recipe", f"{family}/smoke", "--data", str(clouds), "--out", str(out)]
    words += ["--cache", str(cache)]
    for name, value in {**SMALL, **OWN[family], **changes}.items():
        words += ["--set", f"{name}={value}"]
    return words


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clouds") / "clouds.npy"
    rng = np.random.default_rng(0)
    np.save(path, (rng.normal(size=(20, 128, 3)) * rng.uniform(0.3, 1, size=(20, 1, 3))).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def lines(out: Path) -> int:
    path = out / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_again_and_again_equals_uninterrupted(
    clouds: Path, cache: Path, tmp_path: Path, kills: int
) -> None:
    changes = {"steps": 40, "checkpoint_steps": 3, "ema_decay": 0.9}
    assert main(arguments(clouds, tmp_path / "whole", cache, **changes)) == 0
    out = tmp_path / "killed"
    dice = random.Random(4)

    def run(stop_at: int | None = None) -> BaseProcess:
        words = arguments(clouds, out, cache, **changes)
        if (out / "recipe.yaml").is_file():
            words = ["pretrain", "--out", str(out), "--cache", str(cache), "--resume"]
        return start(words, stop_at=stop_at)

    # The first while a run starts, the others somewhere in the next steps, at whose end it waits.
    for goal in [0] * (kills // 5 + 1) + sorted(dice.sample(range(1, 34), kills - kills // 5 - 1)):
        process = run(goal + 4)
        while lines(out) < goal and process.is_alive():
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 0.03 if goal else 0.5))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    process = run()
    process.join()
    assert process.exitcode == 0
    for name in ("metrics.jsonl", "model.safetensors", "recipe.yaml"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    sessions = json.loads((out / "environment.json").read_text(encoding="utf-8"))["sessions"]
    assert len(sessions) > kills // 2


DEEP = {
    "i2p_mae": f"{{{_DEEP}, depths: [1, 1, 1], decoder_depths: [1, 1]}}",
    "joint_mae": f"{{{_DEEP}, depths: [0, 0, 2], image_size: 32, image_dims: [12, 24, 48]}}",
}


@pytest.mark.parametrize("family", sorted(OWN))
def test_levels_below_the_target_need_no_gradient(
    clouds: Path, cache: Path, tmp_path: Path, family: str
) -> None:
    """As at the paper's size: several processes wait for the gradient of every weight that can have one."""
    changes = {"family": family, "steps": 3, "model_arguments": DEEP[family]}
    assert main(arguments(clouds, tmp_path / "one", cache, **changes)) == 0
    in_two(arguments(clouds, tmp_path / "two", cache, **changes), tmp_path)
    one, two = (
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert len(one) == 3 and two == pytest.approx(one, rel=1e-3)


@pytest.mark.parametrize("family", sorted(OWN))
def test_two_processes_equal_one(clouds: Path, cache: Path, tmp_path: Path, family: str) -> None:
    changes = {"family": family, "steps": 6, "checkpoint_steps": 3}
    assert main(arguments(clouds, tmp_path / "one", cache, **changes)) == 0
    said = in_two(arguments(clouds, tmp_path / "two", cache, **changes), tmp_path)
    assert said.count("6 steps in") == 1
    curves = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert len(curves[0]) == 6
    for one, two in zip(*curves, strict=True):
        # Rounding decides near ties (which neighbour is nearest, which value the largest): no loss changes
        # by that, but its gradient does, and so do all steps that follow. Before the first update there is
        # nothing to be rounded differently, and in the second step no loss has seen such a gradient yet; with
        # wrong shares of a batch these two would differ already.
        # Nor is there anything in training mode that a bias before a BatchNorm changes, which has no gradient
        # but rounding; in evaluation mode there is, until the running means have followed.
        step = one["step"]
        for name in [name for name in one if name.startswith(("gradient_norm", "loss_3d_with"))]:
            close = 1e-5 if step == 1 else 5e-3 if step == 2 else 5e-2
            assert two.pop(name) == pytest.approx(one.pop(name), rel=close), name
        assert two == pytest.approx(one, rel=2e-5 if step <= 2 else 5e-2)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, value in weights[0].items():
        if value.ndim > 1:  # biases before a BatchNorm have no gradient but rounding, which Adam blows up
            apart = (weights[1][name] - value).norm()
            assert apart <= 5e-3 * value.norm(), (name, apart)
    environment = json.loads((tmp_path / "two" / "environment.json").read_text(encoding="utf-8"))
    assert environment["sessions"][0]["processes"] == 2
