"""Networks that were trained on labels, and what is known of their training: what is evaluated together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import nn

from pointmae_zoo.datasets.augmentation import Augmentation, FixedView
from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256, model_sha256
from pointmae_zoo.ops.precision import dtype_of
from pointmae_zoo.system.checked_fields import from_values

_KINDS = {"classification": "a classifier", "part_segmentation": "a part segmenter"}
_INSTEAD = {
    "classification": "evaluate finetuned",
    "part_segmentation": "evaluate parts",
    "encoder": "evaluate linear",
    "pretraining": "evaluate linear",
}
# Runs that are averaged differ in nothing of their recipes but the seed, and what changes no number: when
# things are written.
_MAY_DIFFER = (
    "seed",
    "checkpoint_steps",
    "checkpoint_minutes",
    "keep_checkpoints",
    "log_steps",
    "log_gradient_norms",
)
# Of a recipe, what reports tell. Weights and data may say where things lie on somebody's disk.
_TOLD = ("model", "shots", "classes", "trained_part", "layer_decay", "steps", "epochs", "precision")


@dataclass(frozen=True)
class Run:
    """A network with its outputs' names.

    Args:
        name: what reports call it.
        network: ``forward(points)`` -> (B, classes) logits; a segmenter's ``forward(points, object_class)``
            -> (B, N, parts).
        labels: names of the outputs.
        num_points: of a cloud, as in training.
        normalized: whether it was trained on clouds that are centred and scaled to the unit sphere;
            otherwise it is asked about them as they are in the file, too.
        up: the axis that pointed up in training.
        architecture: its name.
        provenance: of its training, as in ``config.json``: ``recipe`` (``seed``, ``shots``,
            ``augmentation`` ...) and ``initialised_from`` are read.
    """

    name: str
    network: nn.Module
    labels: tuple[str, ...]
    num_points: int = 1024
    normalized: bool = True
    up: str = "y"
    architecture: str = "other"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Of its training; empty where it is not known."""
        found = self.provenance.get("recipe")
        return found if isinstance(found, Mapping) else {}

    @property
    def seed(self) -> int | None:
        """Of its training; None where it is not known."""
        return self.recipe.get("seed")

    @property
    def num_train(self) -> int | None:
        """How many clouds it was trained on, where that is known."""
        found = self.provenance.get("clouds_from_data")
        return found if isinstance(found, int) else None

    @property
    def class_counts(self) -> Mapping[str, int] | None:
        """How many clouds of each class it was trained on, where that is known."""
        found = self.provenance.get("class_counts")
        return found if isinstance(found, Mapping) and set(found) == set(self.labels) else None

    @property
    def augmentation(self) -> Augmentation:
        """Of its training; where it is not known the usual one."""
        found = self.recipe.get("augmentation")
        return from_values(Augmentation, dict(found)) if isinstance(found, Mapping) else Augmentation()

    def view(self, num_points: int, *, farthest: bool = False) -> FixedView:
        """What it is shown of a cloud: farthest points if asked for, or if it was trained on no others."""
        return FixedView(num_points, farthest or self.augmentation.fps_share == 1.0, self.normalized)

    @property
    def cloud_points(self) -> int:
        """Of how many points, at most, farthest ones were taken in training."""
        found = self.recipe.get("cloud_points")
        return found if isinstance(found, int) else self.num_points

    def described(self) -> dict[str, Any]:
        """For the JSON."""
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
    """Load what is evaluated together: the seeds of one recipe.

    Args:
        models: run folders, names of weights, repositories of the Hub, or what was loaded already.
        kind: that they must be of.

    Raises:
        ValueError: none, a model of another kind or without labels, one twice, or runs that are not alike;
            names which and what.
    """
    given = [models] if isinstance(models, (str, Path, Run)) else list(models)
    if not given:
        raise ValueError("runs: an empty list; expected a run folder or a name of weights")
    runs = [one if isinstance(one, Run) else _load(one, kind, device) for one in given]
    first = runs[0]
    for run in runs:
        run.network.to(device)
        if set(run.labels) != set(first.labels):
            raise ValueError(
                f"{run.name}: other labels than {first.name}; evaluate runs of the same classes together"
            )
        if (run.architecture, run.num_points) != (first.architecture, first.num_points):
            raise ValueError(
                f"{run.name} ({run.architecture}, {run.num_points} points) and {first.name} "
                f"({first.architecture}, {first.num_points} points) are no seeds of one recipe; evaluate "
                "them one by one"
            )
        if difference := _difference(run.recipe, first.recipe):
            name, one, other = difference
            raise ValueError(
                f"{run.name} and {first.name} are no seeds of one recipe: {name} is {one!r} and "
                f"{other!r}; evaluate them one by one"
            )
    known: dict[str, Run] = {}
    for run in runs:
        other_run = known.setdefault(model_sha256(run.network), run)
        if other_run is not run:
            raise ValueError(f"{run.name}: the same weights as {other_run.name}; give every run once")
    return runs


def _difference(recipe: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """The first field, in a group as ``augmentation.scale``, in which recipes of other seeds must agree but
    do not; with both values, None for one that is not there."""
    for name in dict.fromkeys((*recipe, *other)):
        if name in _MAY_DIFFER:
            continue
        one, two = recipe.get(name), other.get(name)
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            if found := _difference(one, two):
                return (f"{name}.{found[0]}", *found[1:])
        elif one != two:
            return name, one, two
    return None


def described(runs: Sequence[Run]) -> dict[str, Any]:
    """Of the runs, for a report's context."""
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
    """What was loaded from ``model``; a ValueError if it is of another kind, or without labels."""
    from pointmae_zoo.hub.pretrained import public_name

    config = network.config
    if config.kind != kind:
        instead = _INSTEAD.get(config.kind, "info")
        raise ValueError(
            f"{model}: {_KINDS[kind]} expected, got a model of kind '{config.kind}'; "
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
