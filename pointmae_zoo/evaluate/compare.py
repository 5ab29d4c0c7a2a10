"""Compare evaluations on the same clouds, cloud by cloud: what an ablation rests on."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointmae_zoo.data.commit import current_commit, versions
from pointmae_zoo.data.files import file_sha256, written_whole
from pointmae_zoo.evaluate.linear import paired_difference
from pointmae_zoo.hub.cards.evaluations import is_comparison, of_weights, read_evaluation

_SAME = {
    "data": lambda context: context["dataset"]["sha256"],
    "classes": lambda context: context["dataset"]["classes"],
    "split": lambda context: context["split"],
    "protocol": lambda context: context["protocol"],
}


def compare(files: Sequence[str | Path], out: str | Path | None = None) -> dict[str, Any]:
    """Linear probes (SVM) of several models, each minus the first on the same clouds.

    Args:
        files: JSON that ``evaluate_linear`` wrote, on the same data, classes, split and protocol.
        out: where to write the result as JSON.

    Returns:
        ``rows``: for each file its label, the runs (training seeds) and their mean accuracy and deviation in
        percent, by cross-validation on train and on test, few-shot results, and ``difference``: how many
        points better than the first, with ``low`` and ``high`` of a 95 % interval by bootstrap over groups of
        near duplicates (of the test accuracy; of the cross-validation accuracy, where test was not touched).
        ``context``: what was compared.

    Raises:
        ValueError: fewer than two files, or they are not comparable; names file and what differs.
        FileNotFoundError: no such file.
    """
    if len(files) < 2:
        raise ValueError("compare: two files or more expected")
    reports = [read_evaluation(Path(file)) for file in files]
    for file, report in zip(files, reports, strict=True):
        if is_comparison(report):
            raise ValueError(f"{file}: not an evaluation of one model; expected what 'evaluate linear' wrote")
        for what, value in _SAME.items():
            if value(report["context"]) != value(reports[0]["context"]):
                raise ValueError(
                    f"{file}: another {what} than {files[0]}; only evaluations of the same can be compared"
                )
        if report["clouds"]["group"] != reports[0]["clouds"]["group"]:
            raise ValueError(f"{file}: other clouds than {files[0]}; evaluate both with the same version")
    first = reports[0]["context"]
    found = {
        "rows": [_row(report, reports[0]) for report in reports],
        "context": {
            "task": "compare",
            "files": [{"name": Path(file).name, "sha256": file_sha256(Path(file))} for file in files],
            "measure": "test" if first["split"] == "test" else "cv",
            **{name: first[name] for name in ("dataset", "class_set", "split", "num_train", "num_test")},
            **{name: first[name] for name in ("protocol_name", "protocol")},
            "versions": versions(),
            "commit": current_commit(),
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    }
    if out is not None:
        with written_whole(Path(out)) as unfinished:
            unfinished.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def comparison_table(found: dict[str, Any]) -> str:
    """A few lines for people."""
    measure = found["context"]["measure"]
    width = max(len(row["label"]) for row in found["rows"]) + 2
    what = "test" if measure == "test" else "cv on train"
    lines = [f"{'':<{width}}{'runs':>4} {what:>14}  minus the first (95 %)"]
    for row in found["rows"]:
        mean, paired = f"{row[f'{measure}_mean']:.1f}", row["difference"]
        if row["runs"] > 1:
            mean += f" +- {row[f'{measure}_std']:.1f}"
        line = f"{row['label']:<{width}}{row['runs']:>4} {mean:>14}"
        if paired is not None:
            line += f"  {paired['mean']:+.1f} [{paired['low']:+.1f}, {paired['high']:+.1f}]"
        lines.append(line)
    return "\n".join(lines)


def _row(report: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    context, found = report["context"], _of_weights(report)
    row = {"label": context["label"], "models": context["models"], "runs": found["runs"]}
    if "encoder_sha256" in context:
        row["encoder_sha256"] = context["encoder_sha256"]
    row |= {name: found[name] for name in ("cv_mean", "cv_std", "test_mean", "test_std")}
    row["few_shot"] = [
        {name: one[name] for name in ("ways", "shots", "test_mean", "test_std")}
        for one in report["few_shot"]
        if one["features"] == "weights"
    ]
    row["difference"] = None if report is first else _difference(report, first)
    return row


def _difference(report: dict[str, Any], first: dict[str, Any]) -> dict[str, float]:
    right = [
        np.array(one["clouds"]["svm"].split(), dtype=float) / _of_weights(one)["runs"]
        for one in (report, first)
    ]
    groups = np.array(first["clouds"]["group"].split(), dtype=int)
    mean, low, high = paired_difference(right[0], right[1], groups)
    return {"mean": mean, "low": low, "high": high}


def _of_weights(report: dict[str, Any]) -> dict[str, Any]:
    row = of_weights(report)
    if row is None or "svm" not in report["clouds"]:
        label = report["context"]["label"]
        raise ValueError(f"{label}: evaluated without the linear SVM, which is what is compared")
    return row
