"""Progress where there is no terminal: lines, few of them, and whole ones."""

import io
import sys
from typing import Any

import pytest

from pointmae_zoo.data import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(monkeypatch: pytest.MonkeyPatch, stream: Any, seconds: float, **options: Any) -> str:
    """What a loop of ten steps writes to a stderr if lines are so many seconds apart."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "LINE_SECONDS", seconds)
    with progress.progress_bar(total=10, unit="file", **options) as bar:
        for _ in range(10):
            bar.update()
    assert list(progress.progress_bar([1, 2, 3], shown=False)) == [1, 2, 3]
    return str(stream.getvalue())


def test_a_log_gets_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = written(monkeypatch, io.StringIO(), 1e-9, desc="embed").splitlines()
    assert lines[0].startswith("embed: 1 of 10 files, 00:00 gone")
    assert lines[-1].startswith("embed: 10 of 10 files") and len(lines) == 11
    assert "\r" not in "".join(lines)


def test_short_work_leaves_a_log_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(monkeypatch, io.StringIO(), 30.0) == ""
    assert written(monkeypatch, io.StringIO(), 1e-9, shown=False) == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\r" in written(monkeypatch, Terminal(), 30.0)
    assert written(monkeypatch, Terminal(), 30.0, shown=False) == ""
