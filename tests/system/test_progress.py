"""What long work says: a bar on a terminal, plain lines elsewhere."""

import io
import sys

import pytest

from pointmae_zoo.system import progress
from pointmae_zoo.system.progress import clock, progress_bar


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    return found


def test_a_log_gets_a_line_every_half_minute(time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    done = []
    for number in progress_bar(range(8), unit="file", desc="read"):
        time.now += 12.5
        done.append(number)
    assert done == list(range(8))
    said = capsys.readouterr()
    # After 37.5 s and after 75 s; not at the end, which the command itself tells of.
    assert said.err.splitlines() == [
        "read: 3 of 8 files, 12.5 s each, 1:02 left",
        "read: 6 of 8 files, 12.5 s each, 0:25 left",
    ]
    assert said.out == ""


def test_short_work_and_silenced_work_say_nothing(time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in progress_bar([1, 2], unit="file", desc="read"):
        time.now += 14.0
    for _ in progress_bar([1, 2], unit="file", desc="read", disable=True):
        time.now += 100.0
    with progress_bar(total=3, unit="file", desc="read", disable=True) as bar:
        bar.update(2)
        bar.set_postfix_str("some more")
    assert capsys.readouterr() == ("", "")


def test_speed_is_of_what_was_done_now(time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(total=1000, unit="cloud", desc="teacher", initial=400) as bar:
        bar.set_postfix_str("on 3 views")
        time.now += 50.0
        bar.update(100)
    assert capsys.readouterr().err == ("teacher: 500 of 1000 clouds, 2 a second, 4:10 left, on 3 views\n")
    with progress_bar(unit="line", desc="list") as bar:  # who knows how many
        time.now += 40.0
        bar.update(2000)
    assert capsys.readouterr().err == "list: 2000 lines, 50 a second\n"


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress_bar(iter("abc"), total=3, unit="file", desc="read")) == ["a", "b", "c"]
    assert "\r" in terminal.getvalue() and "3/3" in terminal.getvalue()


def test_a_clock() -> None:
    assert [clock(seconds) for seconds in (0.4, 65, 3599.6, 7322)] == ["0:00", "1:05", "1:00:00", "2:02:02"]
