"""The teacher's targets: features of depth images of the training clouds, computed in each step or
beforehand.

There are two kinds, both with a method ``views``:

- ``LiveTargets`` renders the augmented points of the batch and runs the frozen teacher in the step, as the
  paper does (I2P-MAE, section 3.2). The teacher is then most of a step's work.
- ``CachedTargets`` (see ``cached_targets``) reads feature maps of the stored clouds, not augmented, from
  memory-mapped files, and computes where the points lie in them. A step then doesn't run the teacher.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointmae_zoo.models.pretraining_model import TeacherViews
from pointmae_zoo.models.teacher.image_teacher import Teacher
from pointmae_zoo.ops import Rendering


class Targets(Protocol):
    """Gives the teacher's features of a batch."""

    def views(
        self, indices: NDArray[np.int64], chosen: Tensor, points: Tensor, stored: Tensor
    ) -> TeacherViews:
        """The teacher's features of a batch.

        Args:
            indices: (B,) numbers of the clouds.
            chosen: (B, n) numbers of their stored points, in the order in which the model gets them.
            points: (B, n, 3) these points, augmented.
            stored: (B, N, 3) the clouds as they are stored. All tensors are on one device.
        """


class LiveTargets:
    """Renders the batch as the model gets it and runs the teacher, in every step: raw features, raw saliency.

    Nothing here is random, and no cloud depends on the others of its batch.

    Args:
        teacher: on the device where the batches are.
        rendering: how the teacher's images are made.
        images_at_once: the teacher gets at most so many images in a batch, which bounds its memory (ViT-B/16:
            about 10 MB an image).

    Raises:
        ValueError: ``images_at_once`` below the number of views.
    """

    def __init__(self, teacher: Teacher, rendering: Rendering, *, images_at_once: int = 256) -> None:
        if images_at_once < rendering.views:
            raise ValueError(
                f"images_at_once is {images_at_once}, expected at least views ({rendering.views})"
            )
        self.teacher = teacher
        self.rendering = rendering
        self.images_at_once = images_at_once

    @torch.no_grad()
    def views(
        self, indices: NDArray[np.int64], chosen: Tensor, points: Tensor, stored: Tensor
    ) -> TeacherViews:
        """See ``Targets.views``; only ``points`` is used."""
        images, pixels = self.rendering(points)
        clouds = max(1, self.images_at_once // self.rendering.views)
        seen = [self.teacher(part) for part in images.split(clouds)]
        saliency = [one.saliency for one in seen if one.saliency is not None]
        return TeacherViews(
            maps=[torch.cat(parts) for parts in zip(*(one.maps for one in seen), strict=True)],
            saliency=torch.cat(saliency) if len(saliency) == len(seen) else None,
            pixels=pixels,
        )
