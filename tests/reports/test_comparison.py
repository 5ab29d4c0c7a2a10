"""Evaluations that say which weights they measured, lie where push finds them, and are compared."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from pointmae_zoo import cli, create_model, from_pretrained, push_to_hub, save_pretrained
from pointmae_zoo.evaluate import compare, comparison_table
from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256
from pointmae_zoo.models.registry import set_config
from pointmae_zoo.reports.schema import check_replaceable, read_evaluation
from samples.reports import linear_report, written


def test_paired_difference_and_its_interval(tmp_path: Path) -> None:
    first = written(tmp_path / "first.json", linear_report("3D alone"))
    second = written(tmp_path / "second.json", linear_report("both", right=90))
    out = tmp_path / "new" / "folder" / "out.json"
    found = compare([first, second], out)
    assert json.loads(out.read_text()) == found == read_evaluation(out)
    rows = found["rows"]
    assert [row["label"] for row in rows] == ["3D alone", "both"] and rows[0]["difference"] is None
    assert rows[0]["test_mean"] == 81.23 and rows[0]["few_shot"][1]["test_mean"] == 70.0
    difference = rows[1]["difference"]
    # 10 of 100 clouds more, each a group of its own: a deviation of sqrt(0.1 0.9 / 100), 3 points.
    assert difference["mean"] == pytest.approx(10.0)
    assert difference["low"] == pytest.approx(10 - 1.96 * 3, abs=1.1)
    assert difference["high"] == pytest.approx(10 + 1.96 * 3, abs=1.1)
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)]
    assert [one["sha256"] for one in found["context"]["files"]] == hashes
    assert str(tmp_path) not in json.dumps(found)  # nobody's folders
    assert "+10.0 [" in comparison_table(found)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"split": "validation"}, "another split than"),
        ({"protocol": "otherwise"}, "another protocol than"),
        ({"dataset": {"file": "some.npz", "sha256": "1" * 64, "classes": ["one", "two"]}}, "another data"),
    ],
)
def test_only_the_same_is_compared(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    first = written(tmp_path / "first.json", linear_report())
    second = written(tmp_path / "second.json", linear_report(**changed))
    with pytest.raises(ValueError, match=said) as caught:
        compare([first, second])
    assert "second.json" in str(caught.value)


def test_what_is_done_to_baselines_is_no_other_protocol(tmp_path: Path) -> None:
    report = linear_report()
    said = report["context"]["protocol"] + "; baselines' BatchNorm calibrated on 2048 training clouds"
    first = written(tmp_path / "first.json", report)
    second = written(tmp_path / "second.json", linear_report(protocol=said))
    assert len(compare([first, second])["rows"]) == 2


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    first = written(tmp_path / "first.json", linear_report())
    with pytest.raises(ValueError, match="two files"):
        compare([first])
    written(tmp_path / "compared.json", compare([first, first]))
    with pytest.raises(ValueError, match=r"compared\.json: not an evaluation of one model"):
        compare([first, tmp_path / "compared.json"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "all of it is no object"),
        ("{", "not readable as JSON"),
        ('{"summary": NaN}', "NaN in it"),
        ('{"summary": []}', "differences is missing"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_files_that_are_no_evaluation(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "some.json").write_text(text)
    with pytest.raises(ValueError, match="evaluate again") as caught:
        read_evaluation(tmp_path / "some.json")
    assert said in str(caught.value) and "some.json" in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("summary.1.test_mean", "81", "summary[1].test_mean is '81'"),
        ("summary.1.test_mean", 10**400, "summary[1].test_mean is 1000"),
        ("summary.0.test_std", None, "summary[0]: one of test_mean and test_std is null"),
        ("robustness.1.test_std", None, "robustness[1]: one of test_mean and test_std is null"),
        ("summary.0.runs", 10**20, "summary[0].runs is 1000"),
        ("few_shot.0.ways", 0, "few_shot[0] is of ways and shots that context.few_shot does not have"),
        ("context.few_shot", [], "few_shot[0] is of ways and shots that context.few_shot does not have"),
        ("context.robustness", {}, "context.robustness.classifier is missing"),
        ("context.encoder_sha256", 7, "context.encoder_sha256 is no list"),
        ("context.encoder_sha256", [7], "context.encoder_sha256[0] is 7"),
    ],
)
def test_an_evaluation_with_something_wrong_is_refused(
    tmp_path: Path, place: str, value: Any, said: str
) -> None:
    report = linear_report()
    change(report, place, value)
    with pytest.raises(ValueError, match="evaluate again, or take it away") as caught:
        read_evaluation(written(tmp_path / "some.json", report))
    assert said in str(caught.value) and len(str(caught.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("rows.1.encoder_sha256", 7, "rows[1].encoder_sha256 is no list"),
        ("rows.1.difference", {}, "rows[1].difference.mean is missing"),
        ("rows.0.test_std", None, "rows[0]: one of test_mean and test_std is null"),
        ("rows.0.few_shot.1.ways", 0, "rows[0].few_shot[1].ways is 0"),
    ],
)
def test_a_comparison_with_something_wrong_is_refused(
    tmp_path: Path, place: str, value: Any, said: str
) -> None:
    first = written(tmp_path / "first.json", linear_report())
    found = compare([first, first])
    change(found, place, value)
    with pytest.raises(ValueError, match="evaluate again") as caught:
        read_evaluation(written(tmp_path / "compared.json", found))
    assert said in str(caught.value)


def change(report: Any, place: str, value: Any) -> None:
    *path, last = (int(part) if part.isdigit() else part for part in place.split("."))
    for part in path:
        report = report[part]
    report[last] = value


def test_a_report_without_its_clouds_is_not_compared(tmp_path: Path) -> None:
    report = linear_report()
    del report["clouds"]["svm"]
    with pytest.raises(ValueError, match="without the linear SVM"):
        compare([written(tmp_path / "some.json", report)] * 2)


def test_what_is_no_file_is_no_evaluation(tmp_path: Path) -> None:
    (tmp_path / "some.json").mkdir()
    with pytest.raises(ValueError, match="no regular file"):
        read_evaluation(tmp_path / "some.json")


def test_the_hash_of_an_encoder_is_of_its_numbers(tmp_path: Path, tiny: dict[str, list[int]]) -> None:
    torch.manual_seed(0)
    model = create_model("i2p_mae_tiny", "pretraining", **tiny)
    run = save_pretrained(model, tmp_path / "run")
    alone = save_pretrained(model.encoder, tmp_path / "alone")
    found = {encoder_sha256(from_pretrained(folder, kind="encoder")) for folder in (run, alone)}
    assert found == {encoder_sha256(model.encoder)}
    rounded = save_pretrained(model.encoder, tmp_path / "rounded", half=True)
    assert encoder_sha256(from_pretrained(rounded)) not in found
    # The same numbers, fed otherwise or pooled otherwise, give other features.
    for changed in (
        dataclasses.replace(model.config, preprocess=dataclasses.replace(model.config.preprocess, up="z")),
        dataclasses.replace(model.config, arguments={**model.config.arguments, "pool": "max"}),
    ):
        set_config(model, changed)
        assert encoder_sha256(model.encoder) not in found
    set_config(model, from_pretrained(run).config)
    assert encoder_sha256(model.encoder) in found
    with torch.no_grad():
        next(model.encoder.parameters()).flatten()[0] += 1e-3
    assert encoder_sha256(model.encoder) not in found


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plates and sticks, and some that belong to no core class."""
    points = np.random.default_rng(0).uniform(-1, 1, (60, 64, 3))
    labels = np.arange(60) % 3
    points *= np.array([[1, 0.05, 1], [1, 0.05, 0.05], [1, 1, 1]])[labels][:, None]
    path = tmp_path_factory.mktemp("labelled") / "my shapes.npz"
    np.savez(
        path,
        points=points.astype(np.float32),
        y=labels,
        classes=np.array(["plate", "stick", "block"]),
        core_classes=np.array(["plate", "stick"]),
        split=np.where(np.arange(60) < 40, "train", "test"),
        group=np.arange(60),
    )
    return path


def test_one_folder_keeps_its_evaluations(
    tmp_path: Path, labelled: Path, tiny: dict[str, list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        save_pretrained(create_model("i2p_mae_tiny", **tiny), folder)

    def evaluate(*words: object) -> str:
        given = ["--data", labelled, "--points", 64, "--seeds", 0, "--classifier", "svm"]
        assert cli.main(["evaluate", "linear", *map(str, [*words, *given])]) == 0
        return capsys.readouterr().out

    said = evaluate(folders[0])
    kept = folders[0] / "evaluations"
    assert f"written to {kept / 'linear.my_shapes.core.json'}" in said
    context = read_evaluation(kept / "linear.my_shapes.core.json")["context"]
    assert context["encoder_sha256"] == [encoder_sha256(from_pretrained(folders[0]))]
    evaluate(folders[0], "--classes", "all")
    evaluate(folders[0], "--split", "validation")
    evaluate(folders[0], "--protocol", "paper")
    assert sorted(path.name for path in kept.iterdir()) == [
        "linear.my_shapes.core.json",
        "linear.my_shapes.core.paper.json",
        "linear.my_shapes.core.validation.json",
        "linear.my_shapes.json",
    ]
    # push takes them as they are.
    pushed = push_to_hub(folders[0], "org/a", dry_run=True)
    assert {file.name for file in pushed.files} >= {f"evaluations/{path.name}" for path in kept.iterdir()}
    splits = [one.dataset_split for one in ModelCard(pushed.card).data.eval_results]
    assert splits.count("train (cross-validation)") == 1 and splits.count("test") == 3
    # Of several, and where --out says something else, nothing is left anywhere else.
    assert "written" not in evaluate(*folders)
    out = tmp_path / "both.json"
    assert f"written to {out}" in evaluate(*folders, "--out", out)
    assert not (folders[1] / "evaluations").exists()
    shas = [encoder_sha256(from_pretrained(folder)) for folder in folders]
    assert read_evaluation(out)["context"]["encoder_sha256"] == shas

    assert cli.main(["evaluate", "compare", str(out), str(out), "--out", str(tmp_path / "same.json")]) == 0
    assert "+0.0 [+0.0, +0.0]" in capsys.readouterr().out
    assert read_evaluation(tmp_path / "same.json")["rows"][1]["difference"]["mean"] == 0.0


def test_numbers_in_a_folder_are_not_lost(
    tmp_path: Path,
    labelled: Path,
    tiny: dict[str, list[int]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under the same name the same or more, or numbers of other weights; never less, or something else."""
    pytest.importorskip("sklearn")
    folder = tmp_path / "run"
    save_pretrained(create_model("i2p_mae_tiny", **tiny), folder)
    path = folder / "evaluations" / "linear.my_shapes.core.json"

    def evaluate(*words: object) -> tuple[int, str]:
        code = cli.main(["evaluate", "linear", str(folder), "--data", str(labelled), *map(str, words)])
        return code, capsys.readouterr().err

    rich = ["--points", 64, "--seeds", 1]
    assert evaluate(*rich, "--classifier", "svm")[0] == 0
    before = path.read_bytes()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed something")

    with monkeypatch.context() as patched:
        patched.setattr("pointmae_zoo.evaluate.frozen_features.embed_clouds", never)
        for words, held in (
            (["--points", 32, "--seeds", 1], "--points 64"),
            ([*rich, "--pool", "max"], "--pool levels"),
            (["--points", 64, "--seeds", 0], "--seeds 1"),
            ([*rich, "--classifier", "logistic"], "--classifier svm"),
            (["--points", 32, "--seeds", 0], "--points 64, --seeds 1"),
        ):
            code, said = evaluate(*words)
            assert code == 2 and f"{path}: holds other settings: {held};" in said, said
            assert "name another file with --out" in said and path.read_bytes() == before
    assert evaluate(*rich)[0] == 0  # the others, too
    assert {row["classifier"] for row in read_evaluation(path)["summary"]} == {"svm", "logistic", "paper"}
    assert evaluate("--points", 32, "--seeds", 0, "--out", tmp_path / "other.json")[0] == 0
    # Other weights: what is there is of use to nobody.
    save_pretrained(create_model("i2p_mae_tiny", **tiny), folder)
    assert evaluate("--points", 32, "--seeds", 0)[0] == 0
    assert read_evaluation(path)["context"]["num_points"] == 32


def test_fewer_episodes_do_not_replace_more(tmp_path: Path) -> None:
    there = linear_report(encoder_sha256=["a"], baseline_seeds=[0])
    path = written(tmp_path / "linear.json", there)
    check_replaceable(path, there["context"], ("svm", "logistic"))
    for changed, held in (
        ({"few_shot": []}, "5-way 10-shot, 500 episodes, 10-way 10-shot, 500 episodes"),
        ({"robustness": {}}, "test clouds changed: rotation, 256 points"),
        ({"baseline_seeds": []}, "--seeds 1"),
        ({"protocol": "otherwise"}, "protocol: as said"),
        ({"dataset": {**there["context"]["dataset"], "sha256": "1" * 64}}, f"data with sha256 {'0' * 12}"),
    ):
        context = linear_report(**{"encoder_sha256": ["a"], "baseline_seeds": [0], **changed})["context"]
        with pytest.raises(ValueError, match=f"holds other settings: {held};"):
            check_replaceable(path, context, ("svm", "logistic"))
    check_replaceable(path, {**there["context"], "encoder_sha256": ["b"], "few_shot": []}, ("svm",))
    path.write_text("[")
    check_replaceable(path, there["context"], ("svm",))
