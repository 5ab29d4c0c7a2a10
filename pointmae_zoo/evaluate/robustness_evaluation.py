"""``evaluate_robustness``: accuracy on test clouds that are not as training clouds were."""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pointmae_zoo.datasets.augmentation import FixedView
from pointmae_zoo.datasets.clouds import normalize_clouds
from pointmae_zoo.evaluate.finetuned import UPRIGHT, check_classes, clouds_of
from pointmae_zoo.evaluate.finetuned_runs import Run, described, load_runs, run_of
from pointmae_zoo.evaluate.frozen import Floats, embedded, encoders_of, list_of, read_data
from pointmae_zoo.evaluate.linear import linear_probe
from pointmae_zoo.evaluate.linear_evaluation import ENDS
from pointmae_zoo.evaluate.linear_evaluation import PROTOCOLS as LINEAR_PROTOCOLS
from pointmae_zoo.evaluate.robustness import (
    CLEAN,
    POINT_COUNTS,
    SEED,
    Change,
    change_clouds,
    changes,
    check_kinds,
)
from pointmae_zoo.evaluate.voting import predict_clouds
from pointmae_zoo.reports.report import LinearProbe, LinearReport, file_name
from pointmae_zoo.reports.schema import check_replaceable
from pointmae_zoo.reports.score_report import Measured, ScoreReport, spread
from pointmae_zoo.system.files import check_out
from pointmae_zoo.system.progress import progress_bar
from pointmae_zoo.system.source_state import measured_with

_USUAL_POINTS = 1024


def evaluate_robustness(
    model: str | Path | Run | Sequence[str | Path | Run],
    data: str | Path,
    *,
    classes: Literal["core", "all"] | None = None,
    num_points: int | None = None,
    conditions: Sequence[str] | None = None,
    pool: str | None = None,
    seeds: int = 3,
    label: str | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    out: str | Path | None = None,
    keep_in: str | Path | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> LinearReport | ScoreReport:
    """Accuracy on test clouds that were turned, thinned, made noisy or cut (see ``evaluate.robustness``).

    Of fine-tuned classifiers it is their own; of everything else, part segmenters among them, that of a
    linear SVM on the encoder's frozen features, beside random weights. Either has learned from upright, clean
    clouds.

    Args:
        model: runs of ``finetune``, or weights as for `evaluate_linear`; several are averaged.
        data, classes, label, out, keep_in, cache, progress: as for `evaluate_linear`.
        num_points: so many points of each cloud, except where their number is what changes: the first ones,
            of a classifier that was trained on farthest points these, as by `evaluate_finetuned`. None: 1024,
            of a classifier as in training.
        conditions: what is done to the clouds, some of ``evaluate.robustness.KINDS``, such as ``rotation``
            and ``missing ball``; None: all of it, one after the other.
        pool, seeds: of frozen features, as for `evaluate_linear`; ``seeds=0`` leaves the random baselines
            out, which are most of the work.

    Raises:
        ValueError: as for `evaluate_linear` and `evaluate_finetuned`; classifiers and others together.
        FileNotFoundError, IsADirectoryError: ``out`` cannot be written there.
    """
    from pointmae_zoo.hub.pretrained import public_name

    started = time.perf_counter()
    check_out(out, (".json",))
    check_kinds(conditions)
    models = [model] if isinstance(model, (str, Path, Run)) else list(model)
    loaded = [one if isinstance(one, Run) else _load(one, device) for one in models]
    networks = [one for one in loaded if not isinstance(one, Run)]
    if loaded and not networks:
        runs = [one for one in loaded if isinstance(one, Run)]
        report: LinearReport | ScoreReport = _of_classifiers(
            runs, data, classes, num_points, conditions, label, batch_size, device, keep_in, cache, progress
        )
    elif len(networks) < len(loaded):
        raise ValueError("fine-tuned classifiers and other weights together; evaluate them one by one")
    else:
        given = list_of([one for one in models if not isinstance(one, Run)])
        names = [public_name(name, network) for name, network in zip(given, networks, strict=True)]
        points = _USUAL_POINTS if num_points is None else num_points
        report = _of_features(
            names,
            networks,
            data,
            classes,
            points,
            conditions,
            pool,
            seeds,
            label,
            batch_size,
            device,
            keep_in,
            cache,
            progress,
        )
    report.context |= measured_with(started)
    if keep_in is not None:
        out = Path(keep_in) / file_name(report.context)
    if out is not None:
        report.save(Path(out))
    return report


def _load(model: str | Path, device: str) -> Any:
    """The run of a classifier; any other model as it is."""
    from pointmae_zoo.hub import from_pretrained

    network = from_pretrained(model, device=device)
    kind = "classification"
    return run_of(model, network, kind) if network.config.kind == kind else network


def _of_features(
    names: list[str],
    networks: list[Any],
    data: str | Path,
    classes: Literal["core", "all"] | None,
    num_points: int,
    conditions: Sequence[str] | None,
    pool: str | None,
    seeds: int,
    label: str | None,
    batch_size: int,
    device: str,
    keep_in: str | Path | None,
    cache: Path | None,
    progress: bool,
) -> LinearReport:
    given = read_data(
        data,
        classes=classes,
        split="test",
        num_points=num_points,
        most_points=max(num_points, *POINT_COUNTS),
        cache=cache,
        progress=progress,
    )
    train, test = given.train, given.asked
    alone = [one if one.config.kind == "encoder" else one.encoder for one in networks]
    encoders = encoders_of(names, alone, seeds, device)
    tried = changes(test.points.shape[1], num_points, conditions)
    context = {
        "task": "robustness",
        **encoders.described(label, pool),
        **given.described(),
        "protocol_name": "standard",
        "protocol": LINEAR_PROTOCOLS["standard"].format(num_points=num_points) + ENDS["test"],
        "robustness": _described(tried),
        "few_shot": [],
        "of_part_segmenters": any(one.config.kind == "part_segmentation" for one in networks),
    }
    if keep_in is not None:
        check_replaceable(Path(keep_in) / file_name(context), context, ("svm",))
    report = LinearReport(context=context)
    probes: dict[tuple[str, str], list[LinearProbe]] = {}
    points = given.prepared(train.points)
    up = encoders.encoders[0].config.preprocess.up
    how: dict[str, Any] = {"pool": pool, "batch_size": batch_size, "device": device}
    total = encoders.number * (len(train) + len(test) * (1 + len(tried)))
    with progress_bar(total=total, unit="cloud", desc="robustness", disable=not progress) as bar:
        for kind, which, encoder in encoders.candidates(points, batch_size):
            found = linear_probe(
                embedded(encoder, points, bar, **how),
                train.labels,
                train.groups,
                embedded(encoder, _changed(test.points, CLEAN, num_points, up), bar, **how),
                test.labels,
                changed={
                    one.name: embedded(encoder, _changed(test.points, one, num_points, up), bar, **how)
                    for one in tried
                },
            )
            probes.setdefault((kind, "svm"), []).append(found)
            report.add_row(kind, which, found)
    report.add_probes(probes, train.groups, test.groups)
    return report


def _of_classifiers(
    models: Sequence[str | Path | Run],
    data: str | Path,
    classes: Literal["core", "all"] | None,
    num_points: int | None,
    conditions: Sequence[str] | None,
    label: str | None,
    batch_size: int,
    device: str,
    keep_in: str | Path | None,
    cache: Path | None,
    progress: bool,
) -> ScoreReport:
    loaded = load_runs(models, "classification", device)
    num_points = loaded[0].num_points if num_points is None else num_points
    view = loaded[0].view(num_points)
    most_points = max(num_points, loaded[0].cloud_points if view.farthest else max(POINT_COUNTS))
    clouds, rows, _ = clouds_of(
        loaded,
        data,
        "test",
        classes=classes,
        num_points=num_points,
        most_points=most_points,
        cache=cache,
        progress=progress,
    )
    check_classes(clouds.name, clouds.classes, loaded[0])
    tried = changes(clouds.points.shape[1], num_points, conditions)
    context = {
        "task": "robustness",
        "label": label or loaded[0].name,
        **described(loaded),
        "dataset": {"file": clouds.name, "sha256": clouds.sha256, "classes": list(clouds.classes)},
        "class_set": clouds.class_set,
        "split": "test",
        "num_train": loaded[0].num_train,
        "num_test": len(clouds),
        "num_points": num_points,
        "protocol_name": "standard",
        "protocol": view.told(most_points) + UPRIGHT,
        "rotation": "none",
        "robustness": _described(tried),
        "votes": 0,
    }
    if keep_in is not None:
        check_replaceable(Path(keep_in) / file_name(context), context)
    report, measured = ScoreReport(context=context), Measured(clouds, "accuracy")
    found: dict[str, list[float]] = {change.name: [] for change in tried}
    total = len(loaded) * len(clouds) * (1 + len(tried))
    with progress_bar(total=total, unit="cloud", desc="robustness", disable=not progress) as bar:
        how: dict[str, Any] = {"batch_size": batch_size, "device": device, "tick": bar.update}
        for change in (CLEAN, *tried):
            seen = _seen(clouds.points, view, change)
            for run, chosen in zip(loaded, rows, strict=True):
                order = [run.labels.index(name) for name in clouds.classes]
                points = view.placed(change_clouds(seen, change, num_points=num_points, up=run.up))
                right = predict_clouds(run.network, points, **how)[:, order].argmax(1) == clouds.labels
                if change is CLEAN:
                    measured.add(run.name, run.seed, chosen, right)
                else:
                    found[change.name].append(100.0 * float(np.mean(right)))
    measured.fill(report)
    for name, accuracies in found.items():
        row = {f"test_{which}": value for which, value in spread(accuracies).items()}
        report.robustness.append({"change": name, "runs": len(accuracies), **row})
    return report


def _seen(points: Floats, view: FixedView, change: Change) -> Floats:
    """The points of every cloud that a run looks at, before they are changed; (M, n, 3)."""
    if change.kind == "points":
        view = replace(view, num_points=int(change.amount))
    return np.take_along_axis(points, view.rows(points)[:, :, None], axis=1)


def _changed(points: Floats, change: Change, num_points: int, up: str) -> Floats:
    """Centred and scaled after the change, as a user's would be."""
    return normalize_clouds(change_clouds(points, change, num_points=num_points, up=up))


def _described(tried: Sequence[Change]) -> dict[str, Any]:
    """For the JSON: every change with its amount, and the seed."""
    return {
        "classifier": "trained on upright, clean clouds; only test clouds are changed, one draw each",
        "seed": SEED,
        "changes": [{"name": change.name, **asdict(change)} for change in tried],
    }
