"""3MF: the objects that a package's build places, by the core and production specifications."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.formats.assembly import Assembly, check_size
from pointmae_zoo.shapes.formats.threemf_model import ModelPart, Object, Reference, read_model_part
from pointmae_zoo.shapes.formats.threemf_package import Package
from pointmae_zoo.shapes.formats.threemf_slicers import read_slicer_volumes
from pointmae_zoo.shapes.notes import note
from pointmae_zoo.shapes.surface import Geometry, MeshError

SHAPES = ("model", "surface")
NO_SHAPES = ("support", "solidsupport", "other")
ENDLESS = 10**12  # counting stops here

Key = tuple[str, str]  # (part, object id): ids are unique within a part only


def read_3mf(data: bytes) -> Geometry:
    """Triangles of everything that the build section of a 3MF file prints.

    Supports, objects of type other, items that are not printable and volumes that only steer a slicer are
    left out, and noted. Coordinates are in the unit of the root part.
    """
    if not data.startswith(b"PK"):
        raise MeshError("is not a 3MF file (those are zip archives): check its suffix")
    return _Build(Package(data)).geometry()


class _Build:
    """Follows the build of the root part to the meshes, through components and other parts."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self._parts: dict[str, ModelPart] = {}
        self._root_name = package.root()
        self._root = self._part(self._root_name)
        self._slicer = read_slicer_volumes(package)
        self._left_out: Counter[tuple[str, str]] = Counter()  # (noun, what kind of it)
        self._sizes: dict[Key, tuple[int, int]] = {}

    def geometry(self) -> Geometry:
        items = [item for item in self._items() if self._is_printed(item)]
        for item in items:
            self._measure((item.part, item.object_id))
        sizes = [self._sizes[item.part, item.object_id] for item in items]
        check_size(sum(placed for placed, _ in sizes), sum(count for _, count in sizes))
        assembly = Assembly()
        # Depth first; this order of siblings gives the points that earlier versions gave.
        stack = _in_order(items)
        while stack:
            reference = stack.pop()
            here = self._object((reference.part, reference.object_id))
            faces = self._faces_of_shape(reference, here)
            if len(faces):
                assembly.add(here.vertices, faces, reference.matrix)
            for what in here.other_geometry:
                note(f"holds {what}, which is not read")
            components = [part for part in here.components if self._is_printed(part, owner=reference)]
            scale = self._parts[reference.part].millimetres
            stack.extend(
                Reference(
                    part.part,
                    part.object_id,
                    reference.matrix @ self._scaled(part, scale),
                )
                for part in _in_order(components)
            )
        found = assembly.geometry()
        self._report(bool(found.triangles.shape[2]))
        return found

    def _items(self) -> list[Reference]:
        """What is built, in the unit of the root part; a file that builds nothing is taken as a whole."""
        root = self._root
        if root.items:
            items = root.items
        else:
            used = {(part.part, part.object_id) for one in root.objects.values() for part in one.components}
            items = [
                Reference(self._root_name, number, np.eye(4))
                for number in root.objects
                if (self._root_name, number) not in used
            ]
            if items:
                note("builds nothing: all its objects are read")
        return [
            Reference(item.part, item.object_id, self._scaled(item, root.millimetres), item.printable)
            for item in items
        ]

    def _scaled(self, reference: Reference, millimetres: float) -> NDArray[np.float64]:
        """The matrix of a reference out of a part of this unit, which converts other units into it."""
        factor = self._part(reference.part).millimetres / millimetres
        return reference.matrix if factor == 1 else reference.matrix @ np.diag([factor, factor, factor, 1.0])

    def _is_printed(self, reference: Reference, owner: Reference | None = None) -> bool:
        kind = self._object((reference.part, reference.object_id)).kind
        steers = None
        if owner is not None and owner.part == self._root_name:
            steers = self._slicer.components.get((owner.object_id, reference.object_id))
        if not reference.printable:
            self._left_out["item", "marked as not printable"] += 1
        elif kind in NO_SHAPES:
            self._left_out["object", f"of type {kind}"] += 1
        elif steers is not None:
            self._left_out["volume", f"that only steers the slicer ({steers[:40]})"] += 1
        else:
            return True
        return False

    def _faces_of_shape(self, reference: Reference, here: Object) -> NDArray[np.int64]:
        """Without the volumes that PrusaSlicer keeps in the same mesh."""
        if reference.part != self._root_name or reference.object_id not in self._slicer.triangles:
            return here.faces
        keep = np.ones(len(here.faces), bool)
        for first, last, kind in self._slicer.triangles[reference.object_id]:
            if not 0 <= first <= last < len(keep):
                raise MeshError(f"is damaged: its slicer names triangles {first} to {last} of {len(keep)}")
            keep[first : last + 1] = False
            self._left_out["volume", f"that only steers the slicer ({kind[:40]})"] += 1
        return here.faces[keep]

    def _part(self, name: str) -> ModelPart:
        if name not in self._parts:
            self._parts[name] = read_model_part(self._package, name)
            for extension in self._parts[name].ignored:
                note(f"recommends the 3MF extension {extension}, which is not read")
        return self._parts[name]

    def _object(self, key: Key) -> Object:
        part, number = key
        found = self._part(part).objects.get(number)
        if found is None:
            raise MeshError(f"places an object {number[:20]} that {part} does not hold: export it again")
        if found.kind not in SHAPES + NO_SHAPES:
            raise MeshError(f"has an object of unknown type {found.kind[:40]!r}: export it again")
        if found.resolution != "fullres":
            raise MeshError(f"shows object {number[:20]} only as {found.resolution[:20]}: export it in full")
        return found

    def _measure(self, top: Key) -> None:
        """How many objects and triangles each object places in all: components may multiply them without
        end. Raises MeshError for an object that contains itself."""
        stack, open_keys = [(top, False)], set()
        while stack:
            key, is_done = stack.pop()
            if is_done:
                here = self._object(key)
                inner = [self._sizes[part.part, part.object_id] for part in here.components]
                placed = 1 + sum(count for count, _ in inner)
                triangles = len(here.faces) + sum(count for _, count in inner)
                self._sizes[key] = (min(placed, ENDLESS), min(triangles, ENDLESS))
                open_keys.discard(key)
            elif key in open_keys:
                raise MeshError(f"is damaged: object {key[1][:20]} contains itself: export it again")
            elif key not in self._sizes:
                open_keys.add(key)
                stack.append((key, True))
                stack.extend(((part.part, part.object_id), False) for part in self._object(key).components)

    def _report(self, has_shape: bool) -> None:
        left_out = ", ".join(
            f"{count} {noun}{'s' if count > 1 else ''} {kind}"
            for (noun, kind), count in self._left_out.items()
        )
        if not has_shape:
            without = f"; left out: {left_out}" if left_out else ""
            objects = [one for part in self._parts.values() for one in part.objects.values()]
            others = sorted({what for one in objects for what in one.other_geometry})
            only = f", only {' and '.join(others)}" if others else ""
            raise MeshError(f"builds no mesh{only}{without}: export it with its surface")
        if left_out:
            note(f"left out: {left_out}")


def _in_order(references: list[Reference]) -> list[Reference]:
    """As a stack that gives the first, then the last, ..., the second; references to one object together."""
    together: dict[Key, list[Reference]] = {}
    for reference in references:
        together.setdefault((reference.part, reference.object_id), []).append(reference)
    grouped = [reference for group in together.values() for reference in group]
    return grouped[1:] + grouped[:1]
