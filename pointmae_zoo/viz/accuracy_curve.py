"""How much is learned from how many labels, as a picture."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pointmae_zoo.viz.paint import figure_class, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#2f6db0", "#e07b1f", "#3c9150", "#c0434a", "#7d5bb0", "#80614f", "#d07ab0", "#4aa5b0")
_MARKERS = "osD^vPX*"
_MOST_LINES = 16


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
