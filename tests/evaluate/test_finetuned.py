"""Accuracy of fine-tuned classifiers: what is asked, how answers are judged."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from pointmae_zoo.datasets.augmentation import Augmentation
from pointmae_zoo.datasets.clouds import normalize_clouds
from pointmae_zoo.datasets.labelled import open_labelled
from pointmae_zoo.datasets.labelled.labelled_clouds import identity_sha256
from pointmae_zoo.datasets.splits import validation_split
from pointmae_zoo.evaluate import (
    Run,
    compare,
    evaluate_finetuned,
    evaluate_linear,
    evaluate_parts,
    evaluate_robustness,
)
from pointmae_zoo.evaluate.finetuned_models import MAY_DIFFER, vote
from pointmae_zoo.evaluate.label_curve import label_curve
from pointmae_zoo.reports.schema import read_evaluation
from pointmae_zoo.reports.tables import tables
from pointmae_zoo.train.resuming import MAY_CHANGE
from samples.boxes import CLASSES, Longest, box_file, run

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return box_file(tmp_path_factory.mktemp("boxes") / "boxes.npz")


def test_answers_are_judged_by_name_and_clouds_are_prepared(boxes: Path, tmp_path: Path) -> None:
    sure, mixed = run(), run("mixed", labels=("deep", "wide", "high"))
    report = evaluate_finetuned([sure, mixed], boxes, out=tmp_path / "out.json", progress=False)
    stored = read_evaluation(tmp_path / "out.json")
    assert stored == json.loads(json.dumps(report.as_json()))
    assert [row["score"] for row in stored["rows"]] == [100.0] * 4
    assert stored["confusion"] == [[10, 0, 0], [0, 20, 0], [0, 0, 60]]  # of both runs
    context = stored["context"]
    assert "majority_accuracy" not in context and "most frequent" not in report.table()
    assert (context["num_test"], context["num_train"], context["num_points"]) == (45, 45, 32)
    assert str(boxes.parent) not in json.dumps(stored)
    # What the network saw: the first points of the file, in the unit sphere.
    given = open_labelled(boxes, "test", num_points=32).points
    seen = torch.cat(sure.network.asked).numpy()  # type: ignore[arg-type,union-attr]
    centred = given - given.mean(axis=1, keepdims=True)
    radius = np.linalg.norm(centred, axis=2).max(axis=1)[:, None, None]
    np.testing.assert_allclose(seen, centred / radius, atol=1e-5)


def test_the_most_frequent_class_is_that_of_train(boxes: Path) -> None:
    def trained(name: str, counts: dict[str, int]) -> Run:
        one = run(name, labels=("deep", "wide", "high"))
        return dataclasses.replace(one, provenance={**one.provenance, "class_counts": counts})

    most_wide = trained("a", {"wide": 20, "high": 10, "deep": 15})
    shared = trained("b", {"wide": 5, "high": 20, "deep": 20})
    # Of the test clouds 5 are wide, 10 high and 30 deep.
    for runs, right in (([most_wide], 5), ([shared], 20), ([most_wide, shared], 12.5)):
        report = evaluate_finetuned(runs, boxes, progress=False)
        assert report.context["majority_accuracy"] == pytest.approx(100 * right / 45)
        assert "always the most frequent class" in report.table()


def test_a_class_that_is_never_named_counts_a_third_of_the_class_mean(boxes: Path, tmp_path: Path) -> None:
    picture = tmp_path / "confusion.png"
    report = evaluate_finetuned(run(blind=2), boxes, picture=picture, progress=False)
    found = {row["measure"]: row for row in report.summary}
    assert found["accuracy"]["mean"] == pytest.approx(100 * 15 / 45)
    assert found["class mean"]["mean"] == pytest.approx(100 * 2 / 3)
    assert found["accuracy"]["low"] < 100 * 15 / 45 < found["accuracy"]["high"]
    assert [row["mean"] for row in report.per_class] == [100.0, 100.0, 0.0]
    assert [row["clouds"] for row in report.per_class] == [5, 10, 30]
    assert np.array(report.confusion)[2, 2] == 0 and sum(report.confusion[2]) == 30
    most = CLASSES[int(np.argmax(report.confusion[2]))]
    assert f"{most} " in report.table().splitlines()[-1]
    assert picture.read_bytes().startswith(PNG)


def test_seeds_deviate_and_are_compared_cloud_by_cloud(boxes: Path, tmp_path: Path) -> None:
    files = [tmp_path / "blind.json", tmp_path / "both.json", tmp_path / "sure.json"]
    evaluate_finetuned(run(blind=0), boxes, out=files[0], progress=False)
    both = evaluate_finetuned([run(), run(blind=0)], boxes, out=files[1], progress=False)
    evaluate_finetuned(run(), boxes, out=files[2], progress=False)
    row = both.summary[0]
    assert (row["runs"], row["mean"]) == (2, pytest.approx(100 * (1 + 40 / 45) / 2))
    assert row["std"] == pytest.approx(100 * np.std([1, 40 / 45], ddof=1))
    found = compare(files, tmp_path / "compared.json")
    differences = [one["difference"]["mean"] for one in found["rows"][1:]]
    assert differences == [pytest.approx(100 * 5 / 45 / 2), pytest.approx(100 * 5 / 45)]
    assert "+11.1" in tables(read_evaluation(tmp_path / "compared.json"))
    assert "cross-validation" not in tables(found)


def test_progress_is_told_by_clouds(
    boxes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pointmae_zoo.system.progress.SECONDS_BETWEEN_LINES", 0.0)

    def last() -> str:
        return capsys.readouterr().err.splitlines()[-1]

    evaluate_finetuned([run(), run()], boxes, votes=2, batch_size=20)
    assert last().startswith("predict: 270 of 270 clouds, ")  # of two runs, three times 45
    evaluate_robustness(run(), boxes, conditions=["noise"], batch_size=20)
    assert last().startswith("robustness: 90 of 90 clouds, ")
    evaluate_finetuned(run(), boxes, progress=False)
    assert capsys.readouterr().err == ""


def test_votes_stand_beside_the_plain_prediction(boxes: Path) -> None:
    plain = evaluate_finetuned(run(blind=2), boxes, progress=False)
    first, again = (evaluate_finetuned(run(), boxes, votes=3, progress=False) for _ in range(2))
    assert [row["votes"] for row in first.summary] == [0, 0, 3, 3]
    assert first.summary == again.summary
    assert "accuracy, 3 votes" in first.table() and "votes" not in plain.table()
    assert first.context["votes"] == 3
    with pytest.raises(ValueError, match="votes: 1, expected 2 or more, or 0"):
        evaluate_finetuned(run(), boxes, votes=1)


def test_votes_are_the_mean_of_probabilities_of_views_as_in_training(boxes: Path) -> None:
    augmentation = {"fps_share": 1.0, "fps_surplus": 1.25, "scale": 1.0, "normalize": False}
    voting = run(recipe={"seed": 0, "cloud_points": 80, "augmentation": augmentation})
    report = evaluate_finetuned(voting, boxes, votes=4, batch_size=64, progress=False)
    asked = voting.network.asked
    assert isinstance(asked, list) and len(asked) == 1 + 4
    stored = normalize_clouds(open_labelled(boxes, "test", num_points=80, most_points=80).points)
    seen = np.zeros((45, 80), dtype=int)
    for view in asked[1:]:
        assert view.shape == (45, 32, 3)
        for row, (some, cloud) in enumerate(zip(view.numpy(), stored, strict=True)):
            distance = np.linalg.norm(some[:, None] - cloud[None], axis=2)
            assert distance.min(axis=1).max() < 1e-6  # points of the cloud, none else
            chosen = distance.argmin(axis=1)
            assert len(set(chosen.tolist())) == 32
            seen[row, chosen] += 1
    sets = [{tuple(point) for point in view[0].tolist()} for view in asked[1:]]
    assert all(one != other for one, other in itertools.combinations(sets, 2))
    assert (seen[:, 64:] > 0).any()  # not of twice 32 points alone
    total = np.zeros((45, 3))
    for view in asked[1:]:
        extent = (view.amax(1) - view.amin(1)).double().numpy()
        total += np.exp(extent) / np.exp(extent).sum(axis=1, keepdims=True)
    again = run()
    found = vote(again.network, stored, 4, voting.augmentation, num_points=32)
    np.testing.assert_allclose(found, total / 4, atol=1e-6)
    for view, other in zip(asked[1:], again.network.asked, strict=True):  # type: ignore[arg-type]
        assert torch.equal(view, other)
    labels = open_labelled(boxes, "test", num_points=32).labels
    right = 100 * float(np.mean(total.argmax(axis=1) == labels))
    assert {row["score"] for row in report.rows if row["measure"] == "accuracy" and row["votes"]} == {right}


def test_views_of_a_vote_keep_the_surplus_of_farthest_points() -> None:
    """Eight clumps in a cloud: eight farthest points are of eight clumps, of sixteen eight are of fewer."""
    rng = np.random.default_rng(0)
    clumps = 10.0 * np.arange(8)[:, None] * np.array([1.0, 0.0, 0.0])
    points = (np.repeat(clumps, 8, axis=0)[None] + rng.normal(size=(6, 64, 3))).astype(np.float32)

    def clumps_seen(surplus: float) -> int:
        network = Longest()
        settings = Augmentation(fps_share=1.0, fps_surplus=surplus, scale=1.0, normalize=False)
        vote(network, points, 2, settings, num_points=8)
        rounded = [(view[..., 0] / 10).round() for view in network.asked]
        return min(len(set(cloud.tolist())) for view in rounded for cloud in view)

    assert clumps_seen(1.0) == 8 and clumps_seen(3.0) < 8


def test_validation_is_what_each_run_held_out(boxes: Path, tmp_path: Path) -> None:
    with np.load(boxes) as loaded:
        arrays = dict(loaded)
    arrays["points"][arrays["split"] == "test"] = np.nan
    only_train = {name: value[:45] if len(value) == 90 else value for name, value in arrays.items()}
    np.savez(tmp_path / "train.npz", **only_train)
    runs = [run(str(seed), recipe={"seed": seed, "validation_share": 0.2}) for seed in (0, 1)]
    report = evaluate_finetuned(runs, tmp_path / "train.npz", split="validation", progress=False)
    train = open_labelled(tmp_path / "train.npz", "train", num_points=32)
    held = [validation_split(train.labels, train.groups, 0.2, seed)[1] for seed in (0, 1)]
    for one, rows in zip(runs, held, strict=True):
        seen = torch.cat(one.network.asked)  # type: ignore[arg-type,union-attr]
        assert len(seen) == len(rows)
    asked = np.array(report.clouds["asked"].split(), dtype=int)
    assert len(asked) == len(np.union1d(*held)) and asked.sum() == len(held[0]) + len(held[1])
    assert report.context["num_test"] == len(asked) and "test was not touched" in report.context["protocol"]
    with pytest.raises(ValueError, match="says nothing about validation clouds"):
        evaluate_finetuned(run(recipe={}), boxes, split="validation", progress=False)


def test_data_in_which_another_axis_is_up(boxes: Path, tmp_path: Path) -> None:
    """Boxes that lie on their backs: their height is along z."""
    with np.load(boxes) as loaded:
        arrays = dict(loaded)
    arrays["points"] = np.stack([arrays["points"][:, :, axis] for axis in (0, 2, 1)], axis=2)
    np.savez(tmp_path / "lying.npz", **arrays)
    trained = {"seed": 0, "validation_share": 0.2, "up": "z"}
    told = run(recipe=trained)
    for given, up in ((run(), "z"), (told, None), (run(), "-z")):
        report = evaluate_finetuned(given, tmp_path / "lying.npz", up=up, progress=False)
        assert report.confusion == [[5, 0, 0], [0, 10, 0], [0, 0, 30]]
        assert f", {up or 'z'} up in the data" in report.context["protocol"]
    for given, up in ((run(), None), (told, "y")):
        report = evaluate_finetuned(given, tmp_path / "lying.npz", up=up, progress=False)
        assert report.confusion == [[5, 0, 0], [0, 0, 10], [0, 30, 0]]
        assert "up in the data" not in report.context["protocol"]


def test_validation_of_other_data_is_refused(boxes: Path, tmp_path: Path) -> None:
    train = open_labelled(boxes, "train", num_points=32)
    held = train.select(validation_split(train.labels, train.groups, 0.2, 0)[1])
    one = run()
    noted = {"validation_sha256": identity_sha256(held), "clouds_validation": len(held)}
    one = dataclasses.replace(one, provenance={**one.provenance, **noted})
    asked: dict[str, Any] = {"split": "validation", "progress": False}
    moved = tmp_path / "renamed.npz"
    moved.write_bytes(boxes.read_bytes())
    for points in (32, 64):
        report = evaluate_finetuned(one, moved, num_points=points, **asked)
        assert report.context["num_test"] == len(held)
    with np.load(boxes) as loaded:
        arrays = dict(loaded)
    mirrored = {"points": arrays["points"][:, :, ::-1]}  # the same labels and groups
    regrouped = {"group": np.arange(90)}
    for changed in (mirrored, regrouped):
        np.savez(tmp_path / "boxes.npz", **{**arrays, **changed})
        with pytest.raises(ValueError, match="not the data that longest was trained on"):
            evaluate_finetuned(one, tmp_path / "boxes.npz", **asked)
    # Of runs that noted only how many they were.
    one = dataclasses.replace(one, provenance={**run().provenance, "clouds_validation": len(held) + 1})
    with pytest.raises(ValueError, match="not the data that longest was trained on"):
        evaluate_finetuned(one, boxes, **asked)


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize(
    ("protocol", "fps_share", "said"),
    [
        ("standard", 0.5, "first 32 points"),
        ("standard", 1.0, "32 points by farthest point sampling of those in the file (at most 80)"),
        (
            "paper",
            0.5,
            "the papers' protocol: 32 points by farthest point sampling of those in the file (at most 8192)",
        ),
    ],
)
def test_clouds_are_seen_as_they_were_in_training(
    boxes: Path, protocol: Literal["standard", "paper"], fps_share: float, said: str, normalized: bool
) -> None:
    recipe = {"seed": 0, "cloud_points": 80, "augmentation": {"fps_share": fps_share}}
    one = run(recipe=recipe, normalized=normalized)
    report = evaluate_finetuned(one, boxes, protocol=protocol, progress=False)
    place = "centred on the centroid, scaled" if normalized else "not centred or scaled"
    assert report.context["protocol"].startswith(f"{said}, {place}")
    assert report.table().startswith("the papers' protocol") == (protocol == "paper")
    seen = torch.cat(one.network.asked).numpy()  # type: ignore[arg-type,union-attr]
    stored = open_labelled(boxes, "test", num_points=100).points
    if protocol == "standard":
        stored = stored[:, :80]
    for some, cloud in zip(seen, stored, strict=True):
        wanted = cloud[:32] if said.startswith("first") else _farthest(cloud, 32)
        if normalized:
            wanted = wanted - wanted.mean(axis=0)
            wanted = wanted / np.linalg.norm(wanted, axis=1).max()
        np.testing.assert_allclose(some, wanted, atol=1e-5)


def _farthest(cloud: Any, count: int) -> Any:
    """By hand: each the one that is farthest from all before it."""
    taken = [0]
    while len(taken) < count:
        gaps = np.linalg.norm(cloud[:, None] - cloud[None, taken], axis=2)
        taken.append(int(gaps.min(axis=1).argmax()))
    return cloud[taken]


def test_a_name_that_promises_another_format_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    for evaluate in (evaluate_finetuned, evaluate_parts):
        with pytest.raises(ValueError, match=r"x\.pdf: expected the name of a \.png file"):
            evaluate(nothing, nothing, picture=tmp_path / "x.pdf")  # type: ignore[operator]
    for evaluate in (evaluate_finetuned, evaluate_parts, evaluate_robustness, evaluate_linear):
        with pytest.raises(ValueError, match=r"x\.csv: expected the name of a \.json file"):
            evaluate(nothing, nothing, out=tmp_path / "x.csv")  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"x\.csv: expected the name of a \.json file"):
        compare([nothing, nothing], tmp_path / "x.csv")
    with pytest.raises(ValueError, match=r"x: expected the name of a \.png file"):
        label_curve([nothing], tmp_path / "x")


TWICE = run("twice")


def test_seeds_may_write_at_other_times(boxes: Path) -> None:
    recipes = [
        {"seed": seed, "log_steps": 10 + seed, "learning_rate": 1e-3, "augmentation": {"turn": 5.0}}
        for seed in (0, 1)
    ]
    report = evaluate_finetuned([run(recipe=one) for one in recipes], boxes, progress=False)
    assert report.summary[0]["runs"] == 2
    assert set(MAY_DIFFER) == {"seed", *MAY_CHANGE}


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([], "an empty list"),
        ([run(labels=("wide", "high", "round"))], r"only in the data: 'deep'; only in the model: 'round'"),
        ([run(), run(labels=("wide", "high", "round"))], "other labels than longest"),
        (
            [run(recipe={"shots": 1}), run("five", recipe={"shots": 5})],
            "five and longest are not seeds of one recipe: shots is 5 and 1",
        ),
        (
            [run(recipe={"learning_rate": 1e-3}), run("fast", recipe={"learning_rate": 2e-3, "seed": 1})],
            "fast and longest are not seeds of one recipe: learning_rate is 0.002 and 0.001",
        ),
        (
            [run(recipe={"augmentation": {"turn": rate, "scale": 1.0}}) for rate in (0.0, 180.0)],
            r"augmentation\.turn is 180\.0 and 0\.0",
        ),
        ([run(recipe={"label_smoothing": 0.2}), run(recipe={})], "label_smoothing is None and 0.2"),
        ([TWICE, run(), dataclasses.replace(TWICE, name="copy")], "copy: the same weights as twice; give"),
    ],
)
def test_runs_that_are_not_asked(boxes: Path, runs: list[Run], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        evaluate_finetuned(runs, boxes, progress=False)


def test_robustness_of_a_classifier(boxes: Path, tmp_path: Path) -> None:
    out = tmp_path / "robust.json"
    report = evaluate_robustness(run(), boxes, out=out, progress=False)
    found = {row["change"]: row["test_mean"] for row in read_evaluation(out)["robustness"]}
    assert report.summary[0]["mean"] == 100.0
    # "wide" and "deep" boxes look like each other when turned about the up axis, "high" ones like themselves.
    assert found["noise 0.02"] == 100.0 and found["rotation about up"] < 100.0
    assert found["rotation"] < 90.0
    table = tables(read_evaluation(out))
    assert "| rotation about up |" in table and "Fine-tuned classifier" in table


def test_robustness_of_farthest_points_and_of_some_conditions(boxes: Path) -> None:
    """Of a classifier that was trained on farthest points."""
    one = run(recipe={"seed": 0, "cloud_points": 80, "augmentation": {"fps_share": 1.0}})
    report = evaluate_robustness(
        one, boxes, conditions=["noise", "missing side"], num_points=40, progress=False
    )
    assert [row["change"] for row in report.robustness] == ["noise 0.02", "missing side 25 %"]
    assert [asked["name"] for asked in report.context["robustness"]["changes"]] == [
        "noise 0.02",
        "missing side 25 %",
    ]
    said = "40 points by farthest point sampling of those in the file (at most 80)"
    assert report.context["protocol"].startswith(said)
    clean, noisy, cut = one.network.asked  # type: ignore[misc,union-attr]
    stored = open_labelled(boxes, "test", num_points=80).points
    wanted = np.array([_farthest(cloud, 40) for cloud in stored])
    np.testing.assert_allclose(clean, normalize_clouds(wanted), atol=1e-5)
    away = np.linalg.norm(noisy.numpy() - normalize_clouds(wanted), axis=2)
    assert 0.02 < away.mean() < 0.06 and cut.shape == (45, 30, 3)
    with pytest.raises(ValueError, match="conditions: 'heat', expected some of rotation about up, rotation,"):
        evaluate_robustness(one, "nowhere", conditions=["heat"])
    with pytest.raises(ValueError, match="conditions: an empty list"):
        evaluate_robustness(one, "nowhere", conditions=[])
    with pytest.raises(
        ValueError, match=r"have 80 points and 40 are used, so there is no other number to try \(256, 512"
    ):
        evaluate_robustness(one, boxes, conditions=["points"], num_points=40, progress=False)
