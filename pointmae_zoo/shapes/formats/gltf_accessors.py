"""The arrays of a glTF file: accessors over buffer views, and Draco data in their place."""

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.formats.gltf_extensions import DRACO
from pointmae_zoo.shapes.formats.gltf_file import GltfFile
from pointmae_zoo.shapes.surface import MeshError

COMPONENT_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
INDEX_TYPES = (5121, 5123, 5125)
COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
# An accessor without data is zeros, as many as it says.
MOST_ZEROS = 10_000_000


class Accessors:
    """Arrays (count, components) by the index of their accessor, read once."""

    def __init__(self, file: GltfFile) -> None:
        self._file = file
        self._arrays: dict[tuple[int, str], NDArray[Any]] = {}
        self._decoded: dict[int, DracoMesh] = {}

    def array(self, index: Any, kind: str) -> NDArray[np.floating]:
        """(count, components) floats of an accessor of this type ("VEC3", ...), normalized integers as they
        are meant.

        Raises MeshError if there is no such accessor or its data.
        """
        accessor = self._file.entry("accessors", index)
        if (index, kind) not in self._arrays:
            self._arrays[index, kind] = self.meant(accessor, self._stored(accessor, kind))
        return self._arrays[index, kind]

    def indices(self, index: Any) -> NDArray[np.int64]:
        """(count,) vertex numbers."""
        accessor = self._file.entry("accessors", index)
        if accessor.get("componentType") not in INDEX_TYPES:
            raise self._file.damaged(f"indices are of type {accessor.get('componentType')}")
        return self._stored(accessor, "SCALAR")[:, 0].astype(np.int64)

    def whole_numbers(self, index: Any, kind: str) -> NDArray[np.int64]:
        """(count, components) whole numbers."""
        stored = self._stored(self._file.entry("accessors", index), kind)
        if stored.dtype.kind not in "iu":
            raise self._file.damaged("it has numbers with decimals where whole numbers are expected")
        return stored.astype(np.int64)

    def has_data(self, index: Any) -> bool:
        """Whether an accessor has data of its own, and not only a decoder's."""
        accessor = self._file.entry("accessors", index)
        return "bufferView" in accessor or "sparse" in accessor

    def meant(self, accessor: dict[str, Any], stored: NDArray[Any]) -> NDArray[np.floating]:
        """Stored numbers as floats: normalized integers stand for -1 to 1, or 0 to 1."""
        if stored.dtype.kind == "f":
            return stored
        if not accessor.get("normalized"):
            return stored.astype(np.float64)
        if stored.dtype.itemsize > 2:
            raise self._file.damaged("32-bit integers cannot be normalized")
        return np.maximum(stored / np.float64(np.iinfo(stored.dtype).max), -1.0)

    def draco(self, primitive: dict[str, Any]) -> "DracoMesh | None":
        """What is decoded of a primitive, or None if its plain accessors have the data."""
        extension = primitive.get("extensions", {}).get(DRACO)
        if extension is None:
            return None
        used = [primitive["attributes"]["POSITION"]] if "POSITION" in primitive["attributes"] else []
        used += [primitive["indices"]] if "indices" in primitive else []
        if used and all(self.has_data(index) for index in used):
            return None  # the fallback is exact
        key = id(extension)
        if key not in self._decoded:
            self._decoded[key] = DracoMesh(self._file, extension)
        return self._decoded[key]

    def _stored(self, accessor: dict[str, Any], kind: str) -> NDArray[Any]:
        """(count, components) numbers as they are stored, after checking that the file has so many."""
        if accessor.get("type") != kind:
            raise self._file.damaged(f"an accessor is a {str(accessor.get('type'))[:20]}, expected a {kind}")
        count = self._file.whole(accessor, "count")
        dtype = self._dtype(accessor)
        if "bufferView" in accessor:
            offset = self._file.whole(accessor, "byteOffset", 0)
            array = self._strided(accessor["bufferView"], offset, dtype, count, COMPONENTS[kind])
        elif count > MOST_ZEROS:
            raise self._file.damaged(f"an accessor promises {count:,} values and has no data")
        else:
            array = np.zeros((count, COMPONENTS[kind]), dtype)
        return self._with_sparse(accessor["sparse"], array) if "sparse" in accessor else array

    def _dtype(self, tree: dict[str, Any]) -> np.dtype[Any]:
        code = tree.get("componentType")
        if not isinstance(code, int) or code not in COMPONENT_TYPES:
            raise self._file.damaged(f"a component type is {str(code)[:20]!r}")
        return np.dtype(COMPONENT_TYPES[code])

    def _strided(
        self, view: object, offset: int, dtype: np.dtype[Any], count: int, components: int
    ) -> NDArray[Any]:
        data, stride = self._file.view(view)
        item = dtype.itemsize * components
        stride = item if stride is None else stride
        if stride < item:
            raise self._file.damaged(f"a stride of {stride} bytes is too short for {item}")
        if count and offset + (count - 1) * stride + item > len(data):
            raise MeshError("was cut off or is damaged: an accessor reaches beyond its buffer view")
        if count == 0:
            return np.empty((0, components), dtype)
        return np.ndarray((count, components), dtype, data, offset, (stride, dtype.itemsize))

    def _with_sparse(self, sparse: dict[str, Any], array: NDArray[Any]) -> NDArray[Any]:
        """A copy with some rows replaced."""
        count, where, values = self._file.whole(sparse, "count"), sparse["indices"], sparse["values"]
        if where.get("componentType") not in INDEX_TYPES:
            raise self._file.damaged(f"sparse indices are of type {where.get('componentType')}")
        rows = self._strided(
            where["bufferView"], self._file.whole(where, "byteOffset", 0), self._dtype(where), count, 1
        )[:, 0].astype(np.int64)
        if len(rows) and (rows.max() >= len(array) or (np.diff(rows) <= 0).any()):
            raise self._file.damaged("sparse indices are out of range or not in order")
        offset = self._file.whole(values, "byteOffset", 0)
        replaced = array.copy()
        replaced[rows] = self._strided(values["bufferView"], offset, array.dtype, count, array.shape[1])
        return replaced


class DracoMesh:
    """The decoded data of one primitive. Raises MeshError if it cannot be decoded."""

    def __init__(self, file: GltfFile, extension: dict[str, Any]) -> None:
        self._file, self._names = file, extension["attributes"]
        if find_spec("DracoPy") is None:
            raise MeshError('holds Draco data: `pip install "pointmae-zoo[draco]"` to read it')
        import DracoPy

        data = bytes(file.view(extension["bufferView"])[0])
        try:
            decoded = DracoPy.decode(data)
            self._arrays = {one["unique_id"]: np.asarray(one["data"]) for one in decoded.attributes}
            self.faces = np.asarray(decoded.faces, dtype=np.int64).reshape(-1, 3)
            if not np.any(self.attribute("POSITION")):
                raise ValueError("nothing but zeros")
        except MemoryError:
            raise
        except Exception as error:  # DracoPy lets out whatever its decoder stumbles over
            remedy = 'damaged, or DracoPy is too old (`pip install --upgrade "pointmae-zoo[draco]"`)'
            raise MeshError(f"holds Draco data that cannot be decoded: {remedy}") from error

    def attribute(self, name: str) -> NDArray[Any]:
        """(V, components) of POSITION, JOINTS_0, ..."""
        return self._arrays[self._names[name]]

    def holds(self, name: str) -> bool:
        """Whether this attribute is compressed."""
        return name in self._names
