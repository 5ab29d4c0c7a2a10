"""Meshes of glTF and GLB: instances, skins, morphs, primitives, with extents and areas known by hand."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointmae_zoo.shapes.formats import assembly
from pointmae_zoo.shapes.formats.gltf import read_gltf
from pointmae_zoo.shapes.notes import collecting
from pointmae_zoo.shapes.read import read_points
from samples.gltf import CORNERS, SQUARE, TWO_JOINTS, Builder, refusal, shape, skinned, square, square_at


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


FIRST_ONLY = np.array([[1, 0, 0, 0]] * 4, np.float32)


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
