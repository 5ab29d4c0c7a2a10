"""The configuration that is stored with a model's weights, in ``config.json``."""

from dataclasses import dataclass, field
from typing import Any

from pointmae_zoo.models.preprocess import Preprocess

KINDS = ("encoder", "pretraining", "classification", "part_segmentation")


@dataclass(frozen=True)
class ModelConfig:
    """How a model was made and what its input must look like."""

    architecture: str
    """A name that `list_models` gives."""
    kind: str
    """One of `KINDS`."""
    arguments: dict[str, Any]
    """Every argument of the architecture, so that a later change of a default does not change these weights'
    features."""
    preprocess: Preprocess
    """How raw points become the network's input."""
    labels: tuple[str, ...] | None = None
    """Class or part names, in the order of the outputs."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Where the weights come from: status, data, licence, source, commit. ``hub``: the Hub repository and
    commit that they were loaded from."""
