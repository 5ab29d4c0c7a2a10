"""``python -m benchmarks copies``: a few boxes, a small model."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

import benchmarks.__main__
from benchmarks.copies import recall
from pointmae_zoo import save_pretrained
from pointmae_zoo.models.preprocess import Preprocess
from samples.models import small


def test_recall_counts_what_comes_before_the_original() -> None:
    originals = np.eye(8, dtype=np.float32) + 0.1
    copies = originals[[0, 1, 2]] * 5
    copies[1] += 9 * originals[0]  # one original comes before its own
    copies[2] = 1 - originals[2]  # every other original does
    assert recall(copies, originals, np.array([0, 1, 2])) == (1 / 3, 2 / 3)


def test_copies_find_their_originals_in_the_pose_that_does_not_care(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "parts").mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):  # four to six boxes at random places: no two alike, and no symmetry
        boxes = [
            trimesh.creation.box(rng.uniform(1, 6, 3)).apply_translation(rng.uniform(-6, 6, 3))
            for _ in range(4 + number % 3)
        ]
        trimesh.util.concatenate(boxes).export(tmp_path / "parts" / f"{number}.stl")
    (tmp_path / "parts" / "twin.stl").write_bytes((tmp_path / "parts" / "0.stl").read_bytes())
    (tmp_path / "parts" / "broken.off").write_text("a poem")
    save_pretrained(small(preprocess=Preprocess(64, 1024)), tmp_path / "weights")
    given = ["copies", str(tmp_path / "parts"), "--model", str(tmp_path / "weights")]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *given, "--out", str(tmp_path / "copies.json")])
    assert benchmarks.__main__.main() == 0
    found = json.loads((tmp_path / "copies.json").read_text())
    assert found["meshes"] == 8 and "8 meshes" in capsys.readouterr().out
    passes = {pose: values["passes"] for pose, values in found["poses"].items()}
    assert passes["upright"] == 1 and 2 <= passes["turned"] < 3 and 4 <= passes["any"] < 10
    recall_of = {pose: values["recall"] for pose, values in found["poses"].items()}
    assert recall_of["any"]["turned"][0] > recall_of["upright"]["turned"][0] + 0.2
    assert recall_of["any"]["turned"][1] == recall_of["upright"]["sample"][1] == 1
    for kind in ("sample", "saved", "scaled", "moved", "turned", "mirrored"):
        assert found["duplicates"][kind]["found"] == found["duplicates"][kind]["precision"] == 1
        assert found["duplicates"][kind]["verdict_right"] == 1
