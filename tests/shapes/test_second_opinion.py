"""Every mesh of the corpus read twice: by our readers and by assimp, which shares no code with them.

Bounding box, area and number of triangles must agree, or the difference is explained below.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.read import MeshError, read_geometry

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = {".stl", ".obj", ".off", ".ply", ".glb", ".gltf", ".3mf"}

# Reads each file that stdin names and prints its measures as JSON, or why there are none. In a process of its
# own: assimp crashes on some damaged files.
READER = """
import json, sys
import assimp_py
import numpy as np

flags = assimp_py.Process_Triangulate | assimp_py.Process_PreTransformVertices
for line in sys.stdin:
    path = json.loads(line)
    try:
        meshes = assimp_py.import_file(path, flags).meshes
        parts = [np.asarray(m.vertices, float).reshape(-1, 3)[np.asarray(m.indices)] for m in meshes
                 if m.indices is not None and len(m.indices) and len(m.indices) % 3 == 0]
        corners = np.concatenate([part.reshape(-1, 3) for part in parts]).reshape(-1, 3, 3)
        crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(crossed, axis=1) / 2
        solid = corners.reshape(-1, 3)
        found = {"low": solid.min(0).tolist(), "high": solid.max(0).tolist(), "area": area.sum(),
                 "triangles": int((area > 0).sum())}
    except Exception as error:
        found = {"refused": str(error)[:100]}
    print(json.dumps(found), flush=True)
"""


class Measures(NamedTuple):
    """Of the triangles of a file; those without area don't count."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    area: float
    triangles: int


def by_assimp(files: list[Path]) -> Iterator[dict[str, Any]]:
    """What assimp finds in each file, in their order."""
    child: subprocess.Popen[str] | None = None
    for file in files:
        if child is None:
            child = subprocess.Popen(
                [sys.executable, "-c", READER],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps(str(file)) + "\n")
        child.stdin.flush()
        if line := child.stdout.readline():
            yield json.loads(line)
        else:
            child.wait()
            child = None
            yield {"refused": "assimp crashed"}
    if child is not None:
        child.communicate()


def ours(file: Path) -> Measures | None:
    """Ours of the same file; None: it has no triangles."""
    corners = read_geometry(file).triangles.astype(np.float64)  # (3 corners, 3 axes, F)
    if not corners.shape[2]:
        return None
    crossed = np.cross(corners[1] - corners[0], corners[2] - corners[0], axis=0)
    area = np.linalg.norm(crossed, axis=0) / 2
    return Measures(corners.min((0, 2)), corners.max((0, 2)), float(area.sum()), int((area > 0).sum()))


def difference(file: Path, theirs: dict[str, Any]) -> str:
    """In which way the two readers differ; empty: they agree, or neither finds triangles."""
    try:
        found = ours(file)
    except MeshError as error:
        return "" if "refused" in theirs else f"we refuse: {error.reason}"
    if found is None:
        return "" if "refused" in theirs else "we find no triangles"
    if "refused" in theirs:
        return f"assimp refuses: {theirs['refused']}"
    size = float(np.linalg.norm(found.high - found.low))
    moved = max(np.abs(found.low - theirs["low"]).max(), np.abs(found.high - theirs["high"]).max())
    if moved > 1e-4 * size:
        return f"box {found.low.round(3)} {found.high.round(3)} here, {theirs['low']} {theirs['high']} there"
    if abs(found.area - theirs["area"]) > 1e-3 * found.area:
        return f"area {found.area:.6g} here, {theirs['area']:.6g} there"
    if abs(found.triangles - theirs["triangles"]) > 0.001 * found.triangles:
        return f"{found.triangles} triangles here, {theirs['triangles']} there"
    return ""


if __name__ == "__main__":
    files = sorted(
        f for p in sys.argv[1:] for f in Path(p).rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file()
    )
    equal = 0
    for file, theirs in zip(files, by_assimp(files), strict=True):
        told = difference(file, theirs)
        equal += not told
        if told:
            print(file, "|", told)
    print(len(files), "files", equal, "equal")
