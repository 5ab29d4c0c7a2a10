"""Reading files in processes of their own, so that no file can stop or crash the run, or fill the memory.

A worker is a plain Python process that imports numpy (and DracoPy when a file needs it), never torch. It
reads one file at a time. A worker that takes too long is killed and replaced, one that crashes is replaced,
and one that needs too much memory doesn't get it; the file then fails with a reason. multiprocessing isn't
used, because every worker would import the caller's main module, and torch with it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.notes import collecting
from pointmae_zoo.shapes.read import MeshError, read_points, read_points_and_moments

# Files read ahead of the network: enough to bridge a slow file; fewer if their points would take more than so
# many bytes, but at least one for every worker.
AHEAD, AHEAD_BYTES = 512, 1 << 28
START_SECONDS = 120.0
# A reader whose parent is gone ends itself this long after the parent would have ended it.
GRACE_SECONDS = 5.0
# Address space for the worker itself (numpy and its libraries), in addition to the limit for a file.
OWN_BYTES = 1 << 30


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Reading(NamedTuple):
    """The result for one file: its points (N, 3) float32, or the reason why it has none; its reader's
    remarks, such as "left out 1 support object"; and its second moments (3, 3) float64, if asked for."""

    points: NDArray[np.float32] | None
    reason: str = ""
    notes: tuple[str, ...] = ()
    moments: NDArray[np.float64] | None = None


class ReaderPool:
    """A fixed number of reading processes. Use it as a context manager: leaving it ends them.

    Args:
        workers: how many processes.
        timeout: seconds that one file may take.
        memory_limit_gb: memory for reading one file. Enforced with RLIMIT_AS (Linux); elsewhere a file that
            is too large crashes its worker.
    """

    def __init__(self, workers: int, *, timeout: float, memory_limit_gb: float) -> None:
        self._workers = [_Worker(timeout, memory_limit_gb) for _ in range(workers)]
        self._changed = threading.Condition()
        self._closed = False
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        with self._changed:
            self._changed.notify_all()
        for worker in self._workers:
            worker.kill()
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.bury()

    def read(
        self, files: Sequence[Path], num_points: int, seed: int, moments: bool = False
    ) -> Iterator[Reading]:
        """The results for all files, in the order of the files; with ``moments``, their second moments, too.

        Raises RuntimeError if the processes cannot be started.
        """
        ahead = max(len(self._workers), min(AHEAD, AHEAD_BYTES // (12 * num_points)))
        found: dict[int, Reading | BaseException] = {}
        state = {"next": 0, "wanted": 0}

        def work(worker: _Worker) -> None:
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: (
                            self._closed
                            or state["next"] < min(len(files), state["wanted"] + ahead)
                            or state["next"] >= len(files)
                        )
                    )
                    number = state["next"]
                    if self._closed or number >= len(files):
                        return
                    state["next"] += 1
                result: Reading | BaseException
                try:
                    result = worker.read(files[number], num_points, seed, moments)
                except BaseException as error:
                    result = error
                with self._changed:
                    found[number] = result
                    self._changed.notify_all()

        self._threads = [threading.Thread(target=work, args=(w,), daemon=True) for w in self._workers]
        for thread in self._threads:
            thread.start()
        for number in range(len(files)):
            with self._changed:
                state["wanted"] = number
                self._changed.notify_all()
                while number not in found:
                    self._changed.wait(timeout=1.0)  # wakes up, so that Ctrl-C is heard on every system
                result = found.pop(number)
            if isinstance(result, BaseException):
                raise result
            yield result


class _Worker:
    """The parent's side of one process, which is started at first use and again whenever it ends."""

    def __init__(self, timeout: float, memory_limit_gb: float) -> None:
        self._timeout = timeout
        self._memory_limit_gb = memory_limit_gb
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def read(self, path: Path, num_points: int, seed: int, moments: bool) -> Reading:
        """One file, within the limits."""
        if self._process is None:
            self._start()
        request = {"path": os.fspath(path), "num_points": num_points, "seed": seed, "moments": moments}
        reply, points, timed_out = self._exchange(json.dumps(request).encode() + b"\n", self._timeout)
        if reply is None:
            status = self.bury()
            if timed_out:
                return Reading(None, f"took longer than {self._timeout:g} s to read: simplify the mesh")
            return Reading(None, f"crashed its reader ({status}): it is damaged, or far too large")
        if reply["outcome"] == "points":
            found = np.frombuffer(points, dtype="<f4").reshape(-1, 3).astype(np.float32)
            second = np.array(reply["moments"]) if moments else None
            return Reading(found, notes=tuple(reply["notes"]), moments=second)
        if reply["outcome"] == "memory":
            limit = f"{self._memory_limit_gb:g} GB"
            return Reading(None, f"needed more than {limit} of memory to read: simplify the mesh")
        return Reading(None, reply["reason"])

    def _start(self) -> None:
        """Start the process and wait until it is ready. Raises RuntimeError with what it said if it fails."""
        limit = int(self._memory_limit_gb * (1 << 30)) + OWN_BYTES
        code = (
            "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
            "from pointmae_zoo.shapes.reader_pool import serve; serve(float(sys.argv[2]), int(sys.argv[3]))"
        )
        # One thread is enough to read a file, and every further one would take address space.
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with tempfile.TemporaryFile() as said:
            with self._lock:
                if self._closed:
                    raise RuntimeError("the readers were closed")
                self._process = subprocess.Popen(
                    [sys.executable, "-c", code, json.dumps(sys.path), str(self._timeout), str(limit)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    env={**os.environ, **one_thread},
                )
            ready, _, _ = self._exchange(b"", START_SECONDS)
            if ready is None:
                status = self.bury()
                said.seek(0)
                last = said.read().decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
                raise RuntimeError(f"the process that reads files does not start ({status}): {last[0]}")

    def _exchange(self, request: bytes, seconds: float) -> tuple[dict[str, Any] | None, bytes, bool]:
        """Send a request; the reply (None if the process died), its points, and whether time ran out."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(request)
            process.stdin.flush()
            line = process.stdout.readline()
            if line.endswith(b"\n"):
                reply = json.loads(line)
                size = 12 * reply.get("count", 0)
                points = process.stdout.read(size)
                if len(points) == size:
                    return reply, points, False
            return None, b"", expired.is_set()
        except (OSError, ValueError):
            return None, b"", expired.is_set()
        finally:
            timer.cancel()
            if expired.is_set():  # it answered in the very last moment, and was killed all the same
                self.bury()

    def bury(self) -> str:
        """Make sure that the process is gone. Returns how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "killed"
        # At the end of its pipes it is dead, or dying, unless it broke the protocol.
        try:
            code = process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if code < 0:
            with contextlib.suppress(ValueError):
                return signal.Signals(-code).name
        return f"exit code {code}"

    def kill(self) -> None:
        """End the process at once; the thread that waits for it finds it dead."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()


def serve(timeout: float, memory_limit: int) -> None:
    """The worker's side: read files on request until the parent is gone.

    Request: a line of JSON with path, num_points, seed, moments. Reply: a line of JSON, then the points
    as little-endian float32.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    _reply(replies, {"outcome": "ready"})
    # From here on nothing that a library prints may get into the replies or between the lines of the
    # progress bar.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    for line in requests:
        _set_alarm(timeout + GRACE_SECONDS)
        _reply(replies, *_outcome(json.loads(line)))
        _set_alarm(0)


def _outcome(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Read one file: the reply's header and body."""
    asked = {name: request[name] for name in ("path", "num_points", "seed")}
    moments = None
    try:
        with collecting() as notes:
            if request["moments"]:
                points, moments = read_points_and_moments(**asked)
            else:
                points = read_points(**asked)
        reply = {"outcome": "points", "count": len(points), "notes": notes}
        if moments is not None:
            reply["moments"] = moments.tolist()
        return reply, points.astype("<f4").tobytes()
    except MeshError as error:
        if isinstance(error.__cause__, MemoryError):
            return {"outcome": "memory"}, b""
        return {"outcome": "failed", "reason": error.reason}, b""
    except MemoryError:
        return {"outcome": "memory"}, b""
    except Exception as error:
        reason = f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        return {"outcome": "failed", "reason": reason}, b""


def _set_alarm(seconds: float) -> None:
    """Be killed in so many seconds (0: never), in case the parent dies while a file hangs. Not on Windows."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _reply(stream: IO[bytes], header: dict[str, Any], body: bytes = b"") -> None:
    stream.write(json.dumps(header).encode() + b"\n" + body)
    stream.flush()
