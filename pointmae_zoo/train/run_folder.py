"""What a run leaves in its folder besides weights and checkpoints: recipe, metrics, environment."""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pointmae_zoo.system.files import lock, written_whole
from pointmae_zoo.system.secrets import without_secrets
from pointmae_zoo.system.source_state import current_commit, versions

if TYPE_CHECKING:
    from accelerate import Accelerator

_ENVIRONMENT = "environment.json"


class Metrics:
    """``metrics.jsonl``: one line every so many steps.

    Nothing in it depends on time or machine, so that the file of a run that was stopped and resumed equals
    that of one that was not. A full disk costs no line: what could not be written waits for the next, and for
    the run's end; checkpoints hold it meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0  # bytes that are there whole
        self._waiting = b""

    @property
    def waiting(self) -> str:
        """Lines that could not be written yet."""
        return self._waiting.decode()

    def start(self, step: int, waiting: str = "") -> None:
        """Keep the lines of the first ``step`` steps; later ones will be written again.

        Args:
            waiting: what waited to be written then, and may have been written since.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = waiting.encode().splitlines()
        if self.path.is_file():
            lines = self.path.read_bytes().splitlines() + lines
        kept = {at: line for line in lines if (at := _step_of(line)) <= step}
        text = b"".join(kept[at] + b"\n" for at in sorted(kept))
        with written_whole(self.path) as unfinished:
            unfinished.write_bytes(text)
        self._size, self._waiting = len(text), b""

    def add(self, line: dict[str, Any]) -> None:
        """Append a line."""
        self._waiting += json.dumps(line).encode() + b"\n"
        try:
            self._write()
        except OSError as error:
            print(f"{self.path}: not written for now ({error.strerror})", file=sys.stderr)

    def finish(self) -> None:
        """Write what waits.

        Raises:
            OSError: it can't be written.
        """
        try:
            self._write()
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"{self.path}: not written ({reason}); make room there and resume") from error

    def _write(self) -> None:
        if not self._waiting:
            return
        with open(self.path, "r+b") as stream:
            stream.truncate(self._size)  # the rest of a line that did not get onto a full disk
            stream.seek(self._size)
            stream.write(self._waiting)
        self._size, self._waiting = self._size + len(self._waiting), b""


@contextlib.contextmanager
def only_process(out: Path) -> Iterator[None]:
    """Make the run folder this process' own while the block lasts, and clean up after killed ones.

    Raises:
        ValueError: another process is at work in it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "wb") as stream:
        try:
            lock(stream)
        except BlockingIOError as error:
            raise ValueError(
                f"{out}: another process is training in it; wait for it, or choose another folder"
            ) from error
        for folder in (out, out / "checkpoints"):
            for left in folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)
        yield


def _step_of(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # cut short by a crash
        return math.inf


@dataclass(frozen=True)
class Place:
    """Where a session computes, and where it keeps prepared clouds and targets."""

    device: str
    cache: Path

    @classmethod
    def settled(
        cls, out: Path, device: str | None, cache: str | Path | None, *, resume: bool
    ) -> tuple[Self, str]:
        """What is given, or else what the run to resume had, or else the CPU and ``out/cache``; and a line on
        what is given and the run had otherwise (empty: nothing)."""
        before = _last_session(out) if resume else {}
        known_device, known_cache = before.get("device"), before.get("cache")
        differences = []
        if device and known_device and device != known_device:
            differences.append(f"device {device} (before: {known_device})")
        if cache and known_cache and _portable(Path(cache), out) != known_cache:
            differences.append(f"cache {cache} (before: {known_cache})")
        if not cache and known_cache:
            cache = out / os.path.expanduser(known_cache)
        line = f"{out}: resuming with {' and '.join(differences)}" if differences else ""
        return cls(device or known_device or "cpu", Path(cache or out / "cache")), line


def _last_session(out: Path) -> dict[str, str]:
    """Device and cache of a run's last session, as far as they are known."""
    try:
        session = json.loads((out / _ENVIRONMENT).read_text(encoding="utf-8"))["sessions"][-1]
        # Sessions of older versions have the device's description only, and no cache.
        asked = {"device": session["device"].partition(" ")[0], **session.get("asked", {})}
        return {name: value for name, value in asked.items() if isinstance(value, str)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _portable(cache: Path, out: Path) -> str:
    """How a cache folder is remembered: relative to the run that it lies in, without the name of who owns the
    home folder that it lies in."""
    path, home = Path(os.path.abspath(cache)), Path(os.path.expanduser("~"))
    run = Path(os.path.abspath(out))
    if path.is_relative_to(run):
        return path.relative_to(run).as_posix()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


def write_environment(
    out: Path,
    accelerator: "Accelerator",
    data: dict[str, str],
    place: Place,
    precision: str,
    *,
    resumed: bool,
) -> None:
    """Write ``environment.json``: the hash of each data entry, and of every session of the run (it has one
    more each time it is resumed) versions, commit, devices, cache, precision, processes and command line.

    Raises:
        ValueError: the run began with other data.
    """
    path = out / _ENVIRONMENT
    sessions = []
    if resumed:
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            sessions, known = list(before["sessions"]), list(before["data_sha256"].values())
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            state = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
            print(
                f"{path}: {state}, so nothing tells whether the data is what the run began with; begun anew",
                file=sys.stderr,
            )
        else:  # by their places: how entries are named has changed since the first version
            if changed := [name for at, name in enumerate(data) if known[at : at + 1] != [data[name]]]:
                raise ValueError(
                    f"data: {changed[0]} is not what the run began with; bring it back, or begin another run"
                )
    sessions.append(
        {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": versions(),
            "commit": current_commit(),
            "device": device_name(accelerator.device),
            "asked": {"device": place.device, "cache": _portable(place.cache, out)},
            "precision": precision,
            "processes": accelerator.num_processes,
            "command": without_secrets(sys.argv),
        }
    )
    text = json.dumps({"data_sha256": data, "sessions": sessions}, indent=1)
    with written_whole(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")


def device_name(device: Any) -> str:
    """Such as ``"cuda (NVIDIA H200)"``, or ``"cpu (16 cores, 8 threads)"``."""
    import torch

    if device.type == "cuda":
        return f"{device.type} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads)"
    return str(device)
