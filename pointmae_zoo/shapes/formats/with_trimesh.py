"""What trimesh reads well enough: OBJ, text STL. Scenes are flattened."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from pointmae_zoo.shapes.surface import Geometry, MeshError, check_faces, from_faces

RELATIVE_FACE = re.compile(rb"^[ \t]*f[ \t][^\n]*-\d", re.MULTILINE)

ZERO_CORNER = re.compile(rb"^[ \t]*f[ \t](?:[^\n]*[ \t])?0(?:[/\s]|\Z)", re.MULTILINE)


def read_obj(path: Path, data: bytes) -> Geometry:
    """Triangles of an OBJ file, or its vertices if it has no faces."""
    if _may_have_zero_corner(data) and ZERO_CORNER.search(data):  # to trimesh it is the last vertex
        raise MeshError(path, f"{_odd_obj_line(data) or 'has a face with a vertex 0'}: export it again")
    absolute = _absolute_faces(path, data) if RELATIVE_FACE.search(data) else data
    try:
        return load_scene(path, absolute, "obj")
    except MeshError as error:
        if (odd := _odd_obj_line(data)) is None:
            raise
        raise MeshError(path, f"{odd}: export it again") from error


def load_scene(path: Path, data: bytes, file_type: str) -> Geometry:
    """Everything that trimesh finds, in world coordinates: triangles, or else points."""
    import trimesh
    from trimesh.resolvers import FilePathResolver

    try:
        scene = trimesh.load_scene(
            io.BytesIO(data),
            file_type=file_type,
            resolver=FilePathResolver(str(path)),
            process=False,
            skip_materials=True,
        )
        return _flatten(path, scene)
    except (MeshError, MemoryError):
        raise
    except IndexError as error:
        raise MeshError(
            path, f"has faces that name vertices which do not exist ({error}): export it again"
        ) from error
    except Exception as error:  # trimesh lets every kind escape, from KeyError to StopIteration
        said = str(error).strip() or "no details"
        raise MeshError(
            path,
            f"is damaged or no proper {file_type.upper()} file ({type(error).__name__}: {said[:120]}): "
            "export it again",
        ) from error


def _flatten(path: Path, scene: Any) -> Geometry:
    """Every instance of every geometry. Lines are no surface and are left out."""
    import trimesh

    placed = [scene.graph[node] for node in scene.graph.nodes_geometry]
    if not placed:
        placed = [(np.eye(4), name) for name in scene.geometry]
    vertices, faces, offset = [np.empty((0, 3))], [np.empty((0, 3), np.int64)], 0
    for matrix, name in placed:
        geometry = scene.geometry[name]
        if not isinstance(geometry, trimesh.Trimesh | trimesh.PointCloud):
            continue
        here = np.asarray(geometry.vertices, dtype=np.float64).reshape(-1, 3)
        if isinstance(geometry, trimesh.Trimesh):
            corners = np.asarray(geometry.faces, dtype=np.int64).reshape(-1, 3)
            check_faces(path, corners, len(here))
            faces.append(corners + offset)
        vertices.append(
            here if np.array_equal(matrix, np.eye(4)) else here @ matrix[:3, :3].T + matrix[:3, 3]
        )
        offset += len(here)
    return from_faces(path, np.concatenate(vertices), np.concatenate(faces))


def _may_have_zero_corner(data: bytes) -> bool:
    """Far faster than the pattern, which reads every face: zeros seldom stand alone behind the first face."""
    faces = max(0, data.find(b"\nf"))
    found = any(data.find(zero, faces) >= 0 for zero in (b" 0 ", b" 0/", b" 0\n", b" 0\r", b"\t0"))
    return found or data.endswith(b" 0")


def _odd_obj_line(data: bytes) -> str | None:
    """The first line of an OBJ file that cannot be meant, and what should be there."""
    lines = [line.split() for line in data.splitlines()]
    count = sum(words[:1] == [b"v"] for words in lines)
    for number, words in enumerate(lines, start=1):
        line = " ".join(word.decode("ascii", "backslashreplace") for word in words)[:60]
        if words[:1] == [b"v"] and not (len(words) >= 4 and all(map(_is_number, words[1:]))):
            return f"line {number} ({line}): three numbers expected, each with a decimal point if any"
        if words[:1] == [b"f"]:
            corners = [word.partition(b"/")[0] for word in words[1:]]
            if not all(re.fullmatch(rb"[+-]?\d+", corner) for corner in corners):
                return f"line {number} ({line}): numbers of vertices expected"
            if not all(1 <= abs(int(corner)) <= count for corner in corners):
                return f"line {number} ({line}): names vertices which do not exist; there are 1 to {count}"
    return None


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _absolute_faces(path: Path, data: bytes) -> bytes:
    """The same OBJ with face corners counted from the start of the file.

    OBJ counts negative numbers back from the vertices read so far; trimesh counts them back from the end
    of the file, which is something else as soon as vertices and faces alternate.
    """
    lines = data.splitlines()
    seen = 0
    for number, line in enumerate(lines):
        words = line.split()
        if not words:
            continue
        if words[0] == b"v":
            seen += 1
        elif words[0] == b"f" and b"-" in line:
            corners = [word.split(b"/", 1)[0] for word in words[1:]]
            try:
                counted = [
                    int(corner) + seen + 1 if corner.startswith(b"-") else int(corner) for corner in corners
                ]
            except ValueError:
                continue  # trimesh will say what is wrong
            if min(counted) < 1:
                raise MeshError(
                    path, f"has a face that counts back beyond its {seen} vertices: export it again"
                )
            lines[number] = b"f " + b" ".join(b"%d" % corner for corner in counted)
    return b"\n".join(lines)
