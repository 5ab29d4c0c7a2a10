"""``evaluate_parts``: how well fine-tuned part segmenters find the parts of clouds they have not seen."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.labelled import LabelledClouds
from pointmae_zoo.evaluate.finetuned import check_choices, check_classes, clouds_of
from pointmae_zoo.evaluate.finetuned_runs import Run, described, load_runs
from pointmae_zoo.evaluate.voting import VOTE_SEED, Floats, predict_clouds, vote
from pointmae_zoo.models.object_parts import ObjectParts
from pointmae_zoo.reports.part_overlap import overlaps, predicted_parts
from pointmae_zoo.reports.report import file_name
from pointmae_zoo.reports.schema import check_replaceable
from pointmae_zoo.reports.score_report import ENDS, Measured, ScoreReport, spread
from pointmae_zoo.system.files import check_out
from pointmae_zoo.system.source_state import measured_with

_PROTOCOL = (
    "{view}, upright (no rotation); the class of the cloud is given, and only its parts compete; "
    "intersection over union of every part of the class, 1 where a part is neither there nor predicted, "
    "averaged over the parts; one prediction for a cloud"
)
_SHOWN = 8  # clouds of a picture


def evaluate_parts(
    runs: str | Path | Run | Sequence[str | Path | Run],
    data: str | Path,
    *,
    classes: Literal["core", "all"] | None = None,
    split: Literal["test", "validation"] = "test",
    num_points: int | None = None,
    votes: int = 0,
    label: str | None = None,
    batch_size: int = 32,
    device: str = "cpu",
    picture: str | Path | None = None,
    out: str | Path | None = None,
    keep_in: str | Path | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> ScoreReport:
    """Mean overlap (mIoU) of true and predicted parts, by instance and by category, as on ShapeNetPart.

    Args:
        runs, classes, split, num_points, label, out, keep_in, cache, progress: as for `evaluate_finetuned`.
        data: an entry of `open_labelled` with part labels. Its parts must be those of the model, by name;
            their order may differ.
        votes: also the mean over so many views of each cloud, changed as in training but with all their
            points; a line of its own. 0: none.
        picture: where to draw some clouds with true and predicted parts, a PNG: of up to eight classes the
            cloud whose overlap is the middle one.

    Raises:
        ValueError: parts of model and data differ (names which); models of another kind; runs that are no
            seeds of one recipe; data without part labels. Names what.
        FileNotFoundError, IsADirectoryError: no such file or folder, or ``out`` can't be written there.
    """
    started = time.perf_counter()
    check_choices(split, "standard", votes)
    check_out(out, (".json",))
    check_out(picture, (".png",))
    loaded = load_runs(runs, "part_segmentation", device)
    num_points = loaded[0].num_points if num_points is None else num_points
    view = loaded[0].view(num_points)
    most_points = max(num_points, loaded[0].cloud_points) if view.farthest else num_points
    asked = clouds_of(
        loaded,
        data,
        split,
        classes=classes,
        num_points=num_points,
        most_points=most_points,
        cache=cache,
        progress=progress,
        with_parts=True,
    )
    clouds = asked.clouds
    assert clouds.part_labels is not None
    chosen = view.rows(clouds.points)
    points = view.placed(np.take_along_axis(clouds.points, chosen[:, :, None], axis=1))
    clouds = replace(clouds, part_labels=np.take_along_axis(clouds.part_labels, chosen, axis=1))
    assert clouds.part_labels is not None
    check_classes(clouds.name, clouds.part_names, loaded[0], "parts")
    context = {
        "task": "parts",
        "label": label or loaded[0].name,
        **described(loaded),
        "dataset": {"file": clouds.name, "sha256": clouds.sha256, "classes": list(clouds.classes)},
        "part_names": list(clouds.part_names),
        "class_set": clouds.class_set,
        "split": split,
        "num_train": loaded[0].num_train,
        "num_test": len(clouds),
        "num_points": num_points,
        "protocol_name": "standard",
        "protocol": _PROTOCOL.format(view=view.told(most_points)) + ENDS[asked.split],
        "rotation": "none",
        "robustness": {},
        "votes": votes,
        "vote_seed": VOTE_SEED if votes else None,
    }
    report, measured = ScoreReport(context=context), Measured(clouds, "mIoU")
    if keep_in is not None:
        out = Path(keep_in) / file_name(context)
        check_replaceable(out, context)
    by_part: list[NDArray[np.float64]] = []
    shown: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]] | None = None
    with asked.progress_bar(1 + votes, progress) as bar:
        how: dict[str, Any] = {"batch_size": batch_size, "device": device, "tick": bar.update}
        for run, rows in zip(loaded, asked.rows, strict=True):
            labels, truth = clouds.labels[rows], clouds.part_labels[rows]
            order, kinds = (
                [run.labels.index(name) for name in clouds.part_names],
                _object_classes(run, clouds),
            )
            scores = predict_clouds(run.network, points[rows], kinds[labels], **how)
            answer, overlap = _judged(scores[..., order], truth, labels, clouds)
            measured.add(run.name, run.seed, rows, np.nanmean(overlap, axis=1))
            by_part.append(overlap)
            shown = shown or (rows, answer, np.nanmean(overlap, axis=1))
            if votes:
                voted = vote(
                    run.network, points[rows], votes, run.augmentation, object_classes=kinds[labels], **how
                )
                _, overlap = _judged(voted[..., order], truth, labels, clouds)
                measured.add(run.name, run.seed, rows, np.nanmean(overlap, axis=1), votes)
    measured.fill(report)
    report.per_part = _per_part(clouds, by_part)
    report.context |= measured_with(started)
    if out is not None:
        report.save(Path(out))
    if picture is not None and shown is not None:
        _draw(clouds, points, *shown, picture, report.title())
    return report


def _judged(
    scores: Floats, truth: NDArray[np.int64], labels: NDArray[np.int64], clouds: LabelledClouds
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Predicted parts (M, N), and their overlap (M, P) with the true ones."""
    answer = predicted_parts(scores, labels, clouds.parts)
    return answer, overlaps(truth, answer, labels, clouds.parts)


def _object_classes(run: Run, clouds: LabelledClouds) -> NDArray[np.int64]:
    """(C,) for each class of the data the segmenter's number of it; a ValueError if it does not know one."""
    number = getattr(getattr(run.network, "hyper", None), "num_object_classes", None)
    known = ObjectParts.of(run.labels, run.provenance, len(run.labels), number).classes
    for name in clouds.classes:
        if name not in known:
            raise ValueError(
                f"{run.name} knows the object classes {', '.join(known)}, but {clouds.name} has {name!r}; "
                "evaluate on the classes that the model was trained on"
            )
    return np.array([known.index(name) for name in clouds.classes], dtype=np.int64)


def _per_part(clouds: LabelledClouds, by_part: list[NDArray[np.float64]]) -> list[dict[str, Any]]:
    """For each part its mean overlap over the clouds of its class, mean and deviation over the runs."""
    found = []
    for number, own in enumerate(clouds.parts):
        count = int((clouds.labels == number).sum())
        for part in own:
            means = [
                100.0 * float(np.nanmean(one[:, part])) for one in by_part if np.isfinite(one[:, part]).any()
            ]
            row = {"part": clouds.part_names[part], "clouds": count}
            found.append(row | (spread(means) if means else {"mean": None, "std": None}))
    return found


def _draw(
    clouds: LabelledClouds,
    points: Floats,
    rows: NDArray[np.int64],
    answer: NDArray[np.int64],
    overlap: NDArray[np.float64],
    path: str | Path,
    title: str,
) -> None:
    """Of the first run; for each class the cloud whose overlap is the middle one."""
    from pointmae_zoo.viz import PartPicture, draw_parts

    assert clouds.part_labels is not None
    chosen = []
    for number in np.unique(clouds.labels[rows])[:_SHOWN]:
        here = np.flatnonzero(clouds.labels[rows] == number)
        place = here[np.argsort(overlap[here], kind="stable")[len(here) // 2]]
        own, row = clouds.parts[number], rows[place]
        names = [clouds.part_names[part].rpartition("/")[2] for part in own]
        chosen.append(
            PartPicture(
                f"{clouds.classes[number]}: {100 * overlap[place]:.0f} %",
                points[row],
                clouds.part_labels[row] - own.start,
                answer[place] - own.start,
                tuple(names),
            )
        )
    draw_parts(chosen, path, title=title)
