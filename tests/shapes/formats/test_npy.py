"""NPY and NPZ, feature by feature: arrays written by numpy."""

import io
from typing import Any

import numpy as np
import pytest

from pointmae_zoo.shapes.read import MeshError
from samples.geometry import found

POINTS = np.array([(0.0, 1.25, -2.5), (10.5, 0.5, 3.0), (1.0, 22.5, 0.75)])


def npy(array: Any, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), version=version)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def fields(dtype: Any) -> np.ndarray:
    array = np.zeros(3, dtype)
    names = {name.lower(): name for name in array.dtype.names}
    for number, axis in enumerate("xyz"):
        array[names[axis]] = POINTS[:, number]
    return array


@pytest.mark.parametrize("kind", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "g"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_float_in_every_order(kind: str, order: Any, version: tuple[int, int]) -> None:
    np.testing.assert_array_equal(found("a.npy", npy(POINTS.astype(kind, order=order), version)), POINTS)


@pytest.mark.parametrize("kind", ["i1", ">i2", "u4", "i8", "u8"])
def test_integers(kind: str) -> None:
    whole = np.arange(12).reshape(4, 3)
    np.testing.assert_array_equal(found("a.npy", npy(whole.astype(kind))), whole)


@pytest.mark.parametrize(
    "dtype",
    [
        [("x", "f4"), ("y", "f4"), ("z", "f4")],
        [("label", "u1"), ("z", ">f8"), ("x", "f4"), ("normal", "f4", (3,)), ("y", "f2")],
        [("X", "f4"), ("Y", "f4"), ("Z", "f4"), ("gr\u00f6\u00dfe", "f4")],
    ],
)
def test_structured_arrays(dtype: Any) -> None:
    for version in ((2, 0), (3, 0)) if any(not name.isascii() for name, *_ in dtype) else ((1, 0),):
        if version == (2, 0) and any(not name.isascii() for name, *_ in dtype):
            continue
        np.testing.assert_array_equal(found("a.npy", npy(fields(dtype), version)), POINTS)
    np.testing.assert_array_equal(found("a.npz", npz(points=fields(dtype))), POINTS)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 5, 3)), r"an image of points: save `array.reshape\(-1, 3\)`"),
        (np.zeros((3, 99)), "transpose it"),
        (np.zeros(9), r"shape \(9,\)"),
        (np.zeros((9, 2)), r"shape \(9, 2\)"),
        (np.zeros((9, 65)), r"shape \(9, 65\)"),
        (np.zeros((9, 3), complex), "type complex128"),
        (np.zeros((9, 3), bool), "type bool"),
        (np.zeros((9, 3), "M8[s]"), "type datetime64"),
        (np.zeros((9, 3), "S4"), "type"),
        (np.zeros(9, [("x", "f4"), ("y", "f4")]), "has fields x, y"),
        (np.zeros((2, 2), [("x", "f4"), ("y", "f4"), ("z", "f4")]), r"shape \(2, 2\)"),
        (np.zeros(9, [("x", "f4", (2,)), ("y", "f4"), ("z", "f4")]), "expected numbers x, y, z"),
    ],
)
def test_refused_by_name(array: np.ndarray, reason: str) -> None:
    for name, data in (("a.npy", npy(array)), ("a.npz", npz(points=array))):
        with pytest.raises(MeshError, match=reason):
            found(name, data)


def test_pickles_and_masked_arrays_are_never_loaded() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{}], object), allow_pickle=True)
    with pytest.raises(MeshError, match="pickled Python objects"):
        found("a.npy", stream.getvalue())
    with pytest.raises(MeshError, match="not NPY data"):
        found("a.npy", np.ma.masked_array(POINTS, POINTS > 5).dumps())
