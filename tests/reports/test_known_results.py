"""What was measured of the zoo's weights, beside what papers report."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from model_cards import results
from pointmae_zoo import from_pretrained, list_weights
from pointmae_zoo.cli import main
from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256
from pointmae_zoo.models.registry import get_weights, list_families
from pointmae_zoo.reports.known_results import (
    COLUMNS,
    PAPER_C,
    main_numbers,
    measured_results,
    paper_reached,
    published_results,
)
from samples.reports import linear_report, score_report, written

ROOT = Path(__file__).resolve().parents[2]
NAME = "i2p_mae_tiny.shapes"
MODELNET = {"file": "modelnet40:modelnet40_ply_hdf5_2048", "sha256": "0" * 64, "classes": ["a"] * 40}


def own_number(report: dict[str, Any], row: dict[str, str]) -> float:
    """The number of the weights of a line, looked up in the rows of single runs."""
    pose = report["context"].get("pose", "upright")
    own_task = row["task"].removesuffix("" if pose == "upright" else f", pose {pose}")
    name, task = row["name"], own_task.split(", ")
    if task[0] == "fine-tuned":
        measure = "accuracy" if len(task) == 1 else task[1]
        (found,) = (
            one["score"] for one in report["rows"] if (one["model"], one["measure"]) == (name, measure)
        )
        return float(found)
    if "-way" in task[0]:
        ways, shots = (int(part.split("-")[0]) for part in task[0].split())
        (episodes,) = (
            one["accuracies"]
            for one in report["few_shot"]
            if (one["features"], one["ways"], one["shots"]) == ("weights", ways, shots)
        )
        return float(episodes[report["context"]["models"].index(name)])
    classifier = {"linear SVM": "svm", "logistic regression": "logistic"}[task[0]]
    if (row["protocol"], report["context"]["protocol_name"]) == ("paper", "standard"):
        classifier = "paper"
    (found,) = (one for one in report["rows"] if (one.get("model"), one["classifier"]) == (name, classifier))
    return float(found["test_accuracy"] if len(task) == 1 else found["changed"][task[1]])


def test_every_number_is_that_of_its_file() -> None:
    rows = measured_results()
    assert {row["name"] for row in rows} == set(list_weights())
    for row in rows:
        assert list(row) == list(COLUMNS)
        report = json.loads((ROOT / row["source"]).read_text(encoding="utf-8"))
        assert report["context"]["dataset"]["file"] == row["dataset"] and report["context"]["split"] == "test"
        assert float(row["accuracy"]) == pytest.approx(own_number(report, row), abs=0.006), row
        assert row["sha256"] == get_weights(row["name"]).sha256
        assert len(report["context"]["models"]) == int(row["seeds"]) and bool(row["std"]) == (
            row["seeds"] != "1"
        )
        if row["low"]:
            assert float(row["low"]) < float(row["mean"]) < float(row["high"])


def test_list_weights_shows_these_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--weights"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in list_weights():
        (line,) = (line for line in lines if line.split()[0] == name)
        assert main_numbers(name), f"{name} is published without a number"
        assert all(f"{what} {number}" in line for what, number in main_numbers(name).items())


def test_info_shows_them_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", NAME]) == 0
    said = capsys.readouterr().out
    assert all(f"{what} {number}" in said for what, number in main_numbers(NAME).items())


def test_published_numbers_have_a_source() -> None:
    families = {family.name for family in list_families()}
    for row in published_results():
        assert 50 < float(row["accuracy"]) < 100 and row["source"] and row["url"].startswith("https://")
        assert not row["family"] or row["family"] in families
        assert bool(row["remeasured"]) == row["remeasured_url"].startswith("https://")


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the card of one published weight, and the folder for its evaluations."""
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setattr(results, "list_weights", lambda: [NAME])
    written(tmp_path / "model_cards" / f"{NAME}.yaml", {"data": [{"name": "gifts"}]})
    return tmp_path / "model_cards" / "evaluations"


def on_modelnet(**changes: Any) -> dict[str, Any]:
    """Three trainings, of which the second are the weights; beside the chosen C the papers' C."""
    ours = [encoder_sha256(from_pretrained(NAME))]
    report = linear_report(NAME, models=["a", NAME, "c"], dataset=MODELNET, encoder_sha256=ours, **changes)
    report["few_shot"] = report["robustness"] = report["context"]["few_shot"] = []
    fixed = {"features": "weights", "classifier": "paper", "runs": 3, "cv_mean": 1.0, "cv_std": 0.0}
    report["summary"].append({**fixed, "test_mean": 79.0, "test_std": 0.25})
    report["clouds"]["paper"] = report["clouds"]["logistic"] = report["clouds"]["svm"]
    report["rows"] = [
        {"features": "weights", "model": model, "classifier": classifier, "test_accuracy": accuracy}
        for model, accuracy in (("a", 80.0), (NAME, 82.5), ("c", 81.19))
        for classifier in ("svm", "logistic", "paper")
    ]
    return report


def test_a_line_has_the_number_of_the_weights_and_the_mean_of_the_trainings(cards: Path) -> None:
    written(cards / f"{NAME}.modelnet40.json", on_modelnet())
    written(cards / f"{NAME}.trial.json", on_modelnet(split="validation"))  # chooses settings: no result
    written(cards.parent.parent / "benchmarks/results/weights_cpu.json", {"clouds_per_second": {NAME: 301.4}})
    rows = list(csv.DictReader(io.StringIO(results.as_csv(results.results()))))
    assert [(row["task"], row["protocol"]) for row in rows] == [
        ("linear SVM", "standard"),
        ("logistic regression", "standard"),
        ("linear SVM", "paper"),
    ]
    row = rows[0]
    assert (row["accuracy"], row["mean"], row["std"], row["seeds"]) == ("82.50", "81.23", "0.50", "3")
    assert (row["random"], row["classes"], row["clouds_per_second"]) == ("40.00", "40", "301")
    assert row["trained_on"] == "gifts, procedural shapes" and row["parameters"] == "1797056"
    assert row["source"] == f"model_cards/evaluations/{NAME}.modelnet40.json"
    # 80 of 100 clouds right, all of them on their own: 80 within twice the binomial deviation of 4.
    assert 70 < float(row["low"]) < 74 and 86 < float(row["high"]) < 90
    assert (rows[2]["mean"], rows[2]["random"]) == ("79.00", "")


def test_speed_comes_from_what_the_benchmark_writes(cards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import __main__ as benchmarks

    monkeypatch.setattr(benchmarks, "list_weights", lambda: [NAME])
    file = cards.parent.parent / results.SPEEDS
    monkeypatch.setattr(sys, "argv", ["benchmarks", "weights", "--seconds", "0", "--out", str(file)])
    assert benchmarks.main() == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["machine"]["processor"] and "commit" in found
    written(cards / f"{NAME}.modelnet40.json", on_modelnet())
    assert {row["clouds_per_second"] for row in results.results()} == {
        round(found["clouds_per_second"][NAME])
    }


def test_the_table_of_the_readme_is_in_order_and_says_what_was_measured(cards: Path) -> None:
    written(cards / f"{NAME}.modelnet40.json", on_modelnet())
    linear = {"dataset": "modelnet40", "task": "linear SVM", "trained_on": "ShapeNet", "parameters": ""}
    linear |= {"source": "s", "url": "u"}
    published = [
        {**linear, "method": "Worse", "accuracy": "70.0", "remeasured": "69", "remeasured_url": "v"},
        {**linear, "method": "Better", "accuracy": "90.0", "remeasured": "", "remeasured_url": ""},
        {"method": "Tuned", "dataset": "modelnet40", "task": "fine-tuned", "accuracy": "99.0"},
    ]
    table = results.published_table(results.results(), published)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:-2]]
    assert [row[0] for row in cells] == ["Better", f"**`{NAME}`**", "Worse"]
    assert [row[3] for row in cells] == ["", "82.5 (81.2 ± 0.5)", ""]
    assert [row[4] for row in cells] == ["90.0", "82.5", "70.0; a user: [69](v)"]
    assert table.endswith("with random weights, on ModelNet40: `i2p_mae_tiny` 40.0.")
    assert cells[0][6] == "published, [s](u)" and cells[1][6].startswith("measured")
    assert NAME not in results.published_table([], published)  # not measured there


def test_a_file_of_other_weights_is_refused(cards: Path) -> None:
    report = on_modelnet()
    report["context"]["encoder_sha256"] = ["0" * 64]
    written(cards / f"{NAME}.modelnet40.json", report)
    with pytest.raises(ValueError, match=rf"modelnet40\.json: did not measure {NAME} as it is"):
        results.results()


def test_two_files_with_other_numbers_of_the_same_are_refused(cards: Path) -> None:
    first = on_modelnet()
    written(cards / f"{NAME}.a.json", first)
    alone = on_modelnet()
    alone["context"]["models"] = [NAME]
    alone["clouds"] = {name: text.replace("3", "1") for name, text in alone["clouds"].items()}
    alone["summary"] = [{**row, "runs": 1, "test_mean": 82.5} for row in alone["summary"]]
    written(cards / f"{NAME}.b.json", alone)
    assert {row["seeds"] for row in results.results()} == {3}  # they agree: the one that says more
    alone["summary"][0]["test_mean"] = 82.6
    written(cards / f"{NAME}.b.json", alone)
    with pytest.raises(ValueError, match=r"a\.json has 82\.50 and .*b\.json 82\.60"):
        results.results()


def reaching(accuracy: float, std: float = 0.0, **context: Any) -> dict[str, Any]:
    """A linear probe on ModelNet40 by the papers' protocol."""
    report = linear_report(**{"dataset": MODELNET, "protocol_name": "paper", "fixed_C": PAPER_C, **context})
    report["summary"][0] |= {"test_mean": accuracy, "test_std": std}
    return report


@pytest.mark.parametrize(
    ("report", "reached"),
    [
        (reaching(93.4), True),
        (reaching(93.0, 0.4), True),
        (reaching(92.9), False),
        (reaching(92.9, 0.1), False),
        (reaching(99.0, protocol_name="standard"), False),
        (reaching(99.0, dataset={**MODELNET, "file": "modelnet10:x"}), False),
        (reaching(99.0, split="validation"), False),
        (reaching(99.0, fixed_C=7.0), False),
        (score_report(score=99.0), False),
    ],
)
def test_a_paper_is_reached_by_its_own_protocol(report: dict[str, Any], reached: bool) -> None:
    assert (paper_reached("i2p_mae", [report]) == "") is reached


def test_the_papers_C_beside_the_chosen_one_counts() -> None:
    report = reaching(99.0, protocol_name="standard")
    for accuracy, reached in ((93.2, False), (93.4, True)):
        report["summary"][1] |= {"classifier": "paper", "test_mean": accuracy, "test_std": 0.0}
        assert (paper_reached("i2p_mae", [report]) == "") is reached


def test_a_fine_tuned_network_may_reach_the_paper() -> None:
    report = score_report(score=93.0)
    report["context"] |= {"dataset": MODELNET, "protocol_name": "paper"}
    assert paper_reached("i2p_mae", [report]) == ""  # 93.67 within its deviation of 1
    assert "reaches 92.4 on modelnet40" in paper_reached("joint_mae", [report])
    assert "no number of a paper about own_family" in paper_reached("own_family", [report])
