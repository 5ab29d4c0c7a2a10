"""Accuracy of fine-tuned classifiers, and what their evaluation shares with that of part segmenters: which
clouds the runs are judged by, and how they are shown."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.augmentation import FixedView
from pointmae_zoo.datasets.labelled import LabelledClouds, Split, open_labelled
from pointmae_zoo.datasets.labelled.labelled_clouds import identity_sha256
from pointmae_zoo.datasets.splits import validation_split
from pointmae_zoo.evaluate.finetuned_models import VOTE_SEED, Run, described, load_runs, predict_clouds, vote
from pointmae_zoo.reports.outputs import check_outputs, report_file
from pointmae_zoo.reports.score_report import ENDS, Measured, ScoreReport
from pointmae_zoo.reports.scores import confusion
from pointmae_zoo.shapes.up_axis import DEFAULT_UP
from pointmae_zoo.system.progress import progress_bar
from pointmae_zoo.system.source_state import measured_with

PAPER_POINTS = 8192
"""The papers' protocol samples from at most so many stored points of a cloud."""

PROTOCOLS = {"standard": "", "paper": "the papers' protocol: "}
"""How a report's protocol begins; then comes `FixedView.told`."""
UPRIGHT = ", upright (no rotation); one prediction for a cloud"


def evaluate_finetuned(
    runs: str | Path | Run | Sequence[str | Path | Run],
    data: str | Path,
    *,
    classes: Literal["core", "all"] | None = None,
    split: Literal["test", "validation"] = "test",
    num_points: int | None = None,
    votes: int = 0,
    up: str | None = None,
    protocol: Literal["standard", "paper"] = "standard",
    label: str | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    picture: str | Path | None = None,
    out: str | Path | None = None,
    keep_in: str | Path | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> ScoreReport:
    """Accuracy and class mean of fine-tuned classifiers on clouds that they were not trained on.

    Args:
        runs: what ``finetune`` wrote, names of weights or repositories; several are seeds of one recipe and
            are averaged.
        data: an entry of `open_labelled`. Its classes must be those of the model; their order may differ.
        classes: the cleaner core classes, or all; None: as in training, if the run says.
        split: ``"validation"``: the clouds that the runs kept out of training, or the data's own validation
            split if training used it; use it to choose settings.
        num_points: the first so many points of each cloud; None: as in training.
        votes: also average predictions over so many random views of each cloud, sampled (from the recipe's
            ``cloud_points``) and augmented as in training; the report has them in a line of their own. 0: no
            votes.
        up: what points up in the data (see `open_labelled`); None: as in training.
        protocol: ``"paper"``: farthest point sampling from up to ``PAPER_POINTS`` points. In both protocols
            clouds are centred and scaled if they were in training.
        label: what tables and pictures call these runs; default: the first one's name.
        picture: the PNG file to draw the confusion matrix to; its folder is made.
        out: the JSON file to write; its folder is made.
        keep_in: a folder to write the JSON file to, named by `reports.report.file_name`; made if missing.
        cache: folder for points read from meshes, for the next time.
        progress: show a bar on a terminal, elsewhere a line now and then.

    Returns:
        The report; its context names runs, data and protocol.

    Raises:
        ValueError: classes of model and data differ (says which); models of another kind; runs that are not
            seeds of one recipe; no validation clouds, or other data than in training; something is wrong with
            the data (says what).
        FileNotFoundError: no such file or folder of data.
        IsADirectoryError, NotADirectoryError, PermissionError: ``out`` or ``picture`` can't be written there.
    """
    started = time.perf_counter()
    check_choices(split, protocol, votes)
    check_outputs(out, picture)
    loaded = load_runs(runs, "classification", device)
    first = loaded[0]
    num_points = first.num_points if num_points is None else num_points
    view = first.view(num_points, farthest=protocol == "paper")
    sampled = max(num_points, first.cloud_points)  # by votes
    most_points = sampled if votes else num_points
    if view.farthest:
        most_points = max(most_points, PAPER_POINTS if protocol == "paper" else first.cloud_points)
    trial = open_trial(
        loaded, data, split, view, most_points, classes=classes, up=up, cache=cache, progress=progress
    )
    clouds = trial.clouds
    told = PROTOCOLS[protocol] + view.told(most_points) + trial.turned() + UPRIGHT + ENDS[trial.split]
    context = trial.context("finetuned", label, split, told, votes)
    context["protocol_name"] = protocol
    report, measured = ScoreReport(context=context), Measured(clouds, "accuracy")
    file = report_file(out, keep_in, context)
    prepared, views = view(clouds.points), view.placed(clouds.points[:, :sampled])
    tables = np.zeros((len(clouds.classes), len(clouds.classes)), dtype=np.int64)
    with trial.progress_bar(1 + votes, progress) as bar:
        how: dict[str, Any] = {"batch_size": batch_size, "device": device, "tick": bar.update}
        for run, rows in zip(loaded, trial.rows, strict=True):
            order, truth = run.order(clouds.classes), clouds.labels[rows]
            answer = predict_clouds(run.network, prepared[rows], **how)[:, order].argmax(1)
            measured.add(run.name, run.seed, rows, answer == truth)
            tables += confusion(truth, answer, len(order))
            if votes:
                voted = vote(run.network, views[rows], votes, run.augmentation, num_points=num_points, **how)
                measured.add(run.name, run.seed, rows, voted[:, order].argmax(1) == truth, votes)
    report.confusion = tables.tolist()
    measured.fill(report)
    majority = _majority_accuracy(trial)
    report.context |= {} if majority is None else {"majority_accuracy": majority}
    report.context |= {"chance_accuracy": 100.0 / len(clouds.classes), **measured_with(started)}
    if file is not None:
        report.save(file)
    if picture is not None:
        from pointmae_zoo.viz import draw_confusion

        draw_confusion(report.confusion, clouds.classes, picture, title=report.title())
    return report


def _majority_accuracy(trial: "Trial") -> float | None:
    """Accuracy in percent of always predicting the most frequent class of the training clouds, or any one of
    several such classes; mean over the runs. None if a run doesn't say what it was trained on."""
    found = []
    for run, rows in zip(trial.runs, trial.rows, strict=True):
        if run.class_counts is None:
            return None
        trained = np.array([run.class_counts[name] for name in trial.clouds.classes])
        shares = np.bincount(trial.clouds.labels[rows], minlength=len(trained)) / len(rows)
        found.append(100.0 * float(shares[trained == trained.max()].mean()))
    return float(np.mean(found))


@dataclass(frozen=True)
class Trial:
    """Runs, and the clouds that they are judged by.

    Args:
        runs: seeds of one recipe.
        clouds: of all runs together.
        rows: for each run its clouds.
        split: the split of the data that they are from: ``test``, ``val``, or ``train`` if they are what the
            runs kept out of training.
        num_points: points that the networks see of a cloud.
        up: what points up in the data; the clouds have been turned so that y does.
    """

    runs: Sequence[Run]
    clouds: LabelledClouds
    rows: list[NDArray[np.int64]]
    split: str
    num_points: int
    up: str

    def turned(self) -> str:
        """For the protocol in words: how the data lie, if y isn't up."""
        return "" if self.up == DEFAULT_UP else f", {self.up} up in the data"

    def context(
        self, task: str, label: str | None, split: str, protocol: str, votes: int = 0
    ) -> dict[str, Any]:
        """A report's context: runs, data and protocol."""
        clouds = self.clouds
        return {
            "task": task,
            "label": label or self.runs[0].name,
            **described(self.runs),
            "dataset": {"file": clouds.name, "sha256": clouds.sha256, "classes": list(clouds.classes)},
            "class_set": clouds.class_set,
            "split": split,
            "num_train": self.runs[0].num_train,
            "num_test": len(clouds),
            "num_points": self.num_points,
            "protocol_name": "standard",
            "protocol": protocol,
            "rotation": "none",
            "robustness": {},
            "votes": votes,
            "vote_seed": VOTE_SEED if votes else None,
        }

    def progress_bar(self, times: int, shown: bool, desc: str = "predict") -> Any:
        """A bar of so many predictions for every cloud of every run."""
        total = times * sum(len(rows) for rows in self.rows)
        return progress_bar(total=total, unit="cloud", desc=desc, disable=not shown)


def open_trial(
    runs: Sequence[Run],
    data: str | Path,
    split: str,
    view: FixedView,
    most_points: int,
    *,
    classes: Literal["core", "all"] | None,
    cache: Path | None,
    progress: bool,
    up: str | None = None,
    with_parts: bool = False,
) -> Trial:
    """Read the test clouds, or the validation clouds of each run.

    Raises:
        ValueError: classes (``with_parts``: parts) of model and data differ; a run says nothing about its
            validation clouds, or has none; the data are not those of its training.
    """
    up = up or runs[0].recipe.get("up", DEFAULT_UP)
    of_data: Split = "test" if split == "test" else _validation_split(runs)
    clouds = open_labelled(
        data,
        of_data,
        num_points=view.num_points,
        most_points=most_points,
        classes=classes or runs[0].recipe.get("classes"),
        with_parts=with_parts,
        up=up,
        cache=cache,
        progress=progress,
    )
    rows = [np.arange(len(clouds))] * len(runs)
    if split != "test":
        parts = [_validation_rows(run, clouds, of_data) for run in runs]
        union = np.unique(np.concatenate(parts))
        clouds, rows = clouds.select(union), [np.searchsorted(union, part) for part in parts]
    if with_parts:
        _check_labels(clouds.name, clouds.part_names, runs[0], "parts")
    else:
        _check_labels(clouds.name, clouds.classes, runs[0], "classes")
    return Trial(runs, clouds, rows, of_data, view.num_points, up)


def _validation_split(runs: Sequence[Run]) -> Literal["train", "val"]:
    """The split of the data that the runs' validation clouds are from; a ValueError if they differ."""
    found = {run.name: run.provenance.get("validation_split") or "train" for run in runs}
    if len(set(found.values())) > 1:
        told = ", ".join(f"{name} of {split}" for name, split in found.items())
        raise ValueError(f"validation clouds of different splits ({told}); evaluate the runs one by one")
    return "val" if "val" in found.values() else "train"


def _validation_rows(run: Run, clouds: LabelledClouds, split: str) -> NDArray[np.int64]:
    share, seed = run.recipe.get("validation_share"), run.recipe.get("seed")
    if not isinstance(share, (int, float)) or not isinstance(seed, int):
        raise ValueError(
            f"{run.name}: its config.json says nothing about validation clouds; expected what "
            "'pointmae-zoo finetune' wrote"
        )
    rows = np.arange(len(clouds))
    if split == "train":
        _, rows = validation_split(clouds.labels, clouds.groups, share, seed)
    if not len(rows):
        raise ValueError(
            f"{run.name}: kept no cloud of {clouds.name} for validation (validation_share {share})"
        )
    noted, count = run.provenance.get("validation_sha256"), run.provenance.get("clouds_validation")
    other = identity_sha256(clouds.select(rows)) != noted if noted else count not in (None, len(rows))
    if other:
        raise ValueError(
            f"{clouds.name}: not the data that {run.name} was trained on, so its validation clouds are "
            "unknown; give the data of its training, unchanged"
        )
    return rows


def _check_labels(name: str, names: Sequence[str], run: Run, what: str) -> None:
    """Raise a ValueError if the labels of the data, called ``name``, are not those of the model."""
    known, wanted = set(run.labels), set(names)
    if known == wanted:
        return
    told = []
    for where, ones in (("only in the data", wanted - known), ("only in the model", known - wanted)):
        if ones:
            first = ", ".join(repr(one) for one in sorted(ones)[:5])
            told.append(f"{where}: {first}{f' and {len(ones) - 5} more' if len(ones) > 5 else ''}")
    raise ValueError(
        f"{run.name} and {name} have different {what} ({'; '.join(told)}); evaluate on the {what} that the "
        "model was trained on"
    )


def check_choices(split: str, protocol: str, votes: int) -> None:
    """Raise a ValueError for an unknown split or protocol, or a number of votes that makes no sense."""
    if split not in ("test", "validation"):
        raise ValueError(f"split: {split!r}, expected 'test' or 'validation'")
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: {protocol!r}, expected 'standard' or 'paper'")
    if votes < 0 or votes == 1:
        raise ValueError(f"votes: {votes}, expected 2 or more, or 0 for none")
