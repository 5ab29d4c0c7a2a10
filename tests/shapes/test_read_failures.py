"""Files that give no points: one line that names the file and the trouble."""

import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from pointmae_zoo.shapes import read
from pointmae_zoo.shapes.formats import gltf_accessors
from pointmae_zoo.shapes.read import MeshError, read_points
from samples.meshes import (
    CLOUD,
    QUADS,
    SIZES,
    TRIANGLE_LINES,
    VERTEX_LINES,
    box,
    gltf_bytes,
    npy_bytes,
    npz_bytes,
    off,
    pcd_header,
    ply_bytes,
    stl_bytes,
    write,
)

PLY_HEADER = "ply\nformat {} 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\n"
BAD: dict[str, tuple[str, bytes | object, str]] = {
    "empty": ("stl", b"", "is empty"),
    "unknown suffix": ("blend", b"x", "has the suffix '.blend': expected one of .stl .obj"),
    "text called stl": ("stl", b"Dear reader, this is no mesh.\n" * 9, "is not an STL file"),
    "short text called stl": ("stl", b"hello", "is not an STL file"),
    "cut-off binary stl": ("stl", stl_bytes(np.ones((9, 3, 3)))[:-30], "promises 9 triangles"),
    "stl of 4e9 faces": ("stl", b"\x01" * 80 + b"\xff" * 40, "promises 4,294,967,295 triangles"),
    "cut-off text stl": ("stl", b"solid x\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\n", "endsolid"),
    "stl without triangles": ("stl", stl_bytes(np.empty((0, 3, 3))), "without triangles"),
    "stl in one point": ("stl", stl_bytes(np.ones((9, 3, 3))), "no area"),
    "stl in one line": (
        "stl",
        stl_bytes(np.arange(1, 10).reshape(-1, 3, 1) * [[[0.1, 0.7, 0.3]]]),
        "no area",
    ),
    "stl with nan": ("stl", stl_bytes(np.array([[(0, 0, 0), (np.nan, 0, 0), (0, 1, 0)]])), "NaN or infinity"),
    "stl with infinity": (
        "stl",
        stl_bytes(np.array([[(0, 0, 0), (np.inf, 0, 0), (0, 1, 0)]])),
        "NaN or infinity",
    ),
    "off, no counts": ("off", b"OFF\n", "expected `OFF`, then the numbers"),
    "off, words": ("off", b"a poem\nin two lines\n", "is not an OFF file"),
    "off of 1e11 faces": ("off", off("OFF", "8 100000000000 0", *VERTEX_LINES), "was cut off"),
    "off of 1e11 vertices": ("off", off("OFF", "100000000000 1 0", *VERTEX_LINES), "was cut off"),
    "cut-off off": ("off", off("OFF", "8 12 0", *VERTEX_LINES, *TRIANGLE_LINES[:8]), "was cut off"),
    "off, index too high": (
        "off",
        off("OFF", "8 1 0", *VERTEX_LINES, "3 0 1 8"),
        "vertex 8, but only 0 to 7",
    ),
    "off, negative index": (
        "off",
        off("OFF", "8 1 0", *VERTEX_LINES, "3 0 1 -1"),
        "vertex -1, but only 0 to 7",
    ),
    "off, a word": ("off", off("OFF", "8 1 0", *VERTEX_LINES[:7], "1 two 3", "3 0 1 2"), "two"),
    "off, a short face": (
        "off",
        off("OFF", "8 1 0", *VERTEX_LINES, "5 0 1 2"),
        "neither a vertex nor a face: '5 0 1 2'",
    ),
    "off, too large": (
        "off",
        off("OFF", "3 1 0", "0 0 0", "1e39 0 0", "0 1 0", "3 0 1 2"),
        "too large for float32",
    ),
    "off, binary": ("off", b"OFF BINARY\n\0\0\0\x08", "is a binary"),
    "obj without faces": ("obj", b"# nothing\n", "no faces and no points"),
    "obj, index too high": (
        "obj",
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n",
        "line 4 (f 1 2 4): names vertices which",
    ),
    "obj, corner 0": (
        "obj",
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 0 1/2 3\n",
        "line 6 (f 0 1/2 3)",
    ),
    "obj, corner 0 at the end": (
        "obj",
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 0",
        "line 6 (f 1 2 0)",
    ),
    "obj, two numbers": ("obj", b"v 0 0 0\nv 1 0\nv 0 1 0\nf 1 2 3\n", "line 2 (v 1 0): three numbers"),
    "obj, commas": ("obj", b"v 0,5,0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "'0,5,0' where one number belongs"),
    "obj, words": ("obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 x\n", "line 4 (f 1 2 x): numbers of vertices"),
    "obj, cut off": ("obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0", "line 4 (v 0 0): three numbers expected"),
    "obj, back too far": (
        "obj",
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf -1 -2 -4\n",
        "counts back beyond its 3 vertices",
    ),
    "obj, one point": ("obj", b"v 0 0 0\n", "only one point"),
    "ply, other text": ("ply", b"apply here\n", "does not begin with `ply`"),
    "ply, cut-off header": ("ply", PLY_HEADER.format("ascii", 8).encode(), "no `end_header`"),
    "ply of 1e11 vertices": (
        "ply",
        (PLY_HEADER.format("binary_little_endian", 10**11) + "end_header\n").encode(),
        "100,000,000,000 x vertex",
    ),
    "text ply of 1e11 vertices": (
        "ply",
        (PLY_HEADER.format("ascii", 10**11) + "end_header\n0 0 0\n").encode(),
        "100,000,000,000 x vertex",
    ),
    "cut-off text ply": (
        "ply",
        (PLY_HEADER.format("ascii", 2) + "end_header\n0.12 0.12 0.12\n").encode(),
        "fewer lines",
    ),
    "cut-off binary ply": ("ply", ply_bytes("<", QUADS)[:-30], "was cut off"),
    "ply, index too high": ("ply", ply_bytes("<", [(0, 1, 2), (0, 1, 8)]), "vertex 8, but only 0 to 7"),
    "ply, unknown format": ("ply", (PLY_HEADER.format("zip", 1) + "end_header\n").encode(), "format 'zip'"),
    "ply, broken header": ("ply", b"ply\nformat ascii 1.0\nelement vertex many\nend_header\n", "vertex many"),
    "ply of 1e11 rows of nothing": (
        "ply",
        b"ply\nformat binary_little_endian 1.0\nelement x 100000000000\nend_header\n",
        "no faces and no points",
    ),
    "ply of strips without vertices": (
        "ply",
        b"ply\nformat ascii 1.0\nelement tristrips 1\nproperty list int int x\nend_header\n3 0 1 2\n",
        "names vertex 2",
    ),
    "ply, no z": (
        "ply",
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty int x\nproperty int y\nend_header\n1 1\n",
        "without x, y and z",
    ),
    "glb, not one": ("glb", b"solid x", "does not begin with `glTF`"),
    "cut-off glb": ("glb", struct.pack("<4sIIII", b"glTF", 2, 9999, 100, 0x4E4F534A), "promises 9,999 bytes"),
    "old glb": ("glb", struct.pack("<4sIIII", b"glTF", 1, 20, 0, 0), "glTF 1"),
    "gltf, no json": ("gltf", b"{'asset'", "no valid JSON"),
    "gltf, old": ("gltf", gltf_bytes(asset={"version": "1.0"}), "glTF 1.0: only glTF 2"),
    "gltf, list": ("gltf", b"[]", "no JSON object"),
    "gltf, missing buffer": (
        "gltf",
        gltf_bytes(buffers=[{"byteLength": 48, "uri": "parts/away%20now.bin"}]),
        "needs the file parts/away%20now.bin",
    ),
    "gltf, remote buffer": (
        "gltf",
        gltf_bytes(buffers=[{"byteLength": 48, "uri": "https://example.org/a.bin"}]),
        "nothing is downloaded",
    ),
    "gltf, view too long": (
        "gltf",
        gltf_bytes(bufferViews=[{"buffer": 0, "byteLength": 49}] * 2),
        "beyond its buffer",
    ),
    "gltf, accessor of 1e11": (
        "gltf",
        gltf_bytes(accessors=[{"bufferView": 0, "componentType": 5126, "count": 10**11, "type": "VEC3"}] * 2),
        "beyond its buffer view",
    ),
    "gltf, meshopt": (
        "gltf",
        gltf_bytes(extensionsRequired=["EXT_meshopt_compression"]),
        "EXT_meshopt_compression",
    ),
    "gltf, wrong types": ("gltf", gltf_bytes(meshes=[{"primitives": "none"}]), "wrong type|no proper"),
    "gltf, empty": ("gltf", b'{"asset": {"version": "2.0"}}', "no faces and no points"),
    "3mf, not one": ("3mf", b"<model/>", "is not a 3MF file"),
    "cut-off 3mf": ("3mf", b"PK\x03\x04 and no more", "no proper 3MF file"),
    "xyz, words": ("xyz", b"nothing to see\n" * 20, "no rows of three numbers"),
    "xyz, a short row": ("xyz", b"0 0 0\n1 1\n2 2 2\n", "row 2 ('1 1') has not the 3 numbers"),
    "xyz, a word": ("xyz", b"0 0 0\n1 one 1\n2 2 2\n", "line 2 has 'one' where a number belongs"),
    "xyz, nan": ("xyz", b"0 0 0\n1 nan 1\n2 2 2\n", "NaN or infinity"),
    "xyz, one point": ("xyz", b"1 2 3\n", "only one point"),
    "xyz, equal points": ("xyz", b"1 2 3\n" * 7, "all its 7 points are equal"),
    "npy, not one": ("npy", b"\x93NUMPIE", "not NPY data"),
    "npy, cut off": (
        "npy",
        lambda tmp: npy_bytes(tmp, CLOUD)[:-5],
        "was cut off: its header promises shape (8, 3)",
    ),
    "npy of 1e11": (
        "npy",
        lambda tmp: npy_bytes(tmp, CLOUD).replace(b"(8, 3), }         ", b"(99999999999, 3), }"),
        "(99999999999, 3)",
    ),
    "npy, pickle": ("npy", lambda tmp: npy_bytes(tmp, np.array([{}, []], object)), "pickled Python objects"),
    "npy, flat": ("npy", lambda tmp: npy_bytes(tmp, np.arange(9.0)), "shape (9,): expected (N, 3)"),
    "npy, turned": ("npy", lambda tmp: npy_bytes(tmp, np.ones((3, 99))), "transpose"),
    "npy, many clouds": ("npy", lambda tmp: npy_bytes(tmp, np.ones((4, 9, 3))), "shape (4, 9, 3)"),
    "npy, text": ("npy", lambda tmp: npy_bytes(tmp, np.array([["a"] * 3] * 3)), "expected numbers"),
    "npz, not one": ("npz", b"PK and so on", "not an NPZ file"),
    "npz, cut off": ("npz", lambda tmp: npz_bytes(tmp, points=CLOUD)[:-30], "not an NPZ file"),
    "npz, nothing fits": ("npz", lambda tmp: npz_bytes(tmp, label=np.arange(4)), "holds label (4,)"),
    "npz, two fit": ("npz", lambda tmp: npz_bytes(tmp, a=CLOUD, b=CLOUD), "expected an array `points`"),
    "npz, pickle": (
        "npz",
        lambda tmp: npz_bytes(tmp, points=np.array([{}], object)),
        "pickled Python objects",
    ),
    "pcd, not one": ("pcd", b"no header here\n" * 40, "no PCD header"),
    "pcd, no z": ("pcd", pcd_header("ascii").replace(b"x y z", b"x y w"), "has no field z"),
    "pcd, broken header": ("pcd", pcd_header("ascii").replace(b"SIZE 4", b"SIZE 3"), "makes no sense"),
    "pcd, fields differ": ("pcd", pcd_header("ascii").replace(b"SIZE 4", b"SIZE"), "makes no sense"),
    "pcd, unknown data": ("pcd", pcd_header("zip"), "has DATA zip"),
    "pcd of 1e11, text": ("pcd", pcd_header("ascii", 10**11) + b"1 2 3", "100,000,000,000 points"),
    "pcd of 1e11, binary": ("pcd", pcd_header("binary", 10**11) + b"1 2 3", "100,000,000,000 points"),
    "pcd of 1e11, packed": (
        "pcd",
        pcd_header("binary_compressed", 10**11) + struct.pack("<II", 1, 2**32 - 1) + b"x",
        "was cut off",
    ),
    "pcd, damaged": (
        "pcd",
        pcd_header("binary_compressed") + struct.pack("<II", 9, 312) + b"\xff" * 9,
        "damaged compressed data",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_get_one_line_that_names_file_and_trouble(tmp_path: Path, case: str) -> None:
    suffix, content, message = BAD[case]
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content(tmp_path))  # type: ignore[operator]
    with pytest.raises(MeshError) as caught:
        read_points(path)
    said = str(caught.value)
    assert said == f"{path}: {caught.value.reason}" and "\n" not in said and len(caught.value.reason) < 260
    assert any(part in said for part in message.split("|")), said


def test_missing_folder_and_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MeshError, match="does not exist"):
        read_points(tmp_path / "none.stl")
    (tmp_path / "folder.stl").mkdir()
    with pytest.raises(MeshError, match="is a folder"):
        read_points(tmp_path / "folder.stl")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "no")

    (tmp_path / "secret.stl").touch()
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(MeshError, match="check its permissions"):
        read_points(tmp_path / "secret.stl")


def test_whatever_a_reader_stumbles_over_becomes_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(data: bytes) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setitem(read.READERS, ".off", fail)
    with pytest.raises(MeshError, match=r"is damaged \(ZeroDivisionError: two lines\)"):
        read_points(write(tmp_path / "a.off", "OFF"))


def test_too_little_memory_becomes_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: bytes) -> None:
        raise MemoryError

    monkeypatch.setitem(read.READERS, ".obj", fail)
    with pytest.raises(MeshError, match="memory"):
        read_points(write(tmp_path / "a.obj", "v 0 0 0"))


def draco_glb(path: Path) -> Path:
    pytest.importorskip("DracoPy")
    path.write_bytes(trimesh.exchange.gltf.export_glb(trimesh.Scene(box()), extension_draco=True))
    assert b"KHR_draco_mesh_compression" in path.read_bytes()
    return path


def test_draco_is_decoded(tmp_path: Path) -> None:
    points = read_points(draco_glb(tmp_path / "a.glb"), 20_000)
    assert np.ptp(points, axis=0) == pytest.approx(SIZES, abs=0.01)


def test_draco_without_its_decoder_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = draco_glb(tmp_path / "a.glb")
    monkeypatch.setattr(gltf_accessors, "find_spec", lambda name: None)
    with pytest.raises(MeshError, match=r'Draco data: `pip install "pointmae-zoo\[draco\]"'):
        read_points(path)


def test_draco_that_its_decoder_gives_up_on_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """trimesh would put zeros there and go on."""
    path = draco_glb(tmp_path / "a.glb")

    def fail(data: bytes) -> None:
        raise ValueError

    monkeypatch.setattr("DracoPy.decode", fail)
    with pytest.raises(MeshError, match=r"Draco data that cannot be decoded: damaged, or DracoPy is too old"):
        read_points(path)
