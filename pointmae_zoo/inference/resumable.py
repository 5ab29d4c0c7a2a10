"""Runs over many files that continue after a kill.

Embedding and classification give a row of numbers for each file. `rows_of_files` computes the rows, and a
`Journal` beside the output keeps them until the table is written. Part segmentation writes a cloud for each
file, and a `PartManifest` in their folder says which clouds are finished.
"""

import base64
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.inference.batch_size import FIRST_CLOUDS
from pointmae_zoo.inference.batches import Batches, Poses, launcher_for
from pointmae_zoo.inference.inputs import (
    Paths,
    RunOptions,
    find_inputs,
    readers_for,
    sorted_failures,
)
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.shapes.measures import Measures
from pointmae_zoo.shapes.reader_pool import ReaderPool
from pointmae_zoo.system.files import full_disk, lock, remove_locked, written_whole
from pointmae_zoo.system.progress import progress_bar

if TYPE_CHECKING:
    from torch import Tensor


_FOREIGN = "this name is needed, but another program wrote the file; move it away"
JOURNAL_FORMAT = 2
MANIFEST_FILE = "parts.json"
MANIFEST_FORMAT = 1


class Journal:
    """A text file that only grows: a line with the settings, then one line of JSON per embedded file.

    A row counts only if its file still has the same path, size and time of change. A line that was cut off by
    a kill is dropped.

    Raises ValueError if another process is writing the same output, or if rows of other settings are kept.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.rows: dict[str, NDArray[np.float32]] = {}  # identity of a file -> features (D,)
        self.notes: dict[str, tuple[str, ...]] = {}  # identity of a file -> what its reader remarked
        self.measures: dict[str, Measures] = {}  # identity of a file -> its size
        self._file = self._open()
        try:
            self._load(settings)
        except BaseException:
            self._file.close()
            raise

    def add(
        self,
        identities: list[str],
        features: NDArray[np.float32],
        measures: Sequence[Measures],
        notes: Sequence[tuple[str, ...]] = (),
    ) -> None:
        """Write the rows of a batch, and size of and remarks about each file. They survive a kill then.

        Raises OSError with the journal's name if the disk has no room; the rows before are kept.
        """
        lines = []
        said_of = notes or [()] * len(identities)
        for name, row, size, said in zip(identities, features, measures, said_of, strict=True):
            packed = base64.b64encode(np.ascontiguousarray(row, dtype="<f4").tobytes()).decode()
            line: dict[str, Any] = {"file": name, "features": packed, "measures": size}
            if said:
                line["notes"] = said
            lines.append(json.dumps(line) + "\n")
        self._append("".join(lines).encode())

    def _append(self, data: bytes) -> None:
        """Append all of it or nothing, unbuffered: Python's buffer would try, and fail, again when closed."""
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
        """Delete the journal, because the output is complete."""
        remove_locked(self.path, self._file)

    def _open(self) -> IO[bytes]:
        """The file, locked."""
        while True:
            file = open(self.path, "a+b")  # noqa: SIM115 - open until the run ends
            try:
                lock(file)  # without locks on this disk, the user has to avoid two runs at a time
            except BlockingIOError:
                file.close()
                raise ValueError(
                    f"{self.path}: another run is writing this output; wait for it, or choose another"
                ) from None
            if os.fstat(file.fileno()).st_nlink or self.path.exists():
                return file
            file.close()  # another run finished and removed it just before it was locked

    def _load(self, settings: dict[str, Any]) -> None:
        header = json.dumps({"format": JOURNAL_FORMAT, "settings": settings}, sort_keys=True)
        self._file.seek(0)
        first = self._file.readline()
        if first and not first.startswith(b'{"format"'):
            raise ValueError(f"{self.path}: {_FOREIGN}")
        good = 0
        if first == header.encode() + b"\n":
            good = self._file.tell()
            for line in self._file:
                if not line.endswith(b"\n") or not self._take(line):
                    break
                good += len(line)
        elif self._file.readline().endswith(b"\n"):  # never drop rows that took work
            raise ValueError(
                f"{self.path}: holds rows made with other settings ({_differences(first, settings)}); "
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
            self.measures[row["file"]] = Measures.of_json(row["measures"])
            self.notes[row["file"]] = tuple(map(str, row.get("notes", ())))
        except (ValueError, KeyError, TypeError):
            return False
        return True


def _differences(header: bytes, settings: dict[str, Any]) -> str:
    """The settings that differ from those in a journal's first line."""
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


class PartManifest:
    """``parts.json`` in the folder: for each cloud its source file, its settings and the shares of its parts.

    A cloud doesn't count if it has other settings, if its source has changed, or if it was changed itself.

    Args:
        folder: where the clouds are, or will be.
        settings: everything that decides what a cloud looks like, in types that JSON has.

    Raises ValueError if a file of that name is not ours.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder, self._path = folder, folder / MANIFEST_FILE
        self._made = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self._content = self._read()
        self._content["settings"][self._made] = settings
        self._changed = False

    def shares(self, file: Path, target: Path) -> NDArray[np.float64] | None:
        """The shares of the parts in ``target``, the cloud of ``file``; None if it has to be made."""
        entry = self._content["clouds"].get(self._name(target))
        wanted = {"made": self._made, "file": identity(file), "cloud": _stamp(target)}
        if entry is None or any(entry.get(name) != value for name, value in wanted.items()):
            return None
        return np.array(entry["shares"], dtype=np.float64)

    def add(self, source: str, target: Path, shares: NDArray[np.float64]) -> None:
        """Note that ``target`` was written. ``source``: the `identity` of its file before it was read."""
        entry = {"made": self._made, "file": source, "cloud": _stamp(target), "shares": shares.tolist()}
        self._content["clouds"][self._name(target)] = entry
        self._changed = True

    def remove_orphans(self) -> list[Path]:
        """Delete the clouds of deleted files, unless the cloud was changed. If the whole folder is gone, the
        file may be on a disk that isn't mounted now, and its cloud stays."""
        removed = []
        for name, entry in list(self._content["clouds"].items()):
            target = self._folder / name
            stamp = _stamp(target)
            inside = not Path(name).is_absolute() and ".." not in Path(name).parts and ".parts." in name
            if inside and _is_deleted(entry["file"]) and stamp in (None, entry["cloud"]):
                del self._content["clouds"][name]
                self._changed = True
                if stamp is not None:
                    target.unlink()
                    removed.append(target)
        return removed

    def write(self) -> None:
        """Write the file if anything changed."""
        if not self._changed:
            return
        used = {entry["made"] for entry in self._content["clouds"].values()}
        settings = {made: how for made, how in self._content["settings"].items() if made in used}
        text = json.dumps({**self._content, "settings": settings}, indent=1) + "\n"
        with written_whole(self._path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
        self._changed = False

    def _name(self, target: Path) -> str:
        return target.relative_to(self._folder).as_posix()

    def _read(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"format": MANIFEST_FORMAT, "settings": {}, "clouds": {}}
        try:
            content = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return empty
        except ValueError:
            content = None
        if not _is_ours(content):
            raise ValueError(f"{self._path}: {_FOREIGN}")
        return content if content["format"] == MANIFEST_FORMAT else empty


def _is_ours(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and content.keys() == {"format", "settings", "clouds"}
        and all(isinstance(content[name], dict) for name in ("settings", "clouds"))
        and all(
            isinstance(entry, dict)
            and entry.keys() == {"made", "file", "cloud", "shares"}
            and isinstance(entry["made"], str)
            for entry in content["clouds"].values()
        )
    )


def _is_deleted(source: str) -> bool:
    """Whether the file of this identity is gone while its folder is still there."""
    try:
        path = Path(json.loads(source)[0])
    except (ValueError, LookupError, TypeError):
        return False
    return path.parent.is_dir() and not os.path.lexists(path)


def _stamp(target: Path) -> list[int] | None:
    """Size and time of change; None where it is not."""
    try:
        status = target.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


@dataclass(frozen=True)
class RowNetwork:
    """A network and all that decides the rows of its output."""

    compute: "Callable[[Tensor], Tensor]"
    """(B, N, 3) -> (B, width)."""
    width: int
    recipe: Preprocess
    device: str
    metadata: dict[str, Any]
    """How the table was made; rows with other metadata are never mixed in."""


@dataclass(frozen=True)
class Rows:
    """The result of a run."""

    paths: list[str]
    values: NDArray[np.float32]  # (M, width)
    failures: list[tuple[str, str]]
    network: RowNetwork
    notes: list[tuple[str, str]]
    """(path, remark) of files with a row."""
    passed_over: dict[str, int]
    """What was left alone in folders -> how many; see `shapes.file_search.Found`."""
    measures: list[Measures]
    """Of the files of ``paths``."""


def rows_of_files(
    paths: Paths,
    open_network: Callable[[], RowNetwork],
    write: Callable[[Path, Rows], None],
    options: RunOptions,
    out: Path | None,
) -> Rows:
    """A row for each file that can be read; with `out`, ``write(out, rows)`` at the end if there are any.

    ``paths`` and ``out`` are `embed_files`'s. Raises as it does.
    """
    inputs = find_inputs(paths, out)
    files = inputs.files
    journal = None
    network = open_network()
    launcher = launcher_for(network.recipe, network.device, options.up)
    batch_size, samples = options.batch_size, network.recipe.surface_samples
    batches = Batches(
        launcher,
        samples,
        seed=int(options.seed),
        batch_size=batch_size,
        poses=Poses(network.metadata["pose"], options.up, network.recipe.up),
    )
    if not launcher.tries_sizes:
        batch_size = batch_size or FIRST_CLOUDS
    with readers_for(files, options, network.device) as readers:
        try:
            if out is not None:
                journal = Journal(out.with_name(out.name + ".partial"), _settings(network, batch_size))
            found, failures = _compute(network, batches, files, readers, journal, options.progress)
            notes, sizes = batches.notes, batches.measures
            done = [file for file in files if file in found]
            values = np.array([found[file] for file in done], dtype=np.float32)
            rows = Rows(
                [str(file) for file in done],
                values.reshape(len(done), network.width),
                sorted_failures(failures, inputs.missing),
                network,
                [(str(file), text) for file in done for text in notes.get(file, ())],
                dict(inputs.passed_over.most_common()),
                [sizes[file] for file in done],
            )
            if out is not None and rows.paths:  # an empty table must not take the place of a good one
                write(out, rows)
            if journal is not None:
                journal.remove()
        except OSError as error:
            if (number := full_disk(error)) is None:
                raise
            said = f"{os.strerror(number)}; make room on this disk and run it again"
            if journal is not None:
                room = "make room on this disk, and the same command continues from there"
                said = f"{os.strerror(number)}; {journal.path} keeps the rows so far: {room}"
            raise OSError(number, said, error.filename) from error
        except KeyboardInterrupt:
            if journal is not None:
                print(
                    f"\n{journal.path} keeps the rows; the same command resumes from there", file=sys.stderr
                )
            raise
        finally:
            if journal is not None:
                journal.close()
    return rows


def _settings(network: RowNetwork, batch_size: int | None) -> dict[str, Any]:
    """What a journal's rows depend on. Rows from another batch size, device or torch differ in their last
    bits, so they aren't mixed. If the batch size is found (None), rows of several sizes may mix."""
    import torch

    return {
        **network.metadata,
        "batch_size": batch_size,
        "device": network.device,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _compute(
    network: RowNetwork,
    batches: Batches,
    files: list[Path],
    readers: ReaderPool,
    journal: Journal | None,
    progress: bool,
) -> tuple[dict[Path, NDArray[np.float32]], dict[Path, str]]:
    """The row of every file (from the journal if it is there), and reasons for missing rows. Remarks and
    sizes are in ``batches``."""
    identities = {file: identity(file) for file in files}  # as they are before they are read
    rows: dict[Path, NDArray[np.float32]] = {}
    if journal is not None:
        rows = {file: journal.rows[name] for file, name in identities.items() if name in journal.rows}
        batches.notes.update({file: journal.notes.get(identities[file], ()) for file in rows})
        batches.measures.update({file: journal.measures[identities[file]] for file in rows})
        if rows:
            print(f"{journal.path}: continuing, {len(rows)} of {len(files)} rows are there", file=sys.stderr)
    missing = [file for file in files if file not in rows]
    failures: dict[Path, str] = {}
    with progress_bar(
        total=len(files), initial=len(rows), unit="file", desc="files", disable=not progress
    ) as bar:
        for _, found in batches.run(network.compute, missing, readers, failures, bar):
            if journal is not None and found:
                journal.add(
                    [identities[file] for file in found],
                    np.stack(list(found.values())),
                    [batches.measures[file] for file in found],
                    [batches.notes.get(file, ()) for file in found],
                )
            rows.update(found)
    return rows, failures
