"""The linear probe: how well a linear classifier on frozen features does, with nothing chosen on test.

Features are standardised (mean and deviation of the training part, inside every fold too) and divided by
sqrt(d), so that one grid of C serves features of any width. C is chosen by stratified *group* cross-
validation on train: near duplicates never lie on both sides of a fold. The classifier is then fitted once on
all of train, and test is predicted once.

The support vector machine works on the table of all inner products. It is computed once for each fold, and
every C and every pair of classes reads it; the result is that of the features themselves.

Beside the chosen C stands the papers' way, for comparison with published numbers: raw features and a C that
was fixed beforehand. It is measured for the weights alone.
"""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.evaluate.frozen_features import (
    PREPARED,
    Encoders,
    calibrated_on,
    check_seeds,
    list_of,
    lying,
    on_threads,
    read_data,
)
from pointmae_zoo.reports.known_results import PAPER_C
from pointmae_zoo.reports.outputs import check_outputs, report_file
from pointmae_zoo.reports.report import Classifier, LinearProbe, LinearReport
from pointmae_zoo.reports.schema import OF_BASELINES
from pointmae_zoo.shapes.pose import Pose
from pointmae_zoo.shapes.up_axis import DEFAULT_UP
from pointmae_zoo.system.source_state import measured_with

C_GRID = {
    "svm": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    "logistic": (1.0, 10.0, 100.0, 1000.0, 10000.0),
}
"""Values of C that are tried, for each classifier that chooses."""

MANY_CLOUDS = 5000
"""From so many training clouds on, logistic regression is left out unless it is asked for: it takes as long
as all the rest."""

PROTOCOLS = {
    "standard": (
        f"{PREPARED}, standardised, over sqrt(d); C by 5-fold stratified group cross-validation on train"
    ),
    "paper": (
        "the papers' protocol: first {num_points} points as they are in the file, {lying}; raw frozen "
        "features; linear SVM with C = {C:g}, fixed beforehand"
    ),
}
ENDS = {
    "test": "; refit on train; test predicted once",
    "validation": "; the score of that cross-validation; test was not touched",
}
"""How a report's protocol ends, for each split."""


def evaluate_linear(
    model: str | Path | Sequence[str | Path],
    data: str | Path,
    *,
    classes: Literal["core", "all"] | None = None,
    split: Literal["test", "validation"] = "test",
    num_points: int | None = None,
    up: str = DEFAULT_UP,
    pose: Pose = "upright",
    pool: str | None = None,
    seeds: int = 3,
    classifiers: Sequence[Classifier] | None = None,
    protocol: Literal["standard", "paper"] = "standard",
    C: float | None = None,
    label: str | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    out: str | Path | None = None,
    keep_in: str | Path | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> LinearReport:
    """Linear probe of a model's frozen features, beside random weights of the same architecture.

    Args:
        model: name, folder or Hub repository of weights; several (training seeds of one recipe) are averaged
            and share the baselines.
        data: an entry of `open_labelled`: an ``.npz``, a folder, ``modelnet40:FOLDER`` ...
        classes: the cleaner core classes, or all; None: core where the file names some.
        split: ``"validation"`` scores by cross-validation on train alone and does not read test; use it to
            choose settings.
        num_points: use the first so many points of each cloud; None: as many as in the model's training.
        up: what points up in the data (see `open_labelled`).
        pose: the poses that features are averaged over, as of `embed_files`. With ``any`` it makes no
            difference how the clouds lie.
        pool: pooling of the features; None: as stored with the weights.
        seeds: random initialisations of each baseline; 0 leaves the baselines out.
        classifiers: which linear classifiers: ``"svm"`` and ``"logistic"`` choose C on train, ``"paper"`` is
            the SVM on raw features with the papers' fixed C, for the weights alone. None: all three, from
            ``MANY_CLOUDS`` training clouds on without ``"logistic"``.
        protocol: ``"paper"``: points and features as they are, C fixed, for the baselines, too; its only
            classifier is ``"svm"``.
        C: the fixed one; ``PAPER_C`` by default.
        label: what tables call these weights.
        out: the JSON file to write; its folder is made.
        keep_in: a folder to write the JSON file to, named by `reports.report.file_name`; made if missing.
        cache: folder for points read from meshes, for the next time.
        progress: show a bar on a terminal, elsewhere a line now and then.

    Raises:
        ValueError: the data lack a split, classes or points (says what); models of different architectures;
            negative ``seeds``; settings that exclude each other; ``keep_in`` has a report that this one would
            not replace.
        IsADirectoryError, NotADirectoryError, PermissionError: ``out`` can't be written there.
    """
    started = time.perf_counter()
    models = list_of(model)
    _check_settings(classifiers, protocol, C)
    check_seeds(seeds)
    check_outputs(out)
    fixed_C = PAPER_C if C is None else C
    encoders = Encoders.load(models, seeds, pool, batch_size, device, pose)
    num_points = encoders.points_used(num_points)
    given = read_data(
        data,
        classes=classes,
        split=split,
        num_points=num_points,
        normalize=protocol == "standard",
        up=up,
        cache=cache,
        progress=progress,
    )
    train, test = given.train, given.test
    cross_validation_folds(train.labels, train.groups)  # too few clouds: said before the work
    if classifiers is None:
        classifiers = _usual_classifiers(protocol, len(train))
    context = {
        "task": "linear",
        **encoders.described(label),
        **given.described(),
        "protocol_name": protocol,
        "protocol": protocol_text(
            protocol, split, num_points, len(train), seeds, fixed_C, lying=lying(pose, up)
        ),
        **({"fixed_C": fixed_C} if "paper" in (protocol, *classifiers) else {}),
        "robustness": {},
        "few_shot": [],
    }
    file = report_file(out, keep_in, context, tuple(classifiers))
    report = LinearReport()
    probes: dict[tuple[str, str], list[LinearProbe]] = {}
    for one in encoders.features(given, "probe", progress):
        for classifier in classifiers:
            if classifier == "paper" and one.weights != "weights":
                continue
            fixed = "paper" in (protocol, classifier)
            found = linear_probe(
                one.train,
                train.labels,
                train.groups,
                one.tests[0] if one.tests else None,
                None if test is None else test.labels,
                classifier="svm" if classifier == "paper" else classifier,
                C_values=(fixed_C,) if fixed else None,
                standardize=not fixed,
                tell=one.tell,
            )
            found = replace(found, classifier=classifier)
            probes.setdefault((one.weights, classifier), []).append(found)
            report.add_row(one.weights, one.which, found)
    report.add_probes(probes, train.groups, None if test is None else test.groups)
    report.context = {**context, **measured_with(started)}
    if file is not None:
        report.save(file)
    return report


def protocol_text(
    protocol: str,
    split: str,
    num_points: int,
    num_train: int,
    seeds: int,
    fixed_C: float = PAPER_C,
    *,
    lying: str,
) -> str:
    """The protocol in words, for a report's context."""
    text = PROTOCOLS[protocol].format(num_points=num_points, C=fixed_C, lying=lying) + ENDS[split]
    if seeds and (calibrated := calibrated_on(num_train)) < num_train:
        text += f"{OF_BASELINES}calibrated on {calibrated} training clouds"
    return text


def _usual_classifiers(protocol: str, num_train: int) -> tuple[Classifier, ...]:
    if protocol == "paper":
        return ("svm",)
    return ("svm", "paper") if num_train >= MANY_CLOUDS else ("svm", "logistic", "paper")


def _check_settings(classifiers: Sequence[str] | None, protocol: str, C: float | None) -> None:
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: {protocol!r}, expected 'standard' or 'paper'")
    if protocol == "paper" and tuple(classifiers or ("svm",)) != ("svm",):
        raise ValueError("classifiers: the papers' protocol has only the svm")
    if protocol == "standard" and C is not None and "paper" not in (classifiers or ("paper",)):
        raise ValueError("C: chosen by cross-validation; a fixed one belongs to the classifier 'paper'")
    if C is not None and not 0 < C < float("inf"):
        raise ValueError(f"C: {C}, expected a number above 0")


def linear_probe(
    features_train: NDArray[np.floating],
    y_train: NDArray[np.integer],
    groups_train: NDArray[np.integer],
    features_test: NDArray[np.floating] | None = None,
    y_test: NDArray[np.integer] | None = None,
    *,
    changed: Mapping[str, NDArray[np.floating]] | None = None,
    classifier: Literal["svm", "logistic"] = "svm",
    C_values: tuple[float, ...] | None = None,
    standardize: bool = True,
    folds: int = 5,
    seed: int = 0,
    tell: Callable[[str], object] | None = None,
) -> LinearProbe:
    """Choose C on train by stratified group cross-validation, refit on train, predict test once.

    Args:
        features_train, features_test: (M, D) features; without test features there is only the
            cross-validation.
        y_train, y_test: (M,) class numbers.
        groups_train: (M,) near-duplicate groups; a group is never split between folds.
        changed: features of the test clouds, in the same order, after the clouds were changed.
        classifier: linear support vector machine or multinomial logistic regression.
        C_values: values of C to choose from; ``C_GRID`` by default. With a single one nothing is chosen, but
            the cross-validation still runs.
        standardize: False gives the classifier the raw features, as the papers do.
        folds: number of folds; every class needs at least that many groups to be in each.
        seed: of the assignment of groups to folds.
        tell: called with what is done, at every step.

    Raises:
        ModuleNotFoundError: scikit-learn is missing.
        ValueError: features and labels of different lengths, non-finite features, one class only, or too few
            clouds for the folds.
    """
    _check(features_train, y_train, "train")
    if len(groups_train) != len(y_train):
        raise ValueError(f"{len(groups_train)} groups for {len(y_train)} training labels; expected one each")
    if len(np.unique(y_train)) < 2:
        raise ValueError("the training part has one class only; a probe needs two")
    if features_test is None or y_test is None:
        tested: dict[str, NDArray[np.floating]] = {}
        y_test = np.empty(0, dtype=np.int64)
    else:
        tested = {"": features_test, **(changed or {})}
        for name, features in tested.items():
            _check(features, y_test, f"test, {name}" if name else "test")
    grid = C_values or C_GRID[classifier]
    tell = tell or (lambda _: None)
    parts = cross_validation_folds(y_train, groups_train, folds, seed)
    from threadpoolctl import threadpool_limits

    def held_out_correct(part: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.bool_]:
        """Which held-out clouds are right, for each C: (C, held out)."""
        fit, held = part
        shift, scale = _scaling(features_train[fit], standardize)
        prepare, train_at = _trainer(classifier, (features_train[fit] - shift) / scale, y_train[fit])
        asked = prepare((features_train[held] - shift) / scale)
        return np.array([train_at(C).predict(asked) == y_train[held] for C in grid])

    scores = np.zeros((folds, len(grid)))
    held_out = np.zeros((len(grid), len(y_train)), dtype=np.bool_)
    choosing = f"{classifier}: {'choosing C' if len(grid) > 1 else 'cross-validation'}, fold"
    tell(f"{choosing} 1 of {folds}")
    with threadpool_limits(1, user_api="blas"):  # each fold has a thread, which is all that libsvm can use
        for fold, right in enumerate(on_threads(held_out_correct, parts)):
            held_out[:, parts[fold][1]] = right
            scores[fold] = 100.0 * right.mean(axis=1)
            tell(f"{choosing} {min(fold + 2, folds)} of {folds}")
    # On ties the smaller C, i.e. the stronger regularisation.
    best = int(scores.mean(axis=0).argmax())
    correct = {}
    if tested:
        tell(f"{classifier}: fitting on all of train")
        shift, scale = _scaling(features_train, standardize)
        prepare, train_at = _trainer(classifier, (features_train - shift) / scale, y_train)
        fitted = train_at(grid[best])
        correct = {
            name: fitted.predict(prepare((features - shift) / scale)) == y_test
            for name, features in tested.items()
        }
    values, counts = np.unique(y_train, return_counts=True)
    judged = y_test if tested else y_train
    return LinearProbe(
        classifier=classifier,
        C=float(grid[best]),
        cv_accuracy=float(scores.mean(axis=0)[best]),
        test_accuracy=float(100.0 * correct[""].mean()) if tested else None,
        majority_accuracy=float(100.0 * np.mean(judged == values[counts.argmax()])),
        num_train=len(y_train),
        num_test=len(y_test),
        num_features=features_train.shape[1],
        num_classes=len(values),
        correct=correct.get("", np.empty(0, dtype=np.bool_)),
        cv_correct=held_out[best],
        changed={name: float(100.0 * right.mean()) for name, right in correct.items() if name},
    )


def _check(features: NDArray[np.floating], labels: NDArray[np.integer], part: str) -> None:
    if features.ndim != 2 or len(features) != len(labels) or not len(labels):
        raise ValueError(
            f"{part}: features {features.shape} and {len(labels)} labels; expected (M, D) and M above 0"
        )
    if not np.isfinite(features).all():
        raise ValueError(f"{part}: the features hold NaN or infinity; the model that made them is broken")


def _scaling(
    features: NDArray[np.floating], standardize: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What to subtract and divide by: mean, and deviation times sqrt(d); without ``standardize`` 0 and 1.
    Constant features become 0."""
    if not standardize:
        return np.zeros(features.shape[1]), np.ones(features.shape[1])
    deviation = features.std(axis=0, dtype=np.float64)
    deviation[deviation < 1e-12] = np.inf
    return features.mean(axis=0, dtype=np.float64), deviation * np.sqrt(features.shape[1])


def cross_validation_folds(
    labels: NDArray[np.integer], groups: NDArray[np.integer], folds: int = 5, seed: int = 0
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to learn from and rows held out, for each fold; groups are never split.

    Raises:
        ModuleNotFoundError: scikit-learn is missing.
        ValueError: too few clouds.
    """
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the linear probe needs scikit-learn: pip install 'pointmae-zoo[eval]'"
        ) from error
    sizes = [len(np.unique(groups[labels == label])) for label in np.unique(labels)]
    parts = []
    if max(sizes) >= folds:
        splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The least populated class")
            parts = list(splitter.split(labels, labels, groups))
    if not parts or any(len(held) == 0 or len(np.unique(labels[fit])) < 2 for fit, held in parts):
        raise ValueError(
            f"train has too few clouds for a {folds}-fold cross-validation: its largest class has "
            f"{max(sizes)} and its smallest {min(sizes)}, near duplicates counted once; expected at least "
            f"{folds} in one class and 2 in another"
        )
    return parts


def _trainer(
    classifier: Literal["svm", "logistic"], features: NDArray[np.float64], labels: NDArray[np.integer]
) -> tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], Callable[[float], Any]]:
    """Two functions: from features (M, D) to what a classifier predicts from, and from a C to the classifier,
    trained with it."""
    if classifier == "logistic":
        from sklearn.linear_model import LogisticRegression

        return lambda other: other, lambda C: LogisticRegression(C=C, max_iter=1000).fit(features, labels)
    from sklearn.svm import SVC

    products = features @ features.T
    return (
        lambda other: other @ features.T,
        lambda C: SVC(kernel="precomputed", C=C).fit(products, labels),
    )
