"""Arrays that take time to read from many files, kept in one ``.npz``."""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.system.files import locked, written_whole


def cached_arrays(path: Path | None, make: Callable[[], dict[str, NDArray]]) -> dict[str, NDArray]:
    """What ``make`` gives: from the file if it is there and whole, else made, and written for the next time.

    One process makes them, others that want the same file wait for it.

    Args:
        path: from ``cache.cache_name``, so that its name stands for all that the arrays depend on; None keeps
            nothing.

    Raises:
        OSError: it cannot be written there.
    """
    if path is None:
        return make()
    path = path.with_suffix(".npz")
    if (found := _finished(path)) is not None:
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock")):
        if (found := _finished(path)) is not None:
            return found
        arrays: dict[str, Any] = make()
        with written_whole(path) as unfinished, unfinished.open("wb") as stream:
            np.savez(stream, **arrays)
    return arrays


def _finished(path: Path) -> dict[str, NDArray] | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):  # not there, or damaged
        return None
