"""mIoU of fine-tuned part segmenters; the measure itself is in `reports.mean_iou`."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.labelled import LabelledClouds
from pointmae_zoo.evaluate.finetuned import check_choices, open_trial
from pointmae_zoo.evaluate.finetuned_models import Floats, Run, load_runs, predict_clouds, vote
from pointmae_zoo.models.object_parts import ObjectParts
from pointmae_zoo.reports.mean_iou import cloud_ious, mean_by_part, part_ious, predicted_parts
from pointmae_zoo.reports.outputs import check_outputs, report_file
from pointmae_zoo.reports.score_report import ENDS, Measured, ScoreReport, spread
from pointmae_zoo.system.source_state import measured_with

_PROTOCOL = (
    "{view}, upright (no rotation); the class of the cloud is given, and only its parts compete; "
    "intersection over union of every part of the class, 1 where a part is neither there nor predicted, "
    "averaged over the parts; one prediction for a cloud"
)
_SHOWN = 8  # clouds in a picture


def evaluate_parts(
    runs: str | Path | Run | Sequence[str | Path | Run],
    data: str | Path,
    *,
    classes: Literal["core", "all"] | None = None,
    split: Literal["test", "validation"] = "test",
    num_points: int | None = None,
    votes: int = 0,
    up: str | None = None,
    label: str | None = None,
    batch_size: int = 32,
    device: str = "cpu",
    picture: str | Path | None = None,
    out: str | Path | None = None,
    keep_in: str | Path | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> ScoreReport:
    """mIoU of true and predicted parts, by instance and by category, as on ShapeNetPart.

    Args:
        runs, classes, split, num_points, up, label, out, keep_in, cache, progress: as for
            `evaluate_finetuned`.
        data: an entry of `open_labelled` with part labels. Its parts must be those of the model, by name;
            their order may differ.
        votes: also average predictions over so many views of each cloud, augmented as in training but with
            all their points; the report has them in a line of their own. 0: no votes.
        picture: the PNG file to draw true and predicted parts to, for up to eight classes: of each the cloud
            with the median IoU; its folder is made.

    Raises:
        ValueError: parts of model and data differ (says which); data without part labels; otherwise as for
            `evaluate_finetuned`.
        FileNotFoundError: no such file or folder of data.
        IsADirectoryError, NotADirectoryError, PermissionError: ``out`` or ``picture`` can't be written there.
    """
    started = time.perf_counter()
    check_choices(split, "standard", votes)
    check_outputs(out, picture)
    loaded = load_runs(runs, "part_segmentation", device)
    num_points = loaded[0].num_points if num_points is None else num_points
    view = loaded[0].view(num_points)
    most_points = max(num_points, loaded[0].cloud_points) if view.farthest else num_points
    trial = open_trial(
        loaded,
        data,
        split,
        view,
        most_points,
        classes=classes,
        up=up,
        cache=cache,
        progress=progress,
        with_parts=True,
    )
    clouds = trial.clouds
    assert clouds.part_labels is not None
    chosen = view.rows(clouds.points)  # (M, n), n points of each cloud
    points = view.placed(np.take_along_axis(clouds.points, chosen[:, :, None], axis=1))
    clouds = replace(clouds, part_labels=np.take_along_axis(clouds.part_labels, chosen, axis=1))
    assert clouds.part_labels is not None
    told = _PROTOCOL.format(view=view.told(most_points) + trial.turned()) + ENDS[trial.split]
    context = trial.context("parts", label, split, told, votes) | {"part_names": list(clouds.part_names)}
    report, measured = ScoreReport(context=context), Measured(clouds, "mIoU")
    file = report_file(out, keep_in, context)
    by_part: list[NDArray[np.float64]] = []
    shown: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]] | None = None
    with trial.progress_bar(1 + votes, progress) as bar:
        how: dict[str, Any] = {"batch_size": batch_size, "device": device, "tick": bar.update}
        for run, rows in zip(loaded, trial.rows, strict=True):
            labels, truth = clouds.labels[rows], clouds.part_labels[rows]
            order, kinds = run.order(clouds.part_names), _object_classes(run, clouds)
            scores = predict_clouds(run.network, points[rows], kinds[labels], **how)
            answer, ious = _judged(scores[..., order], truth, labels, clouds)
            measured.add(run.name, run.seed, rows, cloud_ious(ious))
            by_part.append(ious)
            shown = shown or (rows, answer, cloud_ious(ious))
            if votes:
                voted = vote(
                    run.network, points[rows], votes, run.augmentation, object_classes=kinds[labels], **how
                )
                _, ious = _judged(voted[..., order], truth, labels, clouds)
                measured.add(run.name, run.seed, rows, cloud_ious(ious), votes)
    measured.fill(report)
    report.per_part = _per_part(clouds, by_part)
    report.context |= measured_with(started)
    if file is not None:
        report.save(file)
    if picture is not None and shown is not None:
        _draw(clouds, points, *shown, picture, report.title())
    return report


def _judged(
    scores: Floats, truth: NDArray[np.int64], labels: NDArray[np.int64], clouds: LabelledClouds
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Predicted parts (M, N), and their IoU (M, P) with the true ones."""
    answer = predicted_parts(scores, labels, clouds.parts)
    return answer, part_ious(truth, answer, labels, clouds.parts)


def _object_classes(run: Run, clouds: LabelledClouds) -> NDArray[np.int64]:
    """(C,) for each class of the data its number in the segmenter; a ValueError if the segmenter lacks
    one."""
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
    """For each part its mean IoU over the clouds of its class; mean and deviation over the runs."""
    found = []
    for number, own in enumerate(clouds.parts):
        count = int((clouds.labels == number).sum())
        for part in own:
            means = mean_by_part(by_part, part)
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
    """Draw, for each class, the cloud with the median IoU; predictions are the first run's."""
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
