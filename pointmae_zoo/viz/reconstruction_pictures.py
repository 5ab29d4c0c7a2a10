"""A picture of a pre-training model's work, one row per shape: what it saw, and what it predicted for the
rest.

The model's ``preview`` decides what is shown; this module draws it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from pointmae_zoo.models.encoder import evaluating
from pointmae_zoo.models.pretraining_model import (
    PretrainingModel,
    Preview,
    PreviewColumn,
    TeacherViews,
    as_float64,
)
from pointmae_zoo.viz.rendering import AZIMUTH, BLUE, ELEVATION, Floats, draw, figure_class, paint, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


ORANGE = (0.93, 0.50, 0.13)
GREY = (0.87, 0.88, 0.90)
_MOST_SHAPES = 12
_CELL, _TOP, _BOTTOM = 2.0, 0.36, 0.4  # inches


@dataclass(frozen=True)
class _Column:
    """A column of pictures, one per shape, and the words above and below it."""

    title: str
    pictures: list[Floats]  # each (H, W, 4)
    note: str = ""
    scale: tuple[str, str, str] | None = None  # colours, what the lowest means, and the highest


def draw_reconstruction(
    model: nn.Module,
    points: Tensor,
    views: TeacherViews | None,
    path: str | os.PathLike[str],
    seed: int = 0,
) -> Path:
    """Write a PNG with one row per shape, y up.

    For every model: the input; the points of the visible tokens; these and, in orange, what the masked tokens
    predict. The family's own columns are described at its model's ``preview``.

    The same model, points and seed give the same picture. The model's mode and torch's random state stay as
    they are.

    Args:
        model: a ``...ForPretraining`` model.
        points: (B, N, 3), B from 1 to 12, on the model's device.
        views: the teacher's, of these points in this order; None for a model without a teacher.
        path: the file; it is written under a temporary name, then renamed.
        seed: of masks and views.

    Raises:
        TypeError: there are no pictures of such a model.
        ValueError: no shapes or too many.
        ModuleNotFoundError: matplotlib is missing.
        OSError: the file cannot be written.
    """
    if not isinstance(model, PretrainingModel):
        raise TypeError(f"there are no pictures of a {type(model).__name__}")
    figure_class()  # raises before the work if matplotlib is missing
    if not 1 <= len(points) <= _MOST_SHAPES:
        raise ValueError(f"{len(points)} shapes: a picture shows 1 to {_MOST_SHAPES}, choose some of them")
    devices = [points.device] if points.device.type == "cuda" else []
    with torch.no_grad(), evaluating(model), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        preview = model.preview(points, views)
    clouds = as_float64(points)
    columns = [
        *(_painted(column, clouds) for column in preview.before),
        *_cloud_columns(clouds, preview),
        *(_painted(column, clouds) for column in preview.after),
    ]
    return _save_columns(columns, path)


def _painted(column: PreviewColumn, clouds: Floats) -> _Column:
    """Paint a family's own column: values on the clouds (B, N, 3), or images."""
    colours = _coloured(column.values, column.colours)  # (B, N, 3) or (B, H, W, 3)
    if column.opacity is None:
        pictures = [
            paint(cloud, one, frame=cloud, relief=0.4) for cloud, one in zip(clouds, colours, strict=True)
        ]
    else:
        pictures = list(np.concatenate([colours, column.opacity[..., None]], axis=-1))
    scale = None if column.scale is None else (column.colours, *column.scale)
    return _Column(column.title, pictures, column.note, scale)


def _cloud_columns(points: Floats, preview: Preview) -> list[_Column]:
    """The clouds (B, N, 3), their visible points, and these with what was predicted for the rest."""
    inputs, shown, made = [], [], []
    for row, whole in enumerate(points):
        place = (AZIMUTH, ELEVATION) if preview.seen_from is None else preview.seen_from[row]
        part, predicted = whole[preview.visible[row]], preview.predicted[row]
        colours = [np.tile(BLUE, (len(part), 1)), np.tile(ORANGE, (len(predicted), 1))]
        inputs.append(paint(whole, None, *place, frame=whole, relief=0.8))
        shown.append(paint(part, None, *place, frame=whole, relief=0.8))
        both = np.concatenate([part, predicted])
        made.append(paint(both, np.concatenate(colours), *place, frame=whole, relief=0.8))
    note = "blue: visible points\norange: predicted by masked tokens"
    return [
        _Column("input", inputs),
        _Column(f"visible: {preview.count}", shown),
        _Column("reconstruction", made, note),
    ]


def _save_columns(columns: Sequence[_Column], path: str | os.PathLike[str]) -> Path:
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


def _coloured(values: Floats, name: str) -> Floats:
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
