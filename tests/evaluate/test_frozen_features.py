"""Evaluations of frozen features: reports, validation, the papers' protocol, benchmarks, settings."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pointmae_zoo.datasets.labelled import joint_sha256, open_labelled
from pointmae_zoo.datasets.poses import uniform_rotations
from pointmae_zoo.evaluate import evaluate_fewshot, evaluate_linear, evaluate_robustness, linear
from pointmae_zoo.evaluate.fewshot import FewShotSettings, draw_episodes
from pointmae_zoo.hub import save_pretrained
from pointmae_zoo.hub.pretrained import public_name
from pointmae_zoo.models.default_weights import DEFAULT_MODEL
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.models.registry import create_model
from pointmae_zoo.reports.schema import read_evaluation
from pointmae_zoo.reports.tables import tables
from pointmae_zoo.shapes.pose import Pose
from pointmae_zoo.shapes.up_axis import turn_up
from samples.reports import written

pytest.importorskip("sklearn")


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
    told = "These numbers are of its encoder's features, without its head"
    assert [told in report.table() for report in reports] == [True, False, False]
    assert [told in tables(report.as_json()) for report in reports] == [True, False, False]
    assert reports[0].robustness == reports[2].robustness
    assert reports[0].context["encoder_sha256"] == reports[2].context["encoder_sha256"]
    with pytest.raises(ValueError, match="classifiers and other weights together"):
        evaluate_robustness(models, shapes / "data.npz", **settings)


def test_pose_any_scores_clouds_that_lie_anyhow(shapes: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    with np.load(shapes / "data.npz") as arrays:
        content = dict(arrays)
    turns = uniform_rotations(300, rng)
    turns[content["split"] == "train"] = np.eye(3)
    lying = {**content, "points": np.einsum("mij,mnj->mni", turns, content["points"]).astype(np.float32)}
    np.savez(tmp_path / "lying.npz", **lying)
    how: dict[str, Any] = {"seeds": 0, "num_points": 256, "classifiers": ["svm"], "progress": False}
    model, out = shapes / "runs" / "seed0", tmp_path / "lying.json"

    def score(file: Path, pose: Pose, **more: Any) -> float:
        report = evaluate_linear(model, file, pose=pose, **how, **more)
        return float(report.as_json()["summary"][0]["test_mean"])

    # A plate and a wall are one shape in any pose, and so are a pole, a beam and a block, nearly.
    upright, anyhow = score(shapes / "data.npz", "any"), score(tmp_path / "lying.npz", "any", out=out)
    assert upright == pytest.approx(anyhow, abs=5)
    assert anyhow > score(tmp_path / "lying.npz", "upright") + 10
    context = read_evaluation(out)["context"]
    assert context["pose"] == "any" and "principal axes" in context["protocol"]


def test_up_turns_the_data(shapes: Path, tmp_path: Path) -> None:
    with np.load(shapes / "data.npz") as arrays:
        content = dict(arrays)
    content["points"] = turn_up(content["points"], "y", "z")
    np.savez(tmp_path / "data.npz", **content)
    how: dict[str, Any] = {"seeds": 0, "num_points": 256, "progress": False}
    model = shapes / "runs" / "seed0"
    for evaluate in (evaluate_linear, evaluate_fewshot, evaluate_robustness):
        more = {"classifiers": ["svm"]} if evaluate is evaluate_linear else {}
        more |= {"ways": [3], "shots": [5], "episodes": 5} if evaluate is evaluate_fewshot else {}
        asked = {**how, **more}
        first = evaluate(model, shapes / "data.npz", **asked).as_json()
        turned = evaluate(model, tmp_path / "data.npz", up="z", **asked).as_json()
        for part in ("summary", "few_shot", "robustness"):
            assert turned[part] == first[part]
        assert "z up in the data" in turned["context"]["protocol"]


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
    assert all(row.endswith("not touched") and "+-" not in row for row in rows[:3])
    assert rows[3].startswith("majority class") and rows[3].split()[2:] == [
        f"{validated.context['majority_accuracy']:.1f}"
    ]
    assert rows[4:] == [
        "svm, papers' C: raw features, C = 0.0093 fixed beforehand; elsewhere C is chosen on train",
        "random baselines left out (--seeds 3 shows them)",
    ]
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


def test_the_papers_C_stands_beside_the_chosen_one(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.svm import SVC

    from pointmae_zoo import from_pretrained

    model, settings = shapes / "runs" / "seed0", {"num_points": 64, "progress": False, "C": 0.5}
    found = evaluate_linear(model, shapes / "data.npz", classes="all", seeds=1, **settings)
    of_weights = [row for row in found.summary if row["features"] == "weights"]
    assert [row["classifier"] for row in of_weights] == ["svm", "logistic", "paper"]
    assert not any(row["classifier"] == "paper" for row in found.summary if row["features"] != "weights")
    # Independently: points as the chosen C gets them, features as they come.
    with np.load(shapes / "data.npz") as data:
        points, labels, train = data["points"][:, :64].astype(np.float64), data["y"], data["split"] == "train"
    points -= points.mean(axis=1, keepdims=True)
    points /= np.linalg.norm(points, axis=2).max(axis=1)[:, None, None]
    features = from_pretrained(model).embed(torch.from_numpy(points).float()).numpy().astype(float)
    machine = SVC(kernel="linear", C=0.5).fit(features[train], labels[train])
    expected = 100 * machine.score(features[~train], labels[~train])
    assert of_weights[2]["test_mean"] == pytest.approx(expected)
    assert "svm, papers' C" in found.table() and "raw features, C = 0.5 fixed beforehand" in found.table()
    told = f"With the papers' fixed C (0.5) on raw features, accuracy is {expected:.1f}."
    assert told in tables(read_evaluation(written(shapes / "beside.json", found.as_json())))
    # Nothing else depends on it, and large data have no logistic regression unless it is asked for.
    monkeypatch.setattr(linear, "MANY_CLOUDS", 200)
    many = evaluate_linear(model, shapes / "data.npz", classes="all", seeds=0, **settings)
    assert [row["classifier"] for row in many.summary] == ["svm", "paper"]
    assert many.rows[0] == found.rows[0]


def test_too_few_clouds_to_choose_C_are_told_before_the_work(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed something")

    monkeypatch.setattr("pointmae_zoo.evaluate.frozen_features.embed_clouds", never)
    with np.load(shapes / "data.npz") as loaded:
        arrays = dict(loaded)
    # Of three classes two, four and five training clouds; two of the last are near duplicates.
    train = arrays["split"] == "train"
    counts = {1: 2, 2: 4, 3: 5}
    chosen = np.concatenate(
        [np.flatnonzero((arrays["y"] == label) & train)[:count] for label, count in counts.items()]
    )
    arrays["group"][chosen[-1]] = arrays["group"][chosen[-2]]
    kept = np.concatenate([chosen, np.flatnonzero(~train & np.isin(arrays["y"], list(counts)))])
    few = {name: value[kept] if len(value) == 300 else value for name, value in arrays.items()}
    np.savez(tmp_path / "few.npz", **few)
    settings: dict[str, Any] = {"num_points": 64, "seeds": 0, "progress": False}
    for evaluate in (evaluate_linear, evaluate_robustness):
        with pytest.raises(
            ValueError, match="5-fold cross-validation: its largest class has 4 and its small"
        ):
            evaluate(shapes / "runs" / "seed0", tmp_path / "few.npz", **settings)


def test_a_model_gets_the_points_it_was_made_for(
    shapes: Path, tmp_path: Path, tiny: dict[str, list[int]]
) -> None:
    folders = []
    for count in (48, 96):
        torch.manual_seed(0)
        model = create_model("i2p_mae_tiny", preprocess=Preprocess(num_points=count), **tiny)
        folders.append(save_pretrained(model.eval(), tmp_path / f"of{count}"))
    settings: dict[str, Any] = {"seeds": 0, "progress": False}
    for evaluate, more in (
        (evaluate_linear, {"classifiers": ["svm"]}),
        (evaluate_fewshot, {"ways": [3], "shots": [5], "episodes": 2}),
        (evaluate_robustness, {"conditions": ["noise"]}),
    ):
        usual = evaluate(folders[0], shapes / "data.npz", **settings, **more)
        asked = evaluate(folders[0], shapes / "data.npz", num_points=48, **settings, **more)
        assert usual.context["num_points"] == 48 and "first 48 points" in usual.context["protocol"]
        assert (usual.summary, usual.few_shot) == (asked.summary, asked.few_shot)
        with pytest.raises(ValueError, match=r"of48 for 48, of96 for 96\); choose one with --points"):
            evaluate(folders, shapes / "data.npz", **settings, **more)


def test_progress_says_what_is_done(
    shapes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pointmae_zoo.system.progress.SECONDS_BETWEEN_LINES", 0.0)
    settings: dict[str, Any] = {"num_points": 64, "seeds": 1, "classifiers": ["svm"]}
    evaluate_linear(shapes / "runs" / "seed0", shapes / "data.npz", classes="all", **settings)
    lines = capsys.readouterr().err.splitlines()
    steps = list(dict.fromkeys(line.partition("network ")[2] for line in lines))
    fitting = [f"svm: choosing C, fold {fold} of 5" for fold in range(1, 6)] + [
        "svm: fitting on all of train"
    ]
    assert steps == [
        *(f"1 of 3, {step}" for step in ("embedding", *fitting)),
        *(f"2 of 3, {step}" for step in ("calibrating BatchNorm", "embedding", *fitting)),
        *(f"3 of 3, {step}" for step in ("embedding", *fitting)),
    ]
    # Three networks embed 300 clouds, and one calibrates on the 200 of train.
    assert lines[-1].startswith("probe: 1100 of 1100 clouds")


def test_few_shot_in_the_papers_protocol(shapes: Path, tmp_path: Path) -> None:
    model, data = shapes / "runs" / "seed0", shapes / "data.npz"
    settings: dict[str, Any] = {"num_points": 64, "seeds": 0, "progress": False, "protocol": "paper"}
    with np.load(data) as loaded:
        arrays = dict(loaded)
    with pytest.raises(ValueError, match=r"asks 20 clouds of each class, and a fold has 3\d to ask of 2"):
        evaluate_fewshot(model, data, ways=[2], shots=[5], **settings)
    with pytest.raises(ValueError, match="episodes: the papers' protocol has 10"):
        evaluate_fewshot(model, data, episodes=10, **settings)
    with pytest.raises(ValueError, match="protocol: 'house'"):
        evaluate_fewshot(model, data, **{**settings, "protocol": "house"})
    # Enough of every class to ask.
    twice = {
        name: np.concatenate([value, value]) if len(value) == 300 else value for name, value in arrays.items()
    }
    twice["group"] = np.arange(600)
    np.savez(tmp_path / "twice.npz", **twice)
    found = evaluate_fewshot(model, tmp_path / "twice.npz", ways=[2, 5], shots=[5], **settings)
    assert found.context["protocol_name"] == "paper"
    told = found.context["protocol"]
    assert (
        "10 folds, 20 queries a class" in told
        and "no fine-tuning" in told
        and "the folds are our own" in told
    )
    stored = read_evaluation(written(tmp_path / "few.json", found.as_json()))
    parts = [
        open_labelled(tmp_path / "twice.npz", part, num_points=64, classes="core")
        for part in ("train", "test")
    ]
    for row, asked in zip(stored["few_shot"], stored["context"]["few_shot"], strict=True):
        folds = np.array(row["folds"])
        assert len(folds) == 10 and (row["test_mean"], row["episode_std"]) == pytest.approx(
            (folds.mean(), folds.std(ddof=1))
        )
        # The folds are drawn again from what the file says.
        drawn = draw_episodes(
            parts[0].labels,
            parts[0].groups,
            parts[1].labels,
            parts[1].groups,
            FewShotSettings(ways=asked["ways"], shots=asked["shots"], episodes=10, seed=asked["seed"]),
        )
        assert all(len(query) == 20 * asked["ways"] for _, query in drawn)
        rows = np.concatenate([rows for episode in drawn for rows in episode]).astype("<i8")
        assert hashlib.sha256(rows.tobytes()).hexdigest() == asked["folds_sha256"]
    first = stored["few_shot"][0]
    shown = f"| these weights | {first['test_mean']:.1f} ± {first['episode_std']:.1f} |"
    assert shown in tables(stored) and "over folds" in found.table()


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
        ({"C": 1.0, "classifiers": ["svm"]}, "a fixed one belongs to the classifier 'paper'"),
        ({"protocol": "paper", "C": 0.0}, "C: 0.0, expected a number above 0"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_linear(DEFAULT_MODEL, "nowhere.npz", **settings)


def test_names_of_models_hide_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    assert [public_name(source) for source in (tmp_path / "run", ".", "../run/", "./../run/.")] == ["run"] * 4
    assert public_name("..") == tmp_path.name
    assert public_name("i2p_mae_tiny.shapes") == public_name("i2p_mae_tiny") == "i2p_mae_tiny.shapes"
    assert public_name("org/somewhere@main") == "org/somewhere@main"
