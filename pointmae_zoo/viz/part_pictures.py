"""Pictures of clouds coloured by part: true parts above predicted ones."""

import colorsys
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.viz.rendering import draw, figure_class, paint, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MOST_CLOUDS = 16
_CELL, _LINE = 1.9, 0.15  # inches


@dataclass(frozen=True)
class PartPicture:
    """One cloud.

    Args:
        title: above it.
        points: (N, 3), y up.
        truth, predicted: (N,) part numbers from 0.
        names: of the parts.
    """

    title: str
    points: NDArray[np.floating]
    truth: NDArray[np.integer]
    predicted: NDArray[np.integer]
    names: tuple[str, ...]


def draw_parts(pictures: Sequence[PartPicture], out: str | os.PathLike[str], *, title: str = "") -> Path:
    """Write a PNG with a column for each cloud: true parts, predicted parts, the parts' names.

    Args:
        pictures: 1 to 16 clouds.
        out: the file; it appears whole or not at all.
        title: above the picture.

    Raises:
        ValueError: no cloud or too many, or a cloud that can't be drawn.
        ModuleNotFoundError: matplotlib is missing.
    """
    new_figure = figure_class()
    if not 1 <= len(pictures) <= _MOST_CLOUDS:
        raise ValueError(f"{len(pictures)} clouds: a picture shows 1 to {_MOST_CLOUDS}, choose some of them")
    columns = len(pictures)
    top, left = (0.62 if title else 0.36), 0.3
    legend = _LINE * max(len(one.names) for one in pictures) + 0.15
    width, height = left + _CELL * columns, top + 2 * _CELL + legend
    figure: Figure = new_figure(figsize=(width, height), dpi=110, facecolor="white")
    numbers = [len(one.names) for one in pictures]
    numbers += [
        int(parts.max()) + 1 for one in pictures for parts in (one.truth, one.predicted) if len(parts)
    ]
    colours = part_colours(max(numbers)) / 255
    for column, one in enumerate(pictures):
        middle = (left + _CELL * (column + 0.5)) / width
        figure.text(middle, 1 - (top - 0.14) / height, one.title, ha="center", va="center", fontsize=8.5)
        for row, parts in enumerate((one.truth, one.predicted)):
            low = (legend + _CELL * (1 - row)) / height
            ax = figure.add_axes(
                ((left + _CELL * column + 0.04) / width, low, (_CELL - 0.08) / width, (_CELL - 0.08) / height)
            )
            draw(ax, paint(one.points, colours[np.asarray(parts)], relief=0.7))
        for place, name in enumerate(one.names):
            figure.text(
                middle,
                (legend - 0.12 - _LINE * place) / height,
                f"\u25cf {name}",
                color=colours[place],
                ha="center",
                va="center",
                fontsize=7.5,
            )
    for row, name in enumerate(("true", "predicted")):
        at = (legend + _CELL * (1.5 - row)) / height
        figure.text(0.15 / width, at, name, rotation=90, ha="center", va="center", fontsize=9)
    if title:
        figure.text(0.5, 1 - 0.2 / height, title, ha="center", va="center", fontsize=10)
    return save(figure, Path(out))


def part_colours(count: int) -> NDArray[np.uint8]:
    """(count, 3) red, green, blue by part number; always the same, and distinct for a few parts."""
    golden = (np.sqrt(5) - 1) / 2
    colours = [
        colorsys.hsv_to_rgb(
            (0.58 + number * golden) % 1, (0.75, 0.55)[number % 2], (0.9, 0.75)[number // 2 % 2]
        )
        for number in range(count)
    ]
    return np.round(255 * np.array(colours).reshape(count, 3)).astype(np.uint8)
