"""Pictures of point clouds: one cloud on an axis, and shapes beside their nearest neighbours.

Needs matplotlib: ``pip install "pointmae-zoo[viz]"``. Nothing here opens a window or touches pyplot's state.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointmae_zoo.data.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_cloud", "draw_neighbours"]

AZIMUTH, ELEVATION = 35.0, 25.0
"""Where every picture is seen from, in degrees: from +z turned towards +x, and from the ground up."""

_LIGHT = np.array([-0.45, 0.7, 0.55])  # from the upper left, a little from the front
_BASE_COLOUR = (0.30, 0.47, 0.69)
_MAX_POINTS = 8192  # more of them change nothing that can be seen in a small picture
_MAX_SHAPES = 64
_PIXELS = 320  # sides of a cloud's picture, to be scaled down to the cell's

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

    The cloud is centred and scaled, whatever its units. colours: (3,) or (N, 3) in [0, 1], one blue unless
    given. Of more than 8,192 points, that many are drawn.

    Raises ValueError for another shape, NaN or infinity, or fewer than two different points.
    """
    _draw(ax, _paint(points, colours, azimuth, elevation))


def draw_neighbours(
    points_by_path: Mapping[str, ArrayLike],
    neighbours: Mapping[str, Sequence[tuple[str, float]]],
    out: str | os.PathLike[str],
) -> Path:
    """Write a PNG with one row per shape: the shape, then its nearest neighbours with their similarity.

    points_by_path: points (N, 3), y up, of every path that occurs. neighbours: for each shape, in the order
    of the rows, the paths of its nearest shapes and their similarities, best first. Rows are laid out in
    two columns if there are more than eight. The file appears whole or not at all.

    Raises ValueError for no shapes or more than 64, and for a path without points; ModuleNotFoundError
    without matplotlib; OSError if the file cannot be written.
    """
    figure_class = _figure_class()
    if not 1 <= len(neighbours) <= _MAX_SHAPES:
        raise ValueError(f"{len(neighbours)} shapes: a picture shows 1 to {_MAX_SHAPES}, choose some of them")
    wanted = [*neighbours, *(path for row in neighbours.values() for path, _ in row)]
    for path in wanted:
        if path not in points_by_path:
            raise ValueError(f"{path}: its points are missing from points_by_path")
    pictures = {path: _paint(points_by_path[path]) for path in dict.fromkeys(wanted)}

    blocks = 2 if len(neighbours) > 8 else 1
    rows = -(-len(neighbours) // blocks)
    wide = 1 + max(len(row) for row in neighbours.values())
    columns = blocks * wide + blocks - 1  # and an empty one, narrow, between the blocks
    widths = [0.25 if c % (wide + 1) == wide else 1.0 for c in range(columns)]
    figure: Figure = figure_class(figsize=(1.5 * sum(widths), 1.75 * rows), dpi=100, facecolor="white")
    cells = figure.subplots(rows, columns, squeeze=False, width_ratios=widths)
    figure.subplots_adjust(
        left=0.005, right=0.995, bottom=0.01, top=1 - 0.3 / (1.75 * rows), wspace=0.04, hspace=0.24
    )
    for ax in cells.flat:
        ax.set_axis_off()
    for k, (path, row) in enumerate(neighbours.items()):
        line, first = k % rows, (k // rows) * (wide + 1)
        for column, (other, similarity) in enumerate([(path, None), *row]):
            ax = cells[line, first + column]
            _draw(ax, pictures[other])
            name = _short(Path(other).name)
            ax.set_title(
                name if similarity is None else f"{name}\n{similarity:.3f}",
                fontsize=7,
                fontweight="bold" if similarity is None else "normal",
                pad=2,
            )
            if similarity is None:
                ax.set_facecolor("#eef1f5")
                ax.set_axis_on()
                ax.set(xticks=[], yticks=[])
                for side in ax.spines.values():
                    side.set_visible(False)
    return _save(figure, Path(out))


def _figure_class() -> "type[Figure]":
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "matplotlib":
            raise
        raise ModuleNotFoundError(
            'drawing needs matplotlib: install it with pip install "pointmae-zoo[viz]"', name="matplotlib"
        ) from error
    return Figure


def _save(figure: "Figure", path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, format="png")
    return path


def _short(name: str, most: int = 20) -> str:
    """A file name cut in its middle: beginnings tell things apart, endings their format."""
    return name if len(name) <= most else f"{name[: most - 9]}…{name[-8:]}"


def _draw(ax: "Axes", picture: Floats) -> None:
    ax.set_axis_off()
    ax.imshow(picture, extent=(-1, 1, -1, 1), interpolation="antialiased")


def _paint(
    points: ArrayLike,
    colours: ArrayLike | None = None,
    azimuth: float = AZIMUTH,
    elevation: float = ELEVATION,
) -> Floats:
    """Points (N, 3) as an image (H, W, 4) with transparent ground: discs that just close the surface."""
    cloud = np.asarray(points, dtype=np.float64)
    if cloud.ndim != 2 or cloud.shape[1] != 3 or not np.isfinite(cloud).all():
        raise ValueError(f"points of shape {cloud.shape}: finite numbers of shape (N, 3) expected")
    base = np.asarray(_BASE_COLOUR if colours is None else colours, dtype=np.float64)
    if base.shape not in ((3,), cloud.shape):
        raise ValueError(f"colours of shape {base.shape}: (3,) or {cloud.shape} expected")
    base = np.broadcast_to(base, cloud.shape)
    step = max(1, -(-len(cloud) // _MAX_POINTS))
    cloud, base = cloud[::step], base[::step]
    low, high = cloud.min(0, initial=np.inf), cloud.max(0, initial=-np.inf)
    if not (high > low).any():
        raise ValueError("fewer than two different points: there is nothing to draw")
    cloud = cloud - (low + high) / 2
    cloud = cloud / np.linalg.norm(cloud, axis=1).max()

    seen = cloud @ _view(azimuth, elevation).T  # to the right, up, towards the eye
    # Normals come from what is in front: the far side of a thin wall would blur them.
    owner = _splat(seen)
    front, owner = np.unique(owner, return_inverse=True)
    seen, base = seen[front[1:]], base[front[1:]]  # the first is -1: nobody
    owner = owner.reshape(_PIXELS, _PIXELS) - 1

    normals = _normals(seen)
    normals *= np.where(normals[:, 2:] < 0, -1, 1)  # what is seen faces the eye
    light = np.clip(normals @ (_LIGHT / np.linalg.norm(_LIGHT)), 0, 1)
    shaded = base * (0.55 + 0.65 * light[:, None])
    faded = np.clip(shaded + (1 - shaded) * 0.15 * (1 - seen[:, 2:]), 0, 1)  # what is far away pales
    image = np.zeros((_PIXELS, _PIXELS, 4))
    painted = owner >= 0
    image[painted, :3] = faded[owner[painted]]
    image[painted, 3] = 1
    return image


def _splat(seen: Floats) -> NDArray[np.int64]:
    """Which of the points (N, 3) is seen at each pixel (H, W), -1 for none, if they are balls that just
    touch.
    """
    some = seen[:: max(1, len(seen) // 512)]
    gap = float(np.median(np.linalg.norm(_near(some, seen, 6)[:, -1] - some, axis=1)))
    radius = float(np.clip(gap, 0.008, 0.05))
    scale = 0.96 * (_PIXELS - 1) / 2
    reach = np.arange(-int(radius * scale) - 1, int(radius * scale) + 2)
    disc = np.stack(np.meshgrid(reach, reach), -1).reshape(-1, 2)
    height = radius**2 - (disc**2).sum(1) / scale**2
    disc, height = disc[height >= 0], np.sqrt(height[height >= 0])
    at = np.rint(seen[:, :2] * (scale, -scale) + (_PIXELS - 1) / 2).astype(np.int64)
    pixel = np.clip(at[:, None] + disc, 0, _PIXELS - 1) @ (1, _PIXELS)
    depth = (seen[:, 2:] + height).reshape(-1)
    order = np.argsort(depth, kind="stable")  # the last one to be painted stays
    owner = np.full(_PIXELS * _PIXELS, -1)
    owner[pixel.reshape(-1)[order]] = order // len(disc)
    return owner.reshape(_PIXELS, _PIXELS)


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
    """(M, 3), (N, 3) -> (M, K, 3): the points next to each query."""
    import torch

    from pointmae_zoo.ops import knn

    here, there = (torch.from_numpy(some[None]).float() for some in (queries, points))
    return points[knn(here, there, min(neighbours, len(points)))[0].numpy()]


def _normals(points: Floats) -> Floats:
    """The direction (N, 3), of either sign, in which each point's surroundings are flattest."""
    near = _near(points, points, 16)
    near = near - near.mean(1, keepdims=True)
    _, axes = np.linalg.eigh(near.transpose(0, 2, 1) @ near)
    flattest: Floats = axes[:, :, 0]
    return flattest
