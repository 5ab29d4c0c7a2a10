"""``evaluate_finetuned``: how often fine-tuned classifiers are right, with nothing chosen on test."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.labelled import LabelledClouds, Split, open_labelled
from pointmae_zoo.datasets.labelled.labelled_clouds import identity_sha256
from pointmae_zoo.datasets.splits import validation_split
from pointmae_zoo.evaluate.finetuned_runs import Run, described, load_runs
from pointmae_zoo.evaluate.voting import VOTE_SEED, predict_clouds, vote
from pointmae_zoo.reports.report import file_name
from pointmae_zoo.reports.schema import check_replaceable
from pointmae_zoo.reports.score_report import ENDS, Measured, ScoreReport
from pointmae_zoo.reports.scores import confusion
from pointmae_zoo.system.files import check_out
from pointmae_zoo.system.progress import progress_bar
from pointmae_zoo.system.source_state import measured_with

PAPER_POINTS = 8192
"""Of so many stored points of a cloud, at most, the papers' protocol samples."""

PROTOCOLS = {"standard": "", "paper": "the papers' protocol: "}
"""How reports begin to say what was done, see `FixedView.told`."""
UPRIGHT = ", upright (no rotation); one prediction for a cloud"


def evaluate_finetuned(
    runs: str | Path | Run | Sequence[str | Path | Run],
    data: str | Path,
    *,
    classes: Literal["core", "all"] | None = None,
    split: Literal["test", "validation"] = "test",
    num_points: int | None = None,
    votes: int = 0,
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
    """Accuracy and class mean of fine-tuned classifiers, over clouds they have not seen.

    Args:
        runs: what ``finetune`` wrote, names of weights or repositories; several are seeds of one recipe and
            are averaged.
        data: an entry of `open_labelled`. Its classes must be those of the model; their order may differ.
        classes: the cleaner core classes, or all; None: as in training, if the run says.
        split: ``"validation"``: what the runs held out of train, or the data's own validation split, if it
            was looked at in training; settings are chosen with it.
        num_points: the first so many points of each cloud; None: as in training.
        votes: also the mean over so many random views of each cloud, chosen (of the recipe's
            ``cloud_points``) and changed as in training; a line of its own, never the headline. 0: none.
        protocol: ``"paper"``: farthest point sampling of up to ``PAPER_POINTS``. By either, clouds are
            centred and scaled if they were in training.
        label: what tables and pictures call these runs; default: the first one's name.
        picture: where to draw what is taken for what, a PNG.
        out: where to write the JSON.
        keep_in: a folder to write it to, under the name that `reports.report.file_name` gives.
        cache: where points of meshes are kept.
        progress: a bar on a terminal, elsewhere a line now and then.

    Returns:
        The report; its context names runs, data and protocol.

    Raises:
        ValueError: classes of model and data differ (names which); models of another kind; runs that are no
            seeds of one recipe; no validation part, or other data than the run's; something wrong with the
            data. Names what.
        FileNotFoundError, IsADirectoryError: no such file or folder, or ``out`` can't be written there.
    """
    started = time.perf_counter()
    check_choices(split, protocol, votes)
    check_out(out, (".json",))
    check_out(picture, (".png",))
    loaded = load_runs(runs, "classification", device)
    num_points = loaded[0].num_points if num_points is None else num_points
    view = loaded[0].view(num_points, farthest=protocol == "paper")
    offered = max(num_points, loaded[0].cloud_points)
    most_points = offered if votes else num_points
    if view.farthest:
        most_points = max(most_points, PAPER_POINTS if protocol == "paper" else loaded[0].cloud_points)
    asked = clouds_of(
        loaded,
        data,
        split,
        classes=classes,
        num_points=num_points,
        most_points=most_points,
        cache=cache,
        progress=progress,
    )
    clouds = asked.clouds
    check_classes(clouds.name, clouds.classes, loaded[0])
    context = {
        "task": "finetuned",
        "label": label or loaded[0].name,
        **described(loaded),
        "dataset": {"file": clouds.name, "sha256": clouds.sha256, "classes": list(clouds.classes)},
        "class_set": clouds.class_set,
        "split": split,
        "num_train": loaded[0].num_train,
        "num_test": len(clouds),
        "num_points": num_points,
        "protocol_name": protocol,
        "protocol": PROTOCOLS[protocol] + view.told(most_points) + UPRIGHT + ENDS[asked.split],
        "rotation": "none",
        "robustness": {},
        "votes": votes,
        "vote_seed": VOTE_SEED if votes else None,
    }
    report, measured = ScoreReport(context=context), Measured(clouds, "accuracy")
    if keep_in is not None:
        out = Path(keep_in) / file_name(context)
        check_replaceable(out, context)
    prepared, views = view(clouds.points), view.placed(clouds.points[:, :offered])
    tables = np.zeros((len(clouds.classes), len(clouds.classes)), dtype=np.int64)
    with asked.progress_bar(1 + votes, progress) as bar:
        how: dict[str, Any] = {"batch_size": batch_size, "device": device, "tick": bar.update}
        for run, rows in zip(loaded, asked.rows, strict=True):
            order = [run.labels.index(name) for name in clouds.classes]
            truth = clouds.labels[rows]
            answer = predict_clouds(run.network, prepared[rows], **how)[:, order].argmax(1)
            measured.add(run.name, run.seed, rows, answer == truth)
            tables += confusion(truth, answer, len(order))
            if votes:
                voted = vote(run.network, views[rows], votes, run.augmentation, num_points=num_points, **how)
                measured.add(run.name, run.seed, rows, voted[:, order].argmax(1) == truth, votes)
    report.confusion = tables.tolist()
    measured.fill(report)
    majority = _majority_accuracy(loaded, asked)
    report.context |= {} if majority is None else {"majority_accuracy": majority}
    report.context |= {"chance_accuracy": 100.0 / len(clouds.classes), **measured_with(started)}
    if out is not None:
        report.save(Path(out))
    if picture is not None:
        from pointmae_zoo.viz import draw_confusion

        draw_confusion(report.confusion, clouds.classes, picture, title=report.title())
    return report


def _majority_accuracy(runs: Sequence[Run], asked: "Asked") -> float | None:
    """In percent, of always answering the class that training had most of, or any one of several; mean over
    the runs. None if a run does not say what it was trained on."""
    found = []
    for run, rows in zip(runs, asked.rows, strict=True):
        if run.class_counts is None:
            return None
        trained = np.array([run.class_counts[name] for name in asked.clouds.classes])
        shares = np.bincount(asked.clouds.labels[rows], minlength=len(trained)) / len(rows)
        found.append(100.0 * float(shares[trained == trained.max()].mean()))
    return float(np.mean(found))


class Asked(NamedTuple):
    """Which clouds the runs are asked about: all of them, and for each run its rows."""

    clouds: LabelledClouds
    rows: list[NDArray[np.int64]]
    split: str
    """Of the data: ``test``, ``val``, or ``train``, of which they are what was held out."""

    def progress_bar(self, times: int, shown: bool) -> Any:
        """Of predictions, so many times of every cloud of every run."""
        total = times * sum(len(rows) for rows in self.rows)
        return progress_bar(total=total, unit="cloud", desc="predict", disable=not shown)


def clouds_of(
    runs: Sequence[Run],
    data: str | Path,
    split: str,
    *,
    classes: Literal["core", "all"] | None,
    num_points: int,
    most_points: int,
    cache: Path | None,
    progress: bool,
    with_parts: bool = False,
) -> Asked:
    """Test clouds, or the validation clouds of each run.

    Raises:
        ValueError: a run says nothing of its validation part, or has none; its data were others.
    """
    asked: Split = "test" if split == "test" else _validation_split(runs)
    clouds = open_labelled(
        data,
        asked,
        num_points=num_points,
        most_points=most_points,
        classes=classes or runs[0].recipe.get("classes"),
        with_parts=with_parts,
        cache=cache,
        progress=progress,
    )
    if asked == "test":
        return Asked(clouds, [np.arange(len(clouds))] * len(runs), asked)
    parts = [_validation_rows(run, clouds, asked) for run in runs]
    union = np.unique(np.concatenate(parts))
    return Asked(clouds.select(union), [np.searchsorted(union, rows) for rows in parts], asked)


def _validation_split(runs: Sequence[Run]) -> Literal["train", "val"]:
    """Of which split of the data what the runs looked at in training was; a ValueError if they disagree."""
    found = {run.name: run.provenance.get("validation_split") or "train" for run in runs}
    if len(set(found.values())) > 1:
        told = ", ".join(f"{name} of {split}" for name, split in found.items())
        raise ValueError(f"validation clouds of different splits ({told}); evaluate the runs one by one")
    return "val" if "val" in found.values() else "train"


def _validation_rows(run: Run, clouds: LabelledClouds, split: str) -> NDArray[np.int64]:
    share, seed = run.recipe.get("validation_share"), run.recipe.get("seed")
    if not isinstance(share, (int, float)) or not isinstance(seed, int):
        raise ValueError(
            f"{run.name}: its config.json says nothing of a validation part; expected what "
            "'pointmae-zoo finetune' wrote"
        )
    rows = np.arange(len(clouds))
    if split == "train":
        _, rows = validation_split(clouds.labels, clouds.groups, share, seed)
    if not len(rows):
        raise ValueError(
            f"{run.name}: held nothing of {clouds.name} out for validation (validation_share {share})"
        )
    noted, count = run.provenance.get("validation_sha256"), run.provenance.get("clouds_validation")
    other = identity_sha256(clouds.select(rows)) != noted if noted else count not in (None, len(rows))
    if other:
        raise ValueError(
            f"{clouds.name}: the data is not what {run.name} was trained on, so that nobody knows what it "
            "held out; give the data of its training, unchanged"
        )
    return rows


def check_classes(name: str, names: Sequence[str], run: Run, what: str = "classes") -> None:
    """Raise a ValueError that tells what only the data, called ``name``, or only the model has."""
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
    """Raise a ValueError for a setting that there is not."""
    if split not in ("test", "validation"):
        raise ValueError(f"split: {split!r}, expected 'test' or 'validation'")
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: {protocol!r}, expected 'standard' or 'paper'")
    if votes < 0 or votes == 1:
        raise ValueError(f"votes: {votes}, expected 2 or more, or 0 for none")
