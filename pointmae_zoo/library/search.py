"""Search: the shapes of a table that are most similar to one."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointmae_zoo.inference.embedding import embed_files
from pointmae_zoo.inference.feature_tables import Embeddings, read_table
from pointmae_zoo.inference.inputs import DTYPES
from pointmae_zoo.shapes.notes import about, note
from pointmae_zoo.shapes.pose import Pose, check_pose


def similar(
    query: str | os.PathLike[str] | ArrayLike,
    table: str | os.PathLike[str] | Embeddings,
    k: int = 5,
    *,
    model: Any = None,
    up: str | None = None,
    pose: Pose | None = None,
    pool: str | None = None,
    seed: int | None = None,
) -> list[tuple[str, float]]:
    """The k rows whose features have the largest cosine similarity to the query's, best first: (path,
    similarity).

    Args:
        query: the path of a row of the table (which is then left out of the answer), features (D,), or
            another mesh or point file, which is embedded as the table was.
        table: what `embed_files` returned, or the file it wrote.
        k: how many; fewer if the table has fewer.
        model: the encoder for a new file, if the table does not name one (.csv never does).
        up, pose, pool, seed: how the table was made, for a new file and a table that does not say so (.csv).
            There model and up must be given; pose None is upright, pool None is what is stored with the
            weights, seed None is 0.

    What was left out of a new file is a warning (`shapes.notes.ReadNote`).

    Raises:
        FileNotFoundError: neither a row nor a file.
        ValueError: features of another length, a file that cannot be read, a model, up, pose, pool or seed
            other than the table's, or one that neither table nor caller names.
    """
    if k < 1:
        raise ValueError(f"k: at least 1 expected, got {k}")
    rows = table if isinstance(table, Embeddings) else read_table(table)
    if pose is not None:
        check_pose(pose)
    given = {"up": up, "pose": pose, "pool": pool, "seed": seed}
    for name, value in given.items():
        made = _made(rows).get(name)
        if None not in (value, made) and value != made:
            raise ValueError(f"{name}: {value!r} given, but the table was made with {made!r}; leave it out")
    vector: NDArray[np.floating]
    own = None
    if not isinstance(query, str | os.PathLike):
        vector = np.asarray(query, dtype=np.float64).reshape(-1)
    else:
        own = _row_of(os.fspath(query), rows.paths)
        vector = rows.features[own] if own is not None else _embed(Path(query), rows, model, given)
    if len(vector) != rows.features.shape[1]:
        raise ValueError(f"query: {rows.features.shape[1]} features expected, got {len(vector)}")
    scores = _unit(rows.features) @ _unit(np.asarray(vector)[None])[0]  # (M, D) @ (D,) -> (M,)
    order = [number for number in np.argsort(-scores, kind="stable") if number != own]
    return [(rows.paths[number], float(scores[number])) for number in order[:k]]


def _row_of(query: str, paths: list[str]) -> int | None:
    if query in paths:
        return paths.index(query)
    wanted = os.path.abspath(query)
    return next((number for number, path in enumerate(paths) if os.path.abspath(path) == wanted), None)


def _made(rows: Embeddings) -> dict[str, Any]:
    """How the table was made; nothing if it doesn't say. One without a pose is older than poses."""
    return {"pose": "upright", **rows.metadata} if rows.metadata else {}


def _embed(query: Path, rows: Embeddings, model: Any, given: dict[str, Any]) -> NDArray[np.float32]:
    """Features (D,) of a new file, by the model that made the table."""
    if not query.is_file():
        raise FileNotFoundError(f"{query}: neither a row of the table nor a file")
    made = _made(rows)
    if not made:
        if lacking := [name for name, value in (("model", model), ("up", given["up"])) if value is None]:
            raise ValueError(
                f"{query}: not in the table, and the table does not name its model and settings; give "
                f"{' and '.join(lacking)} as the table was made (and pose, pool and seed, if they were given "
                "then)"
            )
        pose = given["pose"] or "upright"
        settings = {"up": given["up"], "pose": pose, "pool": given["pool"], "seed": given["seed"] or 0}
    elif lacking := [name for name in ("fingerprint", "up", "pool", "seed", "dtype") if name not in made]:
        raise ValueError(f"table: its metadata has no {' and no '.join(lacking)}; embed the files again")
    else:
        settings = {name: made[name] for name in given}
        if made["dtype"] in DTYPES:  # another one is that of a model which was given as it is
            settings["dtype"] = made["dtype"]
    if model is None and (model := made.get("model")) is None:
        raise ValueError(f"{query}: not in the table, and the table does not name its model; give the model")
    if isinstance(model, str | os.PathLike):
        from pointmae_zoo.hub import from_pretrained

        model = from_pretrained(model, kind="encoder")
    from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256

    if made and encoder_sha256(model) != made["fingerprint"]:
        raise ValueError(
            "model: its weights are not those that made the table; embed the table again with it"
        )
    found = embed_files(
        query,
        model,
        workers=1,
        batch_size=1,
        progress=False,
        **settings,
    )
    if found.failures:
        raise ValueError(f"{query}: {found.failures[0][1]}")
    with about(query):
        for _, text in found.notes:
            note(text)
    return found.features[0]


def _unit(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scale rows (M, D) to length 1; a row of zeros stays, and is similar to nothing."""
    rows = np.asarray(features, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)
