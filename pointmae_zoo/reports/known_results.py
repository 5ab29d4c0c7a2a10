"""Numbers to compare with: what the zoo's weights were measured at, and what papers report.

``results.csv`` has a line for every published weight and everything that was measured of it. ``make cards``
writes it from the files that ``pointmae-zoo evaluate`` wrote. ``published.csv`` has numbers of papers, with
their sources; people write it.
"""

import csv
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pointmae_zoo.reports.schema import is_comparison, is_scored, of_weights

RESULTS = Path(__file__).with_name("results.csv")
PUBLISHED = Path(__file__).with_name("published.csv")

LINEAR = "linear SVM"
PAPER_C = 0.0093
"""The C that I2P-MAE's linear probe of ModelNet40 uses; for ScanObjectNN (OBJ-BG) it is 0.018."""
COLUMNS = {
    "name": "the weights, architecture.tag",
    "dataset": "the data, as the evaluation names them",
    "classes": "how many",
    "task": "what was measured",
    "protocol": "standard; or paper: as the papers do it, for comparison with their tables",
    "accuracy": "of these very weights on test, in percent; empty if only a mean is known",
    "mean": "of all trainings of the recipe, which these weights are one of",
    "std": "standard deviation over these trainings; empty for one",
    "seeds": "how many trainings",
    "low": "lower end of the 95 % interval of the mean, by bootstrap over the test clouds",
    "high": "upper end of it",
    "random": "the same network with random weights, as it is or with calibrated BatchNorms: the better one",
    "parameters": "of the encoder; of a classifier with its head",
    "clouds_per_second": "on a CPU, of python -m benchmarks weights; empty: not measured",
    "trained_on": "without the labels, if it is no classifier",
    "sha256": "of model.safetensors",
    "source": "the file of the evaluation, in the repository",
}
"""Of ``results.csv``."""

SHOWN = (LINEAR, "5-way 10-shot", "fine-tuned")
"""Tasks whose numbers ``list --weights`` shows."""


def measured_results() -> list[dict[str, str]]:
    """The lines of ``results.csv``."""
    return _lines(RESULTS)


def published_results() -> list[dict[str, str]]:
    """The lines of ``published.csv``: method, family (if it is one of the zoo), dataset, task, accuracy, what
    it was trained on, parameters, source, its address, what users measured again, and where they say so."""
    return _lines(PUBLISHED)


def main_numbers(name: str) -> dict[str, str]:
    """The numbers of published weights that stand for them, by task and data."""
    return {
        f"{row['task']}, {dataset_name(row['dataset'], row['classes'])}": f"{float(row['accuracy']):.1f}"
        for row in measured_results()
        if (row["name"], row["protocol"]) == (name, "standard") and row["task"] in SHOWN and row["accuracy"]
    }


def dataset_name(dataset: str, classes: str) -> str:
    """What people call the data: a benchmark by its name, other data by the number of classes."""
    name, colon, _ = dataset.partition(":")
    names = {"modelnet40": "ModelNet40", "scanobjectnn": "ScanObjectNN"}
    return names.get(name, name) if colon else f"{classes} classes"


def paper_reached(family: str, reports: Iterable[dict[str, Any]]) -> str:
    """Why the reports don't show that a paper's number was reached; empty: one of them does.

    A number is reached if the mean on the paper's test data, by the paper's protocol, plus the standard
    deviation over the runs comes up to it, rounded to a tenth as papers write it.

    Args:
        family: name of the method's family.
        reports: evaluations of the weights.
    """
    asked = [row for row in published_results() if row["family"] == family]
    if not asked:
        return f"no number of a paper about {family} is in published.csv"
    for row, report in itertools.product(asked, reports):
        found = None if is_comparison(report) else _by_the_paper(report, row)
        if found is not None and found >= float(row["accuracy"]) - 0.05:
            return ""
    numbers = " or ".join(f"{row['accuracy']} on {row['dataset']} ({row['task']})" for row in asked)
    return f"none on test by the paper's protocol reaches {numbers}"


def _by_the_paper(report: dict[str, Any], published: dict[str, str]) -> float | None:
    """Mean plus deviation of what the published number is of; None: the report is of something else."""
    context = report["context"]
    if context["split"] != "test" or context["dataset"]["file"].partition(":")[0] != published["dataset"]:
        return None
    paper = context["protocol_name"] == "paper"
    if published["task"] == LINEAR and not is_scored(report):
        row = of_weights(report, "svm" if paper else "paper")
        if context.get("fixed_C") != PAPER_C:  # another one may have been chosen on test
            return None
        return None if row is None else float(row["test_mean"] + row["test_std"])
    if published["task"] == "fine-tuned" and is_scored(report) and paper:
        for row in report["summary"]:
            if (row["measure"], row["votes"]) == ("accuracy", 0):
                return float(row["mean"] + row["std"])
    return None


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
