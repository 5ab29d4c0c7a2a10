"""Few-shot classification of frozen features: a linear support vector machine on a handful of clouds.

An episode draws some classes, a few training clouds of each (the support) and test clouds of the same classes
(the queries). Support clouds are of different near-duplicate groups, and no query is of a group that the
support has seen. The classifier knows nothing but the support: the features are standardised by it as well.
Accuracy is the mean over the episode's classes, then over the episodes. Episodes depend on the data and the
seed alone, so every model is asked the same questions.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.reports.report import FewShotSettings

_ATTEMPTS = 100  # draws of one episode until every class has queries outside of the support's groups


class Episode(NamedTuple):
    """Row numbers: of the support in the support pool, of the queries in the query pool."""

    support: NDArray[np.int64]
    query: NDArray[np.int64]


class Pool(NamedTuple):
    """(M, D) features and (M,) labels of the clouds that support, or queries, are drawn from."""

    features: NDArray[np.floating]
    labels: NDArray[np.integer]


def draw_episodes(
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    query_labels: NDArray[np.integer],
    query_groups: NDArray[np.integer],
    settings: FewShotSettings,
) -> list[Episode]:
    """Draw all episodes.

    Args:
        labels, groups: (M,) of the clouds that may be support.
        query_labels, query_groups: (Q,) of the clouds that may be asked. The same clouds as the support pool
            are fine: those of the support's groups are left out.

    Raises:
        ValueError: not enough classes with so many groups to draw from.
    """
    enough = [
        label
        for label in np.unique(labels)
        if len(np.unique(groups[labels == label])) >= settings.shots
        and len(np.unique(query_groups[query_labels == label])) > 0
    ]
    if len(enough) < settings.ways:
        raise ValueError(
            f"few-shot: {len(enough)} classes have {settings.shots} training clouds of different groups, "
            f"{settings.ways} are needed; ask for fewer ways or shots"
        )
    members = {
        label: (np.flatnonzero(labels == label), np.flatnonzero(query_labels == label)) for label in enough
    }
    return [
        _draw(np.random.default_rng([settings.seed, number]), enough, members, groups, query_groups, settings)
        for number in range(settings.episodes)
    ]


def _draw(
    rng: np.random.Generator,
    classes: list[int],
    members: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]],
    groups: NDArray[np.integer],
    query_groups: NDArray[np.integer],
    settings: FewShotSettings,
) -> Episode:
    for _ in range(_ATTEMPTS):
        chosen = rng.choice(len(classes), settings.ways, replace=False)
        support, query = [], []
        for number in chosen:
            shuffled = rng.permutation(members[classes[number]][0])
            _, first = np.unique(groups[shuffled], return_index=True)  # one cloud of each group
            support.append(shuffled[rng.permutation(first)[: settings.shots]])
        seen = groups[np.concatenate(support)]
        for number in chosen:
            candidates = members[classes[number]][1]
            candidates = candidates[~np.isin(query_groups[candidates], seen)]
            query.append(rng.permutation(candidates)[: settings.queries])
        if all(len(one) for one in query):
            return Episode(np.concatenate(support), np.concatenate(query))
    raise ValueError(
        f"few-shot: after {settings.shots} shots a class, no cloud of another group is left to ask in "
        f"{settings.ways} classes; ask for fewer ways or shots"
    )


def few_shot(
    support_pool: Pool, query_pool: Pool, episodes: list[Episode], *, C: float = FewShotSettings.C
) -> NDArray[np.float64]:
    """Accuracy of every episode, (episodes,) in percent: the mean over its classes.

    Args:
        support_pool, query_pool: what the episodes' row numbers stand for.
        episodes: of these pools, as ``draw_episodes`` gives them.
        C: of the support vector machine.

    Raises:
        ModuleNotFoundError: scikit-learn is missing.
    """
    from sklearn.svm import SVC

    accuracies = np.zeros(len(episodes))
    for number, (support, query) in enumerate(episodes):
        known = support_pool.features[support].astype(np.float64)
        deviation = known.std(axis=0)
        deviation[deviation < 1e-12] = np.inf
        scale = deviation * np.sqrt(known.shape[1])
        mean = known.mean(axis=0)
        known = (known - mean) / scale
        machine = SVC(kernel="precomputed", C=C).fit(known @ known.T, support_pool.labels[support])
        asked, truth = (query_pool.features[query] - mean) / scale, query_pool.labels[query]
        right = machine.predict(asked @ known.T) == truth
        _, member_of = np.unique(truth, return_inverse=True)
        accuracies[number] = 100.0 * np.mean(np.bincount(member_of, right) / np.bincount(member_of))
    return accuracies
