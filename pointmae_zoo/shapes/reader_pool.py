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

from pointmae_zoo.shapes.measures import Measures
from pointmae_zoo.shapes.notes import collecting
from pointmae_zoo.shapes.read import MeshError, read_points_and_size, read_surface
from pointmae_zoo.shapes.surface_sample import SAMPLE_BYTES, SurfaceSample

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
    """The result for one file: what `read_points_and_size` gives, or the reason why it has no points; and its
    reader's remarks, such as "left out 1 support object"."""

    points: NDArray[np.float32] | None
    reason: str = ""
    notes: tuple[str, ...] = ()
    moments: NDArray[np.float64] | None = None
    measures: Measures | None = None


class SurfaceReading(NamedTuple):
    """The result for one file that is to be compared: what `read_surface` gives, or the reason why it has
    nothing to give; and its reader's remarks."""

    sample: SurfaceSample | None
    measures: Measures | None = None
    sha256: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()


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

    def read(self, files: Sequence[Path], num_points: int, seed: int) -> Iterator[Reading]:
        """The results for all files, in the order of the files.

        Raises RuntimeError if the processes cannot be started.
        """
        asked = {"task": "points", "num_points": num_points, "seed": seed}
        for reply, body in self._replies(files, asked, 12 * num_points):
            if reply["outcome"] != "done":
                yield Reading(None, reply["reason"])
                continue
            points = np.frombuffer(body, dtype="<f4").reshape(-1, 3).astype(np.float32)
            measures = Measures.of_json(reply["measures"])
            yield Reading(points, "", tuple(reply["notes"]), np.array(reply["moments"]), measures)

    def read_surfaces(self, files: Sequence[Path], seed: int) -> Iterator[SurfaceReading]:
        """What `read_surface` gives for all files, in their order.

        Raises RuntimeError if the processes cannot be started.
        """
        for reply, body in self._replies(files, {"task": "surface", "seed": seed}, SAMPLE_BYTES):
            if reply["outcome"] != "done":
                yield SurfaceReading(None, reason=reply["reason"])
                continue
            measures = Measures.of_json(reply["measures"])
            sample = SurfaceSample.of_bytes(body, reply["sample"])
            yield SurfaceReading(sample, measures, reply["sha256"], notes=tuple(reply["notes"]))

    def _replies(
        self, files: Sequence[Path], asked: dict[str, Any], reply_bytes: int
    ) -> Iterator[tuple[dict[str, Any], bytes]]:
        """The readers' replies to a request about each file, in the order of the files.

        Args:
            reply_bytes: about how many bytes a reply has.
        """
        ahead = max(len(self._workers), min(AHEAD, AHEAD_BYTES // reply_bytes))
        found: dict[int, tuple[dict[str, Any], bytes] | BaseException] = {}
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
                result: tuple[dict[str, Any], bytes] | BaseException
                try:
                    result = worker.ask({"path": os.fspath(files[number]), **asked})
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

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """What a reader answers about one file within the limits: header and body. The header's outcome is
        ``done``, or it has a reason."""
        if self._process is None:
            self._start()
        reply, body, timed_out = self._exchange(json.dumps(request).encode() + b"\n", self._timeout)
        reason = ""
        if reply is None:
            status = self.bury()
            reason = f"crashed its reader ({status}): it is damaged, or far too large"
            if timed_out:
                reason = f"took longer than {self._timeout:g} s to read: simplify the mesh"
        elif reply["outcome"] == "memory":
            limit = f"{self._memory_limit_gb:g} GB"
            reason = f"needed more than {limit} of memory to read: simplify the mesh"
        if reply is None or reason:
            return {"outcome": "failed", "reason": reason}, b""
        return reply, body

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
        """Send a request; the reply (None if the process died), its body, and whether time ran out."""
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
                size = reply.get("bytes", 0)
                body = process.stdout.read(size)
                if len(body) == size:
                    return reply, body, False
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

    Request: a line of JSON with path, task and its arguments. Reply: a line of JSON with the size of the
    body, then the body: little-endian float32.
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
    try:
        with collecting() as notes:
            header, body = _TASKS[request["task"]](request)
        return {"outcome": "done", "bytes": len(body), "notes": notes, **header}, body
    except MeshError as error:
        if isinstance(error.__cause__, MemoryError):
            return {"outcome": "memory"}, b""
        return {"outcome": "failed", "reason": error.reason}, b""
    except MemoryError:
        return {"outcome": "memory"}, b""
    except Exception as error:
        reason = f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        return {"outcome": "failed", "reason": reason}, b""


def _points(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    asked = {name: request[name] for name in ("path", "num_points", "seed")}
    found = read_points_and_size(**asked)
    header = {"moments": found.moments.tolist(), "measures": found.measures}
    return header, found.points.astype("<f4").tobytes()


def _surface(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    sample, measures, sha256 = read_surface(request["path"], seed=request["seed"])
    header, body = sample.to_bytes()
    return {"sample": header, "measures": measures, "sha256": sha256}, body


_TASKS = {"points": _points, "surface": _surface}


def _set_alarm(seconds: float) -> None:
    """Be killed in so many seconds (0: never), in case the parent dies while a file hangs. Not on Windows."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _reply(stream: IO[bytes], header: dict[str, Any], body: bytes = b"") -> None:
    stream.write(json.dumps(header).encode() + b"\n" + body)
    stream.flush()
