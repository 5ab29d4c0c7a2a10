"""OFF, feature by feature: files written by hand, truth by hand."""

import numpy as np
import pytest

from pointmae_zoo.shapes.read import MeshError
from samples.geometry import SQUARE, area, found, found_and_noted, is_square

V = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"
F = "3 0 1 2\n3 0 2 3\n"
PLAIN = "OFF\n4 2 5\n" + V + F
SQUARES = {
    "plain": PLAIN,
    "counts beside the keyword": "OFF 4 2 5\n" + V + F,
    "counts glued to the keyword": "OFF4 2 5\n" + V + F,
    "no keyword": "4 2 5\n" + V + F,
    "no edges": "OFF\n4 2\n" + V + F,
    "lower case": "off\n4 2 0\n" + V + F,
    "blanks and empty lines": "\n  OFF \n\n 4  2\t0 \n\n" + V.replace("\n", "  \n\n") + F.replace(" ", "\t"),
    "comments": "# a\nOFF # b\n# c\n4 2 0 # d\n" + V.replace("\n", " # e\n# f\n") + F.replace("\n", "# g\n"),
    "carriage returns alone": PLAIN.replace("\n", "\r"),
    "UTF-16": PLAIN.encode("utf-16"),
    "a mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "colours": "COFF\n4 2 0\n" + V.replace("\n", " 9 9 9 255\n") + F,
    "colours of three numbers": "COFF\n4 2 0\n" + V.replace("\n", " .5 .5 .5\n") + F,
    "normals": "NOFF\n4 2 0\n" + V.replace("\n", " 0 0 1\n") + F,
    "colours and normals": "CNOFF\n4 2 0\n" + V.replace("\n", " 0 0 1 9 9 9 255\n") + F,
    "texture": "STOFF\n4 2 0\n" + V.replace("\n", " .5 .5\n") + F,
    "everything": "STCNOFF\n4 2 0\n" + V.replace("\n", " 0 0 1 9 9 9 255 .5 .5\n") + F,
    "colours without their letter": "OFF\n4 2 0\n" + V.replace("\n", " 255 0 0\n") + F,
    "colours of faces": "OFF\n4 2 0\n" + V + "3 0 1 2 255 0 0\n3 0 2 3 0.5 0.5 0.5 1\n",
    "colours of some": "OFF\n4 2 0\n" + V + "3 0 1 2\n3 0 2 3 7\n",
    "a quad": "OFF\n4 1 0\n" + V + "4 0 1 2 3\n",
    "something behind": PLAIN + "2 0 1\nand more\n",
    "one line": PLAIN.replace("\n", " "),
    "two vertices on a line": "OFF\n4 2 0\n0 0 0 1 0 0\n1 1 0 0 1 0\n" + F,
    "one number on a line": PLAIN.replace(" ", "\n"),
    "normals, one line": ("NOFF\n4 2 0\n" + V.replace("\n", " 0 0 1\n") + F).replace("\n", " "),
    "any dimension, here three": "nOFF\n3\n4 2 0\n" + V + F,
    "exponents": "OFF\n4 2 0\n0.0e+00 0 0\n1E0 0 0\n1.0D+00 1d0 0\n0 1 0\n" + F,
    "decimal commas": "OFF\n4 2 0\n0,0 0 0\n1,0 0 0\n1 1 0\n0 1 0\n" + F,
    "a vertex that is none, unused": "OFF\n5 2 0\n" + V + "nan 1e300 inf\n" + F,
}


@pytest.mark.parametrize("case", SQUARES)
def test_square(case: str) -> None:
    assert is_square(found("a.off", SQUARES[case]))


def test_no_faces_are_points() -> None:
    np.testing.assert_array_equal(found("a.off", "OFF\n4 0 0\n" + V), SQUARE)


def test_a_polygon_that_is_not_convex() -> None:
    text = "OFF\n6 1 0\n2 0 0\n2 1 0\n1 1 0\n1 2 0\n0 2 0\n0 0 0\n6 0 1 2 3 4 5\n"
    assert area(found("a.off", text)) == 3.0


def test_faces_of_two_corners_are_left_out_with_a_remark() -> None:
    triangles, notes = found_and_noted("a.off", "OFF\n4 4 0\n" + V + F + "2 0 1\n1 0\n")
    assert is_square(triangles) and "2 faces of fewer than three corners" in notes


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"OFF BINARY\n\0\0\0\x04", "binary OFF"),
        ("4OFF\n4 2 0\n" + V, "four-dimensional"),
        ("nOFF\n5\n4 2 0\n" + V, "OFF of 5 dimensions"),
        ("OFF\n4 3 0\n" + V + F, "cut off: its header promises 4 vertices and 3 faces"),
        ("OFF\n99999999999 2 0\n" + V + F, "cut off"),
        ("OFF\n0 0 0\n", "no vertices"),
        ("OFF\n4 2 0\n" + V + "3 0 1 2\n3 0 2 4\n", "names vertex 4, but only 0 to 3"),
        ("OFF\n4 2 0\n" + V + "3 0 1 2\n3 0 2 1.5\n", "neither a vertex nor a face: '3 0 2 1.5'"),
        ("OFF\n4 2 0\n" + V + "3 0 1 2\n4 0 2 3\n", "neither a vertex nor a face: '4 0 2 3'"),
        ("OFF\n4 2 0\n" + V.replace("1 1 0", "1 x 0") + F, "line 5 has 'x' where a number belongs"),
        ("OFF\n4 2 0\n" + V.replace("1 1 0", "1.2.3 1 0") + F, "'1.2.3' where a number belongs"),
        ("OFF\n4 2 0\n" + V.replace("1 1 0", "1,234 1 0") + F, "thousands or decimals"),
        ("LIST\n{ OFF }\n", "not an OFF file"),
    ],
)
def test_refused_by_name(data: str | bytes, reason: str) -> None:
    with pytest.raises(MeshError, match=reason):
        found("a.off", data)


def test_a_wrong_face_is_told_with_its_line() -> None:
    with pytest.raises(MeshError, match="line 8 has 'two'"):
        found("a.off", "OFF\n4 2 5\n" + V + "3 0 1 2\n3 0 two 3\n")


def test_a_second_file_behind_the_first_is_remarked() -> None:
    triangles, notes = found_and_noted("a.off", PLAIN + PLAIN.replace("0 0 0", "5 0 0"))
    assert is_square(triangles) and "another OFF file" in notes
