"""Caches of clouds that survive interruptions, several processes and full disks."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pointmae_zoo.datasets import cloud_cache
from pointmae_zoo.datasets.cloud_cache import Readings, cached_clouds
from pointmae_zoo.shapes.reader_pool import Reading
from samples.clouds import in_unit_sphere


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def made(start: int, count: int = 20) -> Readings:
    """Cloud i has a spike towards (i, 1, 0); every seventh is missing."""
    for number in range(start, count):
        points = np.zeros((8, 3), dtype=np.float32)
        points[0] = (number, 1, 0)
        yield Reading(None, f"no {number}") if number % 7 == 6 else Reading(points)


def write(path: Path, readings: object = made, compact: bool = False) -> cloud_cache.CachedClouds:
    return cached_clouds(  # type: ignore[arg-type]
        path, 20, 8, readings, label="test clouds", progress=False, compact=compact
    )


@pytest.mark.parametrize("compact", [False, True])
def test_an_interrupted_cache_goes_on_where_it_stopped(
    compact: bool, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud_cache, "CHUNK", 4)
    whole = write(tmp_path / "whole.npy", compact=compact)
    starts = []

    def interrupted(start: int) -> Iterator[Reading]:
        starts.append(start)
        for number, reading in enumerate(made(start), start):
            if number == start + 9:
                raise KeyboardInterrupt
            yield reading

    path = cache / "a.npy"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            write(path, interrupted, compact)
        assert not path.exists()
    cached = write(path, interrupted, compact)
    assert starts == [0, 8, 16]
    assert cached.sha256 == whole.sha256 and cached.skipped == whole.skipped
    assert cached.skipped == {6: "no 6", 13: "no 13"}
    np.testing.assert_array_equal(cached.kept, [number for number in range(20) if number % 7 != 6])
    assert path.read_bytes() == (tmp_path / "whole.npy").read_bytes()
    expected = in_unit_sphere(next(iter(made(18))).points)  # type: ignore[union-attr]
    rounding = 1 / 65534 if compact else 0
    np.testing.assert_allclose(cached.read(np.array([16]))[0], expected, rtol=0, atol=rounding + 1e-6)
    assert sorted(file.name for file in cache.iterdir()) == ["a.json", "a.npy"]


def test_a_compact_cache_takes_six_bytes_a_point(tmp_path: Path) -> None:
    exact, compact = write(tmp_path / "exact.npy"), write(tmp_path / "compact.npy", compact=True)
    assert (tmp_path / "compact.npy").stat().st_size == 128 + 20 * 8 * 6
    every = np.arange(len(exact))
    found, expected = compact.read(every), exact.read(every)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1 / 65534 + 1e-7)
    again = write(tmp_path / "exact.npy", compact=True)  # what lies there is not what was asked for
    np.testing.assert_array_equal(again.read(every), found)


@pytest.mark.parametrize("damage", ["half a line", "clouds cut off", "no clouds", "nonsense"])
def test_what_an_interruption_left_damaged_is_not_trusted(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(cloud_cache, "CHUNK", 4)
    path = cache / "a.npy"
    with pytest.raises(KeyboardInterrupt):
        write(path, lambda start: interrupt_at(18, start))
    journal, unfinished = cache / ".a.journal", cache / ".a.unfinished"
    if damage == "half a line":
        journal.write_text(journal.read_text()[:-30])
    elif damage == "clouds cut off":
        os.truncate(unfinished, unfinished.stat().st_size - 5)
    elif damage == "no clouds":
        unfinished.unlink()
    else:
        journal.write_text('{"stop": 20}\n\x00\x00')
    assert write(path).sha256 == write(tmp_path / "whole.npy").sha256
    assert path.read_bytes() == (tmp_path / "whole.npy").read_bytes()


def interrupt_at(end: int, start: int) -> Iterator[Reading]:
    for number, reading in enumerate(made(start), start):
        if number == end:
            raise KeyboardInterrupt
        yield reading


SLOW = """
import sys, time
from pathlib import Path
import numpy as np
from pointmae_zoo.datasets import cloud_cache
from pointmae_zoo.shapes.reader_pool import Reading
cloud_cache.CHUNK = 4
def readings(start):
    for number in range(start, 20):
        with open(sys.argv[2], "a") as log:
            log.write(f"{number}\\n")
        while number >= 12 and not Path(sys.argv[3]).exists():
            time.sleep(0.01)
        yield Reading(np.full((8, 3), number, np.float32) + np.eye(8, 3, dtype=np.float32))
print(cloud_cache.cached_clouds(Path(sys.argv[1]), 20, 8, readings, label="x", progress=False).sha256)
"""


def start(path: Path, log: Path, go: Path) -> subprocess.Popen[str]:
    """A process that waits at the twelfth cloud until there is a file ``go``."""
    command = [sys.executable, "-c", SLOW, str(path), str(log), str(go)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_several_processes_at_once_make_it_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [start(tmp_path / "a.npy", log, tmp_path / "go") for _ in range(4)]
    wait_for(lambda: log.exists() and len(log.read_text().split()) > 12)
    (tmp_path / "go").touch()
    said = {process.communicate(timeout=600)[0] for process in processes}
    assert len(said) == 1 and len(said.pop().strip()) == 64
    assert log.read_text().split() == [str(number) for number in range(20)]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_and_gone_on_with(tmp_path: Path) -> None:
    log = tmp_path / "log"
    go = tmp_path / "go"
    process = start(tmp_path / "a.npy", log, go)
    wait_for(lambda: log.exists() and len(log.read_text().split()) > 12)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    first = len(log.read_text().split())
    go.touch()
    resumed = start(tmp_path / "a.npy", log, go).communicate(timeout=600)[0]
    read = [int(word) for word in log.read_text().split()][first:]
    assert read[0] >= 8 and read == list(range(read[0], 20))
    assert resumed == start(tmp_path / "b.npy", log, go).communicate(timeout=600)[0]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_one_that_waits_takes_over_from_one_that_is_killed(tmp_path: Path) -> None:
    go = tmp_path / "go"
    first, second = (start(tmp_path / "a.npy", tmp_path / name, go) for name in ("first", "second"))
    logs = [tmp_path / "first", tmp_path / "second"]
    wait_for(lambda: any(log.exists() and len(log.read_text().split()) > 12 for log in logs))
    # Whichever came first.
    if logs[1].exists():
        first, second, logs = second, first, logs[::-1]
    first.send_signal(signal.SIGKILL)
    first.communicate()
    go.touch()
    assert len(second.communicate(timeout=600)[0].strip()) == 64
    read = [int(word) for word in logs[1].read_text().split()]
    assert read[0] >= 8 and read == list(range(read[0], 20))


def test_a_full_disk_is_said_before_and_while_writing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cloud_cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
        with pytest.raises(OSError, match=r"cache: test clouds need 0\.0 GB there, .* choose a cache folder"):
            write(cache / "a.npy")

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cloud_cache, "_to_disk", full)
    with pytest.raises(OSError, match="make room, or choose a cache folder"):
        write(cache / "a.npy")
    monkeypatch.undo()
    assert len(write(cache / "a.npy")) == 18


def test_what_is_wrong_leaves_nothing(cache: Path) -> None:
    def wrong(start: int) -> Iterator[Reading]:
        yield from made(start, 9)
        raise ValueError("file 9 is damaged")

    with pytest.raises(ValueError, match="file 9 is damaged"):
        write(cache / "a.npy", wrong)
    assert list(cache.iterdir()) == []


COUNT = """
import sys
from pathlib import Path
from pointmae_zoo.system.files import locked
lock, number = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(200):
    with locked(lock) as alone:
        assert alone
        number.write_text(str(int(number.read_text()) + 1))
"""


def test_locks_let_one_in_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    command = [sys.executable, "-c", COUNT, str(tmp_path / "lock"), str(tmp_path / "number")]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(timeout=600) for process in processes] == [0] * 4
    assert (tmp_path / "number").read_text() == "800"
    assert [file.name for file in tmp_path.iterdir()] == ["number"]


def test_without_locks_every_process_writes_its_own(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(KeyboardInterrupt):
        write(cache / "a.npy", lambda start: interrupt_at(9, start))
    assert list(cache.iterdir()) == []
    assert len(write(cache / "a.npy")) == 18
