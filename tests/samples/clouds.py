"""What clouds are expected to become."""

import numpy as np


def in_unit_sphere(points: np.ndarray) -> np.ndarray:
    """The definition, in float64: (..., N, 3)."""
    centred = points.astype(np.float64) - points.astype(np.float64).mean(axis=-2, keepdims=True)
    return centred / np.linalg.norm(centred, axis=-1).max(axis=-1)[..., None, None]
