"""Paints points in plain numpy: as shaded discs that are just large enough to close the surface."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointmae_zoo.system.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


AZIMUTH, ELEVATION = 35.0, 25.0
"""The usual viewpoint, in degrees: the angle from +z towards +x, and the angle above the ground."""

_LIGHT = np.array([-0.45, 0.7, 0.55])  # from the upper left, a little from the front
BLUE = (0.30, 0.47, 0.69)
_MAX_POINTS = 8192  # more make no visible difference in a small picture
_PIXELS = 320  # sides of a cloud's picture, which is scaled down to its cell

Floats = NDArray[np.float64]


def draw_cloud(
    ax: "Axes",
    points: ArrayLike,
    *,
    colours: ArrayLike | None = None,
    azimuth: float = AZIMUTH,
    elevation: float = ELEVATION,
) -> None:
    """Draw points (N, 3), y up, shaded by the direction of their surface; the axis becomes a bare picture.

    The cloud is centred and scaled. colours: (3,) or (N, 3) in [0, 1]; default: blue. At most 8,192 points
    are drawn.

    Raises ValueError for another shape, NaN or infinity, or fewer than two different points.
    """
    draw(ax, paint(points, colours, azimuth, elevation))


def draw(ax: "Axes", picture: Floats) -> None:
    """Show a picture (H, W, 4) on an axis, without ticks and frame."""
    ax.set_axis_off()
    ax.imshow(picture, extent=(-1, 1, -1, 1), interpolation="antialiased")


def figure_class() -> "type[Figure]":
    """matplotlib's Figure; raises a ModuleNotFoundError that says how to install it."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "matplotlib":
            raise
        raise ModuleNotFoundError(
            'drawing needs matplotlib: install it with pip install "pointmae-zoo[viz]"', name="matplotlib"
        ) from error
    return Figure


def save(figure: "Figure", path: Path) -> Path:
    """Write a figure as a PNG, whole or not at all; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, format="png")
    return path


def paint(
    points: ArrayLike,
    colours: ArrayLike | None = None,
    azimuth: float = AZIMUTH,
    elevation: float = ELEVATION,
    *,
    frame: ArrayLike | None = None,
    relief: float = 1.0,
) -> Floats:
    """Points (N, 3) as an image (H, W, 4) on a transparent background.

    frame: points (M, 3) that fill the picture and decide how large points are painted, so that parts of a
    cloud lie where they lie in the whole. Points are balls then, and points outside the picture are left out.
    relief: how strongly light and distance change the colours; use less if colours are values to be read.
    """
    cloud = np.asarray(points, dtype=np.float64)
    if cloud.ndim != 2 or cloud.shape[1] != 3 or not np.isfinite(cloud).all():
        raise ValueError(f"points of shape {cloud.shape}: finite numbers of shape (N, 3) expected")
    base = np.asarray(BLUE if colours is None else colours, dtype=np.float64)
    if base.shape not in ((3,), cloud.shape):
        raise ValueError(f"colours of shape {base.shape}: (3,) or {cloud.shape} expected")
    base = np.broadcast_to(base, cloud.shape)
    step = max(1, -(-len(cloud) // _MAX_POINTS))
    cloud, base = cloud[::step], base[::step]
    whole = cloud if frame is None else np.asarray(frame, dtype=np.float64)
    low, high = whole.min(0, initial=np.inf), whole.max(0, initial=-np.inf)
    if not (high > low).any():
        raise ValueError("fewer than two different points: there is nothing to draw")
    view = _view(azimuth, elevation)  # to the right, up, towards the eye
    if frame is not None:  # a tight fit: it is not compared with other shapes
        low, high = ((whole @ view.T).min(0), (whole @ view.T).max(0))
    centre = (low + high) / 2 @ (view if frame is not None else np.eye(3))
    size = (
        np.linalg.norm(whole - centre, axis=1).max() if frame is None else 1.06 * (high - low)[:2].max() / 2
    )
    radius = _radius((whole - centre) / size) * (1.0 if frame is None else 0.95)

    seen = (cloud - centre) / size @ view.T
    inside = np.abs(seen[:, :2]).max(1, initial=0) <= 1
    seen, base = seen[inside], base[inside]
    if not len(seen):
        return np.zeros((_PIXELS, _PIXELS, 4))
    # Normals from visible points only: the far side of a thin wall would blur them.
    owner, height = _splat(seen, radius)
    front, owner = np.unique(owner, return_inverse=True)
    seen, base = seen[front[1:]], base[front[1:]]  # the first is -1: no point
    owner = owner.reshape(_PIXELS, _PIXELS) - 1

    normals = _normals(seen)
    normals *= np.where(normals[:, 2:] < 0, -1, 1)  # visible surfaces face the eye
    light = np.clip(normals @ (_LIGHT / np.linalg.norm(_LIGHT)), 0, 1)
    shaded = base * (1 + relief * (0.65 * light[:, None] - 0.45))
    distance = relief * 0.15 * (1 - seen[:, 2:]).clip(0, 2)
    faded = np.clip(shaded + (1 - shaded) * distance, 0, 1)  # far points are paler
    image = np.zeros((_PIXELS, _PIXELS, 4))
    painted = owner >= 0
    image[painted, :3] = faded[owner[painted]]
    if frame is not None:  # balls, not discs, so that single points can be seen
        image[painted, :3] *= 0.7 + 0.3 * height[painted, None]
    image[painted, 3] = 1
    return image


def _radius(cloud: Floats) -> float:
    """The radius at which balls around points (N, 3) touch."""
    some = cloud[:: max(1, len(cloud) // 512)]
    gap = float(np.median(np.linalg.norm(_near(some, cloud, 6)[:, -1] - some, axis=1)))
    return float(np.clip(gap, 0.008, 0.05))


def _splat(seen: Floats, radius: float) -> tuple[NDArray[np.int64], Floats]:
    """Paint points (N, 3) as balls: the index of the point at each pixel, -1 for none, and the height of its
    ball there, as a share of the radius; both (H, W)."""
    scale = 0.96 * (_PIXELS - 1) / 2
    reach = np.arange(-int(radius * scale) - 1, int(radius * scale) + 2)
    disc = np.stack(np.meshgrid(reach, reach), -1).reshape(-1, 2)
    height = radius**2 - (disc**2).sum(1) / scale**2
    disc, height = disc[height >= 0], np.sqrt(height[height >= 0])
    at = np.rint(seen[:, :2] * (scale, -scale) + (_PIXELS - 1) / 2).astype(np.int64)
    pixel = np.clip(at[:, None] + disc, 0, _PIXELS - 1) @ (1, _PIXELS)
    depth = (seen[:, 2:] + height).reshape(-1)
    order = np.argsort(depth, kind="stable")  # the nearest is painted last
    owner = np.full(_PIXELS * _PIXELS, -1)
    owner[pixel.reshape(-1)[order]] = order // len(disc)
    best = np.zeros(_PIXELS * _PIXELS)
    best[pixel.reshape(-1)[order]] = (height / radius)[order % len(disc)]
    return owner.reshape(_PIXELS, _PIXELS), best.reshape(_PIXELS, _PIXELS)


def _view(azimuth: float, elevation: float) -> Floats:
    """A rotation (3, 3) whose rows are the picture's right, its up, and the direction towards the eye."""
    a, e = np.radians([azimuth, elevation])
    return np.array(
        [
            [np.cos(a), 0, -np.sin(a)],
            [-np.sin(a) * np.sin(e), np.cos(e), -np.cos(a) * np.sin(e)],
            [np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)],
        ]
    )


def _near(queries: Floats, points: Floats, neighbours: int) -> Floats:
    """Queries (M, 3), points (N, 3) -> (M, K, 3): the nearest points of each query."""
    import torch

    from pointmae_zoo.ops import knn

    here, there = (torch.from_numpy(some[None]).float() for some in (queries, points))
    return points[knn(here, there, min(neighbours, len(points)))[0].numpy()]


def _normals(points: Floats) -> Floats:
    """The surface normal (N, 3) at each point, of either sign: the direction of least variance around it."""
    near = _near(points, points, 16)
    near = near - near.mean(1, keepdims=True)
    _, axes = np.linalg.eigh(near.transpose(0, 2, 1) @ near)
    flattest: Floats = axes[:, :, 0]
    return flattest
