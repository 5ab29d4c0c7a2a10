"""What was measured of every published weight, from the JSON files of ``pointmae-zoo evaluate``: the lines of
``results.csv``, and the README's table of them beside published numbers."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pointmae_zoo.hub import from_pretrained
from pointmae_zoo.hub.cards.release import Release, read_release
from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256, model_sha256
from pointmae_zoo.hub.pretrained import BUNDLED
from pointmae_zoo.models.registry import list_weights
from pointmae_zoo.reports.known_results import COLUMNS, LINEAR, published_results
from pointmae_zoo.reports.schema import is_comparison, is_scored, read_evaluation
from pointmae_zoo.reports.scores import scores
from pointmae_zoo.reports.tables import CLASSIFIERS, head, is_part, line, main_classifier, posed, with_note

ROOT = Path(__file__).resolve().parent.parent
SPEEDS = "benchmarks/results/weights_cpu.json"
MODELNET, SHAPES = "modelnet40", "train_test.npz"

Row = dict[str, Any]


def results() -> list[Row]:
    """A line for every published weight and everything that was measured of it on test.

    Raises:
        ValueError: a file measured other weights, or two files disagree; names them.
    """
    found: list[Row] = []
    for name in list_weights():
        model = from_pretrained(name)
        ours = {encoder_sha256(getattr(model, "encoder", model)), model_sha256(model)}
        release = read_release(BUNDLED / name, ROOT / "model_cards" / f"{name}.yaml")
        whole = model if release.config.kind == "classification" else getattr(model, "encoder", model)
        fixed = {
            "parameters": sum(parameter.numel() for parameter in whole.parameters()),
            "clouds_per_second": _speed(name),
            "trained_on": _trained_on(release),
            "sha256": release.weights_sha256,
        }
        lines: dict[tuple[str, ...], Row] = {}
        for file in sorted((ROOT / "model_cards" / "evaluations").glob(f"{name}.*.json")):
            report = read_evaluation(file)
            context = report["context"]
            if is_comparison(report) or context["split"] != "test":
                continue
            measured = {*context.get("encoder_sha256", ()), *context.get("model_sha256", ())}
            if name not in context["models"] or (measured and not measured & ours):
                raise ValueError(f"{file}: did not measure {name} as it is; evaluate again, or remove it")
            for row in _of_report(name, report):
                row |= {"name": name, **fixed, "source": file.relative_to(ROOT).as_posix()}
                key = tuple(str(row[part]) for part in ("dataset", "classes", "task", "protocol"))
                lines[key] = _one_of(lines.get(key, row), row)
        found += lines.values()
    return found


def as_csv(rows: list[Row]) -> str:
    """``results.csv``; percentages to a hundredth."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {name: f"{value:.2f}" if isinstance(value, float) else value for name, value in row.items()}
        )
    return text.getvalue()


def published_table(rows: list[Row], published: list[dict[str, str]] | None = None) -> str:
    """Published and measured accuracies on ModelNet40, the best first. Weights that were not measured there
    are left out."""
    lines: list[tuple[float, str]] = []
    for one in published_results() if published is None else published:
        if one["dataset"] != MODELNET or one["task"] == "fine-tuned":
            continue
        accuracy = one["accuracy"]
        if one["remeasured"]:
            accuracy += f"; a user: [{one['remeasured']}]({one['remeasured_url']})"
        source = f"published, [{one['source']}]({one['url']})"
        own = one["task"] != LINEAR  # Point-NN has no C
        cells = (
            one["method"],
            one["trained_on"],
            one["parameters"],
            accuracy if own else "",
            "" if own else accuracy,
            "",
            source,
        )
        lines.append((float(one["accuracy"]), line(*cells)))
    linear = [row for row in rows if (row["task"], row["protocol"]) == (LINEAR, "standard")]
    fixed = {
        (row["name"], row["dataset"]): row["accuracy"]
        for row in rows
        if (row["task"], row["protocol"]) == (LINEAR, "paper")
    }
    shapes = {row["name"]: row for row in linear if row["dataset"] == SHAPES and row["classes"] == 24}
    random = {}
    for row in linear:
        if row["dataset"].partition(":")[0] != MODELNET or row["accuracy"] == "":
            continue
        if row["random"] != "":
            random[row["name"].partition(".")[0]] = f"{row['random']:.1f}"
        here = shapes.get(row["name"])
        sources = [row["source"], *([] if here is None else [here["source"]])]
        cells = (
            f"**`{row['name']}`**",
            row["trained_on"],
            f"{row['parameters'] / 1e6:.1f} M",
            _both(row),
            f"{fixed[row['name'], row['dataset']]:.1f}" if (row["name"], row["dataset"]) in fixed else "",
            "" if here is None else _both(here),
            f"measured, JSON: {', '.join(f'[{n}]({one})' for n, one in enumerate(sources, 1))}",
        )
        lines.append((row["accuracy"], line(*cells)))
    title = head(
        "encoder",
        "trained on",
        "parameters",
        "ModelNet40, C by cross-validation",
        "ModelNet40, C fixed",
        "shapes, 24 classes",
        "",
    )
    ordered = [text for _, text in sorted(lines, key=lambda one: -one[0])]
    note = (
        "Accuracy in percent of a linear SVM on frozen features; test is predicted once. C by "
        "cross-validation: on train, with standardised features. C fixed: as the papers have it, on raw "
        "features. How good a fixed C is depends on the size of a network's features, and it was fixed for "
        "the papers' networks, so it says little of others. The papers give no other number: compare ours "
        "with theirs with care. Measured numbers are those of the weights; mean ± standard deviation over "
        "several trainings stands behind them. Point-NN has no classifier but compares with the training "
        "clouds."
    )
    if random:
        named = ", ".join(f"`{name}` {accuracy}" for name, accuracy in random.items())
        note += f" The same networks with random weights, on ModelNet40: {named}."
    return with_note([*title, *ordered], note)


def poses_table(rows: list[Row]) -> str:
    """Accuracies of the same weights on upright shapes, and on shapes that lie anyhow."""
    tasks = {LINEAR: 0, f"{LINEAR}, pose any": 1}
    found: dict[str, dict[tuple[str, int], str]] = {}
    for row in rows:
        if row["task"] not in tasks or row["protocol"] != "standard" or row["accuracy"] == "":
            continue
        data = MODELNET if row["dataset"].partition(":")[0] == MODELNET else row["dataset"]
        if data == MODELNET or (data == SHAPES and row["classes"] == 24):
            cells = found.setdefault(row["name"], {})
            cells[data, tasks[row["task"]]] = f"[{row['accuracy']:.1f}](../{row['source']})"
    titles = ["shapes, 24 classes, upright", "in any pose", "ModelNet40, upright", "in any pose"]
    lines = head("weights", *titles)
    places = [(SHAPES, 0), (SHAPES, 1), (MODELNET, 0), (MODELNET, 1)]
    for name, cells in found.items():
        if any(place[1] for place in cells):
            lines.append(line(f"`{name}`", *(cells.get(place, "") for place in places)))
    note = (
        "Accuracy in percent of a linear SVM on frozen features. In any pose: `--pose any` for training and "
        "test clouds, which gives the same number however these lie."
    )
    return with_note(lines, note)


def _both(row: Row) -> str:
    """The number of the file, and of several trainings their mean."""
    several = "" if row["std"] == "" else f" ({row['mean']:.1f} ± {row['std']:.1f})"
    return f"{row['accuracy']:.1f}{several}"


def _of_report(name: str, report: dict[str, Any]) -> Iterator[Row]:
    context = report["context"]
    about = {
        "dataset": context["dataset"]["file"],
        "classes": len(context["dataset"]["classes"]),
        "protocol": context["protocol_name"],
    }
    for row in _scored(name, report) if is_scored(report) else _frozen(name, report):
        yield {**about, "low": "", "high": "", "random": "", **row}


def _frozen(name: str, report: dict[str, Any]) -> Iterator[Row]:
    """Linear probes, the same on changed test clouds, and few-shot episodes."""
    place = report["context"]["models"].index(name)
    own = {row["classifier"]: row for row in report["rows"] if row.get("model") == name}

    def called(classifier: str) -> Row:
        """The papers' fixed C is a classifier of a report that has both."""
        if classifier == "paper":
            return {"task": LINEAR + posed(report), "protocol": "paper"}
        return {"task": CLASSIFIERS[classifier] + posed(report)}

    def random(which: str, **same: Any) -> float | str:
        means = [
            row["test_mean"]
            for row in report[which]
            if row["features"] != "weights" and all(row[key] == value for key, value in same.items())
        ]
        return max(means, default="")

    for row in _weights(report["summary"]) if not is_part(report) else ():
        classifier = row["classifier"]
        low, high = _interval(report, classifier, row["runs"])
        yield {
            **called(classifier),
            **_spread(row, own[classifier]["test_accuracy"]),
            "low": low,
            "high": high,
            "random": random("summary", classifier=classifier),
        }
    for row in _weights(report["robustness"]):
        classifier, change = row["classifier"], row["change"]
        if classifier != main_classifier(report):
            continue
        title = called(classifier)
        yield {
            **title,
            "task": f"{title['task']}, {change}",
            **_spread(row, own[classifier]["changed"].get(change)),
            "random": random("robustness", classifier=classifier, change=change),
        }
    for row in _weights(report["few_shot"]):
        ways, shots = row["ways"], row["shots"]
        yield {
            "task": f"{ways}-way {shots}-shot{posed(report)}",
            **_spread(row, row["accuracies"][place]),
            "random": random("few_shot", ways=ways, shots=shots),
        }


def _scored(name: str, report: dict[str, Any]) -> Iterator[Row]:
    """Fine-tuned networks."""
    own = {(row["measure"], row["votes"]): row["score"] for row in report["rows"] if row["model"] == name}
    for row in report["summary"] if report["context"]["task"] != "robustness" else ():
        task = "fine-tuned" if row["measure"] == "accuracy" else f"fine-tuned, {row['measure']}"
        task += f", {row['votes']} votes" if row["votes"] else ""
        spread = _spread({"test_mean": row["mean"], "test_std": row["std"], "runs": row["runs"]}, None)
        spread["accuracy"] = own[row["measure"], row["votes"]]
        yield {"task": task, **spread, "low": row["low"], "high": row["high"]}
    for row in report["robustness"]:
        yield {"task": f"fine-tuned, {row['change']}", **_spread(row, None)}


def _weights(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["features"] == "weights"]


def _spread(row: dict[str, Any], own: float | None) -> Row:
    """What the weights themselves have, and what the trainings have on average."""
    one = row["runs"] == 1
    return {
        "accuracy": row["test_mean"] if one else "" if own is None else own,
        "mean": row["test_mean"],
        "std": "" if one else row["test_std"],
        "seeds": row["runs"],
    }


def _interval(report: dict[str, Any], classifier: str, runs: int) -> tuple[float, float]:
    """Of the mean over the runs, by bootstrap over groups of near duplicates."""
    right, groups = (np.array(report["clouds"][name].split(), int) for name in (classifier, "group"))
    found = scores(right / runs, np.zeros_like(groups), groups, resamples=2000).over_clouds
    return found.low, found.high


def _one_of(first: Row, second: Row) -> Row:
    """Of two files with the same number the one with more trainings."""
    one, other = first["accuracy"], second["accuracy"]
    if "" not in (one, other) and abs(one - other) > 0.005:
        raise ValueError(
            f"{first['source']} has {one:.2f} and {second['source']} {other:.2f} of {first['name']} "
            f"({first['task']}); remove the one that is no longer right"
        )
    return max(first, second, key=lambda row: row["seeds"])


def _speed(name: str) -> float | str:
    """Clouds a second on a CPU; empty: nobody has measured them."""
    file = ROOT / SPEEDS
    if not file.is_file():
        return ""
    speeds = json.loads(file.read_text(encoding="utf-8"))["clouds_per_second"]
    return round(speeds[name]) if name in speeds else ""


def _trained_on(release: Release) -> str:
    """The sources of the card, and procedural shapes."""
    names = [data.name for data in release.facts.data]
    made = release.config.provenance.get("data_sha256") or {}
    return ", ".join([*names, *(["procedural shapes"] if "procedural" in made else [])])
