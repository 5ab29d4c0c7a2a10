"""One row of numbers for each file, kept in a journal while the run goes on: what embedding and predicting
share."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.inference.batch_size import FIRST_CLOUDS
from pointmae_zoo.inference.batches import Batches, launcher_for
from pointmae_zoo.inference.input_files import (
    Paths,
    check_arguments,
    find_inputs,
    readers_for,
    sorted_failures,
)
from pointmae_zoo.inference.journal import Journal, identity
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.shapes.reader_pool import ReaderPool
from pointmae_zoo.system.files import full_disk
from pointmae_zoo.system.progress import progress_bar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RowNetwork:
    """A network and everything that decides what a row is."""

    compute: "Callable[[Tensor], Tensor]"
    """(B, N, 3) -> (B, width)."""
    width: int
    recipe: Preprocess
    device: str
    metadata: dict[str, Any]
    """What a table says of how it was made; rows of other metadata are never mixed in."""


@dataclass(frozen=True)
class Rows:
    """What was found out."""

    paths: list[str]
    values: NDArray[np.float32]  # (M, width)
    failures: list[tuple[str, str]]
    network: RowNetwork
    notes: list[tuple[str, str]]
    """(path, remark) of files with a row."""
    passed_over: dict[str, int]
    """What was left alone in folders -> how many; see `shapes.file_search.Found`."""


def rows_of_files(
    paths: Paths,
    open_network: Callable[[], RowNetwork],
    write: Callable[[Path, Rows], None],
    *,
    out: Path | None,
    up: str,
    seed: int,
    batch_size: int | None,
    workers: int | None,
    timeout: float,
    memory_limit_gb: float,
    dtype: str | None,
    progress: bool,
) -> Rows:
    """A row for each file that can be read; with `out`, ``write(out, rows)`` at the end if there are any.

    The arguments are `embed_files`'s. Raises as it does.
    """
    check_arguments(up, seed, batch_size, workers, timeout, memory_limit_gb, dtype)
    inputs = find_inputs(paths, out)
    files = inputs.files
    journal = None
    network = open_network()
    launcher = launcher_for(network.recipe, network.device, up)
    batches = Batches(launcher, network.recipe.surface_samples, seed=int(seed), batch_size=batch_size)
    if not launcher.tries_sizes:
        batch_size = batch_size or FIRST_CLOUDS
    with readers_for(files, workers, timeout, memory_limit_gb, network.device) as readers:
        try:
            if out is not None:
                journal = Journal(out.with_name(out.name + ".partial"), _settings(network, batch_size))
            found, failures, notes = _compute(network, batches, files, readers, journal, progress)
            done = [file for file in files if file in found]
            values = np.array([found[file] for file in done], dtype=np.float32)
            rows = Rows(
                [str(file) for file in done],
                values.reshape(len(done), network.width),
                sorted_failures(failures, inputs.missing),
                network,
                [(str(file), text) for file in done for text in notes.get(file, ())],
                dict(inputs.passed_over.most_common()),
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
                room = "make room on this disk, and the same command goes on from there"
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
    """Rows from another batch size, device or torch differ in their last bits, so they are not mixed in:
    unless whoever let the batch size be found (None) allowed for that."""
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
) -> tuple[dict[Path, NDArray[np.float32]], dict[Path, str], dict[Path, tuple[str, ...]]]:
    """Rows of every file, those in the journal without reading them again; why there are none; remarks."""
    identities = {file: identity(file) for file in files}  # as they are before they are read
    rows: dict[Path, NDArray[np.float32]] = {}
    if journal is not None:
        rows = {file: journal.rows[name] for file, name in identities.items() if name in journal.rows}
        batches.notes.update({file: journal.notes.get(identities[file], ()) for file in rows})
        if rows:
            print(f"{journal.path}: going on, {len(rows)} of {len(files)} rows are there", file=sys.stderr)
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
                    [batches.notes.get(file, ()) for file in found],
                )
            rows.update(found)
    return rows, failures, batches.notes
