"""Files of points without a surface: XYZ text, NumPy's NPY and NPZ. Never a pickle."""

import io
import math
import re
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.surface import Geometry, MeshError, from_points

KEYS = ("points", "xyz", "pos")
SEPARATORS = bytes.maketrans(b",;\t", b"   ")
MOST_COLUMNS = 64  # x y z, then normals, colours, a label, intensities: more than this is no table of points


def read_xyz(path: Path, data: bytes) -> Geometry:
    """Rows of x y z and any further columns, divided by blanks, commas, semicolons or tabs; # begins a
    comment.

    Lines before the first row of numbers (column names, a row count) are passed over.
    """
    return from_points(read_columns(path, data)[:, :3])


def read_columns(path: Path, data: bytes) -> NDArray[np.float64]:
    """All columns (N, 3 or more) of text as ``read_xyz`` reads it."""
    if b"#" in data or b"//" in data:
        data = re.sub(rb"(#|//)[^\n]*", b"", data)
    lines = [line for line in data.translate(SEPARATORS).splitlines() if line and not line.isspace()]
    first = next((number for number, line in enumerate(lines[:10]) if _columns(line) >= 3), None)
    if first is None:
        raise MeshError(path, "has no rows of three numbers: expected x, y, z in the first three columns")
    columns = _columns(lines[first])
    try:
        numbers = np.fromstring(b"\n".join(lines[first:]), dtype=np.float64, sep=" ")
    except ValueError:
        numbers = np.empty(0)
    if numbers.size != columns * (len(lines) - first):
        for number, line in enumerate(lines[first:], first + 1):
            if _columns(line) != columns:
                shown = line[:40].decode("ascii", "replace")
                raise MeshError(
                    path, f"row {number} ({shown!r}) has not the {columns} numbers of the rows before it"
                )
    return numbers.reshape(-1, columns)


def _columns(line: bytes) -> int:
    """How many numbers the line holds, 0 if it holds anything else."""
    words = line.split()
    try:
        [float(word) for word in words]
    except ValueError:
        return 0
    return len(words)


def read_npy(path: Path, data: bytes) -> Geometry:
    """One array of shape (N, 3) or wider; the first three columns count."""
    shape = _shape_in_header(path, "", data, len(data))
    return from_points(_table(path, "the array", _load(path, data), shape))


def read_npz(path: Path, data: bytes) -> Geometry:
    """The array `points`, `xyz` or `pos`, or else the only one of shape (N, 3) or wider."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        shapes = {}
        for key, info in members.items():
            with archive.open(info) as stream:
                shapes[key] = _shape_in_header(path, f"{key}: ", stream.read(4096), info.file_size)
        named = [key for key in KEYS if key in shapes]
        fitting = named or [
            key for key, shape in shapes.items() if len(shape) == 2 and 3 <= shape[1] <= MOST_COLUMNS
        ]
        if len(fitting) == 0 or (len(fitting) > 1 and not named):
            found = ", ".join(f"{key} {shape}" for key, shape in shapes.items()) or "nothing"
            raise MeshError(
                path, f"holds {found}: expected an array `points` (or `xyz`, `pos`) of shape (N, 3)"
            )
        return from_points(
            _table(
                path, f"`{fitting[0]}`", _load(path, archive.read(members[fitting[0]])), shapes[fitting[0]]
            )
        )
    except (MeshError, MemoryError):
        raise
    except Exception as error:  # zipfile lets out whatever a damaged archive leads to
        raise MeshError(
            path, f"is not an NPZ file or was cut off ({error}): save it again with numpy.savez"
        ) from error


def _shape_in_header(path: Path, name: str, start: bytes, size: int) -> tuple[int, ...]:
    """The shape that an NPY header promises, after checking that the file has room for it."""
    stream = io.BytesIO(start)
    try:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(stream)
    except Exception as error:  # numpy lets out whatever its header parser stumbles over
        raise MeshError(
            path, f"{name}is not NPY data or was cut off: save it again with numpy.save"
        ) from error
    if dtype.hasobject:
        raise MeshError(
            path, f"{name}holds pickled Python objects, which are never loaded: save plain floats"
        )
    if math.prod(shape) * dtype.itemsize > size - stream.tell():
        raise MeshError(
            path, f"{name}was cut off: its header promises shape {shape} of {dtype}, the file is shorter"
        )
    return shape


def _load(path: Path, data: bytes) -> NDArray[np.generic]:
    try:
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except ValueError as error:
        raise MeshError(path, f"is not NPY data or was cut off ({error})") from error


def _table(path: Path, name: str, array: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.floating]:
    if array.dtype.kind not in "fiu":
        raise MeshError(path, f"{name} has type {array.dtype}: expected numbers of shape (N, 3)")
    if len(shape) != 2 or not 3 <= shape[1] <= MOST_COLUMNS:
        turned = " (transpose it)" if len(shape) == 2 and shape[0] == 3 else ""
        raise MeshError(path, f"{name} has shape {shape}: expected (N, 3), one row per point{turned}")
    return array[:, :3].astype(np.float64)
