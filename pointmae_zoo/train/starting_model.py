"""The model that a training begins with: stored weights and a new head or decoder, or random weights."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

import torch

from pointmae_zoo.datasets.labelled import LabelledClouds
from pointmae_zoo.hub import from_pretrained
from pointmae_zoo.hub.pretrained import public_name
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.models.registry import create_model, get_architecture, list_models, set_config
from pointmae_zoo.train.recipes import FinetuneRecipe

KINDS = {"classification": "classification", "parts": "part_segmentation"}
"""The kind of model for each task."""


def create_finetuning_model(recipe: FinetuneRecipe, clouds: LabelledClouds) -> Any:
    """A classifier for the clouds' classes, or a segmenter for their parts; new weights are drawn from the
    recipe's seed.

    If it begins with stored weights, its ``config.provenance["initialised_from"]`` says which.

    Raises:
        ValueError: no such weights, model or arguments; arguments that don't fit the weights; see also
            `from_pretrained`.
        OSError: the Hub can't be read.
    """
    kind = KINDS[recipe.task]
    outputs: dict[str, Any] = {"num_classes": len(clouds.classes)}
    labels = clouds.classes
    if recipe.task == "parts":
        labels = clouds.part_names
        outputs = {"num_parts": len(labels), "num_object_classes": len(clouds.classes)}
    if taken := [name for name in outputs if name in recipe.model_arguments]:
        raise ValueError(f"recipe: model_arguments.{taken[0]}: the data decides it; leave it out")
    torch.manual_seed(recipe.seed)
    if recipe.weights in list_models() and recipe.weights not in list_models(pretrained=True):
        own = "your own pretrain run"
        if get_architecture(recipe.weights).has_reference:
            own += ", or of a reference checkpoint that 'pointmae-zoo convert' has read"
        raise ValueError(
            f"{recipe.weights} has no published weights yet; give --weights FOLDER of {own}, or "
            f"--from-scratch {recipe.weights}"
        )
    if recipe.weights:
        return _from_weights(recipe, kind, outputs, labels)
    arguments = {**recipe.model_arguments, **outputs}
    try:
        preprocess = _preprocess(get_architecture(recipe.model).preprocess, recipe)
        return create_model(recipe.model, kind, preprocess=preprocess, labels=labels, **arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"recipe: model or model_arguments: {error}") from error


def load_encoder(model: Any, weights: str) -> dict[str, Any]:
    """Load stored weights into the encoder of a pre-training model.

    Returns:
        Which they are, as provenance says it.

    Raises:
        ValueError: they are of another architecture, or of an encoder with other arguments; see also
            `from_pretrained`.
        OSError: the Hub can't be read.
    """
    encoder = from_pretrained(weights, kind="encoder")
    ours, theirs = model.config, encoder.config
    if theirs.architecture != ours.architecture:
        raise ValueError(
            f"recipe: model is {ours.architecture}, but weights ({weights}) are of {theirs.architecture}; "
            "change one of them"
        )
    own, others = model.encoder.state_dict(), encoder.state_dict()
    if {name: one.shape for name, one in own.items()} != {name: one.shape for name, one in others.items()}:
        raise ValueError(
            f"recipe: model_arguments: weights ({weights}) have other shapes; leave out what changes them"
        )
    model.encoder.load_state_dict(others)
    return {
        "name": public_name(weights, encoder),
        "kind": "encoder",
        "new": "decoder",
        "provenance": theirs.provenance,
    }


def _from_weights(recipe: FinetuneRecipe, kind: str, outputs: dict[str, Any], labels: tuple[str, ...]) -> Any:
    config = _architecture_head(kind)
    of_head = {name: value for name, value in recipe.model_arguments.items() if name in config}
    of_encoder = {name: value for name, value in recipe.model_arguments.items() if name not in config}
    with _without_warning():
        model = from_pretrained(recipe.weights, kind=kind, labels=list(labels), **outputs, **of_head)
    stored = model.config
    provenance = stored.provenance
    if set(provenance) != {"initialised_from"}:  # no part is new: its provenance is still its own
        made_from = {"name": public_name(recipe.weights, model), "kind": kind, "new": ""}
        provenance = {"initialised_from": {**made_from, "provenance": provenance}}
    arguments = {**stored.arguments, **of_encoder}
    model_config = dataclasses.replace(
        stored, provenance=provenance, preprocess=_preprocess(stored.preprocess, recipe)
    )
    if not of_encoder:
        set_config(model, model_config)
        return model.train()
    try:
        changed = create_model(
            stored.architecture,
            kind,
            preprocess=model_config.preprocess,
            labels=stored.labels,
            provenance=provenance,
            **arguments,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"recipe: model_arguments: {error}; they don't fit {recipe.weights}: change them, or take "
            "a recipe that is made for these weights"
        ) from error
    tensors = model.state_dict()
    fresh = {name: tensor.shape for name, tensor in changed.state_dict().items()}
    if fresh != {name: tensor.shape for name, tensor in tensors.items()}:
        raise ValueError(
            f"recipe: model_arguments: {', '.join(of_encoder)}: {recipe.weights} holds weights of other "
            "shapes; leave out what changes them, or train from scratch"
        )
    changed.load_state_dict(tensors, strict=True)
    return changed


def _architecture_head(kind: str) -> set[str]:
    """The fields of a head's configuration."""
    from pointmae_zoo.models.heads import ClassifierConfig, PartSegmenterConfig

    heads: dict[str, type] = {"classification": ClassifierConfig, "part_segmentation": PartSegmenterConfig}
    return {item.name for item in dataclasses.fields(heads[kind])}


def _preprocess(stored: Preprocess, recipe: FinetuneRecipe) -> Preprocess:
    """The stored preprocessing, with the number of points, the centring and the scaling of this training,
    which sees clouds as they lie."""
    samples = max(stored.surface_samples, recipe.num_points)
    center, scale = ("centroid", "unit_sphere") if recipe.augmentation.normalizes else ("none", "none")
    return dataclasses.replace(
        stored,
        num_points=recipe.num_points,
        surface_samples=samples,
        center=center,
        scale=scale,
        pose="upright",
    )


@contextlib.contextmanager
def _without_warning() -> Iterator[None]:
    """Without the warning that a new head has to be trained: it is about to be."""
    logger = logging.getLogger("pointmae_zoo.hub.checkpoint.model_folder")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
