"""glTF and GLB by the specification: files written by hand, with extents and areas known by hand."""

import base64
import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointmae_zoo.shapes.formats import assembly
from pointmae_zoo.shapes.formats.gltf import read_gltf
from pointmae_zoo.shapes.notes import collecting
from pointmae_zoo.shapes.read import MeshError, read_points

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
CORNERS = np.array([0, 1, 2, 0, 2, 3], np.uint16)
TYPES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
QUARTER_TURN = [0, 0, 0.5**0.5, 0.5**0.5]  # about z: x becomes y


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


# Scenes and nodes


@pytest.mark.parametrize(("scene", "x"), [({"scene": 1}, 5), ({"scene": 0}, 100), ({}, 100)])
def test_the_default_scene_is_read_or_else_the_first(tmp_path: Path, scene: dict, x: float) -> None:
    nodes = [{"mesh": 0, "translation": [100, 0, 0]}, {"mesh": 0, "translation": [5, 0, 0]}]
    made = square(nodes=nodes, scenes=[{"nodes": [0]}, {"nodes": [1]}], **scene)
    with collecting() as notes:
        assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(x)
    assert notes == [f"has 2 scenes: number {scene.get('scene', 0)} is read"]


def test_without_scenes_every_tree_of_nodes_is_read(tmp_path: Path) -> None:
    made = square(nodes=[{"translation": [3, 0, 0], "children": [1]}, {"mesh": 0}])
    del made.tree["scenes"]
    with collecting() as notes:
        assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(3)
    assert notes == ["has no scene: all its nodes are read"]


def test_without_nodes_every_mesh_is_read(tmp_path: Path) -> None:
    made = square()
    del made.tree["scenes"], made.tree["nodes"]
    with collecting() as notes:
        assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(0)
    assert notes == ["has no nodes: all its meshes are read"]


def test_a_scene_without_its_meshes_is_refused(tmp_path: Path) -> None:
    made = square(nodes=[{"mesh": 0}, {}], scenes=[{"nodes": [1]}])
    assert "shows none of its 1 meshes" in refusal(made.gltf(tmp_path / "a.gltf"))


def test_nodes_scale_then_turn_then_move_below_their_parents(tmp_path: Path) -> None:
    inner = {"mesh": 0, "scale": [2, 1, 1], "rotation": QUARTER_TURN, "translation": [10, 0, 0]}
    outer = {"matrix": [-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 7, 1], "children": [1]}  # mirrors x, z + 7
    made = square(nodes=[outer, inner])
    # scaled: x 0..2; turned: x -1..0, y 0..2; moved: x 9..10; mirrored: x -10..-9
    assert shape(made.gltf(tmp_path / "a.gltf")) == ([-10, 0, 7], [-9, 2, 7], 2)


def test_a_rotation_but_for_its_last_digits_is_taken_as_one(tmp_path: Path) -> None:
    """As the points that the weights were measured on were made."""
    for scale, expected in ((1.000004, 1.0), (1.0001, 1.0001)):
        path = square(nodes=[{"mesh": 0, "scale": [scale] * 3}]).gltf(tmp_path / "a.gltf")
        assert read_gltf(path.read_bytes(), path).triangles.max() == pytest.approx(expected, abs=1e-6)


def test_a_camera_and_a_light_beside_the_mesh_do_not_matter(tmp_path: Path) -> None:
    node = {"mesh": 0, "camera": 0, "extensions": {"KHR_lights_punctual": {"light": 0}}}
    camera = {"type": "perspective", "perspective": {"yfov": 1, "znear": 1, "aspectRatio": 1}}
    assert shape(square(nodes=[node], cameras=[camera]).gltf(tmp_path / "a.gltf")) == square_at(0)


def test_hidden_nodes_are_left_out_and_noted(tmp_path: Path) -> None:
    hidden = {"extensions": {"KHR_node_visibility": {"visible": False}}, "children": [2]}
    nodes = [{"children": [1, 3]}, hidden, {"mesh": 0, "translation": [9, 0, 0]}, {"mesh": 0}]
    made = square(nodes=nodes, extensionsRequired=["KHR_node_visibility"])
    with collecting() as notes:
        assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(0)
    assert notes == ["left out: 1 hidden node"]


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([{"children": [1]}, {"children": [0], "mesh": 0}], "placed twice|below itself"),
        ([{"children": [0], "mesh": 0}], "placed twice|below itself"),
        ([{"children": [2, 1]}, {"children": [2]}, {"mesh": 0}], "two parents"),
        ([{"mesh": 0, "matrix": [float("nan")] * 16}], "matrix of a node is not 16 numbers"),
        ([{"mesh": 0, "matrix": [1, 0, 0]}], "matrix of a node is not 16 numbers"),
        ([{"mesh": 0, "scale": ["1", 1, 1]}], "scale of a node is not 3 numbers"),
        ([{"mesh": 0, "rotation": [1e999, 0, 0, 1]}], "rotation of a node is not 4 numbers"),
        ([{"mesh": 0, "children": "11"}], "an index of nodes is '1'"),
        ([{"mesh": -1}], "number -1 of its meshes"),
        ([{"mesh": True}], "an index of meshes is 'True'"),
        ([{"mesh": 4}], "number 4 of its meshes, which has 1"),
        ([7], "number 0 of its nodes is no object"),
        ({"0": {"mesh": 0}}, "an index of nodes|wrong type"),
    ],
)
def test_nodes_that_make_no_tree_or_no_sense_are_refused(tmp_path: Path, nodes: Any, says: str) -> None:
    assert re.search(says, refusal(square(nodes=nodes).gltf(tmp_path / "a.gltf")))


def test_nodes_may_be_nested_as_deep_as_they_like(tmp_path: Path) -> None:
    nodes: list[dict] = [{"children": [i + 1], "translation": [0.125, 0, 0]} for i in range(4000)]
    assert shape(square(nodes=[*nodes, {"mesh": 0}]).gltf(tmp_path / "a.gltf")) == square_at(500)


# Instances, skins, morphs


def test_instances_are_all_read(tmp_path: Path) -> None:
    made = square(extensionsRequired=["EXT_mesh_gpu_instancing"])
    moves = np.array([[0, 0, 0], [10, 0, 0], [20, 0, 0]], np.float32)
    turns = np.array([[0, 0, 0, 127], [0, 0, 0, 127], [0, 0, 90, 90]], np.int8)
    sizes = np.array([[1, 1, 1], [3, 3, 1], [1, 1, 1]], np.float32)
    given = {"TRANSLATION": made.add(moves), "ROTATION": made.add(turns), "SCALE": made.add(sizes)}
    made.tree["accessors"][given["ROTATION"]]["normalized"] = True
    instancing = {"EXT_mesh_gpu_instancing": {"attributes": given}}
    made.tree["nodes"] = [{"mesh": 0, "translation": [0, 5, 0], "extensions": instancing}]
    # at 0 as it is, at 10 three times as large, at 20 turned to x 19..20
    assert shape(made.gltf(tmp_path / "a.gltf")) == ([0, 5, 0], [20, 8, 0], 11)


def test_instances_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "MOST_TRIANGLES", 100)
    made = square()
    given = {"TRANSLATION": made.add(np.zeros((51, 3), np.float32))}
    made.tree["nodes"] = [{"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": given}}}]
    assert "places 102 triangles" in refusal(made.gltf(tmp_path / "a.gltf"))


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


FIRST_ONLY = np.array([[1, 0, 0, 0]] * 4, np.float32)
TWO_JOINTS = np.array([[0, 1, 0, 0]] * 4, np.uint8)


def test_a_skin_is_posed_by_its_joints_and_not_by_its_node(tmp_path: Path) -> None:
    """Two corners at x = 0 follow the first joint; those at x = 1 the second, which was bound at x = 1."""
    weights = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]], np.float32)
    inverse = np.stack([np.eye(4)] * 2)
    inverse[1, 0, 3] = -1
    places = [{"translation": [0, 2, 0]}, {"translation": [4, 2, 0]}]
    made = skinned(TWO_JOINTS, weights, inverse, places)
    assert shape(made.gltf(tmp_path / "a.gltf")) == ([0, 2, 0], [4, 3, 0], 4)


def test_a_skin_blends_its_joints_by_weight(tmp_path: Path) -> None:
    """A quarter of (0, 0, 0) and three quarters of (8, 0, 0), whatever scale the weights are in."""
    weights = np.array([[1, 3, 0, 0]] * 4, np.float32)
    made = skinned(TWO_JOINTS, weights, None, [{}, {"translation": [8, 0, 0]}])
    assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(6)


def test_a_skin_has_as_many_joints_a_vertex_as_it_likes(tmp_path: Path) -> None:
    made = skinned(TWO_JOINTS, FIRST_ONLY, None, [{}, {"translation": [8, 0, 0]}])
    attributes = made.tree["meshes"][0]["primitives"][0]["attributes"]
    attributes["JOINTS_1"] = made.add(TWO_JOINTS[:, ::-1].copy()[:, [2, 0, 1, 3]])  # 1 stands first
    attributes["WEIGHTS_1"] = made.add(FIRST_ONLY)
    assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(4)


def test_a_joint_without_weight_need_not_exist(tmp_path: Path) -> None:
    weights = np.array([[0, 1, 0, 0]] * 4, np.float32)
    joints = np.array([[200, 1, 255, 99]] * 4, np.uint8)
    made = skinned(joints, weights, None, [{}, {"translation": [8, 0, 0]}])
    assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(8)


def test_joints_that_all_do_the_same_move_the_mesh_as_a_whole(tmp_path: Path) -> None:
    places = [{"translation": [3, 0, 0], "children": [2]}, {}]
    made = skinned(TWO_JOINTS, np.array([[1, 3, 0, 0]] * 4, np.float32), None, places)
    assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(3)


def test_a_vertex_that_no_joint_holds_follows_the_first(tmp_path: Path) -> None:
    weights = FIRST_ONLY.copy()
    weights[2] = 0
    made = skinned(TWO_JOINTS, weights, None, [{"translation": [2, 0, 0]}, {}])
    with collecting() as notes:
        assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(2)
    assert notes == ["1 vertices are held by no joint: the first one that they name is taken"]


@pytest.mark.parametrize(
    ("joints", "weights", "says"),
    [
        (TWO_JOINTS + 2, FIRST_ONLY, "names a joint that does not exist; there are 2"),
        (TWO_JOINTS, FIRST_ONLY * np.nan, "weight below 0, or none"),
        (TWO_JOINTS, -FIRST_ONLY, "weight below 0, or none"),
        (TWO_JOINTS[:2], FIRST_ONLY, "as many joints|dimension"),
    ],
)
def test_skins_that_cannot_be_right_are_refused(tmp_path: Path, joints: Any, weights: Any, says: str) -> None:
    made = skinned(joints, weights, None, [{}, {"translation": [8, 0, 0]}])
    assert re.search(says, refusal(made.gltf(tmp_path / "a.gltf")))


@pytest.mark.parametrize(
    ("mesh", "node", "z"),
    [({}, {}, 0), ({"weights": [0.5, 0]}, {}, 2), ({"weights": [1, 1]}, {"weights": [0, 2]}, 12)],
)
def test_morph_targets_count_by_the_weights_of_the_node_or_else_of_the_mesh(
    tmp_path: Path, mesh: dict, node: dict, z: float
) -> None:
    made = square()
    targets = [{"POSITION": made.add(np.array([[0, 0, up]] * 4, np.float32))} for up in (4, 6)]
    primitive = {"attributes": {"POSITION": 0}, "indices": 1, "targets": targets}
    made.tree.update(meshes=[{"primitives": [primitive], **mesh}], nodes=[{"mesh": 0, **node}])
    assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(0, 0, z)


def test_morph_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    made = square()
    made.tree["meshes"][0]["weights"] = [1.0]
    assert "1 weights for 0 morph targets" in refusal(made.gltf(tmp_path / "a.gltf"))


# Accessors


def sparse(made: Builder, rows: list[int], values: np.ndarray) -> dict:
    views = [made.add(np.array(rows, np.uint8)), made.add(values)]
    views = [made.tree["accessors"][number]["bufferView"] for number in views]
    where = {"bufferView": views[0], "componentType": 5121}
    return {"count": len(rows), "indices": where, "values": {"bufferView": views[1]}}


def test_sparse_rows_replace_those_of_the_accessor(tmp_path: Path) -> None:
    made = square()
    made.tree["accessors"][0]["sparse"] = sparse(made, [2, 3], np.array([[1, 5, 0], [0, 5, 0]], np.float32))
    assert shape(made.gltf(tmp_path / "a.gltf")) == ([0, 0, 0], [1, 5, 0], 5)


def test_sparse_rows_stand_among_zeros_without_a_buffer_view(tmp_path: Path) -> None:
    made = square()
    made.tree["accessors"][0]["sparse"] = sparse(made, [1, 2, 3], SQUARE[1:])
    del made.tree["accessors"][0]["bufferView"]
    assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(0)


@pytest.mark.parametrize("rows", [[3, 2], [2, 2], [3, 4]])
def test_sparse_rows_out_of_order_or_range_are_refused(tmp_path: Path, rows: list[int]) -> None:
    made = square()
    made.tree["accessors"][0]["sparse"] = sparse(made, rows, SQUARE[:2])
    assert "sparse indices are out of range or not in order" in refusal(made.gltf(tmp_path / "a.gltf"))


@pytest.mark.parametrize(
    ("dtype", "normalized", "stored", "meant"),
    [
        ("i1", True, 127, 1),
        ("u1", True, 51, 0.2),
        ("i2", True, 32767, 1),
        ("u2", True, 13107, 0.2),
        ("u2", False, 300, 300),
        ("i1", False, -100, -100),
    ],
)
def test_integer_positions(tmp_path: Path, dtype: str, normalized: bool, stored: int, meant: float) -> None:
    made = Builder((SQUARE * stored).astype(dtype), CORNERS, extensionsRequired=["KHR_mesh_quantization"])
    made.tree["accessors"][0]["normalized"] = normalized
    low, high, area = shape(made.gltf(tmp_path / "a.gltf"))
    assert (low[0], high[0]) == (min(0, meant), max(0, meant)) and area == pytest.approx(meant**2)


def test_the_lowest_normalized_integer_is_minus_one(tmp_path: Path) -> None:
    made = Builder((SQUARE * -128).astype("i1"), CORNERS)
    made.tree["accessors"][0]["normalized"] = True
    assert shape(made.gltf(tmp_path / "a.gltf")) == ([-1, -1, 0], [0, 0, 0], 1)


def test_interleaved_vertices(tmp_path: Path) -> None:
    both = np.concatenate((np.full((4, 3), 99, np.float32), SQUARE), axis=1)  # normals first
    made = Builder(both[:, :3].copy(), CORNERS)
    start = len(made.data) + (-len(made.data) % 4)
    made.data = made.data.ljust(start, b"\0") + both.tobytes()
    made.tree["bufferViews"].append({"buffer": 0, "byteOffset": start, "byteLength": 96, "byteStride": 24})
    made.tree["accessors"][0].update(bufferView=2, byteOffset=12)
    assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(0)


@pytest.mark.parametrize(
    ("number", "changes", "says"),
    [
        (0, {"count": 5}, "beyond its buffer view"),
        (0, {"count": 10**12}, "beyond its buffer view"),
        (0, {"count": 10**30}, "count is"),
        (0, {"count": -1}, "count is '-1'"),
        (0, {"count": 3.5}, "count is '3.5'"),
        (0, {"byteOffset": 4}, "beyond its buffer view"),
        (0, {"type": "VEC4"}, "is a VEC4, expected a VEC3"),
        (0, {"componentType": 5130}, "component type is '5130'"),
        (0, {"componentType": 5125, "normalized": True}, "cannot be normalized"),
        (0, {"bufferView": None}, "an index of bufferViews is 'None'"),
        (1, {"componentType": 5122}, "indices are of type 5122"),
        (1, {"count": 5}, "a list of triangles has 5 corners"),
    ],
)
def test_accessors_that_promise_what_is_not_there(
    tmp_path: Path, number: int, changes: dict, says: str
) -> None:
    made = square()
    made.tree["accessors"][number].update(changes)
    assert says in refusal(made.gltf(tmp_path / "a.gltf"))


def test_zeros_without_end_are_refused(tmp_path: Path) -> None:
    made = square()
    del made.tree["accessors"][0]["bufferView"]
    made.tree["accessors"][0]["count"] = 10**9
    assert "promises 1,000,000,000 values and has no data" in refusal(made.gltf(tmp_path / "a.gltf"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"byteLength": 10**6}, "buffer view reaches beyond its buffer"),
        ({"byteStride": 4}, "stride of 4 bytes is too short for 12"),
        ({"byteStride": 10**9}, "beyond its buffer view"),
        ({"buffer": 3}, "number 3 of its buffers"),
    ],
)
def test_views_that_promise_what_is_not_there(tmp_path: Path, changes: dict, says: str) -> None:
    made = square()
    made.tree["bufferViews"][0].update(changes)
    assert says in refusal(made.gltf(tmp_path / "a.gltf"))


# Primitives


def with_modes(*primitives: tuple[int, np.ndarray | None]) -> Builder:
    made = Builder(SQUARE)
    made.tree["meshes"] = [{"primitives": []}]
    for mode, corners in primitives:
        indices = {} if corners is None else {"indices": made.add(corners)}
        made.tree["meshes"][0]["primitives"].append({"attributes": {"POSITION": 0}, "mode": mode, **indices})
    return made


@pytest.mark.parametrize(
    ("mode", "corners"),
    [(4, CORNERS), (5, np.array([0, 1, 3, 2], "u1")), (6, np.array([0, 1, 2, 3], "u4")), (6, None)],
)
def test_lists_strips_and_fans(tmp_path: Path, mode: int, corners: np.ndarray | None) -> None:
    path = with_modes((mode, corners)).gltf(tmp_path / "a.gltf")
    assert shape(path) == square_at(0)
    a, b, c = read_gltf(path.read_bytes(), path).triangles.transpose(0, 2, 1)
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()  # every triangle faces the same side


def test_triangles_without_indices(tmp_path: Path) -> None:
    made = Builder(SQUARE[CORNERS], meshes=[{"primitives": [{"attributes": {"POSITION": 0}}]}])
    assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(0)


def test_points_are_read_where_there_are_no_triangles(tmp_path: Path) -> None:
    nodes = [{"mesh": 0, "translation": [2, 0, 0]}]
    made = with_modes((0, None), (1, None))
    made.tree["nodes"] = nodes
    assert sorted(map(tuple, read_points(made.gltf(tmp_path / "a.gltf")))) == sorted(
        map(tuple, SQUARE + [2, 0, 0])
    )
    made = with_modes((0, None), (4, CORNERS[:3]))
    assert shape(made.gltf(tmp_path / "a.gltf"))[2] == 0.5


@pytest.mark.parametrize("mode", [1, 2, 3])
def test_lines_are_no_surface(tmp_path: Path, mode: int) -> None:
    assert "lines do not count" in refusal(with_modes((mode, None)).gltf(tmp_path / "a.gltf"))


@pytest.mark.parametrize("mode", [7, -1, "4", True, None])
def test_unknown_modes_are_refused(tmp_path: Path, mode: Any) -> None:
    assert "mode" in refusal(with_modes((mode, CORNERS)).gltf(tmp_path / "a.gltf"))


def test_a_primitive_without_positions_is_left_out_and_noted(tmp_path: Path) -> None:
    made = square()
    made.tree["meshes"][0]["primitives"].append({"attributes": {}, "indices": 1})
    with collecting() as notes:
        assert shape(made.gltf(tmp_path / "a.gltf")) == square_at(0)
    assert notes == ["left out: a primitive without positions"]


def test_primitives_that_share_many_vertices(tmp_path: Path) -> None:
    """Each takes its own few of them."""
    grid = np.array([(x, y, 0) for y in range(40) for x in range(40)], np.float32)
    made = Builder(grid)
    made.tree["meshes"] = [{"primitives": []}]
    for x in range(39):
        corners = np.array([x, x + 1, x + 41, x, x + 41, x + 40], np.uint16)
        primitive = {"attributes": {"POSITION": 0}, "indices": made.add(corners)}
        made.tree["meshes"][0]["primitives"].append(primitive)
    assert shape(made.gltf(tmp_path / "a.gltf")) == ([0, 0, 0], [39, 1, 0], 39)


# Buffers


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


# GLB


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


# Extensions


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


def test_the_points_of_ordinary_files_stay_the_same(tmp_path: Path) -> None:
    """As the first reader, trimesh's, gave them: the weights' published numbers rest on such points."""
    made = square()
    turned = [0.18257419, 0.36514837, 0.54772256, 0.73029674]  # a rotation in eight digits
    nodes: list[dict] = [
        {"children": [1, 2, 3]},
        {"mesh": 0, "translation": [3, 0, 1]},
        {"mesh": 0, "rotation": turned, "children": [4]},
        {"mesh": 0, "scale": [2, 0.5, 1]},
        {"mesh": 0, "translation": [0, 0, 2], "rotation": [0, 0.6, 0, 0.8]},
    ]
    made.tree["nodes"] = nodes
    path = made.glb(tmp_path / "a.glb")
    expected = [
        [1.1527386, 0.0460343, 0.0],
        [0.4061717, 0.3290619, 0.0],
        [3.7881799, 0.5789790, 1.0],
        [0.9901600, 0.3664929, 0.8408505],
        [1.0291516, 0.0292464, 0.0],
    ]
    np.testing.assert_allclose(read_points(path, 5, seed=3), expected, atol=1e-6)


def test_a_second_chunk_of_another_kind_is_no_buffer(tmp_path: Path) -> None:
    made = square().glb(tmp_path / "a.glb").read_bytes()
    (tmp_path / "a.glb").write_bytes(made.replace(b"BIN\0", b"XYZ\0"))
    assert "buffer" in refusal(tmp_path / "a.glb")
