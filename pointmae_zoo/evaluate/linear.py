"""The linear probe: how well a linear classifier on frozen features does, with nothing chosen on test.

Features are standardised (mean and deviation of the training part, inside every fold too) and divided by
sqrt(d), so that one grid of C serves features of any width. C is chosen by stratified *group* cross-
validation on train: near duplicates never lie on both sides of a fold. The classifier is then fitted once on
all of train, and test is predicted once.

The support vector machine works on the table of all inner products. It is computed once for each fold, and
every C and every pair of classes reads it; the result is that of the features themselves.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.evaluate.frozen_features import PREPARED, Encoders, check_seeds, list_of, read_data
from pointmae_zoo.evaluate.outputs import check_outputs, report_file
from pointmae_zoo.reports.report import Classifier, LinearProbe, LinearReport
from pointmae_zoo.system.source_state import measured_with

C_GRID = {
    "svm": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    "logistic": (1.0, 10.0, 100.0, 1000.0, 10000.0),
}
"""Values of C that are tried, for each classifier."""

PAPER_C = 0.0093
"""The C that I2P-MAE's linear probe of ModelNet40 uses; for ScanObjectNN (OBJ-BG) it is 0.018."""

PROTOCOLS = {
    "standard": (
        f"{PREPARED}, standardised, over sqrt(d); C by 5-fold stratified group cross-validation on train"
    ),
    "paper": (
        "the papers' protocol: first {num_points} points as they are in the file, upright (no rotation, no "
        "voting); raw frozen features; linear SVM with C = {C:g}, fixed beforehand"
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
    num_points: int = 1024,
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
        num_points: use the first so many points of each cloud, whatever number the model was trained on.
        pool: pooling of the features; None: as stored with the weights.
        seeds: random initialisations of each baseline; 0 leaves the baselines out.
        classifiers: which linear classifiers; None: all that the protocol has.
        protocol: ``"paper"``: points and features as they are, C fixed.
        C: of the papers' protocol; ``PAPER_C`` by default.
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
    classifiers = tuple(classifiers or (("svm",) if protocol == "paper" else ("svm", "logistic")))
    _check_settings(classifiers, protocol, C)
    check_seeds(seeds)
    check_outputs(out)
    fixed_C = (PAPER_C if C is None else C) if protocol == "paper" else None
    given = read_data(
        data,
        classes=classes,
        split=split,
        num_points=num_points,
        normalize=protocol == "standard",
        cache=cache,
        progress=progress,
    )
    encoders = Encoders.load(models, seeds, pool, batch_size, device)
    context = {
        "task": "linear",
        **encoders.described(label),
        **given.described(),
        "protocol_name": protocol,
        "protocol": PROTOCOLS[protocol].format(num_points=num_points, C=fixed_C) + ENDS[split],
        "robustness": {},
        "few_shot": [],
    }
    file = report_file(out, keep_in, context, classifiers)
    report = LinearReport()
    probes: dict[tuple[str, str], list[LinearProbe]] = {}
    train, test = given.train, given.test
    for one in encoders.features(given, "probe", progress):
        for classifier in classifiers:
            found = linear_probe(
                one.train,
                train.labels,
                train.groups,
                one.tests[0] if one.tests else None,
                None if test is None else test.labels,
                classifier=classifier,
                C_values=None if fixed_C is None else (fixed_C,),
                standardize=protocol == "standard",
            )
            probes.setdefault((one.weights, classifier), []).append(found)
            report.add_row(one.weights, one.which, found)
    report.add_probes(probes, train.groups, None if test is None else test.groups)
    report.context = {**context, **measured_with(started)}
    if file is not None:
        report.save(file)
    return report


def _check_settings(classifiers: Sequence[str], protocol: str, C: float | None) -> None:
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: {protocol!r}, expected 'standard' or 'paper'")
    if protocol == "paper" and tuple(classifiers) != ("svm",):
        raise ValueError("classifiers: the papers' protocol has only the svm")
    if protocol == "standard" and C is not None:
        raise ValueError("C: chosen by cross-validation; a fixed one belongs to protocol 'paper'")
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
    classifier: Classifier = "svm",
    C_values: tuple[float, ...] | None = None,
    standardize: bool = True,
    folds: int = 5,
    seed: int = 0,
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

    Raises:
        ModuleNotFoundError: scikit-learn is missing.
        ValueError: features and labels of different lengths, non-finite features, one class only.
    """
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the linear probe needs scikit-learn: pip install 'pointmae-zoo[eval]'"
        ) from error
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
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    scores = np.zeros((folds, len(grid)))
    held_out = np.zeros((len(grid), len(y_train)), dtype=np.bool_)
    for fold, (fit, held) in enumerate(splitter.split(features_train, y_train, groups_train)):
        shift, scale = _scaling(features_train[fit], standardize)
        train_at = _trainer(classifier, (features_train[fit] - shift) / scale, y_train[fit])
        held_features = (features_train[held] - shift) / scale
        for column, C in enumerate(grid):
            held_out[column, held] = train_at(C)(held_features) == y_train[held]
            scores[fold, column] = 100.0 * np.mean(held_out[column, held])
    # On ties the smaller C, i.e. the stronger regularisation.
    best = int(scores.mean(axis=0).argmax())
    correct = {}
    if tested:
        shift, scale = _scaling(features_train, standardize)
        predict = _trainer(classifier, (features_train - shift) / scale, y_train)(grid[best])
        correct = {name: predict((features - shift) / scale) == y_test for name, features in tested.items()}
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


def _trainer(
    classifier: Classifier, features: NDArray[np.float64], labels: NDArray[np.integer]
) -> Callable[[float], Callable[[NDArray[np.float64]], NDArray[np.integer]]]:
    """A function that trains the classifier with some C, and returns the function that predicts."""
    if classifier == "svm":
        from sklearn.svm import SVC

        products = features @ features.T

        def support_vectors(C: float) -> Callable[[NDArray[np.float64]], NDArray[np.integer]]:
            machine = SVC(kernel="precomputed", C=C).fit(products, labels)
            return lambda other: machine.predict(other @ features.T)

        return support_vectors
    from sklearn.linear_model import LogisticRegression

    return lambda C: LogisticRegression(C=C, max_iter=1000).fit(features, labels).predict
