"""Compiled and wrapped models: saved, loaded and named as they are without."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pointmae_zoo import from_pretrained, save_pretrained
from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256, model_sha256
from samples.models import equal, small

WRAPPED = {
    "compiled": torch.compile,
    "parallel": torch.nn.DataParallel,
    "compiled in parallel": lambda model: torch.nn.DataParallel(torch.compile(model)),
    "parallel, compiled": lambda model: torch.compile(torch.nn.DataParallel(model)),
    "parts": lambda model: parts_wrapped(model),
}


def parts_wrapped(model: Any) -> Any:
    model.encoder.embeddings[0] = torch.compile(model.encoder.embeddings[0])
    model.encoder = torch.compile(model.encoder)
    model.head = torch.nn.DataParallel(model.head)
    return model


@pytest.mark.parametrize("how", WRAPPED)
def test_saved_by_plain_names(tmp_path: Path, how: str) -> None:
    plain = small(kind="classification", num_classes=3)
    before = {key: tensor.clone() for key, tensor in plain.state_dict().items()}
    save_pretrained(plain, tmp_path / "plain")
    hashes = encoder_sha256(plain.encoder), model_sha256(plain)
    wrapped = WRAPPED[how](plain)
    assert wrapped.state_dict().keys() != before.keys()  # else nothing is tried
    save_pretrained(wrapped, tmp_path / "wrapped")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "wrapped" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert load_file(tmp_path / "wrapped" / "model.safetensors").keys() == before.keys()
    assert equal(from_pretrained(tmp_path / "wrapped"), from_pretrained(tmp_path / "plain"))
    assert model_sha256(wrapped) == hashes[1]
    if how == "parts":
        assert encoder_sha256(wrapped.encoder) == hashes[0]


def test_distributed_data_parallel(tmp_path: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1
    )
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(small())
        save_pretrained(wrapped, tmp_path / "w", provenance={"status": "demo"})
    finally:
        torch.distributed.destroy_process_group()
    loaded = from_pretrained(tmp_path / "w")
    assert equal(loaded, small()) and loaded.config.provenance["status"] == "demo"


@pytest.mark.parametrize("prefix", ["_orig_mod.", "encoder._orig_mod."])
def test_files_of_compiled_models_are_loaded(tmp_path: Path, prefix: str) -> None:
    """As older versions, and other programs, wrote them."""
    model = small(kind="classification", num_classes=3)
    save_pretrained(model, tmp_path)
    weights, part = tmp_path / "model.safetensors", prefix.removesuffix("_orig_mod.")
    state = load_file(weights)
    renamed = {
        prefix + key.removeprefix(part) if key.startswith(part) else key: tensor
        for key, tensor in state.items()
    }
    assert renamed.keys() != state.keys()
    save_file(renamed, weights)
    config = json.loads((tmp_path / "config.json").read_text())
    config["weights_sha256"] = sha256(weights.read_bytes()).hexdigest()
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert equal(from_pretrained(tmp_path), model)
    assert equal(from_pretrained(tmp_path, kind="encoder"), model.encoder)


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    model = small()
    save_pretrained(model, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    name = next(iter(state))
    save_file(state | {f"_orig_mod.{name}": state[name].clone()}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="occurs twice, once as in a compiled model"):
        from_pretrained(tmp_path)


def test_a_model_that_is_none_of_ours_and_one_that_is_spread(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"Linear has no \.config of the zoo"):
        save_pretrained(torch.nn.DataParallel(torch.nn.Linear(2, 2)), tmp_path)
    model = small()
    state = model.state_dict()
    next(iter(state.values())).full_tensor = lambda: None  # as a DTensor has it
    model.state_dict = lambda: state
    with pytest.raises(TypeError, match="spread over several processes"):
        save_pretrained(model, tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "is a Git LFS pointer: git lfs pull",
        ),
        ("<!DOCTYPE html><html>Sign in</html>", "is a saved web page"),
    ],
)
def test_weights_that_are_pointers_or_pages_say_so(tmp_path: Path, name: str, text: str, said: str) -> None:
    save_pretrained(small(), tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name}: {said}"):
        from_pretrained(tmp_path)
