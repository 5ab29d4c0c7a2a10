"""What a file is by its content, whatever its name: a format of shapes, or something else.

The suffix is a hint, the content decides. ``shape_format`` names a format only if the bytes leave no doubt.
``no_shape`` says what a file is that holds no shape, in the words of an error.
"""

import io
import json
import re
import zipfile
import zlib

from pointmae_zoo.shapes.surface import MeshError

MOST_UNPACKED = 1 << 30
"""The most bytes that a packed file (.stl.gz, a member of .npz, all members of .3mf) may unpack to, because a
few kB can promise anything."""

LFS = b"version https://git-lfs.github.com/spec/"
GZIP = b"\x1f\x8b"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")

# (offset, bytes at this offset, what the file is).
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "a picture (PNG)"),
    (0, b"\xff\xd8\xff", "a picture (JPEG)"),
    (0, b"GIF87a", "a picture (GIF)"),
    (0, b"GIF89a", "a picture (GIF)"),
    (0, b"II*\0", "a picture (TIFF)"),
    (0, b"MM\0*", "a picture (TIFF)"),
    (8, b"WEBP", "a picture (WebP)"),
    (4, b"ftyp", "a video or picture (MP4 or HEIF)"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (0, b"Rar!\x1a\x07", "a RAR archive: unpack it"),
    (257, b"ustar", "a tar archive: unpack it"),
    (0, b"BZh", "compressed with bzip2: unpack it"),
    (0, b"\xfd7zXZ\0", "compressed with xz: unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with Zstandard: unpack it"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office or CAD document"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file: save its points as .npy"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"\x7fELF", "a program"),
    (0, b"PAR1", "a Parquet table"),
    (0, b"Kaydara FBX Binary", "an FBX file, which is not read: export it as GLB"),
    (0, b"BLENDER", "a Blender file, which is not read: export it as GLB"),
    (0, b"3D Geometry File Format", "a Rhino file, which is not read: export it as OBJ"),
    (0, b"PXR-USDC", "a USD file, which is not read: export it as GLB"),
    (0, b"#usda", "a USD file, which is not read: export it as GLB"),
    (0, b"# vtk DataFile", "a VTK file, which is not read: export it as PLY"),
    (0, b"#VRML", "a VRML file, which is not read: export it as GLB"),
    (0, b"ASTM-E57", "an E57 scan, which is not read: export it as PLY"),
    (0, b"LASF", "a LAS scan, which is not read: export it as PLY"),
)
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")
_OFF = re.compile(rb"\s*(?:#[^\n]*\s*)*(?:ST)?C?N?4?n?OFF\s*(?:BINARY|(?:#[^\n]*\s*)*\d+\s+\d+)", re.ASCII)
_OBJ_WORDS = frozenset(
    b"v vt vn vp f fo l p o g s mg mtllib usemtl usemap maplib cstype deg bmat step curv curv2 surf parm "
    b"trim hole scrv sp end con bevel c_interp d_interp lod shadow_obj trace_obj ctech stech".split()
)
_OBJ_VERTEX = re.compile(rb"^[ \t]*v[ \t]+[-+.\d]\S*[ \t]+[-+.\d]\S*[ \t]+[-+.\d]", re.MULTILINE)
_START = 4096


def no_shape(data: bytes) -> str | None:
    """What a file without a shape is, and what to do, such as "is a Git LFS pointer: git lfs pull ..."; None
    if a reader should try it. ``data``: its content, or the first 4,096 bytes of it.
    """
    start = _plain(data[:_START])
    if start.startswith(LFS):
        return "is a Git LFS pointer: git lfs pull fetches the file itself"
    if len(data) < _START and re.match(rb"(?:\.\.?/)*(?:\.git|)/?annex/objects/\S+\s*\Z", start):
        return "is a git-annex pointer: git annex get fetches the file itself"
    for offset, magic, what in _OTHERS:
        if start.startswith(magic, offset):
            return f"is {what}"
    if start.startswith(b"BM") and int.from_bytes(data[2:6], "little") == len(data):
        return "is a picture (BMP)"
    words = start.lstrip().lower()
    if b"\0" not in start:  # else it is the free text before the triangles of an STL, or other binary data
        if words.startswith(_PAGES):
            return "is a saved web page (HTML): download the file itself"
        if words.startswith(b"<"):
            return _of_xml(start)
        if words.startswith(b"{") and shape_format(data) is None:
            return _of_json(data)
    if start[:1] == b"\0" and not data.strip(b"\0"):
        return "holds nothing but zero bytes: copy or download it again"
    if start and not data.strip():
        return "holds nothing but blanks: export or copy it again"
    return None


def shape_format(data: bytes) -> str | None:
    """The suffix (".stl", ".glb", ...) of the format that these bytes certainly are, or None."""
    if len(data) > 84 and len(data) == 84 + 50 * int.from_bytes(data[80:84], "little"):
        return ".stl"  # binary
    if data.startswith(b"glTF"):
        return ".glb"
    if data.startswith(b"\x93NUMPY"):
        return ".npy"
    if data.startswith(ZIP):
        return _zip_format(data)
    start = _plain(data[:_START])
    if re.match(rb"ply[ \t]*[\r\n]", start):
        return ".ply"
    words = start.lstrip()
    if words[:5].lower() == b"solid" and re.search(rb"^\s*(facet|endsolid)\b", start, re.MULTILINE | re.I):
        return ".stl"
    if _OFF.match(start):
        return ".off"
    if words.startswith(b"ISO-10303-21;"):
        return ".step"
    if (
        len(start) > 80 and start[72:73] == b"S" and start[73:80].strip() == b"1"
    ):  # the first line of 80 columns
        return ".iges"
    if re.search(rb"^FIELDS\s", start, re.MULTILINE) and re.search(
        rb"^(VERSION|SIZE)\s", start, re.MULTILINE
    ):
        return ".pcd"
    if words.startswith(b"{") and b'"asset"' in data and b'"version"' in data:
        return ".gltf"
    return ".obj" if _is_obj(start, whole=len(data) <= _START) else None


def unpacked(data: bytes) -> bytes:
    """Unpack a gzip file. Raises MeshError if it was cut off, is damaged or unpacks to too much."""
    found, size = [], 0
    while data:
        part = zlib.decompressobj(wbits=31)
        try:
            while not part.eof:
                piece = part.decompress(data, 1 << 24)
                data = part.unconsumed_tail
                size += len(piece)
                if size > MOST_UNPACKED:
                    raise MeshError(
                        f"unpacks to more than {_gigabytes(MOST_UNPACKED)}: unpack it, or simplify it"
                    )
                found.append(piece)
                if not piece and not data and not part.eof:
                    raise MeshError("is compressed (gzip) and was cut off: copy it again")
        except zlib.error as error:
            raise MeshError(f"is compressed (gzip) and damaged ({error}): copy it again") from error
        data = part.unused_data.lstrip(b"\0")  # zeros may follow, or another member, which goes on with it
        if data and not data.startswith(GZIP):
            break
    return b"".join(found)


def check_members(data: bytes) -> None:
    """Raise a MeshError if unpacking a zip file would take too much memory: for .npz a member at a time, for
    .3mf all of them."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
    except Exception:  # the reader will say what is wrong with it
        return
    arrays = all(name.endswith(".npy") for name in sizes)
    most = max(sizes.values(), default=0) if arrays else sum(sizes.values())
    if most > MOST_UNPACKED:
        raise MeshError(
            f"unpacks to {_gigabytes(most)}, more than {_gigabytes(MOST_UNPACKED)}: save it in parts"
        )


def _gigabytes(size: int) -> str:
    return f"{size / (1 << 30):.3g} GB"


def _plain(start: bytes) -> bytes:
    """Text without a byte order mark; UTF-16 becomes ASCII as far as possible."""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = start[: len(start) // 2 * 2].decode("utf-16", "replace")
        return text.encode("ascii", "replace")
    return start.removeprefix(b"\xef\xbb\xbf")


def _zip_format(data: bytes) -> str | None:
    names = _zip_names(data)
    if any(name.lower().endswith(".model") for name in names):
        return ".3mf"
    if names and all(name.endswith(".npy") for name in names):
        return ".npz"
    return None


def _zip_names(data: bytes) -> list[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [name for name in archive.namelist() if not name.endswith("/")]
    except Exception:  # zipfile lets out whatever a damaged archive leads to
        return []


def archive_contents(data: bytes) -> str | None:
    """What a zip archive that is neither 3MF nor NPZ is, and what to do; None for a damaged one."""
    names = _zip_names(data)
    if not names:
        return None
    inside = {name.lower() for name in names}
    if any(name.endswith("data.pkl") for name in inside):
        return "is a torch checkpoint, which may run code and is never loaded here"
    if inside & {"word/document.xml", "xl/workbook.xml", "ppt/presentation.xml", "content.xml"}:
        return "is an Office document"
    if any(name.endswith((".usdc", ".usda")) for name in inside):
        return "is a USDZ file, which is not read: export it as GLB"
    if "_rels/.rels" in inside:
        return None  # a package of the kind of 3MF: its reader says what it lacks
    shown = ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")
    return f"is a zip archive of {len(names):,} file{'s' * (len(names) > 1)} ({shown}): unpack it"


def _of_xml(start: bytes) -> str | None:
    root = re.match(rb"\s*(?:<\?.*?\?>\s*|<!--.*?-->\s*|<![^>]*>\s*)*<([A-Za-z][\w:.-]*)", start, re.DOTALL)
    if root is None:
        return None
    name = root[1].decode()
    if name.lower() == "html":
        return "is a saved web page (HTML): download the file itself"
    known = {
        "COLLADA": "a COLLADA file, which is not read: export it as GLB",
        "X3D": "an X3D file, which is not read: export it as GLB",
        "amf": "an AMF file, which is not read: export it as 3MF or STL",
        "svg": "a picture (SVG)",
        "Error": "an error message of a server (XML): download the file again",
        "VTKFile": "a VTK file, which is not read: export it as PLY",
        "model": "not a 3MF file but its model part alone: export it as 3MF",
    }
    return f"is {known.get(name, f'XML (<{name}>), and no format of shapes that is read')}"


def _of_json(data: bytes) -> str | None:
    if len(data) > 1 << 16:
        return None
    try:
        content = json.loads(_plain(data))
    except (ValueError, RecursionError):
        return None
    for key in ("message", "error", "detail", "errors"):
        if isinstance(content, dict) and key in content:
            said = " ".join(str(content[key]).split())[:60]
            return f'is an error message of a server (JSON, "{key}": {said}): download the file again'
    return None


def _is_obj(start: bytes, *, whole: bool) -> bool:
    if not _OBJ_VERTEX.search(start):
        return False
    lines = start.splitlines()
    continued = False
    for line in lines if whole else lines[:-1]:
        words = line.split()
        if words and not continued and not words[0].startswith(b"#") and words[0] not in _OBJ_WORDS:
            return False
        continued = line.rstrip().endswith(b"\\")
    return True
