"""Farthest point sampling."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointmae_zoo.ops import exportable
from pointmae_zoo.ops.cpu import numba_operators
from pointmae_zoo.ops.triton import dispatch

# The squared radius within which the reference's sampling kernel never picks a point (see
# `skip_near_origin`).
NEAR_ORIGIN = 1e-3
_FAR = 1e10
# Points that numpy works on at a time, so that their distances stay in the processor's cache.
_CACHED = 1 << 14


def farthest_point_sample(points: Tensor, num_samples: int, *, skip_near_origin: bool = False) -> Tensor:
    """Pick points one by one, each the farthest from all picked before it; the first is point 0.

    The order matters: the first M entries are what a call with ``num_samples=M`` returns, and sampling the
    picked points again returns them in the same order. So a hierarchy of samples costs a single call.

    Args:
        points: (B, N, 3) float coordinates; finite.
        num_samples: how many to pick. Once all distinct points are picked, the rest repeat the lowest index.
        skip_near_origin: never pick a point with squared norm <= 1e-3 (point 0 excepted). The public CUDA
            kernel that this field uses does so, and weights trained with it expect it. Off for our weights.

    Returns:
        (B, num_samples) int64 indices; the lowest index wins a tie.

    Raises:
        ValueError: not (B, N, 3), no points, or ``num_samples`` below 1.
    """
    if points.ndim != 3 or points.shape[-1] != 3 or points.shape[1] == 0:
        raise ValueError(f"points must be (B, N, 3) with N >= 1, got {tuple(points.shape)}")
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    points = points.detach()
    if points.dtype not in (torch.float32, torch.float64):
        points = points.float()
    if exportable.exporting():
        never = points.square().sum(-1) <= NEAR_ORIGIN if skip_near_origin else None
        return exportable.farthest_point_sample(points, num_samples, never, _FAR)
    if dispatch.samples(points):
        from pointmae_zoo.ops.triton import operators

        near_origin = NEAR_ORIGIN if skip_near_origin else -1.0
        return operators.farthest_point_sample(points, num_samples, _FAR, near_origin)
    if points.device.type != "cpu":
        return _sample_torch(points, num_samples, skip_near_origin)
    if points.dtype == torch.float32 and numba_operators.available():
        return numba_operators.farthest_point_sample(points, num_samples, skip_near_origin)
    clouds = max(1, _CACHED // points.shape[1])
    return torch.cat([_sample_numpy(part, num_samples, skip_near_origin) for part in points.split(clouds)])


def _sample_numpy(points: Tensor, num_samples: int, skip_near_origin: bool) -> Tensor:
    """On a CPU without numba: numpy's argmax is vectorised and its calls cost half of torch's."""
    clouds = points.numpy()
    batch, count, _ = clouds.shape
    # One contiguous (B, N) array per coordinate: the inner loop reads memory in order.
    coordinates = [np.ascontiguousarray(clouds[..., axis]) for axis in range(3)]
    nearest: NDArray[np.floating] = np.full((batch, count), _FAR, dtype=clouds.dtype)
    distance, square = np.empty_like(nearest), np.empty_like(nearest)
    if skip_near_origin:
        x, y, z = coordinates
        # A negative distance never wins the argmax and survives every minimum.
        nearest[x * x + y * y + z * z <= nearest.dtype.type(NEAR_ORIGIN)] = -1.0
    picked = np.zeros((num_samples, batch), dtype=np.int64)
    first = np.arange(batch) * count
    for step in range(1, num_samples):
        last = (first + picked[step - 1])[:, None]
        for axis, coordinate in enumerate(coordinates):
            target = distance if axis == 0 else square
            np.subtract(coordinate, coordinate.ravel()[last], out=target)
            np.multiply(target, target, out=target)
            if axis:
                np.add(distance, square, out=distance)
        np.minimum(nearest, distance, out=nearest)
        np.argmax(nearest, axis=1, out=picked[step])
    return torch.from_numpy(picked.T.copy())


def _sample_torch(points: Tensor, num_samples: int, skip_near_origin: bool) -> Tensor:
    batch, count, _ = points.shape
    # One contiguous (B, N) tensor per coordinate: the inner loop reads memory in order.
    coordinates = [points[..., axis].contiguous() for axis in range(3)]
    nearest = torch.full((batch, count), _FAR, dtype=points.dtype, device=points.device)
    if skip_near_origin:
        x, y, z = coordinates
        # A negative distance never wins the argmax and survives every minimum.
        nearest[x * x + y * y + z * z <= NEAR_ORIGIN] = -1.0
    picked = torch.empty((num_samples, batch, 1), dtype=torch.int64, device=points.device)
    picked[0] = 0
    distance = torch.empty_like(nearest)
    square = torch.empty_like(nearest)
    farthest = torch.empty(batch, 1, dtype=points.dtype, device=points.device)
    for step in range(1, num_samples):
        last = picked[step - 1]
        for axis, coordinate in enumerate(coordinates):
            target = distance if axis == 0 else square
            torch.sub(coordinate, coordinate.gather(1, last), out=target)
            target.mul_(target)
            if axis:
                distance.add_(square)
        torch.minimum(nearest, distance, out=nearest)
        # max returns the first of equal maxima, as argmax does, in two thirds of the time.
        torch.max(nearest, dim=1, keepdim=True, out=(farthest, picked[step]))
    return picked.squeeze(-1).t().contiguous()
