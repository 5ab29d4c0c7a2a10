"""Depth images of point clouds, and reading image features back at the points."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# I2P-MAE's three views, as axis permutations: image row, image column, depth (paper, section 3.2).
AXIS_VIEWS = ((0, 1, 2), (2, 0, 1), (1, 2, 0))


class DepthViews(NamedTuple):
    """Depth images and where every point lies in them."""

    images: Tensor  # (B, V, H, W)
    pixels: Tensor  # (B, V, N, 2): column, row of the point's own pixel in grid_sample coordinates, [-1, 1]


def summed_depth_images(points: Tensor, *, size: int = 224, cover: int = 5) -> DepthViews:
    """The reference's projection: three axis views, each pixel the *sum* of the signed depths of all points
    that cover it.

    A point covers ``cover`` x ``cover`` pixels. That cover is a box filter, so the points are scattered once
    and the image is filtered (separably), instead of scattering ``cover ** 2`` copies; the result is the same
    image.

    Args:
        points: (B, N, 3) float32.
        size: rows and columns of the square image.
        cover: side of the square that one point covers; odd.

    Returns:
        images (B, 3, size, size), empty pixels 0, and pixels (B, 3, N, 2).
    """
    margin = _margin(cover)
    # (B, V, 3, N): the points run along the last axis, where torch's reductions are vectorised.
    views = points.transpose(1, 2).contiguous()[:, torch.tensor(AXIS_VIEWS, device=points.device)]
    plane, depth = views[:, :, :2], views[:, :, 2]
    low, high = plane.amin(3, keepdim=True), plane.amax(3, keepdim=True)
    cell = (high - low).amax(2, keepdim=True) / (size - 3)
    cell = torch.where(cell > 0, cell, 1.0)  # all points in one pixel: any cell size will do
    index = ((plane - low) / cell).floor().long() + 1
    span = index.amax(3, keepdim=True) + index.amin(3, keepdim=True)
    index = index + (size // 2 - 1 - span.div(2, rounding_mode="floor"))
    images = _covered_sum(index[:, :, 0], index[:, :, 1], depth, size, margin)
    return DepthViews(images, _grid_coordinates(index.transpose(2, 3).clamp(0, size - 1), size))


def _margin(cover: int) -> int:
    """Pixels that a point covers on either side of its own."""
    if cover < 1 or cover % 2 == 0:
        raise ValueError(f"cover: an odd number of pixels expected, got {cover}")
    return cover // 2


def _covered_sum(row: Tensor, column: Tensor, depth: Tensor, size: int, margin: int) -> Tensor:
    """Sums of the depths that cover each pixel: rows, columns and depths (B, V, N) -> (B, V, size, size).

    The cover's columns are scattered, its rows are added up afterwards: sums over whole images are what costs
    time, a few copies of the points are not. A cover that reaches past the image by one is moved in by one,
    so its depth is added to the edge pixel.
    """
    batch, views, _ = row.shape
    width = size + 2  # positions -1 .. size
    flat = (row + margin + 1) * width + column + 1
    spread = torch.arange(-margin, margin + 1, device=row.device)
    flat = (flat.unsqueeze(-1) + spread).view(batch * views, -1)
    copies = depth.unsqueeze(-1).expand(-1, -1, -1, 2 * margin + 1).reshape(batch * views, -1)
    canvas = torch.zeros(batch * views, (width + 2 * margin) * width, dtype=depth.dtype, device=depth.device)
    canvas = canvas.scatter_add_(1, flat, copies).view(batch * views, -1, width)
    total = canvas[:, :width].clone() if margin == 0 else canvas[:, :width] + canvas[:, 1 : width + 1]
    for shift in range(2, 2 * margin + 1):
        total += canvas[:, shift : shift + width]
    for dim in (1, 2):
        total.select(dim, 1).add_(total.select(dim, 0))
        total.select(dim, size).add_(total.select(dim, size + 1))
    return total[:, 1:-1, 1:-1].reshape(batch, views, size, size)


def _grid_coordinates(index: Tensor, size: int) -> Tensor:
    """Row, column of a pixel -> column, row of its centre as grid_sample (align_corners=False) counts, [-1,
    1]."""
    return (2.0 * index.flip(-1).float() + 1.0) / size - 1.0


def view_rotations(count: int) -> Tensor:
    """Rotations (V, 3, 3) for ``zbuffer_depth_images``: rows are the image's right, up and towards-the-viewer
    directions.

    ``count`` 3: along the three axes (front, side, top; y is up). 6: three oblique views more, from corners
    of the cube, which see what the axis views hide.

    Raises:
        ValueError: another count.
    """
    towards = [
        (0.0, 0.0, 1.0),
        (1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0),
        (1.0, 0.7, 1.0),
        (-1.0, 0.7, 1.0),
        (0.5, -0.8, -1.0),
    ]
    if count not in (3, 6):
        raise ValueError(f"3 or 6 views are defined, got {count}")
    rows = []
    for direction in torch.tensor(towards[:count]):
        view = F.normalize(direction, dim=0)
        pole = torch.tensor([0.0, 1.0, 0.0]) if abs(view[1]) < 0.99 else torch.tensor([0.0, 0.0, -1.0])
        right = F.normalize(torch.linalg.cross(pole, view), dim=0)
        rows.append(torch.stack([right, torch.linalg.cross(view, right), view]))
    return torch.stack(rows)


def zbuffer_depth_images(
    points: Tensor, rotations: Tensor, *, size: int = 112, cover: int = 3, far: float = 0.2
) -> DepthViews:
    """Orthographic depth images in which the nearest surface wins; near is bright.

    Args:
        points: (B, N, 3).
        rotations: (V, 3, 3), the same for all clouds; rows are right, up and towards the viewer.
        size: rows and columns. The larger extent of the view fills it up to the points' cover.
        cover: side of the square of pixels that one point covers; odd.
        far: value of the farthest point; the nearest has 1 and empty pixels 0. Linear in between.

    Returns:
        images (B, V, size, size) in [0, 1] and pixels (B, V, N, 2).
    """
    batch, count, _ = points.shape
    views = torch.einsum("bnc,vrc->bvnr", points, rotations.to(points))
    margin = _margin(cover)
    plane, depth = views[..., :2], views[..., 2]
    low, high = plane.amin(2, keepdim=True), plane.amax(2, keepdim=True)
    extent = (high - low).amax(-1, keepdim=True).clamp_min(1e-12)
    usable = size - 1 - 2 * margin
    column_row = ((plane - (low + high) / 2) / extent * usable + (size - 1) / 2).round().long()
    column, row = column_row[..., 0], size - 1 - column_row[..., 1]
    near, back = depth.amax(2, keepdim=True), depth.amin(2, keepdim=True)
    brightness = far + (1.0 - far) * (depth - back) / (near - back).clamp_min(1e-12)
    canvas = torch.zeros(batch * views.shape[1], size * size, dtype=points.dtype, device=points.device)
    flat = (row * size + column).reshape(-1, count)
    canvas.scatter_reduce_(1, flat, brightness.reshape(-1, count), reduce="amax")
    images = canvas.view(batch, -1, size, size)
    if margin:
        images = F.max_pool2d(
            images, cover, stride=1, padding=margin
        )  # max over the cover is the nearest surface again
    return DepthViews(images, _grid_coordinates(torch.stack([row, column], -1), size))


def read_maps(maps: Tensor, pixels: Tensor, *, mode: str = "bicubic") -> Tensor:
    """Read feature maps at given places: (B, V, C, h, w), (B, V, M, 2) -> (B, M, V, C).

    With ``mode="bicubic"`` this equals upsampling the map to the image's size (``align_corners=False``) and
    reading the pixel, at a fraction of the work; ``"bilinear"`` is cheaper still and smoother.
    """
    batch, views, channels, height, width = maps.shape
    grid = pixels.reshape(batch * views, -1, 1, 2).to(maps.dtype)
    flat = maps.reshape(batch * views, channels, height, width)
    read = F.grid_sample(flat, grid, mode=mode, padding_mode="border", align_corners=False)
    return read.view(batch, views, channels, -1).permute(0, 3, 1, 2)
