"""Shapes from several processes, in their order.

The processes are plain Python: the multiprocessing module would import the caller's main module in each, and
run a script without ``if __name__ == "__main__"`` once more.
"""

import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray

CHUNK = 64
"""Shapes that a process makes at a time."""

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from pointmae_zoo.procedural.parallel import serve; serve()"
)


def make_in_order(
    start: int, count: int, *, seed: int, num_points: int, workers: int
) -> Generator[NDArray[np.float32], None, None]:
    """Shapes start .. count - 1 of a seed, one at a time, (num_points, 3) each.

    Raises:
        RuntimeError: a process ended before its work was done.
    """
    processes: list[subprocess.Popen[bytes]] = []
    mine = threading.local()

    def begin() -> None:
        mine.process = subprocess.Popen(
            [sys.executable, "-c", _CODE, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        processes.append(mine.process)

    def make(first: int, last: int) -> NDArray[np.float32]:
        size = 12 * num_points * (last - first)
        try:
            mine.process.stdin.write(json.dumps([seed, num_points, first, last]).encode() + b"\n")
            mine.process.stdin.flush()
            data = mine.process.stdout.read(size)
        except OSError:
            data = b""
        if len(data) < size:
            code = mine.process.wait()
            raise RuntimeError(f"a process that makes procedural shapes ended early (exit code {code})")
        return np.frombuffer(data, dtype="<f4").reshape(-1, num_points, 3).astype(np.float32)

    jobs = ((first, min(first + CHUNK, count)) for first in range(start, count, CHUNK))
    pool = ThreadPoolExecutor(workers, initializer=begin)
    try:
        # No further ahead than keeps everybody busy: whoever reads may stop at any time.
        waiting = deque(pool.submit(make, *job) for job in islice(jobs, 2 * workers))
        while waiting:
            yield from waiting.popleft().result()
            waiting.extend(pool.submit(make, *job) for job in islice(jobs, 1))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        pool.shutdown()
        for process in processes:
            process.communicate()


def serve() -> None:
    """A process's side: a line of JSON asks for shapes, which go out as little-endian float32."""
    import signal

    from pointmae_zoo.procedural import generate

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    for line in sys.stdin.buffer:
        seed, num_points, first, last = json.loads(line)
        for index in range(first, last):
            sys.stdout.buffer.write(generate(seed, num_points, index=index).astype("<f4").tobytes())
        sys.stdout.buffer.flush()
