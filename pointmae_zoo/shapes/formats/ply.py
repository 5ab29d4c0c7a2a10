"""PLY, text and binary.

A reader of our own, because trimesh refuses binary files that mix polygons, and doesn't notice text files
that were cut off.
"""

import codecs
import re
import struct
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.formats.polygons import triangulate
from pointmae_zoo.shapes.formats.text import find_words, plain_text, read_numbers
from pointmae_zoo.shapes.notes import note
from pointmae_zoo.shapes.surface import Geometry, MeshError, check_faces, from_faces, from_points

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
CODES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"}
"""What may count the numbers of a list, in the letters of `struct`."""
ORDERS: dict[str, Literal["=", "<", ">"]] = {
    "ascii": "=",
    "binary_little_endian": "<",
    "binary_big_endian": ">",
}
HEADER_START = re.compile(rb"\s*ply[ \t]*(?P<newline>\r\n|\n|\r)")
# On a line of its own. What follows its line end is data: blanks before belong to the header, bytes behind
# do not.
HEADER_END = re.compile(rb"(?:(?<=\n)|(?<=\r))[ \t]*end_header[ \t]*(?P<newline>\r\n|\n|\r|$)")
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

    def add(self, new: Property) -> None:
        """One more property. Raises MeshError if there is one of this name."""
        if any(each.name == new.name for each in self.properties):
            raise MeshError(f"has two properties `{new.name}` of a {self.name}: export it again")
        self.properties.append(new)

    def fewest_bytes(self, text: bool) -> int:
        """The least room that the rows can take, with empty lists."""
        row = sum(2 if text else (p.count_type or p.type).itemsize for p in self.properties)
        return self.count * row


# Of a number: (count,). Of a list: how many each row has, (count,), and all of them, one row after another.
Column = NDArray[Any] | tuple[NDArray[np.int64], NDArray[Any]]


def read_ply(data: bytes) -> Geometry:
    """Triangles of a PLY file, from faces and strips, or its vertices if it has neither.

    Colours, normals and everything else of a vertex, edges, range grids and other elements are left out.
    """
    tables = {element.name: columns for element, columns in _read_elements(data) if element.count}
    vertices = _vertices(tables["vertex"]) if "vertex" in tables else np.empty((0, 3))
    triangles = []
    if "face" in tables:
        counts, corners = _lists("faces", tables["face"])
        check_faces(corners, len(vertices))
        if small := int((counts < 3).sum()):
            note(f"{small:,} faces of fewer than three corners are left out")
        triangles.append(triangulate(vertices, counts, corners)[0])
    if "tristrips" in tables:
        strips = _of_strips(*_lists("triangle strips", tables["tristrips"]))
        check_faces(strips, len(vertices))
        triangles.append(strips)
    if not triangles:
        return from_points(vertices)
    return from_faces(vertices, triangles[0] if len(triangles) == 1 else np.concatenate(triangles))


def _lists(what: str, columns: dict[str, Column]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many vertices each row names (P,), and all of them."""
    lists = {name: column for name, column in columns.items() if isinstance(column, tuple)}
    named = [name for name in CORNER_NAMES if name in lists] or list(lists)
    if not named or (named[0] not in CORNER_NAMES and len(lists) > 1):
        raise MeshError(f"has {what} without a `vertex_indices` list: export it again")
    counts, corners = lists[named[0]]
    whole = corners.astype(np.int64) if corners.dtype.kind == "f" else corners
    if not (whole is corners or np.array_equal(whole, corners)):
        raise MeshError(f"has {what} whose list `{named[0]}` holds no whole numbers: export it again")
    return counts, whole


def _of_strips(counts: NDArray[np.int64], corners: NDArray[np.int64]) -> NDArray[np.int64]:
    """Triangles (F, 3) of strips: every three neighbours, every second one turned; -1 begins a new strip."""
    corners = corners.astype(np.int64)
    row = np.repeat(np.arange(len(counts)), counts)
    begins = np.concatenate(([True], row[1:] != row[:-1])) if len(row) else np.empty(0, bool)
    begins[1:] |= corners[:-1] == -1
    places = np.arange(len(corners))
    since = places - np.maximum.accumulate(np.where(begins, places, 0))
    last = np.flatnonzero((since >= 2) & (corners != -1))
    turned = (since[last] % 2 == 1)[:, None]
    plain = np.stack((corners[last - 2], corners[last - 1], corners[last]), axis=1)
    return np.where(turned, plain[:, [1, 0, 2]], plain)


def read_vertex_columns(data: bytes) -> tuple[NDArray[np.floating], dict[str, NDArray[Any]]]:
    """Vertices (V, 3) of a PLY file, with faces or without, and their other numbers (V,) by name."""
    for element, columns in _read_elements(data):
        if element.name == "vertex" and element.count:
            numbers = {name: column for name, column in columns.items() if not isinstance(column, tuple)}
            return _vertices(columns), numbers
    raise MeshError("has no vertices: export it again")


def _read_elements(data: bytes) -> list[tuple[Element, dict[str, Column]]]:
    """All elements with their columns, in their order."""
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\0" in data[:8]:  # text in UTF-16
        data = plain_text(data)
    elements, order, body = _read_header(data)
    text = order == "ascii"
    if text:
        before = data[: len(data) - len(body)]
        line = before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1
        body = plain_text(body)
    least = sum(element.fewest_bytes(text) for element in elements)
    if least > len(body) + 1:
        counts = ", ".join(f"{element.count:,} x {element.name}" for element in elements)
        raise MeshError(
            f"was cut off: its header promises {counts}, at least {least:,} bytes, and {len(body):,} follow"
        )
    tables = _read_text(elements, body, line) if text else _read_binary(elements, body)
    return list(zip(elements, tables, strict=True))


def _read_header(data: bytes) -> tuple[list[Element], str, bytes]:
    """The elements, the encoding, and what follows the header."""
    start = HEADER_START.match(data)
    if start is None:
        raise MeshError("is not a PLY file (it does not begin with `ply`): check its suffix")
    end = HEADER_END.search(data)
    if end is None:
        raise MeshError("has no `end_header`: it was cut off, copy it again")
    body_at = end.end()
    # A file whose lines end with \r alone may have binary data that begin with \n.
    if end["newline"] == b"\r\n" and start["newline"] == b"\r":
        body_at -= 1
    elements: list[Element] = []
    encoding = ""
    for line in data[: end.start()].decode("ascii", "replace").splitlines():
        words = line.split()
        match words:
            case ["format", found, *_]:
                encoding = found
            case ["element", name, count] if count.isascii() and count.isdigit():
                if any(element.name == name for element in elements):
                    raise MeshError(f"has two elements `{name}`: export it again")
                elements.append(Element(name, int(count)))
            case ["property", "list", count, kind, name] if (
                TYPES.get(count) in CODES and kind in TYPES and elements
            ):
                elements[-1].add(Property(name, np.dtype(TYPES[kind]), np.dtype(TYPES[count])))
            case ["property", kind, name] if kind in TYPES and elements:
                elements[-1].add(Property(name, np.dtype(TYPES[kind])))
            case ["element" | "property", *_]:
                raise MeshError(f"has a header line that makes no sense: {line[:60]!r}")
    if encoding not in ORDERS:
        raise MeshError(f"is a PLY of format {encoding!r}: expected one of {', '.join(ORDERS)}")
    for element in elements:
        for each in element.properties:
            each.type = each.type.newbyteorder(ORDERS[encoding])
            each.count_type = each.count_type and each.count_type.newbyteorder(ORDERS[encoding])
    return [element for element in elements if element.properties], encoding, data[body_at:]


def _vertices(columns: dict[str, Column]) -> NDArray[np.floating]:
    lower = {name.lower(): column for name, column in reversed(columns.items())}
    axes = [columns.get(axis, lower.get(axis)) for axis in "xyz"]
    if any(axis is None or isinstance(axis, tuple) for axis in axes):
        raise MeshError("has vertices without x, y and z: export it again")
    return np.stack([np.asarray(axis, dtype=np.float64) for axis in axes], axis=1)


def _read_text(elements: list[Element], body: bytes, line: int) -> list[dict[str, Column]]:
    """The columns of every element: as tables if all rows are alike, else a line for a row, else number by
    number."""
    if (tables := _by_elements(elements, body, line)) is not None:
        return tables
    numbers = read_numbers(body, lines=line)
    alike, at = [], 0
    for element in elements:
        table, at = _text_table(element, numbers, at)
        if table is not None:
            alike.append(table)
    if at == len(numbers) and len(alike) == len(elements):
        return alike
    words = find_words(body)
    said = np.flatnonzero(words.counts > 0)
    if len(said) >= sum(element.count for element in elements):
        tables, row = [], 0
        for element in elements:
            lines = said[row : row + element.count]
            starts, ends = words.of_line[lines], words.of_line[lines + 1]
            columns, after = _gather(element, numbers, starts, ends)
            if (bad := after > ends).any():
                shown = body.split(b"\n")[lines[int(np.argmax(bad))]][:40].decode("ascii", "replace")
                raise MeshError(f"has a row of `{element.name}` with fewer numbers than promised: {shown!r}")
            tables.append(columns)
            row += element.count
        return tables
    tables, at = [], 0
    for element in elements:
        starts, at = _walk(element, numbers, at)
        if at > len(numbers):
            raise MeshError(
                "was cut off: it has fewer lines than its header promises, copy or export it again"
            )
        tables.append(_gather(element, numbers, starts, np.append(starts[1:], at))[0])
    return tables


def _by_elements(elements: list[Element], body: bytes, line: int) -> list[dict[str, Column]] | None:
    """The usual file, read fastest: a line for a row, and all rows of an element alike. Else None."""
    ends = np.flatnonzero(np.frombuffer(body, np.uint8) == 10)
    if len(ends) != sum(element.count for element in elements) or b"," in body:
        return None
    tables: list[dict[str, Column]] = []
    row = start = 0
    for element in elements:
        if not element.count:
            tables.append({})
            continue
        end = int(ends[row + element.count - 1]) + 1
        numbers = read_numbers(body[start:end], lines=line + row)
        columns, after = _text_table(element, numbers, 0)
        if columns is None or after != len(numbers):
            return None
        tables.append(columns)
        row, start = row + element.count, end
    return tables


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
        width += 1
        if each.count_type is not None:
            length = numbers[at + width - 1]
            if not 0 <= length <= len(numbers) or length != int(length):
                return None, at
            width += int(length)
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
        counts = table[:, column]
        if (counts != counts[0]).any():
            return None, at
        length = int(counts[0])
        columns[each.name] = counts.astype(np.int64), table[:, column + 1 : column + 1 + length].reshape(-1)
        column += 1 + length
    return columns, end


def _gather(
    element: Element, numbers: NDArray[np.float64], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[dict[str, Column], NDArray[np.int64]]:
    """The columns of rows that begin at starts (R,) in the numbers, and where each row's properties end
    (R,): behind `ends` if it has fewer numbers than they need."""
    columns: dict[str, Column] = {}
    last = max(len(numbers) - 1, 0)
    at = starts.copy()
    for each in element.properties:
        found = numbers[np.minimum(at, last)] if len(numbers) else np.zeros(len(at))
        at = at + 1
        if each.count_type is None:
            columns[each.name] = found
            continue
        fits = (found >= 0) & (found <= ends - at) & (found == np.floor(found))
        counts = np.where(fits, found, 0).astype(np.int64)
        places = np.repeat(at - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        columns[each.name] = counts, numbers[places]
        at = np.where(fits, at + counts, len(numbers) + 1)
    return columns, at


def _walk(element: Element, numbers: NDArray[np.float64], at: int) -> tuple[NDArray[np.int64], int]:
    """Where the rows of an element begin, one after another, and where the last ends (behind the numbers if
    they do not suffice)."""
    values = numbers.tolist()
    starts = []
    for _ in range(element.count):
        starts.append(at)
        for each in element.properties:
            if at >= len(values):
                return np.array(starts), len(values) + 1
            if each.count_type is not None:
                if not 0 <= values[at] <= len(values):
                    return np.array(starts), len(values) + 1
                at += int(values[at])
            at += 1
    return np.array(starts, dtype=np.int64), at


def _read_binary(elements: list[Element], body: bytes) -> list[dict[str, Column]]:
    tables, at = [], 0
    for element in elements:
        try:
            columns, at = _binary_columns(element, body, at)
        except IndexError:
            raise MeshError(
                f"was cut off among its {element.count:,} rows of `{element.name}`: copy or export it again"
            ) from None
        tables.append(columns)
    return tables


def _binary_columns(element: Element, body: bytes, at: int) -> tuple[dict[str, Column], int]:
    """The columns of one element and where the next begins. Raises IndexError if the bytes end before."""
    fields: list[tuple[str, np.dtype, tuple[int, ...]]] = []
    offset = at
    for number, each in enumerate(element.properties):
        if each.count_type is not None and element.count:
            length = _length(body, offset, each.count_type)
            fields.append((f"count{number}", each.count_type, ()))
            fields.append((f"value{number}", each.type, (length,)))
            offset += each.count_type.itemsize + length * each.type.itemsize
            if offset > len(body):
                raise IndexError
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
            columns[each.name] = counts.astype(np.int64), table[f"value{number}"].reshape(-1)
        else:
            return columns, end
    return _walk_binary(element, body, at)


def _walk_binary(element: Element, body: bytes, at: int) -> tuple[dict[str, Column], int]:
    """For rows that differ: first find out row by row where everything is, then read all of it at once."""
    counts: list[list[int]] = [[] for _ in element.properties]
    places: list[list[int]] = [[] for _ in element.properties]
    steps = [
        (
            each.type.itemsize,
            struct.Struct(each.count_type.str[0].replace("|", "<") + CODES[each.count_type.str[1:]])
            if each.count_type is not None
            else None,
            counts[number].append,
            places[number].append,
        )
        for number, each in enumerate(element.properties)
    ]
    try:
        for _ in range(element.count):
            for size, count, add_count, add_place in steps:
                length = 1
                if count is not None:
                    (length,) = count.unpack_from(body, at)
                    at += count.size
                    if length < 0:
                        raise IndexError
                    add_count(length)
                add_place(at)
                at += length * size
    except struct.error:
        raise IndexError from None
    if at > len(body):
        raise IndexError
    codes = np.frombuffer(body, np.uint8)
    columns: dict[str, Column] = {}
    for number, each in enumerate(element.properties):
        size = each.type.itemsize
        starts = np.array(places[number], np.int64)
        if each.count_type is not None:
            lengths = np.array(counts[number], np.int64)
            within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            starts = np.repeat(starts, lengths) + within * size
        values = codes[starts[:, None] + np.arange(size)].view(each.type).reshape(-1)
        columns[each.name] = values if each.count_type is None else (lengths, values)
    return columns, at


def _length(body: bytes, at: int, kind: np.dtype) -> int:
    """The number of this type at this place: how long a list is."""
    if at + kind.itemsize > len(body):
        raise IndexError
    length = np.frombuffer(body, kind, count=1, offset=at)[0]
    if not 0 <= length <= len(body):
        raise IndexError
    return int(length)
