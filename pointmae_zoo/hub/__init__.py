"""Weights in and out: folders of ``model.safetensors`` and ``config.json``, repositories of the Hub, and
conversion of reference checkpoints."""

from typing import TYPE_CHECKING, Any

from pointmae_zoo.hub.checkpoint.errors import CheckpointError
from pointmae_zoo.hub.checkpoint.model_folder import save_pretrained
from pointmae_zoo.hub.client import HubError
from pointmae_zoo.hub.convert import convert_checkpoint
from pointmae_zoo.hub.pretrained import from_pretrained

if TYPE_CHECKING:
    from pointmae_zoo.hub.push import push_to_hub

__all__ = [
    "CheckpointError",
    "HubError",
    "convert_checkpoint",
    "from_pretrained",
    "push_to_hub",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    if name == "push_to_hub":  # whoever only loads needs no cards, no YAML and no shapes to try
        from pointmae_zoo.hub.push import push_to_hub

        return push_to_hub
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
