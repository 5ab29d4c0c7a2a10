"""Tables of fine-tuned networks for cards and README, and all tables of any report, as Markdown."""

from typing import Any

from pointmae_zoo.reports.schema import is_comparison, is_scored
from pointmae_zoo.reports.tables import (
    ablation_table,
    fewshot_table,
    head,
    line,
    linear_table,
    robustness_table,
    with_note,
)

_PER_CLASS = 60  # classes, or parts; a longer table is nothing for a card


def scores_table(report: dict[str, Any]) -> str:
    """Scores of fine-tuned networks in percent, mean ± deviation over the runs, with and without votes."""
    context = report["context"]
    title = f"fine-tuned, {len(context['dataset']['classes'])} classes"
    if context["protocol_name"] == "paper":
        title += ", the papers' protocol"
    lines = head(title, "runs", "score", "95 % interval")
    for row in report["summary"]:
        name = row["measure"] + (f", {row['votes']} votes" if row["votes"] else "")
        interval = f"{row['low']:.1f} to {row['high']:.1f}"
        lines.append(line(name, str(row["runs"]), _mean(row, row["runs"]), interval))
    if "majority_accuracy" in context:
        lines.append(line("always the most frequent class", "", f"{context['majority_accuracy']:.1f}", ""))
    protocol = context["protocol"]
    which = "to test" if context["split"] == "test" else "held out of train; test not touched"
    trained = "" if context["num_train"] is None else f"{context['num_train']} clouds to train, "
    note = (
        f"{context['dataset']['file']}: {trained}{context['num_test']} {which}. "
        f"{protocol[:1].upper()}{protocol[1:]}. Intervals are by bootstrap over groups of near duplicates; "
        "they do not cover the spread between runs."
    )
    if shots := context["recipe"].get("shots"):
        note += f" Only {shots} labelled clouds of each class were learned from."
    if any(row["votes"] for row in report["summary"]):
        note += " Votes: the mean over random views of each cloud, changed as in training."
    return with_note(lines, note)


def class_table(report: dict[str, Any]) -> str:
    """Class by class, and of parts part by part; empty where there are too many."""
    parts = []
    for kind in ("class", "part"):
        rows = report[f"per_{kind}"]
        if not 0 < len(rows) <= _PER_CLASS:
            continue
        runs = len(report["context"]["models"])
        first = report["summary"][0]["measure"] if report["summary"] else "score"
        measure = "right" if first == "accuracy" else "mean overlap"
        lines = head(kind, "clouds", measure)
        for row in rows:
            score = "none asked" if row["mean"] is None else _mean(row, runs)
            lines.append(line(row[kind], str(row["clouds"]), score))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def changed_table(report: dict[str, Any]) -> str:
    """Accuracies of a fine-tuned classifier on changed test clouds."""
    lines = head("test clouds", "these weights")
    if report["summary"]:
        lines.append(line("as they are", _mean(report["summary"][0], report["summary"][0]["runs"])))
    for row in report["robustness"]:
        found = {"mean": row["test_mean"], "std": row["test_std"]}
        lines.append(line(row["change"], _mean(found, row["runs"])))
    asked = report["context"]["robustness"]
    note = (
        f"Fine-tuned classifier, {asked['classifier']} (seed {asked['seed']}). Noise: Gaussian, in units of "
        "the cloud's radius. Missing ball: the points nearest to a random one; missing side: those farthest "
        "along a random direction."
    )
    return with_note(lines, note)


def tables(report: dict[str, Any]) -> str:
    """Whatever a report of ``pointmae-zoo evaluate`` holds."""
    if is_comparison(report):
        return ablation_table(report)
    if is_scored(report):
        parts = [changed_table(report)] if report["robustness"] else [scores_table(report)]
        parts.append(class_table(report))
        return "\n\n".join(filter(None, parts))
    parts = [linear_table(report)] if report["summary"] and not is_part(report) else []
    parts += [robustness_table(report)] if report["robustness"] else []
    parts += [fewshot_table(report)] if report["few_shot"] else []
    return "\n\n".join(parts)


def is_part(report: dict[str, Any]) -> bool:
    """Whether its linear probe stands there only to be compared with, as in a report of robustness alone."""
    return bool(report["context"].get("task") == "robustness")


def _mean(row: dict[str, Any], runs: int) -> str:
    if row["mean"] is None:
        return ""
    return f"{row['mean']:.1f}" + (f" ± {row['std']:.1f}" if runs > 1 else "")
