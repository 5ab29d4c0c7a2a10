"""What an evaluation of fine-tuned networks found, as a table for people and as JSON for the cards."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.labelled import LabelledClouds
from pointmae_zoo.reports.report import as_text, few_clouds, save_json
from pointmae_zoo.reports.scores import scores

MEASURES = {
    "accuracy": ("accuracy", "class mean"),
    "mIoU": ("mIoU by instance", "mIoU by category"),
}
"""What the mean over clouds and the mean over classes are called."""
ENDS = {
    "test": "; test predicted once, by the run's last or on validation chosen weights",
    "train": "; of each run the validation part of its training clouds; test was not touched",
    "val": "; on the data's own validation split; test was not touched",
}
"""How the text of a protocol ends, by the split of the data that the clouds are of."""


@dataclass
class ScoreReport:
    """Scores of runs (training seeds) on the same clouds. In percent, deviations over the runs with n - 1; 0
    for a single run.

    Args:
        rows: for each run: model, seed, measure, votes (0: one plain prediction) and score.
        summary: for each measure and number of votes: runs, mean and std over them, and low and high of a
            95 % interval by bootstrap over groups of near duplicates (it does not cover the spread between
            runs, which std is).
        per_class: for each class: how many clouds, mean and std of what is measured, without votes.
        per_part: of part segmentation the same for each part: mean IoU over the clouds of its class.
        confusion: of classification: how many clouds of a row's class were taken for a column's, in all runs
            together.
        robustness: of changed test clouds, one entry for each change: runs, test_mean and test_std.
        clouds: of each cloud, as numbers in one text: its near-duplicate group, its class, how many runs were
            asked about it, and the sum of their scores (right answers, or IoUs).
        context: runs, their sha256, dataset, protocol, sizes, seeds, versions, commit, wall time.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: list[dict[str, Any]] = field(default_factory=list)
    per_class: list[dict[str, Any]] = field(default_factory=list)
    per_part: list[dict[str, Any]] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    robustness: list[dict[str, Any]] = field(default_factory=list)
    clouds: dict[str, str] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)

    def title(self) -> str:
        """What was measured of whom, and the first score, in a line."""
        first = self.summary[0]
        return f"{self.context['label']}: {first['measure']} {plus_minus(first, first['runs'])} %"

    def table(self) -> str:
        """A few lines for people: the scores, then class by class."""
        context = self.context
        lines = [] if context["protocol_name"] == "standard" else ["the papers' protocol"]
        what = "test clouds" if context["split"] == "test" else "validation clouds"
        lines.append(f"{context['label']}: {context['num_test']} {what} of {context['dataset']['file']}")
        lines.append(f"{'':<32} {'runs':>4} {'score':>14}  95 %, bootstrap over groups")
        for row in self.summary:
            name = row["measure"] + (f", {row['votes']} votes" if row["votes"] else "")
            interval = f"[{row['low']:.1f}, {row['high']:.1f}]"
            lines.append(f"{name:<32} {row['runs']:>4} {plus_minus(row, row['runs']):>14}  {interval}")
        if "majority_accuracy" in context:
            lines.append(
                f"{'always the most frequent class':<32} {'':>4} {context['majority_accuracy']:>14.1f}"
            )
        lines += few_clouds(context["num_test"])
        if self.robustness:
            lines += ["", f"{'test clouds changed':<32} {'runs':>4} {'accuracy':>14}"]
        for row in self.robustness:
            found = {"mean": row["test_mean"], "std": row["test_std"]}
            lines.append(f"{row['change']:<32} {row['runs']:>4} {plus_minus(found, row['runs']):>14}")
        runs = len(context["models"])
        for kind, rows in (("class", self.per_class), ("part", self.per_part)):
            if not rows:
                continue
            width = max(20, *(len(row[kind]) for row in rows))
            lines += [
                "",
                f"{kind:<{width}} {'clouds':>6} {'score':>14}{'  taken for' if self.confusion else ''}",
            ]
            for number, row in enumerate(rows):
                score = "no clouds" if row["mean"] is None else plus_minus(row, runs)
                wrong = self._wrong(number) if self.confusion else ""
                lines.append(f"{row[kind]:<{width}} {row['clouds']:>6} {score:>14}  {wrong}".rstrip())
        return "\n".join(lines)

    def _wrong(self, number: int) -> str:
        """What clouds of a class are taken for most often, with the share of them."""
        counts = list(self.confusion[number])
        total, counts[number] = sum(counts), 0
        most = int(np.argmax(counts))
        if not counts[most]:
            return ""
        return f"{self.context['dataset']['classes'][most]} {100 * counts[most] / total:.0f} %"

    def as_json(self) -> dict[str, Any]:
        """What its file holds."""
        return asdict(self)

    def save(self, path: Path) -> None:
        """Write the report as JSON, atomically; the folder is made, if the one above is there."""
        save_json(self.as_json(), path)


@dataclass
class Measured:
    """What was measured on every cloud, run after run, until it is summed up.

    Args:
        clouds: all that any run was asked about.
        measure: a key of ``MEASURES``.
    """

    clouds: LabelledClouds
    measure: str
    found: dict[int, list[tuple[str, int | None, NDArray[np.int64], NDArray[np.float64]]]] = field(
        default_factory=dict
    )

    def add(
        self, model: str, seed: int | None, rows: NDArray[np.int64], values: NDArray[Any], votes: int = 0
    ) -> None:
        """Values between 0 and 1 of the clouds in these rows, by a model trained with this seed."""
        self.found.setdefault(votes, []).append((model, seed, rows, values.astype(np.float64)))

    def fill(self, report: ScoreReport) -> None:
        """Rows, summary, classes and clouds of a report."""
        labels, groups = self.clouds.labels, self.clouds.groups
        for votes, of_runs in self.found.items():
            asked, total = np.zeros(len(labels)), np.zeros(len(labels))
            single: list[tuple[float, ...]] = []
            for model, seed, rows, values in of_runs:
                asked[rows] += 1
                total[rows] += values
                by_class = [values[labels[rows] == one].mean() for one in np.unique(labels[rows])]
                single.append((100.0 * values.mean(), 100.0 * float(np.mean(by_class))))
                for name, score in zip(MEASURES[self.measure], single[-1], strict=True):
                    report.rows.append(
                        {"model": model, "seed": seed, "measure": name, "votes": votes, "score": float(score)}
                    )
            pooled = scores(total / asked, labels, groups)
            for name, interval, values in zip(
                MEASURES[self.measure], pooled, np.array(single).T, strict=True
            ):
                row = {"measure": name, "votes": votes, "runs": len(of_runs), **spread(values)}
                report.summary.append(row | {"low": interval.low, "high": interval.high})
            if votes == 0:
                report.per_class = self._by_class(of_runs)
                report.clouds = {
                    "group": as_text(groups),
                    "class": as_text(labels),
                    "asked": as_text(asked.astype(int)),
                    "score": as_text(total.astype(int) if self.measure == "accuracy" else total.round(6)),
                }

    def _by_class(
        self, of_runs: Sequence[tuple[str, int | None, NDArray[np.int64], NDArray[np.float64]]]
    ) -> list[dict[str, Any]]:
        labels, found = self.clouds.labels, []
        for number, name in enumerate(self.clouds.classes):
            of_class = [values[labels[rows] == number] for _, _, rows, values in of_runs]
            row = {"class": name, "clouds": int((labels == number).sum())}
            means = [100.0 * values.mean() for values in of_class if len(values)]
            found.append(row | (spread(means) if means else {"mean": None, "std": None}))
        return found


def spread(values: Sequence[float] | NDArray[np.floating]) -> dict[str, float]:
    """Mean and deviation over the runs."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": deviation}


def plus_minus(row: dict[str, Any], runs: int) -> str:
    """Mean and, of several runs, deviation."""
    return f"{row['mean']:.1f}" + (f" +- {row['std']:.1f}" if runs > 1 else "")
