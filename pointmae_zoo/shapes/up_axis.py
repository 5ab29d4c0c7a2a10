"""Which axis of a shape points up, and turning shapes upright."""

from typing import Final, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

_Float = TypeVar("_Float", bound=np.floating)

AXES = ("x", "y", "z")
UpAxis = Literal["x", "y", "z", "-x", "-y", "-z"]
"""What may point up in files. Depth cameras have y down, so there -y points up."""
UP_AXES: tuple[str, ...] = get_args(UpAxis)
DEFAULT_UP: Final = "y"
"""What points up where nobody says so, and in the input of all networks of this zoo."""


def check_up(value: object) -> None:
    """Raise a ValueError unless it is one of `UP_AXES`."""
    if value not in UP_AXES:
        raise ValueError(f"up: {', '.join(UP_AXES[:-1])} or {UP_AXES[-1]} expected, got {value!r}")


def turn_up(points: NDArray[_Float], source: str, target: str) -> NDArray[_Float]:
    """Points (..., 3), turned so that the direction ``source`` (of `UP_AXES`) becomes the axis ``target`` (of
    `AXES`): by 90 degrees about the third axis, or by 180 degrees if the two are opposite. Points that are
    upright already are given back as they are."""
    if source == target:
        return points
    sign = -1 if source.startswith("-") else 1
    old, new = AXES.index(source[-1]), AXES.index(target)
    turned = points.copy()
    # Swapping two axes, or changing one sign, is a reflection; the second minus makes it a rotation.
    if old == new:
        turned[..., new] = -points[..., new]
        turned[..., (new + 1) % 3] = -points[..., (new + 1) % 3]
    else:
        turned[..., new] = sign * points[..., old]
        turned[..., old] = -sign * points[..., new]
    return turned
