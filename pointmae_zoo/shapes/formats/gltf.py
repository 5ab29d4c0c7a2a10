"""glTF 2 and GLB: the triangles that the default scene shows, in its default pose, as the specification says.

A reader of our own, because trimesh leaves out what it does not know (instances, skins, morphs, sparse data,
fans) without saying so.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.formats.assembly import Assembly
from pointmae_zoo.shapes.formats.gltf_accessors import Accessors, DracoMesh
from pointmae_zoo.shapes.formats.gltf_extensions import INSTANCING
from pointmae_zoo.shapes.formats.gltf_file import GltfFile
from pointmae_zoo.shapes.formats.gltf_nodes import Nodes, placements
from pointmae_zoo.shapes.notes import note
from pointmae_zoo.shapes.surface import Geometry, MeshError, check_faces

POINTS, LINES, TRIANGLES, STRIP, FAN = 0, (1, 2, 3), 4, 5, 6
# A pose that differs less than this from the one a mesh was bound in is that pose, written as float32.
SAME_POSE = 1e-4
SKINNED_AT_ONCE = 1 << 16


def read_gltf(data: bytes, path: Path) -> Geometry:
    """Triangles of a .gltf or .glb, or else its points. Draco compression needs the extra package DracoPy.

    ``path``: its buffers may be files in the same folder.
    """
    try:
        return _Scene(GltfFile(data, path)).geometry()
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise MeshError(
            f"has a field of the wrong type or an index that leads nowhere ({str(error)[:120]})"
        ) from error


class _Scene:
    """Goes through the nodes that are shown and collects their meshes."""

    def __init__(self, file: GltfFile) -> None:
        self._file = file
        self._accessors = Accessors(file)
        self._nodes = Nodes(file)
        self._assembly = Assembly()

    def geometry(self) -> Geometry:
        count = len(self._file.tree.get("meshes", []))
        if self._nodes.count == 0 and count:
            note("has no nodes: all its meshes are read")
            for number in range(count):
                self._add({"mesh": number}, np.eye(4))
            return self._assembly.geometry()
        nodes = ((number, self._file.entry("nodes", number)) for number in self._nodes.shown())
        with_mesh = [(number, node) for number, node in nodes if "mesh" in node]
        if count and not with_mesh:
            raise MeshError(f"has a scene that shows none of its {count} meshes: export it with them")
        for number, node in with_mesh:
            self._add(node, self._nodes.matrix(number))
        return self._assembly.geometry()

    def _add(self, node: dict[str, Any], matrix: NDArray[np.float64]) -> None:
        mesh = self._file.entry("meshes", node["mesh"])
        joints = self._joints(node, matrix) if "skin" in node else None
        if joints is not None and len(joints) == 1:
            matrix, joints = joints[0], None
        matrices = self._instances(node, matrix)
        for primitive in mesh["primitives"]:
            mode = primitive.get("mode", TRIANGLES)
            if isinstance(mode, bool) or mode not in (POINTS, *LINES, TRIANGLES, STRIP, FAN):
                raise self._file.damaged(f"a primitive has the mode {str(mode)[:20]}")
            if mode in LINES:
                continue
            if "POSITION" not in primitive["attributes"]:
                note("left out: a primitive without positions")
                continue
            draco = self._accessors.draco(primitive)
            source = _Attributes(self._file, self._accessors, primitive["attributes"], draco)
            count = len(source.floats("POSITION", "VEC3"))
            faces = self._faces(primitive, mode, count, draco)
            rows: Any = slice(None)
            check_faces(faces, count)
            if mode != POINTS and 3 * len(faces) < count:  # many primitives may share their vertices
                rows, faces = faces.reshape(-1), np.arange(3 * len(faces)).reshape(-1, 3)
            vertices = self._morphed(primitive, mesh, node, source.floats("POSITION", "VEC3")[rows], rows)
            if joints is not None:
                vertices = self._skinned(source, vertices, rows, joints)
            for placed in matrices if joints is None else (np.eye(4),):
                if mode == POINTS:
                    self._assembly.add_points(vertices, placed)
                else:
                    self._assembly.add(vertices, faces, placed)

    def _faces(
        self, primitive: dict[str, Any], mode: int, count: int, draco: DracoMesh | None
    ) -> NDArray[np.int64]:
        """(F, 3) vertex numbers; none for points."""
        if mode == POINTS:
            return np.empty((0, 3), np.int64)
        if draco is not None:
            return draco.faces
        corners = (
            self._accessors.indices(primitive["indices"]) if "indices" in primitive else np.arange(count)
        )
        if mode == TRIANGLES:
            if len(corners) % 3:
                raise self._file.damaged(f"a list of triangles has {len(corners)} corners")
            return corners.reshape(-1, 3)
        if len(corners) < 3:
            return np.empty((0, 3), np.int64)
        if mode == FAN:
            first = np.full(len(corners) - 2, corners[0])
            return np.stack((corners[1:-1], corners[2:], first), axis=1)
        faces = np.stack((corners[:-2], corners[1:-1], corners[2:]), axis=1)
        faces[1::2] = faces[1::2, ::-1]  # every other one is turned over
        return faces

    def _instances(self, node: dict[str, Any], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """(instances, 4, 4) places of the mesh of a node."""
        extension = node.get("extensions", {}).get(INSTANCING)
        if extension is None:
            return matrix[None]
        if "skin" in node:
            raise MeshError(
                f"holds {INSTANCING} of a mesh with a skin, which cannot be read: export it without"
            )
        given = extension["attributes"]
        parts = {
            name: self._accessors.array(given[name], kind)
            for name, kind in (("TRANSLATION", "VEC3"), ("ROTATION", "VEC4"), ("SCALE", "VEC3"))
            if name in given
        }
        counts = {len(values) for values in parts.values()}
        if len(counts) != 1:
            raise self._file.damaged(f"the attributes of {INSTANCING} have no common length")
        if not all(np.isfinite(values).all() for values in parts.values()):
            raise self._file.damaged(f"the attributes of {INSTANCING} hold NaN or infinity")
        placed = placements(counts.pop(), parts.get("TRANSLATION"), parts.get("ROTATION"), parts.get("SCALE"))
        return np.matmul(matrix, placed)

    def _morphed(
        self,
        primitive: dict[str, Any],
        mesh: dict[str, Any],
        node: dict[str, Any],
        positions: NDArray[np.floating],
        rows: Any,
    ) -> NDArray[np.floating]:
        """Positions with the morph targets, by the weights of the node or else of the mesh."""
        targets = primitive.get("targets", [])
        weights = node.get("weights", mesh.get("weights", [0] * len(targets)))
        if len(weights) != len(targets):
            raise self._file.damaged(f"a mesh has {len(weights)} weights for {len(targets)} morph targets")
        for weight, target in zip(weights, targets, strict=True):
            if weight and "POSITION" in target:
                moves = self._accessors.array(target["POSITION"], "VEC3")[rows]
                if len(moves) != len(positions):
                    raise self._file.damaged("a morph target has not as many vertices as its mesh")
                positions = positions + np.float64(weight) * moves
        return positions

    def _joints(self, node: dict[str, Any], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """(J, 4, 4) what each joint does to a vertex, or (1, 4, 4) if all do the same.

        By the specification the node's own place doesn't count. Usually it equals that of the joints; then it
        is used, because it is free of their rounding.
        """
        skin = self._file.entry("skins", node["skin"])
        places = np.array([self._nodes.matrix(joint) for joint in skin["joints"]])
        if "inverseBindMatrices" in skin:
            inverse = self._accessors.array(skin["inverseBindMatrices"], "MAT4")
            if len(inverse) < len(places):
                raise self._file.damaged("a skin has fewer matrices than joints")
            if not np.isfinite(inverse).all():
                raise self._file.damaged("the matrices of a skin hold NaN or infinity")
            inverse = inverse[: len(places)].astype(np.float64).reshape(-1, 4, 4).transpose(0, 2, 1)
            places = places @ inverse
        for same in (matrix, places[0]):
            if (np.abs(places - same) <= SAME_POSE * np.abs(same).max()).all():
                return same[None]
        return places

    def _skinned(
        self, source: "_Attributes", vertices: NDArray[np.floating], rows: Any, joints: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Each vertex (V, 3) moved by its joints (J, 4, 4)."""
        sets = 0
        while source.has(f"JOINTS_{sets}"):
            sets += 1
        if not sets:
            raise self._file.damaged("a mesh has a skin, but no joints")
        numbers = np.concatenate([source.wholes(f"JOINTS_{i}", "VEC4")[rows] for i in range(sets)], axis=1)
        weights = np.concatenate([source.floats(f"WEIGHTS_{i}", "VEC4")[rows] for i in range(sets)], axis=1)
        if not len(numbers) == len(weights) == len(vertices):
            raise self._file.damaged("a mesh has not as many joints or weights as vertices")
        weights = np.array(weights, np.float64)
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise self._file.damaged("a vertex is held by a joint with a weight below 0, or none at all")
        free = ~weights.any(axis=1)
        if free.any():  # the specification forbids it; viewers take the first joint
            weights[free, 0] = 1.0
            note(f"{free.sum():,} vertices are held by no joint: the first one that they name is taken")
        total = weights.sum(axis=1, keepdims=True)
        numbers = np.where(weights > 0, numbers, 0)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(joints):
            raise self._file.damaged(f"a vertex names a joint that does not exist; there are {len(joints)}")
        moved = np.empty((len(vertices), 3))
        for start in range(0, len(vertices), SKINNED_AT_ONCE):
            part = slice(start, start + SKINNED_AT_ONCE)
            blended = np.einsum("vk,vkij->vij", weights[part] / total[part], joints[numbers[part], :3])
            moved[part] = np.einsum("vij,vj->vi", blended[:, :, :3], vertices[part]) + blended[:, :, 3]
        return moved


class _Attributes:
    """The attributes of a primitive, plain or decoded."""

    def __init__(
        self, file: GltfFile, accessors: Accessors, indices: dict[str, Any], draco: DracoMesh | None
    ) -> None:
        self._file, self._accessors, self._indices, self._draco = file, accessors, indices, draco

    def has(self, name: str) -> bool:
        """Whether there is such an attribute."""
        return name in self._indices

    def floats(self, name: str, kind: str) -> NDArray[np.floating]:
        """(V, components) of an attribute."""
        if self._draco is not None and self._draco.holds(name):
            accessor = self._file.entry("accessors", self._indices[name])
            return self._accessors.meant(accessor, self._draco.attribute(name))
        return self._accessors.array(self._indices[name], kind)

    def wholes(self, name: str, kind: str) -> NDArray[np.int64]:
        """(V, components) of an attribute of whole numbers."""
        if self._draco is not None and self._draco.holds(name):
            return self._draco.attribute(name).astype(np.int64)
        return self._accessors.whole_numbers(self._indices[name], kind)
