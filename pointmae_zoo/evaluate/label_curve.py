"""Accuracy over the number of labels, from reports of ``evaluate finetuned``: a picture and a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pointmae_zoo.reports.outputs import check_outputs
from pointmae_zoo.reports.schema import is_scored, read_evaluation

_SAME = {
    "data": lambda context: context["dataset"]["file"],
    "classes": lambda context: sorted(context["dataset"]["classes"]),
    "split": lambda context: context["split"],
    "protocol": lambda context: context["protocol"],
    "clouds": lambda context: context["num_test"],
}


def label_curve(
    files: Sequence[str | Path], out: str | Path, *, measure: str = "accuracy", title: str = ""
) -> str:
    """Draw one line for each label of the reports, one point for each file.

    Args:
        files: JSON of ``evaluate finetuned`` on the same clouds. The number of labels is the recipe's
            ``shots``, or, if the run used all labels, its training clouds divided by the classes.
        out: the PNG file; its folder is made.
        measure: ``accuracy`` or ``class mean``.
        title: above the picture; default: data and classes.

    Returns:
        The numbers of the picture, as a table.

    Raises:
        ValueError: no file, a report of another task, reports on different clouds, two for one point, or one
            that doesn't say how many labels its run had; names the file.
        FileNotFoundError: no such file.
        IsADirectoryError, NotADirectoryError, PermissionError: ``out`` can't be written there.
        ModuleNotFoundError: matplotlib is missing.
    """
    from pointmae_zoo.viz import CurvePoint, draw_label_curve

    check_outputs(picture=out)
    if not files:
        raise ValueError("curve: a file or more expected")
    reports = [read_evaluation(Path(file)) for file in files]
    lines: dict[str, list[CurvePoint]] = {}
    for file, report in zip(files, reports, strict=True):
        context = report["context"]
        if not is_scored(report) or context["task"] != "finetuned":
            raise ValueError(f"{file}: a report of another task; expected what 'evaluate finetuned' wrote")
        for what, value in _SAME.items():
            if value(context) != value(reports[0]["context"]):
                raise ValueError(f"{file}: another {what} than {files[0]}; give reports on the same clouds")
        row = next(row for row in report["summary"] if (row["measure"], row["votes"]) == (measure, 0))
        labels, everything = _labels(file, context)
        points = lines.setdefault(context["label"], [])
        if any((point.labels, point.all) == (labels, everything) for point in points):
            raise ValueError(
                f"{file}: a second point of {context['label']!r} at {labels:g} labels; give each line its "
                "own --label"
            )
        points.append(CurvePoint(labels, row["mean"], row["std"], everything))
    first = reports[0]["context"]
    usual = f"{first['dataset']['file']}, {len(first['dataset']['classes'])} classes"
    asked = f"{measure} on {first['split']} clouds"
    chance = first.get("chance_accuracy")
    draw_label_curve(lines, out, measure=asked, chance=chance, title=title or usual)
    width = max(map(len, lines)) + 2
    table = [f"{'':<{width}}labels   {measure}"]
    for name, points in lines.items():
        for point in sorted(points, key=lambda point: point.labels):
            shown = "all" if point.all else f"{point.labels:g}"
            table.append(f"{name:<{width}}{shown:>6}   {point.mean:.1f} +- {point.std:.1f}")
    return "\n".join(table)


def _labels(file: str | Path, context: dict[str, Any]) -> tuple[float, bool]:
    """How many labelled clouds of a class the runs had, and whether these were all."""
    shots, clouds = context["recipe"].get("shots"), context["num_train"]
    if shots is not None:
        return float(shots), False
    if not clouds:
        raise ValueError(
            f"{file}: says neither shots nor how many clouds its runs were trained on; evaluate what "
            "'pointmae-zoo finetune' wrote"
        )
    return clouds / len(context["dataset"]["classes"]), True
