"""PLY, text and binary.

Not by trimesh: it refuses binary files that mix polygons, and takes text files that were cut off for whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.surface import Geometry, MeshError, check_faces, fan, from_faces, from_points

TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("long", "int64"), "i8"),
    **dict.fromkeys(("ulong", "uint64"), "u8"),
    **dict.fromkeys(("half", "float16"), "f2"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
ORDERS: dict[str, Literal["=", "<", ">"]] = {
    "ascii": "=",
    "binary_little_endian": "<",
    "binary_big_endian": ">",
}
CORNER_NAMES = ("vertex_indices", "vertex_index")


@dataclass
class Property:
    """A number per row, or (count_type set) a list of numbers per row."""

    name: str
    type: np.dtype
    count_type: np.dtype | None = None


@dataclass
class Element:
    """`count` rows of properties."""

    name: str
    count: int
    properties: list[Property] = field(default_factory=list)

    def fewest_bytes(self, text: bool) -> int:
        """The least room that the rows can take, with empty lists."""
        row = sum(2 if text else (p.count_type or p.type).itemsize for p in self.properties)
        return self.count * row


# Of a number: (count,). Of a list: how many each row has, (count,), and all of them, one row after another.
Column = NDArray[Any] | tuple[NDArray[np.int64], NDArray[Any]]


def read_ply(path: Path, data: bytes) -> Geometry:
    """Triangles of a PLY file (polygons become fans), or its vertices if it has no faces."""
    vertices: NDArray[np.floating] = np.empty((0, 3))
    for element, columns in _read_elements(path, data):
        if element.name == "tristrips" and element.count:
            raise MeshError(path, "holds triangle strips, which cannot be read: export it as plain triangles")
        if element.name == "vertex" and element.count:
            vertices = _vertices(path, columns)
        elif element.name == "face" and element.count:
            lists = {name: column for name, column in columns.items() if isinstance(column, tuple)}
            found = next((lists[name] for name in (*CORNER_NAMES, *lists) if name in lists), None)
            if found is None:
                raise MeshError(path, "has faces without a `vertex_indices` list: export it again")
            check_faces(path, found[1], len(vertices))
            return from_faces(path, vertices, fan(*found))
    return from_points(vertices)


def read_vertex_columns(path: Path, data: bytes) -> tuple[NDArray[np.floating], dict[str, NDArray[Any]]]:
    """Vertices (V, 3) of a PLY file, with faces or without, and their other numbers (V,) by name."""
    for element, columns in _read_elements(path, data):
        if element.name == "vertex" and element.count:
            numbers = {name: column for name, column in columns.items() if not isinstance(column, tuple)}
            return _vertices(path, columns), numbers
    raise MeshError(path, "has no vertices: export it again")


def _read_elements(path: Path, data: bytes) -> list[tuple[Element, dict[str, Column]]]:
    """All elements with their columns, in their order."""
    elements, order, body = _read_header(path, data)
    text = order == "ascii"
    least = sum(element.fewest_bytes(text) for element in elements)
    if least > len(body) + 1:
        counts = ", ".join(f"{element.count:,} x {element.name}" for element in elements)
        raise MeshError(
            path,
            f"was cut off: its header promises {counts}, at least {least:,} bytes, and {len(body):,} follow",
        )
    tables = _read_text(path, elements, body) if text else _read_binary(path, elements, body)
    return list(zip(elements, tables, strict=True))


def _read_header(path: Path, data: bytes) -> tuple[list[Element], str, bytes]:
    """The elements, the encoding, and what follows the header."""
    end = data.find(b"end_header")
    if not data.lstrip().startswith(b"ply"):
        raise MeshError(path, "is not a PLY file (it does not begin with `ply`): check its suffix")
    if end < 0:
        raise MeshError(path, "has no `end_header`: it was cut off, copy it again")
    start = end + len(b"end_header")
    start += 2 if data[start : start + 2] == b"\r\n" else 1
    elements: list[Element] = []
    encoding = ""
    for line in data[:end].decode("ascii", "replace").splitlines():
        words = line.split()
        match words:
            case ["format", found, *_]:
                encoding = found
            case ["element", name, count] if count.isascii() and count.isdigit():
                elements.append(Element(name, int(count)))
            case ["property", "list", count, kind, name] if {count, kind} <= TYPES.keys() and elements:
                elements[-1].properties.append(Property(name, np.dtype(TYPES[kind]), np.dtype(TYPES[count])))
            case ["property", kind, name] if kind in TYPES and elements:
                elements[-1].properties.append(Property(name, np.dtype(TYPES[kind])))
            case ["element" | "property", *_]:
                raise MeshError(path, f"has a header line that makes no sense: {line[:60]!r}")
    if encoding not in ORDERS:
        raise MeshError(path, f"is a PLY of format {encoding!r}: expected one of {', '.join(ORDERS)}")
    for element in elements:
        for each in element.properties:
            each.type = each.type.newbyteorder(ORDERS[encoding])
            each.count_type = each.count_type and each.count_type.newbyteorder(ORDERS[encoding])
    return [element for element in elements if element.properties], encoding, data[start:]


def _vertices(path: Path, columns: dict[str, Column]) -> NDArray[np.floating]:
    axes = [columns.get(axis) for axis in "xyz"]
    if any(axis is None or isinstance(axis, tuple) for axis in axes):
        raise MeshError(path, "has vertices without x, y and z: export it again")
    return np.stack([np.asarray(axis, dtype=np.float64) for axis in axes], axis=1)


def _read_text(path: Path, elements: list[Element], body: bytes) -> list[dict[str, Column]]:
    """The columns of every element: as tables if all its rows are alike, else line by line."""
    try:
        numbers = np.fromstring(body, dtype=np.float64, sep=" ")
    except ValueError:
        raise MeshError(path, "has text where numbers belong: export it again") from None
    tables, at = [], 0
    for element in elements:
        columns, at = _text_table(element, numbers, at)
        tables.append(columns)
    if at == len(numbers) and None not in tables:
        return [columns for columns in tables if columns is not None]
    lines = [line for line in body.splitlines() if line and not line.isspace()]
    if len(lines) < sum(element.count for element in elements):
        raise MeshError(
            path, "was cut off: it has fewer lines than its header promises, copy or export it again"
        )
    rows = iter(lines)
    return [_walk_lines(path, element, rows) for element in elements]


def _text_table(
    element: Element, numbers: NDArray[np.float64], at: int
) -> tuple[dict[str, Column] | None, int]:
    """The columns of an element whose rows are all alike (else None), and where the next element begins."""
    if not element.count:
        return {}, at
    width = 0
    for each in element.properties:
        if at + width >= len(numbers):
            return None, at
        width += 1 if each.count_type is None else 1 + int(max(0, min(numbers[at + width], len(numbers))))
    end = at + element.count * width
    if end > len(numbers):
        return None, at
    table = numbers[at:end].reshape(element.count, width)
    columns: dict[str, Column] = {}
    column = 0
    for each in element.properties:
        if each.count_type is None:
            columns[each.name] = table[:, column]
            column += 1
            continue
        counts = table[:, column].astype(np.int64)
        if (counts != counts[0]).any():
            return None, at
        values = table[:, column + 1 : column + 1 + counts[0]]
        columns[each.name] = counts, values.reshape(-1).astype(np.int64)
        column += 1 + int(counts[0])
    return columns, end


def _walk_lines(path: Path, element: Element, rows: Iterator[bytes]) -> dict[str, Column]:
    """Line by line: polygons may differ, and a row may hold more than the header announces."""
    gathered = Gathered(element)
    for _ in range(element.count):
        row = next(rows)
        numbers = [float(word) for word in row.split()]
        at = 0
        for each in element.properties:
            length = 1
            if each.count_type is not None and at < len(numbers):
                length = int(numbers[at])
                at += 1
                gathered.counts[each.name].append(length)
            if not 0 <= length <= len(numbers) - at:
                shown = row[:40].decode("ascii", "replace")
                raise MeshError(
                    path, f"has a row of `{element.name}` with fewer numbers than promised: {shown!r}"
                )
            gathered.values[each.name].extend(numbers[at : at + length])
            at += length
    return gathered.columns()


class Gathered:
    """Rows of one element, collected one by one."""

    def __init__(self, element: Element) -> None:
        self.properties = element.properties
        self.counts: dict[str, list[int]] = {each.name: [] for each in element.properties}
        self.values: dict[str, list[float]] = {each.name: [] for each in element.properties}

    def columns(self) -> dict[str, Column]:
        """As (count,) per number and (counts, values) per list of vertex numbers."""
        return {
            each.name: np.array(self.values[each.name])
            if each.count_type is None
            else (
                np.array(self.counts[each.name], np.int64),
                np.array(self.values[each.name]).astype(np.int64),
            )
            for each in self.properties
        }


def _read_binary(path: Path, elements: list[Element], body: bytes) -> list[dict[str, Column]]:
    tables, at = [], 0
    for element in elements:
        try:
            columns, at = _binary_columns(element, body, at)
        except IndexError:
            raise MeshError(
                path,
                f"was cut off among its {element.count:,} rows of `{element.name}`: copy or export it again",
            ) from None
        tables.append(columns)
    return tables


def _binary_columns(element: Element, body: bytes, at: int) -> tuple[dict[str, Column], int]:
    """The columns of one element and where the next begins. Raises IndexError if the bytes end before."""
    fields: list[tuple[str, np.dtype, tuple[int, ...]]] = []
    offset = at
    for number, each in enumerate(element.properties):
        if each.count_type is not None and element.count:
            length = int(np.frombuffer(_slice(body, offset, each.count_type.itemsize), each.count_type)[0])
            fields.append((f"count{number}", each.count_type, ()))
            fields.append((f"value{number}", each.type, (length,)))
            offset += each.count_type.itemsize + length * each.type.itemsize
        else:
            fields.append((f"value{number}", each.type, ()))
            offset += each.type.itemsize
    end = at + (offset - at) * element.count
    if end <= len(body):
        table = np.frombuffer(body, np.dtype(fields), count=element.count, offset=at)
        columns: dict[str, Column] = {}
        for number, each in enumerate(element.properties):
            if each.count_type is None or not element.count:
                columns[each.name] = table[f"value{number}"]
                continue
            counts = table[f"count{number}"]
            if (counts != counts[0]).any():
                break
            columns[each.name] = counts, table[f"value{number}"].reshape(-1)
        else:
            return columns, end
    return _walk_binary(element, body, at)


def _walk_binary(element: Element, body: bytes, at: int) -> tuple[dict[str, Column], int]:
    """Row by row, for polygons that differ."""
    gathered = Gathered(element)
    for _ in range(element.count):
        for each in element.properties:
            length = 1
            if each.count_type is not None:
                length = int(np.frombuffer(_slice(body, at, each.count_type.itemsize), each.count_type)[0])
                at += each.count_type.itemsize
                gathered.counts[each.name].append(length)
            room = length * each.type.itemsize
            gathered.values[each.name].extend(np.frombuffer(_slice(body, at, room), each.type).tolist())
            at += room
    return gathered.columns(), at


def _slice(body: bytes, at: int, length: int) -> bytes:
    if length < 0 or at + length > len(body):
        raise IndexError
    return body[at : at + length]
