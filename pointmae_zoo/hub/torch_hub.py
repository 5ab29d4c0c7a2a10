"""What ``torch.hub`` finds in ``hubconf.py``: a function for each architecture of the registry."""

from collections.abc import Callable
from typing import Any

from pointmae_zoo.hub.pretrained import from_pretrained
from pointmae_zoo.models.registry import create_model, get_architecture, list_models, list_weights

_DOC = """{summary}

    Args:
        pretrained: load published weights: True: the architecture's first; or a tag, of {tags}, or a full
            name; or "org/repo" of the Hugging Face Hub. False: random weights.
        kind: "encoder", "pretraining", "classification" or "part_segmentation".
        arguments: with weights those of `pointmae_zoo.from_pretrained` (device, dtype, num_classes, ...);
            without those of `pointmae_zoo.create_model` (any field of the architecture).

    Returns:
        The model, with ``.config``; ``model.config.preprocess`` makes its input of raw points, and an
        encoder's ``embed`` features of that. In evaluation mode with weights, in training mode without.

    Raises:
        ValueError: there are no such weights, or they are of another architecture.

    Paper: {paper}
    """


def entry_points() -> dict[str, Callable[..., Any]]:
    """Every architecture's entry point, by name."""
    return {name: _entry_point(name) for name in list_models()}


def _entry_point(name: str) -> Callable[..., Any]:
    def build(pretrained: bool | str = False, kind: str = "encoder", **arguments: Any) -> Any:
        if pretrained is False:
            return create_model(name, kind, **arguments)
        weights = name if pretrained is True else pretrained
        if "/" not in weights and not weights.startswith(name):  # a tag
            weights = f"{name}.{weights}"
        model = from_pretrained(weights, kind=kind, **arguments)
        if model.config.architecture != name:
            raise ValueError(
                f"{weights}: holds {model.config.architecture}, not {name}; load it by that name"
            )
        return model

    architecture = get_architecture(name)
    tags = ", ".join(f'"{weights.partition(".")[2]}"' for weights in list_weights(f"{name}.*"))
    build.__name__ = build.__qualname__ = name
    build.__doc__ = _DOC.format(
        summary=architecture.summary, tags=tags or "which there are none yet", paper=architecture.paper
    )
    return build
