"""Intersection over union of parts against sets of points and numbers by hand."""

import numpy as np
import pytest

from pointmae_zoo.reports.mean_iou import cloud_ious, mean_by_part, part_ious, predicted_parts
from pointmae_zoo.reports.scores import scores

PARTS = (range(0, 2), range(2, 5))


def test_ious_by_hand() -> None:
    truth = np.array([[0, 0, 0, 1], [2, 2, 3, 3], [2, 2, 2, 2], [0, 0, 0, 0]])
    answer = np.array([[0, 0, 1, 1], [2, 3, 3, 3], [2, 2, 2, 2], [1, 1, 1, 1]])
    found = part_ious(truth, answer, np.array([0, 1, 1, 0]), PARTS)
    expected = [
        [2 / 3, 1 / 2, np.nan, np.nan, np.nan],
        [np.nan, np.nan, 1 / 2, 2 / 3, 1.0],  # part 4: neither there nor predicted
        [np.nan, np.nan, 1.0, 1.0, 1.0],
        [0.0, 0.0, np.nan, np.nan, np.nan],
    ]
    np.testing.assert_allclose(found, expected)
    # By instance and by category, as ShapeNetPart's tables do.
    by_cloud = cloud_ious(found)
    mean = scores(by_cloud, np.array([0, 1, 1, 0]), np.arange(4))
    instance = [(2 / 3 + 1 / 2) / 2, (1 / 2 + 2 / 3 + 1) / 3, 1.0, 0.0]
    assert mean.over_clouds.mean == pytest.approx(100 * sum(instance) / 4)
    categories = [(instance[0] + instance[3]) / 2, (instance[1] + instance[2]) / 2]
    assert mean.over_classes.mean == pytest.approx(100 * sum(categories) / 2)


def test_ious_are_those_of_sets_of_points() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(2, size=12)
    truth, answer = (
        np.stack([rng.choice(list(PARTS[label])[: 1 + row % 3], 20) for row, label in enumerate(labels)])
        for _ in range(2)
    )
    found = part_ious(truth, answer, labels, PARTS)
    for row, label in enumerate(labels):
        for part in range(5):
            if part not in PARTS[label]:
                assert np.isnan(found[row, part])
                continue
            there, said = (set(np.flatnonzero(one[row] == part)) for one in (truth, answer))
            expected = len(there & said) / len(there | said) if there | said else 1.0
            assert found[row, part] == pytest.approx(expected)


def test_only_the_parts_of_the_class_compete() -> None:
    scores_of_parts = np.array([[[9.0, 1.0, 5.0, 2.0, 3.0]], [[9.0, 1.0, 2.0, 5.0, 3.0]]])
    assert predicted_parts(scores_of_parts, np.array([1, 1]), PARTS).tolist() == [[2], [3]]
    assert predicted_parts(scores_of_parts, np.array([0, 1]), PARTS).tolist() == [[0], [3]]


def test_mean_of_a_part_is_over_the_clouds_of_its_class_in_each_run_that_has_any() -> None:
    first = np.array([[0.5, np.nan], [1.0, np.nan], [np.nan, 0.25]])
    second = np.array([[np.nan, 0.75]])  # asked about no cloud of the first part's class
    assert mean_by_part([first, second], 0) == [pytest.approx(75.0)]
    assert mean_by_part([first, second], 1) == [pytest.approx(25.0), pytest.approx(75.0)]
