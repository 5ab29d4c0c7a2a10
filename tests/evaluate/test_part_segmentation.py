"""Overlaps of fine-tuned part segmenters: what is asked, how parts are judged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pointmae_zoo.datasets.labelled import open_labelled
from pointmae_zoo.evaluate import Run, evaluate_parts
from pointmae_zoo.reports.schema import read_evaluation
from pointmae_zoo.reports.tables import tables

PNG = b"\x89PNG"


class Halves(nn.Module):
    """Parts of stacks by height: the lower half of "a" is part 0, of "b" part 2 (and a part 4 that no cloud
    has); ``swapped`` names them the other way around."""

    def __init__(self, swapped: bool = False) -> None:
        super().__init__()
        self.swapped = swapped

    def forward(self, points: Tensor, object_class: Tensor) -> Tensor:
        above = (points[..., 1] > 0) ^ self.swapped
        scores = torch.full((*points.shape[:2], 5), 0.0)
        scores[..., 0] = 100.0  # of whatever class: only its own parts compete
        scores[..., 1] = 100.0 + 2 * above.float() - 1
        scores[..., 2], scores[..., 3] = (~above).float(), above.float()
        assert bool(((object_class == 0) | (object_class == 1)).all())
        return scores


PART_NAMES = ("a/low", "a/high", "b/low", "b/high", "b/lid")


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(4)
    points = rng.uniform(-1, 1, size=(20, 64, 3))
    points -= points.mean(axis=1, keepdims=True)
    labels = np.arange(20) % 2
    parts = (points[..., 1] > 0) + 2 * labels[:, None]
    path = tmp_path_factory.mktemp("stacks") / "stacks.npz"
    np.savez(
        path,
        points=points.astype(np.float32),
        parts=parts,
        part_names=np.array(PART_NAMES),
        y=labels,
        classes=np.array(["a", "b"]),
        split=np.repeat(["train", "test"], [8, 12]),
    )
    return path


def test_parts_by_instance_and_by_category(stacks: Path, tmp_path: Path) -> None:
    def segmenter(**how: bool) -> Run:
        return Run("halves", Halves(**how), PART_NAMES, num_points=64)

    out, picture = tmp_path / "parts.json", tmp_path / "parts.png"
    report = evaluate_parts(segmenter(), stacks, out=out, picture=picture, votes=2, progress=False)
    stored = read_evaluation(out)
    assert stored["summary"][0] == {
        **{"measure": "mIoU by instance", "votes": 0, "runs": 1},
        **{"mean": 100.0, "std": 0.0, "low": 100.0, "high": 100.0},
    }
    assert {row["measure"] for row in stored["summary"]} == {"mIoU by instance", "mIoU by category"}
    assert picture.read_bytes().startswith(PNG)
    wrong = evaluate_parts(segmenter(swapped=True), stacks, progress=False)
    # Nothing is right but the lid, which is neither there nor predicted.
    assert [row["mean"] for row in wrong.per_part] == [0.0, 0.0, 0.0, 0.0, 100.0]
    assert [row["mean"] for row in wrong.per_class] == [0.0, pytest.approx(100 / 3)]
    assert wrong.summary[1]["mean"] == pytest.approx(100 / 6)
    assert "b/lid" in wrong.table() and "| b/lid | 6 | 100.0 |" in tables(wrong.as_json())
    assert "mIoU by category, 2 votes" in report.table()
    with pytest.raises(ValueError, match=r"different parts \(only in the data: 'a/high'"):
        evaluate_parts(Run("x", Halves(), ("a/low", "b/low"), num_points=64), stacks, progress=False)


def test_parts_of_the_points_that_are_seen(stacks: Path) -> None:
    """Farthest points, as in training, are judged by their own labels; points that stay where they are."""
    recipe = {"seed": 0, "cloud_points": 64, "augmentation": {"fps_share": 1.0}}
    one = Run("halves", Halves(), PART_NAMES, num_points=48, normalized=False, provenance={"recipe": recipe})
    report = evaluate_parts(one, stacks, progress=False)
    assert report.summary[0]["mean"] == 100.0  # "low" is below y = 0 of the stored cloud
    assert report.context["protocol"].startswith("48 points by farthest point sampling")


def test_a_segmenter_is_told_the_class_by_its_own_number(stacks: Path) -> None:
    class Told(Halves):
        def forward(self, points: Tensor, object_class: Tensor) -> Tensor:
            self.told = object_class.tolist()
            return super().forward(points, object_class)

    noted = {"object_classes": ["b", "a"], "parts": [[2, 5], [0, 2]]}
    labels = open_labelled(stacks, "test", num_points=64, with_parts=True).labels.tolist()
    for provenance, numbers in (({}, [0, 1]), (noted, [1, 0])):
        network = Told()
        one = Run("halves", network, PART_NAMES, num_points=64, provenance=provenance)
        evaluate_parts(one, stacks, progress=False)
        assert network.told == [numbers[label] for label in labels]
    noted = {"object_classes": ["x", "a"], "parts": [[2, 5], [0, 2]]}
    one = Run("halves", Told(), PART_NAMES, num_points=64, provenance=noted)
    with pytest.raises(ValueError, match=r"halves knows the object classes x, a, but stacks\.npz has 'b'"):
        evaluate_parts(one, stacks, progress=False)
