"""From any mesh or point file to points. Imports numpy and what a format needs (DracoPy, earcut), not
torch."""

import codecs
import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.contents import (
    GZIP,
    ZIP,
    archive_contents,
    check_members,
    no_shape,
    shape_format,
    unpacked,
)
from pointmae_zoo.shapes.formats.cad import read_iges, read_step
from pointmae_zoo.shapes.formats.gltf import read_gltf
from pointmae_zoo.shapes.formats.obj import read_obj
from pointmae_zoo.shapes.formats.off import read_off
from pointmae_zoo.shapes.formats.pcd import read_pcd
from pointmae_zoo.shapes.formats.ply import read_ply
from pointmae_zoo.shapes.formats.points import read_npy, read_npz, read_xyz
from pointmae_zoo.shapes.formats.stl import read_stl
from pointmae_zoo.shapes.formats.threemf import read_3mf
from pointmae_zoo.shapes.measures import Measures, measure
from pointmae_zoo.shapes.notes import about, note
from pointmae_zoo.shapes.pose import second_moments
from pointmae_zoo.shapes.suffixes import (
    FORMAT_NAMES,
    SUPPORTED_SUFFIXES,
    TEXT_SUFFIXES,
    TEXT_TABLES,
    suffix_of,
)
from pointmae_zoo.shapes.surface import Geometry, MeshError, points_of
from pointmae_zoo.shapes.surface_sample import SurfaceSample, sample_surface

__all__ = ["MeshError", "read_geometry", "read_points", "read_points_and_size", "read_surface"]

READERS: dict[str, Callable[[bytes], Geometry]] = {
    ".stl": read_stl,
    ".obj": read_obj,
    ".off": read_off,
    ".ply": read_ply,
    ".3mf": read_3mf,
    ".xyz": read_xyz,
    ".npy": read_npy,
    ".npz": read_npz,
    ".pcd": read_pcd,
    ".step": read_step,
    ".iges": read_iges,
}


def read_points(
    path: str | os.PathLike[str], num_points: int = 8192, *, seed: int = 0
) -> NDArray[np.float32]:
    """Points of one file, in the file's own coordinates: float32, finite, at least two of them distinct.

    Meshes (STL, OBJ, OFF, PLY, GLB, glTF, 3MF, STEP, IGES) give (num_points, 3) points, sampled uniformly by
    area. Scenes are flattened with their transforms; vertices that no face uses don't count. Files without
    faces (PLY, XYZ, TXT, CSV, NPY, NPZ, PCD) give their own points, (N, 3), or a random choice of num_points
    if there are more. The same bytes and the same seed give the same points. An object farther from the
    origin than 1,000 times its own size is moved there, because float32 could not resolve it otherwise.

    The content decides the format if it leaves no doubt, otherwise the suffix. Files compressed with gzip
    (``.stl.gz``) are read, and text with a point in each row may also be called .txt, .csv, .asc or .pts.
    A warning (`shapes.notes.ReadNote`) says what was left out or doesn't fit the name.

    Raises MeshError (a ValueError) with one line that names the file, what is wrong with it and what to do;
    ValueError for a num_points below 2 or a seed that is no whole number of 0 or more.
    """
    points, _ = _sampled(Path(path), num_points, seed)
    return points


class PointsRead(NamedTuple):
    """What `read_points_and_size` gives."""

    points: NDArray[np.float32]
    """(N, 3), as of `read_points`."""
    moments: NDArray[np.float64]
    """(3, 3) second moments of the whole surface, or of all points of a file without faces; see
    `shapes.pose.second_moments`."""
    measures: Measures


def read_points_and_size(
    path: str | os.PathLike[str], num_points: int = 8192, *, seed: int = 0
) -> PointsRead:
    """The points of `read_points`, and the moments and the size of the whole surface. The file is read once.

    Raises as `read_points` does.
    """
    path = Path(path)
    points, geometry = _sampled(path, num_points, seed)
    with _errors_in_words(path):
        return PointsRead(points, second_moments(geometry), measure(geometry))


def read_surface(path: str | os.PathLike[str], *, seed: int = 0) -> tuple[SurfaceSample, Measures, str]:
    """What comparing a file with others needs: points of its surface, its size, and the sha256 of its bytes.

    Raises as `read_points` does.
    """
    check_seed(seed)
    path = Path(path)
    with _errors_in_words(path):
        data = _content(path)
        geometry = _geometry(path, data)
        points_of(geometry, 2, seed)  # raises for all that cannot be sampled
        return sample_surface(geometry, seed), measure(geometry), hashlib.sha256(data).hexdigest()


def _sampled(path: Path, num_points: int, seed: int) -> tuple[NDArray[np.float32], Geometry]:
    check_seed(seed)
    if num_points < 2:
        raise ValueError(f"num_points is {num_points}: expected at least 2")
    with _errors_in_words(path):
        geometry = _geometry(path, _content(path))
        return points_of(geometry, num_points, seed), geometry


def read_geometry(path: str | os.PathLike[str]) -> Geometry:
    """All triangles of one file, or its points if it has none, as `read_points` samples them.

    Raises MeshError as `read_points` does.
    """
    with _errors_in_words(Path(path)):
        return _geometry(Path(path), _content(Path(path)))


@contextlib.contextmanager
def _errors_in_words(path: Path) -> Iterator[None]:
    """Turn every error in the block into a MeshError with this path; remarks name the file."""
    try:
        with about(path), np.errstate(all="ignore"):  # overflow is looked for where it matters, after reading
            yield
    except FileNotFoundError as error:
        raise MeshError(_why_not_there(path), path) from error
    except IsADirectoryError as error:
        raise MeshError("is a folder: expected a file", path) from error
    except PermissionError as error:
        raise MeshError("may not be read: check its permissions", path) from error
    except OSError as error:
        raise MeshError(f"cannot be read: {error.strerror or error}", path) from error
    except MemoryError as error:
        raise MeshError("needs more memory than there is: simplify the mesh", path) from error
    except MeshError as error:
        error.path = str(path)
        raise
    except Exception as error:  # whatever a damaged file made a reader stumble over
        said = f"{type(error).__name__}: {str(error)[:120]}"
        raise MeshError(f"is damaged ({said}): export or copy it again", path) from error


def _geometry(path: Path, data: bytes) -> Geometry:
    """The geometry of a file with this content, by the reader that it asks for, or else its suffix."""
    named = suffix_of(path.name)
    if data.startswith(GZIP):
        if not path.name.lower().endswith(".gz"):
            note("is compressed with gzip, although its name does not end in .gz")
        data = unpacked(data)
        if data.startswith(GZIP):
            raise MeshError("is compressed with gzip twice: unpack it")
        if not data:
            raise MeshError("is compressed with gzip and holds nothing: export or copy it again")
    found = shape_format(data)
    if found is None and (reason := no_shape(data)) is not None:
        raise MeshError(reason if ": " in reason else f"{reason} and holds no shape")
    if found is None and data.startswith(ZIP) and (reason := archive_contents(data)) is not None:
        raise MeshError(reason if ": " in reason else f"{reason} and holds no shape")
    suffix = found or (".xyz" if named in TEXT_TABLES else named)
    if data.startswith(ZIP) and suffix not in (".3mf", ".npz"):
        raise MeshError("is a zip archive, and a damaged one: copy it again and unpack it")
    if suffix not in SUPPORTED_SUFFIXES:
        what = f"has the suffix {named!r}" if named else "has no suffix"
        raise MeshError(f"{what}: expected one of {' '.join(SUPPORTED_SUFFIXES)}")
    if data.startswith(ZIP):
        check_members(data)
    if suffix in TEXT_SUFFIXES:
        data = data.removeprefix(codecs.BOM_UTF8)  # what Windows editors put before text
    if suffix != named and not (suffix == ".xyz" and named in TEXT_TABLES):
        note(f"is {FORMAT_NAMES[suffix]} by its content, despite its name, and was read as that")
    return read_format(suffix, data, path)


def read_format(suffix: str, data: bytes, path: Path) -> Geometry:
    """What these bytes hold, by the reader for this suffix. glTF may name files beside ``path``."""
    return READERS[suffix](data) if suffix in READERS else read_gltf(data, path.with_suffix(suffix))


def _content(path: Path) -> bytes:
    """The bytes of a regular file. Anything else might never end, so it isn't even opened."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(mode), "a device")
        raise MeshError(f"is no regular file but {kind}: save what it gives in a file")
    data = path.read_bytes()
    if not data:
        raise MeshError("is empty (0 bytes): export or copy it again")
    return data


def _why_not_there(path: Path) -> str:
    if not os.path.islink(path):
        return "does not exist: check the path"
    return f"is a link to {os.readlink(path)}, which does not exist: put the file there, or remove the link"


def check_seed(seed: object) -> None:
    """Raises ValueError if it is not a whole number of 0 or more."""
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed: a whole number of 0 or more expected, got {seed!r}")
