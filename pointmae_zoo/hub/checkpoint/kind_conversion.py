"""Making one kind of model from another: where each stored tensor goes, what is dropped, what is new.

Every tensor of the wanted model either comes from a stored one or belongs to a new head. The plan says which
head is new, and why.
"""

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any

from torch import nn

from pointmae_zoo.hub.checkpoint.errors import CheckpointError
from pointmae_zoo.models.encoder import EncoderConfig
from pointmae_zoo.models.heads import ClassifierConfig, PartSegmenterConfig
from pointmae_zoo.models.registry import encoder_config, get_architecture
from pointmae_zoo.models.stored_config import KINDS, ModelConfig

_HEADS: dict[str, type] = {"classification": ClassifierConfig, "part_segmentation": PartSegmenterConfig}
_OUTPUTS = {"classification": "num_classes", "part_segmentation": "num_parts"}
_WITHOUT_WEIGHTS = ("head_dropout",)
_BESIDE_ENCODER = {
    "classification": ("head.",),
    "part_segmentation": ("propagations.", "label_embedding.", "head."),
}


@dataclass(frozen=True)
class Plan:
    """How a stored model becomes the wanted one."""

    config: ModelConfig
    """Of the wanted model."""
    tensors: dict[str, str]
    """Stored name -> name in the wanted model; the others are dropped."""
    new: tuple[str, ...] = ()
    """Prefixes of the wanted model's tensors that aren't stored; they are drawn at random."""
    what: str = ""
    """What is new, in words."""
    why: str = ""
    """Why it is new."""


def plan(stored: ModelConfig, model: nn.Module, kind: str | None, head: dict[str, Any], source: str) -> Plan:
    """Decide how the stored model becomes the wanted one.

    Args:
        stored: configuration of the stored model.
        model: of that configuration; only its names are read.
        kind: the wanted kind; None: the stored one.
        head: fields of the wanted head's configuration, and ``labels``.
        source: what errors call the stored model.

    Raises:
        CheckpointError: the wanted kind can't be made from the stored one.
        TypeError, ValueError: no such kind; a field that its head does not have, or a value out of range.
    """
    wanted = stored.kind if kind is None else kind
    if wanted not in KINDS:
        raise ValueError(f"no kind is called {wanted!r}; known: {', '.join(KINDS)}")
    _check_names(wanted, head, kind)
    names = list(model.state_dict())
    if wanted == stored.kind:
        return _same_kind(stored, model, names, head)
    if wanted == "encoder":
        return Plan(encoder_config(stored), _encoder_names(stored, names))
    if wanted == "pretraining":
        raise CheckpointError(
            f"{source}: holds a model of kind {stored.kind!r}, which has no decoder, so it can't become "
            f"'pretraining'; create_model({stored.architecture!r}, 'pretraining') makes a new one"
        )
    return _new_head(stored, names, wanted, head, source)


def _check_names(kind: str, head: dict[str, Any], asked: str | None) -> None:
    known = [] if kind not in _HEADS else [item.name for item in dataclasses.fields(_HEADS[kind])]
    for name in head:
        if not known:
            hint = "" if asked else " (it is stored as that); kind='classification' gives it a head"
            raise TypeError(f"{name}: a model of kind {kind!r} has no head{hint}")
        if name not in (*known, "labels"):
            near = difflib.get_close_matches(name, [*known, "labels"], n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: labels, {', '.join(known)}"
            raise TypeError(f"from_pretrained ({kind}) has no argument {name!r}; {hint}")


def _same_kind(stored: ModelConfig, model: nn.Module, names: list[str], head: dict[str, Any]) -> Plan:
    if not head:
        return Plan(stored, {name: name for name in names})
    outputs = _OUTPUTS[stored.kind]
    given, labels = _outputs_given(head, outputs)
    before: Any = model.config
    changed = [name for name, value in given.items() if before.arguments[name] != value]
    # Other names are other outputs, even if there are as many. A model without names just gets them.
    renamed = labels is not None and stored.labels is not None and labels != stored.labels
    if labels is None and outputs not in changed:
        labels = stored.labels
    config = _complete(dataclasses.replace(stored, labels=labels), stored.kind, before.arguments | given)
    if not set(changed) - {outputs, *_WITHOUT_WEIGHTS}:
        if outputs not in changed and not renamed:
            return Plan(config, {name: name for name in names})
        layers: Any = model.head
        last = f"head.{len(layers) - 1}."
        old, new = before.arguments[outputs], config.arguments[outputs]
        why = f"{outputs} was {old}, now {new}" if old != new else "its outputs have other labels now"
        return Plan(
            config,
            {name: name for name in names if not name.startswith(last)},
            (last,),
            f"the last layer of the {stored.kind} head ({last}*)",
            why,
        )
    kept = {name: name for name in names if name.startswith("encoder.")}
    why = ", ".join(f"{name} was {before.arguments[name]}, now {given[name]}" for name in changed)
    return Plan(config, kept, _BESIDE_ENCODER[stored.kind], f"the whole {stored.kind} head", why)


def _new_head(stored: ModelConfig, names: list[str], kind: str, head: dict[str, Any], source: str) -> Plan:
    encoder = encoder_config(stored)
    taken = _encoder_names(stored, names)
    if kind == "part_segmentation" and encoder.arguments["norm_levels"] == "last":
        raise CheckpointError(
            f"{source}: its encoder normalises only the last level (norm_levels 'last'), as in classifiers "
            f"trained from scratch, but {kind} reads every level; use a pre-training model or its encoder"
        )
    given, labels = _outputs_given(head, _OUTPUTS[kind])
    # The encoder keeps norms that a classifier doesn't read, because the encoder's own features need them.
    arguments = {**encoder.arguments, **given}
    config = _complete(dataclasses.replace(stored, labels=labels), kind, arguments)
    outputs = config.arguments[_OUTPUTS[kind]]
    return Plan(
        config,
        {name: f"encoder.{inner}" for name, inner in taken.items()},
        _BESIDE_ENCODER[kind],
        f"the {kind} head",
        f"{_OUTPUTS[kind]} {outputs}; stored is a model of kind {stored.kind!r}",
    )


def _encoder_names(stored: ModelConfig, names: list[str]) -> dict[str, str]:
    """Stored name -> name in the encoder; an encoder inside another model is its submodule ``encoder``."""
    prefix = "" if stored.kind == "encoder" else "encoder."
    return {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}


def _outputs_given(head: dict[str, Any], outputs: str) -> tuple[dict[str, Any], tuple[str, ...] | None]:
    """The head's fields, with the number of outputs that the labels imply; and the labels."""
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in head.items()
        if name != "labels"
    }
    labels = head.get("labels")
    if labels is None:
        return given, None
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise TypeError(f"labels: a list of names expected, got {labels!r}")
    labels = tuple(labels)
    if given.setdefault(outputs, len(labels)) != len(labels):
        raise ValueError(f"labels: {len(labels)} names, but {outputs} is {given[outputs]}")
    return given, labels


def _complete(config: ModelConfig, kind: str, arguments: dict[str, Any]) -> ModelConfig:
    """The configuration with all arguments. A wrong value raises as in the head's configuration."""
    architecture = get_architecture(config.architecture)
    encoder = {item.name for item in dataclasses.fields(EncoderConfig)}
    own = {name: value for name, value in arguments.items() if name not in encoder}
    full = dataclasses.replace(getattr(architecture, kind), **own)
    inner = {name: value for name, value in arguments.items() if name in encoder}
    return dataclasses.replace(config, kind=kind, arguments={**inner, **dataclasses.asdict(full)})
