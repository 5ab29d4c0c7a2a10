"""The package around a 3MF model: a zip archive of parts, by the Open Packaging Conventions. XML by expat."""

import io
import posixpath
import zipfile
import zlib
from collections.abc import Callable
from typing import NoReturn
from urllib.parse import unquote
from xml.parsers import expat

from pointmae_zoo.shapes.surface import MeshError

START_PART = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
USUAL_ROOT = "3d/3dmodel.model"
ENCRYPTED_PART = b"%3McF"
CHUNK_BYTES = 1 << 20
# Deflate packs text of meshes 3 to 30 times smaller, at most a thousand times.
SMALL_BYTES, LARGEST_RATIO = 1 << 26, 200
UNPACKING_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)

StartHandler = Callable[[str, dict[str, str]], None]


class Package:
    """The parts of a 3MF file by name. Parts are never written to disk."""

    def __init__(self, data: bytes) -> None:
        self._room = max(SMALL_BYTES, LARGEST_RATIO * len(data))  # for all that is unpacked
        self._parts: dict[str, list[zipfile.ZipInfo]] = {}
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            for info in self._archive.infolist():
                self._parts.setdefault(_part_name(info.filename), []).append(info)
        except (*UNPACKING_ERRORS, IndexError, KeyError, TypeError, OverflowError) as error:
            raise MeshError(
                f"is no proper 3MF file, or was cut off ({str(error)[:120]}): export or copy it again"
            ) from error

    def root(self) -> str:
        """The name of the part that the package begins with."""
        targets: list[str] = []

        def start(name: str, attributes: dict[str, str]) -> None:
            is_start = name.endswith(" Relationship") and attributes.get("Type") == START_PART
            if is_start and attributes.get("TargetMode") != "External" and "Target" in attributes:
                targets.append(self.resolve("/", attributes["Target"]))

        if "_rels/.rels" in self._parts:
            self.parse("_rels/.rels", start)
        for name in (*targets, *([] if targets else [USUAL_ROOT])):
            if name in self._parts:
                return name
        if targets:
            raise MeshError(f"begins with a part {targets[0]} that it does not hold: export it again")
        raise MeshError("is a zip archive without a 3MF model in it: check its suffix")

    def resolve(self, folder: str, target: str) -> str:
        """The name of the part that a reference from a part in this folder leads to."""
        name = _part_name(posixpath.join(folder, target.replace("\\", "/")))
        return name if name in self._parts else _part_name(unquote(name))

    def holds(self, name: str) -> bool:
        """Whether there is such a part."""
        return name in self._parts

    def parse(
        self,
        name: str,
        start: StartHandler,
        *,
        namespace: Callable[[str | None, str | None], None] | None = None,
        after_chunk: Callable[[], None] | None = None,
    ) -> None:
        """Read the XML of a part. start: called with "NAMESPACE NAME" and the attributes of every element.

        Raises MeshError for a part that is missing, damaged, encrypted or not XML.
        """
        found = self._parts.get(name, [])
        if len(found) != 1:
            many = f"{len(found)} parts" if found else "no part"
            raise MeshError(f"holds {many} of the name {name}: export it again")
        info = found[0]
        self._room -= info.file_size
        if self._room < 0:
            raise MeshError(
                f"unpacks {info.compress_size:,} bytes to {info.file_size:,}: no shape packs like that"
            )
        if info.flag_bits & 1:
            raise MeshError("is locked with a password: export it without")
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = start
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        if namespace is not None:
            parser.StartNamespaceDeclHandler = namespace
        try:
            with self._archive.open(info) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    if chunk.startswith(ENCRYPTED_PART):
                        raise MeshError(f"is encrypted (3MF Secure Content, {name}): export it without")
                    parser.Parse(chunk, False)
                    if after_chunk is not None:
                        after_chunk()
            parser.Parse(b"", True)
            if after_chunk is not None:
                after_chunk()
        except MeshError:
            raise
        except expat.ExpatError as error:
            raise MeshError(f"is damaged: {name} is not proper XML ({error}): export it again") from error
        except KeyError as error:
            raise MeshError(f"is damaged: {name} has an element without {error}: export it again") from error
        except (*UNPACKING_ERRORS, LookupError, OverflowError) as error:
            raise MeshError(
                f"is damaged: {name} cannot be read ({str(error)[:120]}): export or copy it again"
            ) from error

    def _refuse_doctype(self, *_: object) -> NoReturn:
        raise MeshError("holds a document type declaration, which 3MF forbids: export it again")


def _part_name(name: str) -> str:
    """Names of parts differ neither by case nor by how the way to them is written."""
    return posixpath.normpath("/" + name.replace("\\", "/")).lstrip("/").lower()
