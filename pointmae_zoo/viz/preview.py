"""What a pre-training model saw of some shapes, and what it made of the rest: one row of pictures per shape.

What all models' pictures share is here; a model's own columns are in a file of its own, which registers
itself with `draw_reconstruction`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointmae_zoo.models.tokens import Groups
from pointmae_zoo.viz.paint import AZIMUTH, BLUE, ELEVATION, Floats, draw, figure_class, paint, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORANGE = (0.93, 0.50, 0.13)
GREY = (0.87, 0.88, 0.90)
_MOST_SHAPES = 12
_CELL, _TOP, _BOTTOM = 2.0, 0.36, 0.4  # inches


@singledispatch
def draw_reconstruction(
    model: Any,
    points: Tensor,
    views: Any,
    path: str | os.PathLike[str],
    seed: int = 0,
) -> Path:
    """Write a PNG with one row per shape, y up.

    Of every model: the input; the points of the visible tokens; these and, in orange, what the masked tokens
    predict.

    Of I2P-MAE with the teacher's views also its saliency where the points lie (per shape, low to high), and
    how well the model predicts its features at each visible token: the correlation over channels, views and
    places, once what all tokens of the picture have in common is taken off.

    Of Joint-MAE, before them, a depth image, its visible patches, and these with what is predicted for the
    masked ones; after them the reconstructed points as the same depth image. Each cloud is seen from where
    its image is.

    The same model, points and seed give the same picture. The model's mode and torch's random state stay.

    Args:
        model: a ``...ForPretraining`` model.
        points: (B, N, 3), B from 1 to 12, on the model's device.
        views: the teacher's, of these points in this order; None for a model without a teacher.
        path: the file; it appears whole or not at all.
        seed: of masks and views.

    Raises:
        TypeError: there are no pictures of such a model.
        ValueError: no shapes or too many.
        ModuleNotFoundError: matplotlib is missing.
        OSError: the file cannot be written.
    """
    raise TypeError(f"there are no pictures of a {type(model).__name__}")


@dataclass(frozen=True)
class Column:
    """What stands above and below a column of pictures, and the pictures, one per shape."""

    title: str
    pictures: list[Floats]  # each (H, W, 4)
    note: str = ""
    scale: tuple[str, str, str] | None = None  # colours, what the lowest means, and the highest


def check_shapes(points: Tensor) -> None:
    """Raises a ValueError that says how many a picture shows, and a ModuleNotFoundError without
    matplotlib."""
    figure_class()
    if not 1 <= len(points) <= _MOST_SHAPES:
        raise ValueError(f"{len(points)} shapes: a picture shows 1 to {_MOST_SHAPES}, choose some of them")


def save_columns(columns: Sequence[Column], path: str | os.PathLike[str]) -> Path:
    """Write the pictures as a PNG."""
    rows = len(columns[0].pictures)
    height = _CELL * rows + _TOP + _BOTTOM
    figure: Figure = figure_class()(figsize=(_CELL * len(columns), height), dpi=120, facecolor="white")
    for place, column in enumerate(columns):
        for row, picture in enumerate(column.pictures):
            low = (_BOTTOM + _CELL * (rows - 1 - row)) / height
            draw(figure.add_axes((place / len(columns), low, 1 / len(columns), _CELL / height)), picture)
        middle = (place + 0.5) / len(columns)
        figure.text(middle, 1 - 0.22 / height, column.title, ha="center", va="center", fontsize=10)
        if column.scale is not None:
            _scale(figure, middle, 0.5 / len(columns), 0.26 / height, 0.09 / height, *column.scale)
        if column.note:
            low = (0.26 if "\n" in column.note else 0.13) / height
            figure.text(middle, low, column.note, ha="center", va="center", fontsize=8)
    return save(figure, Path(path))


def cloud_columns(
    points: Floats,
    visible: NDArray[np.bool_],
    predicted: list[Floats],
    tokens: str,
    places: Sequence[tuple[float, float]] | None = None,
) -> list[Column]:
    """What was there, what of it was shown, and what was made of the rest.

    Args:
        points: (B, N, 3).
        visible: (B, N).
        predicted: B times (M, 3).
        tokens: how many of them are visible, in words.
        places: azimuth and elevation from which each cloud is seen; None: that of all pictures.
    """
    inputs, shown, made = [], [], []
    for row, whole in enumerate(points):
        place = (AZIMUTH, ELEVATION) if places is None else places[row]
        part = whole[visible[row]]
        colours = [np.tile(BLUE, (len(part), 1)), np.tile(ORANGE, (len(predicted[row]), 1))]
        inputs.append(paint(whole, None, *place, frame=whole, relief=0.8))
        shown.append(paint(part, None, *place, frame=whole, relief=0.8))
        both = np.concatenate([part, predicted[row]])
        made.append(paint(both, np.concatenate(colours), *place, frame=whole, relief=0.8))
    note = "blue: visible points\norange: predicted by masked tokens"
    return [
        Column("input", inputs),
        Column(f"visible: {tokens}", shown),
        Column("reconstruction", made, note),
    ]


def visible_points(groups: Groups, mask: Tensor, count: int) -> NDArray[np.bool_]:
    """(B, N): the points in the neighbourhoods of the finest level's visible tokens."""
    neighbors = groups.neighbors[0]
    times = torch.zeros(len(neighbors), count, dtype=torch.int32, device=mask.device)
    times.scatter_add_(1, neighbors.flatten(1), mask.unsqueeze(2).expand_as(neighbors).flatten(1).int())
    return (times > 0).cpu().numpy()


def coloured(values: Floats, name: str) -> Floats:
    """Values from 0 to 1 as colours (..., 3); NaN is grey."""
    import matplotlib

    colours = np.asarray(matplotlib.colormaps[name](np.nan_to_num(values)))[..., :3]
    return np.where(np.isnan(values)[..., None], GREY, colours)


def _scale(
    figure: "Figure", middle: float, width: float, low: float, height: float, name: str, least: str, most: str
) -> None:
    ax = figure.add_axes((middle - width / 2, low, width, height))
    ax.imshow(np.linspace(0, 1, 128)[None], aspect="auto", cmap=name)
    ax.set(xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set_visible(False)
    for place, text, align in ((-0.03, least, "right"), (1.03, most, "left")):
        ax.text(place, 0.5, text, transform=ax.transAxes, ha=align, va="center", fontsize=8)
