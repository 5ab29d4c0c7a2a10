"""Putting together the meshes that a scene or a build places by matrices. numpy only."""

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.surface import Geometry, MeshError, check_faces, from_faces, from_points

# A file of a few kilobytes can place its mesh a billion times.
MOST_PLACED = 1_000_000
MOST_TRIANGLES = 100_000_000
# A matrix farther from a rotation than ROUNDING isn't meant to be one. A nearer one is a rotation, written
# with a few digits.
ROUNDING, NO_ROUNDING = 1e-5, 1e-13


class Assembly:
    """Collects meshes and loose points; the points count only if there are no triangles.

    The order in which meshes are added decides which points a seed gives.
    """

    def __init__(self) -> None:
        self._vertices: list[NDArray[np.float64]] = []
        self._faces: list[NDArray[np.int64]] = []
        self._points: list[NDArray[np.float64]] = []
        self._count = self._triangles = 0

    def add(
        self, vertices: NDArray[np.floating], faces: NDArray[np.integer], matrix: NDArray[np.float64]
    ) -> None:
        """A mesh of vertices (V, 3) and faces (F, 3), placed by a matrix (4, 4) that acts on columns.

        Raises MeshError if a face names a vertex that does not exist, or if there are too many triangles.
        """
        check_faces(faces, len(vertices))
        if 3 * len(faces) < len(vertices):  # many meshes may share their vertices
            vertices, faces = vertices[faces.reshape(-1)], np.arange(3 * len(faces)).reshape(-1, 3)
        self._triangles += len(faces)
        check_size(len(self._faces) + 1, self._triangles)
        self._vertices.append(_placed(vertices, matrix))
        self._faces.append(np.asarray(faces, dtype=np.int64) + self._count)
        self._count += len(vertices)

    def add_points(self, points: NDArray[np.floating], matrix: NDArray[np.float64]) -> None:
        """Points (N, 3), placed by a matrix (4, 4)."""
        self._triangles += len(points)
        check_size(len(self._points) + 1, self._triangles)
        self._points.append(_placed(points, matrix))

    def geometry(self) -> Geometry:
        """All of it."""
        if any(len(faces) for faces in self._faces):
            return from_faces(np.concatenate(self._vertices), np.concatenate(self._faces))
        return from_points(np.concatenate(self._points) if self._points else np.empty((0, 3)))


def check_size(placed: int, triangles: int) -> None:
    """Raises MeshError if so many meshes, or so many triangles in all, are beyond what a shape can be."""
    if placed > MOST_PLACED or triangles > MOST_TRIANGLES:
        many = f"{placed:,} meshes" if placed > MOST_PLACED else f"{triangles:,} triangles or points"
        raise MeshError(f"places {many}, more than can be read: simplify it")


def _placed(vertices: NDArray[np.floating], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    here = np.asarray(vertices, dtype=np.float64)
    if np.array_equal(matrix, np.eye(4)):
        return here
    matrix = _without_rounding(matrix)
    return here @ matrix[:3, :3].T + matrix[:3, 3]


def _without_rounding(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest rotation in place of one that was written with a few digits."""
    turn = matrix[:3, :3]
    if not NO_ROUNDING < np.abs(turn @ turn.T - np.eye(3)).max() < ROUNDING:
        return matrix
    left, _, right = np.linalg.svd(turn)
    exact = matrix.copy()
    exact[:3, :3] = left @ right
    return exact
