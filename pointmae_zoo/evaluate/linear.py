"""The linear probe: how well a linear classifier on frozen features does, with nothing chosen on test.

Features are standardised (mean and deviation of the training part, inside every fold too) and divided by
sqrt(d), so that one grid of C serves features of any width. C comes from stratified *group* cross-validation
on train: near duplicates never lie on both sides of a fold. The classifier is then fitted once on all of
train, and test is predicted once.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Classifier = Literal["svm", "logistic"]

C_GRID = {
    "svm": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    "logistic": (1.0, 10.0, 100.0, 1000.0, 10000.0),
}
"""Values of C that are tried, for each classifier."""


@dataclass(frozen=True)
class LinearProbe:
    """What one probe found. Accuracies are in percent.

    Args:
        classifier: ``"svm"`` (linear kernel) or ``"logistic"``.
        C: the chosen inverse regularisation.
        cv_accuracy: mean over the folds of train, at that C.
        test_accuracy: on test, by the classifier refitted on all of train.
        majority_accuracy: on test, of always answering train's most frequent class.
        num_train, num_test, num_features, num_classes: sizes.
        correct: (num_test,) bool, which test clouds were right; for paired comparisons.
    """

    classifier: Classifier
    C: float
    cv_accuracy: float
    test_accuracy: float
    majority_accuracy: float
    num_train: int
    num_test: int
    num_features: int
    num_classes: int
    correct: NDArray[np.bool_] = field(repr=False)


def linear_probe(
    features_train: NDArray[np.floating],
    y_train: NDArray[np.integer],
    groups_train: NDArray[np.integer],
    features_test: NDArray[np.floating],
    y_test: NDArray[np.integer],
    *,
    classifier: Classifier = "svm",
    C_values: tuple[float, ...] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> LinearProbe:
    """Choose C on train by stratified group cross-validation, refit on train, predict test once.

    Args:
        features_train, features_test: (M, D) features.
        y_train, y_test: (M,) class numbers.
        groups_train: (M,) near-duplicate groups; a group is never split between folds.
        classifier: linear support vector machine or multinomial logistic regression.
        C_values: what to choose from; ``C_GRID`` by default. A single value skips the choice (the
            cross-validation still runs).
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
    _check(features_test, y_test, "test")
    if len(groups_train) != len(y_train):
        raise ValueError(f"{len(groups_train)} groups for {len(y_train)} training labels; expected one each")
    if len(np.unique(y_train)) < 2:
        raise ValueError("the training part has one class only; a probe needs two")
    grid = C_values or C_GRID[classifier]
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    scores = np.zeros((folds, len(grid)))
    for fold, (fit, held) in enumerate(splitter.split(features_train, y_train, groups_train)):
        fit_features, held_features = _standardize(features_train[fit], features_train[held])
        for column, C in enumerate(grid):
            guess = _fit(classifier, C, fit_features, y_train[fit]).predict(held_features)
            scores[fold, column] = 100.0 * np.mean(guess == y_train[held])
    # On ties the smaller C, i.e. the stronger regularisation.
    best = int(scores.mean(axis=0).argmax())
    train_scaled, test_scaled = _standardize(features_train, features_test)
    correct = _fit(classifier, grid[best], train_scaled, y_train).predict(test_scaled) == y_test
    values, counts = np.unique(y_train, return_counts=True)
    return LinearProbe(
        classifier=classifier,
        C=float(grid[best]),
        cv_accuracy=float(scores.mean(axis=0)[best]),
        test_accuracy=float(100.0 * correct.mean()),
        majority_accuracy=float(100.0 * np.mean(y_test == values[counts.argmax()])),
        num_train=len(y_train),
        num_test=len(y_test),
        num_features=features_train.shape[1],
        num_classes=len(values),
        correct=correct,
    )


def paired_difference(
    correct_a: NDArray[np.bool_],
    correct_b: NDArray[np.bool_],
    groups: NDArray[np.integer],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Accuracy of a minus accuracy of b on the same test clouds, with a 95 % interval by bootstrap over
    groups.

    Args:
        correct_a, correct_b: (M,) which clouds each got right; floats (shares of right answers over seeds)
            are fine.
        groups: (M,) near-duplicate groups: whole groups are drawn, as near duplicates are right or wrong
            together.

    Returns:
        difference, lower and upper end, in percentage points.
    """
    difference = correct_a.astype(np.float64) - correct_b.astype(np.float64)
    _, member_of = np.unique(groups, return_inverse=True)
    sums = np.bincount(member_of, weights=difference)
    sizes = np.bincount(member_of)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(sums), size=(resamples, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(100.0 * difference.mean()), float(100.0 * low), float(100.0 * high)


def _check(features: NDArray[np.floating], labels: NDArray[np.integer], part: str) -> None:
    if features.ndim != 2 or len(features) != len(labels) or not len(labels):
        raise ValueError(
            f"{part}: features {features.shape} and {len(labels)} labels; expected (M, D) and M above 0"
        )
    if not np.isfinite(features).all():
        raise ValueError(f"{part}: the features hold NaN or infinity; the model that made them is broken")


def _standardize(
    fit: NDArray[np.floating], other: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both arrays minus ``fit``'s mean, over its deviation and sqrt(d); constant features become 0."""
    mean = fit.mean(axis=0, dtype=np.float64)
    deviation = fit.std(axis=0, dtype=np.float64)
    deviation[deviation < 1e-12] = np.inf
    scale = deviation * np.sqrt(fit.shape[1])
    return (fit - mean) / scale, (other - mean) / scale


def _fit(classifier: Classifier, C: float, features: NDArray[np.float64], labels: NDArray[np.integer]) -> Any:
    if classifier == "svm":
        from sklearn.svm import SVC

        return SVC(kernel="linear", C=C).fit(features, labels)
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C, max_iter=1000).fit(features, labels)
