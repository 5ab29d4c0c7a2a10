"""Test clouds that are not as the training clouds were: turned, thinned, noisy, with parts missing.

The classifier is the one that was trained on upright, clean clouds; only what it is asked about changes.
Every draw comes from a stated seed, one for each cloud in the order of the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal["clean", "rotation about up", "rotation", "points", "noise", "missing ball", "missing side"]

SEED = 0
"""Of all draws."""
POINT_COUNTS = (256, 512, 1024, 2048, 4096)
NOISE = (0.02,)
"""Standard deviations, in units of the clouds' radius."""
MISSING = (0.25,)
"""Shares of the points that are removed."""


@dataclass(frozen=True)
class Change:
    """One thing that is done to test clouds.

    Args:
        kind: ``rotation about up``: by a uniform angle about the up axis; ``rotation``: by a uniform
            rotation; ``points``: the first ``amount`` points; ``noise``: Gaussian, of deviation ``amount`` of
            the cloud's radius, on every coordinate; ``missing ball``: the share ``amount`` of the points that
            is nearest to one of them; ``missing side``: the share that lies farthest along a random
            direction; ``clean``: nothing.
        amount: see there.
    """

    kind: Kind
    amount: float = 0.0

    @property
    def name(self) -> str:
        """For people, and the key in JSON."""
        if self.kind == "points":
            return f"{self.amount:.0f} points"
        if self.kind == "noise":
            return f"noise {self.amount:g}"
        if self.kind in ("missing ball", "missing side"):
            return f"{self.kind} {100 * self.amount:g} %"
        return self.kind


CLEAN = Change("clean")
KINDS: tuple[Kind, ...] = tuple(kind for kind in get_args(Kind) if kind != "clean")
"""What may be asked for."""


def changes(available: int, num_points: int, kinds: Sequence[str] | None = None) -> tuple[Change, ...]:
    """What is tried where the file has ``available`` points a cloud and ``num_points`` are used.

    Args:
        kinds: some of ``KINDS``; None: all.

    Raises:
        ValueError: nothing, or there is nothing of a kind to be tried; names it.
    """
    counts = [count for count in POINT_COUNTS if count <= available and count != num_points]
    every = (
        Change("rotation about up"),
        Change("rotation"),
        *(Change("points", count) for count in counts),
        *(Change("noise", deviation) for deviation in NOISE),
        *(Change("missing ball", share) for share in MISSING),
        *(Change("missing side", share) for share in MISSING),
    )
    if kinds is None:
        return every
    check_kinds(kinds)
    if "points" in kinds and not counts:
        raise ValueError(
            f"conditions: the clouds have {available} points, and {num_points} are used, so that no other of "
            f"{', '.join(map(str, POINT_COUNTS))} can be tried; leave 'points' out"
        )
    return tuple(change for change in every if change.kind in kinds)


def check_kinds(kinds: Sequence[str] | None) -> None:
    """Raise a ValueError for a kind of change that there is not, or for none at all."""
    if kinds is None:
        return
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        said = repr(unknown[0]) if unknown else "an empty list"
        raise ValueError(f"conditions: {said}, expected some of {', '.join(KINDS)}")


def change_clouds(
    points: NDArray[np.float32], change: Change, *, num_points: int, up: str = "y", seed: int = SEED
) -> NDArray[np.float32]:
    """The changed clouds, not normalised again.

    Args:
        points: (M, N, 3) all points of every cloud; the first ``num_points`` are used, except by ``points``.
        change: what is done.
        up: axis that ``rotation about up`` turns about.

    Returns:
        (M, n, 3); n is ``num_points``, ``amount`` of them for ``points``, and less by the share that is
        missing.

    Raises:
        ValueError: more points asked for than there are, an unknown axis, or a share that leaves none.
    """
    wanted = int(change.amount) if change.kind == "points" else num_points
    if wanted > points.shape[1]:
        raise ValueError(f"{wanted} points asked for, but the clouds have {points.shape[1]}")
    points = points[:, :wanted]
    rng = np.random.default_rng(seed)
    if change.kind in ("clean", "points"):
        return points
    if change.kind in ("rotation about up", "rotation"):
        if change.kind == "rotation":
            rotations = _uniform_rotations(len(points), rng)
        else:
            rotations = _rotations_about(up, rng.uniform(0.0, 2.0 * np.pi, len(points)))
        return np.einsum("mnj,mij->mni", points.astype(np.float64), rotations).astype(np.float32)
    if change.kind == "noise":
        radius = np.linalg.norm(points - points.mean(axis=1, keepdims=True), axis=2).max(axis=1)
        noise = rng.normal(size=points.shape) * (change.amount * radius)[:, None, None]
        return (points + noise).astype(np.float32)
    kept = wanted - round(change.amount * wanted)
    if not 0.0 <= change.amount < 1.0 or kept < 1:
        raise ValueError(f"{change.name}: expected a share of at least 0 that leaves some points")
    if change.kind == "missing ball":
        middle = points[np.arange(len(points)), rng.integers(wanted, size=len(points))]
        away = np.square(points - middle[:, None]).sum(axis=2)
    else:
        direction = rng.normal(size=(len(points), 3))
        away = -np.einsum("mnj,mj->mn", points, direction)
    # The farthest are kept, in the order in which they were.
    chosen = np.sort(np.argsort(-away, axis=1, kind="stable")[:, :kept], axis=1)
    return np.take_along_axis(points, chosen[:, :, None], axis=1)


def _uniform_rotations(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(count, 3, 3), from uniform unit quaternions."""
    quaternions = rng.normal(size=(count, 4))
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def _rotations_about(axis: str, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, 3, 3) rotations about a coordinate axis."""
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
