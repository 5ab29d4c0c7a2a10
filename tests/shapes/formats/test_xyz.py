"""Rows of points in text, feature by feature: written by hand, truth by hand."""

from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo.shapes.file_search import search_files
from pointmae_zoo.shapes.formats.points import read_columns
from pointmae_zoo.shapes.read import MeshError, read_points
from samples.geometry import found, found_and_noted

ROWS = [(0.0, 1.25, -2.5), (10.05, 0.5, 3.0), (1.05, 22.5, 0.075), (0.001, 0.01, 0.1)]
PLAIN = "".join("{:g} {:g} {:g}\n".format(*row) for row in ROWS)
FIXED = "".join("{:.3f} {:.3f} {:.3f}\n".format(*row) for row in ROWS)
COMMAS = FIXED.replace(".", ",")
FILES = {
    "blanks": PLAIN,
    "tabs, indents, trailing blanks": "".join("  {:g}\t{:g} \t{:g}  \n".format(*row) for row in ROWS),
    "commas": FIXED.replace(" ", ","),
    "commas and blanks": FIXED.replace(" ", ", "),
    "commas with some blanks": FIXED.replace(" ", ",").replace(",", ", ", 1),
    "a comma at the end": FIXED.replace(" ", ",").replace("\n", ",\n"),
    "semicolons": FIXED.replace(" ", ";"),
    "semicolons at the end": FIXED.replace(" ", "; ").replace("\n", ";\n"),
    "decimal commas and blanks": COMMAS,
    "decimal commas and tabs": COMMAS.replace(" ", "\t"),
    "decimal commas and semicolons": "X;Y;Z\r\n" + COMMAS.replace(" ", ";").replace("\n", "\r\n"),
    "carriage returns alone": PLAIN.replace("\n", "\r"),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16 without a mark": PLAIN.encode("utf-16-le"),
    "a mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "comments": "# scan\n" + PLAIN.replace("\n", " # here\n") + "// end\n",
    "a Latin-1 comment": b"# Ger\xe4t\n" + PLAIN.encode(),
    "a count": "4\n" + PLAIN,
    "names": "x,y,z\n" + FIXED.replace(" ", ","),
    "names in a comment": "//X Y Z\n" + PLAIN,
    "names with units": '"X [m]";"Y [m]";"Z [m]"\n'.replace(" [", "[") + FIXED.replace(" ", ";"),
    "width and height": "2 2\n" + PLAIN,
    "more columns": "".join("{:g} {:g} {:g} 255 0 128 7\n".format(*row) for row in ROWS),
    "names of other columns": "id,z,x,y\n" + "".join(f"{9:d},{z:g},{x:g},{y:g}\n" for x, y, z in ROWS),
    "exponents": "".join("{:.4e} {:.4E} {:+.4e}\n".format(*row) for row in ROWS),
    "exponents of Fortran": "".join("{:.4e} {:.4e} {:.4e}\n".format(*row) for row in ROWS).replace("e", "D"),
    "empty lines": PLAIN.replace("\n", "\n\n"),
    "no last line end": PLAIN.rstrip(),
}


@pytest.mark.parametrize("case", FILES)
def test_rows(case: str) -> None:
    np.testing.assert_array_equal(found("a.xyz", FILES[case]), ROWS)


def test_decimal_commas_are_remarked() -> None:
    assert "decimal commas" in found_and_noted("a.xyz", COMMAS)[1]


def test_other_columns_keep_their_order_behind_the_coordinates() -> None:
    table = read_columns(b"part,x,y,z,red\n7,1,2,3,255\n8,4,5,6,254\n")
    np.testing.assert_array_equal(table, [[1, 2, 3, 7, 255], [4, 5, 6, 8, 254]])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2\nwater\nO 0 0 0\nH 0 0 1\n", "is a molecule"),
        ("chair 0 0 0\nchair 0 0 1\n", r"row 1 \('chair 0 0 0'\) begins with a word"),
        ("9\n" + PLAIN, "promises 9 points, it has 4"),
        (PLAIN + "1 2\n", r"row 5 \('1 2'\) has not the 3 numbers"),
        (PLAIN + "1 2 3 4\n", r"row 5 \('1 2 3 4'\) has not the 3 numbers"),
        ("x y z\n" + PLAIN + "1 2 x\n", "line 6 has 'x' where a number belongs"),
        ("1 2 x\n" + PLAIN, "line 1 has 'x' where a number belongs"),
        ("1,234 2,345 3,456\n" * 4, "thousands or decimals"),
        ("1,234,5,050,9,100\n5,001,6,200,7,300\n", "commas between all its digits"),
        ("1,234.5 2,345.6 3,456.7\n" * 2, "where one number belongs"),
        ("1,5, 2,5, 3,5\n" * 2, "commas with and without blanks"),
        ("1,2,3\n1,5 2,5 3,5\n", "divided by commas and rows divided by blanks"),
        ("1,,2,3\n4,,5,6\n", "empty field"),
        ("1;;2;3\n4;;5;6\n", "empty field"),
        (",1,2,3\n,4,5,6\n", "empty field|no rows"),
        ("1_0 2 3\n4 5 6\n", "line 1 has '1_0' .*underscores"),
        ("0 0 0\n0x10 2 3\n4 5 6\n", "hexadecimal"),
        ("0 0 0\n\u22121 2 3\n", "minus sign from typesetting"),
        ("0 0 0\n\u0661 2 3\n", "write the digits 0 to 9"),
        ("0 0 0\n1'000 2 3\n", "marks between thousands"),
        ("0 0 0\n1.2.3 2 3\n", "'1.2.3' where a number belongs"),
        ("0 0 0\n1-2 2 3\n", "'1-2' where a number belongs"),
        ("a poem\nin two lines\n", "no rows of three numbers"),
    ],
)
def test_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(MeshError, match=reason):
        found("a.xyz", text)


def test_rows_that_are_no_numbers_come_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text(PLAIN + "nan nan nan\n")
    with pytest.raises(
        MeshError, match=r"NaN or infinity in 1 of its 5 points: leave those rows out \(`points\["
    ):
        read_points(tmp_path / "a.xyz")


@pytest.mark.parametrize("suffix", ["txt", "csv", "asc", "pts"])
def test_other_suffixes_are_read_where_they_are_named_but_not_looked_for(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_text("x,y,z\n" + FIXED.replace(" ", ","))
    np.testing.assert_array_equal(read_points(path), np.array(ROWS, np.float32))
    assert search_files(path).files == [path] and search_files(tmp_path).files == []


NAMED = {
    "an empty first name": (",x,y,z", ","),
    "names in quotes, with numbers": ('"Temp","Points:0","Points:1","Points:2"', ","),
    "names with blanks and units": ("Node Number\tX Location (mm)\tY Location (mm)\tZ Location (mm)", "\t"),
    "names with a letter before": ("time,px,py,pz", ","),
}


@pytest.mark.parametrize("case", NAMED)
def test_named_columns_behind_another_one(case: str) -> None:
    head, divider = NAMED[case]
    rows = "".join(f"{n} {row}\n" for n, row in enumerate(FIXED.splitlines())).replace(" ", divider)
    points, notes = found_and_noted("a.xyz", f"{head}\n{rows}")
    np.testing.assert_array_equal(points, ROWS)
    assert notes == ""


def test_names_that_say_nothing_of_x_are_remarked() -> None:
    points, notes = found_and_noted("a.xyz", "id,easting,northing,elevation\n7,1.5,2,3\n8,4,5,6\n")
    assert points.tolist() == [[7, 1.5, 2], [8, 4, 5]]
    assert notes == "no columns are named x, y and z: id, easting, northing are taken for them"


def test_columns_that_are_numbered_are_no_point() -> None:
    points, notes = found_and_noted("a.xyz", "0,1,2\n" + FIXED.replace(" ", ","))
    np.testing.assert_array_equal(points, ROWS)
    assert "the first row, 0 1 2" in notes
    whole, notes = found_and_noted("a.xyz", "0 1 2\n3 4 5\n6 7 8\n")  # points of a grid
    assert len(whole) == 3 and notes == ""
