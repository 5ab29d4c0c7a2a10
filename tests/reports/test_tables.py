"""The tables of cards, README and docs, from numbers by hand."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from pointmae_zoo.evaluate import compare
from pointmae_zoo.reports.tables import ablation_table, fewshot_table, linear_table, robustness_table
from samples.reports import linear_report, written

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def render() -> Any:
    spec = importlib.util.spec_from_file_location("render", ROOT / "model_cards" / "render.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _cells(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|") and not re.fullmatch(r"[| -]+", line)
    ]


def test_table_of_robustness() -> None:
    assert _cells(robustness_table(linear_report())) == [
        ["test clouds", "3 trainings of this recipe", "the same network, random"],
        ["as they are", "81.2 ± 0.5", "40.0"],
        ["rotation", "12.3 ± 2.0", "12.3"],
        ["256 points", "55.5 ± 2.0", "55.5"],
    ]


def test_table_of_few_shot() -> None:
    assert _cells(fewshot_table(linear_report())) == [
        ["frozen features", "5-way 10-shot", "10-way 10-shot"],
        ["3 trainings of this recipe", "75.0 ± 0.3", "70.0 ± 0.3"],
        ["the same network, random", "75.0", "70.0"],
        ["chance", "20.0", "10.0"],
    ]


def test_table_of_an_ablation(tmp_path: Path) -> None:
    first = written(tmp_path / "a.json", linear_report("3D alone", split="validation"))
    second = written(tmp_path / "b.json", linear_report("both", split="validation", right=90))
    rows = _cells(ablation_table(compare([first, second])))
    titles = ["variant", "training seeds", "cross-validation on train", "minus the first [95 %]"]
    assert rows[0] == [*titles, "5-way 10-shot", "10-way 10-shot"]
    assert rows[1] == ["3D alone", "3", "70.0 ± 1.3", "", "75.0 ± 0.3", "70.0 ± 0.3"]
    assert re.fullmatch(r"\+10\.0 \[\+\d\.\d, \+1\d\.\d\]", rows[2][3])
    tested = [written(tmp_path / f"{one}.json", linear_report(one)) for one in ("c", "d")]
    rows = _cells(ablation_table(compare(tested)))
    assert rows[0][0] == "weights"
    assert [row[3] for row in rows] == ["test", "81.2 ± 0.5", "81.2 ± 0.5"]


def test_linear_tables_say_protocol_and_split() -> None:
    paper = linear_report(protocol_name="paper")
    assert "the papers' protocol" in linear_table(paper).splitlines()[0]
    validated = linear_table(linear_report(split="validation"))
    assert ["3 trainings of this recipe", "3", "70.0 ± 1.3", "not used"] in _cells(validated)
    assert ["always the most frequent class", "", "60.0", ""] in _cells(validated)


def test_weights_among_several_trainings_have_a_line_of_their_own() -> None:
    report = linear_report("b")
    report["rows"] = [
        {"features": "weights", "model": model, "classifier": "svm"}
        | {"cv_accuracy": 70.0 + number, "test_accuracy": 80.0 + number}
        for number, model in enumerate("abc")
    ]
    assert _cells(linear_table(report))[1:3] == [
        ["these weights", "1", "71.0", "81.0"],
        ["3 trainings of this recipe", "3", "70.0 ± 1.3", "81.2 ± 0.5"],
    ]
    report["few_shot"][0]["accuracies"] = [1.0, 2.0, 3.0]
    assert _cells(fewshot_table(report))[1] == ["these weights", "2.0", "80.0"]


def test_a_probe_without_the_svm_is_called_by_its_name() -> None:
    report = linear_report()
    report["summary"] = [row for row in report["summary"] if row["classifier"] == "logistic"]
    table = linear_table(report)
    assert "logistic regression" in table.splitlines()[0] and "instead of the SVM" not in table
    assert ["3 trainings of this recipe", "3", "70.0 ± 1.3", "81.2 ± 0.5"] in _cells(table)


def test_table_of_steps(render: Any) -> None:
    steps = [
        {"name": "one", "seconds": {"data": 0.1, "backward": 0.3}},
        {"name": "two", "seconds": {"teacher": 1.0, "data": 1.0}},
    ]
    machine = {"processor": "cpu", "threads": 1, "torch": "2"}
    assert _cells(render.step_table({"steps": steps, "machine": machine})) == [
        ["part of a step", "one", "two"],
        ["data", "100 ms, 25 %", "1000 ms, 50 %"],
        ["backward", "300 ms, 75 %", ""],
        ["teacher", "", "1000 ms, 50 %"],
        ["together", "400 ms", "2000 ms"],
    ]


def test_a_block_is_filled_from_its_file(
    render: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "ROOT", tmp_path)
    written(tmp_path / "a.json", linear_report())
    text = "Before.\n<!-- table: fewshot a.json -->\nold\n<!-- end -->\nAfter.\n"
    filled = render.rendered(text)
    assert "75.0 ± 0.3" in filled and "old" not in filled
    assert filled.startswith("Before.\n<!-- table: fewshot a.json -->\n")
    assert render.rendered(filled) == filled
