"""``evaluate_fewshot``: a linear classifier on a handful of labelled clouds, episode after episode."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.evaluate.fewshot import Episode, Pool, draw_episodes, few_shot
from pointmae_zoo.evaluate.frozen import PREPARED, Data, embedded, list_of, load_encoders, read_data
from pointmae_zoo.reports.report import FewShotSettings, LinearReport, as_text, file_name
from pointmae_zoo.reports.schema import check_replaceable
from pointmae_zoo.system.files import check_out
from pointmae_zoo.system.progress import progress_bar
from pointmae_zoo.system.source_state import measured_with

WAYS = (5, 10)
SHOTS = (10, 20)
"""Of the papers' four settings."""

_ENDS = {
    "test": "support from train, queries from test",
    "validation": "support and queries from train, of different near duplicates; test was not touched",
}


def evaluate_fewshot(
    model: str | Path | Sequence[str | Path],
    data: str | Path,
    *,
    classes: Literal["core", "all"] | None = None,
    split: Literal["test", "validation"] = "test",
    ways: Sequence[int] | None = None,
    shots: Sequence[int] | None = None,
    episodes: int = FewShotSettings.episodes,
    num_points: int = 1024,
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

    The papers fine-tune the whole network in every one of ten episodes; here a linear support vector machine
    learns from the frozen features, and there are 500 episodes, the same for every model.

    Args:
        model, data, classes, split, num_points, pool, seeds, label, out, keep_in, cache, progress: as for
            `evaluate_linear`.
        ways, shots: classes of an episode and clouds of each, every combination; with neither given 5 and 10
            ways, 10 and 20 shots, as far as the data have classes with so many clouds. What they can't give
            is said in the report.
        episodes: of each.

    Raises:
        ValueError: the data have too few clouds for what is asked; otherwise as for `evaluate_linear`.
        FileNotFoundError, IsADirectoryError: ``out`` cannot be written there.
    """
    started = time.perf_counter()
    models = list_of(model)
    check_out(out, (".json",))
    given = read_data(
        data, classes=classes, split=split, num_points=num_points, cache=cache, progress=progress
    )
    settings = [
        FewShotSettings(ways=way, shots=shot, episodes=episodes)
        for way in ways or WAYS
        for shot in shots or SHOTS
    ]
    drawn, left_out = _episodes(given, settings, strict=bool(ways or shots))
    encoders = load_encoders(models, seeds, device)
    context = {
        "task": "fewshot",
        **encoders.described(label, pool),
        **given.described(),
        "protocol_name": "standard",
        "protocol": f"{PREPARED}, standardised by the support; linear SVM; {_ENDS[split]}".format(
            num_points=num_points
        ),
        "robustness": {},
        "few_shot": [asdict(one) for one in drawn],
        "left_out": left_out,
    }
    if keep_in is not None:
        out = Path(keep_in) / file_name(context)
        check_replaceable(out, context)
    report = LinearReport(clouds={"group": as_text(given.asked.groups)})
    found: dict[tuple[str, FewShotSettings], list[NDArray[np.float64]]] = {}
    points, asked = given.prepared(given.train.points), given.prepared(given.asked.points)
    how: dict[str, Any] = {"pool": pool, "batch_size": batch_size, "device": device}
    total = encoders.number * (len(points) + (0 if given.test is None else len(asked)))
    with progress_bar(total=total, unit="cloud", desc="few-shot", disable=not progress) as bar:
        for kind, _, encoder in encoders.candidates(points, batch_size):
            support = Pool(embedded(encoder, points, bar, **how), given.train.labels)
            query = support
            if given.test is not None:
                query = Pool(embedded(encoder, asked, bar, **how), given.test.labels)
            for one, of_setting in drawn.items():
                found.setdefault((kind, one), []).append(few_shot(support, query, of_setting, C=one.C))
    for (kind, one), of_runs in found.items():
        report.add_few_shot(kind, one, of_runs)
    report.context = {**context, **measured_with(started)}
    if out is not None:
        report.save(Path(out))
    return report


def _episodes(
    given: Data, settings: Sequence[FewShotSettings], strict: bool
) -> tuple[dict[FewShotSettings, list[Episode]], list[str]]:
    """Of each setting; and of those that the data can't give, why, unless ``strict``."""
    episodes, left_out = {}, []
    for one in settings:
        try:
            episodes[one] = draw_episodes(
                given.train.labels, given.train.groups, given.asked.labels, given.asked.groups, one
            )
        except ValueError as error:
            if strict:
                raise ValueError(f"{given.train.name}: {error}") from None
            left_out.append(f"{one.ways}-way {one.shots}-shot: {str(error).removeprefix('few-shot: ')}")
    if not episodes:
        raise ValueError(f"{given.train.name}: {left_out[0]}")
    return episodes, left_out
