"""Beyond the clean test: changed clouds, few-shot episodes, validation, the papers' protocol, JSON."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pointmae_zoo.data.labelled import joint_sha256, open_labelled
from pointmae_zoo.evaluate import evaluate_fewshot, evaluate_linear, evaluate_robustness, linear_probe
from pointmae_zoo.evaluate.fewshot import FewShotSettings, Pool, draw_episodes, few_shot
from pointmae_zoo.evaluate.robustness import Change, change_clouds, changes
from pointmae_zoo.hub import save_pretrained
from pointmae_zoo.hub.cards.evaluations import read_evaluation
from pointmae_zoo.hub.cards.scores import tables
from pointmae_zoo.hub.pretrained import public_name
from pointmae_zoo.registry import create_model

pytest.importorskip("sklearn")


def _clouds(count: int = 40, points: int = 96) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, points, 3)).astype(np.float32) * [1.0, 2.0, 0.5]


def _distances(points: np.ndarray) -> np.ndarray:
    """A feature that no rotation changes."""
    return np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)


def test_rotations_keep_what_rotations_keep_and_change_the_rest() -> None:
    points = _clouds()
    full = change_clouds(points, Change("rotation"), num_points=96)
    np.testing.assert_allclose(_distances(full), _distances(points), atol=1e-4)
    for axis, up in enumerate("xyz"):
        turned = change_clouds(points, Change("rotation about up"), num_points=96, up=up)
        np.testing.assert_allclose(turned[..., axis], points[..., axis], atol=1e-6)
        np.testing.assert_allclose(_distances(turned), _distances(points), atol=1e-4)
        # Of the same handedness, and each cloud by its own angle.
        moves = np.linalg.lstsq(points[0], turned[0], rcond=None)[0]
        assert np.linalg.det(moves) == pytest.approx(1.0, abs=1e-4)
        others = [other for other in range(3) if other != axis]
        angles = [
            np.arctan2(*np.linalg.lstsq(before, after, rcond=None)[0][others[0], others[::-1]])
            for before, after in zip(points, turned, strict=True)
        ]
        assert len(np.unique(np.round(angles, 3))) == len(points)
    # Uniform: a rotated axis points anywhere, so its mean is near 0 and no direction is preferred.
    many = np.tile(np.eye(3, dtype=np.float32), (4000, 1, 1))
    ends = change_clouds(many, Change("rotation"), num_points=3)
    assert np.abs(ends.mean(axis=0)).max() < 0.04
    np.testing.assert_allclose((ends[:, 0, :, None] * ends[:, 0, None]).mean(0), np.eye(3) / 3, atol=0.03)


def test_a_probe_on_invariant_features_does_not_notice_rotations() -> None:
    points = _clouds(120)
    labels = np.tile([0, 1], 60)
    points[labels == 1] *= [1.0, 0.6, 1.0]

    def features(clouds: np.ndarray) -> np.ndarray:
        away = np.linalg.norm(clouds - clouds.mean(axis=1, keepdims=True), axis=2)
        return np.quantile(away, np.linspace(0, 1, 8), axis=1).T

    test = points[80:]
    probe = linear_probe(
        features(points[:80]),
        labels[:80],
        np.arange(80),
        features(test),
        labels[80:],
        changed={
            one.name: features(change_clouds(test, one, num_points=96))
            for one in (Change("rotation"), Change("rotation about up"), Change("missing side", 0.6))
        },
    )
    assert probe.test_accuracy is not None and probe.test_accuracy > 80
    assert probe.changed["rotation"] == probe.changed["rotation about up"] == probe.test_accuracy
    assert probe.changed["missing side 60 %"] < probe.test_accuracy


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_missing_parts_are_exactly_the_share_and_lie_together(share: float) -> None:
    points = _clouds()
    removed = round(share * 80)
    for kind in ("missing ball", "missing side"):
        kept = change_clouds(points, Change(kind, share), num_points=80)  # type: ignore[arg-type]
        assert kept.shape == (40, 80 - removed, 3)
        for before, after in zip(points[:, :80], kept, strict=True):
            rows = {point.tobytes(): row for row, point in enumerate(before)}
            order = [rows[point.tobytes()] for point in after]
            assert order == sorted(order)  # the rest is as it was
            gone = before[np.setdiff1d(np.arange(80), order)]
            assert len(gone) == removed
            if kind == "missing ball":
                # One of the removed points is the middle of a ball that holds them all and no other point.
                radii = np.linalg.norm(gone[:, None] - gone[None], axis=2).max(axis=1)
                nearest = np.linalg.norm(gone[:, None] - after[None], axis=2).min(axis=1)
                assert (radii <= nearest + 1e-6).any()
            else:
                assert _separable(gone, after)


def _separable(one: np.ndarray, other: np.ndarray) -> bool:
    from sklearn.svm import SVC

    points, side = np.concatenate([one, other]), np.repeat([0, 1], [len(one), len(other)])
    return bool((SVC(kernel="linear", C=1e6).fit(points, side).predict(points) == side).all())


def test_points_and_noise() -> None:
    points = _clouds()
    fewer = change_clouds(points, Change("points", 32), num_points=64)
    np.testing.assert_array_equal(fewer, points[:, :32])
    noisy = change_clouds(points, Change("noise", 0.05), num_points=64)
    radius = np.linalg.norm(points[:, :64] - points[:, :64].mean(1, keepdims=True), axis=2).max(axis=1)
    ratio = (noisy - points[:, :64]) / radius[:, None, None]
    assert ratio.std() == pytest.approx(0.05, rel=0.05) and abs(ratio.mean()) < 0.003
    again = change_clouds(points, Change("noise", 0.05), num_points=64)
    np.testing.assert_array_equal(noisy, again)
    with pytest.raises(ValueError, match="128 points asked for, but the clouds have 96"):
        change_clouds(points, Change("points", 128), num_points=64)
    with pytest.raises(ValueError, match="share"):
        change_clouds(points, Change("missing ball", 1.0), num_points=64)


def test_only_counts_that_the_file_has_are_tried() -> None:
    counts = [one.amount for one in changes(available=2048, num_points=1024) if one.kind == "points"]
    assert counts == [256, 512, 2048]
    names = [one.name for one in changes(available=4096, num_points=2048)]
    assert len(set(names)) == len(names) and "4096 points" in names and "2048 points" not in names


def _pools(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Eight classes: labels and groups (pairs of near duplicates) of a support and of a query pool."""
    labels, query_labels = np.repeat(np.arange(8), 30), np.repeat(np.arange(8), 12)
    return labels, np.arange(240) // 2, query_labels, 1000 + np.arange(96) // 2


def test_episodes_are_what_was_asked_for() -> None:
    labels, groups, query_labels, query_groups = _pools(np.random.default_rng(0))
    settings = FewShotSettings(ways=5, shots=10, queries=4, episodes=50)
    episodes = draw_episodes(labels, groups, query_labels, query_groups, settings)
    assert len(episodes) == 50
    for support, query in episodes:
        classes, shots = np.unique(labels[support], return_counts=True)
        assert len(classes) == 5 and (shots == 10).all()
        asked, queries = np.unique(query_labels[query], return_counts=True)
        assert (asked == classes).all() and (queries == 4).all()
        assert len(np.unique(groups[support])) == 50 and len(np.unique(query)) == 20
    again = draw_episodes(labels, groups, query_labels, query_groups, settings)
    assert all(
        (a.support == b.support).all() and (a.query == b.query).all()
        for a, b in zip(episodes, again, strict=True)
    )
    # Support and queries from one pool: never a query of a group that the support has seen.
    for support, query in draw_episodes(labels, groups, labels, groups, settings):
        assert not set(groups[support]) & set(groups[query])


def test_separable_features_need_few_shots_and_random_ones_do_not_help() -> None:
    rng = np.random.default_rng(1)
    labels, groups, query_labels, query_groups = _pools(rng)
    settings = FewShotSettings(ways=5, shots=10, episodes=60)
    episodes = draw_episodes(labels, groups, query_labels, query_groups, settings)
    sure = few_shot(
        Pool(np.eye(8)[labels] + 0.05 * rng.normal(size=(240, 8)), labels),
        Pool(np.eye(8)[query_labels] + 0.05 * rng.normal(size=(96, 8)), query_labels),
        episodes,
    )
    assert (sure == 100.0).all()
    blind = few_shot(
        Pool(rng.normal(size=(240, 6)), labels), Pool(rng.normal(size=(96, 6)), query_labels), episodes
    )
    # 60 episodes of 60 queries, but only 96 different clouds: their chance hits deviate by about 4 points.
    assert abs(blind.mean() - 20.0) < 8.0
    constant = few_shot(Pool(np.ones((240, 3)), labels), Pool(np.ones((96, 3)), query_labels), episodes)
    assert (constant == 20.0).all()  # one answer for all: one class right, four wrong


def test_few_shot_counts_classes_equally() -> None:
    labels = np.repeat([0, 1], 4)
    features = np.array([[0.0], [0.1], [0.2], [0.3], [1.0], [1.1], [1.2], [1.3]])
    query_labels = np.array([0, 0, 0, 1])
    settings = FewShotSettings(ways=2, shots=4, episodes=3)
    episodes = draw_episodes(labels, np.arange(8), query_labels, 100 + np.arange(4), settings)
    # Two of the three queries of class 0 look like class 1: (1/3 + 1) / 2.
    accuracy = few_shot(
        Pool(features, labels), Pool(np.array([[0.1], [1.2], [1.2], [1.2]]), query_labels), episodes
    )
    np.testing.assert_allclose(accuracy, 100 * (1 / 3 + 1) / 2)


def test_too_few_clouds_for_episodes() -> None:
    labels = np.repeat(np.arange(5), 10)
    with pytest.raises(ValueError, match="0 classes have 10 training clouds of different groups, 5"):
        draw_episodes(labels, np.arange(50) // 2, labels, 100 + np.arange(50), FewShotSettings())
    with pytest.raises(ValueError, match="no cloud of another group is left to ask"):
        draw_episodes(labels, np.arange(50), labels, np.arange(50), FewShotSettings(episodes=1))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory, tiny: dict[str, list[int]]) -> Path:
    """A file of 6 classes of boxes, and two models of the same network in one folder."""
    folder = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(6)
    labels = np.tile(np.arange(6), 50)
    sides = np.array(
        [[1, 1, 1], [1, 0.2, 1], [1, 1, 0.2], [0.2, 1, 0.2], [0.2, 0.2, 1], [1, 0.3, 0.3]], dtype=float
    )
    points = rng.uniform(-1, 1, size=(300, 300, 3)) * sides[labels][:, None]
    np.savez(
        folder / "data.npz",
        points=points.astype(np.float32),
        y=labels,
        classes=np.array(["ball", "plate", "wall", "pole", "beam", "block"]),
        core_classes=np.array(["plate", "wall", "pole", "beam", "block"]),
        split=np.where(np.arange(300) < 200, "train", "test"),
        group=np.arange(300),
    )
    for seed in (0, 1):
        torch.manual_seed(seed)
        save_pretrained(create_model("i2p_mae_tiny", **tiny).eval(), folder / "runs" / f"seed{seed}")
    return folder


def test_reports_of_a_probe_of_few_shots_and_of_robustness(shapes: Path) -> None:
    """Each in its own file, which names nobody's folders; summaries are those of the rows."""
    both = [shapes / "runs" / "seed0", shapes / "runs" / "seed1"]
    settings: dict[str, Any] = {"num_points": 64, "seeds": 1, "label": "boxes", "progress": False}
    linear = evaluate_linear(both, shapes / "data.npz", out=shapes / "linear.json", **settings)
    few = evaluate_fewshot(
        both, shapes / "data.npz", ways=[3], shots=[5], episodes=20, out=shapes / "few.json", **settings
    )
    robust = evaluate_robustness(both, shapes / "data.npz", out=shapes / "robust.json", **settings)
    stored = {}
    for name, report in (("linear", linear), ("few", few), ("robust", robust)):
        text = (shapes / f"{name}.json").read_text(encoding="utf-8")
        assert str(shapes) not in text and str(shapes.parent) not in text
        stored[name] = read_evaluation(shapes / f"{name}.json")
        assert stored[name] == json.loads(json.dumps(report.as_json()))
        context = stored[name]["context"]
        assert context["models"] == ["seed0", "seed1"] and context["label"] == "boxes"
        assert context["split"] == "test" and context["protocol_name"] == "standard"
        assert context["majority_accuracy"] == pytest.approx(100 * 16 / 84)
    assert [one["context"]["task"] for one in stored.values()] == ["linear", "fewshot", "robustness"]
    # Cloud by cloud what the summary says.
    right = np.array(stored["linear"]["clouds"]["svm"].split(), dtype=int)
    assert set(right) <= {0, 1, 2} and len(right) == len(stored["linear"]["clouds"]["group"].split())
    assert 100 * right.mean() / 2 == pytest.approx(stored["linear"]["summary"][0]["test_mean"])
    # The clean clouds of robustness are those of the probe.
    of_svm = [row for row in stored["linear"]["summary"] if row["classifier"] == "svm"]
    assert stored["robust"]["summary"] == of_svm
    names = [change["name"] for change in stored["robust"]["context"]["robustness"]["changes"]]
    assert names == [
        "rotation about up",
        "rotation",
        "256 points",
        "noise 0.02",
        "missing ball 25 %",
        "missing side 25 %",
    ]
    for row in stored["robust"]["robustness"]:
        of_row = [one for one in stored["robust"]["rows"] if one["features"] == row["features"]]
        runs = [one["changed"][row["change"]] for one in of_row]
        assert len(runs) == row["runs"] and row["test_mean"] == pytest.approx(np.mean(runs))
        assert row["test_std"] == pytest.approx(np.std(runs, ddof=1) if len(runs) > 1 else 0.0)
    assert len(stored["robust"]["robustness"]) == 3 * len(names)
    accuracies = {row["features"]: row for row in stored["few"]["few_shot"]}
    assert set(accuracies) == {"weights", "random, BatchNorm calibrated", "random"}
    assert accuracies["weights"]["runs"] == 2 and len(accuracies["weights"]["accuracies"]) == 2
    # Seed 0 of the baseline is the first model: the same clouds, changes and episodes give the same numbers.
    assert accuracies["random"]["accuracies"][0] == accuracies["weights"]["accuracies"][0]
    first, last = robust.as_json()["rows"][0], robust.as_json()["rows"][-1]
    assert (first["model"], last["seed"]) == ("seed0", 0) and first["changed"] == last["changed"]
    for report, words in (
        (linear, "majority class"),
        (robust, "test clouds changed, svm"),
        (robust, "noise 0.02"),
        (few, "weights, 3-way 5-shot"),
    ):
        assert words in report.table()
    # As Markdown each has its own table.
    titles = [tables(one).partition("\n")[0].split("|")[1].strip() for one in stored.values()]
    assert titles == ["frozen features, 5 classes", "frozen features", "test clouds"]


def test_robustness_of_a_part_segmenter_is_said_to_be_its_encoders(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each model is read once, whatever it is."""
    import pointmae_zoo.hub

    stored = shapes / "runs" / "seed0"
    segmenter = pointmae_zoo.hub.from_pretrained(
        stored, kind="part_segmentation", num_parts=4, num_object_classes=2
    )
    classifier = pointmae_zoo.hub.from_pretrained(
        stored, kind="classification", labels=["plate", "wall", "pole", "beam", "block"]
    )
    save_pretrained(segmenter.eval(), tmp_path / "segmenter")
    save_pretrained(classifier.eval(), tmp_path / "classifier")
    read: list[Path] = []
    load = pointmae_zoo.hub.from_pretrained

    def counted(source: Path, **how: Any) -> Any:
        read.append(source)
        return load(source, **how)

    monkeypatch.setattr(pointmae_zoo.hub, "from_pretrained", counted)
    settings: dict[str, Any] = {"num_points": 64, "seeds": 0, "label": "x", "progress": False}
    models = [tmp_path / "segmenter", tmp_path / "classifier", stored]
    reports = [evaluate_robustness(model, shapes / "data.npz", **settings) for model in models]
    assert read == models
    told = "these are the features of its encoder; its head was not asked"
    assert [told in report.table() for report in reports] == [True, False, False]
    assert [told in tables(report.as_json()) for report in reports] == [True, False, False]
    assert reports[0].robustness == reports[2].robustness
    assert reports[0].context["encoder_sha256"] == reports[2].context["encoder_sha256"]
    with pytest.raises(ValueError, match="classifiers and other weights together"):
        evaluate_robustness(models, shapes / "data.npz", **settings)


def test_few_shot_takes_what_the_data_can_give(shapes: Path) -> None:
    """Five core classes of 33 training clouds: no ten ways."""
    model = shapes / "runs" / "seed0"
    settings: dict[str, Any] = {"num_points": 64, "seeds": 0, "episodes": 3, "progress": False}
    report = evaluate_fewshot(model, shapes / "data.npz", split="validation", **settings)
    assert [(row["ways"], row["shots"]) for row in report.few_shot] == [(5, 10), (5, 20)]
    assert [one.partition(":")[0] for one in report.context["left_out"]] == [
        "10-way 10-shot",
        "10-way 20-shot",
    ]
    assert "left out: 10-way 20-shot: 5 classes have 20 training clouds" in report.table()
    assert "test was not touched" in report.context["protocol"] and report.context["num_test"] == 0
    with pytest.raises(ValueError, match=r"data\.npz: few-shot: 5 classes have 10 .* 10 are needed"):
        evaluate_fewshot(model, shapes / "data.npz", ways=[10], shots=[10], **settings)


def test_validation_never_reads_a_test_cloud(shapes: Path, tmp_path: Path) -> None:
    def report(data: Path, **settings: Any) -> Any:
        return evaluate_linear(
            shapes / "runs" / "seed0", data, num_points=64, seeds=0, progress=False, **settings
        )

    with np.load(shapes / "data.npz") as loaded:
        arrays = dict(loaded)
    tested = report(shapes / "data.npz")
    of_test = arrays["split"] == "test"
    # Test clouds that would break anything that looked at them.
    arrays["points"][of_test] = 0.0
    arrays["y"][of_test] = 1
    np.savez(tmp_path / "spoilt.npz", **arrays)
    validated = report(tmp_path / "spoilt.npz", split="validation")
    for one, other in zip(tested.rows, validated.rows, strict=True):
        assert (one["C"], one["cv_accuracy"]) == (other["C"], other["cv_accuracy"])
        assert other["test_accuracy"] is None and other["num_test"] == 0
    assert validated.context["majority_accuracy"] == pytest.approx(100 * 34 / 167, abs=0.5)
    held_out = np.array(validated.clouds["svm"].split(), dtype=int)
    assert len(held_out) == validated.context["num_train"]
    assert 100 * held_out.mean() == pytest.approx(validated.rows[0]["cv_accuracy"], abs=1.0)
    assert validated.differences == []
    _, *rows = validated.table().splitlines()
    assert all(row.endswith("not touched") and "+-" not in row for row in rows[:2])
    assert rows[2].startswith("majority class") and rows[2].split()[2:] == [
        f"{validated.context['majority_accuracy']:.1f}"
    ]
    assert rows[3:] == ["random baselines left out (--seeds 3 shows them)"]
    only_train = {name: value[~of_test] if len(value) == 300 else value for name, value in arrays.items()}
    np.savez(tmp_path / "train.npz", **only_train)
    assert report(tmp_path / "train.npz", split="validation").rows == validated.rows


def test_protocol_of_the_papers(shapes: Path) -> None:
    from sklearn.svm import SVC

    from pointmae_zoo import from_pretrained

    found = evaluate_linear(
        shapes / "runs" / "seed0",
        shapes / "data.npz",
        classes="all",
        num_points=64,
        seeds=0,
        protocol="paper",
        C=0.5,
        progress=False,
    )
    assert [row["classifier"] for row in found.rows] == ["svm"] and found.rows[0]["C"] == 0.5
    assert found.context["protocol"].startswith("the papers' protocol")
    assert "C = 0.5" in found.context["protocol"] and "papers" in found.table().splitlines()[0]
    # Independently: the points and the features as they come.
    with np.load(shapes / "data.npz") as data:
        points, labels, train = torch.from_numpy(data["points"][:, :64]), data["y"], data["split"] == "train"
    features = from_pretrained(shapes / "runs" / "seed0").embed(points).numpy()
    machine = SVC(kernel="linear", C=0.5).fit(features[train].astype(float), labels[train])
    assert found.rows[0]["test_accuracy"] == pytest.approx(
        100 * machine.score(features[~train].astype(float), labels[~train])
    )


def test_benchmarks_have_their_own_splits(shapes: Path, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    folder = tmp_path / "modelnet40_ply_hdf5_2048"
    folder.mkdir()
    with np.load(shapes / "data.npz") as data:
        points, labels, split, classes = (data[name] for name in ("points", "y", "split", "classes"))
    (folder / "shape_names.txt").write_text("".join(f"{name}\n" for name in classes))
    for part in ("train", "test"):
        (folder / f"{part}_files.txt").write_text(f"data/modelnet40_ply_hdf5_2048/ply_data_{part}0.h5\n")
        with h5py.File(folder / f"ply_data_{part}0.h5", "w") as archive:
            archive["data"] = points[split == part]
            archive["label"] = labels[split == part][:, None].astype(np.uint8)
    settings: dict[str, Any] = {"num_points": 64, "seeds": 0, "progress": False}
    model, entry = shapes / "runs" / "seed0", f"modelnet40:{folder}"
    from_file = evaluate_robustness(model, shapes / "data.npz", classes="all", **settings)
    report = evaluate_robustness(model, entry, **settings)
    assert report.rows == from_file.rows and report.robustness == from_file.robustness
    assert report.context["dataset"]["file"] == "modelnet40:modelnet40_ply_hdf5_2048"
    assert report.context["class_set"] == "all"
    # Every cloud is a group of its own.
    train, test = (open_labelled(entry, part, num_points=64) for part in ("train", "test"))
    assert not set(train.groups) & set(test.groups)
    probed = evaluate_linear(model, entry, **settings)
    assert probed.summary[0] == report.summary[0]
    assert probed.context["dataset"]["sha256"] == joint_sha256([train, test])
    with pytest.raises(ValueError, match="has no core classes"):
        evaluate_linear(model, f"modelnet40:{folder}", classes="core", **settings)
    with pytest.raises(ValueError, match="300 points, fewer than the 400 asked for"):
        evaluate_linear(model, f"modelnet40:{folder}", **{**settings, "num_points": 400})


def test_variants_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    for place, end in (
        ("main_split", ""),
        ("main_split_nobg", ""),
        ("main_split", "_augmentedrot_scale75"),
    ):
        (tmp_path / "h5_files" / place).mkdir(parents=True, exist_ok=True)
        for part in ("training", "test"):
            with h5py.File(tmp_path / f"h5_files/{place}/{part}_objectdataset{end}.h5", "w") as archive:
                archive["data"] = rng.normal(size=(4, 64, 3)).astype(np.float32)
                archive["label"] = np.arange(4)

    def name(entry: str, split: Any = "test") -> str:
        return open_labelled(entry, split, num_points=64).name

    hardest = "scanobjectnn:main_split/training_objectdataset_augmentedrot_scale75.h5"
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in (tmp_path, tmp_path / "h5_files", tmp_path / "h5_files" / "main_split", "~/h5_files"):
        assert name(f"scanobjectnn:{folder}") == name(f"scanobjectnn:{folder}", "train") == hardest
    files = [f"scanobjectnn:{place}/training_objectdataset.h5" for place in ("main_split", "main_split_nobg")]
    monkeypatch.chdir(tmp_path / "h5_files")
    assert [name(file) for file in files] == files
    with pytest.raises(ValueError, match="'scanobjectnn:' has no path; expected scanobjectnn:FOLDER"):
        name("scanobjectnn:")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "both"}, "split: 'both', expected 'test' or 'validation'"),
        ({"protocol": "house"}, "protocol: 'house'"),
        ({"protocol": "paper", "classifiers": ["logistic"]}, "papers' protocol has only the svm"),
        ({"C": 1.0}, "a fixed one belongs to protocol 'paper'"),
        ({"protocol": "paper", "C": 0.0}, "C: 0.0, expected a number above 0"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_linear("anything", "nowhere.npz", **settings)


def test_names_of_models_hide_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    assert [public_name(source) for source in (tmp_path / "run", ".", "../run/", "./../run/.")] == ["run"] * 4
    assert public_name("..") == tmp_path.name
    assert public_name("i2p_mae_tiny.shapes") == public_name("i2p_mae_tiny") == "i2p_mae_tiny.shapes"
    assert public_name("org/somewhere@main") == "org/somewhere@main"
