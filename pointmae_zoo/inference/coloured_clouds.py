"""Clouds with a part number for each point, as files that viewers open: PLY and GLB."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.system.files import written_whole

SUFFIXES = (".ply", ".glb")
# Of the points' own spacing: markers that touch, and leave edges sharp.
_MARKER = 0.6
_TETRAHEDRON = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)], dtype=np.float32) / np.sqrt(3)
_FACES = np.array([(0, 1, 2), (0, 3, 1), (0, 2, 3), (1, 3, 2)], dtype=np.uint32)


def write_coloured(
    path: Path,
    points: NDArray[np.float32],
    parts: NDArray[np.int64],
    colours: NDArray[np.uint8],
    labels: Sequence[str],
) -> None:
    """Write a cloud; the file appears complete or not at all.

    Args:
        path: .ply: vertices with x, y, z, red, green, blue and the integer property ``part``; the names of
            the parts that occur are comments. .glb: a small tetrahedron in the place of each point, because
            many viewers show no points, with the attributes COLOR_0 and _PART.
        points: (M, 3).
        parts: (M,) part numbers.
        colours: (P, 3), by part number.
        labels: P names.
    """
    if path.suffix.lower() == ".glb":
        content = _glb_bytes(points, parts, colours[parts])
    else:
        content = _ply_bytes(points, parts, colours[parts], labels)
    with written_whole(path) as unfinished:
        unfinished.write_bytes(content)


def _ply_bytes(
    points: NDArray[np.float32], parts: NDArray[np.int64], colours: NDArray[np.uint8], labels: Sequence[str]
) -> bytes:
    rows = np.empty(len(points), dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3), ("part", "<i4")])
    rows["xyz"], rows["rgb"], rows["part"] = points, colours, parts
    properties = [f"property float {axis}" for axis in "xyz"]
    properties += [f"property uchar {colour}" for colour in ("red", "green", "blue")] + ["property int part"]
    named = [f"comment part {number} {' '.join(labels[number].split())}" for number in np.unique(parts)]
    lines = ["ply", "format binary_little_endian 1.0", *named, f"element vertex {len(points)}", *properties]
    # Not every reader takes a header that is not ASCII.
    return "\n".join([*lines, "end_header", ""]).encode("ascii", "backslashreplace") + rows.tobytes()


def _glb_bytes(points: NDArray[np.float32], parts: NDArray[np.int64], colours: NDArray[np.uint8]) -> bytes:
    count = 4 * len(points)
    corners = (points[:, None] + _spacing(points) * _MARKER * _TETRAHEDRON).astype("<f4").reshape(-1, 3)
    faces = (_FACES + 4 * np.arange(len(points), dtype=np.uint32)[:, None, None]).astype("<u4")
    rgba = np.concatenate([_linear(colours), np.full((len(points), 1), 255, np.uint8)], axis=1)
    columns = {
        "POSITION": (corners, 5126, "VEC3"),
        "COLOR_0": (np.repeat(rgba, 4, axis=0), 5121, "VEC4"),
        "_PART": (np.repeat(parts, 4).astype("<f4"), 5126, "SCALAR"),
        "indices": (faces, 5125, "SCALAR"),
    }
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []
    offset = 0
    for name, (values, kind, shape) in columns.items():
        target = 34963 if name == "indices" else 34962
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": values.nbytes, "target": target})
        rows = faces.size if name == "indices" else count
        accessors.append(
            {"bufferView": len(accessors), "componentType": kind, "count": rows, "type": shape}
            | ({"normalized": True} if name == "COLOR_0" else {})
            | ({"min": corners.min(0).tolist(), "max": corners.max(0).tolist()} if name == "POSITION" else {})
        )
        offset += values.nbytes  # every column's row is of whole fours of bytes, as glTF wants it
    attributes = {name: number for number, name in enumerate(columns) if name != "indices"}
    surface = {"pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1}, "doubleSided": True}
    content = {
        "asset": {"version": "2.0", "generator": "pointmae-zoo"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "parts"}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": len(columns) - 1, "material": 0}]}],
        "materials": [surface],
        "buffers": [{"byteLength": offset}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    data = b"".join(values.tobytes() for values, _, _ in columns.values())
    header = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(data))
    return b"".join(
        [
            header,
            struct.pack("<I4s", len(text), b"JSON"),
            text,
            struct.pack("<I4s", len(data), b"BIN\0"),
            data,
        ]
    )


def _spacing(points: NDArray[np.float32]) -> float:
    """How far apart points on a surface of about this size are."""
    size = float(np.ptp(points, axis=0).max())
    return (size or 1.0) / np.sqrt(len(points))


def _linear(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """glTF's vertex colours are linear light; ours are as screens take them."""
    value = colours / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.round(255 * linear).astype(np.uint8)
