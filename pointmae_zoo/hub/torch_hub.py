"""What ``torch.hub`` finds in ``hubconf.py``: a function for each architecture and all published weights."""

from collections.abc import Callable
from typing import Any

from pointmae_zoo.hub.pretrained import from_pretrained
from pointmae_zoo.models.registry import create_model, get_architecture, list_models, list_weights

_DOC = """{summary}

    Args:
        pretrained: load published weights: True: the architecture's first, or those that the entry point is
            named after; or a tag, of {tags}, or a full name; or "org/repo" of the Hugging Face Hub. False:
            random weights.
        kind: "encoder", "pretraining", "classification" or "part_segmentation". Default: an encoder; of an
            entry point named after weights what they are.
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
    """Entry points by name: ``i2p_mae_tiny`` of every architecture, and ``i2p_mae_tiny.shapes`` of all
    weights, which is the same with those weights unless ``pretrained`` says otherwise."""
    return {
        **{name: _entry_point(name, name, False) for name in list_models()},
        **{name: _entry_point(name, name.partition(".")[0], name) for name in list_weights()},
    }


def _entry_point(called: str, name: str, default: bool | str) -> Callable[..., Any]:
    def build(pretrained: bool | str = default, kind: str | None = None, **arguments: Any) -> Any:
        if called != name:
            if pretrained not in (True, called, called.partition(".")[2]):
                raise ValueError(f"pretrained: is {pretrained!r}, but {called} names its weights; use {name}")
        elif kind is None:
            kind = "encoder"
        if pretrained is False:
            return create_model(name, kind or "encoder", **arguments)
        weights = called if pretrained is True else pretrained
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
    build.__name__ = build.__qualname__ = called
    which = "" if called == name else f"The weights {called}. "
    build.__doc__ = _DOC.format(
        summary=which + architecture.summary,
        tags=tags or "which there are none yet",
        paper=architecture.paper,
    )
    return build
