"""Processes that read files: what hangs, fills the memory or crashes takes only itself down."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trimesh

from pointmae_zoo.shapes import reader_pool
from pointmae_zoo.shapes.read import read_points
from pointmae_zoo.shapes.reader_pool import ReaderPool


@pytest.fixture
def good(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{number}.stl" for number in range(6)]
    for number, file in enumerate(files):
        trimesh.creation.box(extents=(1, 1, 1 + number)).export(file)
    return files


@pytest.fixture
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that takes readers for ever, as one on a disk that does not answer."""
    place = tmp_path / "startup"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "import pathlib, time\n"
        "read_bytes = pathlib.Path.read_bytes\n"
        "def slow(self): return time.sleep(600) if self.name == 'endless.stl' else read_bytes(self)\n"
        "pathlib.Path.read_bytes = slow\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    file = tmp_path / "endless.stl"
    file.touch()
    return file


def test_readings_come_in_the_order_of_the_files(tmp_path: Path, good: list[Path]) -> None:
    slow = tmp_path / "slow.obj"
    trimesh.creation.icosphere(subdivisions=5).export(slow)
    files = [slow, *good, slow, *good[::-1]]
    with ReaderPool(3, timeout=600, memory_limit_gb=4) as pool:
        readings = list(pool.read(files, 300, seed=2))
    for file, reading in zip(files, readings, strict=True):
        assert reading.points is not None
        np.testing.assert_array_equal(reading.points, read_points(file, 300, seed=2))


def test_more_files_than_are_read_ahead(good: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_pool, "AHEAD", 2)
    with ReaderPool(3, timeout=600, memory_limit_gb=4) as pool:
        readings = list(pool.read(good * 5, 10, seed=0))
    assert [float(np.ptp(reading.points[:, 2])) > 0 for reading in readings] == [True] * 30


def test_a_file_that_takes_too_long_is_given_up(endless: Path, good: list[Path]) -> None:
    files = [good[0], endless, *good[1:]]
    with ReaderPool(1, timeout=3.0, memory_limit_gb=4) as pool:
        readings = list(pool.read(files, 10, seed=0))
    assert readings[1].points is None and readings[1].reason.startswith("took longer than 3 s to read")
    assert [reading.points is None for reading in readings] == [False, True, *[False] * 5]


@pytest.mark.skipif(sys.platform != "linux", reason="memory limits are enforced on Linux only")
def test_a_file_that_takes_too_much_memory_is_given_up(tmp_path: Path, good: list[Path]) -> None:
    huge = tmp_path / "huge.npy"
    with open(huge, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f8", "fortran_order": False, "shape": (250_000_000, 3)}
        )
        file.truncate(file.tell() + 6_000_000_000)  # 6 GB of nothing, which take no room on the disk
    with ReaderPool(1, timeout=600, memory_limit_gb=0.5) as pool:
        readings = list(pool.read([good[0], huge, good[1]], 10, seed=0))
    assert readings[1].reason.startswith("needed more than 0.5 GB of memory to read")
    assert readings[0].points is not None and readings[2].points is not None


def test_a_crash_takes_only_its_file_down(endless: Path, good: list[Path]) -> None:
    files = [good[0], endless, good[1]]
    with ReaderPool(1, timeout=600, memory_limit_gb=4) as pool:
        readings = pool.read(files, 10, seed=0)
        assert next(readings).points is not None
        process = pool._workers[0]._process
        assert process is not None
        process.send_signal(signal.SIGSEGV)
        crashed, after = list(readings)
    assert crashed.reason.startswith("crashed its reader (SIGSEGV)") and after.points is not None


def test_reasons_come_without_the_path(tmp_path: Path) -> None:
    (tmp_path / "empty.stl").touch()
    with ReaderPool(1, timeout=600, memory_limit_gb=4) as pool:
        (reading,) = pool.read([tmp_path / "empty.stl"], 10, seed=0)
    assert reading.reason == "is empty (0 bytes): export or copy it again"


def test_what_a_reader_remarks_comes_with_the_points(tmp_path: Path, good: list[Path]) -> None:
    (tmp_path / "a.obj").write_bytes(good[0].read_bytes())
    with ReaderPool(1, timeout=60, memory_limit_gb=4) as pool:
        plain, renamed = pool.read([good[0], tmp_path / "a.obj"], 10, seed=0)
    assert plain.notes == ()
    assert renamed.notes == ("is an STL file by its content, despite its name, and was read as that",)


def test_odd_names_and_chatter_do_not_disturb(tmp_path: Path) -> None:
    file = tmp_path / 'line\nbreak "quoted" \udcff.xyz'
    file.write_text("0 0 0\n1 1 1\n")
    with ReaderPool(1, timeout=600, memory_limit_gb=4) as pool:
        (reading,) = pool.read([file], 10, seed=0)
    np.testing.assert_array_equal(reading.points, [[0, 0, 0], [1, 1, 1]])


def test_leaving_early_ends_every_process(good: list[Path]) -> None:
    with ReaderPool(2, timeout=600, memory_limit_gb=4) as pool:
        readings = pool.read(good * 100, 10, seed=0)
        next(readings)
        processes = [worker._process for worker in pool._workers if worker._process is not None]
    assert processes and all(process.poll() is not None for process in processes)


def test_a_process_that_does_not_start_says_why(good: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/nowhere"])
    with (
        ReaderPool(1, timeout=600, memory_limit_gb=4) as pool,
        pytest.raises(RuntimeError, match=r"does not start \(exit code 1\): .*Error"),
    ):
        list(pool.read(good, 10, seed=0))


def test_workers_import_no_torch() -> None:
    code = "import sys, pointmae_zoo.shapes.reader_pool; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_readers_do_not_outlive_a_killed_parent(endless: Path, good: list[Path]) -> None:
    """The one that waits sees its pipe close; the one that hangs in a file is ended by its own alarm."""
    waiting = good[0]
    code = f"""
import sys
from pathlib import Path
from pointmae_zoo.shapes.reader_pool import ReaderPool
with ReaderPool(2, timeout=2, memory_limit_gb=4) as pool:
    readings = pool.read([Path({str(waiting)!r}), Path({str(endless)!r})], 10, 0)
    next(readings)
    while sum(worker._process is not None for worker in pool._workers) < 2:
        pass
    print(*[worker._process.pid for worker in pool._workers], flush=True)
    next(readings)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [int(word) for word in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    assert len(children) == 2
    end = time.monotonic() + 600
    while any(is_reader(child) for child in children):
        assert time.monotonic() < end, "a reader is still there"
        time.sleep(0.05)


def is_reader(process: int) -> bool:
    """Whether the number still belongs to a reader. A dead one, not yet buried, has no command line."""
    try:
        return b"data.workers" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
