"""OBJ, feature by feature: files written by hand, truth by hand."""

import math

import numpy as np
import pytest

from pointmae_zoo.shapes.read import MeshError
from samples.geometry import area, found, found_and_noted, is_square


def corners(height: float, keyword: str = "v") -> str:
    return "".join(f"{keyword} {x} {y} {height}\n" for x, y in ((0, 0), (1, 0), (1, 1), (0, 1)))


TWO = corners(0) + corners(5)
FACES = "f 1 2 3 4\nf 5 6 7 8\n"
SQUARES = {
    "plain": TWO + FACES,
    "faces first": FACES + TWO,
    "relative": corners(0) + "f -4 -3 -2 -1\n" + corners(5) + "f -4 -3 -2 -1\n",
    "relative and continued": corners(0) + "f -4 -3 \\\n -2 -1\n" + corners(5) + "f -4 \\\n-3 \\\n-2 -1\n",
    "relative with groups between": corners(0)
    + "g a\nf -4 -3 -2 -1\n"
    + corners(5)
    + "usemtl m\ng b\nf -4 -3 -2 -1\n",
    "relative and absolute": TWO + "f 1 -7 3 -5\nf 5 6 7 8\n",
    "continued vertex": "v 0 \\\n 0 0\n" + TWO[len("v 0 0 0\n") :] + FACES,
    "continued with trailing blanks": TWO + "f 1 2 \\  \n3 4\nf 5 6 7 8\n",
    "a comment that ends with a backslash": "# C:\\parts\\\n" + TWO + "f 1 2 3 4 # here \\\nf 5 6 7 8\n",
    "tabs and indents": (TWO + FACES).replace(" ", "\t").replace("v", "  v").replace("f", "\tf"),
    "carriage returns and line feeds": (TWO + FACES).replace("\n", "\r\n"),
    "carriage returns alone": (TWO + FACES).replace("\n", "\r"),
    "no last line end": (TWO + FACES).rstrip(),
    "trailing blanks": (TWO + FACES).replace("\n", " \t \n"),
    "trailing comments": (TWO + FACES).replace("\n", " # -1 7\n"),
    "comments glued to numbers": (TWO + FACES).replace("\n", "#x\n"),
    "upper case": (TWO + FACES).upper(),
    "colours": TWO.replace("\n", " 0.9 0.1 0.2\n") + FACES,
    "colours on some": TWO.replace("0 0\n", "0 0 0.9 0.1 0.2\n") + FACES,
    "a weight": TWO.replace("\n", " 2.0\n") + FACES,
    "a weight and colours": TWO.replace("\n", " 1 0.9 0.1 0.2\n") + FACES,
    "texture": TWO + "vt 0 0\n" + "f 1/1 2/1 3/1 4/1\nf 5/1 6/1 7/1 8/1\n",
    "normals": TWO + "vn 0 0 1\n" + "f 1//1 2//1 3//1 4//1\nf 5//1 6//1 7//1 8//1\n",
    "all three, and mixed": TWO + "vt 0 0\nvn 0 0 1\n" + "f 1/1/1 2//1 3/1 4\nf 5/ 6/-1/-1 7//-1 8//\n",
    "groups, materials, smoothing": "mtllib a b.mtl\no f v\n"
    + TWO
    + "s 1\ng v f\nusemtl f 1 2\nf 1 2 3 4\ns off\n"
    + FACES[10:],
    "triangles": TWO + "f 1 2 3\nf 1 3 4\nf 5 6 7\nf 5 7 8\n",
    "lines and points beside": TWO + "l 1 2 3\np 1 2\n" + FACES,
    "a corner twice": TWO + "f 1 2 3 4\nf 5 6 6 7 8\nf 1 1 1\n",
    "faces of two corners": TWO + "f 1 2\n" + FACES + "f 3\n",
    "Latin-1 names": b"# St\xfcck\no Geh\xe4use\n" + (TWO + FACES).encode(),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + (TWO + FACES).encode(),
    "UTF-16": (TWO + FACES).encode("utf-16"),
    "UTF-16 without a mark": (TWO + FACES).encode("utf-16-be"),
    "padded with zeros": (TWO + FACES).encode() + b"\0" * 300,
    "exponents": TWO.replace("5\n", "5.0e+00\n").replace("v 1", "v 1E0") + FACES,
    "exponents of Fortran": TWO.replace("5\n", "0.5D+01\n") + FACES,
    "decimal commas": TWO.replace("5\n", "5,0\n") + FACES,
    "plus signs, bare points": TWO.replace("v 1", "v +1.").replace("5\n", "5.\n") + FACES,
}


@pytest.mark.parametrize("case", SQUARES)
def test_two_squares(case: str) -> None:
    triangles = found("a.obj", SQUARES[case])
    triangles = triangles[[area(triangle[None]) > 0 for triangle in triangles]]
    assert is_square(triangles, (0.0, 5.0))


def test_polygons_that_are_not_convex_have_nothing_outside() -> None:
    """An L of area 3 in a square of 4, begun at a corner whose fan would cover the missing quarter."""
    places = [(2, 0), (2, 1), (1, 1), (1, 2), (0, 2), (0, 0)]
    text = "".join(f"v {x} {y} 0\n" for x, y in places) + "f 1 2 3 4 5 6\n"
    triangles = found("a.obj", text)
    assert area(triangles) == 3.0
    assert not any((triangle.mean(axis=0)[:2] > 1).all() for triangle in triangles)


def test_a_polygon_of_many_corners() -> None:
    angles = 2 * math.pi * np.arange(300) / 300
    text = "".join(f"v {math.cos(a):.9f} {math.sin(a):.9f} 0\n" for a in angles)
    triangles = found("a.obj", text + "f " + " ".join(map(str, range(1, 301))) + "\n")
    assert len(triangles) == 298 and area(triangles) == pytest.approx(150 * math.sin(2 * math.pi / 300))


def test_materials_keep_the_order_that_published_numbers_rest_on() -> None:
    """The last material first; of quads alone all first halves, then the second ones. trimesh 5.2 gave this
    order."""
    text = TWO + "usemtl a\nf 1 2 3 4\nf 5 6 7 8\nusemtl b\nf 1 2 3\nf 5 6 7 8\n"
    triangles = found("a.obj", text)
    vertices = [(x, y, z) for z in (0, 5) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    numbers = [tuple(vertices.index(tuple(corner)) for corner in triangle) for triangle in triangles.tolist()]
    assert numbers == [(0, 1, 2), (4, 5, 6), (6, 7, 4), (0, 1, 2), (4, 5, 6), (2, 3, 0), (6, 7, 4)]


def test_lines_alone_are_read_as_points_with_a_remark() -> None:
    points, notes = found_and_noted("a.obj", corners(0) + "l 1 2 3 4 1\n")
    assert points.shape == (4, 3) and "lines have no surface" in notes


@pytest.mark.parametrize("keyword", ["surf 0 1 0 1 1 2 3 4", "curv 0 1 1 2", "curv2 1 2", "bsp 1 2 3 4"])
def test_free_form_alone_is_refused_and_beside_polygons_left_out(keyword: str) -> None:
    free = f"cstype bezier\ndeg 3 3\n{keyword}\nparm u 0 1\nend\n"
    with pytest.raises(MeshError, match=f"free-form curves or surfaces \\(`{keyword.split()[0]}`\\)"):
        found("a.obj", corners(0) + free)
    triangles, notes = found_and_noted("a.obj", corners(0) + free + "f 1 2 3 4\n")
    assert is_square(triangles) and "left out" in notes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("call other.obj\n" + TWO + FACES, "takes in other files with `call`"),
        ("csh rm\n" + TWO + FACES, "takes in other files with `csh`"),
        (TWO + "f 0 1 2\n", r"line 9 \(f 0 1 2\): names vertices which do not exist; there are 1 to 8"),
        (TWO + "f 1 2 3\nf 1 2 9\n", r"line 10 \(f 1 2 9\): names vertices"),
        (TWO + "f 1 2 3\nf 1 -9 2\n", r"line 10 \(f 1 -9 2\): counts back beyond its 8 vertices"),
        ("f -1 -2 -3\n" + TWO, r"line 1 .*counts back beyond its 0 vertices"),
        (TWO + "f 1 2 3.5\n", r"line 9 \(f 1 2 3.5\): numbers of vertices expected"),
        (TWO + "f 1,2,3\n", r"line 9 \(f 1,2,3\): numbers of vertices expected"),
        (TWO + "f 1 2 \\\n3 x\n", r"line 9 \(f 1 2 3 x\)"),
        (TWO + "f 1 2 \\\n3 4\nf 1 2 99\n", r"line 11 \(f 1 2 99\)"),
        ("v 0 0 0\\\n1\n" + TWO + FACES, r"line 1 is continued \(\\\) within a word"),
        (TWO + "f 1 2\n", "no face with three corners"),
        ("v 0 0\n" + TWO + FACES, r"line 1 \(v 0 0\): three numbers expected"),
        ("v 0 0 x\n" + TWO + FACES, "line 1 has 'x' where a number belongs"),
        ("o a\nv 1_0 0 0\n" + TWO + FACES, "line 2 has '1_0' .*without underscores"),
        ("v 0x1 0 0\n" + TWO + FACES, "hexadecimal"),
        ("v \u22121 0 0\n" + TWO + FACES, "minus sign from typesetting"),
        ("v 1.5.2 0 0\n" + TWO + FACES, "'1.5.2' where a number belongs"),
        ("v 1,234 2,345 0\n" + TWO + FACES, "thousands or decimals"),
        ("v 1,2,3\n" + TWO + FACES, "'1,2,3' where one number belongs"),
    ],
)
def test_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(MeshError, match=reason):
        found("a.obj", text)
