"""Means over clouds and over classes, with intervals that say how much the choice of the test clouds matters.

What is averaged may be right answers (accuracy and class mean), or the IoU of parts (mIoU by instance and by
category, see `reports.mean_iou`).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1_000_000  # group counts drawn at a time


class Score(NamedTuple):
    """In percent, with a 95 % interval by bootstrap over groups of near duplicates."""

    mean: float
    low: float
    high: float


class Scores(NamedTuple):
    """Of the same clouds.

    Args:
        over_clouds: every cloud counts the same.
        over_classes: every class counts the same; classes without clouds are left out.
    """

    over_clouds: Score
    over_classes: Score


def scores(
    values: NDArray[np.floating] | NDArray[np.bool_],
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Scores:
    """Mean over clouds and mean over classes of something that is measured on every cloud.

    Args:
        values: (M,) between 0 and 1: right or not, a share of right answers over runs, an overlap.
        labels: (M,) true class numbers.
        groups: (M,) near-duplicate groups. Whole groups are drawn, as their clouds are right or wrong
            together. In a draw that misses a class, the mean is over the others.
        resamples: draws of the bootstrap.
        seed: of them.

    Raises:
        ValueError: no clouds, arrays of different lengths, or a value that is not between 0 and 1.
    """
    values = values.astype(np.float64)
    if not len(values) or labels.shape != values.shape or groups.shape != values.shape:
        raise ValueError(
            f"scores of {values.shape} values, {labels.shape} labels and {groups.shape} groups; "
            "expected as many of each, at least one"
        )
    if not ((values >= 0) & (values <= 1)).all():  # NaN, too
        raise ValueError("scores: values between 0 and 1 expected")
    _, class_of = np.unique(labels, return_inverse=True)
    _, group_of = np.unique(groups, return_inverse=True)
    shape = group_of.max() + 1, class_of.max() + 1
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (group_of, class_of), values)
    np.add.at(counts, (group_of, class_of), 1.0)
    drawn = [_means(times @ sums, times @ counts) for times in _draws(shape[0], resamples, seed)]
    found = _means(sums.sum(0, keepdims=True), counts.sum(0, keepdims=True))
    return Scores(
        *(
            Score(float(mean[0]), *map(float, np.percentile(np.concatenate(means), [2.5, 97.5])))
            for mean, means in zip(found, zip(*drawn, strict=True), strict=True)
        )
    )


def paired_difference(
    correct_a: NDArray[np.bool_] | NDArray[np.floating],
    correct_b: NDArray[np.bool_] | NDArray[np.floating],
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


def _draws(number: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """(R, G) how often each of the groups was drawn, some resamples at a time."""
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // number)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = rng.integers(0, number, size=(rows, number)) + number * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * number)
        yield counts.reshape(rows, number).astype(np.float64)


def _means(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """(R, C) sums and counts by class -> percent over clouds and over classes, (R,) each."""
    seen = counts > 0
    by_class = sums / np.where(seen, counts, 1.0)
    return 100.0 * sums.sum(1) / counts.sum(1), 100.0 * by_class.sum(1) / seen.sum(1)


def confusion(truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """(C, C): how many clouds of the class of the row were taken for the class of the column."""
    counts = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)
