"""A family from outside the package is listed, trained, stored, described, loaded and converted."""

import hashlib
import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pointmae_zoo import (
    create_model,
    embed_files,
    from_pretrained,
    list_models,
    push_to_hub,
    register_model,
    register_weights,
)
from pointmae_zoo.cli import main
from pointmae_zoo.hub import convert_checkpoint, save_pretrained
from pointmae_zoo.hub.cards.card import render_card
from pointmae_zoo.hub.torch_hub import entry_points
from pointmae_zoo.models import registry
from pointmae_zoo.models.registry import Architecture, Family, Weights, list_families
from samples.hub import LoopbackHub

NAME = "point_mae_small"


@pytest.fixture
def forgetful() -> Iterator[None]:
    """What a test registers is gone after it."""
    list_models()
    architectures, weights = dict(registry._ARCHITECTURES), dict(registry._WEIGHTS)
    yield
    for table, before in ((registry._ARCHITECTURES, architectures), (registry._WEIGHTS, weights)):
        table.clear()
        table.update(before)  # type: ignore[arg-type]
    sys.modules.pop("samples.point_mae", None)
    registry._import_families.cache_clear()


@pytest.fixture
def installed(forgetful: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package is installed that offers the family, and a broken one beside it."""
    for package, module in (("point-mae", "samples.point_mae"), ("broken", "samples.no_such_module")):
        folder = tmp_path / "installed" / f"{package}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[pointmae_zoo.families]\n{package} = {module}\n")
    monkeypatch.syspath_prepend(tmp_path / "installed")
    registry._import_families.cache_clear()


@pytest.mark.filterwarnings("ignore:family broken")
def test_its_way_through_the_package(
    installed: None,
    hub: LoopbackHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list"]) == 0
    assert re.search(rf"^{NAME} +Point-MAE, small enough for a test.$", capsys.readouterr().out, re.MULTILINE)
    assert main(["info", NAME]) == 0
    assert "arXiv:2203.06604" in capsys.readouterr().out
    assert main(["recipes"]) == 0
    assert "point_mae/smoke" in capsys.readouterr().out
    assert "Point-MAE, small" in str(entry_points()[NAME].__doc__)

    run = tmp_path / "run"
    assert main(["pretrain", "--recipe", "point_mae/smoke", "--out", str(run)]) == 0
    assert (run / "preview.png").is_file()
    trained = from_pretrained(run)
    torch.manual_seed(0)
    fresh = create_model(NAME, "pretraining")
    assert type(trained) is type(fresh) and trained.config.arguments == fresh.config.arguments
    assert not torch.equal(trained.mask_token, fresh.mask_token)

    card = render_card(run)
    assert "- point-mae\n- arxiv:2203.06604\n" in card
    assert "@inproceedings{pang2022pointmae}" in card and "@inproceedings{zhang2022pointm2ae" in card

    points = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    np.save(tmp_path / "cloud.npy", points)
    features = embed_files([tmp_path / "cloud.npy"], model=str(run), progress=False).features
    encoder = from_pretrained(run, kind="encoder")
    expected = trained.encoder.embed(encoder.config.preprocess(points)[None])
    np.testing.assert_array_equal(features, expected.numpy())

    # And among the published weights, from the Hub.
    monkeypatch.setenv("HF_TOKEN", hub.token)
    stored = save_pretrained(encoder, tmp_path / "encoder")
    commit = push_to_hub(stored, "alice/point-mae").commit
    contents = {name: (stored / name).read_bytes() for name in ("model.safetensors", "config.json")}
    hashes = [hashlib.sha256(content).hexdigest() for content in contents.values()]
    register_weights(
        Weights(
            architecture=NAME,
            tag="test",
            sha256=hashes[0],
            size=len(contents["model.safetensors"]),
            config_sha256=hashes[1],
            status="demo",
            licence="CC0-1.0",
            summary="for this test",
            repo="alice/point-mae",
            commit=commit,
        )
    )
    published = from_pretrained(NAME)
    assert torch.equal(published.embed(encoder.config.preprocess(points)[None]), expected)
    capsys.readouterr()


@pytest.mark.filterwarnings("ignore:family broken")
def test_its_reference_checkpoints_are_converted(installed: None, tmp_path: Path) -> None:
    model = create_model(NAME, "pretraining")
    torch.save({f"module.MAE.{key}": value for key, value in model.state_dict().items()}, tmp_path / "a.pth")
    out = convert_checkpoint(tmp_path / "a.pth", tmp_path / "out")
    loaded = from_pretrained(out)
    assert loaded.config.architecture == NAME and loaded.config.kind == "pretraining"
    assert loaded.config.provenance["made_by"] == "Point-MAE's code"
    assert loaded.hyper.mask_ratio == 0.6 and loaded.config.preprocess.num_points == 512
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())
    with pytest.raises(ValueError, match=r"not a checkpoint that is known.*such as module\.MAE\."):
        convert_checkpoint(tmp_path / "a.pth", out, architecture="i2p_mae_base")
    with pytest.raises(ValueError, match=r"i2p_mae_tiny: no reference .* i2p_mae_base and point"):
        convert_checkpoint(tmp_path / "a.pth", out, architecture="i2p_mae_tiny")
    twin = replace(registry.get_architecture(NAME), summary="")

    def point_mae_twin() -> Architecture:
        return twin

    register_model(point_mae_twin)
    with pytest.raises(ValueError, match=r"may be point_mae_small or point_mae_twin; say which"):
        convert_checkpoint(tmp_path / "a.pth", out)
    convert_checkpoint(tmp_path / "a.pth", out, architecture="point_mae_twin")


def test_a_broken_package_is_named_and_takes_nothing_away(installed: None) -> None:
    with pytest.warns(UserWarning, match=r"family broken \(samples.no_such_module\): not available: No mod"):
        assert {NAME, "i2p_mae_tiny", "joint_mae_tiny"} <= set(list_models())


def test_importing_it_is_enough(forgetful: None) -> None:
    assert NAME not in list_models()
    point_mae = importlib.import_module("samples.point_mae")

    assert NAME in list_models()
    assert [family.name for family in list_families()] == ["i2p_mae", "joint_mae", "point_mae"]

    def another_size() -> Architecture:
        """Of a family that only has the same name."""
        return replace(registry.get_architecture("i2p_mae_tiny"), family=Family(point_mae.FAMILY.name))

    with pytest.raises(ValueError, match="another_size: another family named 'point_mae' is registered"):
        registry.register_model(another_size)
