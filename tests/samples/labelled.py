"""Files of labelled clouds whose classes and parts are easily told apart."""

from pathlib import Path
from typing import Any

import numpy as np

SHAPES = ("ball", "rod", "slab")
_STRETCH = {"ball": (1.0, 1.0, 1.0), "rod": (0.1, 1.0, 0.1), "slab": (1.0, 0.1, 1.0)}


def labelled_file(path: Path, *, train: int = 8, test: int = 4, num_points: int = 96, **more: Any) -> Path:
    """An ``.npz`` of balls, rods and slabs, so many clouds of each class and split. Every point has a part,
    lower or upper half. Clouds of test lie far away, so that a leak shows.

    Args:
        more: arrays to add, or to put in place of others.
    """
    rng = np.random.default_rng(0)
    points, labels, splits = [], [], []
    for split, count in (("train", train), ("test", test)):
        for label, name in enumerate(SHAPES):
            for _ in range(count):
                cloud = rng.normal(size=(num_points, 3))
                cloud *= np.array(_STRETCH[name]) / np.linalg.norm(cloud, axis=1, keepdims=True)
                points.append(cloud + (100 if split == "test" else 0))
                labels.append(label)
                splits.append(split)
    stacked = np.array(points, dtype=np.float32)
    upper = stacked[:, :, 1] > stacked[:, :, 1].mean(axis=1, keepdims=True)
    arrays = {
        "points": stacked,
        "y": np.array(labels),
        "classes": np.array(SHAPES),
        "split": np.array(splits),
        "parts": 2 * np.array(labels)[:, None] + upper,
        "part_names": np.array([f"{name}/{half}" for name in SHAPES for half in ("lower", "upper")]),
    }
    np.savez(path, **{**arrays, **more})
    return path
