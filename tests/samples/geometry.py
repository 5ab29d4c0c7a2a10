"""What a reader found in a file: triangles or points, before anything is sampled."""

from pathlib import Path

import numpy as np

from pointmae_zoo.shapes.notes import collecting
from pointmae_zoo.shapes.read import read_format

SQUARE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]


def found(name: str, content: str | bytes) -> np.ndarray:
    """Triangles (F, 3 corners, 3) of a file of this name with this content, or else its points (N, 3)."""
    return found_and_noted(name, content)[0]


def found_and_noted(name: str, content: str | bytes) -> tuple[np.ndarray, str]:
    """The same, and the remarks about it."""
    data = content.encode() if isinstance(content, str) else content
    with collecting() as notes:
        geometry = read_format(Path(name).suffix, data, Path(name))
    triangles = geometry.triangles.transpose(2, 0, 1).astype(np.float64)
    return (triangles if len(triangles) else np.asarray(geometry.points, np.float64)), " ".join(notes)


def area(triangles: np.ndarray) -> float:
    """Of triangles (F, 3, 3)."""
    u, v = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return float(np.linalg.norm(np.cross(u, v), axis=1).sum() / 2)


def is_square(triangles: np.ndarray, heights: tuple[float, ...] = (0.0,)) -> bool:
    """Whether they are the two halves of the unit square at each of these heights, and nothing else."""
    if triangles.shape != (2 * len(heights), 3, 3):
        return False
    for height in heights:
        here = triangles[(triangles[:, :, 2] == height).all(axis=1)]
        corners = {tuple(corner[:2]) for triangle in here for corner in triangle}
        if corners != {(0, 0), (1, 0), (1, 1), (0, 1)} or len(here) != 2 or area(here) != 1.0:
            return False
        means = here.mean(axis=1)
        if not np.allclose(means.sum(axis=0)[:2], 1.0):  # on both sides of one diagonal
            return False
    return True
