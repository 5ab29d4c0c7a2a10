"""The linear probe: how well a linear classifier on frozen features does, with nothing chosen on test.

Features are standardised (mean and deviation of the training part, inside every fold too) and divided by
sqrt(d), so that one grid of C serves features of any width. C comes from stratified *group* cross-validation
on train: near duplicates never lie on both sides of a fold. The classifier is then fitted once on all of
train, and test is predicted once.

The support vector machine works on the table of all inner products, computed once for each fold: every C, and
every pair of classes, then reads it. The machine is the same as with the features themselves.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.reports.report import Classifier, LinearProbe

C_GRID = {
    "svm": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    "logistic": (1.0, 10.0, 100.0, 1000.0, 10000.0),
}
"""Values of C that are tried, for each classifier."""


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
        features_train, features_test: (M, D) features; None for test: the cross-validation is all there is.
        y_train, y_test: (M,) class numbers.
        groups_train: (M,) near-duplicate groups; a group is never split between folds.
        changed: features of the test clouds, in the same order, after something was done to the clouds.
        classifier: linear support vector machine or multinomial logistic regression.
        C_values: what to choose from; ``C_GRID`` by default. A single value skips the choice (the
            cross-validation still runs).
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
    """What to subtract and divide by: mean, and deviation times sqrt(d), so that constant features become
    0; or 0 and 1."""
    if not standardize:
        return np.zeros(features.shape[1]), np.ones(features.shape[1])
    deviation = features.std(axis=0, dtype=np.float64)
    deviation[deviation < 1e-12] = np.inf
    return features.mean(axis=0, dtype=np.float64), deviation * np.sqrt(features.shape[1])


def _trainer(
    classifier: Classifier, features: NDArray[np.float64], labels: NDArray[np.integer]
) -> Callable[[float], Callable[[NDArray[np.float64]], NDArray[np.integer]]]:
    """From C to the classifier trained with it, as the function that predicts."""
    if classifier == "svm":
        from sklearn.svm import SVC

        products = features @ features.T

        def support_vectors(C: float) -> Callable[[NDArray[np.float64]], NDArray[np.integer]]:
            machine = SVC(kernel="precomputed", C=C).fit(products, labels)
            return lambda other: machine.predict(other @ features.T)

        return support_vectors
    from sklearn.linear_model import LogisticRegression

    return lambda C: LogisticRegression(C=C, max_iter=1000).fit(features, labels).predict
