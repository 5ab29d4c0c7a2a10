"""Parts of training clouds: one to choose settings with, few of each class. Near duplicates stay together."""

import numpy as np
from numpy.typing import NDArray


def validation_split(
    labels: NDArray[np.integer], groups: NDArray[np.integer], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide training clouds into those to learn from and those to choose settings with.

    Every class gives about ``share`` of its clouds, at least one if it has clouds of two groups or more.
    Groups stay whole, so a class of one group stays in training, and groups larger than a class's share are
    taken only where there are no others. The same clouds, share and seed give the same rows.

    Args:
        labels: (M,) class of each cloud.
        groups: (M,) clouds of one group are near duplicates of each other, also across classes.
        share: of each class's clouds, from 0 (none) to below 1.
        seed: of the choice.

    Returns:
        Rows to train on and rows for validation, each sorted. The second is empty for share 0, and where
        every class has one group only.

    Raises:
        ValueError: a share out of range, or labels and groups of different lengths.
    """
    _check(labels, groups)
    if not 0 <= share < 1:
        raise ValueError(f"share is {share}, expected a number from 0 to below 1")
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels) if share > 0 else ():
        here = labels == label
        wanted = max(1, round(share * int(here.sum())))
        rng = np.random.default_rng([seed, int(label)])
        candidates = rng.permutation(np.unique(groups[here & ~chosen]))
        sizes = np.array([int((here & (groups == group)).sum()) for group in candidates], dtype=np.int64)
        for group, size in zip(candidates, sizes, strict=True):
            if int((chosen & here).sum()) + size <= wanted:
                _take(chosen, labels, groups, group)
        for position in np.argsort(sizes, kind="stable"):
            if (chosen & here).any():
                break
            _take(chosen, labels, groups, candidates[position])
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def few_per_class(
    labels: NDArray[np.integer], groups: NDArray[np.integer], shots: int, seed: int
) -> NDArray[np.int64]:
    """The rows of ``shots`` clouds of each class, drawn by ``seed``, sorted.

    They are of different groups while there are any; a class with fewer clouds gives all it has. Of one seed,
    fewer shots are part of more.

    Raises:
        ValueError: shots below 1, or labels and groups of different lengths.
    """
    _check(labels, groups)
    if shots < 1:
        raise ValueError(f"shots is {shots}, expected 1 or more")
    rows = []
    for label in np.unique(labels):
        rng = np.random.default_rng([seed, int(label)])
        drawn = rng.permutation(np.flatnonzero(labels == label))
        # How many clouds of the same group were drawn before it: first one of each group, then second ones.
        seen: dict[int, int] = {}
        turns = []
        for group in groups[drawn].tolist():
            turns.append(seen.get(group, 0))
            seen[group] = turns[-1] + 1
        rows.append(drawn[np.argsort(turns, kind="stable")[:shots]])
    return np.sort(np.concatenate(rows)) if rows else np.empty(0, dtype=np.int64)


def _take(
    chosen: NDArray[np.bool_], labels: NDArray[np.integer], groups: NDArray[np.integer], group: int
) -> None:
    """Take a whole group, unless a class would have nothing left to learn from."""
    members = groups == group
    left = set(labels[~chosen & ~members].tolist())
    if set(labels[members].tolist()) <= left:
        chosen |= members


def _check(labels: NDArray[np.integer], groups: NDArray[np.integer]) -> None:
    if labels.ndim != 1 or labels.shape != groups.shape:
        raise ValueError(f"labels {labels.shape} and groups {groups.shape}: expected (M,) of one length")
