"""What commands of ``evaluate`` write, with numbers by hand; of frozen features all in one file."""

import json
from pathlib import Path
from typing import Any

WEIGHTS = (("weights", 3), ("random", 1))


def linear_report(
    label: str = "x",
    *,
    split: str = "test",
    protocol_name: str = "standard",
    right: int = 80,
    **context: Any,
) -> dict[str, Any]:
    """A report of three runs and one baseline on 100 clouds, of which ``right`` are classified rightly."""
    tested = split == "test"
    summary = [
        {"features": features, "classifier": classifier, "runs": runs, "cv_mean": 70.04, "cv_std": 1.26}
        | {"test_mean": test if tested else None, "test_std": 0.5 if tested else None}
        for (features, runs), test in zip(WEIGHTS, (81.23, 40.0), strict=True)
        for classifier in ("svm", "logistic")
    ]
    robustness = [
        {"features": features, "classifier": "svm", "change": change, "runs": runs}
        | {"test_mean": mean, "test_std": 2.0}
        for features, runs in WEIGHTS
        for change, mean in (("rotation", 12.34), ("256 points", 55.5))
    ]
    few_shot = [
        {"features": features, "ways": ways, "shots": 10, "runs": runs, "episode_std": 8.0}
        | {"accuracies": [80.0] * runs, "test_mean": 80.0 - ways, "test_std": 0.3}
        for features, runs in WEIGHTS
        for ways in (5, 10)
    ]
    changes = [{"name": one, "kind": "rotation", "amount": 0.0} for one in ("rotation", "256 points")]
    asked = {"classifier": "trained on clean clouds", "seed": 0, "changes": changes}
    return {
        "rows": [],
        "summary": summary,
        "differences": [],
        "robustness": robustness if tested else [],
        "few_shot": few_shot,
        "clouds": {
            "group": " ".join(map(str, range(100))),
            "svm": " ".join(["3"] * right + ["0"] * (100 - right)),
        },
        "context": {
            "task": "linear",
            "label": label,
            "models": ["a", "b", "c"],
            "architecture": "i2p_mae_tiny",
            "pool": "levels",
            "dataset": {"file": "some.npz", "sha256": "0" * 64, "classes": ["one", "two"]},
            "class_set": "all",
            "split": split,
            "num_train": 20,
            "num_test": 10 if tested else 0,
            "num_points": 1024,
            "protocol_name": protocol_name,
            "protocol": "as said",
            "majority_accuracy": 60.0,
            "robustness": asked if tested else {},
            "few_shot": [
                {"ways": ways, "shots": 10, "queries": 20, "episodes": 500, "C": 10.0} for ways in (5, 10)
            ],
            **context,
        },
    }


def score_report(
    label: str = "x", *, shots: int | None = None, score: float = 60.0, num_train: int | None = 90
) -> dict[str, Any]:
    """What ``evaluate finetuned`` writes, of three runs."""
    summary = [
        {"measure": measure, "votes": 0, "runs": 3, "mean": score, "std": 1.0, "low": score - 3}
        | {"high": score + 3}
        for measure in ("accuracy", "class mean")
    ]
    return {
        "rows": [],
        "summary": summary,
        "per_class": [{"class": name, "clouds": 5, "mean": score, "std": 1.0} for name in ("one", "two")],
        "per_part": [],
        "confusion": [[9, 6], [6, 9]],
        "robustness": [],
        "clouds": {"group": "0 1", "class": "0 1", "asked": "3 3", "score": "2 1"},
        "context": {
            "task": "finetuned",
            "label": label,
            "models": ["a", "b", "c"],
            "model_sha256": ["1" * 64] * 3,
            "recipe": {"shots": shots},
            "dataset": {"file": "some.npz", "sha256": "0" * 64, "classes": ["one", "two"]},
            "class_set": "all",
            "split": "test",
            "num_train": num_train,
            "num_test": 10,
            "num_points": 1024,
            "protocol_name": "standard",
            "protocol": "as said",
            "majority_accuracy": 50.0,
            "chance_accuracy": 50.0,
            "robustness": {},
            "votes": 0,
        },
    }


def written(path: Path, report: dict[str, Any]) -> Path:
    """The report as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report), encoding="utf-8")
    return path
