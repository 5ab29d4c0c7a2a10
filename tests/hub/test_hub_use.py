"""Repositories of the Hub where a model is asked for: tables, reports and the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointmae_zoo import embed_files, from_pretrained
from pointmae_zoo.cli import main
from pointmae_zoo.hub.pretrained import public_name
from pointmae_zoo.inference.feature_tables import read_table
from pointmae_zoo.library import similar
from pointmae_zoo.models import registry
from samples.hub import LoopbackHub
from samples.models import files_of, small

REPO = "org/model"


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Three clouds."""
    folder = tmp_path / "shapes"
    folder.mkdir()
    for number in range(3):
        points = np.random.default_rng(number).normal(size=(200, 3)) * [1, 1 + number, 1]
        np.save(folder / f"{number}.npy", points)
    return folder


@pytest.fixture
def commits(hub: LoopbackHub, tmp_path: Path) -> tuple[str, str]:
    """Two, with other weights; main is the second."""
    first = hub.create(REPO, files_of(small(0), tmp_path / "first"))
    return first, hub.commit(REPO, files_of(small(1), tmp_path / "second"))


def test_a_table_names_the_commit(commits: tuple[str, str], shapes: Path, tmp_path: Path) -> None:
    first, second = commits
    out = tmp_path / "t.npz"
    for source, commit, folder in ((REPO, second, "second"), (f"{REPO}@{first}", first, "first")):
        table = embed_files(shapes, source, out=out, workers=1, progress=False)
        assert table.metadata["model"] == read_table(out).metadata["model"] == f"{REPO}@{commit}"
        expected = embed_files(shapes, tmp_path / folder, workers=1, progress=False)
        assert np.array_equal(table.features, expected.features)


def test_similar_loads_the_commit_of_the_table(
    hub: LoopbackHub, commits: tuple[str, str], shapes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t.npz"
    embed_files(shapes, REPO, out=out, workers=1, progress=False)
    hub.commit(REPO, files_of(small(2), tmp_path / "third"))
    query = tmp_path / "query.npy"
    query.write_bytes((shapes / "1.npy").read_bytes())
    found = similar(query, out, 1)
    assert Path(found[0][0]).name == "1.npy" and found[0][1] == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ValueError, match="not those that made the table"):
        similar(query, out, 1, model=REPO)


def test_a_resumed_run_notices_another_commit(
    hub: LoopbackHub, commits: tuple[str, str], shapes: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    from pointmae_zoo.inference import embedding

    out = tmp_path / "t.npz"

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(embedding, "write_table", stopped)
        with pytest.raises(KeyboardInterrupt):
            embed_files(shapes, REPO, out=out, workers=1, progress=False)
    third = hub.commit(REPO, {"README.md": b"only the card is new\n"})
    said = rf"model: '{REPO}@{commits[1]}', now '{REPO}@{third}'"
    with pytest.raises(ValueError, match=said):
        embed_files(shapes, REPO, out=out, workers=1, progress=False)
    table = embed_files(shapes, f"{REPO}@{commits[1]}", out=out, workers=1, progress=False)
    assert len(table.paths) == 3


def test_reports_name_the_commit(commits: tuple[str, str]) -> None:
    assert public_name(f"{REPO}@main", from_pretrained(REPO)) == f"{REPO}@{commits[1]}"
    assert public_name("i2p_mae_tiny.shapes", from_pretrained("i2p_mae_tiny.shapes")) == "i2p_mae_tiny.shapes"


def test_info(commits: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", f"{REPO}@{commits[0]}"]) == 0
    words = capsys.readouterr().out.split()
    assert REPO in words and commits[0] in words and "i2p_mae_tiny" in words and "num_points" in words
    assert main(["info", "org/missing"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: org/missing: no such folder; on the Hub: no such repository")
    assert said.count("\n") == 1


def test_info_of_a_folder_that_is_named_as_an_architecture(
    tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """As everywhere: a published name is what it is, ./ makes a folder of it."""
    files_of(small(), tmp_path / "i2p_mae_tiny")
    monkeypatch.chdir(tmp_path)
    assert main(["info", "i2p_mae_tiny"]) == 0
    assert capsys.readouterr().out.split()[:2] == ["architecture", "i2p_mae_tiny"]
    assert main(["info", "./i2p_mae_tiny"]) == 0
    assert capsys.readouterr().out.split()[:2] == ["weights", "./i2p_mae_tiny"]


def test_embed_from_the_command_line(
    commits: tuple[str, str], shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.npz"
    assert main(["embed", str(shapes), "--model", f"{REPO}@{commits[0]}", "--out", str(out)]) == 0
    assert read_table(out).metadata["model"] == f"{REPO}@{commits[0]}"
    capsys.readouterr()


def test_weights_are_listed_with_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    entry = registry.Weights(
        architecture="i2p_mae_tiny",
        tag="far",
        sha256="0" * 64,
        size=1,
        config_sha256="0" * 64,
        status="demo",
        licence="CC0-1.0",
        summary="far away",
        repo=REPO,
        commit="0" * 40,
    )
    registry.register_weights(entry)
    try:
        assert main(["list", "--weights"]) == 0
    finally:
        del registry._WEIGHTS[entry.name]
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if "i2p_mae_tiny.far" in line)
    assert REPO in line and "far away" in line
    assert all("in the package" in other for other in lines if other != line)


def test_evaluate_from_the_command_line(
    commits: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 2
    points = generator.normal(size=(60, 64, 3)) * np.where(labels, 1.0, 3.0)[:, None, None] ** [0, 1, 0]
    np.savez(
        tmp_path / "data.npz",
        points=points.astype(np.float32),
        y=labels,
        classes=np.array(["ball", "rod"]),
        split=np.where(np.arange(60) < 40, "train", "test"),
        group=np.arange(60),
    )
    out = tmp_path / "report.json"
    arguments = ["--data", str(tmp_path / "data.npz"), "--points", "64", "--seeds", "0", "--out", str(out)]
    assert main(["evaluate", "linear", REPO, *arguments, "--classifier", "svm"]) == 0, capsys.readouterr().err
    assert json.loads(out.read_text())["context"]["models"] == [f"{REPO}@{commits[1]}"]
    capsys.readouterr()
