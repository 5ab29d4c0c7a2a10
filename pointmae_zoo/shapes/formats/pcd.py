"""PCD, the point clouds of PCL: ascii, binary and binary_compressed.

A reader of our own, because others are large (Open3D) or bring a validation framework (pypcd4). The
compression is LZF.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.formats.text import find_words, plain_text, read_numbers
from pointmae_zoo.shapes.notes import note
from pointmae_zoo.shapes.surface import Geometry, MeshError, from_points

MOST_HEADER = 65536
TEXT_DATA = re.compile(rb"(?:^|[\r\n])[ \t]*DATA[ \t]+ascii", re.IGNORECASE)
KINDS = {"I": "i", "U": "u", "F": "f"}


class Layout(NamedTuple):
    """The rows of a file: types of the fields, how many numbers each has, and the fields to take."""

    num_points: int
    types: list[np.dtype]
    repeats: list[int]
    wanted: list[int]


def read_pcd(data: bytes) -> Geometry:
    """The points, without rows of NaN, which PCL writes where a sensor saw nothing.

    VIEWPOINT says where the sensor stood; the points are not moved by it.
    """
    return from_points(read_fields(data, ("x", "y", "z")))


def read_fields(data: bytes, wanted: Sequence[str]) -> NDArray[np.float64]:
    """The numbers (N, len(wanted)) of these fields, without the rows that have NaN or infinity there."""
    if b"\0" in data[:16] or TEXT_DATA.search(data[:MOST_HEADER].replace(b"\0", b"")):
        data = plain_text(data)
    header, body = _read_header(data)
    try:
        names = header["FIELDS"]
        # In text they don't matter, and old files have none.
        if header.get("DATA", ["?"])[0].lower() == "ascii":
            header = {"SIZE": ["4"] * len(names), "TYPE": ["F"] * len(names)} | header
        sizes = [int(word) for word in header["SIZE"]]
        repeats = [int(word) for word in header.get("COUNT", ["1"] * len(names))]
        kinds = [KINDS[word.upper()] for word in header["TYPE"]]
        num_points = int(header["POINTS"][0] if "POINTS" in header else header["WIDTH"][0])
        if "POINTS" not in header:
            num_points *= int(header["HEIGHT"][0])
        types = [np.dtype(f"<{kind}{size}") for kind, size in zip(kinds, sizes, strict=True)]
        if not set(sizes) <= {1, 2, 4, 8}:
            raise ValueError("SIZE is 1, 2, 4 or 8")
        if not len(names) == len(types) == len(repeats) or num_points < 0 or min(repeats) < 0:
            raise ValueError("FIELDS, SIZE, TYPE and COUNT differ in length")
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise MeshError(f"has a PCD header that makes no sense ({error}): export it again") from error
    if missing := [axis for axis in wanted if axis not in names]:
        raise MeshError(f"has no field {', '.join(missing)} (its fields: {' '.join(names)})")
    read = {"ascii": _read_text, "binary": _read_binary, "binary_compressed": _read_compressed}
    encoding = header.get("DATA", ["?"])[0].lower()
    if encoding not in read:
        raise MeshError(f"has DATA {encoding}: expected one of {', '.join(read)}")
    layout = Layout(num_points, types, repeats, [names.index(axis) for axis in wanted])
    found = read[encoding](body, layout)
    seen = np.isfinite(found).all(axis=1)
    if not seen.any() and len(found):
        raise MeshError(f"has {len(found):,} points, and all are NaN or infinite: nothing was seen")
    if not seen.all():
        note(
            f"{int((~seen).sum()):,} of {len(found):,} points are NaN or infinite (nothing was seen "
            f"there): left out"
        )
    return found[seen]


def _read_header(data: bytes) -> tuple[dict[str, list[str]], bytes]:
    header: dict[str, list[str]] = {}
    at = 0
    while "DATA" not in header:
        end = data.find(b"\n", at)
        if end < 0 or len(header) > 20:
            raise MeshError(
                "has no PCD header that ends with a DATA line: it is not a PCD file or was cut off"
            )
        words = data[at:end].decode("ascii", "replace").split()
        at = end + 1
        if words and not words[0].startswith("#"):
            key = words[0].upper()
            header["FIELDS" if key == "COLUMNS" else key] = words[1:]
    return header, data[at:]


def field_names(data: bytes) -> list[str]:
    """The names of the fields."""
    return _read_header(data)[0].get("FIELDS", [])


def _cut_off(num_points: int) -> MeshError:
    return MeshError(f"was cut off: its header promises {num_points:,} points, the file has fewer")


def _read_text(body: bytes, layout: Layout) -> NDArray[np.float64]:
    num_points, _, repeats, wanted = layout
    columns = sum(repeats)
    words = find_words(body)
    numbers = read_numbers(body, words=words)
    if numbers.size < num_points * columns:
        raise _cut_off(num_points)
    filled = words.counts[words.counts > 0][:num_points]
    if len(filled) == num_points and (filled != columns).any():
        row = int(np.argmax(filled != columns))
        raise MeshError(
            f"has {filled[row]} numbers in row {row + 1} of its points, not the {columns} of its fields"
        )
    table = numbers[: num_points * columns].reshape(num_points, columns)
    return table[:, [sum(repeats[:field]) for field in wanted]]


def _read_binary(body: bytes, layout: Layout) -> NDArray[np.float64]:
    columns = list(zip(layout.types, layout.repeats, strict=True))
    if layout.num_points * sum(kind.itemsize * many for kind, many in columns) > len(body):
        raise _cut_off(layout.num_points)
    # Fields are numbered, because PCL calls every padding field "_".
    row = np.dtype([(f"{number}", kind, (many,)) for number, (kind, many) in enumerate(columns)])
    table = np.frombuffer(body, row, count=layout.num_points)
    return np.stack([table[f"{field}"][:, 0].astype(np.float64) for field in layout.wanted], axis=1)


def _read_compressed(body: bytes, layout: Layout) -> NDArray[np.float64]:
    """Two sizes, then one LZF block that holds field after field (all x, all y, ...)."""
    num_points, types, repeats, wanted = layout
    packed, unpacked = (int.from_bytes(body[at : at + 4], "little") for at in (0, 4))
    room = [kind.itemsize * many * num_points for kind, many in zip(types, repeats, strict=True)]
    if len(body) < 8 + packed or unpacked < sum(room) or unpacked > 256 * packed:
        raise _cut_off(num_points)
    try:
        plain = decompress_lzf(body[8 : 8 + packed], unpacked)
    except (IndexError, ValueError):
        raise MeshError("has damaged compressed data: export it again") from None
    columns = [np.frombuffer(plain, types[i], count=num_points, offset=sum(room[:i])) for i in wanted]
    return np.stack([column.astype(np.float64) for column in columns], axis=1)


def decompress_lzf(data: bytes, size: int) -> bytes:
    """LZF: control bytes, each followed by a literal run or by a reference back into what was written
    already.

    Raises IndexError or ValueError if the data are damaged or do not give exactly `size` bytes.
    """
    out = bytearray()
    at = 0
    while at < len(data):
        control = data[at]
        at += 1
        if control < 32:
            out += data[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += data[at]
            at += 1
        start = len(out) - ((control & 31) << 8) - data[at] - 1
        at += 1
        length += 2
        if start < 0:
            raise IndexError
        pattern = out[start : start + length]
        # A reference may reach into its own output: then what there is repeats.
        out += (pattern * math.ceil(length / len(pattern)))[:length]
    if len(out) != size:
        raise ValueError
    return bytes(out)
