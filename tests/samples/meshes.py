"""Bytes of meshes and clouds in every format, and the box that most of them are."""

import base64
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

SIZES = np.array([1.0, 2.0, 5.0])  # of the box, so that its sides have areas 2, 5 and 10
CORNERS = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)]
QUADS = [(0, 3, 2, 1), (4, 5, 6, 7), (0, 1, 5, 4), (2, 3, 7, 6), (1, 2, 6, 5), (0, 4, 7, 3)]
TRIANGLES = [(a, b, c) for a, b, c, _ in QUADS] + [(a, c, d) for a, _, c, d in QUADS]
VERTEX_LINES = [f"{x * 1.0} {y * 2.0} {z * 5.0}" for x, y, z in CORNERS]
QUAD_LINES = [f"4 {a} {b} {c} {d}" for a, b, c, d in QUADS]
TRIANGLE_LINES = [f"3 {a} {b} {c}" for a, b, c in TRIANGLES]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def box() -> trimesh.Trimesh:
    made = trimesh.Trimesh(np.array(CORNERS) * SIZES, TRIANGLES, process=False)
    assert made.area == pytest.approx(34)
    return made


def assert_uniform_on_box(points: np.ndarray, low: np.ndarray | None = None) -> None:
    """On the six sides, each with its share of points (5 standard deviations), spread evenly over each."""
    low = np.zeros(3) if low is None else low
    inside = (points - low) / SIZES
    assert (inside > -1e-5).all() and (inside < 1 + 1e-5).all()
    seen = 0
    for axis in range(3):
        share = np.prod(np.delete(SIZES, axis)) / 34.0
        for side in (0.0, 1.0):
            on_side = np.abs(inside[:, axis] - side) < 1e-5
            spread = np.sqrt(share * (1 - share) / len(points))
            assert abs(on_side.mean() - share) < 5 * spread
            seen += on_side.sum()
            for other in {0, 1, 2} - {axis}:
                mean_error = np.sqrt(1 / 12 / on_side.sum())
                assert abs(inside[on_side, other].mean() - 0.5) < 5 * mean_error
    assert seen >= len(points)


def ply_bytes(order: str, faces: list[tuple[int, ...]]) -> bytes:
    """A binary PLY by hand, with a property on each side of what matters."""
    name = "little" if order == "<" else "big"
    header = f"""ply
format binary_{name}_endian 1.0
comment by hand
element vertex 8
property double x
property float y
property short z
property uchar red
element face {len(faces)}
property uchar flags
property list uchar int vertex_indices
property list uchar float texcoord
end_header
"""
    body = b"".join(struct.pack(order + "dfhB", x, y * 2, z * 5, 9) for x, y, z in CORNERS)
    for face in faces:
        body += struct.pack(f"{order}BB{len(face)}iB2f", 7, len(face), *face, 2, 0.5, 0.5)
    return header.encode() + body


def stl_bytes(triangles: np.ndarray, header: bytes = b"") -> bytes:
    body = b"".join(struct.pack("<12fH", 0, 0, 0, *np.ravel(triangle), 0) for triangle in triangles)
    return header.ljust(80, b" ") + struct.pack("<I", len(triangles)) + body


CLOUD = np.array(
    [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.25, 0.5, 2], *[[0.5, 0.5, 0.5]] * 3], np.float32
)


def pcd_header(encoding: str, count: int = 8) -> bytes:
    return (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS normal _ x y z rgb\n"
        "SIZE 4 1 4 4 8 4\nTYPE F U F F F U\nCOUNT 3 2 1 1 1 1\n"
        f"WIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {encoding}\n"
    ).encode()


def npz_bytes(tmp_path: Path, **arrays: np.ndarray) -> bytes:
    np.savez(tmp_path / "x.npz", **arrays)
    return (tmp_path / "x.npz").read_bytes()


def npy_bytes(tmp_path: Path, array: np.ndarray) -> bytes:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    return (tmp_path / "x.npy").read_bytes()


def gltf_bytes(**changes: object) -> bytes:
    """A glTF of one triangle, its 48 bytes of data inside."""
    data = struct.pack("<9f3I", 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 2)
    tree: dict = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"byteLength": 48, "uri": "data:;base64," + base64.b64encode(data).decode()}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": 12},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5125, "count": 3, "type": "SCALAR"},
        ],
    }
    return json.dumps({**tree, **changes}).encode()


def off(*lines: str) -> bytes:
    return "\n".join(lines).encode()
