"""STL, binary and text. The file's size decides which of the two it is, not its first word."""

import re

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.formats.text import Lines, find_words, plain_text, read_numbers
from pointmae_zoo.shapes.notes import note
from pointmae_zoo.shapes.surface import Geometry, MeshError, from_triangles

FACET = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
HEADER_BYTES = 84  # 80 of free text (which may well begin with "solid"), then the number of facets as uint32
UNKNOWN_COUNTS = (0, 0xFFFFFFFF)
"""Counts from writers that stream and so don't know the number of facets yet."""
LONGEST_NAME = 65536
FACET_START = re.compile(rb"\bfacet\s+normal\b")
KEYWORDS = re.compile(rb"\s(?=(?:facet\s+normal|outer\s+loop|vertex|endloop|endfacet|endsolid|solid)\b)")


def read_stl(data: bytes) -> Geometry:
    """Triangles of a binary or text STL, of all its solids. Normals, colours and attributes are left out."""
    promised = int.from_bytes(data[80:HEADER_BYTES], "little") if len(data) >= HEADER_BYTES else -1
    needed = HEADER_BYTES + FACET.itemsize * promised
    if promised > 0 and needed == len(data):
        return _facets(data, promised)
    text = plain_text(data[: LONGEST_NAME * 4])
    if _is_text(text):
        return _read_text(text if len(data) <= LONGEST_NAME * 4 else plain_text(data))
    if promised in UNKNOWN_COUNTS:
        found, rest = divmod(len(data) - HEADER_BYTES, FACET.itemsize)
        if promised == 0 and found == 0 and rest == 0:
            raise MeshError("is a binary STL without triangles: export it again")
        if rest == 0 and found and _are_facets(data):
            note(f"the header does not say how many triangles there are: the size says {found:,}")
            return _facets(data, found)
    if 0 < needed < len(data) and promised > 0:
        left = len(data) - needed
        if not _are_facets(data[:needed]):
            raise MeshError(
                f"has {left:,} bytes more than its {promised:,} triangles need, and no facets there: damaged"
            )
        if left >= FACET.itemsize:
            note(f"{left:,} bytes behind the {promised:,} triangles that the header promises are left out")
        return _facets(data, promised)
    if promised >= 0 and not _looks_like_text(data):
        raise MeshError(
            f"was cut off, or is not an STL file: its header promises {promised:,} triangles in {needed:,} "
            f"bytes, it has {len(data):,}"
        )
    raise MeshError(
        "is not an STL file (neither binary STL nor text that begins with `solid`): check its suffix"
    )


def _facets(data: bytes, count: int) -> Geometry:
    return from_triangles(np.frombuffer(data, FACET, count=count, offset=HEADER_BYTES)["corners"])


def _are_facets(data: bytes) -> bool:
    """Whether what follows the header can be facets: normals of length 1 or 0, and corners that are not all
    0.

    If size and count disagree, bytes may have slipped in, and everything behind them is noise.
    """
    facets = np.frombuffer(data, FACET, offset=HEADER_BYTES)
    lengths = np.linalg.norm(facets["normal"].astype(np.float64), axis=1)
    unit = (np.abs(lengths - 1) < 0.01) | (lengths == 0)
    return bool(unit.all() and facets["corners"].any())


def _is_text(text: bytes) -> bool:
    """Whether it is STL in words: `solid`, perhaps behind comments, then a facet or the end of the solid."""
    for line in text.split(b"\n", 64)[:64]:
        said = line.strip().lower()
        if said.startswith(b"solid"):
            break
        if said and not said.startswith((b";", b"#", b"//")):
            return False
    else:
        return False
    lower = text.lower()
    start = max(lower.find(b"facet"), lower.find(b"endsolid"))
    # A binary file has zeros among its first numbers: facet normals, attributes.
    return start >= 0 and b"\0" not in text[: start + 200]


def _looks_like_text(data: bytes) -> bool:
    start = data[:1024]
    return sum(byte < 9 or 13 < byte < 32 for byte in start) == 0


def _read_text(text: bytes) -> Geometry:
    corners = _corners(text)
    if isinstance(corners, MeshError) or len(corners) != text.count(b"normal") * 9:
        # Upper case, a name that holds this word, several keywords on one line: what has all facets is right.
        lower = text.lower()
        split = _corners(KEYWORDS.sub(b"\n", lower))
        if not isinstance(split, MeshError) and len(split) == len(FACET_START.findall(lower)) * 9:
            corners = split
    if isinstance(corners, MeshError):
        raise corners
    return from_triangles(corners.reshape(-1, 3, 3))


def _corners(text: bytes) -> NDArray[np.float64] | MeshError:
    """All coordinates of all vertices of text whose lines begin with keywords, or why not."""
    lines = Lines(text)
    is_vertex, is_facet, is_end = (lines.begins(word) for word in (b"vertex", b"facet", b"endfacet"))
    kinds = np.select((is_vertex, is_facet, is_end), (ord("v"), ord("f"), ord("e")), 0).astype(np.uint8)
    where = np.flatnonzero(kinds)
    ends = np.flatnonzero(lines.begins(b"endsolid"))
    if len(ends) == 0 or (len(where) and ends[-1] < where[-1]):
        return MeshError("is a text STL that ends before `endsolid`: it was cut off, copy it again")
    structure = kinds[where]
    if len(structure) == 0:
        return MeshError("is a text STL without triangles: export it again")
    whole = len(structure) - len(structure) % 5
    wrong = (structure[:whole].reshape(-1, 5) != np.frombuffer(b"fvvve", np.uint8)).any(axis=1)
    if whole < len(structure) or wrong.any():
        line = where[int(np.argmax(wrong)) * 5 if wrong.any() else whole] + 1
        return MeshError(f"has a facet at line {line} without exactly three vertices: export it again")
    joined = lines.joined(is_vertex, without=len(b"vertex"))
    words = find_words(joined)
    numbers_of_lines = np.flatnonzero(is_vertex) + 1
    if (few := words.counts != 3).any():
        line = numbers_of_lines[int(np.argmax(few))]
        return MeshError(f"line {line} has not the three numbers of a vertex: export it again")
    try:
        return read_numbers(joined, lines=numbers_of_lines, words=words)
    except MeshError as error:
        return error
