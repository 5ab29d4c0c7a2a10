"""Locks on open files: ``fcntl``, on Windows ``msvcrt``. The system releases them when a process dies."""

import contextlib
import os
import time
from importlib import import_module
from pathlib import Path
from typing import IO, Any

_BYTE = 2**31 - 2
"""The byte that is locked on Windows. Nobody else can read or write it, so it lies beyond a file's end."""
_PAUSE = 0.1
"""Seconds between two tries on Windows, which has no endless wait."""


def lock(stream: IO[Any], *, wait: bool = False) -> bool:
    """Lock an open file for this process, until the file is closed.

    Args:
        wait: wait while another process holds the lock.

    Returns:
        False where there are no locks: on other systems, and on some network file systems.

    Raises:
        BlockingIOError: another process holds it, unless asked to wait.
    """
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(stream, wait)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _lock_on_windows(stream: IO[Any], wait: bool) -> bool:
    try:
        msvcrt: Any = import_module("msvcrt")  # mypy knows its names on Windows only
    except ImportError:
        return False
    number = stream.fileno()
    before = os.lseek(number, 0, os.SEEK_CUR)
    try:
        while True:
            os.lseek(number, _BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
                return True
            except PermissionError as error:
                if not wait:
                    raise BlockingIOError(error.errno, "another process holds the lock") from error
            time.sleep(_PAUSE)
    finally:
        os.lseek(number, before, os.SEEK_SET)


def remove_locked(path: Path, stream: IO[Any]) -> None:
    """Remove the file that this process has locked as ``stream``, and release the lock."""
    try:
        path.unlink(missing_ok=True)  # before the lock is released: nobody can have taken the file meanwhile
    except PermissionError:  # Windows removes no open file
        stream.close()
        with contextlib.suppress(PermissionError):  # another process has opened it: it stays, and is theirs
            path.unlink(missing_ok=True)
    stream.close()
