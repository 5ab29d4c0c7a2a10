"""What a pre-training model saw of some shapes, what it made of the rest, and what its teacher saw."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointmae_zoo.models.encoder import evaluating
from pointmae_zoo.models.i2p_mae import I2PMAEForPretraining, TeacherViews
from pointmae_zoo.models.tokens import Groups
from pointmae_zoo.ops import index_points, knn, read_maps
from pointmae_zoo.viz.paint import BLUE, draw, figure_class, paint, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ORANGE = (0.93, 0.50, 0.13)
_GREY = (0.87, 0.88, 0.90)
_MOST_SHAPES = 12
_CELL, _TOP, _BOTTOM = 2.0, 0.36, 0.4  # inches

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Made:
    """Of B clouds of N points: what the picture shows."""

    points: Floats  # (B, N, 3)
    visible: NDArray[np.bool_]  # (B, N)
    tokens: str  # how many of them are visible
    predicted: list[Floats]  # B times (M, 3)
    saliency: Floats | None  # (B, N), 0 to 1
    agreement: Floats | None  # (B, N); NaN where nothing is visible


def draw_reconstruction(
    model: I2PMAEForPretraining,
    points: Tensor,
    views: TeacherViews | None,
    path: str | os.PathLike[str],
    seed: int = 0,
) -> Path:
    """Write a PNG with one row per shape, all seen from the same place, y up.

    The columns: the input; the points of the visible tokens; these and, in orange, what the masked tokens
    predict. With the teacher's views also its saliency where the points lie (per shape, low to high), and how
    well the model predicts its features at each visible token: the correlation over channels, views and
    places, once what all tokens of the picture have in common is taken off.

    The same model, points and seed give the same picture. The model's mode and torch's random state stay.

    Args:
        points: (B, N, 3), B from 1 to 12, on the model's device.
        views: the teacher's, of these points in this order; None for a model without a teacher.
        path: the file; it appears whole or not at all.
        seed: of the masks.

    Raises:
        ValueError: no shapes or too many.
        ModuleNotFoundError: matplotlib is missing.
        OSError: the file cannot be written.
    """
    new_figure = figure_class()
    if not 1 <= len(points) <= _MOST_SHAPES:
        raise ValueError(f"{len(points)} shapes: a picture shows 1 to {_MOST_SHAPES}, choose some of them")
    made = _make(model, points, views, seed)
    titles = ["input", f"visible: {made.tokens}", "reconstruction"]
    scales: dict[int, tuple[str, str, str]] = {}  # column: colours, lowest, highest
    if made.saliency is not None:
        scales[len(titles)] = ("plasma", "low", "high")
        titles.append("2D teacher's saliency")
    if made.agreement is not None:
        scales[len(titles)] = ("viridis", "0", "1")
        titles.append("2D features: correlation")
    rows, columns = len(points), len(titles)
    height = _CELL * rows + _TOP + _BOTTOM
    figure: Figure = new_figure(figsize=(_CELL * columns, height), dpi=120, facecolor="white")
    for row in range(rows):
        low = (_BOTTOM + _CELL * (rows - 1 - row)) / height
        for column, picture in enumerate(_pictures(made, row)):
            draw(figure.add_axes((column / columns, low, 1 / columns, _CELL / height)), picture)
    for column, title in enumerate(titles):
        middle = (column + 0.5) / columns
        figure.text(middle, 1 - 0.22 / height, title, ha="center", va="center", fontsize=10)
        if column in scales:
            _scale(figure, middle, 0.5 / columns, 0.26 / height, 0.09 / height, *scales[column])
    notes = {2: "blue: visible points\norange: predicted by masked tokens"}
    if made.agreement is not None:
        notes[columns - 1] = "grey: masked"
    for column, note in notes.items():
        place = (column + 0.5) / columns, (0.26 if "\n" in note else 0.13) / height
        figure.text(*place, note, ha="center", va="center", fontsize=8)
    return save(figure, Path(path))


def _pictures(made: _Made, row: int) -> list[Floats]:
    """One shape, painted for every column."""
    whole, shown, predicted = made.points[row], made.visible[row], made.predicted[row]
    both = np.concatenate([whole[shown], predicted])
    colours = np.concatenate([np.tile(BLUE, (shown.sum(), 1)), np.tile(_ORANGE, (len(predicted), 1))])
    pictures = [
        paint(whole, frame=whole, relief=0.8),
        paint(whole[shown], frame=whole, relief=0.8),
        paint(both, colours, frame=whole, relief=0.8),
    ]
    if made.saliency is not None:
        pictures.append(paint(whole, _coloured(made.saliency[row], "plasma"), frame=whole, relief=0.4))
    if made.agreement is not None:
        pictures.append(paint(whole, _coloured(made.agreement[row], "viridis"), frame=whole, relief=0.4))
    return pictures


def _coloured(values: Floats, name: str) -> Floats:
    """Values (N,) from 0 to 1 as colours (N, 3); NaN is grey."""
    import matplotlib

    colours = np.asarray(matplotlib.colormaps[name](np.nan_to_num(values)))[:, :3]
    return np.where(np.isnan(values)[:, None], _GREY, colours)


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


@torch.no_grad()
def _make(model: I2PMAEForPretraining, points: Tensor, views: TeacherViews | None, seed: int) -> _Made:
    level = model.hyper.target_level
    devices = [points.device] if points.device.type == "cuda" else []
    with evaluating(model), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        groups = model.encoder.group(points)
        drawn = model.draw_visible(groups, views)
        masks = model.encoder.visible_below(drawn, groups)
        tokens = model.encoder.forward_features(points, groups=groups, visible=drawn)
        decoded = model.decode(tokens.features, groups, drawn)
        local = model.head_3d(decoded).float().unflatten(2, (-1, 3))
        around = (local + groups.centers[level].unsqueeze(2)).double().cpu().numpy()
        saliency = agreement = None
        if views is not None and views.saliency is not None:
            saliency = _saliency(views, model.hyper.read_mode)
        if views is not None and model.hyper.weight_2d > 0:
            agreement = _agreement(model, points, views, drawn, groups)
    hidden = ~masks[level].cpu().numpy()
    visible = _visible_points(groups, masks[0], points.shape[1])
    if agreement is not None:
        agreement = np.where(visible, agreement, np.nan)
    return _Made(
        points=points.double().cpu().numpy(),
        visible=visible,
        tokens=f"{model.num_visible} of {drawn.shape[1]} tokens",
        predicted=[one[mask].reshape(-1, 3) for one, mask in zip(around, hidden, strict=True)],
        saliency=saliency,
        agreement=agreement,
    )


def _visible_points(groups: Groups, mask: Tensor, count: int) -> NDArray[np.bool_]:
    """(B, N): the points in the neighbourhoods of the finest level's visible tokens."""
    neighbors = groups.neighbors[0]
    times = torch.zeros(len(neighbors), count, dtype=torch.int32, device=mask.device)
    times.scatter_add_(1, neighbors.flatten(1), mask.unsqueeze(2).expand_as(neighbors).flatten(1).int())
    return (times > 0).cpu().numpy()


def _saliency(views: TeacherViews, mode: str) -> Floats:
    """At every point, mean over the views; each cloud's from 0 to 1 (B, N)."""
    assert views.saliency is not None
    read = read_maps(views.saliency.float().unsqueeze(2), views.pixels, mode=mode).mean((2, 3))
    low, high = read.quantile(torch.tensor([0.02, 0.98], device=read.device), dim=1, keepdim=True)
    return ((read - low) / (high - low).clamp_min(1e-12)).clamp(0, 1).double().cpu().numpy()


def _agreement(
    model: I2PMAEForPretraining,
    points: Tensor,
    views: TeacherViews,
    drawn: Tensor,
    groups: Groups,
) -> Floats:
    """Correlation of predicted and teacher's features, at each point its nearest visible token's (B, N)."""
    images = model(points, views, visible=drawn).images
    assert images is not None
    target, predicted = images.target.float(), images.predicted.float()
    mean = target[images.valid].mean(0)
    target, predicted = ((one - mean).flatten(2) for one in (target, predicted))
    similar = torch.cosine_similarity(target, predicted, dim=2).clamp_min(0)
    centers = index_points(groups.centers[model.hyper.target_level], images.order)
    centers = centers.masked_fill(~images.valid.unsqueeze(2), 1e6)  # nobody's nearest
    nearest = knn(points, centers, 1).squeeze(2)
    return similar.gather(1, nearest).double().cpu().numpy()
