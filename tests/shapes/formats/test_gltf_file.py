"""glTF and GLB as files: buffers, chunks, JSON that is damaged in any place."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointmae_zoo.shapes.read import MeshError, read_points
from samples.gltf import (
    QUARTER_TURN,
    SQUARE,
    TWO_JOINTS,
    Builder,
    refusal,
    shape,
    skinned,
    sparse,
    square,
    square_at,
)


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("a b.bin", "a%20b.bin"),
        ("a b.bin", "a b.bin"),
        ("stück.bin", "st%C3%BCck.bin"),
        ("stück.bin", "stück.bin"),
        ("stu\u0308ck.bin", "st%C3%BCck.bin"),  # as macOS writes it to a zip archive
        ("10%.bin", "10%.bin"),
        ("10%25.bin", "10%25.bin"),
        ("sub/a.bin", "sub/a.bin"),
        ("sub/a.bin", "./sub/../sub/a.bin"),
        ("sub/a.bin", "sub\\a.bin"),
    ],
)
def test_names_of_buffers_as_exporters_write_them(tmp_path: Path, name: str, uri: str) -> None:
    made = square()
    (tmp_path / "sub").mkdir()
    (tmp_path / name).write_bytes(made.data)
    assert shape(made.gltf(tmp_path / "a.gltf", uri)) == square_at(0)


def test_what_the_specification_means_comes_first(tmp_path: Path) -> None:
    made = square()
    (tmp_path / "a b.bin").write_bytes(made.data)
    (tmp_path / "a%20b.bin").write_bytes(bytes(len(made.data)))
    assert shape(made.gltf(tmp_path / "a.gltf", "a%20b.bin")) == square_at(0)


@pytest.mark.parametrize(
    "uri", ["../a.bin", "sub/../../a.bin", "..%2Fa.bin", "..\\a.bin", "{}/a.bin", "C:\\a.bin"]
)
def test_nothing_outside_of_the_folder_is_read(tmp_path: Path, uri: str) -> None:
    made = square()
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "a.bin").write_bytes(made.data)
    path = made.gltf(tmp_path / "in" / "a.gltf", uri.format(tmp_path))
    assert "outside of its folder" in refusal(path) or "not next to it" in refusal(path)


@pytest.mark.parametrize(
    "uri", ["https://example.org/a.bin", "file:///etc/passwd", "//example.org/a.bin", "ftp:a"]
)
def test_nothing_is_downloaded(tmp_path: Path, uri: str) -> None:
    assert "nothing is downloaded" in refusal(square().gltf(tmp_path / "a.gltf", uri))


@pytest.mark.parametrize("uri", ["a\0.bin", "no.bin", ".", "x" * 5000])
def test_buffers_that_are_not_there(tmp_path: Path, uri: str) -> None:
    assert len(refusal(square().gltf(tmp_path / "a.gltf", uri))) < 400


def test_a_buffer_that_is_too_short(tmp_path: Path) -> None:
    made = square()
    (tmp_path / "a.bin").write_bytes(made.data[:-1])
    assert "needs 60 bytes of a.bin, which has 59" in refusal(made.gltf(tmp_path / "a.gltf", "a.bin"))
    made.tree["buffers"] = [{"byteLength": 60, "uri": "data:;base64,AAAA"}]
    assert "buffer 0 has 3 of 60 bytes" in refusal(made.gltf(tmp_path / "a.gltf"))


def test_a_data_uri_without_base64(tmp_path: Path) -> None:
    made = square()
    text = "".join(f"%{byte:02x}" for byte in made.data)
    assert shape(made.gltf(tmp_path / "a.gltf", "data:application/gltf-buffer," + text)) == square_at(0)


def test_a_missing_buffer_that_no_mesh_needs_does_not_matter(tmp_path: Path) -> None:
    made = square()
    inline = "data:;base64," + base64.b64encode(made.data).decode()
    made.tree["buffers"] = [
        {"byteLength": len(made.data), "uri": inline},
        {"byteLength": 9, "uri": "textures.bin"},
    ]
    assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(0)


def test_glb_with_unknown_chunks_behind_its_two(tmp_path: Path) -> None:
    assert shape(square().glb(tmp_path / "a.glb", (b"MINE", b"1234"), (b"BIN\0", b"no"))) == square_at(0)


def test_glb_must_begin_with_json(tmp_path: Path) -> None:
    path = square().glb(tmp_path / "a.glb", before=(b"MINE", b"1234"))
    assert "first chunk of a GLB must be JSON" in refusal(path)


@pytest.mark.parametrize("length", [11, 12, 19, 40, 500])
def test_glb_that_was_cut_off(tmp_path: Path, length: int) -> None:
    path = square().glb(tmp_path / "a.glb")
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    assert "cut off" in refusal(path)
    path.write_bytes((whole[:8] + struct.pack("<I", length) + whole[12:])[:length])
    assert "cut off" in refusal(path) or "damaged" in refusal(path)


def test_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    assert shape(square().glb(tmp_path / "a.gltf")) == square_at(0)
    assert shape(square().gltf(tmp_path / "a.glb")) == square_at(0)


def test_later_versions_are_refused(tmp_path: Path) -> None:
    made = square(asset={"version": "2.1", "minVersion": "2.1"})
    assert refusal(made.gltf(tmp_path / "a.gltf")).startswith("is glTF 2.1")
    assert shape(square(asset={"version": "2.1"}).gltf(tmp_path / "a.gltf")) == square_at(0)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("key", ["asset", "scenes", "nodes", "meshes", "bufferViews", "accessors", "buffers"])
@pytest.mark.parametrize("value", [None, True, 7, "text", [], [[]], [None], {}, {"0": 1}])
def test_json_of_other_types(tmp_path: Path, key: str, value: Any) -> None:
    """A reason or, where nothing is lost by it, the square."""
    path = square(**{key: value}).gltf(tmp_path / "a.gltf")
    try:
        assert shape(path) == square_at(0)
    except MeshError as error:
        assert "\n" not in str(error) and len(str(error)) < 400


def rich() -> Builder:
    """One of everything: instances, a skin, a morph target, sparse rows, a strip."""
    weights = np.array([[1, 3, 0, 0]] * 4, np.float32)
    made = skinned(TWO_JOINTS, weights, np.stack([np.eye(4)] * 2), [{}, {"translation": [8, 0, 0]}])
    moved = {"TRANSLATION": made.add(SQUARE), "SCALE": made.add(SQUARE + 1)}
    node = {
        "mesh": 1,
        "rotation": QUARTER_TURN,
        "extensions": {"EXT_mesh_gpu_instancing": {"attributes": moved}},
    }
    made.tree["nodes"] += [{"children": [0, 1, 2, 4], "scale": [1, 2, 3]}, node]
    made.tree["scenes"] = [{"nodes": [3]}]
    morphed = {"attributes": {"POSITION": 0}, "mode": 5, "targets": [{"POSITION": made.add(SQUARE)}]}
    made.tree["meshes"].append({"primitives": [morphed], "weights": [0.5]})
    made.tree["accessors"][0]["sparse"] = sparse(made, [2], SQUARE[2:3])
    made.tree.update(scene=0, extensionsUsed=["EXT_mesh_gpu_instancing"], extensionsRequired=[])
    return made


def places(tree: Any, here: tuple = ()) -> list[tuple]:
    """The keys that lead to every value of a JSON tree."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [(*here, key) for key, _ in inner] + [
        way for key, one in inner for way in places(one, (*here, key))
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("value", [None, -1, 1 << 40, "x", [], {}, [0, 1.5, "y"]], ids=str)
def test_every_value_may_be_wrong(tmp_path: Path, value: Any) -> None:
    """Points or a reason, in one line."""
    path = rich().gltf(tmp_path / "a.gltf")
    # the skin at x 6..7; the farthest instance, turned, ends at x -4 and y 4, which the root doubles
    assert shape(path)[:2] == ([-4, 0, 0], [7, 8, 0])
    text = path.read_text()
    for *way, last in places(json.loads(text)):
        tree = json.loads(text)
        inner = tree
        for key in way:
            inner = inner[key]
        inner[last] = value
        path.write_text(json.dumps(tree))
        try:
            assert np.isfinite(read_points(path, 9)).all()
        except MeshError as error:
            assert "\n" not in str(error) and len(error.reason) < 300, (way, last)


def test_a_second_chunk_of_another_kind_is_no_buffer(tmp_path: Path) -> None:
    made = square().glb(tmp_path / "a.glb").read_bytes()
    (tmp_path / "a.glb").write_bytes(made.replace(b"BIN\0", b"XYZ\0"))
    assert "buffer" in refusal(tmp_path / "a.glb")
