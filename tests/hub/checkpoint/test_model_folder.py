"""Weights in and out: round trips, strictness, damage, conversion."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pointmae_zoo import create_model, from_pretrained, list_weights, save_pretrained
from pointmae_zoo.hub import CheckpointError
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.system.files import file_sha256
from samples import models
from samples.models import POINTS

OWN: dict[str, dict[str, Any]] = {
    "encoder": {},
    "pretraining": {"teacher_dim": 4, "num_views": 3},
    "classification": {"num_classes": 3},
    "part_segmentation": {
        "num_parts": 4,
        "num_object_classes": 2,
        "propagated_dims": (16, 8),
        "head_dims": (8, 8, 8),
    },
}


def small(kind: str = "encoder", **more: Any) -> Any:
    return models.small(0, kind, **OWN[kind], **more)


@pytest.mark.parametrize("kind", OWN)
def test_a_round_trip_changes_nothing(kind: str, tmp_path: Path) -> None:
    labels = ("chair", "Tisch", "机") if kind == "classification" else None
    model = small(
        kind,
        preprocess=Preprocess(num_points=300, up="z"),
        labels=labels,
        provenance={"status": "demo"},
        pool="mean",
    )
    save_pretrained(model, tmp_path / "made" / "on the way", provenance={"licence": "CC0-1.0"})
    loaded = from_pretrained(tmp_path / "made" / "on the way")
    assert type(loaded) is type(model) and not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    assert loaded.config.labels == labels and loaded.config.preprocess == Preprocess(num_points=300, up="z")
    assert loaded.config.provenance == {"status": "demo", "licence": "CC0-1.0"}
    encoder = model if kind == "encoder" else model.encoder
    taken = from_pretrained(tmp_path / "made" / "on the way", kind="encoder")
    assert torch.equal(taken.embed(POINTS), encoder.embed(POINTS))
    assert torch.equal(taken.embed(POINTS), taken.embed(POINTS, pool="mean"))  # the stored default
    assert taken.config.preprocess.up == "z"
    assert sorted(path.name for path in (tmp_path / "made" / "on the way").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_only_what_is_in_it_comes_out(tmp_path: Path) -> None:
    save_pretrained(small(), tmp_path)
    with pytest.raises(CheckpointError, match="which has no decoder, so it can't become 'pretraining'"):
        from_pretrained(tmp_path, kind="pretraining")


def test_an_encoder_taken_out_can_be_saved_again(tmp_path: Path) -> None:
    save_pretrained(small("classification"), tmp_path / "classifier")
    encoder = from_pretrained(tmp_path / "classifier", kind="encoder")
    save_pretrained(encoder, tmp_path / "encoder")
    again = from_pretrained(tmp_path / "encoder")
    assert again.config.kind == "encoder" and torch.equal(again.embed(POINTS), encoder.embed(POINTS))


def test_half_storage_halves_the_file_and_keeps_the_features(tmp_path: Path) -> None:
    model = create_model("i2p_mae_tiny")
    save_pretrained(model, tmp_path / "full")
    save_pretrained(model, tmp_path / "half", half=True)
    size = {name: (tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")}
    assert size["half"] < 0.55 * size["full"]
    loaded = from_pretrained(tmp_path / "half")
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.embed(POINTS), model.embed(POINTS), rtol=0, atol=2e-2)


def test_device_and_dtype(tmp_path: Path) -> None:
    save_pretrained(small(), tmp_path)
    model = from_pretrained(tmp_path, device="cpu", dtype=torch.bfloat16)
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}
    assert model.embed(POINTS).dtype == torch.float32


def test_a_model_from_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"Linear has no \.config"):
        save_pretrained(torch.nn.Linear(2, 2), tmp_path)


def test_broken_weights_are_not_saved_over_good_ones(tmp_path: Path) -> None:
    model = small()
    save_pretrained(model, tmp_path)
    before = file_sha256(tmp_path / "model.safetensors")
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN or infinity"):
        save_pretrained(model, tmp_path)
    assert file_sha256(tmp_path / "model.safetensors") == before
    assert from_pretrained(tmp_path).embed(POINTS).isfinite().all()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_config_json_is_json(number: float, tmp_path: Path) -> None:
    """NaN and infinity are Python's, no other reader takes them."""
    said = r"config.json: field provenance\.losses\[1\]\.val: NaN or infinity, which JSON does not have"
    with pytest.raises(ValueError, match=said):
        save_pretrained(small(), tmp_path / "new", provenance={"losses": [{"val": 0.5}, {"val": number}]})
    assert not (tmp_path / "new").exists()


# Damage. Every case: one line that names the file or field.


def reseal(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write other tensors with a sha256 that fits, so that strictness alone is on trial."""
    save_file(tensors, folder / "model.safetensors")
    edit(folder, weights_sha256=file_sha256(folder / "model.safetensors"))


def stored(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return content


def edit(folder: Path, **fields: Any) -> None:
    content = {**stored(folder), **fields}
    content = {key: value for key, value in content.items() if value != "REMOVE"}
    (folder / "config.json").write_text(json.dumps(content))


def change(folder: Path, alter: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    alter(tensors)
    reseal(folder, tensors)


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-3] ^= 4
    (folder / "model.safetensors").write_bytes(content)


def cut(folder: Path, at: int) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:at])


def lying_header(folder: Path) -> None:
    header = json.dumps(
        {"mask_token": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}
    ).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


KEY = "stages.0.blocks.0.attn.proj.bias"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing key": (lambda f: change(f, lambda t: t.pop(KEY)), f"missing {KEY}"),
    "extra key": (lambda f: change(f, lambda t: t.update(surprise=torch.zeros(1))), "unexpected surprise"),
    "wrong shape": (
        lambda f: change(f, lambda t: t.update({KEY: torch.zeros(7)})),
        rf"wrong shape: {KEY} is \[7\], not \[12\]",
    ),
    "NaN inside": (lambda f: change(f, lambda t: t[KEY].fill_(float("nan"))), f"{KEY} holds NaN"),
    "one bit": (flip_a_bit, r"damaged or exchanged \(its sha256 is not the one in config.json\)"),
    "truncated": (lambda f: cut(f, 5000), "not a readable safetensors file"),
    "empty": (lambda f: cut(f, 0), "not a readable safetensors file"),
    "lying header": (lying_header, "not a readable safetensors file"),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        "model.safetensors and config.json expected",
    ),
    "no config": (lambda f: (f / "config.json").unlink(), "model.safetensors and config.json expected"),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), "not readable as JSON"),
    "not text": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "not readable as JSON"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "a JSON object expected"),
    "newer format": (lambda f: edit(f, format_version=99), "format_version 99 is newer.*upgrade"),
    "odd format": (lambda f: edit(f, format_version="one"), "field 'format_version'"),
    "format zero": (lambda f: edit(f, format_version=0), "field 'format_version'"),
    "format true": (lambda f: edit(f, format_version=True), "field 'format_version'"),
    "missing field": (lambda f: edit(f, preprocess="REMOVE"), "missing field preprocess"),
    "unknown field": (lambda f: edit(f, colour="red"), "unknown field colour"),
    "odd labels": (lambda f: edit(f, labels=[1]), "field 'labels'"),
    "odd preprocess": (lambda f: edit(f, preprocess={"num_points": -3}), "field 'preprocess'"),
    "unknown architecture": (lambda f: edit(f, architecture="i2p_mae_tinny"), "did you mean i2p_mae_tiny"),
    "unknown kind": (lambda f: edit(f, kind="encodr"), "did you mean encoder"),
    "unknown argument": (lambda f: edit(f, arguments={"layers": 3}), "no argument 'layers'"),
    "missing argument": (
        lambda f: edit(f, arguments={k: v for k, v in stored(f)["arguments"].items() if k != "pool"}),
        "field 'arguments': missing argument pool",
    ),
    "labels without outputs": (lambda f: edit(f, labels=["chair"]), "field 'labels': 1 names for no outputs"),
    "unknown argument too": (
        lambda f: edit(f, arguments={**stored(f)["arguments"], "colour": 1}),
        "no argument 'colour'",
    ),
    "huge argument": (
        lambda f: edit(f, arguments={"depths": [10**9, 10**9]}),
        "depths: entries from 0 to 128",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_one_line_that_names_it(case: str, tmp_path: Path) -> None:
    save_pretrained(small(), tmp_path)
    damage, words = DAMAGE[case]
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=words) as caught:
        from_pretrained(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_folder_does_not_hide_a_published_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = list_weights()[0]
    monkeypatch.chdir(tmp_path)
    save_pretrained(small(), tmp_path / name)
    assert from_pretrained(name).hyper.dims != small().hyper.dims
    assert from_pretrained(f"./{name}").hyper.dims == small().hyper.dims


def test_labels_must_match_the_outputs(tmp_path: Path) -> None:
    save_pretrained(small("classification", labels=("a", "b")), tmp_path)
    with pytest.raises(CheckpointError, match="2 names for 3 outputs"):
        from_pretrained(tmp_path)


def test_a_reset_classifier_travels(tmp_path: Path) -> None:
    model = small("classification", labels=("a", "b", "c"))
    before = model.head[0].weight.clone()
    model.reset_classifier(5)
    assert model(POINTS).shape == (2, 5) and torch.equal(model.head[0].weight, before)
    save_pretrained(model, tmp_path)
    loaded = from_pretrained(tmp_path)
    assert torch.equal(loaded(POINTS), model(POINTS)) and loaded.config.labels is None


@pytest.mark.parametrize("there", ["checkpoints", "environment.json"])
def test_a_run_that_has_not_finished_is_called_so(tmp_path: Path, there: str) -> None:
    """With a checkpoint, and before its first one."""
    (tmp_path / "run" / there).mkdir(parents=True)
    (tmp_path / "run" / "recipe.yaml").write_text("task: classification\n")
    with pytest.raises(CheckpointError, match=r"a run that has not finished.*--resume"):
        from_pretrained(tmp_path / "run")


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin, a pickle.*convert"):
        from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"a folder expected.*convert"):
        from_pretrained(tmp_path / "pytorch_model.bin")


def test_weights_of_another_program_are_for_convert(tmp_path: Path) -> None:
    save_file({"norm.weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"config\.json expected, .*; 'pointmae-zoo convert' reads some"
    ):
        from_pretrained(tmp_path)


def test_wrong_names_are_helped() -> None:
    with pytest.raises(ValueError, match=r"no weights are called 'i2p_mae_tiny\.dmo'"):
        from_pretrained("i2p_mae_tiny.dmo")
    with pytest.raises(ValueError, match=r"i2p_mae_base has no published weights yet; create_model.*convert"):
        from_pretrained("i2p_mae_base")
    with pytest.raises(ValueError, match=r"joint_mae_base has no published weights yet; ((?!convert).)*$"):
        from_pretrained("joint_mae_base")  # of which there is no reference
    with pytest.raises(CheckpointError, match="no such folder"):
        from_pretrained("./nowhere")


@pytest.mark.parametrize("name", list_weights())
def test_bundled_weights_are_what_the_registry_says(name: str) -> None:
    model = from_pretrained(name, kind="encoder")
    assert name.startswith(model.config.architecture + ".")
    features = model.embed(torch.stack([POINTS[0], POINTS[0] * torch.tensor([1.0, 0.2, 1.0])]))
    assert bool(features.isfinite().all()) and float((features[0] - features[1]).norm()) > 0.1
