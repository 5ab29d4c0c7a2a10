"""What stands beside every number: when, with what and how long; and a place to write it to, found before."""

import time
from pathlib import Path
from typing import Any

from pointmae_zoo.data.commit import current_commit, versions


def made(started: float) -> dict[str, Any]:
    """Versions, commit, seconds since ``started`` (of ``time.perf_counter``) and date."""
    return {
        "versions": versions(),
        "commit": current_commit(),
        "wall_seconds": round(time.perf_counter() - started, 1),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def check_out(path: str | Path | None, suffix: str = ".json") -> None:
    """An evaluation takes minutes: a place where nothing can be written is found before, not after.

    Raises:
        FileNotFoundError, IsADirectoryError: names the place.
        ValueError: a name that promises another format.
    """
    if path is None:
        return
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder; expected the name of a {suffix} file")
    if path.suffix.lower() != suffix:
        raise ValueError(f"{path}: expected the name of a {suffix} file, which is what is written")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path}: no such folder {path.parent}; make it first")
