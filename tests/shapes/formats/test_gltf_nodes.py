"""Nodes and scenes of glTF: which are shown, and where they stand."""

import re
from pathlib import Path
from typing import Any

import pytest

from pointmae_zoo.shapes.formats.gltf import read_gltf
from pointmae_zoo.shapes.notes import collecting
from samples.gltf import QUARTER_TURN, refusal, shape, square, square_at


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
