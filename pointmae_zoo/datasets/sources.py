"""Where the clouds of a training come from: files, folders, benchmarks and the procedural generator.

An entry of a recipe's ``data`` is one of

- an ``.npz`` or ``.npy`` file of clouds (``datasets.clouds``); if it has a ``split`` array, only the clouds
  for training,
- a folder of meshes or point files, searched to the bottom; files in folders named test, val or the like
  (``datasets.mesh_folder.HELD_OUT``) are left out,
- ``shapenet55:PATH``, ``modelnet40:PATH``, ``scanobjectnn:PATH`` or ``shapenetpart:PATH``: the training split
  of a benchmark, in a layout in which it is distributed (``datasets.benchmarks``).
"""

import contextlib
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets import benchmarks
from pointmae_zoo.datasets.cloud_cache import Readings, cache_name, cached_clouds, file_stamps
from pointmae_zoo.datasets.clouds import (
    normalize_clouds,
    read_training_points,
    rounded,
    training_rows,
    unrounded,
)
from pointmae_zoo.datasets.mesh_folder import number_of_workers, read_files, too_few, training_files
from pointmae_zoo.shapes.read import check_seed
from pointmae_zoo.shapes.reader_pool import Reading
from pointmae_zoo.shapes.up_axis import DEFAULT_UP, check_up, turn_up
from pointmae_zoo.system.files import file_sha256

IN_MEMORY_BYTES = 256_000_000
"""A file of clouds larger than this is mapped from a cache, which all processes of a run share."""

_MOST_LISTED = 20
_SHAPES_A_PROCESS = 200  # fewer procedural shapes than this take less time than another process to start
_SHAPES_A_JOB = 8


class Block(Protocol):
    """Clouds from one place."""

    def __len__(self) -> int: ...

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """(B,) -> (B, N, 3)."""
        ...


@runtime_checkable
class _Closable(Protocol):
    def close(self) -> None: ...


class InMemory:
    """Clouds (M, N, 3), in the unit sphere."""

    def __init__(self, points: NDArray[np.float32]) -> None:
        self._points = points

    def __len__(self) -> int:
        return len(self._points)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._points[indices]


class OnTheFly:
    """Procedural shapes, generated whenever they are read: some milliseconds each. They equal those that a
    cache holds.

    Args:
        workers: processes that make them, until `close`; 0: this process does.
    """

    def __init__(self, count: int, seed: int, num_points: int, workers: int = 0) -> None:
        from pointmae_zoo.procedural import ShapeProcesses

        self._count, self._seed, self._num_points = count, seed, num_points
        self._processes = ShapeProcesses(workers, seed=seed, num_points=num_points) if workers else None

    def __len__(self) -> int:
        return self._count

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Several threads may read at a time.

        Raises:
            RuntimeError: a process ended before its work was done.
        """
        from pointmae_zoo.procedural import generate

        if self._processes is None:
            made = np.stack([generate(self._seed, self._num_points, index=int(index)) for index in indices])
        else:
            parts = np.split(indices, range(_SHAPES_A_JOB, len(indices), _SHAPES_A_JOB))
            jobs = [self._processes.submit(part) for part in parts]
            made = np.concatenate([job.result() for job in jobs])
        return unrounded(rounded(normalize_clouds(made)))

    def close(self) -> None:
        """End the processes."""
        if self._processes is not None:
            self._processes.close()


class Upright:
    """Clouds in which another direction than y points up (see `turn_up`), turned upright."""

    def __init__(self, block: Block, up: str) -> None:
        self._block, self._up = block, up

    def __len__(self) -> int:
        return len(self._block)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return turn_up(self._block.read(indices), self._up, DEFAULT_UP)


class CloudSource:
    """M clouds of ``num_points`` points each, in the unit sphere, and what to call them.

    Args:
        num_points: points of every cloud.
        blocks: where they are, one place after another.
        names: M names: the file, and the row if it has several clouds.
        sha256: one hash of the content for every entry.
        skipped: files that gave no cloud, and why.
    """

    def __init__(
        self,
        num_points: int,
        blocks: Sequence[Block],
        names: Sequence[str],
        sha256: Sequence[str],
        skipped: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.num_points = num_points
        self.blocks = list(blocks)
        self.names = names
        self.sha256 = list(sha256)
        self.skipped = list(skipped)
        self._starts = np.cumsum([0, *(len(block) for block in self.blocks)])
        if len(names) != len(self):
            raise ValueError(f"{len(names)} names for {len(self)} clouds")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, indices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Clouds of the given numbers (B,), from 0 to M - 1 in any order -> (B, num_points, 3) float32.

        Raises:
            IndexError: a number below 0 or above M - 1.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"clouds {wanted.min()} to {wanted.max()} asked for, there are {len(self)}")
        points = np.empty((len(wanted), self.num_points, 3), dtype=np.float32)
        place = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(place):
            here = place == number
            points[here] = self.blocks[number].read(wanted[here] - self._starts[number])
        return points

    def close(self) -> None:
        """End the processes that make shapes, if there are any."""
        for block in self.blocks:
            if isinstance(block, _Closable):
                block.close()


def open_sources(
    entries: Sequence[str],
    cloud_points: int,
    *,
    cache: Path,
    seed: int = 0,
    up: str = DEFAULT_UP,
    workers: int | None = None,
    progress: bool = True,
) -> CloudSource:
    """The training clouds of all entries (see above), in their order.

    Folders, benchmarks and large files are read once, into ``cache``; safe with several processes at a
    time, and an interrupted reading resumes where it stopped. Files that cannot be read are skipped; stderr
    lists them when they are read, and later says how many they were. The caches can be deleted at any time.

    Args:
        cloud_points: points of every cloud. Meshes are sampled evenly; of clouds with more points, some are
            chosen.
        cache: folder for the caches.
        seed: of the points on meshes and of the choice among points.
        up: what points up in them, one of `UP_AXES`; they are turned so that y does.
        workers: processes that read meshes; as many as there are cores (at most 16) unless given.
        progress: show progress, and say what was skipped earlier; for one process of a run only.

    Raises:
        FileNotFoundError, ValueError: ``up`` is no axis; an entry leads to nothing, to nothing for training,
            or to clouds with fewer points than asked; names the entry and what to do.
        OSError: no room for a cache.
    """
    check_seed(seed)
    check_up(up)
    if cloud_points < 2:
        raise ValueError(f"cloud_points is {cloud_points}: expected at least 2")
    if isinstance(entries, str):
        raise TypeError(f"data: a list of entries expected, got the text {entries!r}")
    number = number_of_workers(workers)
    parts = []
    parsed = [_parsed(entry) for entry in entries]  # a wrong path is named before any file is read
    for name, path in parsed:
        if name is not None:
            parts.append(_benchmark(name, path, cloud_points, cache, seed, progress))
        elif path.is_dir():
            parts.append(_folder(path, cloud_points, cache, seed, number, progress))
        else:
            parts.append(_clouds_file(path, cloud_points, cache, progress))
    found = concatenate(parts) if parts else CloudSource(cloud_points, [], [], [])
    if up != DEFAULT_UP:
        found.blocks = [Upright(block, up) for block in found.blocks]
    return found


def procedural_source(
    count: int,
    seed: int,
    num_points: int,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> CloudSource:
    """Procedural shapes 0 .. count - 1 of a seed.

    Args:
        cache: folder to keep them in, 6 bytes a point; None: each is generated whenever it is read, the same
            every time. Either way coordinates are rounded to 1/32767.
        workers: processes that make them. By default as many as there are cores (at most 16) fill a cache;
            without one, this process makes them itself. Close the source to end them.
    """
    from pointmae_zoo.procedural import generate_in_order, version

    if count < 1:
        raise ValueError(f"procedural shapes: {count} asked for, expected at least 1")
    settings = {"version": version(), "seed": seed, "num_points": num_points, "count": count}
    block: Block
    if cache is None:
        block = OnTheFly(count, seed, num_points, workers or 0)
        digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    else:
        number = min(number_of_workers(workers), -(-count // _SHAPES_A_PROCESS))

        def readings(start: int) -> Readings:
            made = generate_in_order(start, count, seed=seed, num_points=num_points, workers=number)
            with contextlib.closing(made):
                for points in made:
                    yield Reading(points)

        path = cache / cache_name("procedural", settings | {"stored": "int16"})
        label = "procedural shapes"
        block = cached_clouds(path, count, num_points, readings, label=label, progress=progress, compact=True)
        digest = block.sha256
    names = [f"procedural shape {index} of seed {seed}" for index in range(count)]
    return CloudSource(num_points, [block], names, [digest])


def concatenate(sources: Sequence[CloudSource]) -> CloudSource:
    """Several sources as one, in their order.

    Raises:
        ValueError: none, or different numbers of points.
    """
    if len({source.num_points for source in sources}) != 1:
        found = ", ".join(str(source.num_points) for source in sources) or "no sources"
        raise ValueError(f"sources of one number of points expected, got {found}")
    return CloudSource(
        sources[0].num_points,
        [block for source in sources for block in source.blocks],
        [name for source in sources for name in source.names],
        [digest for source in sources for digest in source.sha256],
        [entry for source in sources for entry in source.skipped],
    )


def _parsed(entry: str) -> tuple[str | None, Path]:
    """Name of a benchmark (None for files and folders) and path of an entry.

    Raises ValueError, FileNotFoundError: no such benchmark, file or folder.
    """
    name, path = benchmarks.split_entry(entry)
    if name is not None:
        return name, path
    if not path.exists():
        if re.match(r"\w\w+:", entry):
            known = ", ".join(benchmarks.NAMES)
            raise ValueError(f"data: {entry!r} names no known benchmark ({known}), and no file")
        raise FileNotFoundError(f"{entry}: no such file or folder; see the recipe's data")
    if path.is_dir():
        _check_no_benchmark(path)
    elif path.suffix.lower() not in (".npz", ".npy"):
        raise ValueError(
            f"{entry}: expected an .npz or .npy file of clouds, a folder of meshes or point files, or "
            "BENCHMARK:FOLDER; for one mesh, name its folder"
        )
    return None, path


def _check_no_benchmark(folder: Path) -> None:
    if name := benchmarks.recognise(folder):
        raise ValueError(
            f"{folder}: this is {name}, whose test clouds must not be trained on; write {name}:{folder}"
        )


def _clouds_file(path: Path, num_points: int, cache: Path, progress: bool) -> CloudSource:
    def names(rows: NDArray[np.int64]) -> list[str]:
        return [f"{path}, row {row}" for row in rows]

    if path.stat().st_size <= IN_MEMORY_BYTES:
        points, rows = read_training_points(path, num_points)
        block = InMemory(normalize_clouds(points))
        return CloudSource(num_points, [block], names(rows), [file_sha256(path)])
    rows = training_rows(path)

    def readings(start: int) -> Readings:
        for cloud in read_training_points(path, num_points)[0][start:]:
            yield Reading(cloud)

    file = cache / cache_name("clouds", {"files": file_stamps([path]), "num_points": num_points})
    kept = cached_clouds(file, len(rows), num_points, readings, label=str(path), progress=progress)
    return CloudSource(num_points, [kept], names(rows), [kept.sha256])


def _folder(
    folder: Path, num_points: int, cache: Path, seed: int, workers: int, progress: bool
) -> CloudSource:
    files, held_out = training_files(folder)
    for place in sorted({place for file in files for place in file.parents}):
        _check_no_benchmark(folder / place)
    if held_out and progress:
        print(
            f"{folder}: {len(held_out):,} files in folders such as {held_out[0].parent} are left out, "
            "as they are not for training",
            file=sys.stderr,
        )

    paths = [folder / file for file in files]

    def readings(start: int) -> Readings:
        return read_files(paths[start:], num_points, seed=seed, workers=workers)

    settings = {"files": file_stamps(paths), "num_points": num_points, "seed": seed}
    return _many_files(
        str(folder),
        [str(path) for path in paths],
        "folder",
        settings,
        num_points,
        readings,
        cache,
        progress,
    )


def _benchmark(
    name: str, folder: Path, num_points: int, cache: Path, seed: int, progress: bool
) -> CloudSource:
    found = benchmarks.open_benchmark(name, folder, split="train")

    def readings(start: int) -> Readings:
        for row in range(start, len(found)):
            points = found.points(row)
            if len(points) >= num_points:
                chosen = np.random.default_rng([seed, row]).permutation(len(points))[:num_points]
                yield Reading(points[chosen])
            elif found.same_size:
                raise ValueError(f"{found.names[row]}: {too_few(len(points), num_points)}")
            else:
                yield Reading(None, too_few(len(points), num_points))

    settings = {"files": file_stamps(found.files), "num_points": num_points, "seed": seed}
    return _many_files(f"{name}:{folder}", found.names, name, settings, num_points, readings, cache, progress)


def _many_files(
    entry: str,
    names: Sequence[str],
    kind: str,
    settings: dict[str, Any],
    num_points: int,
    readings: Any,
    cache: Path,
    progress: bool,
) -> CloudSource:
    path = cache / cache_name(kind, settings)
    fresh = not path.exists()
    block = cached_clouds(path, len(names), num_points, readings, label=entry, progress=progress, names=names)
    skipped = [(names[number], reason) for number, reason in sorted(block.skipped.items())]
    if len(block) == 0:
        for file in (path, path.with_suffix(".json")):  # the reason may lie elsewhere: a library not there
            file.unlink(missing_ok=True)
        raise ValueError(f"{entry}: none of its {len(names):,} files can be used; {': '.join(skipped[0])}")
    if skipped and fresh:
        _print_skipped(entry, skipped, len(names), path)
    elif skipped and progress:
        listed = path.with_suffix(".json")
        counts = f"{len(skipped):,} of {len(names):,} files were skipped"
        print(f"{entry}: {counts} when they were read; {listed} says which", file=sys.stderr)
    return CloudSource(
        num_points, [block], [names[number] for number in block.kept.tolist()], [block.sha256], skipped
    )


def _print_skipped(entry: str, skipped: list[tuple[str, str]], total: int, path: Path) -> None:
    lines = [f"{entry}: {len(skipped):,} of {total:,} files were skipped:"]
    lines += [f"  {name}: {reason}" for name, reason in skipped[:_MOST_LISTED]]
    if len(skipped) > _MOST_LISTED:
        lines.append(f"  and {len(skipped) - _MOST_LISTED:,} more, all in {path.with_suffix('.json')}")
    lines.append(f"  to read them again, delete {path}")
    print("\n".join(lines), file=sys.stderr)
