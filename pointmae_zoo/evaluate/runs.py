"""Networks that were trained on labels, and what is known of their training: what is evaluated together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import nn

from pointmae_zoo.data.augment import Augmentation
from pointmae_zoo.data.fields import from_values
from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256, model_sha256

_KINDS = {"classification": "a classifier", "part_segmentation": "a part segmenter"}
_INSTEAD = {
    "classification": "evaluate finetuned",
    "part_segmentation": "evaluate parts",
    "encoder": "evaluate linear",
    "pretraining": "evaluate linear",
}
# Runs that are averaged differ in nothing of these; in the seed they may.
_SHARED = ("weights", "data", "model", "shots", "classes", "trained_part", "layer_decay", "steps", "epochs")
_TOLD = _SHARED[2:]  # weights and data may say where things lie on somebody's disk


@dataclass(frozen=True)
class Run:
    """A network with its outputs' names.

    Args:
        name: what reports call it.
        network: ``forward(points)`` -> (B, classes) logits; a segmenter's ``forward(points, object_class)``
            -> (B, N, parts).
        labels: names of the outputs.
        num_points: of a cloud, as in training.
        up: the axis that pointed up in training.
        architecture: its name.
        provenance: of its training, as in ``config.json``: ``recipe`` (``seed``, ``shots``,
            ``augmentation`` ...) and ``initialised_from`` are read.
    """

    name: str
    network: nn.Module
    labels: tuple[str, ...]
    num_points: int = 1024
    up: str = "y"
    architecture: str = "other"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Of its training; empty where it is not known."""
        found = self.provenance.get("recipe")
        return found if isinstance(found, Mapping) else {}

    @property
    def num_train(self) -> int | None:
        """How many clouds it was trained on, where that is known."""
        found = self.provenance.get("clouds_from_data")
        return found if isinstance(found, int) else None

    @property
    def augmentation(self) -> Augmentation:
        """Of its training; where it is not known the usual one."""
        found = self.recipe.get("augmentation")
        return from_values(Augmentation, dict(found)) if isinstance(found, Mapping) else Augmentation()

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
        ValueError: none, a model of another kind or without labels, or runs that are not alike; names which
            and what.
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
        for name in _SHARED:
            one, other = run.recipe.get(name), first.recipe.get(name)
            if one != other:
                raise ValueError(
                    f"{run.name} and {first.name} are no seeds of one recipe: {name} is {one!r} and "
                    f"{other!r}; evaluate them one by one"
                )
    return runs


def described(runs: Sequence[Run]) -> dict[str, Any]:
    """Of the runs, for a report's context."""
    encoders = [getattr(run.network, "encoder", None) for run in runs]
    found: dict[str, Any] = {
        "models": [run.name for run in runs],
        "model_sha256": [model_sha256(run.network) for run in runs],
        "architecture": runs[0].architecture,
        "recipe": {name: runs[0].recipe[name] for name in _TOLD if name in runs[0].recipe},
        "runs": [run.described() for run in runs],
    }
    if all(hasattr(encoder, "config") for encoder in encoders):
        found["encoder_sha256"] = [encoder_sha256(encoder) for encoder in encoders if encoder is not None]
    return found


def public_names(models: Sequence[str | Path], networks: Sequence[Any]) -> list[str]:
    """What reports call models: names of published weights as they are, repositories of the Hub with the
    commit that was loaded, folders without where they lie."""
    from pointmae_zoo.hub.pretrained import full_name, is_hub_name

    return [
        full_name(name, network) if is_hub_name(name) else Path(name).name or Path(name).resolve().name
        for name, network in zip(models, networks, strict=True)
    ]


def _load(model: str | Path, kind: str, device: str) -> Run:
    from pointmae_zoo.hub import from_pretrained

    network = from_pretrained(model, device=device)
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
        name=public_names([model], [network])[0],
        network=network,
        labels=config.labels,
        num_points=config.preprocess.num_points,
        up=config.preprocess.up,
        architecture=config.architecture,
        provenance=config.provenance,
    )
