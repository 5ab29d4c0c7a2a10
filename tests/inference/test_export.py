"""Exported models compute what ours do: the searches index by index, networks to 1e-4, on real meshes too."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pointmae_zoo
from pointmae_zoo import export_model
from pointmae_zoo.cli import main
from pointmae_zoo.inference import export
from pointmae_zoo.inference.export import write_onnx
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.ops import farthest_point_sample, knn
from pointmae_zoo.shapes.file_search import find_files
from pointmae_zoo.shapes.read import read_points
from samples.models import small

VERSION = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
can_export = pytest.mark.skipif(VERSION < export.OLDEST_TORCH, reason="this torch is too old to export")
SIZE = Preprocess(64, 256)


class Searches(nn.Module):
    """The two searches, as an encoder calls them."""

    def __init__(self, samples: int, k: int, skip: bool) -> None:
        super().__init__()
        self.samples, self.k, self.skip = samples, k, skip

    def forward(self, points: Tensor) -> Tensor:
        picked = farthest_point_sample(points, self.samples, skip_near_origin=self.skip)
        return torch.cat([picked, knn(points[:, :7], points, self.k).flatten(1)], dim=1)


def clouds() -> dict[str, Tensor]:
    """(3, 40, 3) each; many of their distances are equal."""
    random = torch.Generator().manual_seed(0)
    grid = torch.randint(-2, 3, (3, 40, 3), generator=random).float() / 4
    twice = torch.rand(3, 20, 3, generator=random).repeat(1, 2, 1)
    return {
        "grid": grid,
        "twice": twice,
        "one place": torch.ones(3, 40, 3),
        "plain": torch.randn(3, 40, 3, generator=random),
    }


def brute(points: Tensor, samples: int, k: int, skip: bool) -> np.ndarray:
    """In float64, one cloud and one point at a time; all coordinates are such that float32 is exact, or no
    two distances are so near that it matters."""
    rows = []
    for cloud in points.double().numpy():
        apart = ((cloud[:, None] - cloud[None]) ** 2).sum(-1)
        nearest = np.where(skip & ((cloud**2).sum(-1) <= 1e-3), -1.0, np.inf)
        picked = [0]
        while len(picked) < samples:
            nearest = np.minimum(nearest, apart[picked[-1]])
            picked.append(int(nearest.argmax()))
        near = [index for row in apart[:7] for index in np.argsort(row, kind="stable")[:k]]
        rows.append(picked + near)
    return np.array(rows)


@can_export
@pytest.mark.parametrize(("samples", "k", "skip"), [(24, 5, False), (24, 40, True)])
def test_searches_keep_their_tie_rules(samples: int, k: int, skip: bool, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    searches = Searches(samples, k, skip)
    program = export._traced(searches, torch.randn(2, 40, 3))
    write_onnx(program, tmp_path / "s.onnx", "indices", {})
    session = onnxruntime.InferenceSession(tmp_path / "s.onnx", providers=["CPUExecutionProvider"])
    for name, points in clouds().items():
        wanted = brute(points, samples, k, skip)
        np.testing.assert_array_equal(searches(points).numpy(), wanted, err_msg=name)
        for batch in (1, 3):
            np.testing.assert_array_equal(program.module()(points[:batch]), wanted[:batch], err_msg=name)
            (found,) = session.run(None, {"points": points[:batch].numpy()})
            np.testing.assert_array_equal(found, wanted[:batch], err_msg=name)


@can_export
def test_an_encoder_as_program(tmp_path: Path) -> None:
    model = small(preprocess=SIZE, pool="levels", local_radius=(0.5, 0.0)).train()
    made = export_model(model, tmp_path / "m.pt2", pool="mean,max")
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())
    assert (made.outputs, made.width, made.num_points) == ("features", model.feature_dim("mean,max"), 64)
    assert made.bytes == made.path.stat().st_size and made.difference < 1e-5
    extra = {"pointmae_zoo": ""}
    with open(made.path, "rb") as file:
        program = torch.export.load(file, extra_files=extra).module()
    for batch in (1, 5):
        points = torch.randn(batch, 64, 3)
        torch.testing.assert_close(program(points), model.embed(points, "mean,max"))
    described = json.loads(extra["pointmae_zoo"])
    assert described["labels"] is None and described["pool"] == "mean,max"


@can_export
def test_a_classifier_as_onnx(tmp_path: Path) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    labels = ("chair", "lamp", "mug")
    model = small(kind="classification", num_classes=3, labels=labels, preprocess=SIZE)
    made = export_model(model, tmp_path / "m.onnx")
    assert (made.outputs, made.width) == ("logits", 3) and made.difference < 1e-5
    session = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 64, 3]
    assert [(out.name, out.shape) for out in session.get_outputs()] == [("logits", ["batch", 3])]
    for batch in (1, 5):
        points = torch.randn(batch, 64, 3)
        (found,) = session.run(None, {"points": points.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, model(points), atol=1e-5)
    (stored,) = onnx.load(made.path).metadata_props
    described = json.loads(stored.value)
    assert stored.key == "pointmae_zoo" and described["labels"] == list(labels)
    assert Preprocess.from_dict(described["preprocess"]) == SIZE


@can_export
@pytest.mark.slow
def test_ten_real_meshes_in_onnxruntime(testdata: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    encoder = pointmae_zoo.from_pretrained("i2p_mae_tiny.shapes", kind="encoder")
    made = export_model(encoder, tmp_path / "encoder.onnx")
    assert made.bytes < 9_000_000
    files = find_files(testdata / "shapes" / "meshes")
    files = files[:: len(files) // 10][:10]
    points = encoder.config.preprocess([read_points(file, 8192) for file in files])
    session = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"points": points.numpy()})
    assert len(found) == 10
    np.testing.assert_allclose(found, encoder.embed(points), atol=1e-4)


@can_export
def test_points_that_are_not_finite_give_nan(tmp_path: Path) -> None:
    """The model refuses them; a program has no errors, and must not give numbers that look like features."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = small()
    count = model.config.preprocess.num_points
    export_model(model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    points = np.random.default_rng(0).normal(size=(3, count, 3)).astype(np.float32) / 3
    points[0, 5, 1], points[2, :, 2] = np.nan, -np.inf
    with pytest.raises(ValueError, match="NaN"):
        model.embed(torch.from_numpy(points))
    (found,) = session.run(None, {"points": points})
    assert np.isnan(found[[0, 2]]).all()
    np.testing.assert_allclose(found[1], model.embed(torch.from_numpy(points[1:2]))[0], atol=1e-4)


@can_export
def test_what_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Centre(nn.Module):  # quickly traced
        pool = "mean"

        def forward(self, points: Tensor) -> Tensor:
            return points.mean(dim=1)

    monkeypatch.setattr(export, "_network", lambda *_: (Centre(), "features"))
    assert export_model(small(preprocess=SIZE), tmp_path / "same.pt2").path.exists()
    (tmp_path / "same.pt2").unlink()
    runner = export._program_runner
    monkeypatch.setattr(export, "_program_runner", lambda path: lambda points: runner(path)(points) + 1e-3)
    with pytest.raises(ValueError, match=r"m\.pt2: not written, because its outputs differ .* by 0\.001"):
        export_model(small(preprocess=SIZE), tmp_path / "m.pt2")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(error: type[Exception], said: str, model: Any, name: str = "m.pt2", **arguments: Any) -> None:
        with pytest.raises(error, match=said):
            export_model(model, tmp_path / name, **arguments)

    monkeypatch.setattr(export, "OLDEST_TORCH", (0, 0))
    encoder = small(preprocess=SIZE)
    fails(ValueError, r"m\.pth: expected the name of a \.onnx or \.pt2 file", encoder, "m.pth")
    fails(FileNotFoundError, "no such folder", encoder, "none/m.pt2")
    fails(ValueError, "no_such", "no_such")
    fails(TypeError, "model: weights by name or folder", nn.Linear(1, 1))
    fails(ValueError, "logits are a classifier's, and this is of kind 'encoder'", encoder, labels=True)
    fails(ValueError, "pool: ", encoder, pool="median")
    segmenter = small(kind="part_segmentation", preprocess=SIZE)
    fails(ValueError, "a part segmenter cannot be exported", segmenter)
    classifier = small(kind="classification", preprocess=SIZE)
    fails(ValueError, "pool: decides features", classifier, pool="max")
    fails(ValueError, "hide_uncovered", small(preprocess=SIZE, hide_uncovered=True))
    monkeypatch.setattr(export, "OLDEST_TORCH", (99, 0))
    fails(ImportError, r"export needs torch 99\.0 or newer, this is", encoder)
    assert list(tmp_path.iterdir()) == []


@can_export
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "model", tmp_path / "m.pt2"
    pointmae_zoo.save_pretrained(small(kind="classification", preprocess=SIZE), folder)
    assert main(["export", str(folder), "--out", str(out), "--pool", "max", "--features"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{out}: points (batch, 64, 3) -> features (batch, 24), ")
    assert main(["export", str(folder), "--out", str(tmp_path / "m.bin")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
