"""Tables of features in files: .npz, .safetensors, .csv, .parquet. Never a pickle.

File names may hold bytes that aren't UTF-8. In Python's text these are surrogates (U+DC80 to U+DCFF). They
read back to the same path: .npz and .safetensors keep the surrogates (JSON as ``\\udcff``), .csv keeps the
bytes. Text in .parquet must be UTF-8, so the column ``path`` shows such a byte as ``\\xff``, and the metadata
(``names``) hold the real name by row.
"""

import csv
import importlib.util
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointmae_zoo.shapes.contents import no_shape
from pointmae_zoo.shapes.measures import Measures
from pointmae_zoo.system.files import check_out, written_whole

# All metadata are JSON under one key in .safetensors and .parquet, whose own maps have no fixed order.
KEY = "pointmae_zoo"


@dataclass(frozen=True)
class Embeddings:
    """One row of features per file that could be read."""

    paths: list[str]
    """The M files, sorted."""
    features: NDArray[np.float32]
    """(M, D), in the order of paths."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of every file without a row. Not stored in a table."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """model (name or folder, or None), fingerprint of the weights, dtype of the network, pool, seed, up,
    pose (a table without it is upright); notes (path -> remarks), if there are any. Not stored in .csv."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """(path, remark) of files with a row, such as "left out 1 support object". Stored as metadata."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """What was passed over in folders (a suffix, "hidden", ...) -> how many. Not stored."""
    measures: list[Measures] | None = None
    """The size of each file, in the order of paths; None: the table is older than this."""


MEASURED = ("extent_x", "extent_y", "extent_z", "area", "volume", "triangles", "watertight")
"""Columns of the sizes of files."""
_MeasureArrays = dict[str, NDArray[Any]]


def _as_arrays(measures: list[Measures] | None) -> _MeasureArrays:
    """A column (M,) for each of `MEASURED`; what a file doesn't have is NaN. None: no columns."""
    if measures is None:
        return {}
    columns = zip(*([*one.extents, *one[1:]] for one in measures), strict=True) if measures else [()] * 7
    types = [np.float64] * 5 + [np.int64, np.bool_]
    return {
        name: np.array([np.nan if value is None else value for value in column], dtype=kind)
        for name, column, kind in zip(MEASURED, columns, types, strict=True)
    }


def _of_arrays(arrays: Mapping[str, ArrayLike]) -> list[Measures] | None:
    """What `_as_arrays` gave; None if a column is not there."""
    if any(name not in arrays for name in MEASURED):
        return None

    def known(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    return [
        Measures((float(x), float(y), float(z)), known(area), known(volume), int(triangles), bool(watertight))
        for x, y, z, area, volume, triangles, watertight in zip(
            *(np.asarray(arrays[name]) for name in MEASURED), strict=True
        )
    ]


def noted(notes: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Remarks by path, in the form of metadata."""
    found: dict[str, list[str]] = {}
    for path, text in notes:
        found.setdefault(path, []).append(text)
    return found


def check_table_path(path: Path) -> None:
    """Raise a ValueError or OSError if no table can be written there. Called before the work."""
    check_out(path, tuple(FORMATS))
    if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ValueError(f'{path}: .parquet needs pyarrow: pip install "pointmae-zoo[parquet]"')


def write_table(path: str | os.PathLike[str], table: Embeddings) -> None:
    """Write paths, features and metadata. The same table gives the same bytes; the file appears complete
    or not at all.

    Raises ValueError for an unknown suffix, OSError if it cannot be written.
    """
    path = Path(path)
    check_table_path(path)
    write, _ = FORMATS[path.suffix.lower()]
    with written_whole(path) as unfinished:
        unfinished.write_bytes(write(table))


def read_table(path: str | os.PathLike[str]) -> Embeddings:
    """Read what write_table wrote. Raises FileNotFoundError, or ValueError if it is no such table."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: a name that ends in one of {' '.join(FORMATS)} expected")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; 'pointmae-zoo embed' writes one")
    _, read = FORMATS[path.suffix.lower()]
    with path.open("rb") as file:
        start = file.read(4096)
    if not start.startswith(b"PAR1") and (reason := no_shape(start)) is not None:
        raise ValueError(f"{path}: {reason}")
    try:
        table = read(path)
        features = np.asarray(table.features)
        if features.ndim != 2 or features.dtype != np.float32 or len(features) != len(table.paths):
            raise ValueError(f"{len(table.paths)} paths and features {features.dtype} {features.shape}")
        if not isinstance(table.metadata, dict):
            raise ValueError("its metadata is no object with fields")
    except ImportError:
        raise ValueError(f'{path}: .parquet needs pyarrow: pip install "pointmae-zoo[parquet]"') from None
    except Exception as error:  # the libraries have no common parent for "this file is broken"
        said = " ".join(str(error).split())[:120]
        raise ValueError(f"{path}: no table of features or damaged ({said}); embed again") from error
    return table


def _npz_bytes(table: Embeddings) -> bytes:
    arrays = {
        "paths": np.array(table.paths, dtype=np.str_),
        "features": np.ascontiguousarray(table.features, dtype="<f4"),
        "metadata": np.array(json.dumps(table.metadata, sort_keys=True)),
        **_as_arrays(table.measures),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            # A fixed date, for equal bytes; numpy.savez doesn't promise which one it writes.
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return stream.getvalue()


def _read_npz(path: Path) -> Embeddings:
    with np.load(path, allow_pickle=False) as arrays:
        metadata = json.loads(str(arrays["metadata"])) if "metadata" in arrays else {}
        paths = [str(name) for name in arrays["paths"]]
        return Embeddings(paths, arrays["features"], metadata=metadata, measures=_of_arrays(arrays))


def _safetensors_bytes(table: Embeddings) -> bytes:
    from safetensors.numpy import save

    described = json.dumps({"paths": table.paths, "metadata": table.metadata}, sort_keys=True)
    features = np.ascontiguousarray(table.features, dtype=np.float32)
    return save({"features": features, **_as_arrays(table.measures)}, metadata={KEY: described})


def _read_safetensors(path: Path) -> Embeddings:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        described = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        return Embeddings(
            described["paths"],
            tensors["features"],
            metadata=described["metadata"],
            measures=_of_arrays(tensors),
        )


def _csv_bytes(table: Embeddings) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    sizes = _as_arrays(table.measures)
    writer.writerow(["path", *(f"f{number}" for number in range(table.features.shape[1])), *sizes])
    for number, (name, row) in enumerate(zip(table.paths, table.features, strict=True)):
        own = [column[number].item() for column in sizes.values()]
        # str gives the shortest text that reads back to the same number.
        cells = [*map(str, row), *("" if value != value else str(value) for value in own)]
        if "\r" in name:  # csv doesn't quote it, and reads it as the end of a line
            quoted = name.replace('"', '""')
            stream.write(",".join([f'"{quoted}"', *cells]) + "\n")
        else:
            writer.writerow([name, *cells])
    return stream.getvalue().encode("utf-8", "surrogateescape")


def _read_csv(path: Path) -> Embeddings:
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        reader = csv.reader(file)
        header = next(reader)
        if header[0] != "path":
            raise ValueError(f"the first column is {header[0]!r}, not 'path'")
        rows = list(reader)
    width = len(header) - 1
    sizes: _MeasureArrays = {}
    if tuple(header[-len(MEASURED) :]) == MEASURED:
        width -= len(MEASURED)
        columns = zip(*(row[1 + width :] for row in rows), strict=True) if rows else [()] * len(MEASURED)
        sizes = {
            name: np.array([_number(text) for text in one])
            for name, one in zip(MEASURED, columns, strict=True)
        }
    features = np.array([row[1 : 1 + width] for row in rows], dtype=np.float32).reshape(len(rows), width)
    return Embeddings([row[0] for row in rows], features, measures=_of_arrays(sizes))


def _number(text: str) -> float:
    """Of a cell; NaN for an empty one, 1 and 0 for True and False."""
    return (
        {"": float("nan"), "True": 1.0, "False": 0.0}[text] if text in ("", "True", "False") else float(text)
    )


def _parquet_bytes(table: Embeddings) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    width = table.features.shape[1]
    values = pa.array(np.ascontiguousarray(table.features, dtype=np.float32).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(values, width)
    names = [
        name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for name in table.paths
    ]
    odd = {row: name for row, name in enumerate(table.paths) if names[row] != name}
    columns = {"path": pa.array(names, pa.string()), "features": lists}
    for name, column in _as_arrays(table.measures).items():
        columns[name] = pa.array(column, from_pandas=True)  # NaN is null
    content = {"width": width, "metadata": table.metadata, **({"names": odd} if odd else {})}
    described = {KEY: json.dumps(content, sort_keys=True)}
    stream = io.BytesIO()
    pq.write_table(pa.table(columns, metadata=described), stream)
    return stream.getvalue()


def _read_parquet(path: Path) -> Embeddings:
    import pyarrow.parquet as pq

    with path.open("rb") as file:  # opened here, because pyarrow takes some names for addresses
        stored = pq.read_table(file)
    described = json.loads(stored.schema.metadata[KEY.encode()])
    values = stored["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    features = values.astype(np.float32, copy=False).reshape(-1, described["width"])
    names = stored["path"].to_pylist()
    for row, name in described.get("names", {}).items():
        names[int(row)] = name
    sizes = {name: stored[name].to_numpy() for name in MEASURED if name in stored.column_names}
    return Embeddings(names, features, metadata=described["metadata"], measures=_of_arrays(sizes))


FORMATS: dict[str, tuple[Callable[[Embeddings], bytes], Callable[[Path], Embeddings]]] = {
    ".npz": (_npz_bytes, _read_npz),
    ".safetensors": (_safetensors_bytes, _read_safetensors),
    ".csv": (_csv_bytes, _read_csv),
    ".parquet": (_parquet_bytes, _read_parquet),
}
