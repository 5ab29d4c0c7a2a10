"""A picture of shapes beside their nearest neighbours."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from pointmae_zoo.viz.rendering import draw, figure_class, paint, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MAX_SHAPES = 64


def draw_neighbours(
    points_by_path: Mapping[str, ArrayLike],
    neighbours: Mapping[str, Sequence[tuple[Any, ...]]],
    out: str | os.PathLike[str],
) -> Path:
    """Write a PNG with one row per shape: the shape, then its nearest neighbours with their similarity.

    points_by_path: points (N, 3), y up, of every path that occurs. neighbours: for each shape, in the order
    of the rows, its nearest shapes, best first: tuples that begin with path and similarity, as `similar`
    gives them. Rows are laid out in two columns if there are more than eight. The file appears whole or not
    at all.

    Raises ValueError for no shapes or more than 64, and for a path without points; ModuleNotFoundError
    without matplotlib; OSError if the file cannot be written.
    """
    new_figure = figure_class()
    if not 1 <= len(neighbours) <= _MAX_SHAPES:
        raise ValueError(f"{len(neighbours)} shapes: a picture shows 1 to {_MAX_SHAPES}, choose some of them")
    wanted = [*neighbours, *(hit[0] for row in neighbours.values() for hit in row)]
    for path in wanted:
        if path not in points_by_path:
            raise ValueError(f"{path}: its points are missing from points_by_path")
    pictures = {path: paint(points_by_path[path]) for path in dict.fromkeys(wanted)}

    blocks = 2 if len(neighbours) > 8 else 1
    rows = -(-len(neighbours) // blocks)
    wide = 1 + max(len(row) for row in neighbours.values())
    columns = blocks * wide + blocks - 1  # and an empty one, narrow, between the blocks
    widths = [0.25 if c % (wide + 1) == wide else 1.0 for c in range(columns)]
    figure: Figure = new_figure(figsize=(1.5 * sum(widths), 1.75 * rows), dpi=100, facecolor="white")
    cells = figure.subplots(rows, columns, squeeze=False, width_ratios=widths)
    figure.subplots_adjust(
        left=0.005, right=0.995, bottom=0.01, top=1 - 0.3 / (1.75 * rows), wspace=0.04, hspace=0.24
    )
    for ax in cells.flat:
        ax.set_axis_off()
    for k, (path, row) in enumerate(neighbours.items()):
        line, first = k % rows, (k // rows) * (wide + 1)
        for column, (other, similarity) in enumerate([(path, None), *(hit[:2] for hit in row)]):
            ax = cells[line, first + column]
            draw(ax, pictures[other])
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
    return save(figure, Path(out))


def _short(name: str, most: int = 20) -> str:
    """A file name shortened in the middle: the beginning identifies it, the end shows its format."""
    return name if len(name) <= most else f"{name[: most - 9]}…{name[-8:]}"
