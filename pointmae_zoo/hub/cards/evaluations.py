"""The JSON that ``pointmae-zoo evaluate`` writes, read back: whatever a card says in numbers is in it."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_NUMBER = (int, float)
_TEXT = str
_MAYBE = (int, float, type(None))

# What has to be there, and of which type; in a list every entry.
_CONTEXT = {
    "dataset": {"file": _TEXT, "sha256": _TEXT, "classes": [_TEXT]},
    "class_set": _TEXT,
    "split": _TEXT,
    "num_train": int,
    "num_test": int,
    "protocol_name": _TEXT,
    "protocol": _TEXT,
}
_SPREAD = {"runs": int, "test_mean": _MAYBE, "test_std": _MAYBE}
_LINEAR = {
    "summary": [{"features": _TEXT, "classifier": _TEXT, "cv_mean": _NUMBER, "cv_std": _NUMBER, **_SPREAD}],
    "differences": [
        {"baseline": _TEXT, "classifier": _TEXT, "difference": _NUMBER, "low": _NUMBER, "high": _NUMBER}
    ],
    "robustness": [{"features": _TEXT, "classifier": _TEXT, "change": _TEXT, **_SPREAD}],
    "few_shot": [{"features": _TEXT, "ways": int, "shots": int, "episode_std": _NUMBER, **_SPREAD}],
    "clouds": {"group": _TEXT},
    "context": {
        **_CONTEXT,
        "label": _TEXT,
        "models": [_TEXT],
        "pool": _TEXT,
        "num_points": int,
        "majority_accuracy": _NUMBER,
        "few_shot": [{"ways": int, "shots": int, "queries": int, "episodes": int, "C": _NUMBER}],
        "robustness": {},
    },
}
_SHOTS = {"ways": int, "shots": int, "test_mean": _MAYBE, "test_std": _MAYBE}
_COMPARED = {
    "rows": [{"label": _TEXT, "cv_mean": _NUMBER, "cv_std": _NUMBER, "few_shot": [_SHOTS], **_SPREAD}],
    "context": {**_CONTEXT, "measure": _TEXT},
}


def read_evaluation(path: Path) -> dict[str, Any]:
    """What ``evaluate linear`` or ``evaluate compare`` wrote (`is_comparison` tells which), checked.

    Raises:
        ValueError: not JSON, a number that is none, or something missing; names the file and what.
        FileNotFoundError: no such file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refused)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); evaluate again, or take it away") from None
    context = found.get("context") if isinstance(found, dict) else None
    wanted: Any = _COMPARED if isinstance(context, dict) and is_comparison(found) else _LINEAR
    problem = _problem(found, wanted, "")
    if not problem and found.get("robustness"):
        problem = _problem(found["context"]["robustness"], {"classifier": _TEXT, "seed": int}, "robustness")
    if problem:
        raise ValueError(
            f"{path}: not what 'pointmae-zoo evaluate' writes ({problem}); evaluate again, or take it away"
        )
    return dict(found)


def is_comparison(report: dict[str, Any]) -> bool:
    """Whether it is what ``evaluate compare`` writes."""
    return bool(report["context"].get("task") == "compare")


def of_weights(report: dict[str, Any], classifier: str = "svm") -> dict[str, Any] | None:
    """The line of a linear probe's summary on the weights that it measured."""
    for row in report["summary"]:
        if (row["features"], row["classifier"]) == ("weights", classifier):
            return dict(row)
    return None


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} in it")


def _problem(value: Any, wanted: Any, where: str) -> str:
    """The first thing that is not as wanted, in words, or nothing."""
    if isinstance(wanted, dict):
        if not isinstance(value, Mapping):
            return f"{where or 'all of it'} is no object"
        for name, inner in wanted.items():
            full = f"{where}.{name}".lstrip(".")
            if name not in value:
                return f"{full} is missing"
            if problem := _problem(value[name], inner, full):
                return problem
        return ""
    if isinstance(wanted, list):
        if not isinstance(value, Sequence) or isinstance(value, str):
            return f"{where} is no list"
        problems = (_problem(one, wanted[0], f"{where}[{place}]") for place, one in enumerate(value))
        return next(filter(None, problems), "")
    if not isinstance(value, wanted) or isinstance(value, bool):
        return f"{where} is {value!r}"
    return f"{where} is {value!r}" if isinstance(value, float) and not math.isfinite(value) else ""
