"""From points, as they were read, to a network's input. These settings are stored with the weights."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeGuard, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointmae_zoo.shapes.pose import Pose
from pointmae_zoo.shapes.surface import FAR_AWAY
from pointmae_zoo.shapes.up_axis import AXES, DEFAULT_UP, check_up, turn_up

if TYPE_CHECKING:
    from torch import Tensor

MOST_POINTS, MOST_SAMPLES = 1 << 20, 1 << 24  # limits, because anybody may have made the weights' file
CHOICES = {
    "center": ("centroid", "none"),
    "scale": ("unit_sphere", "none"),
    "up": AXES,
    "pose": get_args(Pose),
}


@dataclass(frozen=True)
class Preprocess:
    """When called, turns points into a network's input: rotated upright, sampled, centred, scaled."""

    num_points: int = 1024
    """Points that farthest point sampling keeps, at least 2."""
    surface_samples: int = 8192
    """Points to sample on a mesh's surface before that, at least num_points."""
    center: str = "centroid"
    """centroid: the mean of the kept points becomes the origin. none: they stay where they are."""
    scale: str = "unit_sphere"
    """unit_sphere: divided by the largest distance from the origin. none: their own units."""
    up: str = DEFAULT_UP
    """The axis that pointed up in the training data: x, y or z."""
    pose: str = "upright"
    """How shapes lay in training, and the poses that `embed_files` takes unless told: upright, turned or
    any."""

    def __post_init__(self) -> None:
        for name in ("num_points", "surface_samples"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name}: a whole number expected, got {value!r}")
        if not 2 <= self.num_points <= MOST_POINTS:
            raise ValueError(f"num_points: from 2 to {MOST_POINTS} expected, got {self.num_points}")
        if not self.num_points <= self.surface_samples <= MOST_SAMPLES:
            raise ValueError(
                f"surface_samples: from {self.num_points} to {MOST_SAMPLES} expected, "
                f"got {self.surface_samples}"
            )
        for name, choices in CHOICES.items():
            _check_choice(name, getattr(self, name), choices)

    def to_dict(self) -> dict[str, Any]:
        """The fields as they stand in config.json."""
        fields = dataclasses.asdict(self)
        if self.pose == "upright":  # as in files that are older than this field
            del fields["pose"]
        return fields

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """The inverse of to_dict. Raises ValueError or TypeError, naming the field that is wrong."""
        if not isinstance(fields, dict):
            raise TypeError(f"an object with fields expected, got {fields!r}")
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := [name for name in fields if name not in known]:
            raise ValueError(f"unknown field {unknown[0]!r}: expected {', '.join(known)}")
        if missing := [name for name in known if name not in fields and name != "pose"]:
            raise ValueError(f"the field {missing[0]!r} is missing: expected {', '.join(known)}")
        return cls(**fields)

    def __call__(
        self, points: ArrayLike | Sequence[ArrayLike], *, up: str = DEFAULT_UP, device: str = "cpu"
    ) -> "Tensor":
        """Points (N, 3) become float32 (num_points, 3).

        A list of B such clouds, or (B, N, 3), becomes (B, num_points, 3). If a cloud has fewer points than
        num_points, they are repeated in the order of farthest point sampling. The result of a cloud does not
        depend on the others. Arrays and tensors of any number type and device are accepted. If clouds are
        centred, points that float32 can't resolve in place (map coordinates) are moved to the origin in
        float64 first.

        Args:
            up: the axis that points up in these points (one of ``UP_AXES``); they are rotated so that it
                becomes self.up.
            device: where to sample, and where the result is.

        Raises ValueError for NaN, infinity, no cloud at all, another shape than (N, 3), or fewer than two
        different points.
        """
        import torch

        many: list[Any] = list(points) if _is_batch(points) else [points]
        if not many or (isinstance(points, list | tuple) and not points):
            raise ValueError("points: at least one cloud of shape (N, 3) expected, got none")
        small, exponents = self.turned(many, up=up)
        clouds = [torch.from_numpy(cloud).to(device) for cloud in small]
        chosen = [cloud[order] for cloud, order in zip(clouds, self._sample(clouds), strict=True)]
        finished = torch.stack([self._place(*pair) for pair in zip(chosen, exponents, strict=True)])
        return finished if _is_batch(points) else finished[0]

    def kept(self, points: ArrayLike, *, up: str = DEFAULT_UP, device: str = "cpu") -> NDArray[np.int64]:
        """The points of one cloud (N, 3) that a call keeps, in its order: (num_points,) rows of ``points``.

        Raises as a call does.
        """
        import torch

        small, _ = self.turned([points], up=up)
        return self._sample([torch.from_numpy(small[0]).to(device)])[0].cpu().numpy()

    def turned(
        self, many: Sequence[ArrayLike], *, up: str = DEFAULT_UP
    ) -> tuple[list[NDArray[np.float32]], list[int]]:
        """The first half of a call, for callers that copy to a device themselves: clouds, checked and
        upright, divided by powers of two so that all coordinates are below 1; and the exponents of these
        powers.

        Raises as a call does.
        """
        check_up(up)
        clouds = [self._checked(number, cloud) for number, cloud in enumerate(many)]
        turned = [turn_up(cloud, up, self.up) for cloud in clouds]
        # Halving and doubling are exact in floating point. Between 1/2 and 1, no square over- or underflows.
        exponents = [int(np.frexp(np.abs(cloud).max())[1]) for cloud in turned]
        return [
            np.ldexp(cloud, -exponent) for cloud, exponent in zip(turned, exponents, strict=True)
        ], exponents

    def finished(self, padded: "Tensor", lengths: "Tensor", scales: "Tensor") -> "Tensor":
        """The second half of a call, equal to it up to rounding: (B, num_points, 3) on the clouds' device.

        All clouds are sampled at once, without waiting for a GPU.

        Args:
            padded: (B, M, 3) float32, what `turned` gives, each cloud padded with its first point. That point
                is picked first, and points that coincide with a picked one come last.
            lengths: (B,) int64, how many points each cloud has of its own.
            scales: (B,) float64, two to the power of `turned`'s exponents.
        """
        import torch

        from pointmae_zoo.ops import farthest_point_sample

        order = farthest_point_sample(padded, min(self.num_points, padded.shape[1]))
        places = torch.arange(self.num_points, device=padded.device)
        order = order.gather(1, places % lengths.clamp(max=self.num_points).unsqueeze(1))
        clouds = padded.gather(1, order.unsqueeze(-1).expand(-1, -1, 3))
        if self.center == "centroid":
            # In float64: the order of summation depends on the batch, and rounding to float32 hides it.
            clouds = clouds - clouds.double().mean(dim=1, keepdim=True).float()
        if self.scale == "unit_sphere":
            return clouds / clouds.square().sum(dim=2).amax(dim=1).sqrt()[:, None, None]
        return (clouds.double() * scales[:, None, None]).float()

    def _checked(self, number: int, points: ArrayLike) -> NDArray[np.float32]:
        """(N, 3) float32."""
        given = _as_array(points)
        if given.ndim != 2 or given.shape[1] != 3:
            raise ValueError(f"points of cloud {number}: shape (N, 3) expected, got {given.shape}")
        if given.dtype.kind not in "fiu":
            raise TypeError(f"points of cloud {number}: numbers expected, got {given.dtype}")
        if self.center == "centroid":
            given = _near_origin(given)
        with np.errstate(over="ignore"):
            cloud = given.astype(np.float32)
        if len(cloud) == 0:
            raise ValueError(f"points of cloud {number}: at least two different points expected")
        low, high = _bounds(cloud)
        if not (np.isfinite(low) & np.isfinite(high)).all():
            raise ValueError(
                f"points of cloud {number}: NaN or infinity in float32; remove such points first"
            )
        if (low == high).all():
            raise ValueError(f"points of cloud {number}: at least two different points expected")
        return cloud

    def _sample(self, clouds: "list[Tensor]") -> "list[Tensor]":
        """The num_points rows to keep of each cloud; clouds of equal length are sampled together."""
        import torch

        from pointmae_zoo.ops import farthest_point_sample

        by_length: dict[int, list[int]] = {}
        for number, cloud in enumerate(clouds):
            by_length.setdefault(len(cloud), []).append(number)
        orders = list(clouds)
        for length, numbers in by_length.items():
            indices = farthest_point_sample(
                torch.stack([clouds[number] for number in numbers]), min(self.num_points, length)
            )
            cycle = torch.arange(self.num_points, device=indices.device) % indices.shape[1]
            for number, order in zip(numbers, indices[:, cycle], strict=True):
                orders[number] = order
        return orders

    def _place(self, cloud: "Tensor", exponent: int) -> "Tensor":
        """Centre and scale one cloud; alone, so that the order of summation does not depend on a batch."""
        if self.center == "centroid":
            cloud = cloud - cloud.mean(dim=0)
        if self.scale == "unit_sphere":
            return cloud / cloud.square().sum(dim=1).max().sqrt()
        return (cloud.double() * 2.0**exponent).float()


def rotated(points: "Tensor", rotations: "Tensor") -> "Tensor":
    """Points (B, N, 3) of an input, each cloud turned by its own rotation (B, 3, 3): ``points @ R.T``."""
    # No product of matrices: a GPU may round its factors, and its order of summation may depend on B.
    columns = (points[:, :, axis, None] * rotations[:, None, :, axis] for axis in range(3))
    return next(columns) + next(columns) + next(columns)


def _as_array(points: Any) -> NDArray[Any]:
    """Also of tensors that require a gradient, are on another device or are bfloat16."""
    import torch

    if isinstance(points, torch.Tensor):
        points = points.detach().cpu()
        return (points.float() if points.dtype == torch.bfloat16 else points).numpy()
    return np.asarray(points)


def _near_origin(points: NDArray[Any]) -> NDArray[Any]:
    """(N, 3), moved so that the middle of its bounding box is the origin, if float32 would round it or it is
    far away. Other clouds stay as they are, bit for bit: they are centred later.
    """
    if not len(points):
        return points
    low, high = (bound.astype(np.float64) for bound in _bounds(points))
    if not (np.isfinite(low) & np.isfinite(high)).all():
        return points
    reach, size = max(np.abs(low).max(), np.abs(high).max()), (high / 2 - low / 2).max() * 2
    with np.errstate(over="ignore"):
        exact = points.dtype == np.float32 or (points.astype(np.float32) == points).all()
    if exact and reach <= FAR_AWAY * size:
        return points
    return points.astype(np.float64) - (low / 2 + high / 2)


def _bounds(points: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Smallest and largest coordinate of each axis, (3,) each, of points (N, 3), N >= 1; NaN if one is NaN.

    numpy reduces rows of 3 many times slower than rows of 192, so points are viewed as those.
    """
    whole = len(points) - len(points) % 64
    if not whole:
        return points.min(axis=0), points.max(axis=0)
    wide, rest = points[:whole].reshape(-1, 192), points[whole:]
    low = np.concatenate([wide.min(axis=0).reshape(-1, 3), rest]).min(axis=0)
    return low, np.concatenate([wide.max(axis=0).reshape(-1, 3), rest]).max(axis=0)


def _is_batch(points: Any) -> TypeGuard[Sequence[ArrayLike]]:
    """Whether it is a list of (N, 3) clouds, or (B, N, 3); anything else counts as one cloud."""
    if isinstance(points, list | tuple):
        return len(points) > 0 and np.ndim(points[0]) == 2
    return np.ndim(points) == 3


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: {' or '.join(map(repr, choices))} expected, got {value!r}")
