"""Command lines run by processes of their own, which begin with everything imported."""

import multiprocessing
import os
import socket
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pointmae_zoo.cli import main

LIMIT = 600
"""Seconds after which a process is stuck: far more than any needs, on whatever machine."""


def context() -> Any:
    """For processes that are forked from one that has imported all that training needs; where there is no
    fork, for such as begin anew."""
    forked = "forkserver" in multiprocessing.get_all_start_methods()
    found: Any = multiprocessing.get_context("forkserver" if forked else "spawn")
    if forked:
        found.set_forkserver_preload(["pointmae_zoo.train", "accelerate", "timm", "yaml"])
    return found


def start(
    words: list[str], log: Path | None = None, stop_at: int | None = None, **environment: str
) -> BaseProcess:
    """Start a command line in a process of `context`: an interpreter of its own takes seconds to begin.

    Args:
        log: where what it prints goes; None: to where it goes here.
        stop_at: the step of a training at which it waits for ever: to be killed.
        environment: variables to set first.
    """
    process: BaseProcess = context().Process(target=_run, args=(words, log, stop_at, environment))
    process.start()
    return process


def in_two(words: list[str], folder: Path) -> str:
    """Run a command line on two processes, as ``torchrun`` would; what both printed.

    Raises:
        AssertionError: one failed, or left threads of the process group behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    logs = [folder / f"{rank}.log" for rank in range(2)]
    processes = [
        start(words, log, RANK=str(rank), LOCAL_RANK=str(rank), **group) for rank, log in enumerate(logs)
    ]
    try:
        for process in processes:
            process.join(LIMIT)
        said = [log.read_text(encoding="utf-8") for log in logs]
        codes = [process.exitcode for process in processes]
        assert codes == [0, 0], (codes, *(one[-3000:] for one in said))
    finally:
        for process in processes:
            process.kill()
            process.join()
    for one in said:
        assert "gloo" not in one.rpartition("threads: ")[2], "the process group still has threads"
    return "".join(said)


def _run(words: list[str], log: Path | None, stop_at: int | None, environment: dict[str, str]) -> None:
    # By torch where numba would first compile for seconds; both give the same bits.
    os.environ.update(POINTMAE_ZOO_NUMBA="0", **environment)
    if log is not None:
        stream = log.open("w", encoding="utf-8")
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    from pointmae_zoo.train import pretraining

    setattr(pretraining, "draw_reconstruction", lambda *given: given[-1].write_bytes(b""))  # noqa: B010
    if stop_at is not None:
        _wait_at(stop_at)
    code = main(words)
    if log is not None:
        print("threads:", *_threads())
    sys.exit(code)


def _wait_at(last: int) -> None:
    """Have trainings of this process wait before the step of this number."""
    from pointmae_zoo.train import loop

    original = loop._Run._one_step

    def step(run: Any) -> Any:
        if run.step == last:
            time.sleep(LIMIT)
        return original(run)

    setattr(loop._Run, "_one_step", step)  # noqa: B010


def _threads() -> list[str]:
    """Names of this process' threads, Python's and others; none where the system does not list them."""
    return sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
