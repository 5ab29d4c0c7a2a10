"""pointmae-zoo: self-supervised encoders for 3D point clouds.

Everything a user needs hangs off this module, imported only when it is first touched, so that ``import
pointmae_zoo`` and the command line's ``--help`` stay light:

    import pointmae_zoo
    model = pointmae_zoo.from_pretrained("i2p_mae_tiny.shapes")
    features = model.embed(points)          # (B, N, 3) -> (B, D)
    table = pointmae_zoo.embed_files(["parts/"])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pointmae_zoo._version import __version__ as __version__
from pointmae_zoo.models.default_weights import DEFAULT_CLASSIFIER, DEFAULT_MODEL

if TYPE_CHECKING:
    from pointmae_zoo.hub import convert_checkpoint, from_pretrained, save_pretrained
    from pointmae_zoo.hub.push import push_to_hub
    from pointmae_zoo.inference import Predictions, embed_files, predict_files, predict_parts
    from pointmae_zoo.inference.export import export_model
    from pointmae_zoo.library import find_duplicates, similar
    from pointmae_zoo.models.preprocess import Preprocess
    from pointmae_zoo.models.registry import (
        create_model,
        list_models,
        list_weights,
        register_model,
        register_weights,
    )
    from pointmae_zoo.shapes.read import read_points

_HOMES = {
    "Predictions": "pointmae_zoo.inference",
    "Preprocess": "pointmae_zoo.models.preprocess",
    "convert_checkpoint": "pointmae_zoo.hub",
    "create_model": "pointmae_zoo.models.registry",
    "embed_files": "pointmae_zoo.inference",
    "export_model": "pointmae_zoo.inference.export",
    "find_duplicates": "pointmae_zoo.library",
    "from_pretrained": "pointmae_zoo.hub",
    "list_models": "pointmae_zoo.models.registry",
    "list_weights": "pointmae_zoo.models.registry",
    "predict_files": "pointmae_zoo.inference",
    "predict_parts": "pointmae_zoo.inference",
    "push_to_hub": "pointmae_zoo.hub.push",
    "read_points": "pointmae_zoo.shapes.read",
    "register_model": "pointmae_zoo.models.registry",
    "register_weights": "pointmae_zoo.models.registry",
    "save_pretrained": "pointmae_zoo.hub",
    "similar": "pointmae_zoo.library",
}

__all__ = [
    "DEFAULT_CLASSIFIER",
    "DEFAULT_MODEL",
    "Predictions",
    "Preprocess",
    "convert_checkpoint",
    "create_model",
    "embed_files",
    "export_model",
    "find_duplicates",
    "from_pretrained",
    "list_models",
    "list_weights",
    "predict_files",
    "predict_parts",
    "push_to_hub",
    "read_points",
    "register_model",
    "register_weights",
    "save_pretrained",
    "similar",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pointmae_zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names; neither helpers of this file nor rooms that something has imported."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
