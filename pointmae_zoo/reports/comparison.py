"""Compare evaluations on the same clouds, cloud by cloud: what an ablation rests on."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.reports.outputs import check_outputs
from pointmae_zoo.reports.report import save_json
from pointmae_zoo.reports.schema import (
    is_comparison,
    is_scored,
    of_weights,
    protocol_of_weights,
    read_evaluation,
)
from pointmae_zoo.reports.scores import paired_difference
from pointmae_zoo.system.files import file_sha256
from pointmae_zoo.system.source_state import measured_with

_SAME = {
    "task": lambda context: context.get("task", "linear"),
    "data": lambda context: context["dataset"]["sha256"],
    "classes": lambda context: context["dataset"]["classes"],
    "split": lambda context: context["split"],
    "protocol": protocol_of_weights,
}


def compare(files: Sequence[str | Path], out: str | Path | None = None) -> dict[str, Any]:
    """Linear probes (SVM), or fine-tuned networks, each minus the first on the same clouds.

    Args:
        files: JSON that ``evaluate_linear``, or ``evaluate_finetuned``, or ``evaluate_parts`` wrote, on the
            same data, classes, split and protocol.
        out: where to write the result as JSON; its folder is made.

    Returns:
        ``rows``: for each file its label, the runs (training seeds) and their mean accuracy (of parts: mean
        overlap by instance) and deviation in percent, by cross-validation on train (None of fine-tuned
        networks) and on the clouds of the split, few-shot results, and ``difference``: how many points better
        than the first, with ``low`` and ``high`` of a 95 % interval by bootstrap over groups of near
        duplicates (of the accuracy on test; of the cross-validation accuracy, where a probe did not touch
        test).
        ``context``: what was compared.

    Raises:
        ValueError: fewer than two files, or they are not comparable; names file and what differs. ``out`` is
            no name of a .json file.
        FileNotFoundError: no such file.
        IsADirectoryError, NotADirectoryError, PermissionError: ``out`` can't be written there.
    """
    started = time.perf_counter()
    check_outputs(out)
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
        if any(report["clouds"].get(what) != reports[0]["clouds"].get(what) for what in ("group", "class")):
            raise ValueError(f"{file}: other clouds than {files[0]}; evaluate both with the same version")
    first = reports[0]["context"]
    found = {
        "rows": [_row(report, reports[0]) for report in reports],
        "context": {
            "task": "compare",
            "files": [{"name": Path(file).name, "sha256": file_sha256(Path(file))} for file in files],
            "compared": first.get("task", "linear"),
            "measure": "test" if first["split"] == "test" or is_scored(reports[0]) else "cv",
            **{name: first[name] for name in ("dataset", "class_set", "split", "num_train", "num_test")},
            **{name: first[name] for name in ("protocol_name", "protocol")},
            **measured_with(started),
        },
    }
    if out is not None:
        save_json(found, Path(out))
    return found


def comparison_table(found: dict[str, Any]) -> str:
    """A few lines for people."""
    measure = found["context"]["measure"]
    width = max(len(row["label"]) for row in found["rows"]) + 2
    what = "cv on train" if measure == "cv" else found["context"]["split"]
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
    context = report["context"]
    row = {"label": context["label"], "models": context["models"]}
    row |= {name: context[name] for name in ("encoder_sha256", "model_sha256") if name in context}
    if is_scored(report):
        main = report["summary"][0]
        row |= {"runs": main["runs"], "cv_mean": None, "cv_std": None}
        row |= {"test_mean": main["mean"], "test_std": main["std"], "few_shot": []}
    else:
        found = _of_weights(report)
        row |= {name: found[name] for name in ("runs", "cv_mean", "cv_std", "test_mean", "test_std")}
        row["few_shot"] = [
            {name: one[name] for name in ("ways", "shots", "test_mean", "test_std")}
            for one in report["few_shot"]
            if one["features"] == "weights"
        ]
    row["difference"] = None if report is first else _difference(report, first)
    return row


def _difference(report: dict[str, Any], first: dict[str, Any]) -> dict[str, float]:
    groups = np.array(first["clouds"]["group"].split(), dtype=int)
    mean, low, high = paired_difference(_of_clouds(report), _of_clouds(first), groups)
    return {"mean": mean, "low": low, "high": high}


def _of_clouds(report: dict[str, Any]) -> NDArray[np.float64]:
    """(M,) the mean score of every cloud over the runs."""
    clouds = report["clouds"]
    if is_scored(report):
        return np.array(clouds["score"].split(), dtype=float) / np.array(clouds["asked"].split(), dtype=float)
    return np.array(clouds["svm"].split(), dtype=float) / _of_weights(report)["runs"]


def _of_weights(report: dict[str, Any]) -> dict[str, Any]:
    row = of_weights(report)
    if row is None or "svm" not in report["clouds"]:
        label = report["context"]["label"]
        raise ValueError(f"{label}: evaluated without the linear SVM, which is what is compared")
    return row
