"""Arrays of glTF: sparse, interleaved, normalised, and promises that the data do not keep."""

from pathlib import Path

import numpy as np
import pytest

from samples.gltf import CORNERS, SQUARE, Builder, refusal, shape, sparse, square, square_at


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
