"""STEP and IGES: units, axes, what is refused, and real files beside STL of the same parts."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

from pointmae_zoo.cli import main
from pointmae_zoo.shapes import suffixes
from pointmae_zoo.shapes.file_search import find_files, search_files
from pointmae_zoo.shapes.measures import measure
from pointmae_zoo.shapes.notes import ReadNote
from pointmae_zoo.shapes.read import MeshError, read_geometry, read_points
from samples.step_files import box_step

installed = pytest.mark.skipif(
    ".step" not in suffixes.readable_suffixes(), reason="cascadio is not installed"
)


@installed
@pytest.mark.parametrize(("unit", "millimetres"), [("mm", 1.0), ("inch", 25.4), ("m", 1000.0)])
def test_a_box_has_its_size_in_millimetres_whatever_its_unit(
    tmp_path: Path, unit: str, millimetres: float
) -> None:
    (tmp_path / "box.step").write_bytes(box_step((1.0, 2.0, 3.0), unit))
    geometry = read_geometry(tmp_path / "box.step")
    found = measure(geometry)
    assert found.extents == pytest.approx([millimetres, 2 * millimetres, 3 * millimetres], rel=1e-5)
    assert found.volume == pytest.approx(6 * millimetres**3, rel=1e-5)
    assert geometry.triangles.min() == pytest.approx(0, abs=1e-6)  # the axes are the file's


@installed
def test_content_and_both_suffixes(tmp_path: Path) -> None:
    data = box_step((1.0, 2.0, 3.0))
    for name in ("a.step", "b.stp", "c.STEP"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "d.stl").write_bytes(data)
    assert [file.name for file in find_files(tmp_path)] == ["a.step", "b.stp", "c.STEP", "d.stl"]
    wanted = read_points(tmp_path / "a.step", 50)
    for name in ("b.stp", "c.STEP"):
        np.testing.assert_array_equal(read_points(tmp_path / name, 50), wanted)
    with pytest.warns(ReadNote, match="is a STEP file by its content"):
        np.testing.assert_array_equal(read_points(tmp_path / "d.stl", 50), wanted)


@installed
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (box_step((1, 2, 3))[:-30], "was cut off"),
        (b"ISO-10303-21;\nHEADER;\nENDSEC;\nDATA;\nENDSEC;\nEND-ISO-10303-21;\n", "without surfaces"),
        (box_step((1, 2, 3), solid=False), "without surfaces"),
        (box_step((1, 2, 3)).replace(b"PLANE", b"PLAIN"), "without surfaces"),
        (b"ISO-10303-21;\n" + os.urandom(5000) + b"END-ISO-10303-21;\n", "without surfaces"),
    ],
)
def test_what_cannot_be_read_says_why_and_nothing_else(
    tmp_path: Path, data: bytes, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.step").write_bytes(data)
    with pytest.raises(MeshError, match=said):
        read_points(tmp_path / "bad.step")
    assert capfd.readouterr() == ("", "")


@installed
def test_iges_is_known_by_its_columns(tmp_path: Path) -> None:
    line = f"{'a start':<72}S{1:>7}\n".encode()
    (tmp_path / "a.dat").write_bytes(line + f"{'':<72}T{1:>7}\n".encode())
    with pytest.warns(ReadNote, match="is an IGES file"), pytest.raises(MeshError, match="IGES file without"):
        read_points(tmp_path / "a.dat")


def test_without_the_library_files_are_passed_over_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.step").write_bytes(box_step((1, 2, 3)))
    trimesh.creation.box((1.0, 2.0, 3.0)).export(tmp_path / "b.stl")
    monkeypatch.setattr("pointmae_zoo.shapes.file_search.readable_suffixes", lambda: (".stl",))
    assert search_files(tmp_path).passed_over == {".step": 1}
    assert main(["embed", str(tmp_path), "--out", str(tmp_path / "out.npz"), "--workers", "1"]) == 0
    assert 'pip install "pointmae-zoo[cad]" to read .step' in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "cascadio", None)
    with pytest.raises(MeshError, match=r'is a STEP file; to read it: pip install "pointmae-zoo\[cad\]"'):
        read_points(tmp_path / "a.step")


@installed
@pytest.mark.skipif("POINTMAE_ZOO_TESTDATA" not in os.environ, reason="POINTMAE_ZOO_TESTDATA is not set")
def test_real_step_files_have_the_size_of_their_stl() -> None:
    parts = Path(os.environ["POINTMAE_ZOO_TESTDATA"]) / "parts"
    stl = {file.stem: file for file in parts.rglob("*.stl")}
    pairs = [(file, stl[file.stem]) for file in sorted(parts.rglob("*.stp")) if file.stem in stl]
    assert len(pairs) >= 9
    for step, mesh in pairs[::3]:
        one, other = measure(read_geometry(step)), measure(read_geometry(mesh))
        # Some parts lie otherwise on the printer's bed.
        assert sorted(one.extents) == pytest.approx(sorted(other.extents), abs=0.1)
        assert one.area == pytest.approx(other.area, rel=3e-3)
