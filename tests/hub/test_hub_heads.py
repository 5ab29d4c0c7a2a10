"""Published classifiers that are stored without their encoder, which is that of other published weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from model_cards.bundle import bundle
from pointmae_zoo import from_pretrained, save_pretrained
from pointmae_zoo.hub import CheckpointError, pretrained
from pointmae_zoo.models import registry
from pointmae_zoo.models.registry import Weights, register_weights
from pointmae_zoo.system.files import file_sha256
from samples.models import POINTS, equal, small

BASE, HEAD = "i2p_mae_tiny.base", "i2p_mae_tiny.heads"


def enter(folder: Path, encoder: str | None = None) -> None:
    weights = folder / "model.safetensors"
    register_weights(
        Weights(
            architecture="i2p_mae_tiny",
            tag=folder.name.partition(".")[2],
            sha256=file_sha256(weights),
            size=weights.stat().st_size,
            config_sha256=file_sha256(folder / "config.json"),
            status="demo",
            licence="CC0-1.0",
            summary="for this test",
            encoder=encoder,
        )
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A published encoder, and a classifier on top of it, of which the head alone was trained."""
    monkeypatch.setattr(pretrained, "BUNDLED", tmp_path)
    registry.list_weights()  # imports the families, if nobody has yet
    before = dict(registry._WEIGHTS)
    save_pretrained(small(), tmp_path / "encoder")
    enter(bundle(tmp_path / "encoder", BASE, to=tmp_path))
    torch.manual_seed(1)
    model = from_pretrained(BASE, kind="classification", labels=["a", "b"], head_pool="levels", head_width=0)
    model.head[0].running_mean.normal_()
    yield save_pretrained(model, tmp_path / "run")
    registry._WEIGHTS.clear()
    registry._WEIGHTS.update(before)


def test_the_head_finds_its_encoder(run: Path, tmp_path: Path) -> None:
    folder = bundle(run, HEAD, encoder=BASE, to=tmp_path)
    enter(folder, BASE)
    sizes = [(one / "model.safetensors").stat().st_size for one in (folder, tmp_path / BASE)]
    assert sizes[0] < sizes[1] / 3
    model, whole = from_pretrained(HEAD), from_pretrained(run)
    assert model.config.labels == ("a", "b") and model.config.arguments == whole.config.arguments
    assert equal(model.encoder, whole.encoder)
    torch.testing.assert_close(model(POINTS), whole(POINTS), rtol=0, atol=1e-3)  # the head is in float16
    assert equal(from_pretrained(HEAD, kind="encoder"), from_pretrained(BASE))
    assert from_pretrained(HEAD, labels=["x", "y", "z"])(POINTS).shape == (2, 3)


def test_what_was_loaded_is_whole_again(run: Path, tmp_path: Path) -> None:
    enter(bundle(run, HEAD, encoder=BASE, to=tmp_path), BASE)
    model = from_pretrained(HEAD)
    again = from_pretrained(save_pretrained(model, tmp_path / "whole"))
    assert equal(again, model) and torch.equal(again(POINTS), model(POINTS))
    with torch.no_grad():
        model.encoder.norms["0"].weight.add_(1.0)
    assert equal(from_pretrained(HEAD), again), "models do not share their encoder"


def test_a_folder_without_encoder_is_no_model_by_itself(run: Path, tmp_path: Path) -> None:
    folder = bundle(run, HEAD, encoder=BASE, to=tmp_path)
    with pytest.raises(CheckpointError, match=r"does not fit its architecture: missing encoder\."):
        from_pretrained(folder)


def test_an_exchanged_encoder_is_refused(run: Path, tmp_path: Path) -> None:
    enter(bundle(run, HEAD, encoder=BASE, to=tmp_path), BASE)
    path = tmp_path / BASE / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"i2p_mae_tiny\.base.*damaged or exchanged"):
        from_pretrained(HEAD)


def test_only_what_fits_is_bundled(run: Path, tmp_path: Path) -> None:
    model: Any = from_pretrained(run)
    with torch.no_grad():
        model.encoder.norms["0"].weight.add_(1.0)
    other = save_pretrained(model, tmp_path / "other")
    with pytest.raises(
        ValueError, match=r"its encoder is not that of i2p_mae_tiny\.base; train the head alone"
    ):
        bundle(other, HEAD, encoder=BASE, to=tmp_path)
    with pytest.raises(
        ValueError, match=r"holds i2p_mae_tiny, which is not what joint_mae_tiny\.x begins with"
    ):
        bundle(run, "joint_mae_tiny.x", to=tmp_path)
