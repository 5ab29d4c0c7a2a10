"""Remarks about a file that was read, for example about rows that were left out."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


@contextmanager
def collecting() -> Iterator[list[str]]:
    """Yields the list that gets every remark made inside."""
    notes: list[str] = []
    token = _collected.set(notes)
    try:
        yield notes
    finally:
        _collected.reset(token)


def note(text: str) -> None:
    """Record a remark about the file being read: for whoever collects them, else as a warning."""
    notes = _collected.get()
    if notes is None:
        warnings.warn(text, stacklevel=2)
    else:
        notes.append(text)
