"""Search: the shapes of a table that are most similar to one."""

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointmae_zoo.inference.embedding import embed_files
from pointmae_zoo.inference.feature_tables import Embeddings, read_table
from pointmae_zoo.inference.inputs import DTYPES
from pointmae_zoo.shapes.measures import Measures
from pointmae_zoo.shapes.notes import about, note
from pointmae_zoo.shapes.pose import Pose, check_pose

SAME_SIZE = 0.02
"""Up to this difference in size, as a share, a shape has the query's size."""


class Hit(NamedTuple):
    """A row that `similar` found."""

    path: str
    similarity: float
    """Cosine of the two rows of features, at most 1."""
    size_ratio: float | None
    """Size in units of the query's: the square root of the ratio of their areas. None if one of the two is a
    cloud of points, features without a file, or a row of an older table."""


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
    scale: Literal["ignore", "keep"] = "ignore",
) -> list[Hit]:
    """The k rows whose features have the largest cosine similarity to the query's, best first.

    Features don't depend on size: an M3 and an M30 washer are one shape. The hits say how large they are.

    Args:
        query: the path of a row of the table (which is then left out of the answer), features (D,), or
            another mesh or point file, which is embedded as the table was.
        table: what `embed_files` returned, or the file it wrote.
        k: how many; fewer if the table has fewer.
        model: the encoder for a new file, if the table does not name one (.csv never does).
        up, pose, pool, seed: how the table was made, for a new file and a table that does not say so (.csv).
            There model and up must be given; pose and pool None are what is stored with the weights, seed
            None is 0.
        scale: ``keep``: only rows of the query's size, within 2 %. ``ignore``: of any size.

    What was left out of a new file is a warning (`shapes.notes.ReadNote`).

    Raises:
        FileNotFoundError: neither a row nor a file.
        ValueError: scale ``keep`` for a query without a surface, or a table without sizes; features of
            another length, a file that cannot be read, a model, up, pose, pool or seed
            other than the table's, or one that neither table nor caller names.
    """
    if scale not in ("ignore", "keep"):
        raise ValueError(f"scale: ignore or keep expected, got {scale!r}")
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
    own, size = None, None
    if not isinstance(query, str | os.PathLike):
        vector = np.asarray(query, dtype=np.float64).reshape(-1)
    else:
        own = _row_of(os.fspath(query), rows.paths)
        if own is not None:
            vector, size = rows.features[own], _size(None if rows.measures is None else rows.measures[own])
        else:
            vector, measures = _embed(Path(query), rows, model, given)
            size = _size(measures)
    if len(vector) != rows.features.shape[1]:
        raise ValueError(f"query: {rows.features.shape[1]} features expected, got {len(vector)}")
    scores = _unit(rows.features) @ _unit(np.asarray(vector)[None])[0]  # (M, D) @ (D,) -> (M,)
    ratios = _ratios(rows.measures, size, len(scores))
    order = [int(number) for number in np.argsort(-scores, kind="stable") if number != own]
    if scale == "keep":
        if size is None or rows.measures is None:
            lacking = "the table has no sizes; embed again" if rows.measures is None else "the query has none"
            raise ValueError(f"scale: 'keep' needs sizes, but {lacking}")
        order = [n for n in order if (ratio := ratios[n]) is not None and abs(ratio - 1) <= SAME_SIZE]
    return [Hit(rows.paths[number], float(scores[number]), ratios[number]) for number in order[:k]]


def _size(measures: Measures | None) -> float | None:
    """A length that doesn't depend on how a shape lies."""
    return None if measures is None or measures.area is None else float(np.sqrt(measures.area))


def _ratios(measures: list[Measures] | None, size: float | None, count: int) -> list[float | None]:
    if measures is None or not size:
        return [None] * count
    sizes = [_size(one) for one in measures]
    return [None if one is None else one / size for one in sizes]


def _row_of(query: str, paths: list[str]) -> int | None:
    if query in paths:
        return paths.index(query)
    wanted = os.path.abspath(query)
    return next((number for number, path in enumerate(paths) if os.path.abspath(path) == wanted), None)


def _made(rows: Embeddings) -> dict[str, Any]:
    """How the table was made; nothing if it doesn't say. One without a pose is older than poses."""
    return {"pose": "upright", **rows.metadata} if rows.metadata else {}


def _embed(
    query: Path, rows: Embeddings, model: Any, given: dict[str, Any]
) -> tuple[NDArray[np.float32], Measures]:
    """Features (D,) of a new file, by the model that made the table; and its size."""
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
        settings = {**given, "seed": given["seed"] or 0}
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
    assert found.measures is not None
    return found.features[0], found.measures[0]


def _unit(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scale rows (M, D) to length 1; a row of zeros stays, and is similar to nothing."""
    rows = np.asarray(features, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)
