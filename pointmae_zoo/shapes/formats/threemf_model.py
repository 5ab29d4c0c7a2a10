"""One model part of a 3MF file: its objects and what it builds, by the core specification 1.4."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.formats.threemf_package import Package, StartHandler
from pointmae_zoo.shapes.surface import MeshError

CONSORTIUM = "http://schemas.microsoft.com/3dmanufacturing/"
PRODUCTION = CONSORTIUM + "production/2015/06"
ALTERNATIVES = CONSORTIUM + "production/alternatives/2021/04"
# Extensions that may be required: what they say is followed, or does not touch the geometry.
UNDERSTOOD = frozenset(
    {
        PRODUCTION,
        ALTERNATIVES,
        CONSORTIUM + "material/2015/02",
        CONSORTIUM + "trianglesets/2021/07",
        "http://schemas.bambulab.com/package/2021",
        "http://schemas.slic3r.org/3mf/2017/06",
    }
)
# Geometry of extensions that a file need not require, by its element.
OTHER_GEOMETRY = {
    "beamlattice": "a beam lattice",
    "balls": "a ball lattice",
    "slicestack": "slices",
    "booleanshape": "a boolean shape",
    "displacementmesh": "a displacement mesh",
    "levelset": "a level set",
    "volumedata": "volume data",
    "mirrormesh": "a mirror of another mesh",
}
MILLIMETRES = {
    "micron": 0.001,
    "millimeter": 1.0,
    "centimeter": 10.0,
    "inch": 25.4,
    "foot": 304.8,
    "meter": 1000.0,
}


@dataclass
class Reference:
    """A component, or an item of the build: which object, in which part, placed where."""

    part: str
    object_id: str
    matrix: NDArray[np.float64]  # (4, 4)
    printable: bool = True


@dataclass
class Object:
    """A mesh, or components, or neither."""

    kind: str
    resolution: str
    vertices: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))
    faces: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 3), np.int64))
    components: list[Reference] = field(default_factory=list)
    other_geometry: set[str] = field(default_factory=set)


@dataclass
class ModelPart:
    """What is in one model part."""

    millimetres: float = 1.0
    objects: dict[str, Object] = field(default_factory=dict)
    items: list[Reference] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)  # extensions that are recommended and not understood


def read_model_part(package: Package, name: str) -> ModelPart:
    """Raises MeshError if the part is damaged or requires an extension that is not understood."""
    return _ModelPartReader(package, name).model


class _ModelPartReader:
    def __init__(self, package: Package, name: str) -> None:
        self._package, self._name = package, name
        self.model = ModelPart()
        self._prefixes: dict[str, str] = {}
        self._handlers = {
            "object": self._object,
            "mesh": self._mesh,
            "component": self._component,
            "item": self._item,
        }
        self._core: str | None = None  # the namespace of the specification itself
        self._current: Object | None = None
        self._meshes: set[int] = set()
        self._coordinates: list[str] = []
        self._corners: list[str] = []
        self._vertices: list[NDArray[np.float64]] = []
        self._faces: list[NDArray[np.int64]] = []
        package.parse(name, self._start(), namespace=self._namespace, after_chunk=self._convert)
        self._finish()

    def _namespace(self, prefix: str | None, uri: str | None) -> None:
        if self._core is None:
            self._prefixes[prefix or ""] = uri or ""

    def _start(self) -> StartHandler:
        """What is called for every element, the quickest way for triangles and vertices."""
        add_corners, add_coordinates = self._corners.extend, self._coordinates.extend
        triangle = vertex = ""

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal triangle, vertex
            if name == triangle:
                add_corners((attributes["v1"], attributes["v2"], attributes["v3"]))
            elif name == vertex:
                add_coordinates((attributes["x"], attributes["y"], attributes["z"]))
            elif self._core is None:
                self._root(name, attributes)
                triangle, vertex = (name[: -len("model")] + one for one in ("triangle", "vertex"))
            else:
                self._element(name, attributes)

        return start

    def _element(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if namespace == self._core:
            if local in self._handlers:
                self._handlers[local](attributes)
        elif self._current is not None and local in OTHER_GEOMETRY:
            self._current.other_geometry.add(OTHER_GEOMETRY[local])

    def _root(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if local != "model":
            raise self._damaged(f"it begins with <{local[:40]}> where <model> is expected")
        self._core = namespace
        unit = attributes.get("unit", "millimeter").strip().lower()
        if unit not in MILLIMETRES:
            raise self._damaged(f"unit {unit[:40]!r}, expected one of {' '.join(MILLIMETRES)}")
        self.model.millimetres = MILLIMETRES[unit]
        for prefix in attributes.get("requiredextensions", "").split():
            extension = self._prefixes.get(prefix, prefix)
            if extension not in UNDERSTOOD and extension != namespace:
                raise MeshError(
                    f"requires the 3MF extension {extension[:120]}, which cannot be read: export it without"
                )
        self.model.ignored = [
            extension
            for prefix in attributes.get("recommendedextensions", "").split()
            if (extension := self._prefixes.get(prefix, prefix)) not in UNDERSTOOD
        ]

    def _object(self, attributes: dict[str, str]) -> None:
        self._finish()
        number = attributes["id"].strip()
        if number in self.model.objects:
            raise self._damaged(f"two objects have the id {number[:20]}")
        resolution = attributes.get(f"{ALTERNATIVES} modelresolution", "fullres")
        self._current = Object(attributes.get("type", "model"), resolution)
        self.model.objects[number] = self._current

    def _mesh(self, _: dict[str, str]) -> None:
        if self._current is None or id(self._current) in self._meshes:
            raise self._damaged("a mesh stands outside of an object, or is its second one")
        self._meshes.add(id(self._current))

    def _component(self, attributes: dict[str, str]) -> None:
        if self._current is None:
            raise self._damaged("a component stands outside of an object")
        self._current.components.append(self._reference(attributes))

    def _item(self, attributes: dict[str, str]) -> None:
        self._finish()
        item = self._reference(attributes)
        item.printable = attributes.get("printable", "1").strip().lower() not in ("0", "false")
        self.model.items.append(item)

    def _reference(self, attributes: dict[str, str]) -> Reference:
        other = attributes.get(f"{PRODUCTION} path")
        part = self._name if other is None else self._package.resolve("/", other)
        matrix = np.eye(4)
        if "transform" in attributes:
            words = attributes["transform"].split()
            numbers = np.array([float(word) for word in words])
            if len(numbers) != 12 or not np.isfinite(numbers).all():
                raise self._damaged(f"a transform of 12 numbers is expected, found {' '.join(words)[:60]!r}")
            matrix[:3] = numbers.reshape(4, 3).T
        return Reference(part, attributes["objectid"].strip(), matrix)

    def _convert(self) -> None:
        """Turn what the last chunk brought into numbers, which take less memory than text."""
        if self._coordinates:
            self._vertices.append(np.array(list(map(float, self._coordinates))).reshape(-1, 3))
            self._coordinates.clear()
        if self._corners:
            self._faces.append(np.array(list(map(int, self._corners)), dtype=np.int64).reshape(-1, 3))
            self._corners.clear()

    def _finish(self) -> None:
        """The object that was being read is complete."""
        self._convert()
        if self._vertices or self._faces:
            if self._current is None:
                raise self._damaged("a mesh stands outside of an object")
            if self._vertices:
                self._current.vertices = np.concatenate(self._vertices)
            if self._faces:
                self._current.faces = np.concatenate(self._faces)
        self._vertices, self._faces, self._current = [], [], None

    def _damaged(self, what: str) -> MeshError:
        return MeshError(f"is damaged: in {self._name}, {what}: export it again")
