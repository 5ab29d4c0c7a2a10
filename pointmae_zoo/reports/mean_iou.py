"""How well predicted parts of a cloud lie where the true ones do: ShapeNetPart's mean overlap."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def predicted_parts(
    scores: NDArray[np.floating], labels: NDArray[np.integer], parts: Sequence[range]
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
        rows, own = labels == label, parts[label]
        found[rows] = own.start + scores[rows][:, :, own.start : own.stop].argmax(axis=2)
    return found


def overlaps(
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    labels: NDArray[np.integer],
    parts: Sequence[range],
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
    total = max((own.stop for own in parts), default=0)
    found = np.full((len(truth), total), np.nan)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        for part in parts[label]:
            there, said = truth[rows] == part, predicted[rows] == part
            both, either = (there & said).sum(axis=1), (there | said).sum(axis=1)
            found[rows, part] = np.where(either > 0, both / np.maximum(either, 1), 1.0)
    return found
