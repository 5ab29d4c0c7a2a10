"""Many procedural shapes, in their order, from one process or several.

The processes are plain Python. multiprocessing, and pebble on top of it, would import the caller's main
module in each, and so run a script without ``if __name__ == "__main__"`` once more; loky would be one more
dependency.
"""

import contextlib
import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.procedural.generator import check_whole, generate

CHUNK = 64
"""Shapes that a process makes at a time."""

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from pointmae_zoo.procedural.parallel import serve; serve()"
)


def generate_many(
    count: int, *, seed: int = 0, num_points: int = 2048, workers: int = 1, progress: bool = False
) -> NDArray[np.float32]:
    """Shapes 0 .. count - 1 of a seed: (count, num_points, 3) float32, each as ``generate(seed, num_points,
    index=i)``.

    workers: processes to share the work; the result does not depend on it. progress: show a bar.
    """
    from tqdm import tqdm

    check_whole("count", count, 0)
    check_whole("num_points", num_points, 2)
    shapes = np.empty((count, num_points, 3), np.float32)
    following = generate_in_order(0, count, seed=seed, num_points=num_points, workers=workers)
    with tqdm(total=count, unit="shape", desc="procedural shapes", disable=not progress) as bar:
        for i, shape in enumerate(following):
            shapes[i] = shape
            bar.update()
    return shapes


def generate_in_order(
    start: int, count: int, *, seed: int, num_points: int, workers: int = 1
) -> Generator[NDArray[np.float32], None, None]:
    """Shapes start .. count - 1 of a seed, one at a time, (num_points, 3) each; see `generate_many`.

    Raises:
        RuntimeError: a process ended before its work was done.
    """
    if workers <= 1:
        for i in range(start, count):
            yield generate(seed, num_points, index=i)
        return
    jobs = (range(first, min(first + CHUNK, count)) for first in range(start, count, CHUNK))
    with contextlib.closing(ShapeProcesses(workers, seed=seed, num_points=num_points)) as processes:
        # Only as far ahead as keeps all processes busy: the caller may stop at any time.
        waiting = deque(processes.submit(job) for job in islice(jobs, 2 * workers))
        while waiting:
            yield from waiting.popleft().result()
            waiting.extend(processes.submit(job) for job in islice(jobs, 1))


class ShapeProcesses:
    """Processes that make procedural shapes of a seed. The first work starts them; `close` ends them.

    Args:
        workers: how many.
    """

    def __init__(self, workers: int, *, seed: int, num_points: int) -> None:
        self._seed, self._num_points = seed, num_points
        self._processes: list[subprocess.Popen[bytes]] = []
        self._mine = threading.local()  # each thread talks to a process of its own
        self._threads = ThreadPoolExecutor(workers, initializer=self._begin)

    def submit(self, indices: Iterable[int]) -> Future[NDArray[np.float32]]:
        """Let a process make these shapes (B,): (B, num_points, 3), or a RuntimeError if it ended early."""
        return self._threads.submit(self._make, [int(index) for index in indices])

    def close(self) -> None:
        """End the processes; work that isn't done is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
        self._threads.shutdown()
        for process in self._processes:
            process.communicate()

    def _begin(self) -> None:
        self._mine.process = subprocess.Popen(
            [sys.executable, "-c", _CODE, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the parent's to handle, also while this process starts
        )
        self._processes.append(self._mine.process)

    def _make(self, indices: list[int]) -> NDArray[np.float32]:
        size = 12 * self._num_points * len(indices)
        process = self._mine.process
        try:
            process.stdin.write(json.dumps([self._seed, self._num_points, indices]).encode() + b"\n")
            process.stdin.flush()
            data = process.stdout.read(size)
        except OSError:
            data = b""
        if len(data) < size:
            code = process.wait()
            raise RuntimeError(f"a process that makes procedural shapes ended early (exit code {code})")
        return np.frombuffer(data, dtype="<f4").reshape(-1, self._num_points, 3).astype(np.float32)


def serve() -> None:
    """A process's side: a line of JSON asks for shapes, which go out as little-endian float32."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    for line in sys.stdin.buffer:
        seed, num_points, indices = json.loads(line)
        for index in indices:
            sys.stdout.buffer.write(generate(seed, num_points, index=index).astype("<f4").tobytes())
        sys.stdout.buffer.flush()
