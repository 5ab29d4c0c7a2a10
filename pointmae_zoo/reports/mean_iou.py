"""The measure of part segmentation: mean intersection over union (mIoU), as on ShapeNetPart.

A cloud's IoU is the mean over the parts of its class. Its mean over clouds is called mIoU by instance, the
mean over classes mIoU by category (`reports.scores.scores` gives both).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def predicted_parts(
    scores: NDArray[np.floating], labels: NDArray[np.integer], parts: Sequence[Sequence[int]]
) -> NDArray[np.int64]:
    """The part of every point with the highest score among the parts of the cloud's class.

    Args:
        scores: (M, N, P) of all parts.
        labels: (M,) class of each cloud.
        parts: for each class its part numbers.

    Returns:
        (M, N) part numbers.
    """
    found = np.empty(scores.shape[:2], dtype=np.int64)
    for label in np.unique(labels):
        rows, own = labels == label, np.asarray(parts[label])
        found[rows] = own[scores[rows][:, :, own].argmax(axis=2)]
    return found


def part_ious(
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    labels: NDArray[np.integer],
    parts: Sequence[Sequence[int]],
) -> NDArray[np.float64]:
    """Intersection over union of every part of each cloud's class.

    Args:
        truth, predicted: (M, N) part numbers.
        labels: (M,) class of each cloud.
        parts: for each class its part numbers.

    Returns:
        (M, P) between 0 and 1; 1 where a part of the class is neither there nor predicted, NaN for the parts
        of other classes.
    """
    total = 1 + max((part for own in parts for part in own), default=-1)
    found = np.full((len(truth), total), np.nan)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        for part in parts[label]:
            there, said = truth[rows] == part, predicted[rows] == part
            both, either = (there & said).sum(axis=1), (there | said).sum(axis=1)
            found[rows, part] = np.where(either > 0, both / np.maximum(either, 1), 1.0)
    return found


def cloud_ious(ious: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the parts of each cloud's class: what `part_ious` gives, (M, P) -> (M,)."""
    return np.nanmean(ious, axis=1)


def mean_by_part(runs: Sequence[NDArray[np.float64]], part: int) -> list[float]:
    """The mean of a part over the clouds of its class, in percent, of each run that was asked about any.

    Args:
        runs: what `part_ious` gives, (M, P) of each run.
        part: its number.
    """
    return [100.0 * float(np.nanmean(ious[:, part])) for ious in runs if np.isfinite(ious[:, part]).any()]
