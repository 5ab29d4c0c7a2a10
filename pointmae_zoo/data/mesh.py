"""Any mesh or point file -> points. numpy only; trimesh is imported when a file needs it, torch never."""

import codecs
import glob
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.data.readers.obj import read_obj
from pointmae_zoo.data.readers.off import read_off
from pointmae_zoo.data.readers.pcd import read_pcd
from pointmae_zoo.data.readers.ply import read_ply
from pointmae_zoo.data.readers.points import read_npy, read_npz, read_xyz
from pointmae_zoo.data.readers.stl import read_stl
from pointmae_zoo.data.readers.with_trimesh import read_3mf, read_gltf
from pointmae_zoo.data.surface import Geometry, MeshError, points_of

__all__ = ["SUPPORTED_SUFFIXES", "MeshError", "find_files", "passed_over", "read_points", "search_files"]

READERS: dict[str, Callable[[Path, bytes], Geometry]] = {
    ".stl": read_stl,
    ".obj": read_obj,
    ".off": read_off,
    ".ply": read_ply,
    ".glb": read_gltf,
    ".gltf": read_gltf,
    ".3mf": read_3mf,
    ".xyz": read_xyz,
    ".npy": read_npy,
    ".npz": read_npz,
    ".pcd": read_pcd,
}
SUPPORTED_SUFFIXES = tuple(READERS)
NAMED_SUFFIXES = (".txt", ".csv", ".asc", ".pts")
"""Rows of points too, but in a folder they may be anything: read where they are named."""
OTHER_SHAPES = frozenset(
    {
        *(".3dm", ".3ds", ".abc", ".blend", ".dae", ".dwg", ".dxf", ".e57", ".fbx", ".ifc", ".iges", ".igs"),
        *(".las", ".laz", ".lwo", ".max", ".ms3d", ".prt", ".sat", ".skp", ".sldprt", ".step", ".stp"),
        *(".usd", ".usda", ".usdc", ".usdz", ".vtk", ".vtp", ".wrl", ".x", ".x3d", ".x_t"),
    }
)
"""Suffixes of formats that hold shapes and are not read."""
# Text, or text first. Not STL: the free text before its binary data may begin with anything.
TEXT_SUFFIXES = (".obj", ".off", ".ply", ".gltf", ".xyz", ".pcd")


def read_points(
    path: str | os.PathLike[str], num_points: int = 8192, *, seed: int = 0
) -> NDArray[np.float32]:
    """Points of one file, in the file's own coordinates: float32, finite, at least two of them distinct.

    Meshes (STL, OBJ, OFF, PLY, GLB, glTF, 3MF): (num_points, 3), sampled uniformly by area; scenes are
    flattened with their transforms, and loose vertices next to faces do not count. Files without faces
    (PLY, XYZ, TXT, CSV, NPY, NPZ, PCD): the points themselves, (N, 3), or a random choice of num_points if
    there are more. The same bytes and the same seed give the same points. An object further from the origin
    than 1,000 times its own size is moved to the origin, because float32 could not resolve it there.

    Raises MeshError (a ValueError) with one line that names the file, what is wrong with it and what to do;
    ValueError for a num_points below 2 or a seed that is no whole number of 0 or more.
    """
    path = Path(path)
    check_seed(seed)
    suffix = path.suffix.lower()
    reader = read_xyz if suffix in NAMED_SUFFIXES else READERS.get(suffix)
    if reader is None:
        known = " ".join(SUPPORTED_SUFFIXES + NAMED_SUFFIXES)
        raise MeshError(path, f"has the suffix {path.suffix!r}: expected one of {known}")
    if num_points < 2:
        raise ValueError(f"num_points is {num_points}: expected at least 2")
    try:
        data = path.read_bytes()
        if not data:
            raise MeshError(path, "is empty (0 bytes): export or copy it again")
        if path.suffix.lower() in TEXT_SUFFIXES:
            data = data.removeprefix(codecs.BOM_UTF8)  # what Windows editors put before text
        # Overflow is looked for where it matters, after reading.
        with np.errstate(all="ignore"):
            return points_of(path, reader(path, data), num_points, seed)
    except FileNotFoundError as error:
        raise MeshError(path, "does not exist: check the path") from error
    except IsADirectoryError as error:
        raise MeshError(path, "is a folder: expected a file") from error
    except PermissionError as error:
        raise MeshError(path, "may not be read: check its permissions") from error
    except OSError as error:
        raise MeshError(path, f"cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise MeshError(path, "needs more memory than there is: simplify the mesh") from error
    except Exception as error:  # whatever a damaged file made a reader stumble over
        if isinstance(error, MeshError):
            raise
        said = f"{type(error).__name__}: {str(error)[:120]}"
        raise MeshError(path, f"is damaged ({said}): export or copy it again") from error


def find_files(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Files behind paths: a file is itself (whatever its suffix); folders, searched to the bottom, and
    globs give what has a supported suffix and is not hidden. Sorted by name, each file once.

    Raises FileNotFoundError if a path or glob leads to nothing.
    """
    files, missing = search_files(paths)
    for name, reason in missing:
        raise FileNotFoundError(f"{name}: {reason}")
    return files


def search_files(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> tuple[list[Path], list[tuple[str, str]]]:
    """What find_files gives, and (path, reason) of every path or glob that leads to nothing."""
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    found: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for given in paths:
        name = os.fspath(given)
        path = Path(name)
        if path.is_dir():
            here = [
                Path(folder, file)
                for folder, _, files in os.walk(path)
                for file in files
                if _wanted(file) and not _is_feature_table(Path(folder, file))
            ]
            if not here:
                missing[name] = f"no files there with a suffix of {' '.join(SUPPORTED_SUFFIXES)}"
        elif path.exists():
            here = [path]
        elif glob.has_magic(name):
            matches = [Path(match) for match in glob.glob(name, recursive=True)]
            here = [match for match in matches if match.is_file() and _wanted(match.name)]
            if not here:
                missing[name] = f"matches no file with a suffix of {' '.join(SUPPORTED_SUFFIXES)}"
        else:
            here, missing[name] = [], "no such file or folder"
        for file in here:
            found.setdefault(os.path.abspath(file), file)
    return sorted(found.values(), key=lambda file: file.as_posix()), list(missing.items())


def passed_over(paths: Iterable[str | os.PathLike[str]]) -> dict[str, int]:
    """How many files below these folders hold shapes in formats that are not read (`OTHER_SHAPES`): suffix
    -> count, the most frequent first. Files that are named themselves fail instead."""
    below = {
        os.path.abspath(os.path.join(folder, file))
        for path in paths
        if os.path.isdir(path)
        for folder, _, files in os.walk(path)
        for file in files
        if not file.startswith(".")
    }
    counts = Counter(Path(file).suffix.lower() for file in below)
    return {suffix: count for suffix, count in counts.most_common() if suffix in OTHER_SHAPES}


def check_seed(seed: object) -> None:
    """Raises ValueError if it is not a whole number of 0 or more."""
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed: a whole number of 0 or more expected, got {seed!r}")


def _is_feature_table(path: Path) -> bool:
    """An .npz of features, as `embed_files` writes it, is not a shape that somebody left in the folder."""
    if path.suffix.lower() != ".npz":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {"paths.npy", "features.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False  # read_points will say what is wrong with it


def _wanted(name: str) -> bool:
    return Path(name).suffix.lower() in READERS and not name.startswith(".")
