"""Embedding and predicting on a GPU: the CPU's rows, in order, while everything overlaps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from pointmae_zoo import from_pretrained
from pointmae_zoo.inference import embed_files, predict_files, predict_parts
from pointmae_zoo.inference.batches import Direct, launcher_for
from pointmae_zoo.inference.gpu_batches import Overlapped
from pointmae_zoo.models.preprocess import Preprocess
from samples.models import small

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty shapes, some of them clouds of other lengths, and one that cannot be read."""
    home = tmp_path_factory.mktemp("meshes")
    rng = np.random.default_rng(0)
    for number in range(40):
        if number % 4 == 3:
            np.save(home / f"{number:02}.npy", rng.normal(size=(500 + 300 * number, 3)))
        else:
            mesh = trimesh.creation.icosphere(subdivisions=3)
            mesh.vertices *= rng.uniform(0.3, 2, 3) + 0.2 * np.sin(5 * mesh.vertices[:, :1])
            mesh.export(home / f"{number:02}.{('stl', 'ply', 'off')[number % 4]}")
    (home / "17b.off").write_text("a poem")
    return home


@pytest.fixture(scope="module")
def encoder() -> Any:
    return from_pretrained("i2p_mae_tiny.shapes", kind="encoder")


@pytest.fixture(scope="module")
def on_cpu(folder: Path, encoder: Any) -> Any:
    return embed_files(folder, encoder, progress=False)


def cosines(rows: Any, others: Any) -> Any:
    return (rows * others).sum(1) / (np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1))


@pytest.mark.parametrize("batch_size", [None, 1, 7, 64])
def test_rows_are_the_cpus(folder: Path, on_cpu: Any, batch_size: int | None) -> None:
    table = embed_files(folder, "i2p_mae_tiny.shapes", device="cuda", batch_size=batch_size, progress=False)
    assert table.paths == on_cpu.paths and table.failures == on_cpu.failures
    np.testing.assert_allclose(table.features, on_cpu.features, atol=1e-3)
    assert table.metadata == {**on_cpu.metadata, "model": "i2p_mae_tiny.shapes"}


def test_rows_in_bfloat16_are_close(folder: Path, on_cpu: Any) -> None:
    table = embed_files(folder, "i2p_mae_tiny.shapes", device="cuda", dtype="bfloat16", progress=False)
    assert table.features.dtype == np.float32 and table.metadata["dtype"] == "bfloat16"
    assert cosines(table.features, on_cpu.features).min() > 0.999


def test_a_row_does_not_depend_on_its_neighbours(folder: Path, on_cpu: Any) -> None:
    settings: dict[str, Any] = {"device": "cuda", "batch_size": 8, "progress": False}
    together = embed_files(folder, "i2p_mae_tiny.shapes", **settings)
    some = embed_files(on_cpu.paths[3:21:2], "i2p_mae_tiny.shapes", **settings)
    rows = dict(zip(together.paths, together.features, strict=True))
    for path, row in zip(some.paths, some.features, strict=True):
        np.testing.assert_allclose(row, rows[path], atol=1e-5)


def test_a_run_that_was_stopped_goes_on(folder: Path, tmp_path: Path) -> None:
    model = from_pretrained("i2p_mae_tiny.shapes", kind="encoder", device="cuda")
    settings: dict[str, Any] = {"out": tmp_path / "t.npz", "batch_size": 4, "progress": False}
    forward, calls = model.forward, []

    def stopped(points: torch.Tensor, pool: str | None = None) -> torch.Tensor:
        calls.append(len(points))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return forward(points, pool)

    model.forward = stopped
    with pytest.raises(KeyboardInterrupt):
        embed_files(folder, model, **settings)
    kept = (tmp_path / "t.npz.partial").read_bytes().count(b"\n") - 1
    assert 4 <= kept <= 20 and kept % 4 == 0
    table = embed_files(folder, model, **settings)
    assert len(calls) == 6 + (40 - kept) // 4
    whole = embed_files(folder, model, batch_size=4, progress=False)
    np.testing.assert_allclose(table.features, whole.features, atol=1e-5)


def test_out_of_memory_halves_the_batch(
    folder: Path, on_cpu: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The allocator is told to stop far below what a batch of 40 takes."""
    model = from_pretrained("i2p_mae_tiny.shapes", kind="encoder", device="cuda")
    embed_files(folder, model, batch_size=1, progress=False)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    embed_files(folder, model, batch_size=40, progress=False)
    peak, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction(0.6 * peak / total)
        table = embed_files(folder, model, batch_size=40, progress=False)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert "out of memory: going on with 20 clouds at a time" in capsys.readouterr().err
    assert table.paths == on_cpu.paths
    np.testing.assert_allclose(table.features, on_cpu.features, atol=1e-3)


def test_launching_does_not_wait_for_the_gpu() -> None:
    """With torch told to fail where it would wait: pinned copies in, sampling, network, pinned copies out."""
    model = small(preprocess=Preprocess(64, 256)).cuda()
    clouds = [np.random.default_rng(number).normal(size=(256, 3)).astype(np.float32) for number in range(6)]
    launcher = launcher_for(model.config.preprocess, "cuda:0", "y")
    assert isinstance(launcher, Overlapped)
    wanted = launcher.launch(model, clouds, 8).outputs()  # kernels and pinned memory are there after this
    torch.cuda.set_sync_debug_mode("error")
    try:
        launched = launcher.launch(model, clouds, 8)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_allclose(launched.outputs(), wanted, atol=1e-6)


def test_pinned_memory_is_not_written_again_too_early() -> None:
    """Many batches launched before any is asked for, through a network that keeps the GPU busy."""
    recipe = Preprocess(32, 64)
    busy = torch.randn(2048, 2048, device="cuda")

    def network(points: torch.Tensor) -> torch.Tensor:
        product = busy
        for _ in range(20):
            product = (product @ busy).tanh()
        return points.flatten(1) + 0 * product.sum()

    clouds = [np.random.default_rng(number).normal(size=(64, 3)).astype(np.float32) for number in range(48)]
    launcher = Overlapped(recipe, "cuda", "y")
    batches = [clouds[start : start + 4] for start in range(0, 48, 4)]
    launched = [launcher.launch(network, batch, 4) for batch in batches]
    direct = Direct(recipe, "cpu", "y")
    for batch, pending in zip(batches, launched, strict=True):
        wanted = direct.launch(lambda points: points.flatten(1), batch, 4).outputs()
        np.testing.assert_allclose(pending.outputs(), wanted, atol=1e-5)


def test_the_best_size_is_found(folder: Path) -> None:
    model = small(preprocess=Preprocess(64, 256)).cuda()
    launcher = Overlapped(model.config.preprocess, "cuda", "y")
    clouds = [np.random.default_rng(0).normal(size=(256, 3)).astype(np.float32)]
    assert 0 < launcher.seconds(model, clouds, 16) < 60
    table = embed_files([folder], model, progress=False)
    assert len(table.paths) == 40


def test_classes_and_parts_are_the_cpus(folder: Path, tmp_path: Path) -> None:
    recipe = Preprocess(64, 512)
    classifier = small(kind="classification", num_classes=4, preprocess=recipe)
    wanted = predict_files(folder, classifier, progress=False)
    found = predict_files(folder, classifier, device="cuda", progress=False)
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-3)
    segmenter = small(
        kind="part_segmentation",
        num_parts=3,
        num_object_classes=1,
        labels=["a/x", "a/y", "a/z"],
        preprocess=recipe,
    )
    one = predict_parts(folder, segmenter, tmp_path / "cpu", progress=False)
    other = predict_parts(folder, segmenter, tmp_path / "gpu", device="cuda", progress=False)
    assert list(one.written) == list(other.written)
    for path, shares in one.shares.items():
        np.testing.assert_allclose(other.shares[path], shares, atol=0.02)
