"""Checkpoints of a run: written whole, only the newest kept, unreadable ones skipped.

If the disk is full, the run goes on without this checkpoint; only the last one must be written.
"""

import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

from pointmae_zoo.system.files import written_whole

_FORMAT = 2


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write ``step_<step>.pt`` (``step`` steps done) and remove all but the newest ``keep``.

    The file gets its name when it is complete; if the disk is full, the older ones stay. Checkpoints of later
    steps are removed first: they could not be read, and the run began again before them. A checkpoint that is
    not whole doesn't count as one of the ``keep``.

    Raises:
        OSError: the checkpoint can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step_{step:08d}.pt"
    for later in list_checkpoints(folder):
        if later.name > path.name:
            later.unlink(missing_ok=True)
    with written_whole(path) as unfinished, open(unfinished, "wb") as stream:
        try:
            torch.save({"format": _FORMAT, "step": step, **state}, stream)
        except RuntimeError as error:  # torch's writer of archives, after the stream below it has failed
            raise _below(error) from error
        stream.flush()
        os.fsync(stream.fileno())
    whole = [one for one in whole_checkpoints(folder) if one != path]
    oldest = [*whole, path][-keep:][0]
    for old in list_checkpoints(folder):
        if old.name < oldest.name:
            old.unlink(missing_ok=True)
    return path


def save_if_possible(folder: Path, step: int, state: dict[str, Any], *, keep: int, must: bool) -> None:
    """`save_checkpoint`; if the disk has no room, a line on stderr says so and the run goes on.

    Args:
        must: the run ends after this checkpoint, so it must be written.

    Raises:
        OSError: the checkpoint can't be written, and it must be.
    """
    try:
        save_checkpoint(folder, step, state, keep=keep)
    except OSError as error:
        kept = whole_checkpoints(folder)
        last = f"the newest is {kept[-1]}" if kept else "there is none yet"
        reason = str(error.strerror or error).partition(";")[0]  # what to do then is said below
        text = f"checkpoint of step {step} not written ({reason}); {last}"
        if must:
            raise OSError(f"{text}; make room in {folder} and resume") from error
        print(f"{text}; going on without", file=sys.stderr)


def _below(error: BaseException) -> OSError:
    """The error of the disk behind an error of torch."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return OSError(cause.errno, cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return OSError(str(error).splitlines()[0])


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    return sorted(folder.glob("step_*.pt")) if folder.is_dir() else []


def whole_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints that are not cut short, oldest first. Only the end of each file is read."""
    return [path for path in list_checkpoints(folder) if zipfile.is_zipfile(path)]


def load_latest(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest readable checkpoint (None: there is no checkpoint), and a line about each one skipped.

    Raises:
        ValueError: there are checkpoints, but none can be read.
    """
    skipped: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict) or state.get("format") != _FORMAT:
                raise ValueError("not a checkpoint of this format")
            return state, skipped
        except Exception as error:  # a truncated archive raises whatever its first broken byte leads to
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            skipped.append(f"{path}: unreadable ({reason}); taking the checkpoint before it")
    if skipped:
        raise ValueError(
            f"{folder}: none of {len(skipped)} checkpoints can be read; remove the folder to start again"
        )
    return None, skipped
