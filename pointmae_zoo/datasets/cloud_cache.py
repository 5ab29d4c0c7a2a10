"""Points that take time to read or to make, kept in files of a cache folder.

`cached_clouds` is for many clouds: one file that every process maps into its memory. The first process that
wants it writes it, under a lock; the others wait and then open it. An interrupted one resumes where it
stopped, some hundred clouds back at most. `cached_arrays` is for a few arrays, which are read whole.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.clouds import normalize_clouds, rounded, unrounded
from pointmae_zoo.shapes.reader_pool import Reading
from pointmae_zoo.system.files import locked, written_whole
from pointmae_zoo.system.progress import progress_bar

CHUNK = 256
"""Clouds written at a time: what an interruption costs at most."""

Readings = Generator[Reading, None, None]

# To be raised when the same files and settings give other clouds.
_VERSION = 1


def cache_name(kind: str, settings: dict[str, Any]) -> str:
    """A file name that differs where the kind or any of the settings (plain JSON values) differs."""
    described = json.dumps([_VERSION, kind, settings], sort_keys=True)
    return f"{kind}-{hashlib.sha256(described.encode()).hexdigest()[:16]}.npy"


def file_stamps(files: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Place, size and time of change of each file, for the settings of a `cache_name`: what tells a changed
    file. (Unpacked files often share their times.)"""
    found = ((os.path.abspath(file), file.stat()) for file in files)
    return [(place, stat.st_size, stat.st_mtime_ns) for place, stat in found]


class CachedClouds:
    """Clouds in a finished cache: M of the ``count`` that were asked for, those that could be read.

    Pickles as its file name, so that processes that are handed one map the same file.

    Args:
        path: ``.npy`` of (count, N, 3) float32, in the unit sphere unless made otherwise, or int16 in units
            of 1/32767; a ``.json`` of the same name beside it.
    """

    def __init__(self, path: Path) -> None:
        said = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        self.path = path
        self.skipped: dict[int, str] = {one["number"]: one["reason"] for one in said["skipped"]}
        self.sha256: str = said["sha256"]
        self._points: NDArray[Any] = np.load(path, mmap_mode="r")
        kept = np.ones(len(self._points), dtype=bool)
        kept[list(self.skipped)] = False
        self.kept = np.flatnonzero(kept)
        """(M,) which of the ``count`` clouds there are."""

    def __len__(self) -> int:
        return len(self.kept)

    def __reduce__(self) -> tuple[Any, ...]:
        return CachedClouds, (self.path,)

    @property
    def shape(self) -> tuple[int, ...]:
        """(count, N, 3)."""
        return self._points.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored."""
        return self._points.dtype

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Clouds (B,) of the M -> (B, N, 3)."""
        points = np.asarray(self._points[self.kept[indices]])
        return unrounded(points) if points.dtype == np.int16 else points


def cached_clouds(
    path: Path,
    count: int,
    num_points: int,
    readings: Callable[[int], Readings],
    *,
    label: str,
    progress: bool,
    names: Sequence[str] = (),
    normalize: bool = True,
    compact: bool = False,
) -> CachedClouds:
    """Open the cache at ``path``, after writing it if it is not there.

    Args:
        path: from ``cache_name``; two caches of one name must hold the same.
        count: how many clouds are asked for.
        readings: ``readings(start)`` generates clouds start, start + 1, ... count - 1, each (num_points, 3)
            or the reason why there is none.
        label: for the progress bar and messages.
        names: of the ``count`` clouds, by which those without points are listed.
        normalize: put every cloud into the unit sphere; they stay as they were read otherwise.
        compact: store clouds in the unit sphere as int16, in half the space: coordinates are ``rounded``.

    Raises:
        OSError: the disk is full, or has no room for what is missing; names the folder.
    """
    dtype = np.dtype("<i2" if compact else "<f4")
    if finished := _finished(path, count, num_points, dtype):
        return finished
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = f"{label}: another process is preparing them, waiting for it" if progress else None
    with locked(path.with_name(f".{path.name}.lock"), waiting) as alone:
        if finished := _finished(path, count, num_points, dtype):
            return finished
        # Without locks every process writes a file of its own; all are the same, and the last one stays.
        own = "" if alone else f".{os.getpid()}"
        unfinished = path.with_name(f".{path.stem}{own}.unfinished")
        journal = path.with_name(f".{path.stem}{own}.journal")
        try:
            done = _write(unfinished, journal, count, num_points, dtype, readings, label, progress, normalize)
        except BaseException as error:
            # Nobody else finds these two; or a data file is wrong, and once repaired gets another cache.
            if not alone or isinstance(error, ValueError):
                unfinished.unlink(missing_ok=True)
                journal.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _no_room(path.parent, label, count * num_points * 3 * dtype.itemsize) from error
            raise
        reasons = {int(number): reason for line in done for number, reason in line["skipped"].items()}
        skipped = [
            {"number": number, "file": names[number] if names else label, "reason": reason}
            for number, reason in reasons.items()
        ]
        digest = hashlib.sha256("".join(line["sha256"] for line in done).encode()).hexdigest()
        said = {"count": count, "num_points": num_points, "sha256": digest, "skipped": skipped}
        with written_whole(path.with_suffix(".json")) as file:
            file.write_text(json.dumps(said, indent=1), encoding="utf-8")
        os.replace(unfinished, path)
        journal.unlink(missing_ok=True)
    return CachedClouds(path)


def _finished(path: Path, count: int, num_points: int, dtype: np.dtype[Any]) -> CachedClouds | None:
    """The cache, if it is there and whole."""
    try:
        cached = CachedClouds(path)
    except (OSError, ValueError, KeyError, IndexError, TypeError):  # TypeError: of an older version
        return None
    as_asked = cached.shape == (count, num_points, 3) and cached.dtype == dtype
    return cached if as_asked else None


def _write(
    unfinished: Path,
    journal: Path,
    count: int,
    num_points: int,
    dtype: np.dtype[Any],
    readings: Callable[[int], Readings],
    label: str,
    progress: bool,
    normalize: bool,
) -> list[dict[str, Any]]:
    """Write what is missing. Returns the journal: one entry a chunk."""
    header = {"descr": dtype.str, "fortran_order": False, "shape": (count, num_points, 3)}
    with open(unfinished, "r+b" if unfinished.exists() else "w+b") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        first, size = stream.tell(), num_points * 3 * dtype.itemsize
        room = (os.fstat(stream.fileno()).st_size - first) // size
        done = _journal(journal, most=room)
        start = done[-1]["stop"] if done else 0
        if shutil.disk_usage(unfinished.parent).free < (count - start) * size:
            raise _no_room(unfinished.parent, label, (count - start) * size)
        stream.seek(first + start * size)
        stream.truncate()
        bar = progress_bar(total=count, initial=start, unit="cloud", desc=label, disable=not progress)
        with written_whole(journal) as trusted:
            trusted.write_text("".join(json.dumps(line) + "\n" for line in done), encoding="utf-8")
        following = readings(start)
        with bar, open(journal, "a", encoding="utf-8") as written, contextlib.closing(following):
            while start < count:
                stop = min(start + CHUNK, count)
                line = _write_chunk(stream, start, stop, num_points, dtype, following, bar, normalize)
                # First the clouds, then the line that vouches for them.
                _to_disk(stream)
                written.write(json.dumps(line) + "\n")
                _to_disk(written)
                done.append(line)
                start = stop
    return done


def _write_chunk(
    stream: IO[bytes],
    start: int,
    stop: int,
    num_points: int,
    dtype: np.dtype[Any],
    following: Readings,
    bar: Any,
    normalize: bool,
) -> dict[str, Any]:
    points = np.zeros((stop - start, num_points, 3), dtype="<f4")
    skipped = {}
    for row in range(stop - start):
        reading = next(following)
        if reading.points is None:
            skipped[str(start + row)] = reading.reason
        else:
            points[row] = reading.points
        bar.update()
    points = normalize_clouds(points) if normalize else points
    if dtype.kind == "i":
        points = rounded(points)
    data = points.astype(dtype).tobytes()
    stream.write(data)
    return {"stop": stop, "sha256": hashlib.sha256(data).hexdigest(), "skipped": skipped}


def _journal(path: Path, most: int) -> list[dict[str, Any]]:
    """The chunks that an interrupted process has written; none beyond cloud ``most``."""
    lines: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # a line cut off ends it
        for text in path.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            if not len(lines) * CHUNK < line["stop"] <= min(most, (len(lines) + 1) * CHUNK):
                break
            lines.append({key: line[key] for key in ("stop", "sha256", "skipped")})
    return lines


def _to_disk(stream: IO[Any]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _no_room(folder: Path, label: str, size: int) -> OSError:
    free = shutil.disk_usage(folder).free
    return OSError(
        f"{folder}: {label} need {size / 1e9:.1f} GB there, {free / 1e9:.1f} GB are free; "
        "make room, or choose a cache folder on another disk"
    )


def cached_arrays(path: Path | None, make: Callable[[], dict[str, NDArray]]) -> dict[str, NDArray]:
    """The arrays of a file; if it isn't there or is damaged, those that ``make`` returns, written for the
    next time.

    One process makes them; others that want the same file wait for it.

    Args:
        path: from `cache_name`, so that its name stands for all that the arrays depend on; None: nothing is
            kept.

    Raises:
        OSError: it cannot be written there.
    """
    if path is None:
        return make()
    path = path.with_suffix(".npz")
    if (found := _finished_arrays(path)) is not None:
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock")):
        if (found := _finished_arrays(path)) is not None:
            return found
        arrays: dict[str, Any] = make()
        with written_whole(path) as unfinished, unfinished.open("wb") as stream:
            np.savez(stream, **arrays)
    return arrays


def _finished_arrays(path: Path) -> dict[str, NDArray] | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):  # not there, or damaged
        return None
