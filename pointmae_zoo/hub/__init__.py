"""Weights in and out: folders of ``model.safetensors`` and ``config.json``, repositories of the Hub, and
conversion of reference checkpoints."""

from pointmae_zoo.hub.checkpoint.folder import save_pretrained
from pointmae_zoo.hub.checkpoint.strict import CheckpointError
from pointmae_zoo.hub.client import HubError
from pointmae_zoo.hub.convert import PRESETS, convert_checkpoint
from pointmae_zoo.hub.pretrained import from_pretrained

__all__ = [
    "PRESETS",
    "CheckpointError",
    "HubError",
    "convert_checkpoint",
    "from_pretrained",
    "save_pretrained",
]
