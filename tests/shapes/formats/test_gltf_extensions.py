"""Extensions of glTF: read, harmless, or refused by name."""

import sys
from pathlib import Path

import pytest

from samples.gltf import refusal, shape, square, square_at


@pytest.mark.parametrize("name", ["KHR_materials_unlit", "KHR_texture_transform", "EXT_texture_webp"])
def test_required_extensions_that_do_not_touch_the_geometry(tmp_path: Path, name: str) -> None:
    assert shape(square(extensionsRequired=[name]).gltf(tmp_path / "a.gltf")) == square_at(0)


@pytest.mark.parametrize(
    "name",
    [
        "ACME_curves",
        "CESIUM_RTC",
        "KHR_gaussian_splatting",
        "EXT_meshopt_compression",
        "KHR_meshopt_compression",
    ],
)
def test_other_required_extensions_are_refused_by_name(tmp_path: Path, name: str) -> None:
    made = square(extensionsUsed=[name], extensionsRequired=["KHR_materials_unlit", name])
    assert name in refusal(made.gltf(tmp_path / "a.gltf"))


def test_meshopt_with_a_plain_fallback_is_read_and_without_is_refused(tmp_path: Path) -> None:
    made = square(extensionsUsed=["EXT_meshopt_compression"])
    compressed = {"EXT_meshopt_compression": {"buffer": 1, "byteLength": 8, "byteStride": 12, "count": 4}}
    made.tree["bufferViews"][0]["extensions"] = compressed
    assert shape(made.glb(tmp_path / "a.glb")) == square_at(0)
    fallback = {"byteLength": len(made.data), "extensions": {"EXT_meshopt_compression": {"fallback": True}}}
    made.tree["buffers"] = [fallback, {"byteLength": 8, "uri": "data:;base64,AAAAAAAAAAA="}]
    assert "EXT_meshopt_compression" in refusal(made.gltf(tmp_path / "a.gltf"))


def test_draco_with_a_plain_fallback_needs_no_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    made = square(extensionsUsed=["KHR_draco_mesh_compression"])
    draco = {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {"POSITION": 0}}}
    made.tree["meshes"][0]["primitives"][0]["extensions"] = draco
    assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(0)
