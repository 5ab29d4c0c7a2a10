"""The nodes of a glTF file: which are shown, and where they stand."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.formats.gltf_extensions import VISIBILITY
from pointmae_zoo.shapes.formats.gltf_file import GltfFile
from pointmae_zoo.shapes.notes import note


class Nodes:
    """The nodes as trees. Raises MeshError if they aren't trees."""

    def __init__(self, file: GltfFile) -> None:
        self._file = file
        self._parents: dict[int, int] = {}
        self._matrices: dict[int, NDArray[np.float64]] = {}
        self.count = len(file.tree.get("nodes", []))
        for number in range(self.count):
            for child in file.entry("nodes", number).get("children", []):
                file.entry("nodes", child)
                if self._parents.setdefault(child, number) != number:
                    raise file.damaged(f"node {child} has two parents")

    def shown(self) -> list[int]:
        """The nodes of the default scene, or of the first; without scenes, all of them."""
        scenes = self._file.tree.get("scenes", [])
        if scenes:
            number = self._file.tree.get("scene", 0)
            roots = self._file.entry("scenes", number).get("nodes", [])
            if len(scenes) > 1:
                note(f"has {len(scenes)} scenes: number {number} is read")
        else:
            roots = [number for number in range(self.count) if number not in self._parents]
            if roots:
                note("has no scene: all its nodes are read")
        return self._below(roots)

    def matrix(self, number: int) -> NDArray[np.float64]:
        """(4, 4) from the coordinates of a node to those of the scene. Columns are multiplied to it."""
        way: list[int] = []
        at: int | None = number
        while at is not None and at not in self._matrices:
            if len(way) > self.count:
                raise self._file.damaged(f"node {number} stands below itself")
            way.append(at)
            at = self._parents.get(at)
        matrix = np.eye(4) if at is None else self._matrices[at]
        for at in reversed(way):
            local = self._local(self._file.entry("nodes", at))
            matrix = self._matrices[at] = local if at not in self._parents else matrix @ local
        return matrix

    def _below(self, roots: list[int]) -> list[int]:
        """The roots and what is below them, depth first, the last of siblings first. The order decides which
        points a seed gives."""
        stack, order, seen, hidden = list(roots), [], set(), 0
        while stack:
            number = stack.pop()
            node = self._file.entry("nodes", number)
            if number in seen:
                raise self._file.damaged(f"node {number} is placed twice")
            seen.add(number)
            if node.get("extensions", {}).get(VISIBILITY, {}).get("visible", True) is False:
                hidden += 1
                continue
            order.append(number)
            stack.extend(node.get("children", []))
        if hidden:
            note(f"left out: {hidden} hidden node{'s' if hidden > 1 else ''}")
        return order

    def _local(self, node: dict[str, Any]) -> NDArray[np.float64]:
        if "matrix" in node:
            return self._numbers(node["matrix"], 16, "matrix").reshape(4, 4).T
        one = {key: self._numbers(node[key], size, key)[None] for key, size in TRS.items() if key in node}
        return placements(1, one.get("translation"), one.get("rotation"), one.get("scale"))[0]

    def _numbers(self, values: object, size: int, key: str) -> NDArray[np.float64]:
        if (
            not isinstance(values, list)
            or len(values) != size
            or not all(type(value) in (int, float) and math.isfinite(value) for value in values)
        ):
            raise self._file.damaged(f"the {key} of a node is not {size} numbers")
        return np.array(values, dtype=np.float64)


TRS = {"translation": 3, "rotation": 4, "scale": 3}


def placements(
    count: int,
    translations: NDArray[np.floating] | None,
    rotations: NDArray[np.floating] | None,
    scales: NDArray[np.floating] | None,
) -> NDArray[np.float64]:
    """(count, 4, 4) matrices that scale, then turn by quaternions x, y, z, w, then move."""
    matrices = np.tile(np.eye(4), (count, 1, 1))
    if rotations is not None:
        lengths = (np.asarray(rotations, np.float64) ** 2).sum(axis=1)
        turned = lengths > np.finfo(float).eps
        scaled = rotations[turned] * np.sqrt(2.0 / lengths[turned])[:, None]
        x, y, z, w = scaled.T
        rows = (
            (1 - y * y - z * z, x * y - z * w, x * z + y * w),
            (x * y + z * w, 1 - x * x - z * z, y * z - x * w),
            (x * z - y * w, y * z + x * w, 1 - x * x - y * y),
        )
        matrices[turned, :3, :3] = np.array(rows).transpose(2, 0, 1)
    if scales is not None:
        matrices[:, :3, :3] *= scales[:, None, :]
    if translations is not None:
        matrices[:, :3, 3] = translations
    return matrices
