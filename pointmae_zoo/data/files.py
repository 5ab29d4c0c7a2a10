"""Files that a user keeps: written whole or not at all, by one process at a time; their hashes."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name in the same folder to write to; it becomes ``path`` when the block ends without an error.

    A crash, a full disk or Ctrl-C leaves what was there before.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(path: Path, waiting: str | None = None) -> Iterator[bool]:
    """Hold the lock of this name: a file that is there meanwhile. The system takes the lock back when a
    process dies.

    Gives True, at the latest when no other process has it any more; False where the system or the disk has
    no locks. ``waiting`` is said on stderr if it has to wait.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    while True:
        with open(path, "w") as stream:
            alone = True
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting:
                    print(waiting, file=sys.stderr)
                    waiting = None
                fcntl.flock(stream, fcntl.LOCK_EX)
            except OSError:
                alone = False
            if alone and not _is_named(stream.fileno(), path):
                continue  # the one that had it has removed it: others may hold a new one of this name
            try:
                yield alone
            finally:
                path.unlink(missing_ok=True)
            return


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
