"""Duplicates among files whose relation is known, and what is said about doubtful ones."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from pointmae_zoo import find_duplicates
from pointmae_zoo.cli import main
from pointmae_zoo.datasets.poses import uniform_rotations
from pointmae_zoo.library import DuplicateReport, duplicates

pytest.importorskip("scipy")


def lever(long: float = 60.0) -> trimesh.Trimesh:
    """A part without symmetry."""
    return trimesh.util.concatenate(
        [
            trimesh.creation.box((long, 20.0, 4.0)),
            trimesh.creation.box((4.0, 20.0, 30.0)).apply_translation((long / 2 - 2, 0.0, 15.0)),
            trimesh.creation.cylinder(4.0, 10.0).apply_translation((-20.0, 5.0, 6.0)),
        ]
    )


def turned(mesh: trimesh.Trimesh, seed: int) -> trimesh.Trimesh:
    place = np.eye(4)
    rng = np.random.default_rng(seed)
    place[:3, :3], place[:3, 3] = uniform_rotations(1, rng)[0], rng.normal(size=3) * 50
    return mesh.copy().apply_transform(place)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of a lever in every way, a near relative, a longer lever, other shapes, a poem."""
    place = tmp_path_factory.mktemp("parts")
    mesh = lever()
    mesh.export(place / "a.stl")
    (place / "bytes.stl").write_bytes((place / "a.stl").read_bytes())
    saved = trimesh.Trimesh(mesh.vertices, np.random.default_rng(0).permutation(mesh.faces), process=False)
    saved.export(place / "saved.obj")
    turned(mesh, 1).export(place / "turned.stl")
    turned(mesh.subdivide().subdivide(), 2).export(place / "remeshed.ply")
    turned(mesh, 3).apply_scale(25.4).export(place / "inches.stl")
    mirrored = mesh.copy().apply_transform(np.diag([1.0, -1.0, 1.0, 1.0]))
    turned(mirrored, 4).export(place / "mirrored.stl")
    pegged = trimesh.util.concatenate(
        [mesh, trimesh.creation.cylinder(3.0, 14.0).apply_translation((10.0, -6.0, 6.0))]
    )
    turned(pegged, 5).export(place / "pegged.stl")
    turned(lever(72.0), 6).export(place / "longer.stl")
    trimesh.creation.icosphere(3, 20.0).export(place / "ball.stl")
    trimesh.creation.torus(20.0, 5.0).export(place / "ring.stl")
    (place / "poem.stl").write_text("a poem")
    return place


def verdicts(report: DuplicateReport, kind: str = "copies") -> dict[str, dict[str, str]]:
    """Of each group, by its first file: the verdicts of the others."""
    groups = [group for group in report.groups if (group.verdict == "variant") == (kind == "variants")]
    return {
        Path(group.members[0].file.path).name: {
            Path(one.file.path).name: str(one.verdict) for one in group.members[1:]
        }
        for group in groups
    }


@pytest.fixture(scope="module")
def report(folder: Path) -> DuplicateReport:
    return find_duplicates(folder, workers=1, progress=False)


def test_every_copy_is_found_with_its_verdict(report: DuplicateReport) -> None:
    assert verdicts(report) == {
        "a.stl": {
            "bytes.stl": "identical",
            "saved.obj": "identical",
            "turned.stl": "same_shape",
            "remeshed.ply": "same_shape",
            "inches.stl": "scaled",
            "mirrored.stl": "mirrored",
        }
    }
    members = {Path(one.file.path).name: one for group in report.groups[:1] for one in group.members}
    assert members["inches.stl"].scale == pytest.approx(25.4, rel=1e-3)
    assert members["turned.stl"].scale == pytest.approx(1.0, rel=1e-3)
    place = np.array(members["turned.stl"].transform)
    corners = trimesh.transform_points(lever().vertices, place)
    expected = turned(lever(), 1).vertices
    assert np.abs(corners - expected).max() < 0.2
    assert not members["turned.stl"].file.doubts
    assert [Path(path).name for path, _ in report.failures] == ["poem.stl"]


def test_relatives_are_variants_or_nothing(report: DuplicateReport) -> None:
    assert verdicts(report, "variants") == {"a.stl": {"pegged.stl": "variant"}}
    one = report.groups[-1].members[1]
    assert 0.85 < one.agreeing < 0.99 and one.largest > 0.02


def test_copies_only_needs_no_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("no features are needed")

    monkeypatch.setattr(duplicates, "embed_files", never)
    report = find_duplicates([folder / "a.stl", folder / "turned.stl"], variants=False, progress=False)
    assert verdicts(report) == {"a.stl": {"turned.stl": "same_shape"}}


def test_a_symmetric_part_is_not_called_mirrored(tmp_path: Path) -> None:
    plate = trimesh.util.concatenate(
        [
            trimesh.creation.box((60.0, 20.0, 4.0)),
            trimesh.creation.cylinder(4.0, 10.0).apply_translation((-20.0, 0.0, 6.0)),
        ]
    )
    plate.export(tmp_path / "a.stl")
    mirrored = plate.copy().apply_transform(np.diag([1.0, -1.0, 1.0, 1.0]))
    turned(mirrored, 1).export(tmp_path / "b.stl")
    report = find_duplicates(tmp_path, variants=False, progress=False)
    assert verdicts(report) == {"a.stl": {"b.stl": "same_shape"}}


def test_doubts_are_named(tmp_path: Path) -> None:
    mesh = lever()
    mesh.export(tmp_path / "a.stl")
    opened = turned(mesh, 1)
    opened.update_faces(np.arange(len(opened.faces)) != opened.area_faces.argmin())
    opened.export(tmp_path / "open.stl")
    points, _ = trimesh.sample.sample_surface(turned(mesh, 2), 8000, seed=1)
    np.save(tmp_path / "points.npy", points)
    bump = trimesh.creation.box((1.5, 1.5, 1.5)).apply_translation((0.0, 8.0, 2.4))
    trimesh.util.concatenate([mesh, bump]).export(tmp_path / "bump.stl")
    report = find_duplicates(tmp_path, variants=False, progress=False)
    doubts = {Path(one.file.path).name: one.file.doubts for group in report.groups for one in group.members}
    assert doubts["a.stl"] == ()
    assert "no volume" in doubts["open.stl"][0]
    assert "cloud of points" in doubts["points.npy"][0]
    assert "a small feature differs" in doubts["bump.stl"][-1]


def test_reports_are_whole_and_say_the_same(folder: Path, tmp_path: Path, report: DuplicateReport) -> None:
    out = {suffix: tmp_path / f"report{suffix}" for suffix in (".json", ".csv", ".html")}
    for path in out.values():
        find_duplicates(folder, out=path, variants=False, workers=1, progress=False)
        assert not path.with_name(path.name + ".partial").exists()
    content = json.loads(out[".json"].read_text())
    assert content["format_version"] == 1 and content["files"] == 11
    (group,) = content["groups"]
    assert group["verdict"] == "mirrored" and len(group["members"]) == 7
    first = group["members"][0]
    assert first["verdict"] is None and first["triangles"] == len(lever().faces)
    assert first["extents"] == pytest.approx(lever().extents, rel=1e-4)
    rows = list(csv.DictReader(out[".csv"].open()))
    assert [row["verdict"] for row in rows] == [one["verdict"] or "" for one in group["members"]]
    assert float(rows[0]["area"]) == pytest.approx(lever().area, rel=1e-3)
    page = out[".html"].read_text()
    assert page.count("data:image/png") == 7 and "25.4 times the size" in page and "poem.stl" in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(("library", "extra"), [("scipy", "duplicates"), ("matplotlib", "viz")])
def test_a_missing_library_is_named_before_the_work(
    tmp_path: Path, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lever().export(tmp_path / "a.stl")
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError, match=rf"pointmae-zoo\[{extra}\]"):
        find_duplicates(tmp_path, out=tmp_path / "page.html", progress=False)
    assert [file.name for file in tmp_path.iterdir()] == ["a.stl"]


def test_names_are_escaped_on_the_page(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>.stl" if os.name != "nt" else "&amp;.stl"
    (tmp_path / "parts").mkdir()
    for one in ("a.stl", name.replace("/", "_")):
        lever().export(tmp_path / "parts" / one)
    find_duplicates(tmp_path / "parts", out=tmp_path / "page.html", variants=False, progress=False)
    assert "<script" not in (tmp_path / "page.html").read_text()


_KILLED = """
import os, signal, sys
from pointmae_zoo.library import duplicates
judge, count = duplicates.judge, [0]
def slow(*given):
    count[0] += 1
    if count[0] > 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return judge(*given)
duplicates.judge = slow
duplicates.available_cores = lambda: 1
duplicates.find_duplicates(sys.argv[1], out=sys.argv[2], variants=False, workers=1, progress=False)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "report.json"
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(folder), str(out)], check=False)
    assert killed.returncode == -signal.SIGKILL and not out.exists()
    journal = out.with_name(out.name + ".partial")
    assert len(journal.read_bytes().splitlines()) == 5  # header and four pairs
    with journal.open("ab") as stream:
        stream.write(b'{"pair": "cut o')
    judged: list[Any] = []
    judge = duplicates.judge

    def counted(*given: Any) -> Any:
        judged.append(given)
        return judge(*given)

    monkeypatch.setattr(duplicates, "judge", counted)
    kept = journal.read_bytes()
    find_duplicates(folder, out=out, variants=False, seed=1, workers=1, progress=False)
    other = len(judged)  # another seed gives other points, so nothing is taken from the killed run
    out.unlink()
    journal.write_bytes(kept)
    judged.clear()
    again = find_duplicates(folder, out=out, variants=False, workers=1, progress=False)
    resumed = len(judged)
    assert not journal.exists()
    whole = find_duplicates(folder, variants=False, workers=1, progress=False)
    assert again.as_json() == whole.as_json()
    assert len(judged) - resumed == other == resumed + 4


def test_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.json"
    assert main(["duplicates", str(folder), "--copies-only", "--workers", "1", "--out", str(out)]) == 1
    told = capsys.readouterr()
    assert "scaled x 25.4" in told.out and "6 of 11 files are copies, in 1 groups" in told.out
    assert "poem.stl" in told.err
    assert main(["duplicates", str(folder), "--out", str(tmp_path / "report.txt")]) == 2
    assert "report.txt" in capsys.readouterr().err
    assert main(["duplicates", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_one_file_and_files_of_equal_bytes(tmp_path: Path) -> None:
    lever().export(tmp_path / "a.stl")
    assert find_duplicates(tmp_path / "a.stl", progress=False).groups == []
    for name in ("b.stl", "c.stl"):
        (tmp_path / name).write_bytes((tmp_path / "a.stl").read_bytes())
    report = find_duplicates(tmp_path, progress=False)
    assert verdicts(report) == {"a.stl": {"b.stl": "identical", "c.stl": "identical"}}
