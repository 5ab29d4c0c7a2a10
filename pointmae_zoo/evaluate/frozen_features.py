"""Frozen features for evaluations: clouds, encoders, and random weights to compare them with.

Random features are strong in 3D, so every number stands beside the same architecture with random weights:
as they are, and with the statistics of its BatchNorms calibrated on the training clouds (nothing is learned).
The baseline to beat is the better of the two, and which one that is differs from network to network.
"""

import copy
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pointmae_zoo.datasets.clouds import normalize_clouds
from pointmae_zoo.datasets.labelled import LabelledClouds, joint_sha256, open_labelled
from pointmae_zoo.models.batch_norm import averaging_statistics
from pointmae_zoo.models.encoder import evaluating
from pointmae_zoo.models.registry import create_model
from pointmae_zoo.ops.precision import dtype_of
from pointmae_zoo.shapes.pose import Pose, check_pose, rotations, second_moments
from pointmae_zoo.shapes.surface import from_points
from pointmae_zoo.shapes.up_axis import DEFAULT_UP
from pointmae_zoo.system.progress import progress_bar

Floats = NDArray[np.float32]
Item = TypeVar("Item")
Result = TypeVar("Result")

PREPARED = (
    "first {num_points} points, centred on the centroid, scaled to the unit sphere, {lying}; frozen features"
)
"""How a report's protocol begins; see `lying`."""

MOST_CALIBRATED = 2048
"""Training clouds that a baseline's BatchNorms are calibrated on, at most."""


@dataclass(frozen=True)
class Data:
    """The clouds of an evaluation.

    Args:
        train, test: as stored; test is None if it is not to be read.
        num_points: points used of each cloud.
        normalize: whether clouds are centred and scaled.
    """

    train: LabelledClouds
    test: LabelledClouds | None
    num_points: int
    normalize: bool = True

    @property
    def judged(self) -> LabelledClouds:
        """The clouds that scores are of: test, or train where test is not read."""
        return self.train if self.test is None else self.test

    def prepared(self, points: Floats) -> Floats:
        """Clouds as the network sees them: (M, N, 3) -> (M, n, 3)."""
        points = points[:, : self.num_points]
        return normalize_clouds(points) if self.normalize else points

    def described(self) -> dict[str, Any]:
        """The data, for a report's context."""
        train, parts = self.train, [part for part in (self.train, self.test) if part is not None]
        values, counts = np.unique(train.labels, return_counts=True)
        most_frequent = values[counts.argmax()]
        classes = list(train.classes)
        return {
            "dataset": {"file": train.name, "sha256": joint_sha256(parts), "classes": classes},
            "class_set": train.class_set,
            "split": "validation" if self.test is None else "test",
            "num_train": len(train),
            "num_test": 0 if self.test is None else len(self.test),
            "num_points": self.num_points,
            "rotation": "none",
            "majority_accuracy": float(100.0 * np.mean(self.judged.labels == most_frequent)),
            "chance_accuracy": 100.0 / len(classes),
        }


def read_data(
    entry: str | Path,
    *,
    classes: Literal["core", "all"] | None,
    split: str,
    num_points: int,
    most_points: int | None = None,
    normalize: bool = True,
    up: str = DEFAULT_UP,
    cache: Path | None,
    progress: bool,
) -> Data:
    """Read the training clouds of an entry of `open_labelled`, and for ``split="test"`` its test clouds.

    Raises:
        ValueError: no such split, or something is wrong with the data; says what.
        FileNotFoundError: no such file or folder.
    """
    if split not in ("test", "validation"):
        raise ValueError(f"split: {split!r}, expected 'test' or 'validation'")
    parts = [
        open_labelled(
            entry,
            which,
            num_points=num_points,
            most_points=num_points if which == "train" else most_points,
            classes=classes,
            up=up,
            cache=cache,
            progress=progress,
        )
        for which in (("train", "test") if split == "test" else ("train",))
    ]
    return Data(parts[0], parts[1] if len(parts) > 1 else None, num_points, normalize)


def lying(pose: Pose, up: str) -> str:
    """How clouds lie in front of a network, for a report's protocol."""
    how = {
        "upright": "upright (no rotation, no voting)",
        "turned": "in 2 or 4 poses about up that stay the same however they are turned about it (mean of the "
        "features)",
        "any": "in 4 to 24 poses along their principal axes that stay the same however they lie (mean of the "
        "features)",
    }
    return how[pose] + ("" if up == DEFAULT_UP else f", {up} up in the data")


class Embedded(NamedTuple):
    """Features of one network.

    Args:
        weights: "weights", "random, BatchNorm calibrated" or "random".
        which: the network's name, or the seed of random weights.
        train: (M, D) features of the training clouds.
        tests: the same of the test clouds; for each way of changing them.
        tell: shows in the progress what is done with these features.
    """

    weights: str
    which: dict[str, Any]
    train: Floats
    tests: list[Floats]
    tell: Callable[[str], None]


@dataclass(frozen=True)
class Encoders:
    """Encoders of one architecture (training seeds of one recipe), and their random baselines.

    Args:
        names: what reports call them.
        encoders: as loaded.
        seeds: random initialisations of each baseline.
        pool: pooling of the features; None: as stored with the weights.
        batch_size: clouds that are embedded at a time.
        device: where they compute.
        pose: the poses that features are averaged over, as of `embed_files`.
    """

    names: list[str]
    encoders: list[Any]
    seeds: int
    pool: str | None = None
    batch_size: int = 64
    device: str = "cpu"
    pose: Pose = "upright"

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        check_pose(self.pose)
        config = self.encoders[0].config
        for name, encoder in zip(self.names, self.encoders, strict=True):
            other = encoder.config
            if (config.architecture, config.arguments) != (other.architecture, other.arguments):
                raise ValueError(
                    f"{name} ({other.architecture}) and {self.names[0]} ({config.architecture}) are of "
                    "different architectures or arguments, so they share no baseline; evaluate each alone"
                )

    @classmethod
    def load(
        cls,
        model: str | Path | Sequence[str | Path],
        seeds: int,
        pool: str | None,
        batch_size: int,
        device: str,
        pose: Pose,
    ) -> Self:
        """Load encoders that are averaged. Raises what `from_pretrained` raises, and a ValueError for an
        empty list."""
        from pointmae_zoo.hub import from_pretrained
        from pointmae_zoo.hub.pretrained import public_name

        models = list_of(model)
        encoders = [from_pretrained(name, kind="encoder", device=device) for name in models]
        names = [public_name(name, encoder) for name, encoder in zip(models, encoders, strict=True)]
        return cls(names, encoders, seeds, pool, batch_size, device, pose)

    def points_used(self, asked: int | None) -> int:
        """Points of each cloud: as many as ``asked`` for; None: as many as in the encoders' training.

        Raises:
            ValueError: None is given, and the encoders were made for different numbers.
        """
        made_for = [encoder.config.preprocess.num_points for encoder in self.encoders]
        if asked is None and len(set(made_for)) > 1:
            told = ", ".join(
                f"{name} for {count:,}" for name, count in zip(self.names, made_for, strict=True)
            )
            raise ValueError(f"made for different numbers of points ({told}); choose one with --points")
        return made_for[0] if asked is None else asked

    def features(
        self,
        data: Data,
        desc: str,
        progress: bool,
        changes: Sequence[Callable[[Floats], Floats]] | None = None,
    ) -> Iterator[Embedded]:
        """Features from each encoder and each baseline, one network after the other, to save memory. A line
        on stderr says so if clouds have more points than an encoder saw in training.

        The progress shows which network is embedding, and what is then done with its features, as far as
        ``Embedded.tell`` is called.

        Args:
            data: its training clouds, up to ``MOST_CALIBRATED``, also calibrate the baselines' BatchNorms.
            desc: what the progress bar is called.
            changes: make the prepared test clouds (L, n, 3) of the stored ones; None: once, as ``data`` does.
        """
        trained_on = self.encoders[0].config.preprocess.num_points
        if data.num_points > trained_on:
            print(
                f"{self.names[0]}: made for {trained_on:,} points a cloud, evaluated with "
                f"{data.num_points:,}; --points {trained_on} evaluates it as it was trained",
                file=sys.stderr,
            )
        how: dict[str, Any] = {"pool": self.pool, "batch_size": self.batch_size, "device": self.device}
        how |= {"pose": self.pose}
        train, test = data.prepared(data.train.points), None if data.test is None else data.test.points
        changes = [data.prepared] if changes is None else changes
        networks = len(self.encoders) + 2 * self.seeds
        clouds = len(train) + (0 if test is None else len(test) * len(changes))
        total = clouds * networks + self.seeds * calibrated_on(len(train))
        with progress_bar(total=total, unit="cloud", desc=desc, disable=not progress) as bar:
            number = 1

            def tell(what: str) -> None:
                bar.set_postfix_str(f"network {number} of {networks}, {what}")
                bar.update(0)

            how["tick"] = bar.update
            for weights, which, encoder in self._networks(train, tell, bar.update):
                tell("embedding")
                own = embed_clouds(encoder, train, **how)
                tests = []
                if test is not None:
                    tests = [embed_clouds(encoder, change(test), **how) for change in changes]
                yield Embedded(weights, which, own, tests, tell)
                number += 1

    def _networks(
        self, train: Floats, tell: Callable[[str], None], tick: Callable[[int], object]
    ) -> Iterator[tuple[str, dict[str, Any], Any]]:
        """The encoders, then for each seed the two baselines."""
        for name, encoder in zip(self.names, self.encoders, strict=True):
            yield "weights", {"model": name}, encoder

        def calibrated_one(seed: int) -> Any:
            return calibrate_batch_norm(networks[seed], train, batch_size=self.batch_size, seed=seed)

        networks = [random_encoder(self.encoders[0].config, seed, self.device) for seed in range(self.seeds)]
        tell("calibrating BatchNorm")
        calibrated = []
        for one in on_threads(calibrated_one, range(self.seeds), self.device):
            calibrated.append(one)
            tick(calibrated_on(len(train)))
        for seed in range(self.seeds):
            yield "random, BatchNorm calibrated", {"seed": seed}, calibrated[seed]
            yield "random", {"seed": seed}, networks[seed]

    def described(self, label: str | None) -> dict[str, Any]:
        """The encoders, for a report's context."""
        from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256

        return {
            "label": label or self.names[0],
            "models": self.names,
            "encoder_sha256": [encoder_sha256(encoder) for encoder in self.encoders],
            "architecture": self.encoders[0].config.architecture,
            "precision": dtype_of(self.encoders[0]),
            "pool": self.pool or self.encoders[0].hyper.pool,
            "pose": self.pose,
            "baseline_seeds": list(range(self.seeds)),
        }


def check_seeds(seeds: int) -> None:
    """Raise a ValueError for a negative number of baselines."""
    if seeds < 0:
        raise ValueError(f"seeds: {seeds}, expected 0 (no baselines) or more")


def list_of(model: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """One model or several, as a list; a ValueError if there is none."""
    models = [model] if isinstance(model, (str, Path)) else list(model)
    if not models:
        raise ValueError("model: an empty list; expected a name or folder of weights")
    return models


def embed_clouds(
    encoder: Any,
    points: Floats,
    *,
    pool: str | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    pose: Pose = "upright",
    tick: Callable[[int], object] | None = None,
) -> Floats:
    """(M, N, 3) prepared clouds -> (M, D) features, the mean over the clouds' poses. ``tick`` is called with
    the size of each finished batch."""

    def embed(start: int) -> Floats:
        clouds = points[start : start + batch_size]
        of, seen = _in_poses(clouds, pose, encoder.config.preprocess.up)
        rows = []
        for first in range(0, len(seen), batch_size):
            batch = torch.from_numpy(seen[first : first + batch_size]).to(device)
            rows.append(encoder.embed(batch, pool=pool).cpu().numpy())
        sums = np.zeros((len(clouds), rows[0].shape[1]))
        np.add.at(sums, of, np.concatenate(rows))
        features: Floats = (sums / np.bincount(of)[:, None]).astype(np.float32)
        return features

    rows = []
    with evaluating(encoder):  # not by each thread for itself
        for found in on_threads(embed, range(0, len(points), batch_size), device):
            rows.append(found)
            if tick is not None:
                tick(len(found))
    return np.concatenate(rows)


def _in_poses(clouds: Floats, pose: Pose, up: str) -> tuple[NDArray[np.int64], Floats]:
    """Clouds (M, N, 3) in each of their poses, (V, N, 3), and the number of the cloud of each, (V,)."""
    if pose == "upright":
        return np.arange(len(clouds)), clouds
    turns = [rotations(second_moments(from_points(cloud)), pose, up) for cloud in clouds]
    of = np.repeat(np.arange(len(clouds)), [len(one) for one in turns])
    return of, clouds[of] @ np.concatenate(turns).astype(np.float32).transpose(0, 2, 1)


def on_threads(
    function: Callable[[Item], Result], items: Iterable[Item], device: str = "cpu"
) -> Iterator[Result]:
    """Results in the order of the items. On a CPU each of torch's threads takes whole items: threads that
    share an operator wait for each other at its end, very long where another program keeps a core busy."""
    count = torch.get_num_threads()
    if count == 1 or torch.device(device).type != "cpu":
        yield from map(function, items)
        return
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            yield from threads.map(function, items)
    finally:
        torch.set_num_threads(count)  # of threads that begin later


def random_encoder(config: Any, seed: int, device: str = "cpu") -> Any:
    """The network that ``config`` describes, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create_model(config.architecture, kind="encoder", **config.arguments).to(device).eval()


def calibrated_on(clouds: int) -> int:
    """How many of so many training clouds BatchNorms are calibrated on."""
    return min(clouds, MOST_CALIBRATED)


def calibrate_batch_norm(
    model: nn.Module,
    points: Floats,
    *,
    batch_size: int = 64,
    seed: int = 0,
) -> nn.Module:
    """A copy of the model whose BatchNorm statistics are the average over ``points`` (M, N, 3), or over
    ``MOST_CALIBRATED`` of them, drawn by ``seed``. Nothing else changes. See `averaging_statistics`."""
    calibrated: Any = copy.deepcopy(model).eval()
    device = next(calibrated.parameters()).device
    order = np.random.default_rng(seed).permutation(len(points))[:MOST_CALIBRATED]
    with averaging_statistics(calibrated):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            # A short last batch is left out: it would weigh as much as a full one.
            if len(chosen) == batch_size or start == 0:
                calibrated.forward_features(torch.from_numpy(points[chosen]).to(device))
    return calibrated
