"""A folder of anyone's meshes or point files: which of them are for training, and reading each once."""

import re
from collections.abc import Generator
from pathlib import Path

from pointmae_zoo.datasets.clouds import fewer_points
from pointmae_zoo.shapes.file_search import search_files
from pointmae_zoo.shapes.reader_pool import ReaderPool, Reading, available_cores
from pointmae_zoo.shapes.suffixes import SUPPORTED_SUFFIXES

HELD_OUT = frozenset(
    {
        *("test", "tests", "testing", "testset", "testdata"),
        *("val", "valid", "validate", "validation", "valset", "validationset"),
        *("eval", "evaluate", "evaluation", "dev", "devset", "heldout", "holdout"),
    }
)
"""Folders of these names hold what must not be trained on; case, ``-``, ``_``, spaces, dots and a number at
the end do not matter: Held-Out, val2017. See ``is_held_out``."""

_FIRST_WORDS = frozenset({"test", "testing", "val", "validation", "eval", "heldout", "holdout"})

_TIMEOUT, _MEMORY_GB = 60.0, 2.0  # for one file, as in embedding
_MOST_WORKERS = 16


def training_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Meshes and point files below a folder, relative to it and sorted: for training, and held out.

    Files in a folder that `is_held_out`, at any depth below ``folder`` itself, are held out.

    Raises:
        FileNotFoundError: nothing there for training.
    """
    files = [file.relative_to(folder) for file in search_files(folder).files]
    held_out = [file for file in files if any(map(is_held_out, file.parts[:-1]))]
    kept = sorted(set(files) - set(held_out), key=lambda file: file.as_posix())
    if held_out and not kept:
        raise FileNotFoundError(
            f"{folder}: all {len(files):,} files are held out, in folders such as {held_out[0].parent}; "
            "name that folder itself if it is meant for training"
        )
    if not kept:
        raise FileNotFoundError(
            f"{folder}: no meshes or point files there; expected {' '.join(SUPPORTED_SUFFIXES)}"
        )
    return kept, held_out


def is_held_out(name: str) -> bool:
    """Whether a folder of this name holds what must not be trained on: one of ``HELD_OUT``, or several words
    of which the first is test, val or the like (``test_meshes``, ``val-chairs``).
    """
    words = re.findall(r"[^\W_]+", name.lower())
    if any("".join(words[:count]) in _FIRST_WORDS for count in range(1, len(words))):
        return True
    return "".join(words).rstrip("0123456789") in HELD_OUT


def read_files(
    files: list[Path], num_points: int, *, seed: int, workers: int, fewest: int | None = None
) -> Generator[Reading, None, None]:
    """Points (num_points, 3) of each file, read in processes of their own, or why there are none.

    Meshes are sampled evenly over their surface. Of a file of points, random ones are chosen; one with fewer
    than ``num_points`` gives all, if they are at least ``fewest`` (default: ``num_points``).
    """
    fewest = num_points if fewest is None else fewest
    with ReaderPool(max(1, min(workers, len(files))), timeout=_TIMEOUT, memory_limit_gb=_MEMORY_GB) as pool:
        for reading in pool.read(files, num_points, seed):
            if reading.points is not None and len(reading.points) < fewest:
                yield Reading(None, too_few(len(reading.points), num_points))
            else:
                yield reading


def number_of_workers(workers: int | None) -> int:
    """Processes that read meshes: as many as there are cores, up to 16, unless given."""
    return min(_MOST_WORKERS, available_cores()) if workers is None else max(1, workers)


def too_few(there: int, asked: int) -> str:
    """The reason for a file with fewer points than asked."""
    return f"has {there:,} points, the recipe asks for {asked:,}: {fewer_points(there)}"
