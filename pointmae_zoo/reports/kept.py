"""A run folder's ``evaluations/``: under one name, newer numbers never say less than older ones did."""

from pathlib import Path
from typing import Any

from pointmae_zoo.reports.schema import read_evaluation


def check_kept(path: Path, context: dict[str, Any], classifiers: tuple[str, ...] = ()) -> None:
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
    if there["protocol"] != context["protocol"] and there["num_points"] == context["num_points"]:
        other.append(f"protocol: {there['protocol']}")
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
