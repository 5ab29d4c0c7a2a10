"""Few-shot episodes: what is drawn, and how answers are counted."""

import numpy as np
import pytest

from pointmae_zoo.evaluate.fewshot import FewShotSettings, Pool, draw_episodes, few_shot

pytest.importorskip("sklearn")


def _pools(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Eight classes: labels and groups (pairs of near duplicates) of a support and of a query pool."""
    labels, query_labels = np.repeat(np.arange(8), 30), np.repeat(np.arange(8), 12)
    return labels, np.arange(240) // 2, query_labels, 1000 + np.arange(96) // 2


def test_episodes_are_what_was_asked_for() -> None:
    labels, groups, query_labels, query_groups = _pools(np.random.default_rng(0))
    settings = FewShotSettings(ways=5, shots=10, queries=4, episodes=50)
    episodes = draw_episodes(labels, groups, query_labels, query_groups, settings)
    assert len(episodes) == 50
    for support, query in episodes:
        classes, shots = np.unique(labels[support], return_counts=True)
        assert len(classes) == 5 and (shots == 10).all()
        asked, queries = np.unique(query_labels[query], return_counts=True)
        assert (asked == classes).all() and (queries == 4).all()
        assert len(np.unique(groups[support])) == 50 and len(np.unique(query)) == 20
    again = draw_episodes(labels, groups, query_labels, query_groups, settings)
    assert all(
        (a.support == b.support).all() and (a.query == b.query).all()
        for a, b in zip(episodes, again, strict=True)
    )
    # Support and queries from one pool: never a query of a group that the support has seen.
    for support, query in draw_episodes(labels, groups, labels, groups, settings):
        assert not set(groups[support]) & set(groups[query])


def test_separable_features_need_few_shots_and_random_ones_do_not_help() -> None:
    rng = np.random.default_rng(1)
    labels, groups, query_labels, query_groups = _pools(rng)
    settings = FewShotSettings(ways=5, shots=10, episodes=60)
    episodes = draw_episodes(labels, groups, query_labels, query_groups, settings)
    sure = few_shot(
        Pool(np.eye(8)[labels] + 0.05 * rng.normal(size=(240, 8)), labels),
        Pool(np.eye(8)[query_labels] + 0.05 * rng.normal(size=(96, 8)), query_labels),
        episodes,
    )
    assert (sure == 100.0).all()
    blind = few_shot(
        Pool(rng.normal(size=(240, 6)), labels), Pool(rng.normal(size=(96, 6)), query_labels), episodes
    )
    # 60 episodes of 60 queries, but only 96 different clouds: their chance hits deviate by about 4 points.
    assert abs(blind.mean() - 20.0) < 8.0
    constant = few_shot(Pool(np.ones((240, 3)), labels), Pool(np.ones((96, 3)), query_labels), episodes)
    assert (constant == 20.0).all()  # one answer for all: one class right, four wrong


def test_few_shot_counts_classes_equally() -> None:
    labels = np.repeat([0, 1], 4)
    features = np.array([[0.0], [0.1], [0.2], [0.3], [1.0], [1.1], [1.2], [1.3]])
    query_labels = np.array([0, 0, 0, 1])
    settings = FewShotSettings(ways=2, shots=4, episodes=3)
    episodes = draw_episodes(labels, np.arange(8), query_labels, 100 + np.arange(4), settings)
    # Two of the three queries of class 0 look like class 1: (1/3 + 1) / 2.
    accuracy = few_shot(
        Pool(features, labels), Pool(np.array([[0.1], [1.2], [1.2], [1.2]]), query_labels), episodes
    )
    np.testing.assert_allclose(accuracy, 100 * (1 / 3 + 1) / 2)


def test_too_few_clouds_for_episodes() -> None:
    labels = np.repeat(np.arange(5), 10)
    with pytest.raises(ValueError, match="0 classes have 10 training clouds of different groups, 5"):
        draw_episodes(labels, np.arange(50) // 2, labels, 100 + np.arange(50), FewShotSettings())
    with pytest.raises(ValueError, match="no cloud of another group is left to ask"):
        draw_episodes(labels, np.arange(50), labels, np.arange(50), FewShotSettings(episodes=1))
