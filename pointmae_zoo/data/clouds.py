"""Files of many clouds (``.npz``, ``.npy``) for training and evaluation.

An ``.npz`` holds ``points`` (M, N, 3), as floats or as int16 times ``point_scale`` (1 / 32767 when absent),
and optionally ``y`` (M,) class numbers with -1 for none, ``classes`` and ``core_classes`` (names), ``split``
(M,) strings, ``group`` (M,) numbers of near-duplicate groups and ``name`` (M,). An ``.npy`` holds the points
alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.data.files import file_sha256

TRAINING_SPLITS = ("train", "unlabelled")
"""The only splits that pre-training may see; all others (``test``, ``val``) never get into a training set."""

_INT16_SCALE = 1.0 / 32767.0


@dataclass(frozen=True)
class Clouds:
    """M clouds of N points and what is known of them.

    Args:
        points: (M, N, 3) float32.
        labels: (M,) int64 class numbers, -1 where there is none.
        groups: (M,) int64; clouds of one group are near duplicates of each other. Every cloud its own group
            when the file has none.
        splits: (M,) strings, empty strings when the file has none.
        classes: class names, ``labels`` are positions in it.
        core_classes: the cleaner subset of ``classes``, empty when the file names none.
        sha256: of the file.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    splits: NDArray[np.str_]
    classes: tuple[str, ...]
    core_classes: tuple[str, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.points)

    def select(self, chosen: NDArray[np.bool_]) -> "Clouds":
        """The clouds for which the (M,) mask ``chosen`` is true."""
        return replace(
            self,
            points=self.points[chosen],
            labels=self.labels[chosen],
            groups=self.groups[chosen],
            splits=self.splits[chosen],
        )


def normalize_clouds(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centre every cloud on its centroid and scale it into the unit sphere: (M, N, 3) -> (M, N, 3).

    A cloud of identical points is only centred.
    """
    centred = points - points.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    radius = np.sqrt((centred**2).sum(axis=2)).max(axis=1)
    radius[radius == 0] = 1.0
    return (centred / radius[:, None, None]).astype(np.float32)


def read_clouds(path: str | Path) -> Clouds:
    """Read one ``.npz`` or ``.npy`` file of clouds.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or an array in it has the wrong shape, length or values; names the file
            and the array.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected an .npz or .npy file of clouds (M, N, 3)")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            arrays = {"points": loaded}
        else:
            with loaded:
                arrays = {key: loaded[key] for key in loaded.files}
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise ValueError(
            f"{path}: cannot be read as .npz or .npy ({error}); save the clouds again with numpy.savez"
        ) from error
    except Exception as error:  # zipfile.BadZipFile and zlib.error have no common parent below Exception
        raise ValueError(f"{path}: damaged archive ({error}); save or copy the file again") from error
    if "points" not in arrays:
        raise ValueError(
            f"{path}: no array 'points', expected (M, N, 3); it has {', '.join(sorted(arrays)) or 'none'}"
        )
    points = _decode_points(path, arrays["points"], arrays.get("point_scale"))
    count = len(points)
    for key in ("y", "group", "split"):
        if key in arrays and arrays[key].shape != (count,):
            raise ValueError(
                f"{path}: '{key}' has shape {arrays[key].shape}, expected ({count},), one entry a cloud"
            )
        if key in arrays and key != "split" and arrays[key].dtype.kind not in "iu":
            raise ValueError(f"{path}: '{key}' is {arrays[key].dtype}, expected whole numbers")
    labels = arrays["y"].astype(np.int64) if "y" in arrays else np.full(count, -1, dtype=np.int64)
    classes = tuple(str(name) for name in np.ravel(arrays.get("classes", [])))
    core_classes = tuple(str(name) for name in np.ravel(arrays.get("core_classes", [])))
    if labels.min() < -1:
        raise ValueError(f"{path}: 'y' holds {labels.min()}, expected class numbers from 0, or -1 for none")
    if classes and labels.max() >= len(classes):
        raise ValueError(
            f"{path}: 'y' goes from {labels.min()} to {labels.max()}, but 'classes' has {len(classes)} names"
        )
    if unknown := sorted(set(core_classes) - set(classes)):
        raise ValueError(f"{path}: 'core_classes' names {unknown[0]!r}, which is not in 'classes'")
    return Clouds(
        points=points,
        labels=labels,
        groups=arrays["group"].astype(np.int64) if "group" in arrays else np.arange(count),
        splits=arrays["split"].astype(str) if "split" in arrays else np.full(count, ""),
        classes=classes,
        core_classes=core_classes,
        sha256=file_sha256(path),
    )


def _decode_points(path: Path, stored: NDArray, scale: NDArray | None) -> NDArray[np.float32]:
    if stored.ndim != 3 or stored.shape[2] != 3 or 0 in stored.shape:
        raise ValueError(
            f"{path}: 'points' has shape {stored.shape}, expected (M, N, 3) with M and N above 0"
        )
    if stored.dtype == np.int16:
        factor = _INT16_SCALE if scale is None else _point_scale(path, scale)
        points = stored.astype(np.float32) * np.float32(factor)
    elif stored.dtype.kind == "f":
        points = stored.astype(np.float32)
    else:
        raise ValueError(f"{path}: 'points' is {stored.dtype}, expected floats or int16")
    if not np.isfinite(points).all():
        bad = int(np.flatnonzero(~np.isfinite(points).all(axis=(1, 2)))[0])
        raise ValueError(f"{path}: cloud {bad} holds NaN or infinity; remove it")
    return points


def _point_scale(path: Path, scale: NDArray) -> float:
    if scale.size != 1 or scale.dtype.kind not in "fiu":
        raise ValueError(
            f"{path}: 'point_scale' is {scale.dtype} of shape {scale.shape}, expected a single number"
        )
    factor = float(np.ravel(scale)[0])
    if not (np.isfinite(factor) and factor > 0):
        raise ValueError(f"{path}: 'point_scale' is {factor}, expected a number above 0")
    return factor


def read_training_clouds(
    paths: Sequence[str | Path], num_points: int
) -> tuple[NDArray[np.float32], list[str]]:
    """The first ``num_points`` points of every cloud that training may see, normalised to the unit sphere.

    Files with a ``split`` array give their ``train`` and ``unlabelled`` clouds only (``TRAINING_SPLITS``);
    files without one give all.

    Returns:
        (M, num_points, 3) float32, and the sha256 of each file.

    Raises:
        FileNotFoundError, ValueError: see ``read_clouds``; also a file without any training cloud, or with
            too few points a cloud.
    """
    parts: list[NDArray[np.float32]] = []
    hashes: list[str] = []
    for path in paths:
        clouds = read_clouds(path)
        allowed = np.isin(clouds.splits, (*TRAINING_SPLITS, ""))
        if not allowed.any():
            found = ", ".join(sorted(set(clouds.splits)))
            raise ValueError(f"{path}: no cloud of split {' or '.join(TRAINING_SPLITS)} (it has {found})")
        if clouds.points.shape[1] < num_points:
            raise ValueError(
                f"{path}: {clouds.points.shape[1]} points a cloud, the recipe asks for {num_points}; "
                "lower cloud_points"
            )
        parts.append(clouds.points[allowed, :num_points])
        hashes.append(clouds.sha256)
    if not parts:
        return np.empty((0, num_points, 3), dtype=np.float32), []
    return normalize_clouds(np.concatenate(parts)), hashes
