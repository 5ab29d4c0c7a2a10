"""The linear probe and its baselines."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import pointmae_zoo
from pointmae_zoo.datasets.clouds import normalize_clouds
from pointmae_zoo.evaluate import (
    evaluate_linear,
    frozen_features,
    linear,
    linear_probe,
    paired_difference,
)
from pointmae_zoo.evaluate.frozen_features import (
    Data,
    Encoders,
    calibrate_batch_norm,
    embed_clouds,
    on_threads,
)
from pointmae_zoo.hub import save_pretrained
from pointmae_zoo.models.default_weights import DEFAULT_MODEL
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.models.registry import create_model

sklearn = pytest.importorskip("sklearn")


def _blobs(rng: np.random.Generator, per_class: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(3), per_class)
    centers = np.array([[5.0, 0, 0, 0], [0, 5.0, 0, 0], [0, 0, 5.0, 0]])
    return centers[labels] + spread * rng.normal(size=(len(labels), 4)), labels


@pytest.mark.parametrize("classifier", ["svm", "logistic"])
def test_separable_classes_are_separated_at_any_scale_of_the_features(classifier: str) -> None:
    rng = np.random.default_rng(0)
    train, y_train = _blobs(rng, 20, 0.3)
    test, y_test = _blobs(rng, 10, 0.3)
    groups = np.arange(60)
    probe = linear_probe(train, y_train, groups, test, y_test, classifier=classifier)
    assert probe.cv_accuracy == probe.test_accuracy == 100.0
    assert (probe.num_train, probe.num_test, probe.num_features, probe.num_classes) == (60, 30, 4, 3)
    stretch = np.array([1e4, 1e-4, 1, 1])
    again = linear_probe(
        train * stretch + 7, y_train, groups, test * stretch + 7, y_test, classifier=classifier
    )
    assert (again.C, again.cv_accuracy, again.test_accuracy) == (probe.C, 100.0, 100.0)


def test_groups_are_never_split_between_folds() -> None:
    # Five copies of each of 40 random vectors, labels random by group: whoever splits groups scores 100.
    rng = np.random.default_rng(1)
    features = np.repeat(rng.normal(size=(40, 60)), 5, axis=0)
    labels = np.repeat(np.tile([0, 1], 20), 5)
    groups = np.repeat(np.arange(40), 5)
    grouped = linear_probe(features, labels, groups, features, labels)
    split = linear_probe(features, labels, np.arange(200), features, labels)
    assert split.cv_accuracy == 100.0
    assert grouped.cv_accuracy < 75.0


def test_test_labels_choose_nothing() -> None:
    rng = np.random.default_rng(2)
    train, y_train = _blobs(rng, 20, 4.0)
    test, y_test = _blobs(rng, 10, 4.0)
    right = linear_probe(train, y_train, np.arange(60), test, y_test)
    wrong = linear_probe(train, y_train, np.arange(60), test, (y_test + 1) % 3)
    assert (right.C, right.cv_accuracy) == (wrong.C, wrong.cv_accuracy)
    assert not (right.correct & wrong.correct).any()


def test_agrees_with_a_plain_pipeline_of_scikit_learn() -> None:
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
    from sklearn.svm import SVC

    rng = np.random.default_rng(3)
    train, y_train = _blobs(rng, 30, 4.0)
    test, y_test = _blobs(rng, 20, 4.0)
    groups = np.repeat(np.arange(45), 2)
    grid = (0.1, 1.0, 10.0)
    probe = linear_probe(train, y_train, groups, test, y_test, C_values=grid)
    pipeline = make_pipeline(StandardScaler(), FunctionTransformer(lambda x: x / 2.0), SVC(kernel="linear"))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    search = GridSearchCV(pipeline, {"svc__C": list(grid)}, cv=folds).fit(train, y_train, groups=groups)
    assert search.best_params_["svc__C"] == probe.C
    assert probe.cv_accuracy == pytest.approx(100 * search.best_score_)
    assert probe.test_accuracy == pytest.approx(100 * search.score(test, y_test))


def test_majority_is_that_of_train() -> None:
    rng = np.random.default_rng(4)
    labels = np.array([0] * 30 + [1] * 10)
    probe = linear_probe(
        rng.normal(size=(40, 3)), labels, np.arange(40), rng.normal(size=(4, 3)), np.array([1, 1, 1, 0])
    )
    assert probe.majority_accuracy == 25.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features_train": np.full((6, 2), np.nan)}, "train: the features hold NaN"),
        ({"y_test": np.zeros(5, int)}, r"test: features \(6, 2\) and 5 labels"),
        ({"groups_train": np.zeros(5, int)}, "5 groups for 6 training labels"),
        ({"y_train": np.zeros(6, int)}, "one class only"),
    ],
)
def test_wrong_arguments(change: dict, message: str) -> None:
    labels = np.array([0, 1] * 3)
    features = np.zeros((6, 2))
    arguments = {
        "features_train": features,
        "y_train": labels,
        "groups_train": np.arange(6),
        "features_test": features,
        "y_test": labels,
    }
    with pytest.raises(ValueError, match=message):
        linear_probe(**{**arguments, **change})


def test_paired_interval() -> None:
    rng = np.random.default_rng(5)
    right = rng.random(400) < 0.8
    same = paired_difference(right, right, np.arange(400))
    assert same == (0.0, 0.0, 0.0)
    worse = right & (rng.random(400) < 0.9)
    difference, low, high = paired_difference(right, worse, np.arange(400))
    assert difference == pytest.approx(100 * (right.mean() - worse.mean()))
    gaps = (right & ~worse).astype(float)
    assert high - low == pytest.approx(2 * 1.96 * 100 * gaps.std() / 20, rel=0.1)
    # Four copies of each cloud say nothing new: as wide as with a quarter of the clouds.
    groups = np.repeat(np.arange(400), 4)
    _, low4, high4 = paired_difference(np.repeat(right, 4), np.repeat(worse, 4), groups)
    assert high4 - low4 == pytest.approx(high - low, rel=0.1)


def test_calibration_takes_the_statistics_of_all_batches_and_changes_nothing_else(
    tiny: dict[str, list[int]],
) -> None:
    torch.manual_seed(0)
    model = create_model("i2p_mae_tiny", **tiny).eval()
    points = normalize_clouds(np.random.default_rng(0).normal(size=(32, 64, 3)).astype(np.float32))
    calibrated = calibrate_batch_norm(model, points, batch_size=32)
    before, after = model.state_dict(), calibrated.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {key for key in before if "running_" in key or key.endswith("num_batches_tracked")}
    assert not any(module.training for module in calibrated.modules())
    # Independently: what goes into the first BatchNorm, by hand.
    batch = torch.from_numpy(points)
    groups = model.group(batch)
    picked = batch[torch.arange(32)[:, None, None], groups.neighbors[0]]
    first = model.embeddings[0]
    with torch.no_grad():
        rows = first.conv1((picked - groups.centers[0].unsqueeze(2)).flatten(0, 2))
    torch.testing.assert_close(
        after["embeddings.0.norm1.running_mean"], rows.mean(dim=0), rtol=1e-3, atol=1e-5
    )
    torch.testing.assert_close(after["embeddings.0.norm1.running_var"], rows.var(dim=0), rtol=1e-3, atol=1e-5)


def test_calibration_takes_no_more_clouds_than_it_needs(
    tiny: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = create_model("i2p_mae_tiny", **tiny).eval()
    points = normalize_clouds(np.random.default_rng(0).normal(size=(40, 64, 3)).astype(np.float32))
    monkeypatch.setattr(frozen_features, "MOST_CALIBRATED", 16)
    told = linear.protocol_text("standard", "test", 64, 40, 1, lying="upright")
    assert told.endswith("; baselines' BatchNorm calibrated on 16 training clouds")
    few = calibrate_batch_norm(model, points, batch_size=8, seed=3).state_dict()
    chosen = np.random.default_rng(3).permutation(40)[:16]
    monkeypatch.setattr(frozen_features, "MOST_CALIBRATED", 40)
    without = linear.protocol_text("standard", "test", 64, 40, 1, lying="upright")
    assert told.startswith(without) and told != without
    # The average over batches is that of their order, too, but for rounding.
    same = calibrate_batch_norm(model, points[chosen], batch_size=16).state_dict()
    every = calibrate_batch_norm(model, points, batch_size=8, seed=3).state_dict()
    key = "embeddings.0.norm1.running_mean"
    torch.testing.assert_close(few[key], same[key])
    assert not torch.allclose(few[key], every[key])


def test_threads_take_whole_items_and_give_the_same_features(tiny: dict[str, list[int]]) -> None:
    model = create_model("i2p_mae_tiny", **tiny).train()
    points = normalize_clouds(np.random.default_rng(0).normal(size=(40, 64, 3)).astype(np.float32))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = embed_clouds(model, points, batch_size=8)
        torch.set_num_threads(3)
        met = threading.Barrier(3, timeout=60)  # passed only if three threads work at once

        def threads_of(item: int) -> tuple[int, int]:
            met.wait()
            return item, torch.get_num_threads()

        assert list(on_threads(threads_of, range(6))) == [(item, 1) for item in range(6)]
        assert torch.get_num_threads() == 3
        np.testing.assert_array_equal(embed_clouds(model, points, batch_size=8), alone)
        assert model.training
    finally:
        torch.set_num_threads(before)


def test_report(tmp_path: Path, tiny: dict[str, list[int]]) -> None:
    rng = np.random.default_rng(6)
    labels = np.tile(np.arange(4), 30)
    shapes = np.array([[1, 1, 1], [1, 0.2, 1], [1, 1, 0.2], [0.2, 1, 0.2]])
    points = rng.normal(size=(120, 80, 3)) * shapes[labels][:, None]
    np.savez(
        tmp_path / "data.npz",
        points=points.astype(np.float32),
        y=labels,
        classes=np.array(["ball", "plate", "wall", "pole"]),
        core_classes=np.array(["plate", "wall", "pole"]),
        split=np.where(np.arange(120) < 80, "train", "test"),
        group=np.arange(120),
    )
    for seed in (0, 1):
        torch.manual_seed(seed)
        save_pretrained(create_model("i2p_mae_tiny", **tiny).eval(), tmp_path / f"model{seed}")
    report = evaluate_linear(
        [tmp_path / "model0", tmp_path / "model1"],
        tmp_path / "data.npz",
        num_points=64,
        seeds=2,
        classifiers=["svm"],
        out=tmp_path / "new" / "folder" / "out.json",
    )
    stored = json.loads((tmp_path / "new/folder/out.json").read_text(encoding="utf-8"))
    assert [row["features"] for row in stored["summary"]] == [
        "weights",
        "random, BatchNorm calibrated",
        "random",
    ]
    assert all(row["runs"] == 2 for row in stored["summary"])
    context = stored["context"]
    assert (context["num_train"], context["num_test"], context["num_points"]) == (60, 30, 64)
    assert context["dataset"]["classes"] == ["plate", "wall", "pole"]
    assert context["majority_accuracy"] == pytest.approx(100 / 3)
    assert {"commit", "protocol", "wall_seconds", "baseline_seeds"} <= context.keys()
    versions = context["versions"]
    assert versions["scikit_learn"] == sklearn.__version__ and versions["numpy"] == np.__version__
    assert versions["torch"] == torch.__version__ and versions["pointmae_zoo"] == pointmae_zoo.__version__
    # The saved models are random ones of the same seeds: no better than that baseline.
    weights, _, random = stored["summary"]
    assert weights["test_mean"] == pytest.approx(random["test_mean"])
    assert stored["differences"][1]["difference"] == pytest.approx(0.0)
    assert "weights minus random" in report.table()
    everything = evaluate_linear(
        tmp_path / "model0", tmp_path / "data.npz", classes="all", num_points=64, seeds=0
    )
    assert everything.context["num_train"] == 80
    assert context["pool"] == create_model("i2p_mae_tiny", **tiny).hyper.pool
    save_pretrained(create_model("i2p_mae_tiny", **{**tiny, "dims": [12, 24]}).eval(), tmp_path / "narrow")
    with pytest.raises(ValueError, match=r"narrow .* different architectures or arguments"):
        evaluate_linear([tmp_path / "model0", tmp_path / "narrow"], tmp_path / "data.npz", num_points=64)


def test_arguments_are_checked_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seeds: -1, expected 0"):
        evaluate_linear(DEFAULT_MODEL, tmp_path / "data.npz", seeds=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"out\.json: .*file is a file; choose another folder"):
        evaluate_linear(DEFAULT_MODEL, tmp_path / "data.npz", out=tmp_path / "file" / "sub" / "out.json")
    with pytest.raises(FileNotFoundError, match=r"data\.npz: no such file"):
        evaluate_linear(DEFAULT_MODEL, tmp_path / "data.npz", out=tmp_path / "absent" / "sub" / "out.json")
    assert not (tmp_path / "absent").exists(), "made for an evaluation that can't begin"
    with pytest.raises(IsADirectoryError, match="a folder; expected the name"):
        evaluate_linear(DEFAULT_MODEL, tmp_path / "data.npz", out=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"core_classes": np.empty(0, dtype=str)}, "no 'core_classes'"),
        ({"split": np.array(["train"] * 8)}, "no labelled cloud of split 'test'"),
        ({"points": np.zeros((8, 10, 3))}, "10 points a cloud, fewer than the 64"),
    ],
)
def test_files_that_cannot_be_probed(tmp_path: Path, change: dict, message: str) -> None:
    arrays = {
        "points": np.random.default_rng(0).normal(size=(8, 64, 3)),
        "y": np.tile([0, 1], 4),
        "classes": np.array(["a", "b"]),
        "core_classes": np.array(["a", "b"]),
        "split": np.array(["train", "train", "test", "test"] * 2),
    }
    np.savez(tmp_path / "data.npz", **{**arrays, **change})
    with pytest.raises(ValueError, match=message):
        evaluate_linear(DEFAULT_MODEL, tmp_path / "data.npz", classes="core", num_points=64)


def test_more_points_than_in_training_are_noted(
    tiny: dict[str, list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    model = create_model("i2p_mae_tiny", preprocess=Preprocess(num_points=48), **tiny)
    clouds = np.random.default_rng(0).normal(size=(4, 64, 3)).astype(np.float32)
    train = SimpleNamespace(points=clouds)
    for num_points, said in (
        (48, ""),
        (64, "mine: made for 48 points a cloud, evaluated with 64; --points 48"),
    ):
        data = Data(train, None, num_points)  # type: ignore[arg-type]
        (found,) = Encoders(["mine"], [model.eval()], 0).features(data, "probe", progress=False)
        assert len(found.train) == 4 and capsys.readouterr().err.startswith(said)
