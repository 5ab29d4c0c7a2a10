"""Features on a GPU: clouds per second, memory, how both grow with points, and agreement with the CPU."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.clocks import peak_memory, seconds_of
from benchmarks.gpu_rows import Bench
from benchmarks.rows import clouds
from pointmae_zoo import ops
from pointmae_zoo.models.registry import create_model

MODELS = ("i2p_mae_tiny", "i2p_mae_base", "joint_mae_tiny", "joint_mae_base")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LARGEST_DIFFERENCE = 1e-3
"""Of float32 features, absolute."""
SMALLEST_COSINE = 0.999
"""Of bfloat16 features."""


def encoder_of(name: str) -> Any:
    """An encoder of random weights whose BatchNorms do something; the same at every call."""
    torch.manual_seed(0)
    model = create_model(name).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    return model


def clouds_per_second(
    bench: Bench, name: str, dtype: str, batches: Sequence[int] = (1, 4, 16, 64, 256, 1024)
) -> dict[str, Any]:
    """Of ``embed``, points on the device, over batch sizes; stops where memory ends."""
    model = encoder_of(name).to(bench.device, DTYPES[dtype])
    points = model.config.preprocess.num_points
    found: dict[str, Any] = {"model": name, "dtype": dtype, "points": points, "batches": []}
    for batch in batches:
        given = clouds(batch, points).to(bench.device)

        def run(given: Tensor = given) -> Tensor:
            return model.embed(given)

        try:
            memory = peak_memory(bench.device, run)
            seconds = seconds_of([run], bench.device, bench.seconds / 5)[0]
        except torch.OutOfMemoryError:
            break
        found["batches"].append(
            {"clouds": batch, "clouds_per_second": batch / seconds, "peak_memory": memory}
        )
    return found


def over_points(
    bench: Bench,
    counts: Sequence[int] = (1024, 2048, 4096, 8192, 16384),
    *,
    batch: int = 32,
    name: str = "i2p_mae_base",
) -> list[dict[str, Any]]:
    """Seconds of sampling, of the finest neighbours and of all features, for clouds of more and more
    points."""
    model = encoder_of(name).to(bench.device, torch.bfloat16)
    tokens, k = model.hyper.num_tokens[0], model.hyper.num_neighbors[0]
    rows = []
    for count in counts:
        given = clouds(batch, count).to(bench.device)
        centers = given[:, :tokens]
        runs = {
            "sampling": lambda given=given: ops.farthest_point_sample(given, tokens),
            "neighbours": lambda given=given, centers=centers: ops.knn(centers, given, k),
            "features": lambda given=given: model.embed(given),
        }
        memory = peak_memory(bench.device, runs["features"])
        times = dict(zip(runs, bench.times(*runs.values()), strict=True))
        rows.append(
            {"points": count, "clouds": batch, "model": name, "seconds": times, "peak_memory": memory}
        )
    return rows


def agreement(bench: Bench, name: str, *, batch: int = 8) -> dict[str, Any]:
    """Features of the device and of the CPU, on which float32 is the reference."""
    model = encoder_of(name)
    given = clouds(batch, model.config.preprocess.num_points)
    expected = model.embed(given)
    here = given.to(bench.device)
    full = model.to(bench.device).embed(here).cpu()
    half = model.to(torch.bfloat16).embed(here).cpu()
    difference = float((full - expected).abs().max())
    cosine = float(torch.nn.functional.cosine_similarity(half, expected).min())
    return {
        "model": name,
        "clouds": batch,
        "largest_feature": float(expected.abs().max()),
        "largest_difference": difference,
        "smallest_cosine": cosine,
        "met": difference <= LARGEST_DIFFERENCE and cosine > SMALLEST_COSINE,
    }
