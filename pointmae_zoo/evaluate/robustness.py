"""Robustness: accuracy on test clouds that were turned, thinned, made noisy, or have parts missing.

The classifier was trained on upright, clean clouds; only the test clouds change. Every change is drawn with a
fixed seed, cloud after cloud in the order of the file.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.augmentation import FixedView
from pointmae_zoo.datasets.clouds import normalize_clouds
from pointmae_zoo.datasets.poses import rotations_about, uniform_rotations
from pointmae_zoo.evaluate import linear
from pointmae_zoo.evaluate.finetuned import UPRIGHT, open_trial
from pointmae_zoo.evaluate.finetuned_models import Run, load_runs, predict_clouds, run_of
from pointmae_zoo.evaluate.frozen_features import Encoders, Floats, list_of, lying, read_data
from pointmae_zoo.reports.outputs import check_outputs, report_file
from pointmae_zoo.reports.report import LinearProbe, LinearReport
from pointmae_zoo.reports.score_report import Measured, ScoreReport, spread
from pointmae_zoo.shapes.pose import Pose
from pointmae_zoo.shapes.up_axis import DEFAULT_UP
from pointmae_zoo.system.source_state import measured_with

Kind = Literal["clean", "rotation about up", "rotation", "points", "noise", "missing ball", "missing side"]

SEED = 0
"""The seed of all draws."""
POINT_COUNTS = (256, 512, 1024, 2048, 4096)
NOISE = (0.02,)
"""Standard deviations, in units of the clouds' radius."""
MISSING = (0.25,)
"""Shares of the points that are removed."""


@dataclass(frozen=True)
class Change:
    """One way to change test clouds.

    Args:
        kind: ``rotation about up``: by a random angle about the up axis; ``rotation``: a random rotation;
            ``points``: only the first ``amount`` points; ``noise``: Gaussian, on every coordinate, with a
            deviation of ``amount`` times the cloud's radius; ``missing ball``: without the share ``amount``
            of the points that is nearest to one of them; ``missing side``: without the share that lies
            farthest along a random direction; ``clean``: unchanged.
        amount: see ``kind``.
    """

    kind: Kind
    amount: float = 0.0

    @property
    def name(self) -> str:
        """The name in tables and in JSON."""
        if self.kind == "points":
            return f"{self.amount:.0f} points"
        if self.kind == "noise":
            return f"noise {self.amount:g}"
        if self.kind in ("missing ball", "missing side"):
            return f"{self.kind} {100 * self.amount:g} %"
        return self.kind


CLEAN = Change("clean")
KINDS: tuple[Kind, ...] = tuple(kind for kind in get_args(Kind) if kind != "clean")
"""All kinds of change."""


def evaluate_robustness(
    model: str | Path | Run | Sequence[str | Path | Run],
    data: str | Path,
    *,
    classes: Literal["core", "all"] | None = None,
    num_points: int | None = None,
    conditions: Sequence[str] | None = None,
    up: str | None = None,
    pose: Pose = "upright",
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
    """Accuracy on test clouds that were turned, thinned, made noisy or cut (see `Change`).

    Fine-tuned classifiers predict directly. For all other weights, part segmenters among them, a linear SVM
    on the encoder's frozen features predicts, beside random weights. Both have learned from upright, clean
    clouds.

    Args:
        model: runs of ``finetune``, or weights as for `evaluate_linear`; several are averaged.
        data, classes, label, out, keep_in, cache, progress: as for `evaluate_linear`.
        num_points: points used of each cloud, except where their number is what changes: the first ones, or
            for a classifier that was trained on farthest points the farthest, as in `evaluate_finetuned`.
            None: as in training.
        conditions: how clouds are changed: some of ``evaluate.robustness.KINDS``, such as ``rotation`` and
            ``missing ball``; None: all of them, one after the other.
        up: what points up in the data (see `open_labelled`); None: y, or as in a classifier's training.
        pose, pool, seeds: of frozen features, as for `evaluate_linear`; ``seeds=0`` leaves the random
            baselines out, which are most of the work.

    Raises:
        ValueError: as for `evaluate_linear` and `evaluate_finetuned`; classifiers and others together.
        IsADirectoryError, NotADirectoryError, PermissionError: ``out`` can't be written there.
    """
    started = time.perf_counter()
    check_outputs(out)
    check_kinds(conditions)
    options = _Options(data, classes, num_points, conditions, up, label, batch_size, device, cache, progress)
    models = [model] if isinstance(model, (str, Path, Run)) else list(model)
    loaded = [one if isinstance(one, Run) else _load(one, device) for one in models]
    runs = [one for one in loaded if isinstance(one, Run)]
    if runs and len(runs) < len(loaded):
        raise ValueError("fine-tuned classifiers and other weights together; evaluate them one by one")
    report: LinearReport | ScoreReport
    if runs:
        report, file = _of_classifiers(runs, options, out, keep_in)
    else:
        names = list_of([one for one in models if not isinstance(one, Run)])
        report, file = _of_features(names, loaded, pose, pool, seeds, options, out, keep_in)
    report.context |= measured_with(started)
    if file is not None:
        report.save(file)
    return report


@dataclass(frozen=True)
class _Options:
    """Arguments of `evaluate_robustness` for classifiers and features alike."""

    data: str | Path
    classes: Literal["core", "all"] | None
    num_points: int | None
    conditions: Sequence[str] | None
    up: str | None
    label: str | None
    batch_size: int
    device: str
    cache: Path | None
    progress: bool


def _load(model: str | Path, device: str) -> Any:
    """The run of a classifier; any other model as it is."""
    from pointmae_zoo.hub import from_pretrained

    network = from_pretrained(model, device=device)
    kind = "classification"
    return run_of(model, network, kind) if network.config.kind == kind else network


def _of_features(
    models: Sequence[str | Path],
    networks: list[Any],
    pose: Pose,
    pool: str | None,
    seeds: int,
    options: _Options,
    out: str | Path | None,
    keep_in: str | Path | None,
) -> tuple[LinearReport, Path | None]:
    from pointmae_zoo.hub.pretrained import public_name

    names = [public_name(name, network) for name, network in zip(models, networks, strict=True)]
    alone = [one if one.config.kind == "encoder" else one.encoder for one in networks]
    encoders = Encoders(names, alone, seeds, pool, options.batch_size, options.device, pose)
    num_points, up = encoders.points_used(options.num_points), options.up or DEFAULT_UP
    given = read_data(
        options.data,
        classes=options.classes,
        split="test",
        num_points=num_points,
        most_points=max(num_points, *POINT_COUNTS),
        up=up,
        cache=options.cache,
        progress=options.progress,
    )
    train, test = given.train, given.judged
    linear.cross_validation_folds(train.labels, train.groups)  # too few clouds: said before the work
    tried = changes(test.points.shape[1], num_points, options.conditions)
    context = {
        "task": "robustness",
        **encoders.described(options.label),
        **given.described(),
        "protocol_name": "standard",
        "protocol": linear.protocol_text(
            "standard", "test", num_points, len(train), seeds, lying=lying(pose, up)
        ),
        "robustness": _described(tried),
        "few_shot": [],
        "of_part_segmenters": any(one.config.kind == "part_segmentation" for one in networks),
    }
    file = report_file(out, keep_in, context, ("svm",))
    report = LinearReport(context=context)
    probes: dict[tuple[str, str], list[LinearProbe]] = {}

    def changing(change: Change) -> Callable[[Floats], Floats]:
        # Centred and scaled after the change, as a user's clouds would be.
        return lambda points: normalize_clouds(change_clouds(points, change, num_points=num_points))

    ways = [changing(change) for change in (CLEAN, *tried)]
    for one in encoders.features(given, "robustness", options.progress, ways):
        clean, *changed = one.tests
        found = linear.linear_probe(
            one.train,
            train.labels,
            train.groups,
            clean,
            test.labels,
            changed={change.name: features for change, features in zip(tried, changed, strict=True)},
            tell=one.tell,
        )
        probes.setdefault((one.weights, "svm"), []).append(found)
        report.add_row(one.weights, one.which, found)
    report.add_probes(probes, train.groups, test.groups)
    return report, file


def _of_classifiers(
    models: Sequence[Run], options: _Options, out: str | Path | None, keep_in: str | Path | None
) -> tuple[ScoreReport, Path | None]:
    loaded = load_runs(models, "classification", options.device)
    first = loaded[0]
    num_points = first.num_points if options.num_points is None else options.num_points
    view = first.view(num_points)
    most_points = max(num_points, first.cloud_points if view.farthest else max(POINT_COUNTS))
    trial = open_trial(
        loaded,
        options.data,
        "test",
        view,
        most_points,
        classes=options.classes,
        up=options.up,
        cache=options.cache,
        progress=options.progress,
    )
    clouds = trial.clouds
    tried = changes(clouds.points.shape[1], num_points, options.conditions)
    context = trial.context(
        "robustness", options.label, "test", view.told(most_points) + trial.turned() + UPRIGHT
    )
    context |= {"robustness": _described(tried)}
    del context["vote_seed"]
    file = report_file(out, keep_in, context)
    report, measured = ScoreReport(context=context), Measured(clouds, "accuracy")
    accuracies: dict[str, list[float]] = {change.name: [] for change in tried}
    with trial.progress_bar(1 + len(tried), options.progress, "robustness") as bar:
        how: dict[str, Any] = {"batch_size": options.batch_size, "device": options.device, "tick": bar.update}
        for change in (CLEAN, *tried):
            seen = _seen(clouds.points, view, change)
            for run, rows in zip(loaded, trial.rows, strict=True):
                order = run.order(clouds.classes)
                points = view.placed(change_clouds(seen, change, num_points=num_points, up=run.up))
                right = predict_clouds(run.network, points, **how)[:, order].argmax(1) == clouds.labels
                if change is CLEAN:
                    measured.add(run.name, run.seed, rows, right)
                else:
                    accuracies[change.name].append(100.0 * float(np.mean(right)))
    measured.fill(report)
    for name, found in accuracies.items():
        row = {f"test_{which}": value for which, value in spread(found).items()}
        report.robustness.append({"change": name, "runs": len(found), **row})
    return report, file


def _seen(points: Floats, view: FixedView, change: Change) -> Floats:
    """The points of every cloud that a run sees, before they are changed: (M, N, 3) -> (M, n, 3)."""
    if change.kind == "points":
        view = replace(view, num_points=int(change.amount))
    return np.take_along_axis(points, view.rows(points)[:, :, None], axis=1)


def _described(tried: Sequence[Change]) -> dict[str, Any]:
    """The changes with their amounts and the seed, for a report's context."""
    return {
        "classifier": "trained on upright, clean clouds; only test clouds are changed, one draw each",
        "seed": SEED,
        "changes": [{"name": change.name, **asdict(change)} for change in tried],
    }


def changes(available: int, num_points: int, kinds: Sequence[str] | None = None) -> tuple[Change, ...]:
    """The changes to try where clouds have ``available`` points and ``num_points`` are used.

    Args:
        kinds: some of ``KINDS``; None: all.

    Raises:
        ValueError: an unknown kind, no kind at all, or one with nothing to try; says which.
    """
    counts = [count for count in POINT_COUNTS if count <= available and count != num_points]
    every = (
        Change("rotation about up"),
        Change("rotation"),
        *(Change("points", count) for count in counts),
        *(Change("noise", deviation) for deviation in NOISE),
        *(Change("missing ball", share) for share in MISSING),
        *(Change("missing side", share) for share in MISSING),
    )
    if kinds is None:
        return every
    check_kinds(kinds)
    if "points" in kinds and not counts:
        raise ValueError(
            f"conditions: the clouds have {available} points and {num_points} are used, so there is no other "
            f"number to try ({', '.join(map(str, POINT_COUNTS))}); leave 'points' out"
        )
    return tuple(change for change in every if change.kind in kinds)


def check_kinds(kinds: Sequence[str] | None) -> None:
    """Raise a ValueError for an unknown kind of change, or for an empty list."""
    if kinds is None:
        return
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        said = repr(unknown[0]) if unknown else "an empty list"
        raise ValueError(f"conditions: {said}, expected some of {', '.join(KINDS)}")


def change_clouds(
    points: NDArray[np.float32], change: Change, *, num_points: int, up: str = DEFAULT_UP, seed: int = SEED
) -> NDArray[np.float32]:
    """Change clouds; they are not normalised again.

    Args:
        points: (M, N, 3) all points of every cloud; the first ``num_points`` are used, except by ``points``.
        change: how.
        up: axis that ``rotation about up`` turns about.

    Returns:
        (M, n, 3); n is ``num_points``, ``amount`` of them for ``points``, and less by the share that is
        missing.

    Raises:
        ValueError: more points asked for than there are, an unknown axis, or a share that leaves none.
    """
    wanted = int(change.amount) if change.kind == "points" else num_points
    if wanted > points.shape[1]:
        raise ValueError(f"{wanted} points asked for, but the clouds have {points.shape[1]}")
    points = points[:, :wanted]
    rng = np.random.default_rng(seed)
    if change.kind in ("clean", "points"):
        return points
    if change.kind in ("rotation about up", "rotation"):
        if change.kind == "rotation":
            rotations = uniform_rotations(len(points), rng)
        else:
            rotations = rotations_about(up, rng.uniform(0.0, 2.0 * np.pi, len(points)))
        return np.einsum("mnj,mij->mni", points.astype(np.float64), rotations).astype(np.float32)
    if change.kind == "noise":
        radius = np.linalg.norm(points - points.mean(axis=1, keepdims=True), axis=2).max(axis=1)
        noise = rng.normal(size=points.shape) * (change.amount * radius)[:, None, None]
        return (points + noise).astype(np.float32)
    kept = wanted - round(change.amount * wanted)
    if not 0.0 <= change.amount < 1.0 or kept < 1:
        raise ValueError(f"{change.name}: expected a share of at least 0 that leaves some points")
    if change.kind == "missing ball":
        middle = points[np.arange(len(points)), rng.integers(wanted, size=len(points))]
        away = np.square(points - middle[:, None]).sum(axis=2)
    else:
        direction = rng.normal(size=(len(points), 3))
        away = -np.einsum("mnj,mj->mn", points, direction)
    # The farthest are kept, in the order in which they were.
    chosen = np.sort(np.argsort(-away, axis=1, kind="stable")[:, :kept], axis=1)
    return np.take_along_axis(points, chosen[:, :, None], axis=1)
