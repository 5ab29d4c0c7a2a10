"""Depth images of point clouds: the views, rendering, and reading image features at the points."""

import functools
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# I2P-MAE's three views, as axis permutations: image row, image column, depth (paper, section 3.2).
AXIS_VIEWS = ((0, 1, 2), (2, 0, 1), (1, 2, 0))
# Of images in which the nearest surface wins, unless the caller says otherwise; see `fit_view_frames`.
SIZE, COVER, FARTHEST = 112, 3, 0.2


class DepthViews(NamedTuple):
    """Depth images and where every point lies in them."""

    images: Tensor  # (B, V, H, W)
    pixels: Tensor  # (B, V, N, 2): column, row of the point's own pixel in grid_sample coordinates, [-1, 1]


def summed_depth_images(points: Tensor, *, size: int = 224, cover: int = 5) -> DepthViews:
    """The reference's projection: three axis views, each pixel the *sum* of the signed depths of all points
    that cover it.

    A point covers ``cover`` x ``cover`` pixels. That is a box filter: instead of scattering ``cover ** 2``
    copies of each point, the points are scattered once and the image is filtered, one axis after the other.
    The image is the same.

    Args:
        points: (B, N, 3) float32.
        size: rows and columns of the square image.
        cover: side of the square that one point covers; odd.

    Returns:
        images (B, 3, size, size), empty pixels 0, and pixels (B, 3, N, 2).
    """
    margin = _margin(cover)
    index, depth = _summed_places(points, size)
    images = _covered_sum(index[:, :, 0], index[:, :, 1], depth, size, margin)
    return DepthViews(images, _summed_coordinates(index, size))


def _summed_places(points: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Row and column (B, 3, 2, N) of every point, and its depth (B, 3, N), in the three axis views."""
    # (B, V, 3, N): points on the last axis, where torch's reductions are vectorised. No index tensor: copying
    # it to a GPU would mean waiting for the GPU.
    axes = points.unbind(2)
    views = torch.stack([torch.stack([axes[axis] for axis in view], 1) for view in AXIS_VIEWS], 1)
    plane, depth = views[:, :, :2], views[:, :, 2]
    low, high = plane.amin(3, keepdim=True), plane.amax(3, keepdim=True)
    cell = (high - low).amax(2, keepdim=True) / (size - 3)
    cell = torch.where(cell > 0, cell, 1.0)  # all points in one pixel: any cell size is right
    index = ((plane - low) / cell).floor().long() + 1
    span = index.amax(3, keepdim=True) + index.amin(3, keepdim=True)
    return index + (size // 2 - 1 - span.div(2, rounding_mode="floor")), depth


def _summed_coordinates(index: Tensor, size: int) -> Tensor:
    return _grid_coordinates(index.transpose(2, 3).clamp(0, size - 1), size)


def _margin(side: int, name: str = "cover") -> int:
    """Pixels on either side of the middle one."""
    if side < 1 or side % 2 == 0:
        raise ValueError(f"{name}: an odd number of pixels expected, got {side}")
    return side // 2


def _covered_sum(row: Tensor, column: Tensor, depth: Tensor, size: int, margin: int) -> Tensor:
    """Sums of the depths that cover each pixel: rows, columns and depths (B, V, N) -> (B, V, size, size).

    The cover's columns are scattered, its rows are added afterwards: sums over whole images take the time, a
    few copies of the points don't. Where a cover reaches past the image by one pixel, its depth is added to
    the edge pixel.
    """
    batch, views, _ = row.shape
    width = size + 2  # positions -1 .. size
    flat = (row + margin + 1) * width + column + 1
    spread = torch.arange(-margin, margin + 1, device=row.device)  # (cover,)
    flat = (flat.unsqueeze(-1) + spread).view(batch * views, -1)  # (B V, N cover)
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


def view_rotations(count: int, device: torch.device | None = None) -> Tensor:
    """Rotations (V, 3, 3) for ``zbuffer_depth_images``. Their rows are the image's directions: right, up, and
    towards the viewer.

    They are cached for each device, because copying to a GPU means waiting for it. Don't change them in
    place.

    Args:
        count: 3: along the three axes (front, side, top; y is up). 6: also three oblique views, from corners
            of the cube, which show what the axis views hide.
        device: None: the CPU.

    Raises:
        ValueError: another count.
    """
    return _rotations_on(count, torch.device("cpu") if device is None else device)


@functools.cache
def _rotations_on(count: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return _rotations(count).to(device)


def _rotations(count: int) -> Tensor:
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


def orbit_rotations(yaw: Tensor, elevation: Tensor) -> Tensor:
    """Rotations of views from around the cloud, rows as in `view_rotations`; y is up.

    Args:
        yaw: (...) angles about y in radians; at 0 the viewer stands at +z, at pi / 2 at +x.
        elevation: (...) angles above the horizon.

    Returns:
        (..., 3, 3).
    """
    side, ahead, rise, level = yaw.sin(), yaw.cos(), elevation.sin(), elevation.cos()
    right = torch.stack([ahead, torch.zeros_like(yaw), -side], -1)
    up = torch.stack([-rise * side, level, -rise * ahead], -1)
    towards = torch.stack([level * side, rise, level * ahead], -1)
    return torch.stack([right, up, towards], -2)


class ViewFrames(NamedTuple):
    """Orthographic views fitted to a cloud, which put any points into its depth images."""

    rotations: Tensor  # (B, V, 3, 3); rows are right, up and towards the viewer
    center: Tensor  # (B, V, 2): right, up of the image's middle
    extent: Tensor  # (B, V): the larger side of the cloud's bounding box in the image's plane
    near: Tensor  # (B, V): the nearest point's coordinate towards the viewer
    back: Tensor  # (B, V): the farthest point's
    size: int  # rows and columns of the images
    cover: int  # pixels that a point covers, along a side
    farthest: float  # value of the farthest point

    def of(self, cloud: int) -> "ViewFrames":
        """The frames of one cloud, (1, V, ...)."""
        one = slice(cloud, cloud + 1)
        return self._replace(
            rotations=self.rotations[one],
            center=self.center[one],
            extent=self.extent[one],
            near=self.near[one],
            back=self.back[one],
        )

    @property
    def depth_unit(self) -> Tensor:
        """(B, V): the length that a difference of 1 in image depth stands for, as a share of the extent."""
        return self._range / ((1.0 - self.farthest) * self.extent)

    @property
    def _range(self) -> Tensor:
        return (self.near - self.back).clamp_min(1e-12)

    @property
    def _usable(self) -> int:
        """Pixels between the outermost points."""
        return self.size - 1 - 2 * _margin(self.cover)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Project any points (B, M, 3), differentiably.

        Returns:
            Their positions (B, V, M, 2) in grid_sample coordinates, not rounded to pixels, and the values
            (B, V, M) that a depth image has at a visible point.
        """
        place, value = self._places(points)
        column, row = place[..., 0], self.size - 1 - place[..., 1]
        return (2.0 * torch.stack([column, row], -1) + 1.0) / self.size - 1.0, value

    def pixels(self, points: Tensor) -> Tensor:
        """The own pixels (B, V, M, 2) of any points (B, M, 3), as `render_depth_images` gives them."""
        seen = torch.einsum("bmc,bvrc->bvmr", points, self.rotations)
        place = seen.transpose(2, 3)[:, :, :2].contiguous()  # (B, V, 2, M): all below is faster so
        place.sub_(self.center.unsqueeze(3)).div_(self.extent[..., None, None])
        pixels = _nearest_pixels(place.mul_(self._usable).add_((self.size - 1) / 2), self.size)
        pixels[:, :, 1] = self.size - 1 - pixels[:, :, 1]
        return pixels.mul_(2.0).add_(1.0).div_(self.size).sub_(1.0).transpose(2, 3)

    def _places(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels to the right and *up* (B, V, M, 2), and values (B, V, M)."""
        seen = torch.einsum("bmc,bvrc->bvmr", points, self.rotations)  # (B, V, M, 3)
        apart = (seen[..., :2] - self.center.unsqueeze(2)) / self.extent[..., None, None]
        depth = seen[..., 2] - self.back.unsqueeze(2)
        depth = (1.0 - self.farthest) * depth / self._range.unsqueeze(2)
        return apart * self._usable + (self.size - 1) / 2, self.farthest + depth


def fit_view_frames(
    points: Tensor, rotations: Tensor, *, size: int = SIZE, cover: int = COVER, farthest: float = FARTHEST
) -> ViewFrames:
    """Fit views to clouds, so that each cloud fills its images.

    Args:
        points: (B, N, 3).
        rotations: (V, 3, 3), the same for all clouds, or (B, V, 3, 3); rows are right, up and towards the
            viewer.
        size: rows and columns. The cloud's larger extent, with the points' covers, fills it.
        cover: side of the square of pixels that one point covers; odd.
        farthest: value of the farthest point. The nearest has 1, empty pixels have 0; linear in between.
    """
    _margin(cover)
    rotations = rotations.to(points).expand(len(points), -1, -1, -1)
    seen = torch.einsum("bnc,bvrc->bvnr", points, rotations)  # (B, V, N, 3)
    across = seen.transpose(2, 3).contiguous()  # reductions over the last axis take a tenth of the time
    low, high = across.amin(3), across.amax(3)  # (B, V, 3)
    extent = (high - low)[..., :2].amax(-1).clamp_min(1e-12)
    center = ((low + high) / 2)[..., :2]
    return ViewFrames(rotations, center, extent, high[..., 2], low[..., 2], size, cover, farthest)


def render_depth_images(points: Tensor, frames: ViewFrames) -> DepthViews:
    """Depth images in which the nearest surface wins; near is bright.

    Args:
        points: (B, N, 3), those that the frames were fitted to.
        frames: the views.

    Returns:
        images (B, V, size, size) in [0, 1] and pixels (B, V, N, 2).
    """
    size = frames.size
    place, value = frames._places(points)
    column_row = _nearest_pixels(place, size).long()
    column, row = column_row[..., 0], size - 1 - column_row[..., 1]
    batch, count = column.shape[0] * column.shape[1], points.shape[1]
    canvas = torch.zeros(batch, size * size, dtype=points.dtype, device=points.device)
    canvas.scatter_reduce_(
        1, (row * size + column).reshape(batch, count), value.reshape(batch, count), reduce="amax"
    )
    images = canvas.view(len(points), -1, size, size)
    images = _spread(images, frames.cover)  # with the maximum the nearest surface still wins
    return DepthViews(images, _grid_coordinates(torch.stack([row, column], -1), size))


def _nearest_pixels(place: Tensor, size: int) -> Tensor:
    """Places in an image, to the right and up, rounded to pixels (whole numbers as floats)."""
    # NaN as an index would fail later; the losses are checked for it.
    return place.nan_to_num(0.0).round_().clamp_(0, size - 1)


def fill_holes(images: Tensor, width: int) -> Tensor:
    """Close the gaps between a surface's points in depth images, so that nothing behind it shows through.

    This is a morphological closing: every pixel gets the smallest of the maxima over the squares that hold
    it. No value gets smaller, outlines and slopes stay in place, and gaps narrower than ``width`` close.

    Args:
        images: (B, V, H, W).
        width: side of the squares in pixels; odd. 1 changes nothing.
    """
    return -_spread(-_spread(images, width), width)


def without_covers(images: Tensor, cover: int) -> Tensor:
    """Undo the points' covers in depth images (B, V, H, W).

    Every pixel gets the smallest value in the square of ``cover`` (odd) pixels around it. Even on a steep
    slope this is the depth of the points themselves.
    """
    return -_spread(-images, cover)


def _spread(images: Tensor, width: int) -> Tensor:
    """The maximum over the square of ``width`` (odd) around every pixel, cut at the image's border.

    Rows and columns are done one after the other, each by maxima over 2, 4, 8 ... pixels. On a CPU this is
    tens of times faster than pooling.
    """
    margin = _margin(width, "width")
    for dim in (-1, -2) if margin else ():
        sides = (margin, margin) if dim == -1 else (0, 0, margin, margin)
        images, reach = F.pad(images, sides, value=-torch.inf), 1
        while reach < width:
            step = min(reach, width - reach)
            count = images.shape[dim] - step
            images = torch.maximum(images.narrow(dim, 0, count), images.narrow(dim, step, count))
            reach += step
    return images


def zbuffer_depth_images(
    points: Tensor, rotations: Tensor, *, size: int = SIZE, cover: int = COVER, farthest: float = FARTHEST
) -> DepthViews:
    """`render_depth_images` in frames that `fit_view_frames` fits to the clouds themselves."""
    frames = fit_view_frames(points, rotations, size=size, cover=cover, farthest=farthest)
    return render_depth_images(points, frames)


@dataclass(frozen=True)
class Rendering:
    """How the depth images of the teacher are made; its fields are the one place for their defaults.

    Args:
        projection: ``zbuffer``: a pixel shows the nearest surface. ``summed``, as in the paper: three axis
            permutations; a pixel is the sigmoid of the sum of all depths that cover it.
        views: images of each cloud: 3 along the axes, or 6 with three oblique ones (``zbuffer`` only).
        size: rows and columns of an image.
        cover: side of the square of pixels that a point covers, odd.

    Raises:
        ValueError: a value out of range; names the field.
    """

    projection: Literal["zbuffer", "summed"] = "zbuffer"
    views: int = 6
    size: int = SIZE
    cover: int = COVER

    def __post_init__(self) -> None:
        possible = {"zbuffer": (3, 6), "summed": (len(AXIS_VIEWS),)}
        if self.projection not in possible:
            raise ValueError(f"projection is {self.projection!r}, expected 'zbuffer' or 'summed'")
        if self.views not in possible[self.projection]:
            expected = " or ".join(map(str, possible[self.projection]))
            raise ValueError(f"views is {self.views}, expected {expected} for projection {self.projection}")
        if self.cover < 1 or self.cover % 2 == 0:
            raise ValueError(f"cover is {self.cover}, expected an odd number")
        if self.size <= self.cover + 2:
            raise ValueError(f"size is {self.size}, expected above cover + 2 ({self.cover + 2})")

    def __call__(self, points: Tensor) -> DepthViews:
        """(B, N, 3) -> images (B, V, size, size) in [0, 1], and every point's pixel (B, V, N, 2)."""
        # Pixels of points are computed in float32, whatever the precision of the run.
        with torch.autocast(points.device.type, enabled=False):
            if self.projection == "summed":
                images, pixels = summed_depth_images(points.float(), size=self.size, cover=self.cover)
                return DepthViews(images.sigmoid(), pixels)
            rotations = view_rotations(self.views, points.device)
            return zbuffer_depth_images(points.float(), rotations, size=self.size, cover=self.cover)

    def pixels(self, points: Tensor, chosen: Tensor) -> Tensor:
        """The pixels (B, V, n, 2) of the chosen points (B, n) among (B, N, 3), without drawing the images."""
        with torch.autocast(points.device.type, enabled=False):
            points = points.float()
            if self.projection == "summed":
                pixels = _summed_coordinates(_summed_places(points, self.size)[0], self.size)
                return pixels.gather(2, chosen[:, None, :, None].expand(-1, pixels.shape[1], -1, 2))
            rotations = view_rotations(self.views, points.device)
            frames = fit_view_frames(points, rotations, size=self.size, cover=self.cover)
            return frames.pixels(points.gather(1, chosen[:, :, None].expand(-1, -1, 3)))

    def settings(self) -> dict[str, Any]:
        """Plain values, which go into the name of a cache."""
        return asdict(self)


def read_maps(maps: Tensor, pixels: Tensor, *, mode: str = "bicubic") -> Tensor:
    """Read feature maps at given positions: (B, V, C, h, w), (B, V, M, 2) -> (B, M, V, C).

    ``mode="bicubic"`` equals upsampling the map to the image's size (``align_corners=False``) and reading the
    pixel, for a fraction of the work. ``"bilinear"`` is cheaper and smoother.
    """
    batch, views, channels, height, width = maps.shape
    grid = pixels.reshape(batch * views, -1, 1, 2).to(maps.dtype)  # (B V, M, 1, 2)
    flat = maps.reshape(batch * views, channels, height, width)
    read = F.grid_sample(flat, grid, mode=mode, padding_mode="border", align_corners=False)  # (B V, C, M, 1)
    return read.view(batch, views, channels, -1).permute(0, 3, 1, 2)
