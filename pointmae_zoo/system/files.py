"""Files that a user keeps: written whole or not at all, by one process at a time; their names and hashes.

filelock does the locking. Its `FileLock` would leave the lock's file behind, so `locked` removes it, and
journals lock the very file that they write.
"""

import contextlib
import errno
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name in the same folder to write to; it becomes ``path`` when the block ends without an error.

    A crash, a full disk or Ctrl-C leaves what was there before. An OSError names ``path``; that of a full
    disk says what is kept.
    """
    unfinished = path.with_name(_temporary(path.name))
    try:
        yield unfinished
        os.replace(unfinished, path)
    except Exception as error:
        if (number := full_disk(error)) is not None:
            kept = "the file that was there is unchanged" if path.exists() else "nothing was written"
            said = f"{os.strerror(number)}; {kept}; make room on this disk and run it again"
            raise OSError(number, said, str(path)) from error
        if isinstance(error, OSError) and str(error.filename) == str(unfinished):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):  # what the name itself is wrong with has been said
            unfinished.unlink(missing_ok=True)


def full_disk(error: BaseException | None) -> int | None:
    """The number of the error if a disk, or a user's share of it, had no room; None for any other error.

    Libraries wrap the system's error, or only quote it.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return error.errno
        if "PytorchStreamWriter failed writing" in str(error) or "(os error 28)" in str(error):
            return errno.ENOSPC
        error = error.__cause__ or error.__context__
    return None


_NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_LONGEST_NAME = 255  # bytes, on nearly every disk


def _temporary(name: str) -> str:
    """A hidden name beside it; the beginning of a long one, which has no room for more."""
    end = f".{os.getpid()}.tmp"
    room = _LONGEST_NAME - 1 - len(end)
    if len(os.fsencode(name)) <= room:
        return f".{name}{end}"
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{os.fsdecode(os.fsencode(name)[: room - 16])}{digest}{end}"


def shown(path: str | os.PathLike[str]) -> str:
    """A path for a line of text: line ends, control characters and bytes that are no text are escaped, as
    in ``a\\nb.stl`` and ``\\xff.stl``."""
    text = os.fspath(path)
    if text.isprintable():
        return text
    return "".join(
        f"\\x{ord(letter) - 0xDC00:02x}"
        if "\udc80" <= letter <= "\udcff"  # what os.fsdecode makes of a byte that is not UTF-8
        else (letter if letter.isprintable() else repr(letter)[1:-1])
        for letter in text
    )


def check_out(path: str | Path | None, suffixes: tuple[str, ...]) -> None:
    """Check that such a file can be written there: to be called before work that takes minutes.

    Raises:
        ValueError: the name has another suffix.
        FileNotFoundError, IsADirectoryError, PermissionError: names the place.
    """
    if path is None:
        return
    path, wanted = Path(path), " or ".join(suffixes)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder; expected the name of a {wanted} file")
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: expected the name of a {wanted} file, which is what is written")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{path}: no such folder {path.parent}; make it first")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{path}: {path.parent} may not be written to; choose another folder")


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(path: Path, waiting: str | None = None) -> Iterator[bool]:
    """Hold a lock, a file of this name, while the block lasts. The system releases it if the process dies.

    Yields True once this process has the lock, False where the system or the disk has no locks. If it has to
    wait, it prints ``waiting`` on stderr.
    """
    while True:
        with open(path, "wb") as stream:
            try:
                alone = lock(stream)
            except BlockingIOError:
                if waiting:
                    print(waiting, file=sys.stderr)
                    waiting = None
                alone = lock(stream, wait=True)
            if alone and not _is_named(stream.fileno(), path):
                continue  # its last holder has removed the file; others may hold a new one
            try:
                yield alone
            finally:
                remove_locked(path, stream)
            return


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def lock(stream: IO[Any], *, wait: bool = False) -> bool:
    """Lock an open file for this process, until the file is closed or the process dies.

    Args:
        wait: wait while another process holds the lock.

    Returns:
        False where there are no locks, as on some network file systems.

    Raises:
        BlockingIOError: another process holds it, unless asked to wait.
    """
    from filelock import lock_descriptor

    try:
        taken = lock_descriptor(stream.fileno(), blocking=wait)
    except OSError:
        return False
    if not taken:
        raise BlockingIOError(errno.EWOULDBLOCK, "another process holds the lock")
    return True


def remove_locked(path: Path, stream: IO[Any]) -> None:
    """Remove the file that this process has locked as ``stream``, and release the lock."""
    try:
        path.unlink(missing_ok=True)  # before the lock is released: nobody can have taken the file meanwhile
    except PermissionError:  # Windows removes no open file
        stream.close()
        with contextlib.suppress(PermissionError):  # another process has opened it: it stays, and is theirs
            path.unlink(missing_ok=True)
    stream.close()
