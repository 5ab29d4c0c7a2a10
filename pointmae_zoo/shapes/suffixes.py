"""Which suffixes stand for formats that are read, and which for shapes that are not."""

import importlib.util
from functools import cache
from pathlib import Path

FORMAT_NAMES = {
    ".stl": "an STL file",
    ".obj": "an OBJ file",
    ".off": "an OFF file",
    ".ply": "a PLY file",
    ".glb": "a GLB file",
    ".gltf": "a glTF file",
    ".3mf": "a 3MF file",
    ".xyz": "text with a point in each row",
    ".npy": "a NumPy array (NPY)",
    ".npz": "an archive of NumPy arrays (NPZ)",
    ".pcd": "a PCD file",
    ".step": "a STEP file",
    ".iges": "an IGES file",
}
ALIASES = {".stp": ".step", ".igs": ".iges"}
"""Other suffixes of these formats."""
SUPPORTED_SUFFIXES = (*FORMAT_NAMES, *ALIASES)
EXTRAS = dict.fromkeys((".step", ".stp", ".iges", ".igs"), ("cascadio", "cad"))
"""Formats that need another library: which, and the extra that installs it."""
TEXT_TABLES = (".txt", ".csv", ".asc", ".pts")
"""Suffixes of text that may hold a point in each row. Such files are read if named, but not from a folder."""
# Formats that are or begin with text. Not STL, whose binary form begins with any 80 bytes.
TEXT_SUFFIXES = (".obj", ".off", ".ply", ".gltf", ".xyz", ".pcd")
OTHER_SHAPES = frozenset(
    {
        *(".3dm", ".3ds", ".abc", ".blend", ".dae", ".dwg", ".dxf", ".e57", ".fbx", ".ifc"),
        *(".las", ".laz", ".lwo", ".max", ".ms3d", ".prt", ".sat", ".skp", ".sldprt"),
        *(".usd", ".usda", ".usdc", ".usdz", ".vtk", ".vtp", ".wrl", ".x", ".x3d", ".x_t"),
        *(".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip"),
    }
)
"""Suffixes of other formats with shapes, and of archives, which are not read from a folder."""


def suffix_of(name: str) -> str:
    """The suffix that tells the format, in lower case: ".stl" for ``x.STL.gz``, too."""
    path = Path(name)
    suffix = path.suffix.lower()
    inner = Path(path.stem).suffix.lower()
    found = inner if suffix == ".gz" and inner in SUPPORTED_SUFFIXES else suffix
    return ALIASES.get(found, found)


@cache
def readable_suffixes() -> tuple[str, ...]:
    """`SUPPORTED_SUFFIXES` without the formats whose library is not installed."""
    return tuple(
        suffix
        for suffix in SUPPORTED_SUFFIXES
        if suffix not in EXTRAS or importlib.util.find_spec(EXTRAS[suffix][0]) is not None
    )
