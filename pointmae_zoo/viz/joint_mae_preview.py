"""Pictures of Joint-MAE's pre-training: a depth image and its cloud, masked and reconstructed."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pointmae_zoo.models.encoder import evaluating
from pointmae_zoo.models.joint_mae.joint_network import JointMAEForPretraining, JointOutput
from pointmae_zoo.ops import ViewFrames, index_points, render_depth_images
from pointmae_zoo.viz.paint import Floats
from pointmae_zoo.viz.preview import (
    GREY,
    Column,
    check_shapes,
    cloud_columns,
    coloured,
    draw_reconstruction,
    save_columns,
    visible_points,
)

_COLOURS = "viridis"
_SCALE = (_COLOURS, "far", "near")


@draw_reconstruction.register
@torch.no_grad()
def _draw(
    model: JointMAEForPretraining,
    points: Tensor,
    views: None,
    path: str | os.PathLike[str],
    seed: int = 0,
) -> Path:
    check_shapes(points)
    devices = [points.device] if points.device.type == "cuda" else []
    with evaluating(model), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        made = model(points)
        groups = model.encoder.group(points)
    masks = model.encoder.visible_below(made.visible, groups)
    visible = visible_points(groups, masks[0], points.shape[1])
    hidden = made.points
    centers = index_points(groups.centers[model.hyper.target_level], hidden.order)
    around = centers.unsqueeze(2) + hidden.predicted  # (B, W, K, 3)
    predicted = [one[valid].flatten(0, 1) for one, valid in zip(around, hidden.valid, strict=True)]
    tokens = f"{int(made.visible[0].sum())} of {made.visible.shape[1]} tokens"
    clouds = _numbers(points), visible, [_numbers(one) for one in predicted], tokens
    if made.frames is None:
        return save_columns(cloud_columns(*clouds), path)
    assert made.images is not None
    again = []
    for row, part in enumerate(predicted):
        shown = points[row, torch.from_numpy(visible[row]).to(points.device)]
        again.append(_depth_image(torch.cat([shown, part]), made.frames, row))
    places = [_place(rotation) for rotation in made.frames.rotations[:, 0]]
    far = made.frames.farthest
    columns = [
        *_image_columns(made, far),
        *cloud_columns(*clouds, places),
        Column("reconstruction, projected", [_painted(one, far) for one in again], scale=_SCALE),
    ]
    return save_columns(columns, path)


def _image_columns(made: JointOutput, far: float) -> list[Column]:
    """The first view's image, its visible patches, and these with what is predicted for the others."""
    assert made.images is not None and made.patches is not None and made.visible_patches is not None
    images, patches, visible = made.images[:, 0], made.patches[:, 0], made.visible_patches[:, 0]
    side = patches.shape[-1]
    rows, columns = images.shape[1] // side, images.shape[2] // side
    whole = patches.unflatten(1, (rows, columns)).transpose(2, 3).reshape(images.shape)  # (B, H, W)
    shown = visible.view(-1, rows, columns).repeat_interleave(side, 1).repeat_interleave(side, 2)
    filled = torch.where(shown, images, whole.to(images.dtype))
    shapes = list(zip(_numbers(images), _numbers(filled), shown.cpu().numpy(), strict=True))
    masked = []
    for image, _, seen in shapes:
        picture = _painted(image, far)
        picture[~seen] = (*GREY, 1)
        masked.append(picture)
    count = f"{int(visible[0].sum())} of {visible.shape[1]} patches"
    return [
        Column("depth image", [_painted(one, far) for one, _, _ in shapes], scale=_SCALE),
        Column(f"visible: {count}", masked, note="grey: masked"),
        Column("reconstruction", [_painted(one, far) for _, one, _ in shapes]),
    ]


def _painted(image: Floats, far: float) -> Floats:
    """A depth image (H, W) as a picture (H, W, 4), its ground transparent; values between that and the
    farthest point's are pale."""
    values = np.clip((image - far) / (1 - far), 0, 1)
    return np.concatenate([coloured(values, _COLOURS), np.clip(image / far, 0, 1)[..., None]], axis=-1)


def _depth_image(points: Tensor, frames: ViewFrames, row: int) -> Floats:
    """Any points (M, 3) as cloud ``row``'s first depth image (H, W); what lies beside it is left out."""
    one = frames.of(row)
    places, _ = one.project(points[None])
    inside = places[0, 0].abs().amax(-1) < 1
    return _numbers(render_depth_images(points[None, inside], one).images[0, 0].clamp(0, 1))


def _place(rotation: Tensor) -> tuple[float, float]:
    """Azimuth and elevation, in degrees, of a view (3, 3) whose rows are right, up, towards the viewer."""
    x, y, z = _numbers(rotation[2])
    return float(np.degrees(np.arctan2(x, z))), float(np.degrees(np.arcsin(np.clip(y, -1, 1))))


def _numbers(values: Tensor) -> Floats:
    return values.double().cpu().numpy()
