"""Files -> points -> network -> table."""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo import DEFAULT_MODEL
from pointmae_zoo.data.mesh import check_seed, search_files
from pointmae_zoo.data.preprocess import AXES
from pointmae_zoo.data.workers import ReaderPool, available_cores
from pointmae_zoo.inference.journal import Journal, identity
from pointmae_zoo.inference.tables import Embeddings, check_table_path, write_table

if TYPE_CHECKING:
    from torch import Tensor

MOST_WORKERS = 8  # a network on the same machine keeps no more readers busy


def embed_files(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    model: Any = DEFAULT_MODEL,
    *,
    out: str | os.PathLike[str] | None = None,
    up: str = "y",
    seed: int = 0,
    pool: str | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    timeout: float = 60.0,
    memory_limit_gb: float = 2.0,
    device: str | None = None,
    progress: bool = True,
) -> Embeddings:
    """Features of mesh and point files: one row for each that can be read, a reason for each that cannot.

    With `out`, rows are kept in `OUT.partial` while the run goes on. If it is killed, the same call goes
    on from there and writes the same bytes that an undisturbed run would have written.

    Args:
        paths: files, folders (searched to the bottom) or globs; see `data.mesh.find_files`. One that leads
            to nothing is a failure among the others. `out` is never an input of its own.
        model: published weights, a folder of weights, a repository of the Hub (the table says of which
            commit), or an encoder (for example from `from_pretrained`).
        out: where to write the table: .npz, .safetensors, .csv or .parquet. None: nowhere.
        up: the axis that points up in the files: x, y or z.
        seed: of the points sampled on surfaces, 0 or more. The same file and seed give the same row, bit for
            bit, whatever other files are embedded in the same run.
        pool: how tokens become one vector: max, mean, mean+max, mean,max or levels (see
            `PointEncoder.embed`). None: as stored with the weights.
        batch_size: clouds that go through the network at a time.
        workers: processes that read files. None: as many as cores, at most 8.
        timeout: seconds that reading one file may take.
        memory_limit_gb: memory that reading one file may take, in each worker (enforced on Linux).
        device: where the network runs. None: an encoder stays where it is, weights are loaded on the CPU.
        progress: show a progress bar on stderr.

    Returns:
        Embeddings: paths (sorted), features (M, D) float32, failures [(path, reason)], metadata.

    Raises:
        FileNotFoundError: no path leads to a file.
        ValueError: a wrong argument, model or table format, an output that another run is writing, or one
            whose OUT.partial was written with other settings.
    """
    _check_arguments(up, seed, batch_size, workers, timeout, memory_limit_gb)
    target = None if out is None else Path(out)
    if target is not None:
        check_table_path(target)
    files, missing = _inputs(paths, target)
    workers = workers or min(MOST_WORKERS, available_cores())
    journal = None
    with ReaderPool(min(workers, len(files)), timeout=timeout, memory_limit_gb=memory_limit_gb) as readers:
        run = _Run(model, device, pool=pool, up=up, seed=int(seed), batch_size=batch_size)
        try:
            if target is not None:
                journal = Journal(target.with_name(target.name + ".partial"), run.settings)
            table = run.embed(files, readers, journal, progress)
            table.failures.extend(missing)
            table.failures.sort(key=lambda failure: Path(failure[0]).as_posix())
            if target is not None and table.paths:  # an empty table must not take the place of a good one
                write_table(target, table)
            if journal is not None:
                journal.remove()
        except KeyboardInterrupt:
            if journal is not None:
                print(
                    f"\n{journal.path} keeps the rows; the same command resumes from there", file=sys.stderr
                )
            raise
        finally:
            if journal is not None:
                journal.close()
    return table


def _inputs(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], target: Path | None
) -> tuple[list[Path], list[tuple[str, str]]]:
    """The files to embed, and (path, reason) of every path that leads to none."""
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise ValueError("paths: at least one file, folder or glob expected, got none")
    files, missing = search_files(given)
    if target is not None:
        own = os.path.realpath(target)  # the table of an earlier run, if it lies in a folder of inputs
        if any(os.path.realpath(path) == own for path in given):
            raise ValueError(f"out: {target} is also one of the inputs; choose another name for the table")
        files = [file for file in files if os.path.realpath(file) != own]
    if not files and missing:
        others = f" (and {len(missing) - 1} more lead to nothing)" if len(missing) > 1 else ""
        raise FileNotFoundError(f"{missing[0][0]}: {missing[0][1]}{others}")
    if not files:
        raise FileNotFoundError(f"{target}: nothing to embed but this table itself; add mesh or point files")
    return files, missing


class _Run:
    """A model and everything that decides what a row is."""

    def __init__(
        self, model: Any, device: str | None, *, pool: str | None, up: str, seed: int, batch_size: int
    ) -> None:
        import torch

        name = None
        if isinstance(model, str | os.PathLike):
            from pointmae_zoo.hub.pretrained import from_pretrained, full_name

            source = model
            model = from_pretrained(source, kind="encoder", device=device or "cpu")
            name = full_name(source, model)
        elif not hasattr(model, "embed") or not hasattr(model, "config"):
            raise TypeError(
                f"model: weights by name or folder, or an encoder expected, got {type(model).__name__}; "
                "from_pretrained(..., kind='encoder') gives one"
            )
        elif device is not None:
            model = model.to(device)
        self.model, self.recipe = model, model.config.preprocess
        self.device = str(next(model.parameters()).device)
        self.up, self.seed, self.batch_size = up, seed, batch_size
        self.pool = pool or model.hyper.pool
        self.width = model.feature_dim(self.pool)  # raises for an unknown pool, before any work
        self.metadata = {
            "model": name,
            "fingerprint": fingerprint(model),
            "pool": self.pool,
            "seed": seed,
            "up": up,
        }
        # Rows from another batch size, device or torch differ in their last bits, so they are not mixed in.
        self.settings = {
            **self.metadata,
            "batch_size": batch_size,
            "device": self.device,
            "torch": torch.__version__,
            "numpy": np.__version__,
        }

    def embed(
        self, files: list[Path], readers: ReaderPool, journal: Journal | None, progress: bool
    ) -> Embeddings:
        """Every file, those in the journal without reading them again."""
        identities = {file: identity(file) for file in files}  # as they are before they are read
        rows: dict[Path, NDArray[np.float32]] = {}
        if journal is not None:
            rows = {file: journal.rows[name] for file, name in identities.items() if name in journal.rows}
            if rows:
                print(
                    f"{journal.path}: going on, {len(rows)} of {len(files)} rows are there", file=sys.stderr
                )
        missing = [file for file in files if file not in rows]
        failures: dict[Path, str] = {}
        with _progress_bar(len(files), len(rows), progress) as bar:
            for batch in self._batches(missing, readers, failures, bar):
                names = list(batch)
                features, failed = self._features([batch[name] for name in names])
                failures.update((names[number], reason) for number, reason in failed.items())
                good = [number for number in range(len(names)) if number not in failed]
                if journal is not None:
                    journal.add([identities[names[number]] for number in good], features[good])
                rows.update((names[number], features[number]) for number in good)
        done = [file for file in files if file in rows]
        return Embeddings(
            [str(file) for file in done],
            np.array([rows[file] for file in done], dtype=np.float32).reshape(len(done), self.width),
            [(str(file), failures[file]) for file in files if file in failures],
            self.metadata,
        )

    def _batches(
        self, files: list[Path], readers: ReaderPool, failures: dict[Path, str], bar: Any
    ) -> Iterator[dict[Path, NDArray[np.float32]]]:
        """Points of the files that can be read, batch_size at a time, in order; the others go to failures."""
        batch: dict[Path, NDArray[np.float32]] = {}
        readings = readers.read(files, self.recipe.surface_samples, self.seed)
        for file, reading in zip(files, readings, strict=True):
            if reading.points is None:
                failures[file] = reading.reason
            else:
                batch[file] = reading.points
            if len(batch) == self.batch_size:
                yield batch
                batch = {}
            bar.update()
        if batch:
            yield batch

    def _features(self, clouds: list[NDArray[np.float32]]) -> tuple[NDArray[np.float32], dict[int, str]]:
        """(len(clouds), D), and the reasons of those whose rows are not to be used."""
        import torch

        points, failed = self._prepared(clouds)
        # Always the same shape, because kernels are chosen by shape: a row must not depend on how many
        # share its batch.
        padding = [points[-1]] * (self.batch_size - len(points))
        batch = torch.stack(points + padding)
        features = self.model.embed(batch, pool=self.pool)[: len(points)].float().cpu().numpy()
        for number in np.flatnonzero(~np.isfinite(features).all(axis=1)):
            failed.setdefault(int(number), "the network gives NaN or infinity for it")
        return features, failed

    def _prepared(self, clouds: list[NDArray[np.float32]]) -> "tuple[list[Tensor], dict[int, str]]":
        """The network's input for each cloud, something in its place where there is none, and why."""
        import torch

        try:
            return list(self.recipe(clouds, up=self.up, device=self.device)), {}
        except ValueError:
            pass  # one of them; find out which
        points, failed = [], {}
        for number, cloud in enumerate(clouds):
            try:
                points.append(self.recipe(cloud, up=self.up, device=self.device))
            except ValueError as error:
                failed[number] = str(error)
                points.append(
                    torch.linspace(0, 1, self.recipe.num_points * 3, device=self.device).reshape(-1, 3)
                )
        return points, failed


def fingerprint(model: Any) -> str:
    """sha256 of weights, arguments and preprocessing: models that share it give the same rows."""
    import torch

    digest = hashlib.sha256()
    config = model.config
    described = [config.architecture, config.arguments, config.preprocess.to_dict()]
    digest.update(json.dumps(described, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _check_arguments(
    up: str, seed: int, batch_size: int, workers: int | None, timeout: float, memory_limit_gb: float
) -> None:
    if up not in AXES:
        raise ValueError(f"up: {' or '.join(AXES)} expected, got {up!r}")
    check_seed(seed)
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"{name}: a whole number above 0 expected, got {value!r}")
    for name, limit in (("timeout", timeout), ("memory_limit_gb", memory_limit_gb)):
        if not 0 < limit < float("inf"):
            raise ValueError(f"{name}: a number above 0 expected, got {limit!r}")


def _progress_bar(total: int, done: int, shown: bool) -> Any:
    from tqdm import tqdm

    # None: only on a terminal. A log file gets no line per update.
    return tqdm(total=total, initial=done, unit="file", file=sys.stderr, disable=None if shown else True)
