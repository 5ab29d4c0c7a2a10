"""Splits of labelled clouds: parts held out of training, and a few of each class. Near duplicates stay
together."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

TEST_SHARE = 0.2
"""Of each class, where a folder of your own does not say what is for testing."""


def test_split(
    labels: NDArray[np.integer], groups: NDArray[np.integer], names: Sequence[bytes]
) -> NDArray[np.bool_]:
    """Which clouds (M,) are for testing: about `TEST_SHARE` of every class, those whose names have the lowest
    hashes. So files that are added later leave the others where they are, nearly always.

    Args:
        labels, groups: (M,) as for `validation_split`.
        names: of the files, below their folder.
    """
    lowest: dict[int, int] = {}
    for name, group in zip(names, groups.tolist(), strict=True):
        place = int(hashlib.sha256(name).hexdigest()[:13], 16)
        lowest[group] = min(place, lowest.get(group, place))
    return hold_out(
        labels, groups, TEST_SHARE, lambda _, found: sorted(found.tolist(), key=lowest.__getitem__)
    )


def validation_split(
    labels: NDArray[np.integer], groups: NDArray[np.integer], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide training clouds into those to train on and those for validation.

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

    def shuffled(label: int, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.random.default_rng([seed, label]).permutation(candidates)

    held_out = hold_out(labels, groups, share, shuffled)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def hold_out(
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    share: float,
    order: Callable[[int, NDArray[np.int64]], Iterable[int]],
) -> NDArray[np.bool_]:
    """Which clouds (M,) are not trained on: whole groups, about ``share`` of every class.

    See `validation_split` for classes of few or large groups.

    Args:
        order: given a class and the groups (G,) that it could give, these groups, the first to be taken in
            front.

    Raises:
        ValueError: a share out of range, or labels and groups of different lengths.
    """
    _check(labels, groups)
    if not 0 <= share < 1:
        raise ValueError(f"share is {share}, expected a number from 0 to below 1")
    members: dict[int, Counter[int]] = {}  # of each group: how many clouds of each class
    for label, group in zip(labels.tolist(), groups.tolist(), strict=True):
        members.setdefault(group, Counter())[label] += 1
    remaining = Counter(labels.tolist())
    taken: set[int] = set()

    def take(group: int) -> None:
        """Unless a class would have nothing left to learn from."""
        if all(remaining[label] > count for label, count in members[group].items()):
            taken.add(group)
            remaining.subtract(members[group])

    for label, count in sorted(Counter(labels.tolist()).items()) if share > 0 else ():
        wanted = max(1, round(share * count))
        here = sorted(group for group, found in members.items() if label in found and group not in taken)
        candidates = [int(group) for group in order(label, np.array(here, dtype=np.int64))]
        for group in candidates:
            if count - remaining[label] + members[group][label] <= wanted:
                take(group)
        for group in sorted(candidates, key=lambda one: members[one][label]):  # all larger than the share
            if remaining[label] < count:
                break
            take(group)
    return np.isin(groups, list(taken))


def few_per_class(
    labels: NDArray[np.integer], groups: NDArray[np.integer], shots: int, seed: int
) -> NDArray[np.int64]:
    """The rows of ``shots`` clouds of each class, drawn by ``seed``, sorted.

    They are of different groups as far as possible; a class with fewer clouds gives all it has. With one
    seed, the clouds of fewer shots are among those of more.

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


def _check(labels: NDArray[np.integer], groups: NDArray[np.integer]) -> None:
    if labels.ndim != 1 or labels.shape != groups.shape:
        raise ValueError(f"labels {labels.shape} and groups {groups.shape}: expected (M,) of one length")
