"""The validation part of labelled clouds, and few of each class."""

import numpy as np
import pytest

from pointmae_zoo.datasets.splits import few_per_class, validation_split


def clouds(seed: int = 0, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Unbalanced classes, groups of one to five clouds, some of them across two classes."""
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.integers(0, count // 2, count))
    labels = np.minimum(rng.geometric(0.35, count // 2) - 1, 5)[groups]
    strays = rng.random(count) < 0.03
    labels[strays] = rng.integers(0, 6, strays.sum())
    return labels, groups


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_a_validation_part_takes_about_its_share_of_each_class_in_whole_groups(
    share: float, seed: int
) -> None:
    labels, groups = clouds(seed)
    train, validation = validation_split(labels, groups, share, seed)
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(len(labels)))
    assert not set(groups[train]) & set(groups[validation])
    assert set(labels[train]) == set(labels)
    for label in np.unique(labels):
        wanted = share * (labels == label).sum()
        assert abs((labels[validation] == label).sum() - wanted) <= max(4, 0.3 * wanted)


def test_the_validation_part_depends_on_the_seed_and_on_nothing_else() -> None:
    labels, groups = clouds()
    first, again, other = (validation_split(labels, groups, 0.2, seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_class_of_one_group_stays_in_training() -> None:
    labels, groups = np.array([0, 0, 0, 1, 1, 2]), np.array([7, 7, 7, 1, 2, 9])
    train, validation = validation_split(labels, groups, 0.5, 0)
    assert labels[validation].tolist() == [1]
    assert set(labels[train]) == {0, 1, 2}


def test_a_group_of_two_classes_does_not_take_the_last_of_either() -> None:
    # Group 5 holds all of class 1 but is a choice for class 0 as well.
    labels, groups = np.array([0, 0, 1]), np.array([4, 5, 5])
    for seed in range(10):
        train, validation = validation_split(labels, groups, 0.4, seed)
        assert set(labels[train]) == {0, 1}
        assert groups[validation].tolist() == [4] or not len(validation)


def test_no_share_and_wrong_ones() -> None:
    labels, groups = clouds()
    train, validation = validation_split(labels, groups, 0, 0)
    assert len(train) == len(labels) and not len(validation)
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="share is"):
            validation_split(labels, groups, share, 0)
    with pytest.raises(ValueError, match="one length"):
        validation_split(labels, groups[1:], 0.1, 0)


@pytest.mark.parametrize("seed", range(5))
def test_few_of_each_class_are_of_different_groups_where_there_are_so_many(seed: int) -> None:
    labels, groups = clouds(seed)
    for shots in (1, 5, 10, 1000):
        rows = few_per_class(labels, groups, shots, seed)
        assert np.array_equal(rows, np.unique(rows))
        for label in np.unique(labels):
            drawn = rows[labels[rows] == label]
            assert len(drawn) == min(shots, (labels == label).sum())
            there = len(np.unique(groups[labels == label]))
            assert len(np.unique(groups[drawn])) == min(shots, there)


def test_fewer_shots_are_part_of_more_and_seeds_differ() -> None:
    labels, groups = clouds()
    few, more = (set(few_per_class(labels, groups, shots, 3).tolist()) for shots in (2, 7))
    assert few < more
    assert few != set(few_per_class(labels, groups, 2, 4).tolist())
    assert not len(few_per_class(labels[:0], groups[:0], 2, 4))


def test_every_cloud_is_drawn_as_often_as_another_of_its_class() -> None:
    labels, groups = np.zeros(6, dtype=int), np.array([0, 0, 0, 1, 2, 3])
    counts = np.bincount(
        np.concatenate([few_per_class(labels, groups, 1, seed) for seed in range(600)]), minlength=6
    )
    assert counts.min() > 60  # 100 of 600 expected


def test_no_shots_are_refused() -> None:
    with pytest.raises(ValueError, match="shots is 0"):
        few_per_class(np.zeros(3, int), np.arange(3), 0, 0)
