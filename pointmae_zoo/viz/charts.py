"""Charts of results: accuracy over the number of labels, and a confusion matrix."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from pointmae_zoo.viz.rendering import figure_class, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_COLOURS = ("#2f6db0", "#e07b1f", "#3c9150", "#c0434a", "#7d5bb0", "#80614f", "#d07ab0", "#4aa5b0")
_MARKERS = "osD^vPX*"
_MOST_LINES = 16


_MOST_CLASSES = 200
_CELL = 0.26  # inches
_LEGIBLE = 60  # classes; of more, the cells have no numbers
_LEAST = 0.005  # shares below are not written


@dataclass(frozen=True)
class CurvePoint:
    """What was reached with some labels.

    Args:
        labels: clouds of each class that were learned from (their mean), above 0.
        mean, std: in percent, over the runs.
        all: whether these are all labels that there are.
    """

    labels: float
    mean: float
    std: float
    all: bool = False


def draw_label_curve(
    lines: Mapping[str, Sequence[CurvePoint]],
    out: str | os.PathLike[str],
    *,
    measure: str = "accuracy",
    chance: float | None = None,
    title: str = "",
) -> Path:
    """Write a PNG: score over labels per class, on a logarithmic axis, a line with deviations for each name.

    Args:
        lines: points of each line, by its name.
        out: the file; it appears whole or not at all.
        measure: what the scores are.
        chance: of guessing, in percent: a dashed line.
        title: above the picture.

    Raises:
        ValueError: no line or more than 16, one without points, or labels that are not above 0.
        ModuleNotFoundError: matplotlib is missing.
    """
    new_figure = figure_class()
    if not 1 <= len(lines) <= _MOST_LINES:
        raise ValueError(f"{len(lines)} lines: a picture shows 1 to {_MOST_LINES}")
    for name, points in lines.items():
        if not points or not all(point.labels > 0 for point in points):
            raise ValueError(f"{name}: points with labels above 0 expected, at least one")
    figure: Figure = new_figure(figsize=(6.4, 4.4), dpi=120, facecolor="white", layout="constrained")
    ax = figure.add_subplot()
    ax.set_xscale("log")
    ticks: dict[float, str] = {}
    for number, (name, points) in enumerate(lines.items()):
        ordered = sorted(points, key=lambda point: point.labels)
        for point in ordered:
            shown = "all" if point.all else f"{point.labels:g}"
            if all(abs(point.labels - other) > 0.02 * other for other in ticks):
                ticks[point.labels] = shown
        colour = _COLOURS[number % len(_COLOURS)]
        places, means = [point.labels for point in ordered], [point.mean for point in ordered]
        spreads = [point.std for point in ordered]
        low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
        high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
        ax.fill_between(places, low, high, color=colour, alpha=0.13, linewidth=0)
        ax.errorbar(
            places,
            means,
            yerr=spreads,
            color=colour,
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle="-" if number < len(_COLOURS) else "--",
            markersize=5,
            linewidth=1.6,
            capsize=2.5,
            label=name,
        )
    if chance is not None:
        ax.axhline(chance, color="#8a919c", linestyle=":", linewidth=1)
        ax.annotate(
            "chance", (1, chance), xycoords=("axes fraction", "data"), xytext=(-4, 3),
            textcoords="offset points", ha="right", fontsize=7.5, color="#6d7480",
        )  # fmt: skip
    ax.set_xticks(list(ticks), list(ticks.values()))
    fewest, most = min(ticks), max(ticks)
    if most < 1.5 * fewest:  # matplotlib's own limits shrink to nothing around a single value
        ax.set_xlim(fewest / 2, most * 2)
    ax.minorticks_off()
    ax.set_xlabel("labelled clouds of each class")
    ax.set_ylabel(f"{measure}, %")
    ax.set_ylim(bottom=0)
    ax.grid(color="#e4e7eb", linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.legend(frameon=False, fontsize=8.5)
    if title:
        ax.set_title(title, fontsize=10)
    return save(figure, Path(out))


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
    names = 0.065 * max(map(len, classes)) + 0.2  # inches that a name takes
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
