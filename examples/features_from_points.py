"""Features of point clouds that are in memory, not in files.

Usage:

    python examples/features_from_points.py
"""

import numpy as np

import pointmae_zoo

rng = np.random.default_rng(0)
angle = rng.uniform(0, 2 * np.pi, 5000)
height = rng.uniform(-1, 1, 5000)
tube = np.stack([np.cos(angle), 1.5 * height, np.sin(angle)], axis=1)  # a pipe; y is up
cone = np.stack([(1 - height) * np.cos(angle), 2 * height, (1 - height) * np.sin(angle)], axis=1)
clouds = {"pipe": tube, "noisy pipe": tube[:3000] + rng.normal(0, 0.02, (3000, 3)), "cone": 7.0 * cone}

encoder = pointmae_zoo.from_pretrained("i2p_mae_tiny.shapes", kind="encoder")
inputs = encoder.config.preprocess(list(clouds.values()))  # (3, 1024, 3), centred and scaled as in training
features = encoder.embed(inputs)  # (3, D)
print(f"points {tuple(inputs.shape)} -> features {tuple(features.shape)}")

unit = features / features.norm(dim=1, keepdim=True)
for name, row in zip(clouds, unit @ unit.T, strict=True):
    print(f"{name:12}", *(f"{value:6.3f}" for value in row.tolist()))
