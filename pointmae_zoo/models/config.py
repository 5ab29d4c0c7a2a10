"""What a model remembers of itself: the content of the ``config.json`` that travels with its weights."""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from pointmae_zoo.data.preprocess import Preprocess

KINDS = ("encoder", "pretraining", "classification", "part_segmentation")


@dataclass(frozen=True)
class ModelConfig:
    """How a model was made and what its input must look like."""

    architecture: str
    """A name that `list_models` gives."""
    kind: str
    """One of `KINDS`."""
    arguments: dict[str, Any]
    """Every argument of the architecture, spelled out, so that a later change of a default alters no
    weights."""
    preprocess: Preprocess
    """How raw points become the network's input."""
    labels: tuple[str, ...] | None = None
    """Class or part names, in the order of the outputs."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Where the weights come from: status, data, licence, source, commit."""


def check_fields(config: Any) -> None:
    """Check every field of a dataclass against its annotation; raises a TypeError that names the field.

    Understands int, float, bool, str, Literal and tuples of them, which is all that a model's arguments are
    made of. An int does for a float; a bool does for nothing but a bool.
    """
    hints = typing.get_type_hints(type(config))
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if not _fits(value, hints[item.name]):
            raise TypeError(f"{item.name}: {_describe(hints[item.name])} expected, got {value!r}")


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if inner[-1] is Ellipsis:
            return all(_fits(entry, inner[0]) for entry in value)
        return len(value) == len(inner) and all(map(_fits, value, inner))
    if origin is typing.Literal:
        return value in inner
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, option) for option in inner)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return f"a list of {_describe(inner[0])}"
    if origin is typing.Literal:
        return "one of " + ", ".join(map(repr, inner))
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_describe(option) for option in inner)
    return "None" if hint is type(None) else str(hint.__name__)
