"""STEP and IGES: exact surfaces, cut into triangles by OpenCASCADE (cascadio, extra ``cad``).

Coordinates are millimetres, whatever the file's unit: an inch is 25.4. Assemblies are flattened with their
transforms, and the axes stay as in the file.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pointmae_zoo.shapes.formats.gltf import read_gltf
from pointmae_zoo.shapes.surface import Geometry, MeshError

# How far triangles may be from the surface, as a share of the length of an edge, and by how many radians two
# neighbouring ones may differ. Volumes are then right to a thousandth.
TOLERANCE, ANGLE = 0.002, 0.5
_MILLIMETRES = 1000.0  # cascadio gives glTF, which is in metres
_SILENT = threading.Lock()


def read_step(data: bytes) -> Geometry:
    """The triangles of a STEP file (ISO 10303-21; AP203, AP214, AP242).

    Raises MeshError if it was cut off, holds no surfaces, or OpenCASCADE can't read it.
    """
    if b"END-ISO-10303-21" not in data[-4096:]:
        raise MeshError("is a STEP file that was cut off (END-ISO-10303-21 is missing): copy it again")
    return _read(data, "STEP")


def read_iges(data: bytes) -> Geometry:
    """The triangles of an IGES file (5.3).

    Raises MeshError if it holds no surfaces, or OpenCASCADE can't read it.
    """
    return _read(data, "IGES")


def _read(data: bytes, kind: str) -> Geometry:
    try:
        import cascadio
    except ModuleNotFoundError as error:
        raise MeshError(
            f'is {"an" if kind == "IGES" else "a"} {kind} file; to read it: pip install "pointmae-zoo[cad]"'
        ) from error
    with _silent():
        glb = cascadio.to_glb_bytes(
            data,
            getattr(cascadio.FileType, kind),
            tol_linear=TOLERANCE,
            tol_angular=ANGLE,
            tol_relative=True,
            use_parallel=False,  # each reading process has one core
        )
    if not glb:
        raise MeshError(f"is a {kind} file without surfaces, or a damaged one: export it again, or as STL")
    found = read_gltf(glb, Path("converted.glb"))
    if not found.triangles.shape[2]:
        raise MeshError(f"is a {kind} file without surfaces (curves do not count)")
    return Geometry((found.triangles * np.float64(_MILLIMETRES)).astype(np.float32), found.points)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what OpenCASCADE prints about files that it doesn't like, which goes past Python's streams."""
    with _SILENT:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(1), os.dup(2)]
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            yield
        finally:
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            os.close(nowhere)
