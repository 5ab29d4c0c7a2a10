"""Remarks about a file that is read, for its user: what was left out, what was taken for granted."""

import contextlib
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


def note(text: str) -> None:
    """Record a remark about the file that is being read. Without `collecting`, it becomes a warning."""
    remarks = _collected.get()
    if remarks is None:
        warnings.warn(text, stacklevel=2)
    elif text not in remarks:
        remarks.append(text)


@contextlib.contextmanager
def collecting() -> Iterator[list[str]]:
    """The list to which `note` appends as long as this lasts."""
    remarks: list[str] = []
    token = _collected.set(remarks)
    try:
        yield remarks
    finally:
        _collected.reset(token)
