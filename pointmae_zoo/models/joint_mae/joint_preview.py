"""What a preview of Joint-MAE shows beside the clouds: depth images, masked and reconstructed."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointmae_zoo.models.pretraining_model import PreviewColumn, as_float64
from pointmae_zoo.ops import ViewFrames, render_depth_images


def image_columns(images: Tensor, patches: Tensor, visible: Tensor, farthest: float) -> list[PreviewColumn]:
    """The first view's images, their visible patches, and these with the predicted ones between them.

    Args:
        images: (B, V, H, W).
        patches: (B, V, P, S, S), predicted.
        visible: (B, V, P) bool.
        farthest: the images' value at the farthest point.
    """
    images, patches, visible = images[:, 0], patches[:, 0], visible[:, 0]
    side = patches.shape[-1]
    rows, columns = images.shape[1] // side, images.shape[2] // side
    whole = patches.unflatten(1, (rows, columns)).transpose(2, 3).reshape(images.shape)  # (B, H, W)
    shown = visible.view(-1, rows, columns).repeat_interleave(side, 1).repeat_interleave(side, 2)
    filled = torch.where(shown, images, whole.to(images.dtype))
    seen = as_float64(shown).astype(bool)
    image = image_column("depth image", as_float64(images), farthest, scale=True)
    count = f"visible: {int(visible[0].sum())} of {visible.shape[1]} patches"
    assert image.opacity is not None
    masked = PreviewColumn(
        count,
        np.where(seen, image.values, np.nan),
        opacity=np.where(seen, image.opacity, 1.0),
        note="grey: masked",
    )
    return [image, masked, image_column("reconstruction", as_float64(filled), farthest)]


def image_column(
    title: str, images: NDArray[np.float64], farthest: float, *, scale: bool = False
) -> PreviewColumn:
    """Depth images (B, H, W), the background transparent; values below the farthest point's are pale."""
    return PreviewColumn(
        title,
        np.clip((images - farthest) / (1 - farthest), 0, 1),
        opacity=np.clip(images / farthest, 0, 1),
        scale=("far", "near") if scale else None,
    )


def draw_points(points: Tensor, frames: ViewFrames, cloud: int) -> NDArray[np.float64]:
    """Any points (M, 3) as the first depth image (H, W) of a cloud; points beside the image are left out."""
    one = frames.of(cloud)
    places, _ = one.project(points[None])
    inside = places[0, 0].abs().amax(-1) < 1
    return as_float64(render_depth_images(points[None, inside], one).images[0, 0].clamp(0, 1))


def view_direction(rotation: Tensor) -> tuple[float, float]:
    """Azimuth and elevation, in degrees, of a view (3, 3) whose rows are right, up and towards the viewer."""
    x, y, z = as_float64(rotation[2])
    return float(np.degrees(np.arctan2(x, z))), float(np.degrees(np.arcsin(np.clip(y, -1, 1))))
