"""Files of every format to points. trimesh, struct and plain text write what ours reads."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from pointmae_zoo.shapes.file_search import find_files
from pointmae_zoo.shapes.formats.pcd import decompress_lzf
from pointmae_zoo.shapes.read import MeshError, read_points
from samples.meshes import (
    CLOUD,
    CORNERS,
    QUAD_LINES,
    QUADS,
    SIZES,
    TRIANGLE_LINES,
    TRIANGLES,
    VERTEX_LINES,
    assert_uniform_on_box,
    box,
    pcd_header,
    ply_bytes,
    stl_bytes,
    write,
)


@pytest.mark.parametrize("kind", ["stl", "stl_ascii", "obj", "off", "ply", "ply_ascii", "glb", "gltf", "3mf"])
def test_what_trimesh_writes_is_sampled_uniformly_by_area(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"box.{kind.split('_')[0]}"
    if kind == "gltf":
        for name, data in trimesh.exchange.gltf.export_gltf(trimesh.Scene(box())).items():
            (tmp_path / name.replace("model.gltf", "box.gltf")).write_bytes(data)
    elif kind == "ply_ascii":
        path.write_bytes(box().export(file_type="ply", encoding="ascii"))
    elif kind == "stl_ascii":
        path.write_text(box().export(file_type="stl_ascii"))
    else:
        box().export(path)
    points = read_points(path, 20_000)
    assert points.shape == (20_000, 3) and points.dtype == np.float32 and points.flags.c_contiguous
    assert_uniform_on_box(points)


def test_areas_over_six_orders_of_magnitude(tmp_path: Path) -> None:
    sides = 10.0 ** np.arange(0, -3.5, -0.5)
    triangles = np.array([[(i, 0, 0), (i + s, 0, 0), (i, s, 0)] for i, s in enumerate(sides)])
    (tmp_path / "t.stl").write_bytes(stl_bytes(triangles))
    x = read_points(tmp_path / "t.stl", 200_000)[:, 0]
    expected = sides**2 / (sides**2).sum()
    found = np.bincount(np.floor(x + 1e-6).astype(int), minlength=len(sides)) / len(x)
    assert (np.abs(found - expected) < 5 * np.sqrt(expected / len(x)) + 1e-9).all()


def test_bytes_and_seed_decide_alone(tmp_path: Path) -> None:
    box().export(tmp_path / "a.stl")
    (tmp_path / "deep").mkdir()
    shutil.copy(tmp_path / "a.stl", tmp_path / "deep" / "b.STL")
    first = read_points(tmp_path / "a.stl", 500, seed=3)
    assert (first == read_points(tmp_path / "deep" / "b.STL", 500, seed=3)).all()
    assert (first != read_points(tmp_path / "a.stl", 500, seed=4)).any()


@pytest.mark.parametrize("suffix", ["glb", "3mf"])
def test_scenes_are_flattened_with_their_transforms(tmp_path: Path, suffix: str) -> None:
    turn = trimesh.transformations.rotation_matrix(np.pi / 2, (0, 0, 1))
    move = trimesh.transformations.translation_matrix((10, 0, 0))
    scene = trimesh.Scene()
    shape = box()
    scene.add_geometry(shape, node_name="still", geom_name="box")
    scene.graph.update("moved", "world", matrix=move @ turn, geometry="box")  # an instance of the same mesh
    scene.export(tmp_path / f"two.{suffix}")
    points = read_points(tmp_path / f"two.{suffix}", 20_000)
    still = points[points[:, 0] < 5]
    assert abs(len(still) / len(points) - 0.5) < 0.02
    assert_uniform_on_box(still)
    back = np.c_[points[points[:, 0] > 5], np.ones((points[:, 0] > 5).sum())] @ np.linalg.inv(move @ turn).T
    assert_uniform_on_box(back[:, :3])


@pytest.mark.parametrize(
    "lines",
    [
        ["OFF", "8 12 0", *VERTEX_LINES, *TRIANGLE_LINES],
        ["OFF8 12 0", *VERTEX_LINES, *TRIANGLE_LINES],  # ModelNet
        ["8 12 0", *VERTEX_LINES, *TRIANGLE_LINES],
        ["off", "# by hand", "", "8 6 12", *VERTEX_LINES, *QUAD_LINES],
        ["OFF # eight", "8 6", *[line + " # here" for line in VERTEX_LINES], "", *QUAD_LINES],
        ["OFF 8 6 0", *VERTEX_LINES, *[line + " 255 0 0" for line in QUAD_LINES]],
        ["COFF", "8 12 0", *[line + " 9 9 9 255" for line in VERTEX_LINES], *TRIANGLE_LINES],
        ["NOFF", "8 7 0", *[line + " 0 0 1" for line in VERTEX_LINES], *QUAD_LINES, "2 0 1"],
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_off_as_people_write_it(tmp_path: Path, lines: list[str], newline: str) -> None:
    lines = [line.lower() if line.startswith("off") else line for line in lines]
    (tmp_path / "a.off").write_bytes(newline.join(lines).encode())
    assert_uniform_on_box(read_points(tmp_path / "a.off", 20_000))


def test_off_with_the_line_ends_of_old_macs(tmp_path: Path) -> None:
    (tmp_path / "a.off").write_bytes("\r".join(["OFF", "8 6 0", *VERTEX_LINES, *QUAD_LINES]).encode())
    assert_uniform_on_box(read_points(tmp_path / "a.off", 20_000))


def test_off_without_its_keyword_may_begin_with_any_number(tmp_path: Path) -> None:
    lines = ["4 4 6", "0 0 0", "1 0 0", "0 1 0", "0 0 1", "3 0 2 1", "3 0 1 3", "3 0 3 2", "3 1 2 3"]
    points = read_points(write(tmp_path / "a.off", *lines), 1000)
    assert points.min() >= 0 and points.sum(axis=1).max() <= 1 + 1e-6


def test_off_polygons_become_fans(tmp_path: Path) -> None:
    path = write(tmp_path / "a.off", "OFF", "6 2 0", "0 0 0", "2 0 0", "2 1 0", "1 1 0", "0 1 0", "4 0 0",
                 "5 0 1 2 3 4", "3 1 5 2")  # fmt: skip
    points = read_points(path, 10_000)
    assert (
        abs((points[:, 0] < 2).mean() - 2 / 3) < 0.03
    )  # the pentagon is a 2 x 1 rectangle, the rest has area 1


def test_binary_stl_is_known_by_its_size(tmp_path: Path) -> None:
    triangles = (np.array(CORNERS) * SIZES)[np.array(TRIANGLES)]
    (tmp_path / "a.stl").write_bytes(stl_bytes(triangles, b"solid facet by a careless exporter"))
    assert_uniform_on_box(read_points(tmp_path / "a.stl", 20_000))
    (tmp_path / "b.stl").write_bytes(stl_bytes(triangles) + b"trailing words")
    assert_uniform_on_box(read_points(tmp_path / "b.stl", 20_000))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("faces", [TRIANGLES, QUADS, [*QUADS[:3], *TRIANGLES[3:6], *TRIANGLES[9:]]])
def test_binary_ply_with_any_polygons(tmp_path: Path, order: str, faces: list[tuple[int, ...]]) -> None:
    (tmp_path / "a.ply").write_bytes(ply_bytes(order, faces))
    assert_uniform_on_box(read_points(tmp_path / "a.ply", 20_000))


@pytest.mark.parametrize("extra", ["", " 255 255 255"])
@pytest.mark.parametrize(
    "face_lines", [QUAD_LINES, [*QUAD_LINES[:3], *TRIANGLE_LINES[3:6], *TRIANGLE_LINES[9:]]]
)
def test_text_ply_with_any_polygons_and_more_than_it_announces(
    tmp_path: Path, face_lines: list[str], extra: str
) -> None:
    header = ["ply", "format ascii 1.0", "element vertex 8", *[f"property float {axis}" for axis in "xyz"],
              f"element face {len(face_lines)}", "property list uchar int vertex_index",
              "end_header"]  # fmt: skip
    write(tmp_path / "a.ply", *header, *VERTEX_LINES, *[line + extra for line in face_lines])
    assert_uniform_on_box(read_points(tmp_path / "a.ply", 20_000))


def test_obj_polygons_and_relative_indices(tmp_path: Path) -> None:
    """Vertices and faces alternate, and faces count back: -1 is the newest vertex, not the last one."""
    lines = []
    for quad in QUADS:
        lines += [f"v {VERTEX_LINES[corner]}" for corner in quad]
        lines += ["vn 0 0 1", "f -4//-1 -3//-1 -2//-1 -1//-1"]
    assert_uniform_on_box(read_points(write(tmp_path / "a.obj", *lines), 20_000))
    quads = ["f " + " ".join(f"{corner + 1}/1/1" for corner in quad) for quad in QUADS]
    vertices = [f"v {line}" for line in VERTEX_LINES]
    path = write(tmp_path / "b.obj", "mtllib none.mtl", *vertices, "vt 0 0", "vn 0 0 1", *quads)
    assert_uniform_on_box(read_points(path, 20_000))


def test_loose_vertices_next_to_faces_do_not_count(tmp_path: Path) -> None:
    extra = [f"v {line}" for line in [*VERTEX_LINES, "90 90 90", "nan nan nan"]]
    faces = [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in TRIANGLES]
    assert_uniform_on_box(read_points(write(tmp_path / "a.obj", *extra, *faces), 20_000))
    lines = [*VERTEX_LINES, "90 90 90", "nan nan nan"]
    path = write(tmp_path / "a.off", "OFF", "10 12 0", *lines, *TRIANGLE_LINES)
    assert_uniform_on_box(read_points(path, 20_000))


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"{x} {y} {z}" for x, y, z in CLOUD),
        "\n".join(f"{x},{y},{z}" for x, y, z in CLOUD) + "\n",
        "x,y,z,label\n" + "\r\n".join(f"{x}, {y}, {z}, 7" for x, y, z in CLOUD),
        "# a scan\n8\n\n" + "\n".join(f"{x};{y};{z};0;0;1" for x, y, z in CLOUD),
        "//x y z\n" + "\n".join(f"  {x}\t{y}\t{z}\t255 0 0 # point" for x, y, z in CLOUD),
    ],
)
def test_xyz_as_people_write_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xyz").write_bytes(text.encode())
    np.testing.assert_array_equal(read_points(tmp_path / "a.xyz"), CLOUD)


@pytest.mark.parametrize("array", [CLOUD, CLOUD.astype("f8"), CLOUD.astype(">f8"), np.asfortranarray(CLOUD),
                                   np.hstack((CLOUD, CLOUD))])  # fmt: skip
def test_npy(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read_points(tmp_path / "a.npy"), CLOUD)


@pytest.mark.parametrize("arrays", [{"points": CLOUD, "other": CLOUD * 2}, {"xyz": CLOUD}, {"pos": CLOUD},
                                    {"what": CLOUD, "label": np.arange(8)}])  # fmt: skip
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_takes_the_array_that_is_meant(tmp_path: Path, arrays: dict, save: object) -> None:
    save(tmp_path / "a.npz", **arrays)  # type: ignore[operator]
    np.testing.assert_array_equal(read_points(tmp_path / "a.npz"), CLOUD)


def test_pcd_text_and_binary_with_other_fields(tmp_path: Path) -> None:
    rows = [f"0 0 1 5 6 {x} {y} {z} 4294967295" for x, y, z in CLOUD]
    (tmp_path / "a.pcd").write_bytes(pcd_header("ascii") + "\n".join(rows).encode())
    np.testing.assert_array_equal(read_points(tmp_path / "a.pcd"), CLOUD)
    packed = (
        "A2FiY2HgCwIAeOD/AOD/AOA+AB8AAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHx8gISIjJCUmJygpKissLS4vMDEy"
        "MzQ1Njc4OTo7PD0+Px9AQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVpbXF1eXwBgIs0fZGVmZ2hpamtsbW5vcHFyc3R1dnd4"
        "eXp7fH1+f4CBgoMfhIWGh4iJiouMjY6PkJGSk5SVlpeYmZqbnJ2en6ChoqMfpKWmp6ipqqusra6vsLGys7S1tre4ubq7vL2+"
        "v8DBwsMfxMXGx8jJysvMzc7P0NHS09TV1tfY2drb3N3e3+Dh4uMb5OXm5+jp6uvs7e7v8PHy8/T19vf4+fr7/P3+/w=="
    )
    plain = b"abc" * 8 + b"x" * 600 + bytes(range(256))
    assert decompress_lzf(base64.b64decode(packed), len(plain)) == plain


def test_pcd_leaves_out_what_the_sensor_did_not_see(tmp_path: Path) -> None:
    rows = [*[f"0 0 1 5 6 {x} {y} {z} 0" for x, y, z in CLOUD], "0 0 1 5 6 nan nan nan 0"]
    (tmp_path / "a.pcd").write_bytes(pcd_header("ascii", 9) + "\n".join(rows).encode())
    np.testing.assert_array_equal(read_points(tmp_path / "a.pcd"), CLOUD)


def test_ply_without_faces_is_a_cloud(tmp_path: Path) -> None:
    trimesh.PointCloud(CLOUD).export(tmp_path / "a.ply")
    np.testing.assert_array_equal(read_points(tmp_path / "a.ply"), CLOUD)


def test_a_large_cloud_is_thinned_by_seed(tmp_path: Path) -> None:
    cloud = np.random.default_rng(0).random((5000, 3), np.float32)
    np.save(tmp_path / "a.npy", cloud)
    points = read_points(tmp_path / "a.npy", 1000, seed=1)
    assert len({tuple(row) for row in points}) == 1000 and {tuple(r) for r in points} <= {
        tuple(r) for r in cloud
    }
    assert (points == read_points(tmp_path / "a.npy", 1000, seed=1)).all()
    assert (points != read_points(tmp_path / "a.npy", 1000, seed=2)).any()


def test_map_coordinates_keep_their_shape(tmp_path: Path) -> None:
    """At 5 million, float32 moves in steps of 0.5: read naively, this box would lose its short side."""
    here = np.array([500_000.25, 5_400_000.75, 100.0])
    lines = [f"v {x + here[0]!r} {y * 2 + here[1]!r} {z * 5 + here[2]!r}" for x, y, z in CORNERS]
    lines = [line.replace("np.float64(", "").replace(")", "") for line in lines]
    faces = [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in TRIANGLES]
    points = read_points(write(tmp_path / "a.obj", *lines, *faces), 20_000)
    assert_uniform_on_box(points, low=-SIZES / 2)


@pytest.mark.parametrize("factor", [1e-20, 1e20, 1e36])
def test_very_small_and_very_large_units(tmp_path: Path, factor: float) -> None:
    lines = [f"{x * factor} {y * 2 * factor} {z * 5 * factor}" for x, y, z in CORNERS]
    path = write(tmp_path / "a.off", "OFF", "8 12 0", *lines, *TRIANGLE_LINES)
    assert_uniform_on_box(read_points(path, 20_000).astype(np.float64) / factor)


def test_neither_torch_nor_trimesh_is_imported(tmp_path: Path) -> None:
    box().export(tmp_path / "a.glb")
    code = (
        "import sys; from pointmae_zoo.shapes.read import read_points; read_points(sys.argv[1]); "
        "assert 'trimesh' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.glb"], check=True, env={**os.environ})


@pytest.mark.parametrize("suffix", ["obj", "off", "stl", "ply", "pcd", "xyz", "gltf"])
def test_a_byte_order_mark_before_text_is_passed_over(tmp_path: Path, suffix: str) -> None:
    box = trimesh.creation.box(extents=SIZES)
    corners = [" ".join(map(str, corner)) for corner in box.vertices.tolist()]
    if suffix == "xyz":
        plain = "\n".join(corners).encode()
    elif suffix == "pcd":
        header = ["FIELDS x y z", "SIZE 4 4 4", "TYPE F F F", "POINTS 8", "DATA ascii"]
        plain = "\n".join([*header, *corners, ""]).encode()
    elif suffix == "gltf":
        files = trimesh.exchange.gltf.export_gltf(box.scene())
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        plain = files["model.gltf"]
    else:
        options = {"stl": {"file_type": "stl_ascii"}, "ply": {"file_type": "ply", "encoding": "ascii"}}
        exported = box.export(**options.get(suffix, {"file_type": suffix}))
        plain = exported if isinstance(exported, bytes) else exported.encode()
    without, marked = tmp_path / f"without.{suffix}", tmp_path / f"marked.{suffix}"
    without.write_bytes(plain)
    marked.write_bytes(b"\xef\xbb\xbf" + plain)
    np.testing.assert_array_equal(read_points(marked, 99), read_points(without, 99))
    marked.write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(MeshError):
        read_points(marked)


def test_a_binary_stl_may_begin_with_the_bytes_of_a_mark(tmp_path: Path) -> None:
    plain = trimesh.creation.box(extents=SIZES).export(file_type="stl")
    for name, start in (("a.stl", b""), ("b.stl", b"\xef\xbb\xbfsolid facet")):
        (tmp_path / name).write_bytes(start + plain[len(start) :])
    np.testing.assert_array_equal(read_points(tmp_path / "a.stl", 99), read_points(tmp_path / "b.stl", 99))


@pytest.mark.parametrize("seed", [-1, 1.5, True, "1", None])
def test_a_wrong_seed_is_named(tmp_path: Path, seed: Any) -> None:
    with pytest.raises(ValueError, match="seed: a whole number of 0 or more expected, got"):
        read_points(tmp_path / "a.stl", seed=seed)


def test_real_files_of_many_formats(testdata: Path) -> None:
    """No exception but MeshError, and nothing but finite points."""
    read, reasons = 0, []
    for file in find_files(testdata / "formats"):
        try:
            points = read_points(file, 256)
        except MeshError as error:
            reasons.append(str(error))
            continue
        assert points.dtype == np.float32 and np.isfinite(points).all() and np.ptp(points, axis=0).max() > 0
        read += 1
    assert read > 380 and all("\n" not in reason for reason in reasons)
    assert any("OutOfMemory.off: was cut off" in reason for reason in reasons)
    assert any("BoxTextured0.bin" in reason for reason in reasons)


@pytest.mark.parametrize("indexed", [False, True])
def test_triangle_strips_of_a_gltf(tmp_path: Path, indexed: bool) -> None:
    """A strip of four triangles over the rectangle from (0, 0) to (2, 1)."""
    corners = np.array([(x, y, 0) for x in (0, 1, 2) for y in (0, 1)], np.float32)
    order = np.arange(6, dtype=np.uint16) if not indexed else np.array([5, 4, 3, 2, 1, 0], np.uint16)
    data = corners.tobytes() + order.tobytes()
    primitive = {"attributes": {"POSITION": 0}, "mode": 5} | ({"indices": 1} if indexed else {})
    content = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "buffers": [
            {
                "uri": "data:application/octet-stream;base64," + base64.b64encode(data).decode(),
                "byteLength": len(data),
            }
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": 72},
            {"buffer": 0, "byteOffset": 72, "byteLength": 12},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 6, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 6, "type": "SCALAR"},
        ],
    }
    (tmp_path / "strip.gltf").write_text(json.dumps(content))
    points = read_points(tmp_path / "strip.gltf", 4000)
    assert np.abs(points[:, 2]).max() == 0
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=(4, 2), range=((0, 2), (0, 1)))
    assert counts.sum() == 4000 and counts.min() > 400  # 500 expected in each eighth
