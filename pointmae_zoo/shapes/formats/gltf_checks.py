"""What trimesh would read wrongly, or not at all and say nothing, in a glTF or GLB file."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pointmae_zoo.shapes.surface import MeshError

DRACO = "KHR_draco_mesh_compression"
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
TRIANGLE_FAN = 6
COMPONENT_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}


def check_gltf(path: Path, data: bytes) -> bool:
    """Whether DracoPy has something to decode. Raises MeshError, with the remedy, for what cannot be read."""
    header = _header(path, data)
    try:
        version = str(header.get("asset", {}).get("version", "2.0"))
        if not version.startswith("2"):
            raise MeshError(path, f"is glTF {version}: only glTF 2 can be read, convert it")
        for extension in MESHOPT:
            if extension in header.get("extensionsRequired", []):
                raise MeshError(
                    path, f"is compressed with {extension}, which cannot be read: export it without"
                )
        for buffer in header.get("buffers", []):
            _check_buffer(path, buffer)
        views = [_check_view(path, view, header["buffers"]) for view in header.get("bufferViews", [])]
        accessors = header.get("accessors", [])
        for accessor in accessors:
            if "bufferView" in accessor and _extent(accessor) > views[accessor["bufferView"]]:
                raise MeshError(path, "was cut off or is damaged: an accessor reaches beyond its buffer view")
        primitives = [part for mesh in header.get("meshes", []) for part in mesh["primitives"]]
        return any([_check_primitive(path, primitive, accessors) for primitive in primitives])
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise MeshError(
            path, f"has a field of the wrong type or an index that leads nowhere ({error})"
        ) from error


def _header(path: Path, data: bytes) -> dict[str, Any]:
    """The JSON part, of a .gltf (everything) or a .glb (the first chunk)."""
    if data.startswith(b"glTF"):
        version, length, chunk = (int.from_bytes(data[at : at + 4], "little") for at in (4, 8, 12))
        if version != 2:
            raise MeshError(path, f"is glTF {version}: only glTF 2 can be read, convert it")
        if length > len(data):
            raise MeshError(path, f"was cut off: its header promises {length:,} bytes, it has {len(data):,}")
        data = data[20 : 20 + chunk]
    elif path.suffix.lower() == ".glb":
        raise MeshError(path, "is not a GLB file (it does not begin with `glTF`): check its suffix")
    try:
        header = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MeshError(path, f"holds no valid JSON, so it is not glTF or was cut off ({error})") from error
    if not isinstance(header, dict):
        raise MeshError(path, "holds no JSON object, so it is not glTF: check its suffix")
    return header


def _check_buffer(path: Path, buffer: dict[str, Any]) -> None:
    uri = buffer.get("uri")
    if uri is None or uri.startswith("data:"):
        return
    if "://" in uri:
        raise MeshError(path, f"keeps its data at {uri}: nothing is downloaded, put it next to the file")
    needed, other = int(buffer.get("byteLength", 0)), path.parent / unquote(uri)
    if not other.is_file():
        raise MeshError(path, f"needs the file {uri}, which is not next to it: copy it there")
    if other.stat().st_size < needed:
        raise MeshError(
            path, f"needs {needed:,} bytes of {uri}, which has {other.stat().st_size:,}: copy it again"
        )


def _check_view(path: Path, view: dict[str, Any], buffers: list[dict[str, Any]]) -> int:
    """The bytes of a buffer view, which must lie within its buffer."""
    length, room = int(view["byteLength"]), int(buffers[view["buffer"]]["byteLength"])
    if view.get("byteOffset", 0) + length > room:
        raise MeshError(path, "was cut off or is damaged: a buffer view reaches beyond its buffer")
    return length


def _extent(accessor: dict[str, Any]) -> int:
    """The least number of bytes of its view that an accessor covers."""
    item = COMPONENT_BYTES[accessor["componentType"]] * COMPONENTS[accessor["type"]]
    return int(accessor.get("byteOffset", 0)) + int(accessor["count"]) * item


def _check_primitive(path: Path, primitive: dict[str, Any], accessors: list[dict[str, Any]]) -> bool:
    """Whether it is Draco data."""
    if primitive.get("mode", 4) == TRIANGLE_FAN:
        raise MeshError(path, "holds triangle fans, which cannot be read: export it as plain triangles")
    used = [primitive["attributes"]["POSITION"]] if "POSITION" in primitive["attributes"] else []
    used += [primitive["indices"]] if "indices" in primitive else []
    is_draco = DRACO in primitive.get("extensions", {})
    for accessor in (accessors[number] for number in used):
        if "bufferView" not in accessor and is_draco:
            if find_spec("DracoPy") is None:
                raise MeshError(path, 'holds Draco data: `pip install "pointmae-zoo[draco]"` to read it')
        elif "bufferView" not in accessor or "sparse" in accessor:
            raise MeshError(path, "holds sparse accessors, which cannot be read: export it without")
        elif accessor.get("normalized"):
            raise MeshError(path, "holds positions as normalized integers: export it with floats")
    return is_draco
