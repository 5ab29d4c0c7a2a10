"""Files that somebody made to do harm: refused in one line, before anything is allocated, run or fetched."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pointmae_zoo import from_pretrained, save_pretrained
from pointmae_zoo.hub import CheckpointError
from pointmae_zoo.hub.checkpoint.config_file import MAX_CONFIG
from pointmae_zoo.hub.checkpoint.errors import named
from pointmae_zoo.hub.checkpoint.safetensors_header import MAX_HEADER
from pointmae_zoo.system.files import file_sha256
from samples.models import equal, small

HUGE = 10**9
HEADS: dict[str, dict[str, Any]] = {
    "encoder": {},
    "pretraining": {"teacher_dim": 4},
    "classification": {"num_classes": 3, "head_width": 8},
    "part_segmentation": {"num_parts": 4, "propagated_dims": (8, 8), "head_dims": (8, 8, 8)},
}


def refused(words: str, folder: Path) -> str:
    with pytest.raises(CheckpointError, match=words) as caught:
        from_pretrained(folder)
    said = str(caught.value)
    assert said.isprintable() and len(said) < 1000, "one line, whatever the file holds"
    return said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound model, to be spoilt."""
    return save_pretrained(small(), tmp_path / "model")


def spoil(folder: Path, **fields: Any) -> None:
    """Other fields in config.json; those of ``arguments`` are added to the sound ones."""
    path = folder / "config.json"
    content = json.loads(path.read_text())
    fields["arguments"] = {**content["arguments"], **fields.get("arguments", {})}
    path.write_text(json.dumps({**content, **fields}))


# config.json.


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("encoder", {"num_tokens": [HUGE, 8]}),
        ("encoder", {"num_tokens": list(range(10_000, 0, -1))}),
        ("encoder", {"num_neighbors": [HUGE, 4]}),
        ("encoder", {"dims": [HUGE * 3, 24]}),
        ("encoder", {"depths": [HUGE, HUGE]}),
        ("encoder", {"depths": [-1, 1]}),
        ("encoder", {"depths": [128, 129]}),
        (
            "encoder",
            {
                "num_tokens": [80, 70, 60],
                "num_neighbors": [2] * 3,
                "dims": [12] * 3,
                "depths": [100] * 3,
                "local_radius": [0.0] * 3,
            },
        ),
        ("encoder", {"depths": [1] * 100_000}),
        ("encoder", {"num_heads": HUGE}),
        ("encoder", {"num_heads": 0}),
        ("encoder", {"mlp_ratio": 1e9}),
        ("encoder", {"mlp_ratio": float("nan")}),
        ("encoder", {"stem_widths": [HUGE, HUGE]}),
        ("encoder", {"drop_path": HUGE}),
        ("encoder", {"local_radius": [float("inf"), 0.0]}),
        ("encoder", {"local_radius": [float("nan"), 0.0]}),
        ("encoder", {"norm_levels": "x" * 100_000}),
        ("encoder", {"pool": "os.system"}),
        ("pretraining", {"mask_ratio": HUGE}),
        ("pretraining", {"target_level": HUGE}),
        ("pretraining", {"decoder_depths": [HUGE, HUGE]}),
        ("pretraining", {"decoder_depths": [1] * 100_000}),
        ("pretraining", {"teacher_dim": HUGE}),
        ("pretraining", {"num_views": HUGE}),
        ("pretraining", {"saliency_temperature": 0.0}),
        ("pretraining", {"weight_2d": float("inf")}),
        ("classification", {"num_classes": HUGE}),
        ("classification", {"head_width": HUGE}),
        ("classification", {"head_dropout": HUGE}),
        ("part_segmentation", {"num_parts": HUGE}),
        ("part_segmentation", {"num_object_classes": HUGE}),
        ("part_segmentation", {"propagated_dims": [HUGE, HUGE]}),
        ("part_segmentation", {"label_dim": HUGE}),
        ("part_segmentation", {"head_dims": [HUGE, HUGE, HUGE]}),
    ],
)
def test_arguments_out_of_all_bounds(kind: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    save_pretrained(small(kind=kind, **HEADS[kind]), tmp_path)
    from_pretrained(tmp_path)
    spoil(tmp_path, arguments=arguments)
    said = refused("depths: at most 256" if len(arguments) > 1 else next(iter(arguments)), tmp_path)
    assert str(tmp_path / "config.json") in said


@pytest.mark.parametrize("field", ["num_points", "surface_samples"])
def test_a_cloud_out_of_all_bounds(field: str, folder: Path) -> None:
    preprocess = json.loads((folder / "config.json").read_text())["preprocess"]
    spoil(folder, preprocess={**preprocess, "surface_samples": HUGE, field: HUGE})
    refused(f"field 'preprocess': {field}: from", folder)


def test_the_largest_arguments_are_compared_with_the_file(folder: Path) -> None:
    """Within every bound, but terabytes: the header of the weights says that they are not there."""
    spoil(
        folder,
        arguments={"dims": [8190, 8190], "depths": [128, 128], "stem_widths": [8192, 8192], "mlp_ratio": 64},
    )
    refused("model.safetensors: does not fit its architecture: missing", folder)


def swapped(old: str, new: str) -> Callable[[str], str]:
    return lambda sound: sound.replace(old, new, 1)


CONFIGS: dict[str, tuple[Callable[[str], str], str]] = {
    "too long": (lambda sound: sound + " " * MAX_CONFIG, "more than 1,048,576 bytes"),
    "endless list": (lambda _: "[" * 500_000, "nested deeper|not readable as JSON"),
    "nested lists": (lambda _: "[" * 400 + "]" * 400, "nested deeper than 32"),
    "nested objects": (
        swapped('"provenance": {}', '"provenance": ' + '{"a":' * 40 + "1" + "}" * 40),
        "nested deeper than 32",
    ),
    "a number of many digits": (swapped("32", "9" * 5000), "not readable as JSON"),
    "control characters": (swapped('"labels"', '"\\u001b[2J\\u0007\\n"'), "unknown field"),
    "a long name": (swapped('"labels"', f'"{"x" * 100_000}"'), "unknown field xxx"),
    "thousands of names": (
        swapped("{", "{" + "".join(f'"f{number}": 1, ' for number in range(5000))),
        "unknown field f0.* and 4992 more",
    ),
    "a path as hash": (swapped('"weights_sha256": "', '"weights_sha256": "../'), "'weights_sha256'"),
    "code as architecture": (swapped("i2p_mae_tiny", "os.system"), "no architecture is called"),
    "dunder as architecture": (swapped("i2p_mae_tiny", "__class__"), "no architecture is called"),
    "a long architecture": (swapped("i2p_mae_tiny", "x" * 1_000_000), "no architecture is called"),
    "code as kind": (swapped('"kind": "encoder"', '"kind": "__init__"'), "no kind is called"),
    "auto_map": (swapped("{", '{"auto_map": {"AutoModel": "evil.Model"}, '), "unknown field auto_map"),
    "an argument named as a parameter": (
        swapped('"arguments": {', '"arguments": {"preprocess": 1, "name": "x", '),
        "field 'arguments': unknown argument name, preprocess",
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_configuration_made_to_harm(case: str, folder: Path) -> None:
    spoilt, words = CONFIGS[case]
    path = folder / "config.json"
    sound = path.read_text()
    content = spoilt(sound)
    assert content != sound
    path.write_text(content)
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    (folder / "__init__.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    assert str(path) in refused(words, folder)
    assert not (folder / "ran").exists()


def test_a_configuration_of_exactly_the_most_bytes(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().ljust(MAX_CONFIG))
    assert from_pretrained(folder).config.kind == "encoder"


def test_messages_end_where_they_should() -> None:
    for length in (599, 600):
        assert str(CheckpointError("x" * length)) == "x" * length
    assert str(CheckpointError("x" * 601)) == "x" * 596 + " ..."
    assert named("missing", ["y" * 101, "x" * 100]) == [f"missing {'x' * 100}, {'y' * 96} ..."]
    assert named("missing", "abcdefgh") == ["missing a, b, c, d, e, f, g, h"]
    assert named("missing", "abcdefghi") == ["missing a, b, c, d, e, f, g, h and 1 more"]
    assert named("missing", "") == []


def test_code_beside_the_weights_is_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("evil.py", "__init__.py", "modeling.py", "hubconf.py", "conftest.py"):
        (folder / name).write_text(f"open({str(folder / 'ran')!r}, 'w')")
    monkeypatch.chdir(folder)
    assert equal(from_pretrained("."), small()) and not (folder / "ran").exists()


# model.safetensors.


def write(path: Path, header: Any, content: bytes = b"", length: int | None = None) -> None:
    """A safetensors file by hand, whatever its header says."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + content)


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


HEADERS: dict[str, tuple[Any, bytes, str]] = {
    "longer than the file": (entry(shape=[HUGE], offsets=[0, 4 * HUGE]), b"", "4,000,000,000 bytes of"),
    "terabytes": (entry(shape=[10**12], offsets=[0, 4 * 10**12]), b"12345678", "tensors announced, 8 there"),
    "shape and offsets": (entry(shape=[HUGE]), b"12345678", "8 bytes do not hold F32 of shape"),
    "beyond 64 bits": (entry(shape=[2**62, 2**62], offsets=[0, 2**64]), b"", "whole numbers from 0"),
    "overflowing shape": (entry(shape=[2**61, 8], offsets=[0, 0]), b"", "0 bytes do not hold"),
    "negative": (entry(shape=[-2], offsets=[0, -8]), b"", "whole numbers from 0"),
    "fractions": (entry(shape=[2.0]), b"12345678", "whole numbers from 0"),
    "truth": (entry(shape=[True], offsets=[False, 4]), b"1234", "whole numbers from 0"),
    "many dimensions": (entry(shape=[1] * 100_000, offsets=[0, 4]), b"1234", "a shape and two offsets"),
    "three offsets": (entry(offsets=[0, 8, 8]), b"12345678", "a shape and two offsets"),
    "overlapping": (entry() | {"b": entry()["a"]}, b"12345678", "b begins at byte 0, not at 8"),
    "a hole": (entry() | {"b": {**entry()["a"], "data_offsets": [12, 20]}}, bytes(20), "begins at byte 12"),
    "bytes at the end": (entry(), b"12345678 and more", "8 bytes of tensors announced, 17 there"),
    "float64": (entry("F64", offsets=[0, 16]), bytes(16), "one of F16, BF16, F32, I64 expected, got F64"),
    "an object": (entry("O"), b"12345678", "expected, got O"),
    "a list as type": (entry(dtype=[1]), b"12345678", "one of F16"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [2]}}, b"12345678", "dtype, shape and data_offsets"),
    "another field": ({"a": {**entry()["a"], "run": "x"}}, b"12345678", "dtype, shape and data_offsets"),
    "no JSON": (b"{", b"", "its header is no JSON"),
    "nested": (b"[" * 500_000, b"", "its header is no JSON"),
    "not text": (b"\xff\xfe", b"", "its header is no JSON"),
    "a list": ([], b"", "its header is no JSON object"),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_lies(case: str, folder: Path) -> None:
    header, content, words = HEADERS[case]
    path = folder / "model.safetensors"
    write(path, header, content)
    spoil(folder, weights_sha256=file_sha256(path))
    assert str(path) in refused(f"not a readable safetensors file .*{words}", folder)


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, MAX_HEADER + 1, 3])
def test_a_header_s_length_that_lies(length: int, folder: Path) -> None:
    path = folder / "model.safetensors"
    write(path, entry(), b"12345678", length)
    refused("not a readable safetensors file .(cut off|its header is no JSON)", folder)
    os.truncate(path, MAX_HEADER + 100)
    too_long = "a header of 4,194,305 bytes" if length == MAX_HEADER + 1 else "cut off|its header is no JSON"
    refused(too_long, folder)


@pytest.mark.parametrize("missing", [1, 8, 16])
def test_a_file_that_ends_within_its_header(missing: int, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: 8 + struct.unpack("<Q", path.read_bytes()[:8])[0] - missing])
    refused("cut off: .* bytes are less than its header needs", folder)


def test_a_file_of_a_terabyte_is_refused_by_its_header(folder: Path) -> None:
    """It takes no room on the disk. Its hash would take an hour, its tensors more memory than there is."""
    path = folder / "model.safetensors"
    size = 1 << 40
    header = json.dumps(entry(shape=[size // 4], offsets=[0, size])).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    try:
        os.truncate(path, 8 + len(header) + size)
    except OSError:
        pytest.skip("no sparse files here")
    refused("does not fit its architecture: missing", folder)


def test_types_of_tensors(folder: Path) -> None:
    """float16 and bfloat16 do for float32; a whole number does not for a fraction, nor the reverse."""
    path = folder / "model.safetensors"
    sound = {key: value.clone() for key, value in load_file(path).items()}  # the file is overwritten below
    for dtype, words in (
        (torch.bfloat16, None),
        (torch.float16, None),
        (torch.int64, "wrong type: .* is I64"),
    ):
        tensors = {
            key: value.to(dtype) if value.is_floating_point() else value for key, value in sound.items()
        }
        save_file(tensors, path)
        spoil(folder, weights_sha256=file_sha256(path))
        if words:
            refused(f"does not fit its architecture: {words}", folder)
        else:
            assert from_pretrained(folder).state_dict().keys() == sound.keys()
    counters = [key for key in sound if key.endswith("num_batches_tracked")]
    save_file({**sound, counters[0]: torch.zeros(())}, path)
    spoil(folder, weights_sha256=file_sha256(path))
    refused(f"wrong type: {counters[0]} is F32", folder)


def test_a_pickle_under_another_name(folder: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    path = folder / "model.safetensors"
    path.write_bytes(pickle.dumps(Evil()))
    refused("not a readable safetensors file", folder)
    torch.save({"a": Evil()}, path)
    refused("not a readable safetensors file", folder)
    for name in ("pytorch_model.bin", "model.pth", "model.PKL"):
        path.unlink(missing_ok=True)
        path = folder / name
        path.write_bytes(pickle.dumps(Evil()))
        refused(f"{name}, a pickle, which can run code and is never loaded; .*convert", folder)
    assert not (tmp_path / "ran").exists()


# Links.


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_link_that_leads_out_of_the_folder(name: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "private").write_bytes((folder / name).read_bytes())
    (folder / name).unlink()
    for target in (tmp_path / "private", Path("..") / "private"):
        (folder / name).symlink_to(target)
        refused(f"{name}: a link that leads out of its folder", folder)
        (folder / name).unlink()
    (tmp_path / "private").rename(folder / "here")
    (folder / name).symlink_to("here")
    assert equal(from_pretrained(folder), small()), "one that stays inside is fine"
    (tmp_path / "linked").symlink_to(folder)
    assert equal(from_pretrained(tmp_path / "linked"), small()), "so is a link to the folder"


def test_a_link_out_of_the_hub_s_cache(tmp_path: Path) -> None:
    """A snapshot's files may be links to those of their repository, or of the store that newer clients keep
    for all repositories; not to anything else beside it."""
    cache = tmp_path / "cache"
    snapshot = save_pretrained(small(), cache / "models--org--model" / "snapshots" / ("0" * 40))
    file = snapshot / "model.safetensors"
    content = file.read_bytes()
    for place, inside in (
        ("models--org--model/blobs/1234", True),
        ("blobs/12/1234", True),
        ("models--org--other/blobs/1234", False),
        ("private", False),
        ("../private", False),
    ):
        target = cache / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        file.unlink()
        file.symlink_to(target)
        if inside:
            assert equal(from_pretrained(snapshot), small())
        else:
            refused("model.safetensors: a link that leads out of its folder", snapshot)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_what_never_ends_is_not_read(name: str, folder: Path) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused("model.safetensors and config.json expected", folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    refused("model.safetensors and config.json expected", folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    refused("model.safetensors and config.json expected", folder)


def test_saving_writes_through_no_link(folder: Path, tmp_path: Path) -> None:
    """The link is replaced, what it leads to stays."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("precious")
        (folder / name).unlink()
        (folder / name).symlink_to(tmp_path / name)
    save_pretrained(small(1), folder)
    assert equal(from_pretrained(folder), small(1))
    assert [(tmp_path / name).read_text() for name in ("config.json", "model.safetensors")] == [
        "precious"
    ] * 2
