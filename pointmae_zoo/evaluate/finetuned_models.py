"""Fine-tuned models: loading those that are evaluated together, and their predictions, plain or by votes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pointmae_zoo.datasets.augmentation import Augmentation, FixedView, augment, subsample
from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256, model_sha256
from pointmae_zoo.models.encoder import evaluating
from pointmae_zoo.ops.precision import dtype_of
from pointmae_zoo.shapes.up_axis import DEFAULT_UP
from pointmae_zoo.system.checked_fields import from_values

Floats = NDArray[np.float32]

VOTE_SEED = 0
_AT_ONCE = 64  # clouds that are augmented at a time
_KINDS = {"classification": "a classifier", "part_segmentation": "a part segmenter"}
_INSTEAD = {
    "classification": "evaluate finetuned",
    "part_segmentation": "evaluate parts",
    "encoder": "evaluate linear",
    "pretraining": "evaluate linear",
}
# The recipes of runs that are averaged differ in the seed, and in what changes no number: when things are
# written.
MAY_DIFFER = (
    "seed",
    "checkpoint_steps",
    "checkpoint_minutes",
    "keep_checkpoints",
    "log_steps",
    "log_gradient_norms",
)
# The fields of a recipe that reports name. Weights and data are left out: they may be paths on somebody's
# disk.
_TOLD = ("model", "shots", "classes", "trained_part", "layer_decay", "steps", "epochs", "precision")


@dataclass(frozen=True)
class Run:
    """A fine-tuned network, the names of its outputs, and what is known of its training.

    Args:
        name: what reports call it.
        network: ``forward(points)`` -> (B, classes) logits; a segmenter's ``forward(points, object_class)``
            -> (B, N, parts).
        labels: names of the outputs.
        num_points: points of a cloud in training.
        normalized: whether training clouds were centred and scaled to the unit sphere; evaluation does the
            same.
        up: the axis that pointed up in training.
        architecture: name of the network.
        provenance: how it was trained, as in ``config.json``: ``recipe`` (``seed``, ``shots``,
            ``augmentation`` ...) and ``initialised_from`` are read.
    """

    name: str
    network: nn.Module
    labels: tuple[str, ...]
    num_points: int = 1024
    normalized: bool = True
    up: str = DEFAULT_UP
    architecture: str = "other"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe of its training; empty if unknown."""
        found = self.provenance.get("recipe")
        return found if isinstance(found, Mapping) else {}

    @property
    def seed(self) -> int | None:
        """The seed of its training; None if unknown."""
        return self.recipe.get("seed")

    @property
    def num_train(self) -> int | None:
        """How many clouds it was trained on; None if unknown."""
        found = self.provenance.get("clouds_from_data")
        return found if isinstance(found, int) else None

    @property
    def class_counts(self) -> Mapping[str, int] | None:
        """How many clouds of each class it was trained on; None if unknown."""
        found = self.provenance.get("class_counts")
        return found if isinstance(found, Mapping) and set(found) == set(self.labels) else None

    @property
    def augmentation(self) -> Augmentation:
        """The augmentation of its training; the default one if unknown."""
        found = self.recipe.get("augmentation")
        return from_values(Augmentation, dict(found)) if isinstance(found, Mapping) else Augmentation()

    def view(self, num_points: int, *, farthest: bool = False) -> FixedView:
        """The points of a cloud that it gets: the farthest ones if asked for, or if it was trained on no
        others."""
        return FixedView(num_points, farthest or self.augmentation.fps_share == 1.0, self.normalized)

    @property
    def cloud_points(self) -> int:
        """From how many points of a cloud, at most, training took the farthest ones."""
        found = self.recipe.get("cloud_points")
        return found if isinstance(found, int) else self.num_points

    def order(self, names: Sequence[str]) -> list[int]:
        """For each name the number of the output that it belongs to."""
        return [self.labels.index(name) for name in names]

    def described(self) -> dict[str, Any]:
        """The run, for a report's context."""
        base = self.provenance.get("initialised_from")
        told = {"model": self.name, "seed": self.recipe.get("seed"), "shots": self.recipe.get("shots")}
        told["trained_part"] = self.recipe.get("trained_part")
        told["initialised_from"] = base.get("name") if isinstance(base, Mapping) else None
        return told


def load_runs(
    models: str | Path | Run | Sequence[str | Path | Run],
    kind: Literal["classification", "part_segmentation"],
    device: str,
) -> list[Run]:
    """Load runs that are evaluated together: the seeds of one recipe.

    Args:
        models: run folders, names of weights, repositories of the Hub, or runs.
        kind: the kind of model that they must be.

    Raises:
        ValueError: no model, one of another kind or without labels, one given twice, or runs of different
            recipes; says which, and what differs.
    """
    given = [models] if isinstance(models, (str, Path, Run)) else list(models)
    if not given:
        raise ValueError("runs: an empty list; expected a run folder or a name of weights")
    runs = [one if isinstance(one, Run) else _load(one, kind, device) for one in given]
    first = runs[0]
    for run in runs:
        run.network.to(device)
        if set(run.labels) != set(first.labels):
            raise ValueError(f"{run.name} has other labels than {first.name}; give runs of the same classes")
        if (run.architecture, run.num_points) != (first.architecture, first.num_points):
            raise ValueError(
                f"{run.name} ({run.architecture}, {run.num_points} points) and {first.name} "
                f"({first.architecture}, {first.num_points} points) are not seeds of one recipe; "
                "evaluate them one by one"
            )
        if difference := _difference(run.recipe, first.recipe):
            name, one, other = difference
            raise ValueError(
                f"{run.name} and {first.name} are not seeds of one recipe: {name} is {one!r} and "
                f"{other!r}; evaluate them one by one"
            )
    known: dict[str, Run] = {}
    for run in runs:
        other_run = known.setdefault(model_sha256(run.network), run)
        if other_run is not run:
            raise ValueError(f"{run.name}: the same weights as {other_run.name}; give every run once")
    return runs


def _difference(recipe: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """The first field in which two seeds of a recipe must agree but do not, such as ``augmentation.scale``,
    and both its values (None: it is missing)."""
    for name in dict.fromkeys((*recipe, *other)):
        if name in MAY_DIFFER:
            continue
        one, two = recipe.get(name), other.get(name)
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            if found := _difference(one, two):
                return (f"{name}.{found[0]}", *found[1:])
        elif one != two:
            return name, one, two
    return None


def described(runs: Sequence[Run]) -> dict[str, Any]:
    """The runs, for a report's context."""
    encoders = [getattr(run.network, "encoder", None) for run in runs]
    found: dict[str, Any] = {
        "models": [run.name for run in runs],
        "model_sha256": [model_sha256(run.network) for run in runs],
        "architecture": runs[0].architecture,
        "precision": dtype_of(runs[0].network),
        "recipe": {name: runs[0].recipe[name] for name in _TOLD if name in runs[0].recipe},
        "runs": [run.described() for run in runs],
    }
    if all(hasattr(encoder, "config") for encoder in encoders):
        found["encoder_sha256"] = [encoder_sha256(encoder) for encoder in encoders if encoder is not None]
    return found


def _load(model: str | Path, kind: str, device: str) -> Run:
    from pointmae_zoo.hub import from_pretrained

    return run_of(model, from_pretrained(model, device=device), kind)


def run_of(model: str | Path, network: Any, kind: str) -> Run:
    """The run of a network that was loaded from ``model``; a ValueError if it is of another kind, or has no
    labels."""
    from pointmae_zoo.hub.pretrained import public_name

    config = network.config
    if config.kind != kind:
        instead = _INSTEAD.get(config.kind, "info")
        raise ValueError(
            f"{model}: expected {_KINDS[kind]}, got a model of kind '{config.kind}'; "
            f"'pointmae-zoo {instead}' is for those, 'pointmae-zoo finetune' trains {_KINDS[kind]}"
        )
    if not config.labels:
        raise ValueError(f"{model}: its config.json names no labels, so its answers cannot be judged")
    return Run(
        name=public_name(model, network),
        network=network,
        labels=config.labels,
        num_points=config.preprocess.num_points,
        normalized=config.preprocess.scale == "unit_sphere",
        up=config.preprocess.up,
        architecture=config.architecture,
        provenance=config.provenance,
    )


@torch.no_grad()
def predict_clouds(
    network: nn.Module,
    points: Floats,
    object_classes: NDArray[np.integer] | None = None,
    *,
    batch_size: int = 64,
    device: str = "cpu",
    tick: Callable[[int], object] | None = None,
) -> Floats:
    """The network's logits of prepared clouds; it is in evaluation mode meanwhile.

    Args:
        network: a classifier, ``forward(points)``, or with ``object_classes`` a part segmenter,
            ``forward(points, object_class)``.
        points: (M, N, 3).
        object_classes: (M,) the object class of every cloud.
        tick: called with the size of each finished batch.

    Returns:
        (M, classes) or (M, N, parts) logits.

    Raises:
        ValueError: logits are NaN or infinite.
    """
    found = []
    with evaluating(network):
        for start in range(0, len(points), batch_size):
            given = [torch.from_numpy(np.ascontiguousarray(points[start : start + batch_size]))]
            if object_classes is not None:
                given.append(torch.from_numpy(object_classes[start : start + batch_size].astype(np.int64)))
            found.append(network(*(one.to(device) for one in given)).float().cpu().numpy())
            if tick is not None:
                tick(len(found[-1]))
    logits = np.concatenate(found)
    if not np.isfinite(logits).all():
        raise ValueError("the scores hold NaN or infinity; the model that made them is broken")
    return logits


@torch.no_grad()
def vote(
    network: nn.Module,
    points: Floats,
    votes: int,
    settings: Augmentation,
    *,
    num_points: int | None = None,
    object_classes: NDArray[np.integer] | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    tick: Callable[[int], object] | None = None,
) -> Floats:
    """Mean probabilities over ``votes`` random views of every cloud, augmented as in training.

    Args:
        network, object_classes, tick: as for `predict_clouds`.
        points: (M, N, 3).
        votes: how many views; they are drawn with ``VOTE_SEED``.
        settings: the augmentation of the training.
        num_points: how many of the N points a view has; None: all, in their order.

    Returns:
        (M, classes), or for a segmenter (M, N, parts).
    """
    total: Any = 0.0
    for number in range(votes):
        generator = torch.Generator().manual_seed(VOTE_SEED + number)

        def view(batch: Tensor, generator: torch.Generator = generator) -> Tensor:
            if num_points is not None:
                chosen = subsample(
                    batch, num_points, settings.fps_share, generator, fps_surplus=settings.fps_surplus
                )
                batch = batch.gather(1, chosen[..., None].expand(-1, -1, 3))
            return augment(batch, settings, generator)

        logits = predict_clouds(
            network,
            _in_batches(view, points),
            object_classes,
            batch_size=batch_size,
            device=device,
            tick=tick,
        )
        total = total + _probabilities(logits)
    return np.asarray(total / votes, dtype=np.float32)


def _in_batches(change: Callable[[Tensor], Tensor], points: Floats) -> Floats:
    """(M, N, 3) clouds, changed 64 at a time: how many draw together must not depend on ``batch_size``."""
    changed = [
        change(torch.from_numpy(np.ascontiguousarray(points[start : start + _AT_ONCE]))).numpy()
        for start in range(0, len(points), _AT_ONCE)
    ]
    return np.concatenate(changed)


def _probabilities(logits: Floats) -> NDArray[Any]:
    grown = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return grown / grown.sum(axis=-1, keepdims=True)
