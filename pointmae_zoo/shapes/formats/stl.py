"""STL. Binary by numpy, text by trimesh."""

import codecs
from pathlib import Path

import numpy as np

from pointmae_zoo.shapes.formats.with_trimesh import load_scene
from pointmae_zoo.shapes.surface import Geometry, MeshError, from_triangles

FACET = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
HEADER_BYTES = 84  # 80 of free text (which may well begin with "solid"), then the number of facets as uint32


def read_stl(path: Path, data: bytes) -> Geometry:
    """Triangles of a binary or text STL. What the header promises decides, not the word it begins with."""
    promised = int.from_bytes(data[80:HEADER_BYTES], "little") if len(data) >= HEADER_BYTES else -1
    needed = HEADER_BYTES + FACET.itemsize * promised
    text = data.removeprefix(codecs.BOM_UTF8)
    start = text[:1024].lower()
    is_text = start.lstrip().startswith(b"solid") and (b"facet" in start or b"endsolid" in start)
    if promised >= 0 and (needed == len(data) or (needed < len(data) and not is_text and promised > 0)):
        if promised == 0:
            raise MeshError(path, "is a binary STL without triangles: export it again")
        return from_triangles(
            path, np.frombuffer(data, FACET, count=promised, offset=HEADER_BYTES)["corners"]
        )
    if is_text:
        if b"endsolid" not in data[-4096:].lower():
            raise MeshError(path, "is a text STL that ends before `endsolid`: it was cut off, copy it again")
        if b"vertex" not in data.lower():
            raise MeshError(path, "is a text STL without triangles: export it again")
        return load_scene(path, text, "stl")
    if promised >= 0 and not _looks_like_text(data):
        raise MeshError(
            path,
            f"was cut off, or is not an STL file: its header promises {promised:,} triangles in {needed:,} "
            f"bytes, it has {len(data):,}",
        )
    raise MeshError(
        path, "is not an STL file (neither binary STL nor text that begins with `solid`): check its suffix"
    )


def _looks_like_text(data: bytes) -> bool:
    start = data[:1024]
    return sum(byte < 9 or 13 < byte < 32 for byte in start) == 0
