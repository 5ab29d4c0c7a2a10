"""Pictures of I2P-MAE's pre-training: what it reconstructs, and what its teacher saw."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointmae_zoo.models.encoder import evaluating
from pointmae_zoo.models.i2p_mae import I2PMAEForPretraining, TeacherViews
from pointmae_zoo.models.tokens import Groups
from pointmae_zoo.ops import index_points, knn, read_maps
from pointmae_zoo.viz.paint import Floats, paint
from pointmae_zoo.viz.preview import (
    Column,
    check_shapes,
    cloud_columns,
    coloured,
    draw_reconstruction,
    save_columns,
    visible_points,
)


@dataclass(frozen=True)
class _Made:
    """Of B clouds of N points: what the picture shows."""

    points: Floats  # (B, N, 3)
    visible: NDArray[np.bool_]  # (B, N)
    tokens: str  # how many of them are visible
    predicted: list[Floats]  # B times (M, 3)
    saliency: Floats | None  # (B, N), 0 to 1
    agreement: Floats | None  # (B, N); NaN where nothing is visible


@draw_reconstruction.register
def _draw(
    model: I2PMAEForPretraining,
    points: Tensor,
    views: TeacherViews | None,
    path: str | os.PathLike[str],
    seed: int = 0,
) -> Path:
    check_shapes(points)
    made = _make(model, points, views, seed)
    columns = cloud_columns(made.points, made.visible, made.predicted, made.tokens)
    if made.saliency is not None:
        pictures = _painted(made.points, made.saliency, "plasma")
        columns.append(Column("2D teacher's saliency", pictures, scale=("plasma", "low", "high")))
    if made.agreement is not None:
        pictures = _painted(made.points, made.agreement, "viridis")
        scale = ("viridis", "0", "1")
        columns.append(Column("2D features: correlation", pictures, note="grey: masked", scale=scale))
    return save_columns(columns, path)


def _painted(points: Floats, values: Floats, name: str) -> list[Floats]:
    """Clouds (B, N, 3) with values (B, N) as colours."""
    return [
        paint(whole, coloured(one, name), frame=whole, relief=0.4)
        for whole, one in zip(points, values, strict=True)
    ]


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
    visible = visible_points(groups, masks[0], points.shape[1])
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
