"""Files of many clouds (``.npz``, ``.npy``) for training and evaluation.

An ``.npz`` holds ``points`` (M, N, 3), as floats or as int16 times ``point_scale`` (1 / 32767 when absent),
and optionally ``y`` (M,) class numbers with -1 for none, ``classes`` and ``core_classes`` (names), ``split``
(M,) strings, ``group`` (M,) numbers of near-duplicate groups and ``name`` (M,). For part segmentation it
also has ``parts`` (M, N), the part number of each point, and may have ``part_names``, ``CLASS/PART`` by
number. An ``.npy`` holds the points alone.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.contents import no_shape
from pointmae_zoo.system.files import file_sha256

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


def rounded(points: NDArray[np.float32]) -> NDArray[np.int16]:
    """Coordinates in [-1, 1] in units of 1/32767, as int16: off by 1/65534 (0.000015) at most."""
    return np.rint(points * np.float32(32767)).astype(np.int16)


def unrounded(stored: NDArray[np.int16]) -> NDArray[np.float32]:
    """Coordinates from units of 1/32767."""
    return stored * np.float32(_INT16_SCALE)


def read_clouds(path: str | Path) -> Clouds:
    """Read one ``.npz`` or ``.npy`` file of clouds.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or an array in it has the wrong shape, length or values; names the file
            and the array.
    """
    path = Path(path)
    arrays = _arrays(path)
    points = _decode_points(path, arrays["points"], arrays.get("point_scale"))
    count = len(points)
    for key in ("y", "group", "split"):
        _check_length(path, key, arrays, count)
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


def read_parts(path: str | Path) -> tuple[NDArray[np.integer], list[str] | None]:
    """The part number of every point of a file, (M, N) as stored, and the names of all parts if it has them.

    Raises:
        ValueError: no ``parts``, or not one whole number of 0 or more for every point.
    """
    path = Path(path)
    arrays = _arrays(path, only=("points", "parts", "part_names"))
    if "parts" not in arrays:
        raise ValueError(f"{path}: no array 'parts' (M, N) with the part number of every point")
    parts, expected = arrays["parts"], arrays["points"].shape[:2]
    if parts.shape != expected or parts.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: 'parts' is {parts.dtype} of shape {parts.shape}, expected whole numbers {expected}"
        )
    if parts.min() < 0:
        raise ValueError(f"{path}: 'parts' holds {parts.min()}, expected part numbers from 0")
    names = arrays.get("part_names")
    return parts, None if names is None else [str(name) for name in np.ravel(names)]


def _arrays(path: Path, *, only: Sequence[str] = ()) -> dict[str, NDArray]:
    """The arrays of a file (of these names only, if any are given), ``points`` among them."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected an .npz or .npy file of clouds (M, N, 3)")
    with path.open("rb") as file:
        if (what := no_shape(file.read(4096))) is not None:
            raise ValueError(f"{path}: {what}")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"points": loaded}
        with loaded:
            found = list(loaded.files)
            arrays = {key: loaded[key] for key in found if not only or key in only}
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise ValueError(
            f"{path}: cannot be read as .npz or .npy ({error}); save the clouds again with numpy.savez"
        ) from error
    except Exception as error:  # zipfile.BadZipFile and zlib.error have no common parent below Exception
        raise ValueError(f"{path}: damaged archive ({error}); save or copy the file again") from error
    if "points" not in found:
        raise ValueError(
            f"{path}: no array 'points', expected (M, N, 3); it has {', '.join(sorted(found)) or 'none'}"
        )
    return arrays


def _check_length(path: Path, key: str, arrays: dict[str, NDArray], count: int) -> None:
    if key in arrays and arrays[key].shape != (count,):
        raise ValueError(
            f"{path}: '{key}' has shape {arrays[key].shape}, expected ({count},), one entry a cloud"
        )


def _check_points(path: Path, stored: NDArray) -> None:
    if stored.ndim != 3 or stored.shape[2] != 3 or 0 in stored.shape:
        raise ValueError(
            f"{path}: 'points' has shape {stored.shape}, expected (M, N, 3) with M and N above 0"
        )
    if stored.dtype != np.int16 and stored.dtype.kind != "f":
        raise ValueError(f"{path}: 'points' is {stored.dtype}, expected floats or int16")


def _decode_points(
    path: Path, stored: NDArray, scale: NDArray | None, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """``rows``: which clouds of the file they are, for the error message; all of them unless given."""
    _check_points(path, stored)
    points = stored.astype(np.float32)
    if stored.dtype == np.int16:
        points *= np.float32(_INT16_SCALE if scale is None else _point_scale(path, scale))
    broken = np.flatnonzero(~np.isfinite(points).all(axis=(1, 2)))
    if len(broken):
        bad = broken[0] if rows is None else rows[broken[0]]
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


def training_rows(path: str | Path) -> NDArray[np.int64]:
    """The rows (M,) of a file that training may see; the points themselves are not read.

    Raises:
        FileNotFoundError, ValueError: see ``read_training_points``.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return _training_rows(path, {}, len(np.load(path, mmap_mode="r")))
    arrays = _arrays(path, only=("split",))
    with zipfile.ZipFile(path) as archive, archive.open("points.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read_header = np.lib.format.read_array_header_2_0
        shape, _, _ = read_header(stream)
    return _training_rows(path, arrays, shape[0])


def read_training_points(path: str | Path, num_points: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The first ``num_points`` points of every cloud of a file that training may see.

    Of a file with a ``split`` array these are the ``train`` and ``unlabelled`` clouds (``TRAINING_SPLITS``),
    else all clouds. Labels, classes and groups are ignored.

    Returns:
        (M, num_points, 3) float32, and (M,) which row of the file each is.

    Raises:
        FileNotFoundError, ValueError: see ``read_clouds``; also a file without any training cloud, or with
            too few points a cloud.
    """
    path = Path(path)
    arrays = _arrays(path, only=("points", "point_scale", "split"))
    stored = arrays["points"]
    _check_points(path, stored)
    rows = _training_rows(path, arrays, len(stored))
    if stored.shape[1] < num_points:
        raise ValueError(
            f"{path}: {stored.shape[1]} points a cloud, the recipe asks for {num_points}: "
            f"{fewer_points(stored.shape[1])}"
        )
    return _decode_points(path, stored[rows, :num_points], arrays.get("point_scale"), rows), rows


def fewer_points(there: int) -> str:
    """The options for clouds of so many points. (The recipe's ``num_points`` is not known here.)"""
    return f"--set cloud_points={there} (and --set num_points={there}, unless it is lower)"


def _training_rows(path: Path, arrays: dict[str, NDArray], count: int) -> NDArray[np.int64]:
    if "split" not in arrays:
        return np.arange(count)
    _check_length(path, "split", arrays, count)
    rows = np.flatnonzero(np.isin(arrays["split"].astype(str), (*TRAINING_SPLITS, "")))
    if len(rows) == 0:
        found = ", ".join(sorted(set(arrays["split"].astype(str).tolist())))
        raise ValueError(f"{path}: no cloud of split {' or '.join(TRAINING_SPLITS)} (it has {found})")
    return rows
