"""STL, feature by feature: files written by hand, truth by hand."""

import struct

import numpy as np
import pytest

from pointmae_zoo.shapes.read import MeshError
from samples.geometry import found, found_and_noted, is_square

HALVES = np.array([[(0, 0, 0), (1, 0, 0), (1, 1, 0)], [(0, 0, 0), (1, 1, 0), (0, 1, 0)]], np.float64)
HIGHER = HALVES + [0, 0, 5]


def facets(halves: np.ndarray = HALVES, vertex: str = "   vertex {} {} {}\n", normal: str = "0 0 1") -> str:
    return "".join(
        f" facet normal {normal}\n  outer loop\n" + "".join(vertex.format(*corner) for corner in triangle)
        + "  endloop\n endfacet\n"
        for triangle in halves
    )  # fmt: skip


def solid(name: str = "part", **options: str) -> str:
    return f"solid {name}\n{facets(**options)}endsolid {name}\n"


def binary(header: bytes = b"", count: int = 2, behind: bytes = b"", halves: np.ndarray = HALVES) -> bytes:
    rows = b"".join(struct.pack("<12fH", 0, 0, 1, *triangle.ravel(), 7) for triangle in halves)
    return header.ljust(80, b"\0") + struct.pack("<I", count) + rows + behind


TEXTS = {
    "plain": solid(),
    "no name": solid(""),
    "upper case": solid().upper(),
    "a name with keywords": solid("vertex 12 of normal facet"),
    "a name with a facet": solid("facet normal 0 0 1 outer loop"),
    "a name that ends": solid("endsolid endfacet"),
    "a name of 5,000 letters": solid("x" * 5000),
    "a Latin-1 name": solid("Geh\xe4use").encode("latin-1"),
    "tabs": solid(vertex="\tvertex\t{}\t{}\t{}\n"),
    "carriage returns alone": solid().replace("\n", "\r"),
    "carriage returns and line feeds, a mark": b"\xef\xbb\xbf" + solid().replace("\n", "\r\n").encode(),
    "UTF-16": solid().encode("utf-16"),
    "UTF-16 without a mark": solid().encode("utf-16-le"),
    "empty lines before": "\n\n  " + solid(),
    "comments before": "; by hand\n# and more\n" + solid(),
    "one line": solid().replace("\n", " "),
    "a facet on each line": solid().replace("\n", " ").replace("facet normal", "\nfacet normal"),
    "exponents": solid(vertex="   vertex {:.6E} {:+.6e} {:e}\n"),
    "exponents of Fortran": solid(vertex="vertex {:.1f}D+00 {:.1f}d0 {}\n"),
    "decimal commas": solid(vertex="vertex {:.1f} {:.2f} {:.1f}\n").replace(".", ","),
    "normals that are none": solid(normal="-nan(ind) -1.#IND nan"),
    "colours": solid().replace("solid part\n", "solid part\ncolor 0.5 0.5 0.5\n", 1),
    "zeros behind": solid().encode() + b"\x1a\0\0\0",
}


@pytest.mark.parametrize("case", TEXTS)
def test_text(case: str) -> None:
    assert is_square(found("a.stl", TEXTS[case]))


@pytest.mark.parametrize(
    "middle", ["endsolid a\nsolid b\n", "solid b\n", "endsolid a\n\nsolid vertex 1 2 3\n"]
)
def test_several_solids_in_one_text(middle: str) -> None:
    text = "solid a\n" + facets() + middle + facets(HIGHER) + "endsolid b\n"
    assert is_square(found("a.stl", text), (0.0, 5.0))


@pytest.mark.parametrize(
    "data",
    [
        binary(),
        binary(b"solid exported by a program"),
        binary(b"solid facet normal endsolid"),
        binary(b"solid facet", behind=b"\0\0\0\0"),
        binary(b"COLOR=\x80\x80\x80\xff,MATERIAL=solid"),
        binary(behind=b"\r\n"),
        binary(behind=b"words behind " * 9),
        binary(b"streamed", count=0),
        binary(b"streamed", count=0xFFFFFFFF),
    ],
)
def test_binary(data: bytes) -> None:
    assert is_square(found("a.stl", data))


def test_what_the_count_does_not_cover_is_said() -> None:
    triangles, notes = found_and_noted("a.stl", binary(count=1))
    assert len(triangles) == 1 and "50 bytes behind the 1 triangles" in notes
    assert "the size says 2" in found_and_noted("a.stl", binary(count=0))[1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (binary(count=3), "was cut off.* promises 3 triangles"),
        (binary()[:-10], "was cut off"),
        (binary(count=0)[:-10], "was cut off"),
        (binary()[:90] + b"ab" + binary()[90:], "2 bytes more than its 2 triangles need"),
        (binary(count=0)[:90] + b"ab" * 25 + binary()[90:], "was cut off"),
        (binary(count=0, halves=HALVES[:0]), "without triangles"),
        ("solid a\nendsolid a\n", "without triangles"),
        (solid().rsplit("endsolid", 1)[0], "ends before `endsolid`"),
        (solid() + "solid b\n" + facets(), "ends before `endsolid`"),
        (solid().replace("   vertex 1.0 0.0 0.0\n", ""), "facet at line 2 without exactly three vertices"),
        (solid(vertex="vertex {} {} {} 1\n"), "line 4 has not the three numbers"),
        (solid(vertex="vertex {} {}\n"), "line 4 has not the three numbers"),
        (solid(vertex="vertex {} {} x\n"), "line 4 has 'x'"),
        (solid(vertex="vertex {} {} 1_0\n"), "without underscores"),
        (solid(vertex="vertex {} {},{} 1\n"), "'0.0,0.0' where one number belongs"),
    ],
)
def test_refused_by_name(data: str | bytes, reason: str) -> None:
    with pytest.raises(MeshError, match=reason):
        found("a.stl", data)
