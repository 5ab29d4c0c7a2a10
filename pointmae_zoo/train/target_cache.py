"""The teacher's targets of stored clouds: computed once, kept in memory-mapped files.

A cache is a folder named by the hash of all that its targets depend on (clouds, teacher's weights,
rendering), so a changed recipe never reads old targets. It holds parts of 1,024 clouds, each written whole or
not at all: a killed run continues with the part where it was. Processes that start together share the parts.

Features are stored as bytes, from the lowest to the highest value of a cloud's channel. With MobileNetV2 that
is off by 0.6 % of a channel's deviation where points lie (RMS), and nothing is clipped. Where the points lie
isn't stored: it follows from the stored clouds in milliseconds.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointmae_zoo.datasets.sources import CloudSource
from pointmae_zoo.models.pretraining_model import TeacherViews
from pointmae_zoo.models.teacher.image_teacher import Teacher
from pointmae_zoo.ops import Rendering, read_maps
from pointmae_zoo.system.files import lock, remove_locked, written_whole
from pointmae_zoo.system.progress import progress_bar
from pointmae_zoo.train.device_cache import Rows

_FORMAT = 3
_PART = 1024  # clouds
_LEVELS = 255  # of a byte, above the lowest
_STATISTICS_CLOUDS = 512  # evenly spread; enough for the mean and deviation of a channel
_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class CachedTargets:
    """Memory-mapped targets of M clouds, see ``cached_targets``.

    Args:
        folder: the cache.
        rendering: how the teacher's images were made.
        parts: arrays of at most 1,024 records, in the order of the clouds. A record has ``maps_0``,
            ``maps_1``, ... (V, C_i, h_i, w_i) uint8, and ``saliency`` (V, 1, h, w) uint8, absent if the
            teacher has none. ``range_maps_0`` (2, C_0) float16 is low and step of every channel: raw
            features are low + step * byte. The other fields have such ranges, too.
        shifts, scales: of each map, (C_i, 1, 1) float32: (raw - shift) / scale is what ``views`` gives; empty
            for raw features.
    """

    folder: Path
    rendering: Rendering
    parts: tuple[NDArray[np.void], ...]
    shifts: tuple[Tensor, ...]
    scales: tuple[Tensor, ...]

    @property
    def map_names(self) -> list[str]:
        """``maps_0`` and so on, fine to coarse."""
        return [name for name in self.parts[0].dtype.names or () if name.startswith("maps_")]

    @functools.cached_property
    def _rows(self) -> dict[str, Rows]:
        count = sum(len(part) for part in self.parts)
        names = self.parts[0].dtype.names or ()
        return {name: Rows(functools.partial(self.read, name), count) for name in names}

    @functools.cached_property
    def _standards(self) -> dict[torch.device, list[tuple[Tensor, Tensor]]]:
        return {}

    def _standard(self, device: torch.device) -> list[tuple[Tensor, Tensor]]:
        """Shift and scale of each map on a device, where they stay."""
        if device not in self._standards:
            pairs = zip(self.shifts, self.scales, strict=True)
            self._standards[device] = [(shift.to(device), scale.to(device)) for shift, scale in pairs]
        return self._standards[device]

    def read(self, name: str, indices: NDArray[np.int64]) -> NDArray[Any]:
        """One field of some clouds: (B,) -> (B, ...), as stored."""
        return np.stack([self.parts[index // _PART][name][index % _PART] for index in indices])

    def views(
        self, indices: NDArray[np.int64], chosen: Tensor, points: Tensor, stored: Tensor
    ) -> TeacherViews:
        """See ``Targets.views``; targets are of the stored clouds, so ``points`` is not used."""
        device = stored.device
        standards = self._standard(device) if self.shifts else [None] * len(self.map_names)
        maps = [
            self.features(name, indices, device, standard)
            for name, standard in zip(self.map_names, standards, strict=True)
        ]
        saliency = None
        if "saliency" in (self.parts[0].dtype.names or ()):
            saliency = self.features("saliency", indices, device).squeeze(2)
            if self.shifts:
                saliency = saliency / saliency.mean(dim=(2, 3), keepdim=True).clamp_min(1e-12)
        return TeacherViews(maps=maps, saliency=saliency, pixels=self.rendering.pixels(stored, chosen))

    def features(
        self,
        name: str,
        indices: NDArray[np.int64],
        device: torch.device,
        standard: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """One field of some clouds, float32: (B,) -> (B, V, C, h, w); raw, or (raw - shift) / scale."""
        low, step = self._rows[f"range_{name}"].fetch(indices, device).float().unbind(1)
        low, step = (one[:, None, :, None, None] for one in (low, step))
        if standard is not None:
            shift, scale = standard
            low, step = (low - shift) / scale, step / scale
        return self._rows[name].fetch(indices, device).float().mul_(step).add_(low)


def cached_targets(
    source: CloudSource,
    teacher: Teacher,
    rendering: Rendering,
    cache: Path,
    *,
    standardize: bool = True,
    batch_size: int = 16,
    progress: bool = True,
) -> CachedTargets:
    """The targets of all stored clouds of a source: read from the cache folder, or computed and written
    there.

    Several processes may use one folder; they share the work.

    Args:
        cache: folder of all caches.
        standardize: give every channel mean 0 and deviation 1, measured where points lie in 512 clouds, and
            each view's saliency mean 1; otherwise both are raw.
        batch_size: clouds computed at a time.

    Raises:
        OSError: too little space on the disk; says how much is needed.
        ValueError: features are not finite, or too large for float16.
    """
    settings = _settings(source, teacher, rendering)
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    folder = cache / f"teacher-{key[:16]}"
    rows = [min(_PART, len(source) - start) for start in range(0, len(source), _PART)]
    if not all(_is_whole(folder, part, rows) for part in range(len(rows))):
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / "settings.json") as unfinished:
            unfinished.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        _build(folder, rows, source, teacher, rendering, batch_size, progress)
    parts = tuple(np.load(_path(folder, part), mmap_mode="r") for part in range(len(rows)))
    raw = CachedTargets(folder, rendering, parts, (), ())
    if not standardize:
        return raw
    return CachedTargets(folder, rendering, parts, *_statistics(raw, source))


def _settings(source: CloudSource, teacher: Teacher, rendering: Rendering) -> dict[str, Any]:
    """Everything that the targets depend on."""
    some = np.unique(np.linspace(0, len(source) - 1, 8).astype(np.int64))
    return {
        "format": _FORMAT,
        "data_sha256": list(source.sha256),
        "clouds": len(source),
        "points": source.num_points,
        # Hashes of files don't cover how clouds are sampled, normalised and ordered.
        "first_points_sha256": hashlib.sha256(source.read(some).tobytes()).hexdigest(),
        "teacher": teacher.name,
        "teacher_sha256": _hash_of(teacher),
        "strides": list(teacher.strides),
        "image_size": teacher.image_size,
        "precision": teacher.computes_in(teacher.mean.device),
        **rendering.settings(),
    }


def _hash_of(teacher: Teacher) -> str:
    digest = hashlib.sha256()
    for name, value in sorted({**teacher.state_dict(), "mean": teacher.mean, "std": teacher.std}.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _path(folder: Path, part: int) -> Path:
    return folder / f"part-{part:05d}.npy"


def _is_whole(folder: Path, part: int, rows: list[int]) -> bool:
    """Whether a part is complete. A file can lose its end when the machine loses power."""
    try:
        return len(np.load(_path(folder, part), mmap_mode="r")) == rows[part]
    except (OSError, ValueError, EOFError):
        return False


def _build(
    folder: Path,
    rows: list[int],
    source: CloudSource,
    teacher: Teacher,
    rendering: Rendering,
    batch_size: int,
    progress: bool,
) -> None:
    record = _records(source, np.zeros(1, np.int64), teacher, rendering).dtype
    missing = [part for part in range(len(rows)) if not _is_whole(folder, part, rows)]
    _check_space(folder, sum(rows[part] for part in missing) * record.itemsize)
    total = sum(rows[part] for part in missing)
    with progress_bar(total=total, desc="teacher", unit="cloud", disable=not progress) as bar:
        while missing:
            for part in missing:
                with _claimed(folder, part) as ours:
                    if not ours or _is_whole(folder, part, rows):
                        continue
                    start = part * _PART
                    indices = np.arange(start, start + rows[part])
                    batches = np.split(indices, range(batch_size, len(indices), batch_size))
                    with _naming(folder), written_whole(_path(folder, part)) as unfinished:
                        _write(unfinished, record, rows[part], batches, source, teacher, rendering, bar)
            missing = [part for part in missing if not _is_whole(folder, part, rows)]
            if missing:  # other processes compute these; if one dies, its parts are free again
                time.sleep(_WAIT_SECONDS)
                bar.update(total - sum(rows[part] for part in missing) - bar.n)


def _write(
    path: Path,
    record: np.dtype[np.void],
    rows: int,
    batches: list[NDArray[np.int64]],
    source: CloudSource,
    teacher: Teacher,
    rendering: Rendering,
    bar: Any,
) -> None:
    # No memory map: on a full disk it would end the process without a message.
    with path.open("wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(record), "fortran_order": False, "shape": (rows,)}
        np.lib.format.write_array_header_2_0(stream, header)
        for indices in batches:
            stream.write(_records(source, indices, teacher, rendering).tobytes())
            bar.update(len(indices))
        stream.flush()
        os.fsync(stream.fileno())


@torch.no_grad()
def _records(
    source: CloudSource, indices: NDArray[np.int64], teacher: Teacher, rendering: Rendering
) -> NDArray[np.void]:
    """The records of some clouds, (B,)."""
    images = rendering(torch.from_numpy(source.read(indices)).to(teacher.mean.device)).images
    features = teacher(images)
    values = {f"maps_{index}": one for index, one in enumerate(features.maps)}
    if features.saliency is not None:
        values["saliency"] = features.saliency.unsqueeze(2)
    fields: dict[str, Tensor] = {}
    for name, one in values.items():
        fields[name], fields[f"range_{name}"] = _as_bytes(one)
        if not bool(fields[f"range_{name}"].isfinite().all()):
            number = name.removeprefix("maps_")
            raise ValueError(
                f"teacher {teacher.name}: feature map {number} holds NaN or values beyond 65504, which no "
                "cache can hold; check its weights, or take live targets"
            )
    arrays = {name: one.cpu().numpy() for name, one in fields.items()}
    records = np.empty(len(indices), dtype=[(name, one.dtype, one.shape[1:]) for name, one in arrays.items()])
    for name, one in arrays.items():
        records[name] = one
    return records


def _as_bytes(values: Tensor) -> tuple[Tensor, Tensor]:
    """(B, V, C, h, w) -> bytes of that shape, and the range (B, 2, C) float16, low and step: values are about
    low + step * byte."""
    lowest, highest = values.amin((1, 3, 4)), values.amax((1, 3, 4))
    low = lowest.half()
    # A little more than needed, because float16 may round down, and never 0.
    step = ((highest - low) / _LEVELS * (1 + 2**-10) + 2**-24).half()
    above = (values - low[:, None, :, None, None]) / step[:, None, :, None, None]
    return above.round().clamp(0, _LEVELS).to(torch.uint8), torch.stack([low, step], 1)


@contextlib.contextmanager
def _claimed(folder: Path, part: int) -> Iterator[bool]:
    """Whether this process is to compute a part, while the block lasts; False if another process does.

    A claim ends with its process. Without file locks every claim is granted: work may then be done twice, but
    never wrongly, as parts are written whole.
    """
    path = folder / f"part-{part:05d}.lock"
    with path.open("ab") as stream:
        try:
            alone = lock(stream)
        except BlockingIOError:
            yield False
            return
        if alone:
            for left in folder.glob(f".{_path(folder, part).name}.*.tmp"):  # of a killed process
                left.unlink(missing_ok=True)
        yield True
        remove_locked(path, stream)


def _check_space(folder: Path, needed: int) -> None:
    started = sum(
        path.stat().st_size for path in folder.glob(".part-*.tmp")
    )  # what other processes have reserved
    free = shutil.disk_usage(folder).free
    if needed - started > free:
        raise OSError(
            f"{folder}: the teacher's targets need {needed / 1e9:.1f} GB more, {free / 1e9:.1f} GB are free; "
            "choose another cache folder, fewer clouds or views, or live targets, which need no space"
        )


@contextlib.contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """If the disk fills up meanwhile, say so, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            f"{folder}: the disk is full; make space and start again; finished parts stay"
        ) from error


def _statistics(targets: CachedTargets, source: CloudSource) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Mean and deviation of every map's channels where points lie; stored with the cache."""
    path = targets.folder / "statistics.npz"
    if not path.is_file():
        arrays: dict[str, NDArray[np.float32]] = {}
        for name in targets.map_names:
            sums = squares = torch.zeros((), dtype=torch.float64)
            read = 0
            for indices in np.array_split(_spread(len(source)), 32):
                if not len(indices):
                    continue
                points = torch.from_numpy(source.read(indices))
                some = torch.arange(0, points.shape[1], max(1, points.shape[1] // 128))
                pixels = targets.rendering.pixels(points, some.expand(len(points), -1))
                maps = targets.features(name, indices, points.device)
                values = read_maps(maps, pixels, mode="bilinear").flatten(0, 2).double()
                sums, squares, read = (
                    sums + values.sum(0),
                    squares + values.square().sum(0),
                    read + len(values),
                )
            mean = sums / read
            deviation = (squares / read - mean.square()).clamp_min(0).sqrt().clamp_min(1e-6)
            arrays[f"{name}.mean"], arrays[f"{name}.deviation"] = (
                one.float().numpy()[:, None, None] for one in (mean, deviation)
            )
        with written_whole(path) as unfinished, unfinished.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
    with np.load(path) as stored:
        shifts, scales = (
            tuple(torch.from_numpy(stored[f"{name}.{kind}"]) for name in targets.map_names)
            for kind in ("mean", "deviation")
        )
    return shifts, scales


def _spread(count: int) -> NDArray[np.int64]:
    """At most 512 of ``count`` clouds, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, _STATISTICS_CLOUDS)).astype(np.int64))
