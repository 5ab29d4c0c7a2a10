"""OFF, the text format of Geomview and of ModelNet, read with numpy: over ten times as fast as trimesh."""

import re

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.formats.polygons import triangulate
from pointmae_zoo.shapes.formats.text import (
    Words,
    find_words,
    plain_text,
    read_numbers,
    with_decimal_points,
    without_comments,
)
from pointmae_zoo.shapes.notes import note
from pointmae_zoo.shapes.surface import Geometry, MeshError, check_faces, from_faces

# The keyword may be missing, and in ModelNet it is glued to the counts: "OFF490 518 0".
HEADER = re.compile(
    rb"\s*(?P<texture>ST)?(?P<colour>C)?(?P<normal>N)?(?P<four>4)?(?P<any>n)?(?i:OFF)\s*(?P<binary>BINARY)?",
    re.ASCII,
)
DIMENSION = re.compile(rb"\s*(\d+)", re.ASCII)
COUNTS = re.compile(rb"\s*(\d+)\s+(\d+)([ \t]+\d+)?(?=\s)", re.ASCII)


def read_off(data: bytes) -> Geometry:
    """Triangles of an OFF file, or its vertices if it has no faces. Colours, normals and texture are left
    out."""
    text = without_comments(plain_text(data))
    header = HEADER.match(text)
    start = header.end() if header is not None else 0
    extra = 0
    if header is not None:
        if header["binary"]:
            raise MeshError("is a binary OFF, which is not read: export it as text")
        if header["four"]:
            raise MeshError("is a four-dimensional OFF: export it with three coordinates")
        if header["any"]:
            dimension = DIMENSION.match(text, start)
            if dimension is None or int(dimension[1]) != 3:
                shown = "no" if dimension is None else int(dimension[1])
                raise MeshError(f"is an OFF of {shown} dimensions: export it with three coordinates")
            start = dimension.end()
        extra = 3 * bool(header["normal"]) + 4 * bool(header["colour"]) + 2 * bool(header["texture"])
    counts = COUNTS.match(text, start)
    if counts is None:
        raise MeshError("is not an OFF file: expected `OFF`, then the numbers of vertices, faces and edges")
    num_vertices, num_faces = int(counts[1]), int(counts[2])
    body = text[counts.end() :]
    lines_before = text.count(b"\n", 0, counts.end())
    # A vertex takes at least "0 0 0\n", a face "0\n". Checked before anything of the promised size is
    # allocated.
    if num_vertices * 6 + num_faces * 2 > len(body) + 2:
        raise _cut_off(num_vertices, num_faces)
    if num_vertices == 0:
        raise MeshError("has no vertices: export it again")
    if b"," in body:
        body = with_decimal_points(body)
    words = find_words(body)
    said = np.flatnonzero(words.counts > 0)
    if len(said) >= num_vertices + num_faces and words.counts[said[:num_vertices]].min() >= 3:
        vertices, corner_counts, corners = _by_lines(body, words, said, num_vertices, num_faces, lines_before)
    else:
        edges_follow = counts[3] is None  # perhaps: on a line of their own
        vertices, corner_counts, corners = _free_form(
            body, num_vertices, num_faces, 3 + extra, lines_before, edges_follow
        )
    check_faces(corners, num_vertices)
    if re.search(rb"\n[ \t]*[A-Z4n]*OFF\b", body):
        note("holds another OFF file behind the first one, which is left out")
    if small := int((corner_counts < 3).sum()):
        note(f"{small:,} faces of fewer than three corners are left out")
    return from_faces(vertices, triangulate(vertices, corner_counts, corners)[0])


def _by_lines(
    body: bytes, words: Words, said: NDArray[np.int64], num_vertices: int, num_faces: int, lines_before: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Vertices (V, 3), the corners of every face (P,) and all their vertices: one line for each row.

    Colours may follow, and rows may differ.
    """
    line_ends = np.flatnonzero(np.frombuffer(body, np.uint8) == 10)
    split = int(line_ends[said[num_vertices - 1]]) + 1
    end = int(line_ends[said[num_vertices + num_faces - 1]]) + 1 if num_faces else split
    rows = words.of_line[said[:num_vertices]]
    widths = words.counts[said[:num_vertices]]
    numbers = read_numbers(body[:split], lines=lines_before + 1)
    same = (widths == widths[0]).all()
    vertices = numbers.reshape(num_vertices, -1)[:, :3] if same else numbers[rows[:, None] + np.arange(3)]
    if num_faces == 0:
        return vertices, np.empty(0, np.int64), np.empty(0, np.int64)
    faces = said[num_vertices : num_vertices + num_faces]
    rows = words.of_line[faces] - words.of_line[faces[0]]
    numbers = read_numbers(body[split:end], lines=lines_before + 1 + body.count(b"\n", 0, split))
    counts = numbers[rows]
    wrong = (counts != np.floor(counts)) | (counts < 0) | (counts > words.counts[faces] - 1)
    if not wrong.any():
        counts = counts.astype(np.int64)
        corners = numbers[np.repeat(rows + 1 - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())]
        wrong = np.repeat(False, 0)
        if (corners == np.floor(corners)).all():
            return vertices, counts, corners.astype(np.int64)
        odd = int(np.argmax(corners != np.floor(corners)))
        bad = int(np.searchsorted(np.cumsum(counts), odd, side="right"))
    else:
        bad = int(np.argmax(wrong))
    line = faces[bad]
    start = int(line_ends[line - 1]) + 1 if line else 0
    shown = body[start : int(line_ends[line])][:40].decode("ascii", "replace")
    raise MeshError(f"has a line that is neither a vertex nor a face: {shown!r}")


def _free_form(
    body: bytes, num_vertices: int, num_faces: int, width: int, lines_before: int, edges_follow: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """The same for numbers in one sequence, wherever lines end, which Geomview accepts. Faces then have no
    colours."""
    numbers = read_numbers(body, lines=lines_before + 1)
    found = _one_after_another(numbers, num_vertices, num_faces, width)
    if found is None and edges_follow:
        found = _one_after_another(numbers[1:], num_vertices, num_faces, width)
    if found is None:
        raise _cut_off(num_vertices, num_faces)
    return found


def _one_after_another(
    numbers: NDArray[np.float64], num_vertices: int, num_faces: int, width: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]] | None:
    """Vertices, corners of every face and all their vertices; None if the numbers are not exactly that."""
    rest = numbers[num_vertices * width :]
    if len(numbers) < num_vertices * width or len(rest) < num_faces or (rest != np.floor(rest)).any():
        return None
    values, starts, at = rest.tolist(), [], 0
    for _ in range(num_faces):
        if at >= len(values) or not 0 <= values[at] <= len(values):
            return None
        starts.append(at)
        at += 1 + int(values[at])
    if at != len(values):
        return None
    vertices = numbers[: num_vertices * width].reshape(num_vertices, width)[:, :3]
    return vertices, rest[starts].astype(np.int64), np.delete(rest, starts).astype(np.int64)


def _cut_off(num_vertices: int, num_faces: int) -> MeshError:
    return MeshError(f"was cut off: its header promises {num_vertices:,} vertices and {num_faces:,} faces")
