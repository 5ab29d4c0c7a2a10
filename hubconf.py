"""``torch.hub.load(REPO, "i2p_mae_tiny", pretrained=True)``: a function for each architecture;
``torch.hub.load(REPO, "i2p_mae_tiny.shapes")``: and one for all published weights.

REPO is ``"org/pointmae-zoo"`` on GitHub, or a clone's folder with ``source="local"``.
"""

from pointmae_zoo.hub.torch_hub import entry_points as _entry_points

dependencies = ["torch", "numpy", "safetensors", "huggingface_hub"]
globals().update(_entry_points())
