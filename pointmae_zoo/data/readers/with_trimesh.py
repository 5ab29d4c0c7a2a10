"""What trimesh reads: glTF and GLB, 3MF. Scenes are flattened."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pointmae_zoo.data.readers.gltf_checks import check_gltf
from pointmae_zoo.data.surface import Geometry, MeshError, check_faces, from_faces

PATH_IN_ITEM = re.compile(rb"<(?:\w+:)?item\s[^>]*\bpath\s*=")


def read_gltf(path: Path, data: bytes) -> Geometry:
    """Triangles of a .gltf or .glb. Draco compression needs the extra package DracoPy."""
    is_draco = check_gltf(path, data)
    return load_scene(path, data, path.suffix.lower().lstrip("."), refuse_zeros=is_draco)


def read_3mf(path: Path, data: bytes) -> Geometry:
    """Triangles of everything that the build section of a 3MF file places."""
    if not data.startswith(b"PK"):
        raise MeshError(path, "is not a 3MF file (those are zip archives): check its suffix")
    if _places_other_files(data):
        raise MeshError(
            path,
            "builds from parts in separate files (3MF production), which cannot be read: export it as one",
        )
    return load_scene(path, data, "3mf")


def load_scene(path: Path, data: bytes, file_type: str, *, refuse_zeros: bool = False) -> Geometry:
    """Everything that trimesh finds, in world coordinates: triangles, or else points.

    refuse_zeros: trimesh puts zeros in place of what DracoPy could not decode, and goes on.
    """
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
        if refuse_zeros and not all(np.any(found.vertices) for found in scene.geometry.values()):
            remedy = 'damaged, or DracoPy is too old (`pip install --upgrade "pointmae-zoo[draco]"`)'
            raise MeshError(path, f"holds Draco data that cannot be decoded: {remedy}")
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

    # A glTF without scenes and a 3MF without a build place nothing; what they hold is then taken as it is.
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


def _places_other_files(data: bytes) -> bool:
    """Whether a 3MF build item names another file; trimesh leaves such items out and says nothing."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith("3d/3dmodel.model")]
            return any(PATH_IN_ITEM.search(archive.read(name)) for name in names)
    except Exception:  # zipfile lets out whatever a damaged archive leads to; trimesh will say what is wrong
        return False
