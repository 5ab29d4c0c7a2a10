"""Remarks about a file that was read: what was left out or taken for something else, in a few words.

A reader calls ``note`` if it leaves part of a file out on purpose, or reads it in a way that its writer may
not expect. Commands on many files collect the remarks; otherwise they are warnings.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)
_file: ContextVar[str] = ContextVar("file", default="")


class ReadNote(UserWarning):
    """A remark about a file that its owner should know."""


def note(text: str) -> None:
    """Record a remark about the file that is being read, such as "left out 1 support object".

    It goes to ``collecting`` if that is open, otherwise it is a warning of category ``ReadNote``. The same
    remark about the same file counts once.
    """
    text = " ".join(text.split())
    collected = _collected.get()
    if collected is None:
        name = _file.get()
        warnings.warn(f"{name}: {text}" if name else text, ReadNote, stacklevel=2)
    elif text not in collected:
        collected.append(text)


@contextlib.contextmanager
def collecting() -> Iterator[list[str]]:
    """Collect remarks in a list while the block runs (in this thread), instead of raising warnings."""
    notes: list[str] = []
    token = _collected.set(notes)
    try:
        yield notes
    finally:
        _collected.reset(token)


@contextlib.contextmanager
def about(path: str | os.PathLike[str]) -> Iterator[None]:
    """The file that warnings name while the block runs."""
    token = _file.set(os.fspath(path))
    try:
        yield
    finally:
        _file.reset(token)
