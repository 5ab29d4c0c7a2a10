"""PCD, feature by feature: files written by hand, truth by hand."""

import struct

import numpy as np
import pytest

from pointmae_zoo.shapes.read import MeshError
from samples.geometry import found, found_and_noted

POINTS = [(0.0, 1.25, -2.5), (10.5, 0.5, 3.0), (1.0, 22.5, 0.75)]
TEXT = "".join("{:g} {:g} {:g}\n".format(*point) for point in POINTS)


def head(data: str, *, fields: str = "x y z", size: str = "4 4 4", kind: str = "F F F", count: str = "1 1 1",
         points: int = 3, version: str = "0.7", extra: str = "") -> str:  # fmt: skip
    return (
        f"# .PCD v{version} - Point Cloud Data file format\nVERSION {version}\nFIELDS {fields}\nSIZE "
        f"{size}\nTYPE {kind}\n"
        f"COUNT {count}\nWIDTH {points}\nHEIGHT 1\n{extra}POINTS {points}\nDATA {data}\n"
    )


def lzf(data: bytes) -> bytes:
    """Literal runs only, which every decoder has to take."""
    return b"".join(
        bytes([len(data[at : at + 32]) - 1]) + data[at : at + 32] for at in range(0, len(data), 32)
    )


def packed(content: bytes) -> bytes:
    squeezed = lzf(content)
    return struct.pack("<II", len(squeezed), len(content)) + squeezed


MIXED = {
    "fields": "intensity z _ x normal y",
    "size": "1 8 1 4 4 4",
    "kind": "U F U F F F",
    "count": "1 1 3 1 3 1",
}
MIXED_ROWS = [struct.pack("<BdBBBf3ff", 9, z, 1, 2, 3, x, 0, 0, 1, y) for x, y, z in POINTS]
MIXED_COLUMNS = b"".join(
    [
        bytes([9] * 3),
        struct.pack("<3d", *[p[2] for p in POINTS]),
        bytes(9),
        struct.pack("<3f", *[p[0] for p in POINTS]),
        bytes(36),
        struct.pack("<3f", *[p[1] for p in POINTS]),
    ]
)
FILES = {
    "text": head("ascii") + TEXT,
    "text, other fields": head("ascii", **MIXED)
    + "".join(f"9 {z} 1 2 3 {x} 0 0 1 {y}\n" for x, y, z in POINTS),
    "text, blanks and empty lines": head("ascii").replace(" ", "  \t")
    + TEXT.replace(" ", "\t ").replace("\n", " \n\n"),
    "text, carriage returns and line feeds": (head("ascii") + TEXT).replace("\n", "\r\n"),
    "text, carriage returns alone": (head("ascii") + TEXT).replace("\n", "\r"),
    "text, UTF-16": (head("ascii") + TEXT).encode("utf-16"),
    "text, a mark": b"\xef\xbb\xbf" + (head("ascii") + TEXT).encode(),
    "text, decimal commas": head("ascii") + "0 1,25 -2,5\n10,5 0,5 3,0\n1 22,5 0,75\n",
    "text, more rows": head("ascii") + TEXT + "9 9 9\n",
    "binary": head("binary").encode() + b"".join(struct.pack("<3f", *point) for point in POINTS),
    "binary, other fields": head("binary", **MIXED).encode() + b"".join(MIXED_ROWS),
    "binary, integers": head("binary", size="2 4 8", kind="F F F").replace("SIZE 2", "SIZE 8").encode()
    + b"".join(struct.pack("<dfd", *point) for point in POINTS),
    "compressed": head("binary_compressed", **MIXED).encode() + packed(MIXED_COLUMNS),
    "version .7": (head("ascii", version=".7") + TEXT).lower().replace("fields", "FIELDS"),
    "version .5, without sizes": "VERSION .5\nCOLUMNS x y z\nWIDTH 3\nHEIGHT 1\nDATA ascii\n" + TEXT,
    "no points line": head("ascii").replace("POINTS 3\n", "") + TEXT,
    "no count line": head("ascii").replace("COUNT 1 1 1\n", "") + TEXT,
    "a viewpoint": head("ascii", extra="VIEWPOINT 5 5 5 0 1 0 0\n")
    + TEXT,  # where the sensor stood: nothing moves
}


@pytest.mark.parametrize("case", FILES)
def test_points(case: str) -> None:
    np.testing.assert_array_equal(found("a.pcd", FILES[case]), POINTS)


def test_an_organised_cloud_leaves_out_what_was_not_seen_and_says_so() -> None:
    text = (
        head("ascii", points=6).replace("WIDTH 6\nHEIGHT 1", "WIDTH 3\nHEIGHT 2")
        + TEXT
        + "nan nan nan\n" * 2
        + "inf 0 0\n"
    )
    points, notes = found_and_noted("a.pcd", text)
    np.testing.assert_array_equal(points, POINTS)
    assert "3 of 6 points are NaN or infinite" in notes


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (head("ascii", points=4) + TEXT, "cut off: its header promises 4 points"),
        (head("binary", points=3).encode() + bytes(35), "cut off"),
        (head("binary", count="1 1 1000000000").encode() + bytes(36), "cut off"),
        (head("binary_compressed").encode() + packed(bytes(35)), "cut off"),
        (head("binary_compressed").encode() + packed(bytes(36))[:-2], "cut off"),
        (head("zip"), "DATA zip"),
        (head("ascii", fields="a b c") + TEXT, "no field x, y, z"),
        (head("ascii", count="1 1 2") + TEXT, "cut off"),
        (head("ascii") + "0 0 0 1\n1 1\n2 2 2\n", "4 numbers in row 1"),
        (head("ascii") + TEXT.replace("22.5", "x"), "'x' where a number belongs"),
        (head("binary", size="3 4 4").encode() + bytes(36), "makes no sense"),
        (head("binary", kind="F F X").encode() + bytes(36), "makes no sense"),
        (head("ascii", points=2) + "nan 0 0\n0 nan 0\n", "nothing was seen"),
    ],
)
def test_refused_by_name(data: str | bytes, reason: str) -> None:
    with pytest.raises(MeshError, match=reason):
        found("a.pcd", data)
