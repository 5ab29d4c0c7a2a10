"""How a shape lies: rotations that bring it into canonical poses, found from its second moments. numpy only.

A shape that was turned has the same principal axes, turned. So a network that sees every shape along these
axes sees the same, however the shape lies. An axis has no sign, and where two moments nearly coincide, the
axes between them mean little; then there are several poses, and the features are averaged over them.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.surface import Geometry
from pointmae_zoo.shapes.up_axis import AXES

Pose = Literal["upright", "turned", "any"]

AMBIGUOUS = 0.9
"""Above this ratio of two neighbouring moments, the smaller by the larger, their axes are ambiguous."""
TURNS = 4
"""Poses about an axis whose angle is ambiguous: so many turns, evenly over 180 degrees."""
MOST_POSES = 24
"""Poses where all three axes are ambiguous; no shape has more."""
# Moments are rounded to so many decimals of their sum. Then the axes of a disc, whose two equal moments
# differ in their last bits only, don't depend on how a machine's libraries add numbers up.
DECIMALS = 9
SIGNS = np.array([np.diag(signs) for signs in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))], float)
"""The axes themselves, and turned by 180 degrees about each of them."""
# Triangles whose corners are float64 at the same time.
CHUNK = 1 << 16


def check_pose(value: object) -> None:
    """Raise a ValueError unless it is one of `Pose`."""
    if value not in get_args(Pose):
        raise ValueError(
            f"pose: {', '.join(get_args(Pose)[:-1])} or {get_args(Pose)[-1]} expected, got {value!r}"
        )


def second_moments(geometry: Geometry) -> NDArray[np.float64]:
    """The covariance (3, 3) of all places on the surface, in float64 and squares of the file's unit.

    The integral over the triangles is exact, so it depends on the surface alone and not on how it is cut into
    triangles. Without triangles it is that of the points. They have to be finite.
    """
    triangles, points = geometry
    if not triangles.shape[2]:
        far = points.astype(np.float64)
        centred = far - far.mean(axis=0)
        return np.asarray(centred.T @ centred / len(points))
    # About a place in the shape first: far away, squares would leave no digits for differences.
    middle = (triangles.min(axis=(0, 2)).astype(np.float64) + triangles.max(axis=(0, 2))) / 2
    area, first, second = 0.0, np.zeros(3), np.zeros((3, 3))
    for start in range(0, triangles.shape[2], CHUNK):
        corners = triangles[:, :, start : start + CHUNK] - middle[:, None]  # (3 corners, 3 axes, F)
        areas = np.linalg.norm(np.cross(corners[1] - corners[0], corners[2] - corners[0], axis=0), axis=0)
        total = corners.sum(axis=0)
        area += float(areas.sum())
        first += total @ areas / 3
        # Of a triangle of area 1: the sum over a, b, c and a + b + c of their outer products, by 12.
        second += sum((rows * areas) @ rows.T for rows in (*corners, total)) / 12
    mean = first / area
    return np.asarray(second / area - np.outer(mean, mean))


def rotations(
    moments: NDArray[np.float64], pose: Pose, up: str, *, turns: int = TURNS, most: int = MOST_POSES
) -> NDArray[np.float64]:
    """Rotations (P, 3, 3) into the poses of a shape with these second moments (3, 3): ``points @ R.T``.

    Args:
        pose: ``upright``: one pose, as it lies. ``turned``: turned about up until the larger horizontal
            moment lies along one axis, and by 180 degrees more: 2 poses, or 4 where the horizontal moments
            are ambiguous. ``any``: the principal axes along x, y, z, largest moment first, with the 4 choices
            of signs that don't mirror: 4 poses. Where two moments are ambiguous, each of the 4 has another
            turn about the third axis, too; where all are, 24 poses are spread over all rotations.
        up: the axis (x, y or z) that points up; for ``turned``.
        turns: poses about an axis whose angle is ambiguous; more than `TURNS` to find an exact one.
        most: poses where all axes are ambiguous.
    """
    if pose == "upright":
        return np.eye(3)[None]
    moments = np.round(moments / np.trace(moments), DECIMALS)
    if pose == "turned":
        third = AXES.index(up)
        plane, signs = [(third + 1) % 3, (third + 2) % 3], SIGNS[[0, 1 + third]]
        axes = np.eye(3)
        axes[np.ix_(plane, plane)], ambiguous = _principal(moments[np.ix_(plane, plane)])
    else:
        axes, ambiguous = _principal(moments)
        plane, signs = [0, 1] if ambiguous[0] else [1, 2], SIGNS
        if ambiguous.all():
            return np.asarray(_spread(most) @ axes)
    if not ambiguous.any():
        return np.asarray(signs @ axes)
    return np.asarray(signs[np.arange(turns) % len(signs)] @ _turns(plane[0], plane[1], turns) @ axes)


def _principal(moments: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A rotation (D, D) whose rows are the principal axes, largest moment first, of moments (D, D); and
    whether neighbouring ones (D - 1,) are ambiguous."""
    values, axes = np.linalg.eigh(moments)
    values, axes = values[::-1], axes.T[::-1].copy()
    largest = np.abs(axes).argmax(axis=1)
    axes *= np.sign(axes[np.arange(len(axes)), largest])[:, None]
    axes[-1] *= np.sign(np.linalg.det(axes))
    return axes, values[1:] > AMBIGUOUS * values[:-1]


def _turns(first: int, second: int, count: int) -> NDArray[np.float64]:
    """Rotations (count, 3, 3) in the plane of two axes, evenly over 180 degrees."""
    angles = np.arange(count) * np.pi / count
    turns = np.eye(3)[None].repeat(count, axis=0)
    turns[:, first, first] = turns[:, second, second] = np.cos(angles)
    turns[:, first, second] = -np.sin(angles)
    turns[:, second, first] = np.sin(angles)
    return turns


def _spread(count: int) -> NDArray[np.float64]:
    """Rotations (count, 3, 3), spread evenly over all rotations: a super-Fibonacci spiral (Alexa, CVPR 2022).

    Not the 24 rotations of a cube onto itself: of these a cube would be seen alike in all.
    """
    place = np.arange(count) + 0.5
    inner, outer = np.sqrt(place / count), np.sqrt(1 - place / count)
    # The spiral's two constants: the square root of 2, and the positive root of x**4 = x + 4.
    first, second = 2 * np.pi * place / np.sqrt(2), 2 * np.pi * place / 1.533751168755204288
    x, y = inner * np.sin(first), inner * np.cos(first)
    z, w = outer * np.sin(second), outer * np.cos(second)
    return of_quaternions(np.stack([w, x, y, z], axis=1))


def of_quaternions(quaternions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotations (M, 3, 3) of unit quaternions (M, 4) w, x, y, z."""
    w, x, y, z = quaternions.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)
