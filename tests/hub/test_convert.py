"""Checkpoints of others: how they are recognised, and what is said of those that don't fit.

What converted models compute is in test_parity and test_torch_pointcloud_checkpoints.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pointmae_zoo import convert_checkpoint, from_pretrained, save_pretrained
from pointmae_zoo.cli import main
from pointmae_zoo.hub import CheckpointError
from pointmae_zoo.models.tokens import Groups, Tokens
from samples.models import small

KEYS = json.loads((Path(__file__).parents[1] / "golden" / "reference_keys.json").read_text())


def state_of(manifest: str) -> dict[str, torch.Tensor]:
    return {
        key: torch.zeros(shape, dtype=torch.int64) if key.endswith("tracked") else torch.full(shape, 0.01)
        for key, shape in KEYS[manifest].items()
    }


@pytest.mark.parametrize(
    ("wrapper", "prefix"),
    [
        ("", ""),
        ("", "_orig_mod."),
        ("base_model", "module."),
        ("model_state_dict", ""),
        ("state_dict", "net.model."),
        ("model", "module._orig_mod."),
    ],
)
def test_every_way_a_checkpoint_is_saved(wrapper: str, prefix: str, tmp_path: Path) -> None:
    state: dict[str, Any] = {prefix + key: value for key, value in state_of("scan").items()}
    state[prefix + "clip_model.visual.proj"] = torch.zeros(3, 3)
    # Real ones carry the best accuracy as a numpy scalar.
    around = {"epoch": 3, "best_metrics": {"acc": np.float64(93.7)}, "optimizer": {"state": {}}}
    torch.save({wrapper: state, **around} if wrapper else state, tmp_path / "ckpt.pth")
    out = convert_checkpoint(tmp_path / "ckpt.pth", tmp_path / "out", preset="scanobjectnn")
    model = from_pretrained(out)
    assert model.hyper.num_classes == 15 and model.encoder.hyper.num_neighbors == (32, 16, 16)
    assert model.encoder.hyper.skip_near_origin and model.config.preprocess.scale == "none"
    origin = model.config.provenance
    assert (origin["status"], origin["source"], origin["preset"]) == ("converted", "ckpt.pth", "scanobjectnn")
    assert origin["made_by"] == "I2P-MAE's or Point-M2AE's code" and origin["left_out"] == ["clip_model"]


def test_the_pickle_and_safetensors_give_the_same(tmp_path: Path) -> None:
    state = state_of("scan")
    torch.save(state, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    pickled, safe = (
        convert_checkpoint(tmp_path / f"a.{ending}", tmp_path / ending, preset="point_m2ae_scanobjectnn")
        for ending in ("pth", "safetensors")
    )
    assert (pickled / "model.safetensors").read_bytes() == (safe / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors: damaged, or no safetensors file"):
        convert_checkpoint(tmp_path / "cut.safetensors", tmp_path / "out")


def test_point_m2aes_classifiers_have_settings_of_their_own(tmp_path: Path) -> None:
    torch.save(state_of("scan"), tmp_path / "scan_pb.pth")
    out = convert_checkpoint(tmp_path / "scan_pb.pth", tmp_path / "out", preset="point_m2ae_scanobjectnn")
    model = from_pretrained(out)
    encoder = model.encoder.hyper
    assert (encoder.num_neighbors, encoder.local_radius) == ((32, 16, 16), (0.32, 0.64, 1.28))
    assert encoder.skip_near_origin and not encoder.hide_uncovered
    coarsest = torch.randn(2, 64, 384)
    wanted = torch.cat([coarsest.mean(1), coarsest[:, 1:].max(1).values], dim=1)
    tokens = Tokens([coarsest], [], [None], Groups([], torch.empty(0), []))
    assert torch.equal(model.forward_head(tokens, pre_logits=True), wanted)


def test_other_numbers_of_classes_and_parts_are_read_from_the_head(tmp_path: Path) -> None:
    state = state_of("parts")
    state["label_conv.0.weight"] = torch.zeros(64, 3, 1)
    state["convs4.weight"], state["convs4.bias"] = torch.zeros(7, 256, 1), torch.zeros(7)
    torch.save({"model_state_dict": state}, tmp_path / "best_model.pth")
    model = from_pretrained(convert_checkpoint(tmp_path / "best_model.pth", tmp_path / "out"))
    assert (model.hyper.num_parts, model.hyper.num_object_classes) == (7, 3)


def test_a_checkpoint_that_does_not_fit_is_listed(tmp_path: Path) -> None:
    file = tmp_path / "ckpt.pth"
    state = state_of("scan")

    def fails(content: Any, words: str, preset: str | None = "scanobjectnn") -> None:
        torch.save(content, file)
        with pytest.raises(ValueError, match=words) as caught:
            convert_checkpoint(file, tmp_path / "out", preset=preset)
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()

    what = r"checkpoint of I2P-MAE's or Point-M2AE's code \(classification\)"
    fails({**state, "extra.weight": torch.zeros(1)}, rf"{what}, but 1 keys are none .* extra\.weight")
    both = {f"module.{key}": value for key, value in state.items()} | {"norm.bias": torch.zeros(384)}
    fails(both, rf"{what}, but 1 keys are none of its, such as norm\.bias")
    without = {key: value for key, value in state.items() if key != "norm.bias"}
    fails(without, rf"{what}, but it does not fit i2p_mae_base: missing encoder\.norms\.2\.bias")
    fails(state, r"wrong shape: head\.0\.weight is \[256, 768\], not \[256, 384\]", preset="modelnet40")
    several = "name the data set: scanobjectnn or scanobjectnn_pb or point_m2ae_scanobjectnn$"
    fails(state, rf"{what}; its weights can't tell .*{several}", preset=None)
    fails(state_of("modelnet40"), "data set: modelnet40 or point_m2ae_modelnet40$", preset=None)
    fails(state, rf"preset: one of .* expected for a {what}, got 'shapenet'", preset="shapenet")
    fails({"base_model": 3, "epoch": 1}, "a dictionary of tensors expected.* 'model'; it has base_model, ep")
    fails([1], "a dictionary of tensors expected.*; it is none")
    headless = {key: value for key, value in state.items() if not key.startswith("cls_head")}
    fails(
        headless, r"an encoder that is known, but no head: there is no .*cls_head_finetune\.0\.weight \(I2P"
    )
    other = {"cls_token": torch.zeros(1), "blocks.0.attn.qkv.weight": torch.zeros(3, 1)}
    fails(other, "not a checkpoint that is known: it has 2 tensors, such as cls_token, blocks.* Known are")
    save_pretrained(small(), tmp_path / "ours")
    with pytest.raises(CheckpointError, match=r"not a checkpoint that is known: .*Known are I2P"):
        convert_checkpoint(tmp_path / "ours" / "model.safetensors", tmp_path / "out")
    torch.save({**state, "norm.bias": torch.full((384,), float("nan"))}, file)
    with pytest.raises(ValueError, match=r"encoder\.norms\.2\.bias holds NaN"):
        convert_checkpoint(file, tmp_path / "out", preset="scanobjectnn")


def test_the_command_says_what_it_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {f"module.{key}": value for key, value in state_of("pretraining").items()}
    state["module.clip_model.logit_scale"] = torch.zeros(())
    torch.save({"base_model": state}, tmp_path / "ckpt.pth")
    assert main(["convert", str(tmp_path / "ckpt.pth"), str(tmp_path / "out")]) == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.endswith("out: i2p_mae_base, pretraining, made by I2P-MAE's code (shapenet)")
    assert second == "left out: clip_model"


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"base_model": Evil()}))
    with pytest.raises(CheckpointError, match="not readable as a checkpoint of plain tensors"):
        convert_checkpoint(tmp_path / "evil.pth", tmp_path / "out")
    torch.save({"base_model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="not readable as a checkpoint of plain tensors"):
        convert_checkpoint(tmp_path / "evil.pth", tmp_path / "out")
    assert not (tmp_path / "ran").exists()
    with pytest.raises(FileNotFoundError, match="no such file"):
        convert_checkpoint(tmp_path / "missing.pth", tmp_path / "out")
