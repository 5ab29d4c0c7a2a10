"""Cards and README: every number comes from a file that a command wrote, and every weight has a card."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pointmae_zoo import list_weights
from pointmae_zoo.registry import get_weights

ROOT = Path(__file__).resolve().parent.parent


def test_every_page_with_numbers_has_filled_tables() -> None:
    for path in [ROOT / "README.md", *(ROOT / "model_cards").glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        assert text.count("<!-- table: ") == text.count("<!-- end -->") >= 2, path
        assert "-->\n<!-- end -->" not in text and "To be filled" not in text, path


def test_tables_are_what_the_json_files_say() -> None:
    done = subprocess.run(
        [sys.executable, "model_cards/render.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", list_weights())
def test_every_published_weight_has_a_card(name: str) -> None:
    card = (ROOT / "model_cards" / f"{name}.md").read_text(encoding="utf-8")
    entry = get_weights(name)
    assert card.startswith(f"# {name}\n") and f"`{entry.status}`" in card and entry.licence in card


def test_every_card_is_of_a_published_weight() -> None:
    assert [path.stem for path in sorted((ROOT / "model_cards").glob("*.md"))] == list_weights()


@pytest.fixture(scope="module")
def render() -> Any:
    spec = importlib.util.spec_from_file_location("render", ROOT / "model_cards" / "render.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _report(label: str, split: str = "test", protocol: str = "standard", right: int = 80) -> dict[str, Any]:
    """What ``evaluate linear --robustness --few-shot --out`` writes, numbers by hand."""
    tested = split == "test"
    summary = [
        {"features": features, "classifier": classifier, "runs": runs, "cv_mean": 70.04, "cv_std": 1.26}
        | {"test_mean": test if tested else None, "test_std": 0.5 if tested else None}
        for features, runs, test in (("weights", 3, 81.23), ("random", 1, 40.0))
        for classifier in ("svm", "logistic")
    ]
    robustness = [
        {"features": features, "classifier": "svm", "change": change, "runs": runs}
        | {"test_mean": mean, "test_std": 2.0}
        for features, runs in (("weights", 3), ("random", 1))
        for change, mean in (("rotation", 12.34), ("256 points", 55.5))
    ]
    few_shot = [
        {"features": features, "ways": ways, "shots": 10, "runs": runs, "episode_std": 8.0}
        | {"accuracies": [80.0] * runs, "test_mean": 80.0 - ways, "test_std": 0.3}
        for features, runs in (("weights", 3), ("random", 1))
        for ways in (5, 10)
    ]
    changes = [{"name": one, "kind": "rotation", "amount": 0.0} for one in ("rotation", "256 points")]
    context = {
        "label": label,
        "split": split,
        "protocol_name": protocol,
        "protocol": "as said",
        "dataset": {"file": "some.npz", "classes": ["a", "b"]},
        "num_train": 20,
        "num_test": 10 if tested else 0,
        "majority_accuracy": 60.0,
        "robustness": {"classifier": "trained on clean clouds", "seed": 0, "changes": changes},
        "few_shot": [
            {"ways": ways, "shots": 10, "queries": 20, "episodes": 500, "C": 10.0} for ways in (5, 10)
        ],
    }
    clouds = {"group": " ".join(map(str, range(100))), "svm": " ".join(["3"] * right + ["0"] * (100 - right))}
    return {"summary": summary, "robustness": robustness, "few_shot": few_shot, "context": context} | {
        "differences": [],
        "clouds": clouds,
    }


def _cells(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|") and not re.fullmatch(r"[| -]+", line)
    ]


def test_table_of_robustness(render: Any) -> None:
    assert _cells(render.robustness_table(_report("x"))) == [
        ["test clouds", "these weights", "the same network, random"],
        ["as they are", "81.2 ± 0.5", "40.0"],
        ["rotation", "12.3 ± 2.0", "12.3"],
        ["256 points", "55.5 ± 2.0", "55.5"],
    ]


def test_table_of_few_shot(render: Any) -> None:
    assert _cells(render.fewshot_table(_report("x"))) == [
        ["frozen features", "5-way 10-shot", "10-way 10-shot"],
        ["these weights", "75.0 ± 0.3", "70.0 ± 0.3"],
        ["the same network, random", "75.0", "70.0"],
        ["chance", "20.0", "10.0"],
    ]


def test_table_of_an_ablation(render: Any) -> None:
    first, second = _report("3D alone", "validation"), _report("both", "validation", right=90)
    rows = _cells(render.ablation_table(first, second))
    assert rows[0][:4] == [
        "variant",
        "training seeds",
        "cross-validation on train",
        "minus the first [95 %]",
    ]
    assert rows[1] == ["3D alone", "3", "70.0 ± 1.3", "", "75.0 ± 0.3", "70.0 ± 0.3"]
    difference, low, high = map(float, re.findall(r"[-+][\d.]+", rows[2][3]))
    # 10 of 100 clouds more, each a group of its own: a deviation of sqrt(0.1 0.9 / 100), 3 points.
    assert difference == 10.0 and low == pytest.approx(10 - 1.96 * 3, abs=1.1)
    assert high == pytest.approx(10 + 1.96 * 3, abs=1.1)
    tested = _cells(render.ablation_table(first, _report("both")))
    assert [row[3] for row in tested] == ["test", "not touched", "81.2 ± 0.5"]


def test_linear_tables_say_protocol_and_split(render: Any) -> None:
    assert "the papers' protocol" in render.linear_table(_report("x", protocol="paper")).splitlines()[0]
    validated = render.linear_table(_report("x", "validation"))
    assert ["these weights", "3", "70.0 ± 1.3", "not touched"] in _cells(validated)
    assert ["always the most frequent class", "", "60.0", ""] in _cells(validated)


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


def test_a_block_may_name_several_files(render: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "ROOT", tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps(_report(f"variant {name}")))
    text = "Before.\n<!-- table: ablation a.json b.json -->\nold\n<!-- end -->\nAfter.\n"
    filled = render.rendered(text)
    assert "variant a" in filled and "variant b" in filled and "old" not in filled
    assert filled.startswith("Before.\n<!-- table: ablation a.json b.json -->\n")
    assert render.rendered(filled) == filled
