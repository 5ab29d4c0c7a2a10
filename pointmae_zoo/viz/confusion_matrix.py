"""A picture of a confusion matrix."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from pointmae_zoo.viz.paint import figure_class, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CLASSES = 200
_CELL = 0.26  # inches
_LEGIBLE = 60  # classes; with more, cells have no numbers
_LEAST = 0.005  # shares below are not written


def draw_confusion(
    counts: ArrayLike, classes: Sequence[str], out: str | os.PathLike[str], *, title: str = ""
) -> Path:
    """Write a PNG with one row for each true class and one column for each answer, in percent of the row.

    The classes keep their order; what is on the diagonal is right. A row without clouds stays empty.

    Args:
        counts: (C, C) clouds of the row's class that were taken for the column's.
        classes: C names.
        out: the file; it appears whole or not at all.
        title: above the picture.

    Raises:
        ValueError: another shape, negative numbers, no class or more than 200.
        ModuleNotFoundError: matplotlib is missing.
    """
    new_figure = figure_class()
    table, number = np.asarray(counts, dtype=np.float64), len(classes)
    if table.shape != (number, number) or not (table >= 0).all():
        raise ValueError(
            f"counts of shape {table.shape}: ({number}, {number}) numbers from 0 expected for these classes"
        )
    if not 1 <= number <= _MOST_CLASSES:
        raise ValueError(f"{number} classes: a picture shows 1 to {_MOST_CLASSES}")
    total = table.sum(1, keepdims=True)
    shares = np.divide(table, total, out=np.zeros_like(table), where=total > 0)

    side = _CELL * max(number, 8)
    names = 0.065 * max(map(len, classes)) + 0.2  # inches for a name
    width, height = side + names + 0.5, side + names + 0.75
    figure: Figure = new_figure(figsize=(width, height), dpi=110, facecolor="white")
    ax = figure.add_axes(((names + 0.3) / width, (names + 0.3) / height, side / width, side / height))
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    places = np.arange(number)
    size = 7 if number <= 40 else 5
    ax.set_xticks(places, classes, rotation=90, fontsize=size)
    ax.set_yticks(places, classes, fontsize=size)
    ax.set_xticks(places[1:] - 0.5, minor=True)
    ax.set_yticks(places[1:] - 0.5, minor=True)
    ax.grid(which="minor", color="#e4e7eb", linewidth=0.5)
    ax.tick_params(which="both", length=0)
    for edge in ax.spines.values():
        edge.set_color("#c3c8d0")
    if number <= _LEGIBLE:
        for row, column in zip(*np.nonzero(shares >= _LEAST), strict=True):
            share = shares[row, column]
            colour = "white" if share > 0.55 else "#28303c"
            ax.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=5.5, color=colour)
    ax.set_xlabel("taken for", fontsize=8)
    ax.set_ylabel("true class, percent of its clouds", fontsize=8)
    if title:
        figure.text(0.5, 1 - 0.22 / height, title, ha="center", va="center", fontsize=9)
    return save(figure, Path(out))
