"""A card's front matter: what machines read of it, the results (``model-index``) among it."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pointmae_zoo.models.registry import Family
from pointmae_zoo.reports.schema import is_comparison, is_scored
from pointmae_zoo.reports.tables import CLASSIFIERS, is_part, main_classifier, posed

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

LIBRARY = "pointmae-zoo"
# Licences that the Hub knows by name; any other is "other" with a license_name.
_LICENCES = frozenset(
    ["apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "mpl-2.0", "unlicense", "gpl-2.0", "gpl-3.0"]
    + ["lgpl-2.1", "lgpl-3.0", "agpl-3.0", "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-4.0"]
    + ["cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"]
)

# The Hub's client puts results of one task, data and configuration together, under the first one's protocol.
_OF_TASK = {
    "finetuned": ", fine-tuned",
    "fewshot": ", few-shot",
    "robustness": ", test clouds changed",
}


def front_matter(
    title: str,
    *,
    family: Family,
    kind: str,
    licence: str,
    reports: Sequence[dict[str, Any]],
    data_names: dict[str, str],
    base: str | None = None,
) -> str:
    """The YAML between the card's dashes, without them.

    Args:
        title: of the card.
        family, kind: of the model.
        licence: SPDX identifier or words; empty: not stated.
        reports: evaluations of the weights; comparisons among them are left out.
        data_names: what people call a data set, by its file.
        base: what the weights were initialised from; said if it is a repository, ``org/repo@commit``.
    """
    from huggingface_hub import ModelCardData

    stated: dict[str, Any] = {}
    if base is not None and "/" in base:
        stated["base_model"] = base.partition("@")[0]
    if licence.lower() in _LICENCES:
        stated["license"] = licence.lower()
    elif licence:
        stated |= {
            "license": "other",
            "license_name": re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-"),
        }
    if kind in ("encoder", "pretraining"):
        stated["pipeline_tag"] = "feature-extraction"
    tags = [LIBRARY, "point-cloud", "3d", "mesh", "self-supervised-learning", "masked-autoencoder"]
    tags.append(family.name.replace("_", "-"))
    if family.paper is not None:
        tags.append(family.paper.identifier.lower())
    results: dict[str, Any] = {}
    if found := eval_results(reports, data_names):
        results = {"model_name": title, "eval_results": found}
    data = ModelCardData(library_name=LIBRARY, tags=tags, **stated, **results)
    return data.to_yaml().strip()


def eval_results(reports: Sequence[dict[str, Any]], data_names: dict[str, str]) -> "list[EvalResult]":
    """The accuracies of the weights, in percent, exactly as they are in the JSON: linear probes, few-shot
    classification, linear probes on changed test clouds; and those of fine-tuned networks."""
    found: list[EvalResult] = []
    for report in reports:
        if not is_comparison(report):
            of_report = _of_scores if is_scored(report) else _of_report
            found += of_report(report, data_names)
    return found


def _of_data(report: dict[str, Any], data_names: dict[str, str]) -> dict[str, Any]:
    context = report["context"]
    file, on_train = context["dataset"]["file"], context["split"] == "validation"
    held_out = "train (held out)" if is_scored(report) else "train (cross-validation)"
    return {
        "dataset_type": PurePosixPath(file).stem,
        "dataset_name": f"{data_names[file]} ({file})" if file in data_names else file,
        "dataset_config": f"{context['class_set']}, {len(context['dataset']['classes'])} classes, "
        f"{context['num_points']} points, protocol {context['protocol_name']}"
        + posed(report)
        + _OF_TASK.get(context.get("task"), ""),
        "dataset_split": held_out if on_train else "test",
        "dataset_revision": context["dataset"]["sha256"],
        "dataset_args": {
            "protocol": context["protocol"],
            **({} if context["num_train"] is None else {"train_clouds": context["num_train"]}),
            "test_clouds": context["num_test"],
        },
    }


def _of_report(report: dict[str, Any], data_names: dict[str, str]) -> "list[EvalResult]":
    from huggingface_hub import EvalResult

    context = report["context"]
    number = "cv" if context["split"] == "validation" else "test"
    shared: dict[str, Any] = {
        "task_type": "point-cloud-classification",
        "task_name": "Point cloud classification from frozen features",
        **_of_data(report, data_names),
    }

    def result(name: str, row: dict[str, Any], which: str, **args: Any) -> EvalResult:
        args |= {"pool": context["pool"], "runs": row["runs"]}
        if row["runs"] > 1:
            args["standard_deviation"] = row[f"{which}_std"]
        return EvalResult(
            **shared,
            metric_type="accuracy",
            metric_name=f"accuracy (%), {name}{posed(report)}",
            metric_value=row[f"{which}_mean"],
            metric_args=args,
        )

    def called(row: dict[str, Any]) -> str:
        return CLASSIFIERS.get(row["classifier"], str(row["classifier"]))

    found = []
    if not is_part(report):
        found += [result(called(row), row, number) for row in _measured(report["summary"])]
    for row in _measured(report["few_shot"]):
        wanted = row["ways"], row["shots"]
        settings = (one for one in context["few_shot"] if (one["ways"], one["shots"]) == wanted)
        asked: dict[str, Any] = next(settings, {})
        found.append(result(f"{row['ways']}-way {row['shots']}-shot", row, "test", **asked))
    for row in _measured(report["robustness"]):
        if row["classifier"] == main_classifier(report):
            found.append(result(f"{called(row)}, test clouds changed: {row['change']}", row, "test"))
    return found


def _of_scores(report: dict[str, Any], data_names: dict[str, str]) -> "list[EvalResult]":
    from huggingface_hub import EvalResult

    context = report["context"]
    parts = context["task"] == "parts"
    shared: dict[str, Any] = {
        "task_type": "point-cloud-segmentation" if parts else "point-cloud-classification",
        "task_name": "Part segmentation" if parts else "Point cloud classification, fine-tuned",
        **_of_data(report, data_names),
    }
    found = []

    def add(name: str, value: float, deviation: float, runs: int, **args: Any) -> None:
        args["runs"] = runs
        if runs > 1:
            args["standard_deviation"] = deviation
        kind: dict[str, Any] = {
            "metric_type": "mean_iou" if parts else "accuracy",
            "metric_name": f"{name} (%)",
        }
        found.append(EvalResult(**shared, **kind, metric_value=value, metric_args=args))

    for row in report["summary"] if context["task"] != "robustness" else ():
        votes = {"votes": row["votes"]} if row["votes"] else {}
        name = row["measure"] + (f", {row['votes']} votes" if row["votes"] else "")
        interval = {"interval_95": [row["low"], row["high"]]}
        add(name, row["mean"], row["std"], row["runs"], **interval, **votes)
    for row in report["robustness"]:
        if row["test_mean"] is not None:
            name = f"accuracy, test clouds changed: {row['change']}"
            add(name, row["test_mean"], row["test_std"], row["runs"])
    return found


def _measured(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["features"] == "weights"]
