"""Weights in and out: folders of ``model.safetensors`` and ``config.json``, and conversion of reference
checkpoints."""

from pointmae_zoo.hub.checkpoint import CheckpointError, save_pretrained
from pointmae_zoo.hub.convert import PRESETS, convert_checkpoint
from pointmae_zoo.hub.pretrained import from_pretrained

__all__ = ["PRESETS", "CheckpointError", "convert_checkpoint", "from_pretrained", "save_pretrained"]
