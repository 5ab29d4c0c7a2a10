"""The pose of stored clouds: upright as they came, or turned once and for all, so that a teacher's cached
targets fit the turned clouds."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.sources import CloudSource
from pointmae_zoo.shapes.pose import of_quaternions, rotations, second_moments
from pointmae_zoo.shapes.surface import from_points

StoredPose = Literal["upright", "turned", "any", "principal"]


def posed(source: CloudSource, pose: StoredPose, seed: int = 0, *, poses: int = 1) -> CloudSource:
    """The clouds of a source in another pose, or in several.

    Every cloud has a rotation of its own, which depends on the seed and its number; that of a further copy
    also on how many clouds there are.

    Args:
        pose: ``upright``: as they are. ``turned``: by any angle about y (up). ``any``: by a uniformly drawn
            rotation. ``principal``: along their principal axes with signs and turns drawn, as
            ``embed --pose any`` sees them.
        seed: which rotations; not negative.
        poses: so often every cloud is there, each time turned otherwise: first all clouds in a first pose,
            then all in another.

    Raises:
        ValueError: an unknown pose; several that are all upright.
    """
    if pose not in get_args(StoredPose):
        raise ValueError(f"pose: one of {', '.join(get_args(StoredPose))} expected, got {pose!r}")
    if pose == "upright":
        if poses != 1:
            raise ValueError(f"poses is {poses}, but all are upright; set pose to another one")
        return source
    rng = np.random.default_rng(seed)
    if pose == "turned":
        drawn = rotations_about("y", rng.uniform(0.0, 2.0 * np.pi, poses * len(source)))
    else:
        drawn = uniform_rotations(poses * len(source), rng)
    names = list(source.names)
    if poses > 1:
        names = [f"{name}, pose {number}" for number in range(1, poses + 1) for name in names]
    return CloudSource(
        source.num_points,
        [_Rotated(source, drawn.astype(np.float32), seed, pose == "principal")],
        names,
        source.sha256,
        source.skipped,
    )


class _Rotated:
    """M clouds of a source, as often as there are rotations (poses M, 3, 3), each rotated by its own; or
    along its principal axes, with what is ambiguous drawn by seed and number."""

    def __init__(self, source: CloudSource, drawn: NDArray[np.float32], seed: int, principal: bool) -> None:
        self._source, self._drawn, self._seed, self._principal = source, drawn, seed, principal

    def __len__(self) -> int:
        return len(self._drawn)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        clouds = self._source.read(indices % len(self._source))
        turns = self._drawn[indices]
        if self._principal:
            turns = np.stack([self._along_axes(*one) for one in zip(clouds, indices, strict=True)])
        return clouds @ turns.transpose(0, 2, 1)

    def _along_axes(self, cloud: NDArray[np.float32], number: np.int64) -> NDArray[np.float32]:
        """One of the rotations (3, 3) of ``embed --pose any``; copies of a cloud take one after another."""
        found = rotations(second_moments(from_points(cloud)), "any", "y")
        copy, which = divmod(int(number), len(self._source))
        first = np.random.default_rng([self._seed, which]).integers(len(found))
        return np.asarray(found[(first + copy) % len(found)], np.float32)

    def close(self) -> None:
        self._source.close()


def uniform_rotations(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(count, 3, 3), from uniform unit quaternions."""
    quaternions = rng.normal(size=(count, 4))
    return of_quaternions(quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True))


def rotations_about(axis: str, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, 3, 3) rotations about a coordinate axis by angles (M,) in radians.

    Raises:
        ValueError: an unknown axis.
    """
    if axis not in ("x", "y", "z"):
        raise ValueError(f"up axis {axis!r}, expected x, y or z")
    fixed = "xyz".index(axis)
    first, second = (fixed + 1) % 3, (fixed + 2) % 3
    rotations = np.zeros((len(angles), 3, 3))
    rotations[:, fixed, fixed] = 1.0
    rotations[:, first, first] = rotations[:, second, second] = np.cos(angles)
    rotations[:, second, first] = np.sin(angles)
    rotations[:, first, second] = -np.sin(angles)
    return rotations
