"""PLY, feature by feature: files written by hand, truth by hand."""

import struct

import numpy as np
import pytest

from pointmae_zoo.shapes.read import MeshError
from samples.geometry import SQUARE, area, found, found_and_noted, is_square

HALVES = [(0, 1, 2), (0, 2, 3)]
XYZ = ["element vertex 4", "property float x", "property float y", "property float z"]
FACES = ["element face 2", "property list uchar int vertex_indices"]
VERTEX_TEXT = "".join("{:g} {:g} {:g}\n".format(*corner) for corner in SQUARE)
FACE_TEXT = "".join("3 {:d} {:d} {:d}\n".format(*half) for half in HALVES)
VERTEX_BYTES = b"".join(struct.pack("<3f", *corner) for corner in SQUARE)
FACE_BYTES = b"".join(struct.pack("<B3i", 3, *half) for half in HALVES)


def head(*lines: str, kind: str = "ascii") -> str:
    return "\n".join(["ply", f"format {kind} 1.0", *lines, "end_header"]) + "\n"


PLAIN = head(*XYZ, *FACES) + VERTEX_TEXT + FACE_TEXT
BINARY = head(*XYZ, *FACES, kind="binary_little_endian")
COLOURS = [f"property uchar {name}" for name in ("red", "green", "blue")]
SQUARES = {
    "plain": PLAIN,
    "faces first": head(*FACES, *XYZ) + FACE_TEXT + VERTEX_TEXT,
    "faces first, binary": head(*FACES, *XYZ, kind="binary_little_endian").encode()
    + FACE_BYTES
    + VERTEX_BYTES,
    "binary": BINARY.encode() + VERTEX_BYTES + FACE_BYTES,
    "blanks behind end_header": BINARY[:-1].encode() + b" \t\n" + VERTEX_BYTES + FACE_BYTES,
    "header with carriage returns and line feeds": BINARY.replace("\n", "\r\n").encode()
    + VERTEX_BYTES
    + FACE_BYTES,
    "header with carriage returns": BINARY.replace("\n", "\r").encode() + VERTEX_BYTES + FACE_BYTES,
    "carriage returns alone": PLAIN.replace("\n", "\r"),
    "tabs, indents and trailing blanks": PLAIN.replace(" ", "\t").replace("\n", "  \n  "),
    "UTF-16": PLAIN.encode("utf-16"),
    "a mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "comments": head("comment element vertex 9", "obj_info end_header 7", *XYZ, "comment x", *FACES)
    + VERTEX_TEXT
    + FACE_TEXT,
    "other elements": head(
        "element camera 1",
        "property float a",
        "property list uchar int b",
        *XYZ,
        "element edge 2",
        "property int vertex1",
        "property int vertex2",
        *FACES,
        "element material 1",
        "property float m",
    )
    + "1 2 8 9\n"
    + VERTEX_TEXT
    + "0 1\n2 3\n"
    + FACE_TEXT
    + "7\n",
    "other elements, binary": head(
        "element camera 2",
        "property float a",
        "property list ushort double b",
        *XYZ,
        *FACES,
        kind="binary_little_endian",
    ).encode()
    + struct.pack("<fH2dfH", 1, 2, 3, 4, 5, 0)
    + VERTEX_BYTES
    + FACE_BYTES,
    "properties around the list": head(
        *XYZ, "element face 2", "property uchar m", "property list int uint vertex_index", "property float q"
    )
    + VERTEX_TEXT
    + "7 3 0 1 2 .5\n7 3 0 2 3 .5\n",
    "two lists": head(
        *XYZ, "element face 2", "property list uchar float texcoord", "property list uchar int vertex_indices"
    )
    + VERTEX_TEXT
    + "6 0 0 1 0 1 1 3 0 1 2\n4 0 0 1 0 3 0 2 3\n",
    "lists of a vertex": head("element vertex 4", "property list uchar int cameras", *XYZ[1:], *FACES)
    + "".join(f"{n}{' 7' * n} %g %g %g\n" % corner for n, corner in enumerate(SQUARE))
    + FACE_TEXT,
    "another order of axes": head(
        "element vertex 4",
        "property float z",
        "property uchar red",
        "property double x",
        "property short y",
        *FACES,
    )
    + "".join(f"{z} 9 {x} {y}\n" for x, y, z in SQUARE)
    + FACE_TEXT,
    "types by their sizes": head(
        "element vertex 4",
        "property float64 x",
        "property int8 y",
        "property uint16 z",
        "element face 2",
        "property list uint8 uint32 vertex_indices",
        kind="binary_big_endian",
    ).encode()
    + b"".join(struct.pack(">dbH", *corner) for corner in SQUARE)
    + b"".join(struct.pack(">B3I", 3, *half) for half in HALVES),
    "upper-case axes": PLAIN.replace(" x\n", " X\n").replace(" y\n", " Y\n").replace(" z\n", " Z\n"),
    "rows hold more": head(*XYZ, *COLOURS, *FACES) + VERTEX_TEXT.replace("\n", " 1 2 3 255\n") + FACE_TEXT,
    "one line": head(*XYZ, *FACES) + (VERTEX_TEXT + FACE_TEXT).replace("\n", " "),
    "one line, polygons that differ": head(*XYZ, "element face 3", FACES[1])
    + (VERTEX_TEXT + "3 0 1 2\n2 0 1\n3 0 2 3\n").replace("\n", " "),
    "strips": head(*XYZ, "element tristrips 1", "property list int int vertex_indices")
    + VERTEX_TEXT
    + "4 1 2 0 3\n",
    "strips with breaks": head(*XYZ, "element tristrips 1", "property list int int vertex_indices")
    + VERTEX_TEXT
    + "8 0 1 2 -1 0 2 3 -1\n",
    "a quad": head(*XYZ, "element face 1", FACES[1]) + VERTEX_TEXT + "4 0 1 2 3\n",
    "decimal commas": PLAIN.replace("1 0 0\n", "1,0 0,0 0\n"),
    "exponents of Fortran": PLAIN.replace("1 0 0\n", "0.1D+01 0d0 0\n"),
    "an unused vertex that is none": head("element vertex 5", *XYZ[1:], *FACES)
    + VERTEX_TEXT
    + "nan inf 1e300\n"
    + FACE_TEXT,
}


@pytest.mark.parametrize("case", SQUARES)
def test_square(case: str) -> None:
    assert is_square(found("a.ply", SQUARES[case]))


def test_strips_turn_every_second_triangle() -> None:
    text = (
        head(*XYZ, "element tristrips 1", "property list int int vertex_indices")
        + VERTEX_TEXT
        + "4 1 2 0 3\n"
    )
    triangles = found("a.ply", text)
    assert (np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])[:, 2] > 0).all()


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian"])
def test_polygons_that_differ_and_one_that_is_not_convex(kind: str) -> None:
    """An L of area 3 whose fan would cover the missing quarter, and a triangle of area 2 beside it."""
    places = [(2, 0), (2, 1), (1, 1), (1, 2), (0, 2), (0, 0), (4, 0), (4, 2)]
    lines = [
        "element vertex 8",
        "property float x",
        "property float y",
        "property float z",
        "element face 2",
        FACES[1],
    ]
    rows = [(6, 0, 1, 2, 3, 4, 5), (3, 0, 6, 7)]
    if kind == "ascii":
        data = "".join(f"{x} {y} 0\n" for x, y in places) + "".join(
            " ".join(map(str, row)) + "\n" for row in rows
        )
        content: str | bytes = head(*lines) + data
    else:
        content = head(*lines, kind=kind).encode() + b"".join(struct.pack("<3f", x, y, 0) for x, y in places)
        content += b"".join(struct.pack(f"<B{len(row) - 1}i", *row) for row in rows)
    assert area(found("a.ply", content)) == 5.0


def test_points_alone() -> None:
    np.testing.assert_array_equal(found("a.ply", head(*XYZ) + VERTEX_TEXT), SQUARE)
    empty = head(*XYZ, "element face 0", FACES[1]) + VERTEX_TEXT
    np.testing.assert_array_equal(found("a.ply", empty), SQUARE)
    grid = (
        head(*XYZ, "element range_grid 6", "property list uchar int vertex_indices")
        + VERTEX_TEXT
        + "1 0\n0\n1 1\n1 2\n0\n1 3\n"
    )
    np.testing.assert_array_equal(found("a.ply", grid), SQUARE)


def test_a_gaussian_splat_file_is_its_points() -> None:
    table = np.random.default_rng(0).random((50, 14)).astype("<f4")
    names = [
        "x",
        "y",
        "z",
        "nx",
        "ny",
        "nz",
        "f_dc_0",
        "f_dc_1",
        "f_dc_2",
        "opacity",
        "scale_0",
        "rot_0",
        "rot_1",
        "rot_2",
    ]
    lines = ["element vertex 50", *[f"property float {name}" for name in names]]
    points = found("a.ply", head(*lines, kind="binary_little_endian").encode() + table.tobytes())
    np.testing.assert_array_equal(points, table[:, :3])


def test_faces_of_two_corners_are_left_out_with_a_remark() -> None:
    text = head(*XYZ, "element face 3", FACES[1]) + VERTEX_TEXT + FACE_TEXT + "2 0 1\n"
    triangles, notes = found_and_noted("a.ply", text)
    assert is_square(triangles) and "1 faces of fewer than three corners" in notes


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (PLAIN[:-8], "fewer numbers than promised|cut off"),
        (BINARY.encode() + VERTEX_BYTES + FACE_BYTES[:-1], "cut off"),
        (
            head("element vertex 99999999999", *XYZ[1:], kind="binary_little_endian"),
            "promises 99,999,999,999 x vertex",
        ),
        (
            head(*XYZ, "element face 2", FACES[1], kind="binary_little_endian").encode()
            + VERTEX_BYTES
            + b"\xff"
            + bytes(9),
            "cut off among its 2 rows of `face`",
        ),
        (
            head(
                *XYZ, "element face 1", "property list int int vertex_indices", kind="binary_little_endian"
            ).encode()
            + VERTEX_BYTES
            + struct.pack("<iii", -1, 0, 0),
            "cut off",
        ),
        (PLAIN.replace("3 0 2 3", "3 0 2 4"), "names vertex 4, but only 0 to 3 exist"),
        (PLAIN.replace("3 0 2 3", "3 0 2 -1"), "names vertex -1"),
        (PLAIN.replace("3 0 2 3", "3 0 2 1.5"), "no whole numbers"),
        (PLAIN.replace("3 0 2 3", "2.5 0 2 3"), "fewer numbers|cut off"),
        (PLAIN.replace("1 0 0", "1 x 0"), "line 11 has 'x' where a number belongs"),
        (PLAIN.replace("1 0 0", "1_0 0 0"), "underscores"),
        (PLAIN.replace("property float y", "property float x"), "two properties `x`"),
        (PLAIN.replace("element face", "element vertex"), "two elements `vertex`"),
        (
            PLAIN.replace("vertex_indices", "a\nproperty list uchar int b")
            .replace("0 1 2", "0 1 2 0")
            .replace("0 2 3", "0 2 3 0"),
            "without a `vertex_indices` list",
        ),
        (PLAIN.replace("property float z", "property float w"), "without x, y and z"),
        (PLAIN.replace("list uchar", "list float"), "makes no sense"),
        (PLAIN.replace("ascii", "ascii_little"), "format 'ascii_little'"),
        (head("comment end_header", *XYZ)[:-11], "no `end_header`"),
    ],
)
def test_refused_by_name(data: str | bytes, reason: str) -> None:
    with pytest.raises(MeshError, match=reason):
        found("a.ply", data)


def test_an_element_of_no_rows_stands_before_the_others() -> None:
    lines = ["element material 0", "property int red", "element vertex 3"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += ["element face 1", "property list uchar int vertex_indices"]
    corners = found("a.ply", head(*lines) + "0 0 0\n2 0 0\n0 2 0\n3 0 1 2\n")
    assert area(corners) == 2.0
