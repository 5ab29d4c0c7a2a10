"""A file beside a report that keeps what was found about pairs of files, should the run be killed."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

from pointmae_zoo.system.files import lock

FORMAT = 1
"""Of the lines; results of another one are not read."""


class PairJournal:
    """``OUT.partial``: a line with the settings, then one of JSON for each pair. A line that was cut off by a
    kill is dropped, and so is all that was found with other settings."""

    def __init__(self, path: Path | None, stream: IO[bytes] | None, settings: dict[str, Any]) -> None:
        self.path = path
        self.known: dict[str, Any] = {}
        """What earlier runs found, by pair."""
        self._stream = stream
        if stream is not None:
            self._load(stream, settings)

    @classmethod
    @contextlib.contextmanager
    def open(cls, out: Path | None, settings: dict[str, Any]) -> Iterator[Self]:
        """The journal of a report while the block lasts; of None one that keeps nothing.

        Args:
            settings: what the results depend on, in types that JSON has.

        Raises:
            ValueError: another run is writing it.
        """
        if out is None:
            yield cls(None, None, settings)
            return
        path = cls.of(out)
        with open(path, "a+b") as stream:
            try:
                lock(stream)
            except BlockingIOError:
                raise ValueError(
                    f"{out}: another run is writing this output; wait for it, or choose another"
                ) from None
            yield cls(path, stream, settings)

    @staticmethod
    def of(out: Path) -> Path:
        """Where the journal of a report is."""
        return out.with_name(out.name + ".partial")

    @classmethod
    def remove(cls, out: Path) -> None:
        """Delete the journal, because the report is complete."""
        cls.of(out).unlink(missing_ok=True)

    def add(self, key: str, found: dict[str, Any]) -> None:
        """Keep what was found about a pair."""
        if self._stream is not None:
            self._stream.write(json.dumps({"pair": key, "found": found}).encode() + b"\n")
            self._stream.flush()

    def _load(self, stream: IO[bytes], settings: dict[str, Any]) -> None:
        stream.seek(0)
        header = json.dumps({"format": FORMAT, "settings": settings}, sort_keys=True).encode() + b"\n"
        if stream.readline() != header:
            stream.truncate(0)
            stream.write(header)
            stream.flush()
            return
        good = stream.tell()
        for line in stream:
            try:
                one = json.loads(line)
                self.known[one["pair"]] = one["found"]
            except (ValueError, LookupError, TypeError):
                break
            good += len(line)
        os.truncate(stream.fileno(), good)
