"""OBJ, by Wavefront: its polygons, or the vertices of a file without any. Read with numpy, not line by
line."""

import re

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.formats.polygons import triangulate
from pointmae_zoo.shapes.formats.text import (
    BLANKS,
    Lines,
    find_words,
    plain_text,
    read_integers,
    read_numbers,
    without_comments,
)
from pointmae_zoo.shapes.notes import note
from pointmae_zoo.shapes.surface import Geometry, MeshError, from_faces, from_points, only_used

FREE_FORM = {b"curv", b"curv2", b"surf"}
OTHER_FILES = {b"call", b"csh"}
OLD_PATCHES = {b"bzp", b"bsp", b"cdp", b"cdc", b"res"}
"""Patches and curves of OBJ before version 3.0."""
CONTINUATION = re.compile(rb"\\[ \t]*\n")
CONTINUED_LINES = re.compile(rb"(?:[^\n]*\\[ \t]*\n)+[^\n]*\n?")
TORN_WORD = re.compile(rb"[^\s\\]\\[ \t]*\n\S")


def read_obj(data: bytes) -> Geometry:
    """Triangles of an OBJ file, or its vertices if it has no faces.

    Colours or a weight behind a vertex, normals, texture coordinates, groups, materials and lines are left
    out.
    """
    lines = Lines(_with_joined_lines(plain_text(data)))
    kinds = _kinds(lines)
    is_vertex, is_face = kinds == ord("v"), kinds == ord("f")
    others = _long_words(lines, kinds)
    if found := OTHER_FILES & others:
        raise MeshError(
            f"takes in other files with `{_names(found)}`, which is not read: export it as one file"
        )
    vertices = _vertices(lines, is_vertex)
    counts, corners = _faces(lines, is_face, is_vertex, len(vertices))
    free = (FREE_FORM | OLD_PATCHES) & others
    if not (counts >= 3).any():
        if free:
            raise MeshError(
                f"holds free-form curves or surfaces (`{_names(free)}`), which are not read: export it "
                f"as polygons",
            )
        if len(counts):
            raise MeshError("has no face with three corners: it was cut off, or export it with its surface")
        if (kinds == ord("l")).any():
            note("lines have no surface: the vertices are read as points")
        return from_points(vertices)
    if free:
        note(f"free-form curves and surfaces (`{_names(free)}`) are left out, only polygons are read")
    triangles, owners = triangulate(vertices, counts, corners)
    ordered = _in_established_order(lines, is_face, counts, triangles, owners)
    return from_faces(*only_used(vertices, ordered))


def _with_joined_lines(text: bytes) -> bytes:
    """The text with continued lines joined; empty lines behind them let the others keep their numbers."""
    if not CONTINUATION.search(text):
        return text
    text = without_comments(text)  # a comment ends with its line, whatever its last character is
    if torn := TORN_WORD.search(text):
        line = text.count(b"\n", 0, torn.start()) + 1
        raise MeshError(f"line {line} is continued (\\) within a word: export it again")

    def join(found: re.Match[bytes]) -> bytes:
        lines = CONTINUATION.sub(b" ", found[0])
        return lines.rstrip(b"\n") + b"\n" * found[0].count(b"\n")

    return CONTINUED_LINES.sub(join, text)


def _kinds(lines: Lines) -> NDArray[np.uint8]:
    """(L,) the letter, in lower case, where a line's first word is one letter; 1 for words, 0 for none."""
    first = lines.codes[lines.said]
    alone = np.frombuffer(BLANKS, bool)[lines.codes[np.minimum(lines.said + 1, len(lines.codes) - 1)]]
    silent = (first == ord("\n")) | (first == ord("#"))
    return np.where(silent, 0, np.where(alone, first | np.uint8(32), 1)).astype(np.uint8)


def _long_words(lines: Lines, kinds: NDArray[np.uint8]) -> set[bytes]:
    """First words of more than one letter, in lower case; vn, vt and usemtl aside."""
    first, second = lines.letters(0), lines.letters(1)
    usual = ((first == ord("v")) & ((second == ord("n")) | (second == ord("t")))) | (first == ord("u"))
    numbers = np.flatnonzero((kinds == 1) & ~usual).tolist()
    return {
        lines.text[lines.said[number] : lines.ends[number]].split(None, 1)[0].lower() for number in numbers
    }


def _text_of(lines: Lines, wanted: NDArray[np.bool_]) -> bytes:
    """What stands behind the keyword, a letter, in these lines, without comments."""
    return without_comments(lines.joined(wanted, without=1))


def _vertices(lines: Lines, is_vertex: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(V, 3) the first three numbers of every vertex line."""
    text = _text_of(lines, is_vertex)
    if not text:
        return np.empty((0, 3))
    words = find_words(text)
    numbers = read_numbers(text, lines=np.flatnonzero(is_vertex) + 1, words=words)
    count = int(is_vertex.sum())
    columns, rest = divmod(len(numbers), count)
    few = np.flatnonzero(words.counts < 3)
    if len(few):
        line = lines.shown(int(np.flatnonzero(is_vertex)[few[0]]))
        raise MeshError(f"{line}: three numbers expected: export it again")
    if rest == 0 and (words.counts == columns).all():
        return numbers.reshape(count, columns)[:, :3]
    return numbers[words.of_line[:-1, None] + np.arange(3)]


def _faces(
    lines: Lines, is_face: NDArray[np.bool_], is_vertex: NDArray[np.bool_], num_vertices: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many corners every face has (P,), and all their vertices, counted from 0."""
    text = _text_of(lines, is_face)
    numbers_of_lines = np.flatnonzero(is_face)
    words = find_words(text)
    corners, wrong = read_integers(text, words)

    def line_of(word: int) -> str:
        return lines.shown(int(numbers_of_lines[np.searchsorted(words.of_line, word, side="right") - 1]))

    if wrong is not None:
        raise MeshError(f"{line_of(wrong)}: numbers of vertices expected: export it again")
    if len(corners) and corners.min() < 0:
        seen = np.cumsum(is_vertex)[numbers_of_lines]
        before = np.repeat(seen, words.counts)
        back = corners < 0
        if (bad := back & (corners + before < 0)).any():
            word = int(np.argmax(bad))
            raise MeshError(
                f"{line_of(word)}: counts back beyond its {before[word]} vertices: export it again"
            )
        corners = np.where(back, corners + before + 1, corners)
    if (bad := (corners < 1) | (corners > num_vertices)).any():
        line = line_of(int(np.argmax(bad)))
        raise MeshError(
            f"{line}: names vertices which do not exist; there are 1 to {num_vertices}: export it again"
        )
    return words.counts, corners - 1


def _names(words: set[bytes]) -> str:
    return ", ".join(sorted(word.decode("ascii", "replace") for word in words))


def _in_established_order(
    lines: Lines,
    is_face: NDArray[np.bool_],
    counts: NDArray[np.int64],
    triangles: NDArray[np.int64],
    owners: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The triangles in the order in which OBJ files have been read from the start (it was trimesh's): a seed
    picks its points by the numbers of the triangles, so that another order would give other points.

    Materials one after another, the last first; within one of nothing but like quads, the first halves
    before the second ones.
    """
    materials = _materials(lines, is_face)
    is_quad = counts == 4
    second = np.zeros(len(triangles), bool)
    if is_quad.any():
        second[1:] = (owners[1:] == owners[:-1]) & is_quad[owners[1:]]
        triangles = np.where(second[:, None], np.roll(triangles, -1, axis=1), triangles)
        columns = find_words(_text_of(lines, is_face).replace(b"/", b" ")).counts
        number_of = materials if materials is not None else np.zeros(len(counts), np.int64)
        firsts = np.zeros(number_of.max() + 1, np.int64)
        firsts[number_of[::-1]] = columns[::-1]
        alike = np.ones(len(firsts), bool)
        alike[number_of[(columns != firsts[number_of]) | ~is_quad]] = False
        second &= alike[number_of[owners]]
    if materials is None:
        return np.concatenate((triangles[~second], triangles[second])) if second.any() else triangles
    order = np.argsort(-2 * materials[owners] + second, kind="stable")
    return triangles[order]


def _materials(lines: Lines, is_face: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """(P,) the material of every face, numbered as they first have one; None if there is but one."""
    first, second = lines.letters(0), lines.letters(1)
    names: list[bytes] = [b""]
    changes: list[int] = [-1]
    for number in np.flatnonzero((first == ord("u")) & (second == ord("s"))).tolist():
        words = lines.text[lines.said[number] : lines.ends[number]].split(None, 1)
        if words[0].lower() == b"usemtl":
            names.append(b"m" + (words[1].strip() if len(words) > 1 else b""))
            changes.append(number)
    if len(names) == 1:
        return None
    change_of = np.searchsorted(np.array(changes), np.flatnonzero(is_face), side="right") - 1
    numbers: dict[bytes, int] = {}
    ranks = np.full(len(names), -1)
    used, first_face = np.unique(change_of, return_index=True)
    for change in used[np.argsort(first_face)].tolist():
        ranks[change] = numbers.setdefault(names[change], len(numbers))
    return ranks[change_of]
