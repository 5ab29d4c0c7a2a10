"""glTF files written by hand, and what is found in them."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointmae_zoo.shapes.formats.gltf import read_gltf
from pointmae_zoo.shapes.read import MeshError, read_points

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)


CORNERS = np.array([0, 1, 2, 0, 2, 3], np.uint16)


TYPES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}


KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


QUARTER_TURN = [0, 0, 0.5**0.5, 0.5**0.5]  # about z: x becomes y


TWO_JOINTS = np.array([[0, 1, 0, 0]] * 4, np.uint8)


class Builder:
    """A glTF file. Arrays become accessors 0, 1, ... with their own buffer views; the rest stays as given."""

    def __init__(self, *arrays: np.ndarray, **tree: Any) -> None:
        self.data = b""
        self.tree: dict[str, Any] = {
            "asset": {"version": "2.0"},
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
            "bufferViews": [],
            "accessors": [],
        }
        for array in arrays:
            self.add(array)
        self.tree.update(tree)

    def add(self, array: np.ndarray) -> int:
        self.data += bytes(-len(self.data) % 4)
        rows = array.reshape(len(array), -1)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        self.tree["bufferViews"].append(view)
        number = len(self.tree["bufferViews"]) - 1
        kind = {"componentType": TYPES[array.dtype.str[1:]], "type": KINDS[rows.shape[1]]}
        self.tree["accessors"].append({"bufferView": number, "count": len(array), **kind})
        self.data += array.tobytes()
        return len(self.tree["accessors"]) - 1

    def gltf(self, path: Path, uri: str | None = None) -> Path:
        inline = "data:application/octet-stream;base64," + base64.b64encode(self.data).decode()
        buffers = [{"byteLength": len(self.data), "uri": uri or inline}]
        path.write_text(json.dumps({"buffers": buffers, **self.tree}), encoding="utf-8")
        return path

    def glb(self, path: Path, *more: tuple[bytes, bytes], before: tuple[bytes, bytes] | None = None) -> Path:
        text = json.dumps({"buffers": [{"byteLength": len(self.data)}], **self.tree}).encode()
        padded = (text + b" " * (-len(text) % 4), self.data + bytes(-len(self.data) % 4))
        chunks = [*([before] if before else []), (b"JSON", padded[0]), (b"BIN\0", padded[1]), *more]
        body = b"".join(struct.pack("<I4s", len(content), kind) + content for kind, content in chunks)
        path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)
        return path


def square(**tree: Any) -> Builder:
    return Builder(SQUARE, CORNERS, **tree)


def sparse(made: Builder, rows: list[int], values: np.ndarray) -> dict:
    views = [made.add(np.array(rows, np.uint8)), made.add(values)]
    views = [made.tree["accessors"][number]["bufferView"] for number in views]
    where = {"bufferView": views[0], "componentType": 5121}
    return {"count": len(rows), "indices": where, "values": {"bufferView": views[1]}}


def skinned(
    joints: np.ndarray, weights: np.ndarray, inverse: np.ndarray | None, places: list[dict]
) -> Builder:
    """The square, held by joints at these places; its own node stands far away."""
    made = square()
    attributes = {"POSITION": 0, "JOINTS_0": made.add(joints), "WEIGHTS_0": made.add(weights)}
    made.tree["meshes"] = [{"primitives": [{"attributes": attributes, "indices": 1}]}]
    made.tree["nodes"] = [{"mesh": 0, "skin": 0, "translation": [500, 0, 0]}, *places]
    made.tree["skins"] = [{"joints": list(range(1, 1 + len(places)))}]
    if inverse is not None:
        stored = np.ascontiguousarray(inverse.transpose(0, 2, 1), np.float32)  # by columns
        made.tree["skins"][0]["inverseBindMatrices"] = made.add(stored.reshape(len(inverse), 16))
    return made


def shape(path: Path) -> tuple[list[float], list[float], float]:
    """The lowest and the highest corner, and the area."""
    a, b, c = read_gltf(path.read_bytes(), path).triangles.transpose(0, 2, 1).astype(float)
    every = np.concatenate((a, b, c)).round(4) + 0.0
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    return every.min(0).tolist(), every.max(0).tolist(), round(float(area), 4)


def square_at(
    x: float, y: float = 0, z: float = 0, width: float = 1
) -> tuple[list[float], list[float], float]:
    return [x, y, z], [x + width, y + width, z], width**2


def refusal(path: Path) -> str:
    with pytest.raises(MeshError) as caught:
        read_points(path)
    assert "Traceback" not in str(caught.value) and "\n" not in str(caught.value)
    return caught.value.reason
