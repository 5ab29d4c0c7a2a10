"""Few-shot classification of frozen features: a linear support vector machine on a handful of clouds.

An episode draws some classes, a few training clouds of each (the support) and test clouds of the same classes
(the queries). Support clouds are from different near-duplicate groups, and no query is from a group of a
support cloud. The classifier sees only the support, by which features are standardised, too. Accuracy is
the mean over an episode's classes, then over the episodes. Episodes depend only on the data and the seed,
so every model gets the same ones.

The papers' protocol has ten episodes, called folds, with 20 queries of each class. Their files of folds don't
come with the public data; ours are drawn by the same seed. `draw_episodes` draws them again, and a report has
their sha256.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.evaluate.frozen_features import PREPARED, Data, Encoders, list_of, lying, read_data
from pointmae_zoo.reports.outputs import check_outputs, report_file
from pointmae_zoo.reports.report import LinearReport, as_text
from pointmae_zoo.shapes.pose import Pose
from pointmae_zoo.shapes.up_axis import DEFAULT_UP
from pointmae_zoo.system.source_state import measured_with

WAYS = (5, 10)
SHOTS = (10, 20)
"""Of the papers' four settings."""

PAPER_EPISODES = 10
"""Folds of each setting in the papers' protocol."""

_STANDARD = f"{PREPARED}, standardised by the support; linear SVM; "
_PAPER = (
    "the papers' few-shot protocol in its variant with a linear SVM on frozen features (no fine-tuning): "
    "{episodes} folds, {queries} queries a class, mean ± standard deviation over the folds; the folds are "
    f"our own, drawn with seed {{seed}}, as the papers' are not in the public data; {PREPARED}, standardised "
    "by the support; C = {C:g}; "
)
_ENDS = {
    "test": "support from train, queries from test",
    "validation": "support and queries from train, of different near duplicates; test was not touched",
}
_ATTEMPTS = 100  # draws of one episode until every class has queries outside of the support's groups


@dataclass(frozen=True)
class FewShotSettings:
    """What episodes are made of.

    Args:
        ways: classes in an episode.
        shots: support clouds of each class, each of another group.
        queries: at most so many clouds of each class are asked; all there are if fewer.
        episodes: how many.
        C: of the support vector machine; fixed, as there is nothing to choose it on. From 10 up it makes no
            difference: so few clouds are separable.
        seed: of the draws.
    """

    ways: int = 5
    shots: int = 10
    queries: int = 20
    episodes: int = 500
    C: float = 10.0
    seed: int = 0


def evaluate_fewshot(
    model: str | Path | Sequence[str | Path],
    data: str | Path,
    *,
    classes: Literal["core", "all"] | None = None,
    split: Literal["test", "validation"] = "test",
    ways: Sequence[int] | None = None,
    shots: Sequence[int] | None = None,
    episodes: int | None = None,
    protocol: Literal["standard", "paper"] = "standard",
    num_points: int | None = None,
    up: str = DEFAULT_UP,
    pose: Pose = "upright",
    pool: str | None = None,
    seeds: int = 3,
    label: str | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    out: str | Path | None = None,
    keep_in: str | Path | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> LinearReport:
    """Few-shot classification of frozen features, beside random weights of the same architecture.

    A linear support vector machine learns from the frozen features, in 500 episodes that are the same for
    every model. The papers have ten episodes, in which they do that or fine-tune the whole network.

    Args:
        model, data, classes, num_points, up, pose, pool, seeds, label, out, keep_in, cache, progress: as for
            `evaluate_linear`.
        split: ``"validation"`` takes the queries from train, too, always of other near duplicates than the
            support.
        ways, shots: classes of an episode and clouds of each; every combination is evaluated. With neither
            given these are 5 and 10 ways, 10 and 20 shots, and the report says which of them the data are too
            few for.
        episodes: of each combination; None: 500.
        protocol: ``"paper"``: ten episodes, each with 20 queries of every class, and the deviation over them
            beside the mean.

    Raises:
        ValueError: the data have too few clouds for ``ways`` or ``shots``, or for the papers' queries;
            ``episodes`` with protocol ``"paper"``; otherwise as for `evaluate_linear`.
        IsADirectoryError, NotADirectoryError, PermissionError: ``out`` can't be written there.
    """
    started = time.perf_counter()
    models = list_of(model)
    check_outputs(out)
    if protocol not in ("standard", "paper"):
        raise ValueError(f"protocol: {protocol!r}, expected 'standard' or 'paper'")
    paper = protocol == "paper"
    if paper and episodes is not None:
        raise ValueError(f"episodes: the papers' protocol has {PAPER_EPISODES}; leave it out")
    usual = FewShotSettings(episodes=PAPER_EPISODES) if paper else FewShotSettings()
    usual = usual if episodes is None else replace(usual, episodes=episodes)
    encoders = Encoders.load(models, seeds, pool, batch_size, device, pose)
    num_points = encoders.points_used(num_points)
    given = read_data(
        data, classes=classes, split=split, num_points=num_points, up=up, cache=cache, progress=progress
    )
    settings = [replace(usual, ways=way, shots=shot) for way in ways or WAYS for shot in shots or SHOTS]
    drawn, left_out = _episodes(given, settings, strict=bool(ways or shots), all_queries=paper)
    text = _PAPER if paper else _STANDARD
    asked = [
        asdict(one) | ({"folds_sha256": episodes_sha256(episodes)} if paper else {})
        for one, episodes in drawn.items()
    ]
    context = {
        "task": "fewshot",
        **encoders.described(label),
        **given.described(),
        "protocol_name": protocol,
        "protocol": text.format(num_points=num_points, lying=lying(pose, up), **asdict(usual)) + _ENDS[split],
        "robustness": {},
        "few_shot": asked,
        "left_out": left_out,
    }
    file = report_file(out, keep_in, context)
    report = LinearReport(clouds={"group": as_text(given.judged.groups)})
    accuracies: dict[tuple[str, FewShotSettings], list[NDArray[np.float64]]] = {}
    for one in encoders.features(given, "few-shot", progress):
        support = Pool(one.train, given.train.labels)
        query = Pool(one.tests[0] if one.tests else one.train, given.judged.labels)
        for setting, of_setting in drawn.items():
            one.tell(f"{setting.ways}-way {setting.shots}-shot")
            found = few_shot(support, query, of_setting, C=setting.C)
            accuracies.setdefault((one.weights, setting), []).append(found)
    for (weights, setting), of_runs in accuracies.items():
        report.add_few_shot(weights, setting.ways, setting.shots, of_runs, each_fold=paper)
    report.context = {**context, **measured_with(started)}
    if file is not None:
        report.save(file)
    return report


def _episodes(
    given: Data, settings: Sequence[FewShotSettings], strict: bool, all_queries: bool = False
) -> tuple[dict[FewShotSettings, list["Episode"]], list[str]]:
    """The episodes of each setting; and a line for each that the data have too few clouds for, or with
    ``strict`` a ValueError. With ``all_queries`` these are also those that lack queries."""
    episodes, left_out = {}, []
    for one in settings:
        try:
            episodes[one] = draw_episodes(
                given.train.labels, given.train.groups, given.judged.labels, given.judged.groups, one
            )
            fewest = min(len(query) for _, query in episodes[one])
            if all_queries and fewest < one.ways * one.queries:
                del episodes[one]
                raise ValueError(
                    f"few-shot: the papers' protocol asks {one.queries} clouds of each class, and a fold has "
                    f"{fewest} to ask of {one.ways} classes; --protocol standard asks what is there"
                )
        except ValueError as error:
            if strict:
                raise ValueError(f"{given.train.name}: {error}") from None
            left_out.append(f"{one.ways}-way {one.shots}-shot: {str(error).removeprefix('few-shot: ')}")
    if not episodes:
        raise ValueError(f"{given.train.name}: {left_out[0]}")
    return episodes, left_out


class Episode(NamedTuple):
    """Row numbers: of the support in the support pool, of the queries in the query pool."""

    support: NDArray[np.int64]
    query: NDArray[np.int64]


def episodes_sha256(episodes: Sequence[Episode]) -> str:
    """Hexadecimal sha256 of the row numbers of all episodes, as little-endian int64: of each the support,
    then the queries."""
    digest = hashlib.sha256()
    for rows in (rows for episode in episodes for rows in episode):
        digest.update(rows.astype("<i8").tobytes())
    return digest.hexdigest()


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
        query_labels, query_groups: (Q,) of the clouds that may be queries. They may be the same clouds: those
            of the support's groups are left out.

    Raises:
        ValueError: too few classes have so many groups.
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
