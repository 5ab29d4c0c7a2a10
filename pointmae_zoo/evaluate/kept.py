"""A run folder's ``evaluations/``: under one name, newer numbers never say less than older ones did."""

from pathlib import Path
from typing import Any

from pointmae_zoo.hub.cards.evaluations import read_evaluation


def check_kept(path: Path, context: dict[str, Any], classifiers: tuple[str, ...]) -> None:
    """Refuse to write over a report of the same weights with other settings.

    What is there of other weights, or is no evaluation, may go. So may what the new report has, too: the same
    data, points, pooling and protocol, and at least the classifiers, baselines, few-shot episodes and changes
    of the test clouds.

    Args:
        path: where the report will be.
        context: of it.
        classifiers: that it will have.

    Raises:
        ValueError: names the file and the settings that it has.
    """
    try:
        found = read_evaluation(path)
    except (FileNotFoundError, ValueError):
        return
    there = found["context"]
    if there.get("encoder_sha256") != context["encoder_sha256"]:
        return
    other = []
    if there["dataset"]["sha256"] != context["dataset"]["sha256"]:
        other.append(f"data with sha256 {there['dataset']['sha256'][:12]}")
    if there["num_points"] != context["num_points"]:
        other.append(f"--points {there['num_points']}")
    if there["pool"] != context["pool"]:
        other.append(f"--pool {there['pool']}")
    if there["protocol"] != context["protocol"] and there["num_points"] == context["num_points"]:
        other.append(f"protocol: {there['protocol']}")
    had = list(dict.fromkeys(row["classifier"] for row in found["summary"]))
    if not set(had) <= set(classifiers):
        other.append(f"--classifier {' '.join(had)}")
    if len(there.get("baseline_seeds", ())) > len(context["baseline_seeds"]):
        other.append(f"--seeds {len(there['baseline_seeds'])}")
    if found["few_shot"] and not context["few_shot"]:
        other.append("--few-shot")
    if found["robustness"] and not context["robustness"]:
        other.append("--robustness")
    if other:
        raise ValueError(f"{path}: holds other settings: {', '.join(other)}; name another file with --out")
