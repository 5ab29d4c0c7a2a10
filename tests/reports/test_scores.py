"""Means and intervals against brute force and numbers by hand."""

from itertools import product

import numpy as np
import pytest

from pointmae_zoo.reports.scores import confusion, scores


def test_means_over_clouds_and_over_classes_by_hand() -> None:
    # Three clouds of class 4, of which two are right; one of class 7, wrong.
    found = scores(np.array([1, 1, 0, 0]), np.array([4, 4, 4, 7]), np.arange(4))
    assert found.over_clouds.mean == pytest.approx(50.0)
    assert found.over_classes.mean == pytest.approx(100 / 3)
    assert found.over_clouds.low <= 50.0 <= found.over_clouds.high


def test_intervals_are_those_of_every_possible_draw() -> None:
    """Four groups: all 256 draws, one by one, in plain Python."""
    rng = np.random.default_rng(1)
    groups = np.array([5, 5, 2, 2, 2, 8, 9, 9])
    labels = np.array([0, 1, 0, 1, 1, 2, 2, 0])
    values = rng.uniform(size=8)
    over_clouds, over_classes = [], []
    for drawn in product([5, 2, 8, 9], repeat=4):
        rows = [row for group in drawn for row in range(8) if groups[row] == group]
        over_clouds.append(sum(values[row] for row in rows) / len(rows))
        there = {labels[row] for row in rows}
        means = [np.mean([values[row] for row in rows if labels[row] == one]) for one in there]
        over_classes.append(sum(means) / len(means))
    found = scores(values, labels, groups, resamples=40_000)
    for score, all_draws in ((found.over_clouds, over_clouds), (found.over_classes, over_classes)):
        # Between the exact quantiles just inside and just outside: there are steps of 1/256.
        for end, share in ((score.low, 0.025), (score.high, 0.975)):
            low, high = np.quantile(all_draws, [share - 0.006, share + 0.006])
            assert 100 * low - 1e-9 <= end <= 100 * high + 1e-9


def test_interval_of_single_clouds_is_that_of_the_binomial_distribution() -> None:
    stats = pytest.importorskip("scipy.stats")
    right = np.arange(400) < 120
    found = scores(right, np.zeros(400, dtype=int), np.arange(400)).over_clouds
    for end, share in ((found.low, 0.025), (found.high, 0.975)):
        assert end == pytest.approx(100 * stats.binom.ppf(share, 400, 0.3) / 400, abs=0.3)


def test_near_duplicates_widen_the_interval() -> None:
    right, labels = np.repeat(np.arange(50) % 2, 4), np.zeros(200, dtype=int)
    one_by_one = scores(right, labels, np.arange(200)).over_clouds
    in_fours = scores(right, labels, np.arange(200) // 4).over_clouds
    widths = [score.high - score.low for score in (one_by_one, in_fours)]
    assert widths[1] / widths[0] == pytest.approx(2.0, rel=0.1)  # a quarter of the independent clouds


def test_a_draw_of_many_groups_in_pieces_is_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    values, labels, groups = rng.uniform(size=90), rng.integers(4, size=90), np.arange(90)
    whole = scores(values, labels, groups, resamples=500)
    monkeypatch.setattr("pointmae_zoo.reports.scores._CHUNK", 90 * 7)
    assert scores(values, labels, groups, resamples=500) == whole


@pytest.mark.parametrize("values", [[], [0.5, 1.5], [0.5, np.nan]])
def test_what_has_no_score(values: list[float]) -> None:
    with pytest.raises(ValueError, match="scores"):
        scores(np.array(values), np.zeros(len(values), dtype=int), np.arange(len(values)))


def test_confusion_counts_rows_of_truth() -> None:
    truth, answer = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 2, 2])
    assert confusion(truth, answer, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
