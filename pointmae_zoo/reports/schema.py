"""The JSON that ``pointmae-zoo evaluate`` writes, read back: whatever a card says in numbers is in it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_NUMBER = (int, float)
_TEXT = str
_LARGEST = 1e15  # of numbers; no count or accuracy comes near
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
_CHANGED = {"classifier": _TEXT, "seed": int}
_SHOTS = {"ways": int, "shots": int, "test_mean": _MAYBE, "test_std": _MAYBE}
_MINUS = {"mean": _NUMBER, "low": _NUMBER, "high": _NUMBER}
_MEAN = {"mean": _MAYBE, "std": _MAYBE}
_SCORED = {
    "summary": [
        {"measure": _TEXT, "votes": int, "runs": int}
        | {name: _NUMBER for name in ("mean", "std", "low", "high")}
    ],
    "per_class": [{"class": _TEXT, "clouds": int, **_MEAN}],
    "per_part": [{"part": _TEXT, "clouds": int, **_MEAN}],
    "confusion": [[int]],
    "robustness": [{"change": _TEXT, **_SPREAD}],
    "clouds": {name: _TEXT for name in ("group", "class", "asked", "score")},
    "context": {
        **_CONTEXT,
        "num_train": (int, type(None)),
        "label": _TEXT,
        "models": [_TEXT],
        "model_sha256": [_TEXT],
        "num_points": int,
        "recipe": {},
        "robustness": {},
    },
}
_COMPARED = {
    "rows": [{"label": _TEXT, "cv_mean": _MAYBE, "cv_std": _MAYBE, "few_shot": [_SHOTS], **_SPREAD}],
    "context": {**_CONTEXT, "measure": _TEXT},
}


def read_evaluation(path: Path) -> dict[str, Any]:
    """What a command of ``evaluate`` wrote (`is_comparison` and `is_scored` tell which sections it has),
    checked.

    Raises:
        ValueError: no file, not JSON, a number that is none, something missing, or parts that don't fit
            together; names the file and what.
        FileNotFoundError: no such file.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: no regular file; take it away")
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refused)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply; evaluate again, or take it away") from None
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); evaluate again, or take it away") from None
    context = found.get("context") if isinstance(found, dict) else None
    wanted: dict[str, Any] = _LINEAR
    problem_of = _problem_of_linear
    if isinstance(context, dict) and is_comparison(found):
        wanted, problem_of = _COMPARED, _problem_of_comparison
    elif isinstance(context, dict) and is_scored(found):
        wanted, problem_of = _SCORED, _problem_of_scores
    problem = _problem(found, wanted, "") or problem_of(found)
    if problem:
        raise ValueError(
            f"{path}: not what 'pointmae-zoo evaluate' writes ({problem}); evaluate again, or take it away"
        )
    return dict(found)


OF_BASELINES = "; baselines' BatchNorm "
"""In a protocol, before what is done to the random baselines alone."""


def protocol_of_weights(context: dict[str, Any]) -> str:
    """The protocol of a report without what it says about baselines."""
    return str(context["protocol"]).partition(OF_BASELINES)[0]


def check_replaceable(path: Path, context: dict[str, Any], classifiers: tuple[str, ...] = ()) -> None:
    """Refuse to write over a report of the same weights with other settings.

    What is there of other weights, or is no evaluation, may go. So may what the new report has, too: the same
    data, points, pooling and protocol, and at least the classifiers, baselines, few-shot episodes, changes of
    the test clouds and votes.

    Args:
        path: where the report will be.
        context: of it.
        classifiers: that it will have, if it is of frozen features.

    Raises:
        ValueError: names the file and the settings that it has.
    """
    try:
        found = read_evaluation(path)
    except (FileNotFoundError, ValueError):
        return
    there = found["context"]
    if any(there.get(name) != context.get(name) for name in ("encoder_sha256", "model_sha256")):
        return
    other = []
    if there["dataset"]["sha256"] != context["dataset"]["sha256"]:
        other.append(f"data with sha256 {there['dataset']['sha256'][:12]}")
    if there["num_points"] != context["num_points"]:
        other.append(f"--points {there['num_points']}")
    if there.get("pool") != context.get("pool"):
        other.append(f"--pool {there['pool']}")
    same = protocol_of_weights(there) == protocol_of_weights(context)
    if not same and there["num_points"] == context["num_points"]:
        other.append(f"protocol: {there['protocol']}")
    if "paper" in classifiers and there.get("fixed_C", context.get("fixed_C")) != context.get("fixed_C"):
        other.append(f"--C {there['fixed_C']:g}")
    had = list(dict.fromkeys(row["classifier"] for row in found["summary"] if "classifier" in row))
    if not set(had) <= set(classifiers):
        other.append(f"--classifier {' '.join(had)}")
    if len(there.get("baseline_seeds", ())) > len(context.get("baseline_seeds", ())):
        other.append(f"--seeds {len(there['baseline_seeds'])}")
    if there.get("votes") and there["votes"] != context.get("votes"):
        other.append(f"--votes {there['votes']}")
    for one in there.get("few_shot", ()):
        if one not in context.get("few_shot", ()):
            other.append(f"{one['ways']}-way {one['shots']}-shot, {one['episodes']} episodes")
    asked = [one["name"] for one in context.get("robustness", {}).get("changes", ())]
    changed = [row["change"] for row in found["robustness"] if row["change"] not in asked]
    if changed:
        other.append(f"test clouds changed: {', '.join(dict.fromkeys(changed))}")
    if other:
        raise ValueError(f"{path}: holds other settings: {', '.join(other)}; name another file with --out")


def is_comparison(report: dict[str, Any]) -> bool:
    """Whether it is what ``evaluate compare`` writes."""
    return bool(report["context"].get("task") == "compare")


def is_scored(report: dict[str, Any]) -> bool:
    """Whether it is of fine-tuned networks: what ``evaluate finetuned``, ``evaluate parts``, or
    ``evaluate robustness`` of a fine-tuned classifier writes. Every other that is no comparison is of frozen
    features: a linear probe, few-shot episodes, a linear probe on changed clouds, or all in one."""
    return "model_sha256" in report["context"]


def of_weights(report: dict[str, Any], classifier: str = "svm") -> dict[str, Any] | None:
    """The line of a linear probe's summary on the weights that it measured."""
    for row in report["summary"]:
        if (row["features"], row["classifier"]) == ("weights", classifier):
            return dict(row)
    return None


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} in it")


def _problem_of_linear(found: dict[str, Any]) -> str:
    """What does not fit together, or nothing."""
    context = found["context"]
    if problem := _problem(context.get("encoder_sha256", []), [_TEXT], "context.encoder_sha256"):
        return problem
    if found["robustness"] and (problem := _problem(context["robustness"], _CHANGED, "context.robustness")):
        return problem
    asked = {(one["ways"], one["shots"]) for one in context["few_shot"]}
    for place, row in enumerate(found["few_shot"]):
        if (row["ways"], row["shots"]) not in asked:
            return f"few_shot[{place}] is of ways and shots that context.few_shot does not have"
    for name in ("summary", "robustness", "few_shot"):
        if problem := _problem_of_spreads(found[name], name):
            return problem
    return ""


def _problem_of_comparison(found: dict[str, Any]) -> str:
    for place, row in enumerate(found["rows"]):
        where = f"rows[{place}]"
        for name in ("encoder_sha256", "model_sha256"):
            if problem := _problem(row.get(name, []), [_TEXT], f"{where}.{name}"):
                return problem
        if (row["cv_mean"] is None) != (row["cv_std"] is None):
            return f"{where}: one of cv_mean and cv_std is null, and the other is not"
        if "difference" not in row:
            return f"{where}.difference is missing"
        paired = row["difference"]
        problem = "" if paired is None else _problem(paired, _MINUS, f"{where}.difference")
        if problem := problem or _problem_of_spreads(row["few_shot"], f"{where}.few_shot"):
            return problem
    return _problem_of_spreads(found["rows"], "rows")


def _problem_of_scores(found: dict[str, Any]) -> str:
    context = found["context"]
    if problem := _problem(context.get("encoder_sha256", []), [_TEXT], "context.encoder_sha256"):
        return problem
    classes = len(context["dataset"]["classes"])
    if found["confusion"] and {len(found["confusion"]), *map(len, found["confusion"])} != {classes}:
        return f"confusion is no table of {classes} times {classes} counts"
    if found["robustness"] and (problem := _problem(context["robustness"], _CHANGED, "context.robustness")):
        return problem
    for name in ("per_class", "per_part"):
        for place, row in enumerate(found[name]):
            if (row["mean"] is None) != (row["std"] is None):
                return f"{name}[{place}]: one of mean and std is null, and the other is not"
    shots = context["recipe"].get("shots")
    if shots is not None and (not isinstance(shots, int) or isinstance(shots, bool) or shots < 1):
        return f"context.recipe.shots is {shots!r:.60}"
    return _problem_of_spreads(found["robustness"], "robustness")


def _problem_of_spreads(rows: list[dict[str, Any]], name: str) -> str:
    """A mean has a deviation, and nothing else has; and ways are some."""
    for place, row in enumerate(rows):
        if (row["test_mean"] is None) != (row["test_std"] is None):
            return f"{name}[{place}]: one of test_mean and test_std is null, and the other is not"
        if row.get("ways", 1) < 1:
            return f"{name}[{place}].ways is {row['ways']}"
    return ""


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
    fits = isinstance(value, wanted) and not isinstance(value, bool)
    if fits and isinstance(value, (int, float)):
        fits = abs(value) <= _LARGEST  # False for NaN, too
    return "" if fits else f"{where} is {value!r:.60}"
