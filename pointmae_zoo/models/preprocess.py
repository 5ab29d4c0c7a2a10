"""From points as they were read to a network's input. The recipe travels with the weights."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointmae_zoo.shapes.surface import FAR_AWAY

if TYPE_CHECKING:
    from torch import Tensor

AXES = ("x", "y", "z")
MOST_POINTS, MOST_SAMPLES = 1 << 20, 1 << 24  # it travels with weights that anybody may have made
CHOICES = {"center": ("centroid", "none"), "scale": ("unit_sphere", "none"), "up": AXES}


@dataclass(frozen=True)
class Preprocess:
    """Turns points, when called, into what the weights were trained on: turned, sampled, centred, scaled."""

    num_points: int = 1024
    """Points that farthest point sampling keeps, at least 2."""
    surface_samples: int = 8192
    """Points to sample on a mesh's surface before that, at least num_points."""
    center: str = "centroid"
    """centroid: the mean of the kept points becomes the origin. none: they stay where they are."""
    scale: str = "unit_sphere"
    """unit_sphere: divided by the largest distance from the origin. none: their own units."""
    up: str = "y"
    """The axis that pointed up in the training data: x, y or z."""

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
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """The inverse of to_dict. Raises ValueError or TypeError, naming the field that is wrong."""
        if not isinstance(fields, dict):
            raise TypeError(f"an object with fields expected, got {fields!r}")
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := [name for name in fields if name not in known]:
            raise ValueError(f"unknown field {unknown[0]!r}: expected {', '.join(known)}")
        if missing := [name for name in known if name not in fields]:
            raise ValueError(f"the field {missing[0]!r} is missing: expected {', '.join(known)}")
        return cls(**fields)

    def __call__(
        self, points: ArrayLike | Sequence[ArrayLike], *, up: str = "y", device: str = "cpu"
    ) -> "Tensor":
        """Points (N, 3) become float32 (num_points, 3).

        A list of B such clouds, or (B, N, 3), becomes (B, num_points, 3). A cloud of fewer than num_points is
        repeated, cyclically, in the order of farthest point sampling. What a cloud becomes never depends on
        the others in the list. Arrays and tensors of any number type and device are taken. If the recipe
        centres, points that float32 cannot resolve where they are (map coordinates) are moved to the origin
        in float64 first.

        Args:
            up: the axis that points up in these points; they are turned (never mirrored) so that it becomes
                self.up.
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

    def kept(self, points: ArrayLike, *, up: str = "y", device: str = "cpu") -> NDArray[np.int64]:
        """Which points of one cloud (N, 3) a call takes, in its order: (num_points,) rows of ``points``.

        Raises as a call does.
        """
        import torch

        small, _ = self.turned([points], up=up)
        return self._sample([torch.from_numpy(small[0]).to(device)])[0].cpu().numpy()

    def turned(
        self, many: Sequence[ArrayLike], *, up: str = "y"
    ) -> tuple[list[NDArray[np.float32]], list[int]]:
        """The first half of a call, for whoever copies to a device by himself: clouds with no coordinate of 1
        or more, checked and turned, and the exponents of the powers of two that they were divided by.

        Raises as a call does.
        """
        _check_choice("up", up, AXES)
        clouds = [self._checked(number, cloud) for number, cloud in enumerate(many)]
        turned = [turn_up(cloud, up, self.up) for cloud in clouds]
        # Halving and doubling are exact in floating point. Between 1/2 and 1, no square over- or underflows.
        exponents = [int(np.frexp(np.abs(cloud).max())[1]) for cloud in turned]
        return [
            np.ldexp(cloud, -exponent) for cloud, exponent in zip(turned, exponents, strict=True)
        ], exponents

    def finished(self, padded: "Tensor", lengths: "Tensor", scales: "Tensor") -> "Tensor":
        """The second half: (B, num_points, 3), what a call gives but for rounding, on the device where the
        clouds are. All clouds are sampled at once, and a GPU is never waited for.

        Args:
            padded: (B, M, 3) float32, what `turned` gives, each cloud filled up with its first point: that
                one is picked first, and what lies on a picked point comes last.
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
            # In float64, so that the order of summing, which depends on the batch, is lost in the rounding.
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
        """The rows of num_points of each cloud; clouds of equal length in one call."""
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
        """Centre and scale; cloud by cloud, so that no sum is taken in an order that depends on the batch."""
        if self.center == "centroid":
            cloud = cloud - cloud.mean(dim=0)
        if self.scale == "unit_sphere":
            return cloud / cloud.square().sum(dim=1).max().sqrt()
        return (cloud.double() * 2.0**exponent).float()


def _as_array(points: Any) -> NDArray[Any]:
    """Tensors too, those that require a gradient, lie on another device or are bfloat16."""
    import torch

    if isinstance(points, torch.Tensor):
        points = points.detach().cpu()
        return (points.float() if points.dtype == torch.bfloat16 else points).numpy()
    return np.asarray(points)


def _near_origin(points: NDArray[Any]) -> NDArray[Any]:
    """(N, 3) with the middle of its box at the origin, if float32 would round it or it lies far away.

    Everything else stays as it is, bit for bit: what is centred later needs no help.
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
    """Least and largest coordinate of each axis, (3,) each, of at least one point (N, 3); NaN where one is.

    Through rows of 3 numpy goes many times slower than through rows of 192.
    """
    whole = len(points) - len(points) % 64
    if not whole:
        return points.min(axis=0), points.max(axis=0)
    wide, rest = points[:whole].reshape(-1, 192), points[whole:]
    low = np.concatenate([wide.min(axis=0).reshape(-1, 3), rest]).min(axis=0)
    return low, np.concatenate([wide.max(axis=0).reshape(-1, 3), rest]).max(axis=0)


def turn_up(points: NDArray[np.float32], source: str, target: str) -> NDArray[np.float32]:
    """(N, 3) turned by a quarter around the third axis, so that axis `source` becomes axis `target`."""
    if source == target:
        return points
    old, new = AXES.index(source), AXES.index(target)
    turned = points.copy()
    # Swapping two axes mirrors; the minus makes it a rotation.
    turned[:, new] = points[:, old]
    turned[:, old] = -points[:, new]
    return turned


def _is_batch(points: Any) -> TypeGuard[Sequence[ArrayLike]]:
    """A list of (N, 3) clouds, or (B, N, 3); anything else is taken for one cloud."""
    if isinstance(points, list | tuple):
        return len(points) > 0 and np.ndim(points[0]) == 2
    return np.ndim(points) == 3


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: {' or '.join(map(repr, choices))} expected, got {value!r}")
