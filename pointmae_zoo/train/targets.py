"""What the image teacher sees in the training clouds: rendered in the step, or once for all steps.

Two kinds of targets with one method, ``views``:

- ``LiveTargets`` renders the augmented points of the batch and runs the frozen teacher in the step, as the
  paper does (I2P-MAE, section 3.2). The teacher is then most of a step's work.
- ``CachedTargets`` (see ``cached_targets``) read feature maps of the clouds as they are stored, not
  augmented, from memory-mapped files. The teacher then costs nothing in the step.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointmae_zoo.models.i2p_mae import TeacherViews
from pointmae_zoo.models.teacher import Teacher
from pointmae_zoo.ops import (
    AXIS_VIEWS,
    DepthViews,
    read_maps,
    summed_depth_images,
    view_rotations,
    zbuffer_depth_images,
)


class Clouds(Protocol):
    """What targets need to know of a ``CloudSource``: M clouds of N points."""

    sha256: list[str]
    """Of each entry's content."""

    @property
    def num_points(self) -> int:
        """N."""

    def __len__(self) -> int: ...

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """(B,) -> (B, N, 3)."""


class Targets(Protocol):
    """What the teacher saw of a batch, whether just now or long ago."""

    @property
    def num_views(self) -> int:
        """V."""

    @property
    def channels(self) -> int:
        """Channels of all maps together, in one view."""

    def views(
        self, indices: NDArray[np.int64], chosen: Tensor, points: Tensor, device: torch.device
    ) -> TeacherViews:
        """The teacher's view of a batch.

        Args:
            indices: (B,) which clouds.
            chosen: (B, n) which of their stored points, in the order in which the model sees them.
            points: (B, n, 3) these points, augmented, on ``device``.
        """


@dataclass(frozen=True)
class Rendering:
    """How clouds become the teacher's images.

    Args:
        projection: ``zbuffer``: depth images in which the nearest surface wins. ``summed``: the paper's,
            three axis permutations, each pixel the sigmoid of the sum of all depths that cover it.
        views: of each cloud: 3 along the axes; 6 with three oblique ones (``zbuffer`` only).
        size: rows and columns.
        cover: pixels that a point covers, along a side.

    Raises:
        ValueError: a value out of range; names the field.
    """

    projection: Literal["zbuffer", "summed"] = "zbuffer"
    views: int = 6
    size: int = 112
    cover: int = 3

    def __post_init__(self) -> None:
        possible = {"zbuffer": (3, 6), "summed": (len(AXIS_VIEWS),)}
        if self.projection not in possible:
            raise ValueError(f"projection is {self.projection!r}, expected 'zbuffer' or 'summed'")
        if self.views not in possible[self.projection]:
            expected = " or ".join(map(str, possible[self.projection]))
            raise ValueError(f"views is {self.views}, expected {expected} for projection {self.projection}")
        if self.cover < 1 or self.cover % 2 == 0:
            raise ValueError(f"cover is {self.cover}, expected an odd number")
        if self.size <= self.cover + 2:
            raise ValueError(f"size is {self.size}, expected above cover + 2 ({self.cover + 2})")

    def __call__(self, points: Tensor) -> DepthViews:
        """(B, N, 3) -> images (B, V, size, size) in [0, 1], and every point's pixel (B, V, N, 2)."""
        # Which pixel a point falls on is decided in float32, whatever the precision around it.
        with torch.autocast(points.device.type, enabled=False):
            if self.projection == "summed":
                images, pixels = summed_depth_images(points.float(), size=self.size, cover=self.cover)
                return DepthViews(images.sigmoid(), pixels)
            rotations = view_rotations(self.views).to(points.device)
            return zbuffer_depth_images(points.float(), rotations, size=self.size, cover=self.cover)

    def settings(self) -> dict[str, Any]:
        """Plain values, by which caches are told apart."""
        return asdict(self)


class LiveTargets:
    """Renders the batch as the model sees it and asks the teacher, in every step: raw features, raw saliency.

    Nothing here draws random numbers, and no cloud depends on the others of its batch.

    Args:
        teacher: on the device where the batches are.
        rendering: how the teacher's images are made.
        images_at_once: the teacher sees all views of all clouds in one batch, or in several of at most so
            many images, which bounds its memory (ViT-B/16: about 10 MB an image).

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

    @property
    def num_views(self) -> int:
        """V."""
        return self.rendering.views

    @property
    def channels(self) -> int:
        """Channels of all maps together, in one view."""
        return sum(self.teacher.channels)

    @torch.no_grad()
    def views(
        self, indices: NDArray[np.int64], chosen: Tensor, points: Tensor, device: torch.device
    ) -> TeacherViews:
        """See ``Targets.views``; only the points matter here."""
        images, pixels = self.rendering(points.to(device))
        clouds = max(1, self.images_at_once // self.rendering.views)
        seen = [self.teacher(part) for part in images.split(clouds)]
        return TeacherViews(
            maps=[torch.cat(parts) for parts in zip(*(one.maps for one in seen), strict=True)],
            saliency=torch.cat([one.saliency for one in seen]),
            pixels=pixels,
        )


_FORMAT = 1
_PIXEL_SCALE = 32767  # pixels lie in [-1, 1]; 16 bits resolve a thousandth of a pixel


@dataclass
class TeacherTargets:
    """Memory-mapped targets of M clouds of N points.

    Args:
        maps: (M, V, C_i, h_i, w_i) float16, one for each stride, standardised per channel.
        saliency: (M, V, h, w) float16, each view with mean 1.
        pixels: (M, V, N, 2) int16, where each point lies in each view, times 32767.
        folder: where they lie.
    """

    maps: tuple[NDArray[np.float16], ...]
    saliency: NDArray[np.float16]
    pixels: NDArray[np.int16]
    folder: Path

    @property
    def num_views(self) -> int:
        """V."""
        return self.pixels.shape[1]

    @property
    def channels(self) -> int:
        """Channels of all maps together, in one view."""
        return sum(one.shape[2] for one in self.maps)

    def views(self, clouds: NDArray[np.int64], chosen: Tensor, device: torch.device) -> TeacherViews:
        """The targets of a batch.

        Args:
            clouds: (B,) which clouds.
            chosen: (B, n) which of their points, in the order in which the model sees them.
        """

        def load(stored: NDArray[Any]) -> Tensor:
            return torch.from_numpy(stored[clouds]).to(device).float()

        pixels = load(self.pixels) / _PIXEL_SCALE
        index = chosen[:, None, :, None].expand(-1, pixels.shape[1], -1, 2)
        return TeacherViews(
            maps=[load(one) for one in self.maps],
            saliency=load(self.saliency),
            pixels=pixels.gather(2, index),
        )


def teacher_targets(
    points: NDArray[np.float32],
    teacher: Teacher,
    cache: Path,
    *,
    views: int,
    size: int,
    cover: int,
    batch_size: int = 16,
    progress: bool = True,
) -> TeacherTargets:
    """The targets of all clouds, from the cache folder if they are there, else computed and put there.

    Args:
        points: (M, N, 3), as rendered: not augmented.
        cache: folder of caches.
        views, size, cover: see ``zbuffer_depth_images`` and ``view_rotations``.
        batch_size: clouds at a time.
    """
    key = _cache_key(points, teacher, views, size, cover)
    folder = cache / f"teacher-{key[:16]}"
    if not (folder / "meta.json").is_file():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = cache / f".{folder.name}.{os.getpid()}.tmp"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            _compute(points, teacher, unfinished, views, size, cover, batch_size, progress)
            try:
                os.replace(unfinished, folder)
            except OSError:  # another process was quicker; its targets are the same
                if not (folder / "meta.json").is_file():
                    raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    return TeacherTargets(
        maps=tuple(np.load(folder / f"maps_{index}.npy", mmap_mode="r") for index in range(meta["maps"])),
        saliency=np.load(folder / "saliency.npy", mmap_mode="r"),
        pixels=np.load(folder / "pixels.npy", mmap_mode="r"),
        folder=folder,
    )


def _cache_key(points: NDArray[np.float32], teacher: Teacher, views: int, size: int, cover: int) -> str:
    digest = hashlib.sha256()
    settings = [_FORMAT, points.shape, teacher.name, teacher.strides, teacher.image_size, views, size, cover]
    digest.update(json.dumps(settings).encode())
    digest.update(np.ascontiguousarray(points).tobytes())
    for name, value in sorted({**teacher.state_dict(), "mean": teacher.mean, "std": teacher.std}.items()):
        digest.update(name.encode())
        digest.update(
            value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if value.ndim else b""
        )
    return digest.hexdigest()


@torch.no_grad()
def _compute(
    points: NDArray[np.float32],
    teacher: Teacher,
    folder: Path,
    views: int,
    size: int,
    cover: int,
    batch_size: int,
    progress: bool,
) -> None:
    from tqdm import tqdm

    device = teacher.mean.device
    rotations = view_rotations(views).to(device)
    stored: dict[str, NDArray[Any]] = {}

    def store(name: str, start: int, values: NDArray[Any]) -> None:
        if name not in stored:
            shape = (len(points), *values.shape[1:])
            stored[name] = np.lib.format.open_memmap(
                folder / f"{name}.npy", mode="w+", dtype=values.dtype, shape=shape
            )
        stored[name][start : start + len(values)] = values

    sums: list[Tensor] = []
    squares: list[Tensor] = []
    count = 0
    bar = tqdm(total=len(points), desc="teacher", unit="cloud", disable=None if progress else True)
    for start in range(0, len(points), batch_size):
        batch = torch.from_numpy(points[start : start + batch_size]).to(device)
        images, pixels = zbuffer_depth_images(batch, rotations, size=size, cover=cover)
        features = teacher(images)
        # Channels are standardised over the places where points lie, as only those are ever read.
        sample = pixels[:, :, :: max(1, pixels.shape[2] // 128)]
        for index, one in enumerate(features.maps):
            # On the CPU, as some devices know no float64.
            values = read_maps(one, sample, mode="bilinear").flatten(0, 2).cpu().double()
            if index == len(sums):
                sums.append(torch.zeros_like(values[0]))
                squares.append(torch.zeros_like(values[0]))
            sums[index] += values.sum(dim=0)
            squares[index] += values.square().sum(dim=0)
            store(f"maps_{index}", start, one.half().cpu().numpy())
        count += len(values)
        saliency = features.saliency / features.saliency.mean(dim=(2, 3), keepdim=True).clamp_min(1e-12)
        store("saliency", start, saliency.half().cpu().numpy())
        store("pixels", start, (pixels * _PIXEL_SCALE).round().to(torch.int16).cpu().numpy())
        bar.update(len(batch))
    bar.close()
    for index in range(len(sums)):
        mean = sums[index] / count
        deviation = (squares[index] / count - mean.square()).clamp_min(0).sqrt().clamp_min(1e-6)
        shift, scale = (one.float().numpy()[:, None, None] for one in (mean, deviation))
        maps = stored[f"maps_{index}"]
        for start in range(0, len(points), 256):
            maps[start : start + 256] = (
                (maps[start : start + 256].astype(np.float32) - shift) / scale
            ).astype(np.float16)
    for array in stored.values():
        array.flush()  # type: ignore[attr-defined]
    (folder / "meta.json").write_text(json.dumps({"format": _FORMAT, "maps": len(sums)}), encoding="utf-8")
