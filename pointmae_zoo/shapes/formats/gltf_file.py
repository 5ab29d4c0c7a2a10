"""A glTF 2 or GLB file: its JSON and its buffers."""

import base64
import json
import os
import re
import unicodedata
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from pointmae_zoo.shapes.formats.gltf_extensions import MESHOPT, check_required
from pointmae_zoo.shapes.surface import MeshError

JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: one is a drive of Windows


class GltfFile:
    """The tree of a file, its entries by index, and the bytes of its buffer views."""

    def __init__(self, data: bytes, path: Path) -> None:
        self._path = path
        text, self._binary = _chunks(data, path.suffix.lower())
        self.tree = _parse(text)
        asset = self.tree.get("asset", {})
        version, needed = str(asset.get("version", "2.0")), str(asset.get("minVersion", "2.0"))
        if not version.startswith("2.") or needed != "2.0":
            found = needed if version.startswith("2.") else version
            raise MeshError(f"is glTF {found[:20]}: only glTF 2.0 can be read, convert it")
        check_required(self.tree.get("extensionsRequired", []))
        self._buffers: dict[int, bytes] = {}

    def entry(self, kind: str, index: object) -> dict[str, Any]:
        """The entry of this index among "nodes", "meshes", ...

        Raises MeshError if it is not there.
        """
        entries = self.tree.get(kind, [])
        if isinstance(index, bool) or not isinstance(index, int) or not isinstance(entries, list):
            raise self.damaged(f"an index of {kind} is {str(index)[:40]!r}")
        if not 0 <= index < len(entries):
            raise self.damaged(f"it refers to number {index} of its {kind}, which has {len(entries)}")
        found = entries[index]
        if not isinstance(found, dict):
            raise self.damaged(f"number {index} of its {kind} is no object")
        return found

    def whole(self, tree: dict[str, Any], key: str, default: int | None = None) -> int:
        """A whole number of 0 or more. Raises MeshError if it is something else."""
        value = tree.get(key, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # 12.0 is a whole number in JSON
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
            raise self.damaged(f"{key} is {str(value)[:40]!r} where a whole number is expected")
        return value

    def view(self, index: object) -> tuple[memoryview, int | None]:
        """The bytes of a buffer view, and its stride if it gives one."""
        view = self.entry("bufferViews", index)
        number = view.get("buffer")
        for extension in MESHOPT:
            fallback = self.entry("buffers", number).get("extensions", {}).get(extension, {})
            if extension in view.get("extensions", {}) and fallback.get("fallback"):
                raise MeshError(f"is compressed with {extension}, which cannot be read: export it without")
        buffer = self._buffer(number)
        start, length = self.whole(view, "byteOffset", 0), self.whole(view, "byteLength")
        if start + length > len(buffer):
            raise MeshError("was cut off or is damaged: a buffer view reaches beyond its buffer")
        return memoryview(buffer)[start : start + length], (
            self.whole(view, "byteStride") if "byteStride" in view else None
        )

    def damaged(self, what: str) -> MeshError:
        """The error to raise."""
        return MeshError(f"is damaged: {what}: export it again")

    def _buffer(self, number: Any) -> bytes:
        buffer = self.entry("buffers", number)
        if number not in self._buffers:
            length, uri = self.whole(buffer, "byteLength"), buffer.get("uri")
            if uri is None:
                if number != 0 or self._binary is None:
                    raise self.damaged(f"buffer {number} has no data")
                content = self._binary
            elif not isinstance(uri, str):
                raise self.damaged(f"the uri of buffer {number} is no text")
            elif uri[:5].lower() == "data:":
                content = _inline(uri)
            else:
                content = _beside(self._path, uri, length)
            if len(content) < length:
                raise MeshError(
                    f"was cut off: buffer {number} has {len(content):,} of {length:,} bytes: copy it again"
                )
            self._buffers[number] = content[:length]
        return self._buffers[number]


def _chunks(data: bytes, suffix: str) -> tuple[bytes, bytes | None]:
    """The JSON, and the binary chunk of a GLB file if there is one."""
    if not data.startswith(b"glTF"):
        if suffix == ".glb" and not data.lstrip().startswith(b"{"):
            raise MeshError("is not a GLB file (it does not begin with `glTF`): check its suffix")
        return data, None
    version, length = (int.from_bytes(data[at : at + 4], "little") for at in (4, 8))
    if version != 2:
        raise MeshError(f"is glTF {version}: only glTF 2.0 can be read, convert it")
    if length > len(data):
        raise MeshError(f"was cut off: its header promises {length:,} bytes, it has {len(data):,}")
    chunks: list[tuple[int, bytes]] = []
    at = 12
    while at + 8 <= length and len(chunks) < 2:  # whatever follows those two is to be ignored
        size, kind = (int.from_bytes(data[at + i : at + i + 4], "little") for i in (0, 4))
        if at + 8 + size > length:
            raise MeshError("was cut off or is damaged: a chunk reaches beyond the end of the file")
        chunks.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size
    if not chunks or chunks[0][0] != JSON_CHUNK:
        raise MeshError("is damaged: the first chunk of a GLB must be JSON: export it again")
    binary = chunks[1][1] if len(chunks) > 1 and chunks[1][0] == BINARY_CHUNK else None
    return chunks[0][1].rstrip(b" \0"), binary


def _parse(text: bytes) -> dict[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MeshError(f"holds no valid JSON, so it is not glTF or was cut off ({error})") from error
    if not isinstance(tree, dict):
        raise MeshError("holds no JSON object, so it is not glTF: check its suffix")
    return tree


def _inline(uri: str) -> bytes:
    """The bytes in a data URI."""
    header, comma, content = uri.partition(",")
    if not comma:
        raise MeshError("is damaged: a data URI has no comma: export it again")
    if not header.lower().endswith(";base64"):
        return unquote_to_bytes(content)
    try:
        return base64.b64decode(unquote(content) if "%" in content else content)
    except ValueError as error:
        raise MeshError(f"was cut off or is damaged: a data URI is no base64 ({error})") from error


def _beside(path: Path, uri: str, length: int) -> bytes:
    """The first bytes of a file in the same folder or below it."""
    shown = uri[:200]
    if SCHEME.match(uri) or uri.startswith("//"):
        raise MeshError(f"keeps its data at {shown}: nothing is downloaded, put it next to the file")
    for name in _spellings(uri):
        inside = os.path.normpath(name)
        if os.path.isabs(inside) or PureWindowsPath(inside).drive or inside.split(os.sep)[0] == os.pardir:
            raise MeshError(f"needs the file {shown}, outside of its folder: put it next to the file")
        other = path.parent / inside
        if "\0" not in name and other.is_file():
            size = other.stat().st_size
            if size < length:
                raise MeshError(f"needs {length:,} bytes of {shown}, which has {size:,}: copy it again")
            with other.open("rb") as stream:
                return stream.read(length)
    raise MeshError(f"needs the file {shown}, which is not next to it: copy it there")


def _spellings(uri: str) -> list[str]:
    """Names of files that a URI may mean: percent-encoded as it should be, plain, as Windows writes paths,
    and with the letters that its file system composes in the other way."""
    names = [unquote(uri), uri, unquote(uri).replace("\\", "/")]
    composed = [unicodedata.normalize(form, name) for name in names for form in ("NFC", "NFD")]
    return list(dict.fromkeys(names + composed))
