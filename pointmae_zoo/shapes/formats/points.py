"""Files of points without a surface: XYZ text, NumPy's NPY and NPZ. Never a pickle."""

import io
import math
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.formats.text import find_words, plain_text, read_numbers, without_comments
from pointmae_zoo.shapes.notes import note
from pointmae_zoo.shapes.surface import Geometry, MeshError, from_points

KEYS = ("points", "xyz", "pos")
SEPARATORS = bytes.maketrans(b",;\t", b"   ")
HEADER_LINES = 10
NO_ROWS = "has no rows of three numbers: expected x, y, z in the first three columns"
AXES = {
    axis: {f"points{number}", f"{axis}location", f"{axis}coordinate", f"{axis}coord"}
    | {f"{before}{axis}" for before in ("", "p", "pos", "position", "point", "points", "coord")}
    for number, axis in enumerate("xyz")
}
"""What programs call the columns, without blanks, capitals and signs."""
COUNT = re.compile(rb"\d+", re.ASCII)
ELEMENT = re.compile(rb"[A-Z][a-z]?\d*", re.ASCII)
"""An atom's symbol, perhaps numbered."""
NAME = re.compile(r"[\[({].*|[^a-z0-9_]")
"""What stands around the name of a column: quotes, a unit in brackets."""
EMPTY_FIELD = re.compile(rb"(?:\A|\n)[ \t]*[,;]|([,;])[ \t]*\1[ \t]*[^\s,;]")
BESIDE = re.compile(rb",[ \t]+[^\s,]|[ \t],")
"""A comma beside a blank that is not at the end of its line."""
BESIDE_BLANK = re.compile(rb",[ \t]+|[ \t]+,[ \t]*")
THOUSANDS = re.compile(rb"\d,\d{3}\.\d", re.ASCII)
LEADING_ZERO = re.compile(rb",0\d")
MOST_COLUMNS = 64  # x y z, then normals, colours, a label, intensities: more than this is no table of points


def read_xyz(data: bytes) -> Geometry:
    """Rows of x y z and any further columns, divided by blanks, tabs, commas or semicolons; # or // begins a
    comment.

    Lines before the first row (column names, a row count) are passed over; where names say that x, y and z
    are other columns than the first three, those are taken.
    """
    return from_points(read_columns(data)[:, :3])


def read_columns(data: bytes) -> NDArray[np.float64]:
    """All columns (N, 3 or more) of text as ``read_xyz`` reads it, x, y and z first."""
    text = plain_text(data)
    first, names, promised = _find_table(text)
    start = 0
    for _ in range(first):
        start = text.index(b"\n", start) + 1
    body = without_comments(without_comments(text[start:], b"#"), b"//")
    body = _with_blanks(body)
    words = find_words(body)
    rows = np.flatnonzero(words.counts > 0)
    columns = int(words.counts[rows[0]]) if len(rows) else 0
    if columns < 3:
        raise MeshError(NO_ROWS)
    if (words.counts[rows] != columns).any():
        number = int(rows[int(np.argmax(words.counts[rows] != columns))])
        shown = body.split(b"\n")[number].strip()[:40].decode("utf-8", "replace")
        raise MeshError(
            f"row {first + number + 1} ({shown!r}) has not the {columns} numbers of the rows before it"
        )
    numbers = read_numbers(body, lines=first + 1, words=words).reshape(-1, columns)
    if promised is not None and promised > len(numbers):
        raise MeshError(f"was cut off: its first line promises {promised:,} points, it has {len(numbers):,}")
    if not names and len(numbers) > 2 and _are_numbers_of_columns(numbers):
        note("the first row, 0 1 2 and so on, is taken for the names of the columns")
        numbers = numbers[1:]
    if len(names) == columns:
        axes = [next((n for n, name in enumerate(names) if name in AXES[axis]), -1) for axis in "xyz"]
        if min(axes) < 0:
            if columns > 3:
                note(f"no columns are named x, y and z: {', '.join(names[:3])} are taken for them")
        elif axes != [0, 1, 2]:
            numbers = numbers[:, axes + [number for number in range(columns) if number not in axes]]
    return numbers


def _are_numbers_of_columns(numbers: NDArray[np.float64]) -> bool:
    """Whether the first row counts the columns, as pandas writes columns without names, and the others don't
    hold whole numbers."""
    counted = np.array_equal(numbers[0], np.arange(numbers.shape[1]))
    return counted and bool((numbers[1:] != np.floor(numbers[1:])).any(axis=1).mean() > 0.5)


def _names_in(line: bytes) -> list[str]:
    """The names of columns in a line, lower case and bare; names may hold blanks where something else
    divides them."""
    bare = line.strip(b"#/ \r")
    divider = next((one for one in (b";", b",", b"\t") if one in bare), None)
    fields = [field.decode("utf-8", "replace").lower() for field in bare.split(divider)]
    return [NAME.sub("", field) for field in fields]


def _find_table(text: bytes) -> tuple[int, list[str], int | None]:
    """The line where the rows begin, the names of their columns if any, how many rows are promised."""
    names: list[str] = []
    promised = None
    lines = text.split(b"\n", HEADER_LINES)[:HEADER_LINES]
    for number, line in enumerate(lines):
        bare = re.split(rb"#|//", line)[0].translate(SEPARATORS).split()
        said = line.translate(SEPARATORS).strip(b"#/ \t").split()
        if not bare or not _begins_a_number(bare[0]):
            if len(bare) >= 4 and all(map(_begins_a_number, bare[1:4])):
                if promised is not None and ELEMENT.fullmatch(bare[0]):
                    raise MeshError("is a molecule (atoms and their places), no shape")
                shown = line[:40].decode("utf-8", "replace")
                raise MeshError(f"row {number + 1} ({shown!r}) begins with a word: expected x, y, z first")
            if said:
                names = _names_in(line)
        elif len(bare) >= 3 and not COUNT.fullmatch(line.strip()):
            return number, names, promised
        elif len(bare) == 1 and COUNT.fullmatch(bare[0]):
            promised = int(bare[0])
        elif len(bare) == 1 or len(bare) == 2:
            promised = None  # width and height, perhaps
    raise MeshError(NO_ROWS)


def _begins_a_number(word: bytes) -> bool:
    return bool(re.match(rb"[+-]?\.?\d|[+-]?(?:nan|inf)|\xe2\x88\x92\d", word, re.IGNORECASE))


def _with_blanks(body: bytes) -> bytes:
    """The rows with blanks between their numbers, and points in them.

    Semicolons divide. Commas divide too, unless blanks or semicolons do: then they are decimals. Raises
    MeshError where a comma could be either.
    """
    if b"," not in body and b";" not in body:
        return body
    bare = b"\n" + body.translate(None, b" \t")
    if any(pair in bare for pair in (b",,", b";;", b"\n,", b"\n;")) and EMPTY_FIELD.search(body):
        raise MeshError("has a row with an empty field: fill or remove it")
    if b";" in body:
        return body.replace(b";", b" ")  # commas that are left are decimals to read_numbers
    tight = body.replace(b",\n", b"\n")
    if b" " in body or b"\t" in body:
        tight = BESIDE_BLANK.sub(b" ", tight)
    inner, beside = b"," in tight, tight.count(b",") < body.count(b",")
    if inner and beside and BESIDE.search(body):
        if b"." in body and not THOUSANDS.search(body):
            return body.replace(b",", b" ")
        raise MeshError("has commas with and without blanks: write decimal points")
    if not inner:
        return tight
    if b" " not in tight and b"\t" not in tight:
        blanks = [False]
    else:
        blanks = [len(row.split()) > 1 for row in tight.split(b"\n") if row.strip()]
    if all(blanks):
        return tight  # decimals
    if any(blanks):
        raise MeshError("has rows divided by commas and rows divided by blanks: write decimal points")
    if b"." not in body and LEADING_ZERO.search(body):
        raise MeshError(
            "has commas between all its digits, some perhaps decimals (as in 1,05): write decimal points"
        )
    return tight.replace(b",", b" ")


def read_npy(data: bytes) -> Geometry:
    """One array of shape (N, 3) or wider; the first three columns count."""
    shape = _shape_in_header("", data, len(data))
    return from_points(_table("the array", _load(data), shape))


def read_npz(data: bytes) -> Geometry:
    """The array `points`, `xyz` or `pos`, or else the only one of shape (N, 3) or wider."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        shapes = {}
        for key, info in members.items():
            with archive.open(info) as stream:
                shapes[key] = _shape_in_header(f"{key}: ", stream.read(4096), info.file_size)
        named = [key for key in KEYS if key in shapes]
        fitting = named or [
            key for key, shape in shapes.items() if len(shape) == 2 and 3 <= shape[1] <= MOST_COLUMNS
        ]
        if len(fitting) == 0 or (len(fitting) > 1 and not named):
            found = ", ".join(f"{key} {shape}" for key, shape in shapes.items()) or "nothing"
            raise MeshError(f"holds {found}: expected an array `points` (or `xyz`, `pos`) of shape (N, 3)")
        return from_points(
            _table(f"`{fitting[0]}`", _load(archive.read(members[fitting[0]])), shapes[fitting[0]])
        )
    except (MeshError, MemoryError):
        raise
    except Exception as error:  # zipfile lets out whatever a damaged archive leads to
        raise MeshError(
            f"is not an NPZ file or was cut off ({error}): save it again with numpy.savez"
        ) from error


def _shape_in_header(name: str, start: bytes, size: int) -> tuple[int, ...]:
    """The shape that an NPY header promises, after checking that the file has room for it."""
    stream = io.BytesIO(start)
    try:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(stream)
    except Exception as error:  # numpy lets out whatever its header parser stumbles over
        raise MeshError(f"{name}is not NPY data or was cut off: save it again with numpy.save") from error
    if dtype.hasobject:
        raise MeshError(f"{name}holds pickled Python objects, which are never loaded: save plain floats")
    if math.prod(shape) * dtype.itemsize > size - stream.tell():
        raise MeshError(
            f"{name}was cut off: its header promises shape {shape} of {dtype}, the file is shorter"
        )
    return shape


def _load(data: bytes) -> NDArray[np.generic]:
    try:
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except ValueError as error:
        raise MeshError(f"is not NPY data or was cut off ({error})") from error


def _table(name: str, array: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.floating]:
    if array.dtype.names:
        return _of_fields(name, array)
    if array.dtype.kind not in "fiu":
        raise MeshError(f"{name} has type {array.dtype}: expected numbers of shape (N, 3)")
    if len(shape) != 2 or not 3 <= shape[1] <= MOST_COLUMNS:
        remedy = ""
        if len(shape) == 2 and shape[0] == 3:
            remedy = " (transpose it)"
        elif len(shape) == 3 and shape[2] == 3:
            remedy = " (an image of points: save `array.reshape(-1, 3)`; several clouds: one file for each)"
        raise MeshError(f"{name} has shape {shape}: expected (N, 3), one row per point{remedy}")
    return array[:, :3].astype(np.float64)


def _of_fields(name: str, array: NDArray[np.generic]) -> NDArray[np.float64]:
    """Points of a structured array (N,) with fields x, y and z."""
    types: Mapping[str, Any] = array.dtype.fields or {}
    fields = {field.lower(): field for field in reversed(list(types))}
    axes = [fields[axis] for axis in "xyz" if axis in fields]
    plain = all(types[axis][0].kind in "fiu" and types[axis][0].shape == () for axis in axes)
    if array.ndim != 1 or len(axes) < 3 or not plain:
        raise MeshError(
            f"{name} has fields {', '.join(types)} and shape {array.shape}: expected numbers x, y, z "
            "and shape (N,)"
        )
    columns: NDArray[Any] = array
    return np.stack([columns[axis].astype(np.float64) for axis in axes], axis=1)
