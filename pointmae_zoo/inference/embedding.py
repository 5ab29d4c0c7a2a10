"""Files -> points -> encoder -> table."""

import os
from pathlib import Path
from typing import Any

from pointmae_zoo.inference.feature_tables import Embeddings, check_table_path, noted, write_table
from pointmae_zoo.inference.inputs import Paths, RunOptions, in_dtype, opened
from pointmae_zoo.inference.resumable import RowNetwork, Rows, rows_of_files
from pointmae_zoo.models.default_weights import DEFAULT_MODEL
from pointmae_zoo.shapes.pose import Pose
from pointmae_zoo.shapes.up_axis import DEFAULT_UP


def embed_files(
    paths: Paths,
    model: Any = DEFAULT_MODEL,
    *,
    out: str | os.PathLike[str] | None = None,
    up: str = DEFAULT_UP,
    pose: Pose | None = None,
    seed: int = 0,
    pool: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    timeout: float = 60.0,
    memory_limit_gb: float = 2.0,
    device: str | None = None,
    dtype: str | None = None,
    progress: bool = True,
) -> Embeddings:
    """Features of mesh and point files: one row for each that can be read, a reason for each that cannot.

    With `out`, finished rows are kept in `OUT.partial`. If the run is killed, the same call continues from
    there and writes the same bytes as an uninterrupted run. (On a GPU this needs a fixed `batch_size`,
    because the size that is found may differ the next time.)

    Args:
        paths: files, folders (searched to the bottom) or globs; see `shapes.file_search.find_files`. A path
            that leads to nothing is listed among the failures. `out` is never read.
        model: published weights, a folder of weights, a repository of the Hub (the table says of which
            commit), or an encoder (for example from `from_pretrained`).
        out: where to write the table: .npz, .safetensors, .csv or .parquet. None: nowhere.
        up: the axis that points up in the files: x, y, z, -x, -y or -z.
        pose: how shapes may lie. upright: as they stand, with `up` up; rotated shapes get other features.
            turned: any angle about `up`. any: any rotation; `up` doesn't matter. For the latter two, every
            shape goes through the network in several poses along its axes (see `shapes.pose.rotations`), and
            its row is the mean of their features. None: as stored with the weights.
        seed: of the points sampled on surfaces, 0 or more. The same file and seed give the same row, bit for
            bit, whatever other files are embedded in the same run.
        pool: how tokens become one vector: max, mean, mean+max, mean,max or levels (see
            `PointEncoder.embed`). None: as stored with the weights.
        batch_size: clouds that go through the network at a time. Rows depend on it in their last bits. None:
            16 on a CPU; on a GPU the first clouds are used to find the fastest size. If a batch doesn't fit
            into a GPU's memory, the size is halved.
        workers: processes that read files. None: as many as cores, at most 8; with a GPU one less than cores.
        timeout: seconds that reading one file may take.
        memory_limit_gb: memory that reading one file may take, in each worker (enforced on Linux).
        device: where the network runs. None: an encoder stays where it is, weights are loaded on the CPU.
        dtype: float32 or bfloat16: of weights and activations; distances and the features given are float32
            in both. None: an encoder stays as it is, weights are loaded in float32.
        progress: show a progress bar on stderr.

    Returns:
        Embeddings: paths (sorted), features (M, D) float32, the size of each file, failures [(path, reason)],
        metadata, notes [(path, remark)] about files that have a row, and counts of what was passed over in
        folders.

    Raises:
        FileNotFoundError: no path leads to a file.
        ValueError: a wrong argument, model or table format, an output that another run is writing, or one
            whose OUT.partial was written with other settings.
        RuntimeError: a GPU has no room for a single cloud.
    """
    target = None if out is None else Path(out)
    if target is not None:
        check_table_path(target)
    options = RunOptions(
        up, seed, batch_size, workers, timeout, memory_limit_gb, device, dtype, progress, pose
    )
    rows = rows_of_files(
        paths,
        lambda: _network(model, pool, options),
        lambda path, rows: write_table(path, _table(rows)),
        options,
        target,
    )
    return _table(rows)


def _table(rows: Rows) -> Embeddings:
    metadata = dict(rows.network.metadata)
    if rows.notes:
        metadata["notes"] = noted(rows.notes)
    return Embeddings(
        rows.paths, rows.values, rows.failures, metadata, rows.notes, rows.passed_over, rows.measures
    )


def _network(model: Any, pool: str | None, options: RunOptions) -> RowNetwork:
    if not isinstance(model, str | os.PathLike) and not hasattr(model, "embed"):
        raise TypeError(
            f"model: weights by name or folder, or an encoder expected, got {type(model).__name__}; "
            "from_pretrained(..., kind='encoder') gives one"
        )
    from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256
    from pointmae_zoo.models.encoder import evaluating
    from pointmae_zoo.ops.precision import dtype_of

    given, name = opened(model, options.device, kind="encoder")
    encoder = in_dtype(given, options.dtype)
    pool = pool or encoder.hyper.pool

    def compute(points: Any) -> Any:
        # Not embed, which checks that points are finite and so would wait for the GPU.
        with evaluating(encoder):
            return encoder(points, pool)

    return RowNetwork(
        compute=compute,
        width=encoder.feature_dim(pool),  # raises for an unknown pool, before any work
        recipe=encoder.config.preprocess,
        device=str(next(encoder.parameters()).device),
        metadata={
            "model": name,
            "fingerprint": encoder_sha256(given),
            "dtype": dtype_of(encoder),
            "pool": pool,
            "seed": int(options.seed),
            "up": options.up,
            "pose": options.pose or encoder.config.preprocess.pose,
        },
    )
