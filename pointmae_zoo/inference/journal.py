"""What has been embedded so far, kept next to the output, so that a killed run goes on where it was."""

import base64
import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.system.locks import lock, remove_locked

FORMAT = 1


class Journal:
    """A text file that only grows: a line with the settings, then one line of JSON per embedded file.

    A row counts only if path, size and time of change of its file are what they were. A line that was cut
    off by a kill is dropped.

    Raises ValueError if another process is writing the same output, or if rows of other settings are kept.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.rows: dict[str, NDArray[np.float32]] = {}  # identity of a file -> features (D,)
        self.notes: dict[str, tuple[str, ...]] = {}  # identity of a file -> what its reader remarked
        self._file = self._open()
        try:
            self._load(settings)
        except BaseException:
            self._file.close()
            raise

    def add(
        self, identities: list[str], features: NDArray[np.float32], notes: Sequence[tuple[str, ...]] = ()
    ) -> None:
        """Write the rows of a batch, and the remarks on each file; they survive a kill from here on.

        Raises OSError with the journal's name if the disk has no room; the rows before are kept.
        """
        lines = []
        for name, row, said in zip(identities, features, notes or [()] * len(identities), strict=True):
            packed = base64.b64encode(np.ascontiguousarray(row, dtype="<f4").tobytes()).decode()
            line: dict[str, Any] = {"file": name, "features": packed}
            if said:
                line["notes"] = said
            lines.append(json.dumps(line) + "\n")
        self._append("".join(lines).encode())

    def _append(self, data: bytes) -> None:
        """All of it or nothing. Not by Python's buffer, which would try, and fail, again when closed."""
        size = os.fstat(self._file.fileno()).st_size
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._file.fileno(), left) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), size)
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def close(self) -> None:
        """Let go of the file and leave it for the next run."""
        self._file.close()

    def remove(self) -> None:
        """The output is complete: nothing is left to go on with."""
        remove_locked(self.path, self._file)

    def _open(self) -> IO[bytes]:
        """The file, locked."""
        while True:
            file = open(self.path, "a+b")  # noqa: SIM115 - open until the run ends
            try:
                lock(file)  # where there are no locks, two runs at a time are the user's to avoid
            except BlockingIOError:
                file.close()
                raise ValueError(
                    f"{self.path}: another run is writing this output; wait for it, or choose another"
                ) from None
            if os.fstat(file.fileno()).st_nlink or self.path.exists():
                return file
            file.close()  # another run finished and removed it just before it was locked

    def _load(self, settings: dict[str, Any]) -> None:
        header = json.dumps({"format": FORMAT, "settings": settings}, sort_keys=True)
        self._file.seek(0)
        first = self._file.readline()
        if first and not first.startswith(b'{"format"'):
            raise ValueError(f"{self.path}: this name is needed, but the file is not ours; move it away")
        good = 0
        if first == header.encode() + b"\n":
            good = self._file.tell()
            for line in self._file:
                if not line.endswith(b"\n") or not self._take(line):
                    break
                good += len(line)
        elif self._file.readline().endswith(b"\n"):  # rows that took work, and that are not ours to drop
            raise ValueError(
                f"{self.path}: keeps rows made with other settings ({_differences(first, settings)}); "
                "give the same options again, choose another output, or delete this file"
            )
        self._file.seek(good)
        self._file.truncate()
        if not good:
            self._append(header.encode() + b"\n")

    def _take(self, line: bytes) -> bool:
        """Whether the line is a whole row."""
        try:
            row = json.loads(line)
            values = np.frombuffer(base64.b64decode(row["features"], validate=True), dtype="<f4")
            self.rows[row["file"]] = values.astype(np.float32)
            self.notes[row["file"]] = tuple(map(str, row.get("notes", ())))
        except (ValueError, KeyError, TypeError):
            return False
        return True


def _differences(header: bytes, settings: dict[str, Any]) -> str:
    """The settings that a journal's first line has otherwise."""
    try:
        stored = json.loads(header)["settings"]
        names = [name for name in sorted({*stored, *settings}) if stored.get(name) != settings.get(name)]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its first line cannot be read"
    return ", ".join(
        "weights (fingerprint)"
        if name == "fingerprint"
        else f"{name}: {stored.get(name)!r}, now {settings.get(name)!r}"
        for name in names
    )


def identity(file: Path) -> str:
    """What a file must still be for its row to count: path, size, time of change."""
    try:
        status = os.stat(file)
    except OSError:  # it has just vanished; its reader will say so
        return json.dumps([os.path.abspath(file)])
    return json.dumps([os.path.abspath(file), status.st_size, status.st_mtime_ns])
