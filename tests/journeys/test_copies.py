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
    for number in range(4):
        mesh = trimesh.creation.box(extents=(1, 2, 2 + number))
        mesh.export(tmp_path / "parts" / f"{number}.stl")
    (tmp_path / "parts" / "twin.stl").write_bytes((tmp_path / "parts" / "0.stl").read_bytes())
    (tmp_path / "parts" / "broken.off").write_text("a poem")
    save_pretrained(small(preprocess=Preprocess(64, 1024)), tmp_path / "weights")
    given = ["copies", str(tmp_path / "parts"), "--model", str(tmp_path / "weights")]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *given, "--out", str(tmp_path / "copies.json")])
    assert benchmarks.__main__.main() == 0
    found = json.loads((tmp_path / "copies.json").read_text())
    assert found["meshes"] == 4 and "4 meshes" in capsys.readouterr().out
    passes = {pose: values["passes"] for pose, values in found["poses"].items()}
    assert passes == {"upright": 1, "turned": 2, "any": 4}
    for values in found["poses"].values():
        assert {"sample", "mirrored", "moved", "turned"} <= values["recall"].keys()
        assert all(0 <= first <= five == 1 for first, five in values["recall"].values())
