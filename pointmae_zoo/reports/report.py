"""What an evaluation found, as a table for people and as JSON for the cards."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.reports.scores import paired_difference
from pointmae_zoo.reports.tables import OF_PART_SEGMENTERS
from pointmae_zoo.system.files import written_whole

FEW_CLOUDS = 30
"""Below so many clouds, tables say that these are few."""
_WIDTH, _WIDE = 32, 44  # of the first column
_NAMES = {"paper": "svm, papers' C"}  # of classifiers, where it says more


Classifier = Literal["svm", "logistic", "paper"]


@dataclass(frozen=True)
class LinearProbe:
    """What one probe found. Accuracies are in percent.

    Args:
        classifier: ``"svm"`` (linear kernel), ``"logistic"``, or ``"paper"``: the SVM on raw features with
            the papers' fixed C.
        C: the inverse regularisation, chosen or fixed.
        cv_accuracy: mean over the folds of train, at that C.
        test_accuracy: on test, by the classifier refitted on all of train; None without a test part.
        majority_accuracy: on test (without one: on train), of always answering train's most frequent class.
        num_train, num_test, num_features, num_classes: sizes.
        correct: (num_test,) bool, which test clouds were right; for paired comparisons.
        cv_correct: (num_train,) bool, which training clouds were right when they were held out, at that C.
        changed: accuracy of that same classifier on test clouds that were changed, by what was done to them.
    """

    classifier: Classifier
    C: float
    cv_accuracy: float
    test_accuracy: float | None
    majority_accuracy: float
    num_train: int
    num_test: int
    num_features: int
    num_classes: int
    correct: NDArray[np.bool_] = field(repr=False)
    cv_correct: NDArray[np.bool_] = field(repr=False)
    changed: dict[str, float] = field(default_factory=dict)


@dataclass
class LinearReport:
    """All probes of one evaluation. Accuracies and differences in percent, deviations over the runs (training
    seeds of the weights, random seeds of a baseline) with n - 1; 0 for a single run.

    Args:
        rows: one entry for each probe: features ("weights", "random, BatchNorm calibrated", "random"), model
            or seed, classifier, C, cv_accuracy, test_accuracy (None where test was not touched), changed
            (accuracy by change of the test clouds).
        summary: for each features and classifier: mean and deviation over its rows.
        differences: "weights" (mean of its rows) minus each baseline (mean of its seeds) on the same test
            clouds, with a 95 % interval.
        robustness: for each features, classifier and change of the test clouds: mean and deviation.
        few_shot: for each features and number of ways: accuracy of every run, mean and deviation over the
            runs, and the deviation over episodes (mean over the runs). In the papers' protocol also the
            accuracy of every episode, called a fold there (mean over the runs).
        clouds: of each test cloud (of each training cloud, where test was not touched), as numbers in one
            text: its near-duplicate group, and for each classifier by how many runs of the weights it was
            classified rightly. Reports on the same data can be compared with it, cloud by cloud.
        context: models and the sha256 of their encoders, dataset, protocol, sizes, pool, seeds, versions,
            commit, wall time.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: list[dict[str, Any]] = field(default_factory=list)
    differences: list[dict[str, Any]] = field(default_factory=list)
    robustness: list[dict[str, Any]] = field(default_factory=list)
    few_shot: list[dict[str, Any]] = field(default_factory=list)
    clouds: dict[str, str] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)

    def add_row(self, features: str, which: dict[str, Any], probe: LinearProbe) -> None:
        """Note one probe."""
        values = asdict(probe)
        del values["correct"], values["cv_correct"]
        self.rows.append({"features": features, **which, **values})

    def add_probes(
        self,
        probes: dict[tuple[str, str], list[LinearProbe]],
        train_groups: NDArray[np.integer],
        test_groups: NDArray[np.integer] | None,
    ) -> None:
        """Summarise probes, given by features and classifier, one for each run."""
        self.clouds["group"] = as_text(train_groups if test_groups is None else test_groups)
        for (label, classifier), found in probes.items():
            row = {"features": label, "classifier": classifier, "runs": len(found)}
            row |= _spread("cv", [one.cv_accuracy for one in found])
            tested = [one.test_accuracy for one in found if one.test_accuracy is not None]
            row |= _spread("test", tested) if tested else {"test_mean": None, "test_std": None}
            self.summary.append(row)
            for change in found[0].changed:
                row = {"features": label, "classifier": classifier, "change": change, "runs": len(found)}
                self.robustness.append(row | _spread("test", [one.changed[change] for one in found]))
            right = np.sum([one.cv_correct if test_groups is None else one.correct for one in found], axis=0)
            if label == "weights":
                self.clouds[classifier] = as_text(right)
            elif test_groups is not None:
                ours = np.mean([one.correct for one in probes["weights", classifier]], axis=0)
                difference, low, high = paired_difference(ours, right / len(found), test_groups)
                self.differences.append(
                    {"baseline": label, "classifier": classifier}
                    | {"difference": difference, "low": low, "high": high}
                )

    def add_few_shot(
        self,
        label: str,
        ways: int,
        shots: int,
        accuracies: Sequence[NDArray[np.floating]],
        each_fold: bool = False,
    ) -> None:
        """Summarise the episodes' accuracies, one array for each run; ``each_fold`` keeps their mean."""
        runs = [float(one.mean()) for one in accuracies]
        row: dict[str, Any] = {"features": label, "ways": ways, "shots": shots, "runs": len(runs)}
        spread = float(np.mean([one.std(ddof=1) if len(one) > 1 else 0.0 for one in accuracies]))
        row |= {"accuracies": runs} | _spread("test", runs) | {"episode_std": spread}
        if each_fold:
            row["folds"] = np.mean(accuracies, axis=0).tolist()
        self.few_shot.append(row)

    def table(self) -> str:
        """A few lines for people."""
        lines = self._summary_lines() if self.summary else []
        if self.robustness:
            lines += ["", *self._robustness_lines()]
        if self.few_shot:
            over = "folds" if self.context.get("protocol_name") == "paper" else "episodes"
            lines += ["", f"{'few-shot, linear SVM':<{_WIDE}} {'runs':>4} {'accuracy':>14}  over {over}"]
        for row in self.few_shot:
            what = f"{row['features']}, {row['ways']}-way {row['shots']}-shot"
            lines.append(
                f"{what:<{_WIDE}} {row['runs']:>4} {_plus_minus(row, 'test'):>14}  "
                f"+- {row['episode_std']:.1f}"
            )
        lines += [f"left out: {one}" for one in self.context.get("left_out", ())]
        if "split" in self.context:
            asked = "num_test" if self.context["split"] == "test" else "num_train"
            lines += few_clouds(self.context[asked])
        lines += [OF_PART_SEGMENTERS] if self.context.get("of_part_segmenters") is True else []
        return "\n".join(lines).strip("\n")

    def _summary_lines(self) -> list[str]:
        context = self.context
        lines = [] if context["protocol_name"] == "standard" else ["protocol of the papers: C was not chosen"]
        lines.append(
            f"{'features':<{_WIDTH}} {'classifier':<14} {'runs':>4} {'cv on train':>14} {'test':>14}"
        )
        for row in self.summary:
            test = "not touched" if row["test_mean"] is None else _plus_minus(row, "test")
            name = _NAMES.get(row["classifier"], row["classifier"])
            lines.append(
                f"{row['features']:<{_WIDTH}} {name:<14} {row['runs']:>4} "
                f"{_plus_minus(row, 'cv'):>14} {test:>14}"
            )
        on_train = context["split"] == "validation"
        majority = f"{context['majority_accuracy']:.1f}"
        lines.append(
            f"{'majority class':<{_WIDTH}} {'':<14} {'':>4} {majority if on_train else '':>14} "
            f"{'' if on_train else majority:>14}"
        )
        if any(row["classifier"] == "paper" for row in self.summary):
            lines.append(
                f"{_NAMES['paper']}: raw features, C = {context['fixed_C']:g} fixed beforehand; elsewhere C "
                "is chosen on train"
            )
        if not context["baseline_seeds"]:
            lines.append("random baselines left out (--seeds 3 shows them)")
        for row in self.differences:
            interval = f"{row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"
            what = f"weights minus {row['baseline']}, {row['classifier']}"
            lines.append(f"{what}: {interval} (95 %, bootstrap over groups)")
        return lines

    def _robustness_lines(self) -> list[str]:
        """One line for each change, one column for each features, of the first classifier."""
        classifier = self.robustness[0]["classifier"]
        rows = [row for row in self.robustness if row["classifier"] == classifier]
        labels = list(dict.fromkeys(row["features"] for row in rows))
        lines = [
            " ".join([f"{f'test clouds changed, {classifier}':<{_WIDTH}}", *(f"{x:>30}" for x in labels)])
        ]
        for change in dict.fromkeys(row["change"] for row in rows):
            found = {row["features"]: _plus_minus(row, "test") for row in rows if row["change"] == change}
            lines.append(" ".join([f"{change:<{_WIDTH}}", *(f"{found[label]:>30}" for label in labels)]))
        return lines

    def as_json(self) -> dict[str, Any]:
        """What its file holds."""
        return asdict(self)

    def save(self, path: Path) -> None:
        """Write the report as JSON, atomically; the folder is made."""
        save_json(self.as_json(), path)


def save_json(found: dict[str, Any], path: Path) -> None:
    """Write a file of numbers, atomically; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def file_name(context: dict[str, Any]) -> str:
    """What a report is called in a run folder, by its context: its task, data, classes, pose, split and
    protocol.

    Points, pooling, classifiers, baselines, votes and episodes are not in the name. A report is written
    over another of the same name if that is of other weights, which the folder no longer has, or if it says
    all that the other does (`reports.schema.check_replaceable`); else it needs a name that somebody gives it.
    """
    parts = [context["task"], context["dataset"]["file"].removesuffix(".npz")]
    parts += ["core"] if context["class_set"] == "core" else []
    parts += [f"pose_{context['pose']}"] if context.get("pose", "upright") != "upright" else []
    parts += ["validation"] if context["split"] == "validation" else []
    parts += ["paper"] if context["protocol_name"] == "paper" else []
    return re.sub(r"[^\w.-]+", "_", ".".join(parts).replace(":", ".")) + ".json"


def few_clouds(count: int) -> list[str]:
    """A line under a table of so few clouds that its numbers say little; none if they are more."""
    if count >= FEW_CLOUDS:
        return []
    return [
        f"{count} clouds are few: each is {100 / max(1, count):.1f} % of a score, and an interval drawn from "
        "so few is too narrow"
    ]


def as_text(numbers: NDArray[Any]) -> str:
    """One line for many numbers."""
    return " ".join(str(number) for number in numbers.tolist())


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {f"{name}_mean": float(np.mean(values)), f"{name}_std": deviation}


def _plus_minus(row: dict[str, Any], which: str) -> str:
    mean = f"{row[which + '_mean']:.1f}"
    return mean if row["runs"] == 1 else f"{mean} +- {row[which + '_std']:.1f}"
