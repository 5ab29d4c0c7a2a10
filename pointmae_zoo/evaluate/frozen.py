"""What evaluations of frozen features share: data, networks, and the honest baselines beside them.

Random features are strong in 3D, so every number stands beside the same architecture with random weights:
native, and with the statistics of its BatchNorms calibrated on the training clouds (no learning at all). The
floor that counts is the better of the two, and which one that is differs from network to network.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.clouds import normalize_clouds
from pointmae_zoo.datasets.labelled import LabelledClouds, joint_sha256, open_labelled
from pointmae_zoo.evaluate.features import calibrate_batch_norm, embed_clouds, random_encoder
from pointmae_zoo.ops.precision import dtype_of

Floats = NDArray[np.float32]

PREPARED = (
    "first {num_points} points, centred on the centroid, scaled to the unit sphere, upright (no rotation, no "
    "voting); frozen features"
)


@dataclass(frozen=True)
class Data:
    """What frozen features may be tried on.

    Args:
        train, test: as stored; test is None where it stays untouched.
        num_points: of each cloud that are used.
        normalize: whether they are centred and scaled.
    """

    train: LabelledClouds
    test: LabelledClouds | None
    num_points: int
    normalize: bool = True

    @property
    def asked(self) -> LabelledClouds:
        """Test, or train where test is untouched."""
        return self.train if self.test is None else self.test

    def prepared(self, points: Floats) -> Floats:
        """As the network sees them: (M, N, 3) -> (M, n, 3)."""
        points = points[:, : self.num_points]
        return normalize_clouds(points) if self.normalize else points

    def described(self) -> dict[str, Any]:
        """For a report's context."""
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
            "majority_accuracy": float(100.0 * np.mean(self.asked.labels == most_frequent)),
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
    cache: Path | None,
    progress: bool,
) -> Data:
    """Train and, for ``split="test"``, test clouds of an entry of `open_labelled`.

    Raises:
        ValueError: no such split, or something is wrong with the data; names what.
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
            cache=cache,
            progress=progress,
        )
        for which in (("train", "test") if split == "test" else ("train",))
    ]
    return Data(parts[0], parts[1] if len(parts) > 1 else None, num_points, normalize)


class Candidate(NamedTuple):
    """A network to be measured: ``features`` is "weights", "random, BatchNorm calibrated" or "random";
    ``which`` its name or seed."""

    features: str
    which: dict[str, Any]
    encoder: Any


@dataclass(frozen=True)
class Encoders:
    """Encoders of one architecture (training seeds of one recipe), and their random baselines.

    Args:
        names: what reports call them.
        encoders: as loaded.
        seeds: random initialisations of each baseline.
        device: where they compute.
    """

    names: list[str]
    encoders: list[Any]
    seeds: int
    device: str

    @property
    def number(self) -> int:
        """Of candidates."""
        return len(self.encoders) + 2 * self.seeds

    def candidates(self, train: Floats, batch_size: int) -> Iterator[Candidate]:
        """One after the other, so that only one is in memory; ``train``: (M, n, 3) to calibrate on."""
        config = self.encoders[0].config
        for name, encoder in zip(self.names, self.encoders, strict=True):
            yield Candidate("weights", {"model": name}, encoder)
        for seed in range(self.seeds):
            random = random_encoder(config, seed, self.device)
            calibrated = calibrate_batch_norm(random, train, batch_size=batch_size, seed=seed)
            yield Candidate("random, BatchNorm calibrated", {"seed": seed}, calibrated)
            yield Candidate("random", {"seed": seed}, random)

    def described(self, label: str | None, pool: str | None) -> dict[str, Any]:
        """For a report's context."""
        from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256

        return {
            "label": label or self.names[0],
            "models": self.names,
            "encoder_sha256": [encoder_sha256(encoder) for encoder in self.encoders],
            "architecture": self.encoders[0].config.architecture,
            "precision": dtype_of(self.encoders[0]),
            "pool": pool or self.encoders[0].hyper.pool,
            "baseline_seeds": list(range(self.seeds)),
        }


def embedded(
    encoder: Any,
    points: Floats,
    bar: Any,
    *,
    pool: str | None = None,
    batch_size: int = 64,
    device: str = "cpu",
) -> Floats:
    """What `embed_clouds` gives, batch by batch, each of which a bar of clouds is told of."""
    rows = []
    for start in range(0, len(points), batch_size):
        batch = points[start : start + batch_size]
        rows.append(embed_clouds(encoder, batch, pool=pool, batch_size=batch_size, device=device))
        bar.update(len(batch))
    return np.concatenate(rows)


def load_encoders(model: str | Path | Sequence[str | Path], seeds: int, device: str) -> Encoders:
    """Load what is averaged.

    Raises:
        ValueError: none at all, negative ``seeds``, or models of different architectures.
    """
    from pointmae_zoo.hub import from_pretrained
    from pointmae_zoo.hub.pretrained import public_name

    models = list_of(model)
    encoders = [from_pretrained(name, kind="encoder", device=device) for name in models]
    names = [public_name(name, encoder) for name, encoder in zip(models, encoders, strict=True)]
    return encoders_of(names, encoders, seeds, device)


def encoders_of(names: list[str], encoders: list[Any], seeds: int, device: str) -> Encoders:
    """What is averaged, loaded already.

    Raises:
        ValueError: negative ``seeds``, or models of different architectures.
    """
    if seeds < 0:
        raise ValueError(f"seeds: {seeds}, expected 0 (no baselines) or more")
    config = encoders[0].config
    for name, other in zip(names, encoders, strict=True):
        if (config.architecture, config.arguments) != (other.config.architecture, other.config.arguments):
            raise ValueError(
                f"{name} ({other.config.architecture}) and {names[0]} ({config.architecture}) are of "
                "different architectures or arguments, so they share no baseline; evaluate them one by one"
            )
    return Encoders(names, encoders, seeds, device)


def list_of(model: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """Raises a ValueError for an empty list."""
    models = [model] if isinstance(model, (str, Path)) else list(model)
    if not models:
        raise ValueError("model: an empty list; expected a name or folder of weights")
    return models
