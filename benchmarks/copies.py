"""How often a copy of a mesh finds its original, and `find_duplicates` says so: ``python -m benchmarks copies
FOLDER``.

Each of the folder's meshes is copied in several ways, as copies arise in a collection of parts. Copies are
embedded with another seed than the originals, because equal meshes with equal seeds give equal samples.
"""

import hashlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import trimesh
from numpy.typing import NDArray

from benchmarks.results_file import write_results
from pointmae_zoo.inference import embed_files
from pointmae_zoo.library import find_duplicates
from pointmae_zoo.library.duplicate_report import DuplicateGroup, DuplicateReport
from pointmae_zoo.shapes.file_search import find_files
from pointmae_zoo.shapes.pose import Pose, rotations, second_moments
from pointmae_zoo.shapes.read import MeshError, read_geometry
from pointmae_zoo.shapes.surface import Geometry
from pointmae_zoo.shapes.up_axis import AXES

KINDS = {
    "sample": "other points of the same surface",
    "saved": "with its triangles in another order, as OBJ",
    "scaled": "by a factor from 0.1 to 30",
    "remeshed": "subdivided, then decimated to a third of the triangles that this gives",
    "coarse": "decimated to a third of its own triangles; of parts with few, another shape",
    "mirrored": "across a vertical plane",
    "moved": "moved and turned about up",
    "turned": "turned by any rotation",
    "remeshed_turned": "remeshed and turned by any rotation",
}
VERDICTS = {kind: ("same_shape",) for kind in KINDS} | {
    "sample": ("identical",),
    "saved": ("identical",),
    "scaled": ("scaled",),
    "mirrored": ("mirrored", "same_shape", "identical"),  # the latter of a symmetric part
    "remeshed": ("identical", "same_shape"),
    "coarse": ("identical", "same_shape", "scaled"),
}
"""What `find_duplicates` should call each kind of copy."""
FEWEST_TRIANGLES = 100  # a remeshed copy has at least as many, so that a box stays a box


def measure_copies(
    machine: dict[str, Any], folder: Path, out: Path | None, *, most: int | None, up: str, model: str
) -> int:
    """Print for each pose and kind of copy how often the original comes first, and among the first five.

    Args:
        most: only so many meshes of the folder, the smallest files. None: all.
        up: the axis (x, y or z) that points up in the files.
    """
    originals = _distinct(folder, most)
    if len(originals) < 2:
        raise SystemExit(f"{folder}: at least 2 different meshes expected, found {len(originals)}")
    print(f"{len(originals)} meshes of {folder}, {model}: original first / among five\n")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        for number, (_, mesh) in enumerate(originals):
            for kind, copy in _copies(mesh, up, np.random.default_rng(number)).items():
                (Path(home) / kind).mkdir(exist_ok=True)
                copy.export(Path(home) / kind / f"{number:06}{'.obj' if kind == 'saved' else '.stl'}")
        kinds = [kind for kind in KINDS if (Path(home) / kind).is_dir()]
        print(f"{'':<9}" + "".join(f"{kind:>17}" for kind in kinds) + f"{'passes':>8}{'ms a file':>11}")
        for pose in get_args(Pose):
            settings: dict[str, Any] = {"up": up, "pose": pose, "progress": False}
            begun = time.perf_counter()
            stored = embed_files([path for path, _ in originals], model, **settings)
            seconds = (time.perf_counter() - begun) / len(originals)
            places = {name: row for row, name in enumerate(stored.paths)}
            order = [places[str(path)] for path, _ in originals]
            table = embed_files(home, model, seed=1, **settings)
            kind_of = np.array([Path(name).parent.name for name in table.paths])
            number_of = np.array([int(Path(name).stem) for name in table.paths])
            found = {}
            for kind in kinds:
                own = kind_of == kind
                found[kind] = recall(table.features[own], stored.features[order], number_of[own])
            passes = float(np.mean([_poses(mesh, pose, up) for _, mesh in originals]))
            results[pose] = {"recall": found, "passes": passes, "seconds_a_file": seconds}
            cells = "".join(f"{f'{one:.3f} / {five:.3f}':>17}" for one, five in found.values())
            print(f"{pose:<9}{cells}{passes:>8.2f}{1e3 * seconds:>11.1f}", flush=True)
        duplicates = measure_duplicates([path for path, _ in originals], Path(home), kinds)
    if out is not None:
        files = {"folder": folder.name, "meshes": len(originals), "up": up, "model": model}
        write_results(
            out,
            {"machine": machine, **files, "kinds": {k: KINDS[k] for k in kinds}, "poses": results}
            | {"duplicates": duplicates},
        )
    return 0


def measure_duplicates(originals: list[Path], copies: Path, kinds: list[str]) -> dict[str, Any]:
    """Print for each kind of copy how many `find_duplicates` puts with their originals, how many of these
    have the right verdict, and which share of all that it calls copies are.

    Originals that are copies of each other, such as a left and a right part, count as one.

    Args:
        originals: files, all different.
        copies: a folder for each kind, with a file for each original, named by its number.
    """
    first_ones = copies / "0"  # sorts before all kinds, so originals come first in their groups
    first_ones.mkdir()
    originals = [
        Path(shutil.copy(path, first_ones / f"{number:06}{path.suffix}"))
        for number, path in enumerate(originals)
    ]
    number_of = {str(path): number for number, path in enumerate(originals)}
    alone = find_duplicates(originals, variants=False, progress=False)
    shape_of = {number: number for number in number_of.values()}
    for group in _copies_in(alone):
        first, *others = (number_of[one.file.path] for one in group.members)
        shape_of.update(dict.fromkeys(others, first))
    twins = len(originals) - len(set(shape_of.values()))
    print(f"\nduplicates: {twins} originals are copies of others (left and right ...)")
    print(f"{'':<17}{'found':>8}{'verdict':>9}{'precision':>11}{'ms a file':>11}")
    results: dict[str, Any] = {"copies_among_originals": twins}
    for kind in kinds:
        begun = time.perf_counter()
        files = sorted((copies / kind).iterdir())
        report = find_duplicates([*originals, *files], variants=False, progress=False)
        seconds = (time.perf_counter() - begun) / (len(originals) + len(files))
        numbers = number_of | {str(file): int(file.stem) for file in files}
        found = right = judged = wrong = 0
        for group in _copies_in(report):
            members = {one.file.path: one for one in group.members}
            first = group.members[0].file.path
            wrong += sum(shape_of[numbers[path]] != shape_of[numbers[first]] for path in members)
            for path, one in members.items():
                if path in number_of or str(originals[numbers[path]]) not in members:
                    continue
                found += 1
                if first == str(originals[numbers[path]]):
                    judged += 1
                    right += one.verdict in VERDICTS[kind]
        called = sum(len(group.members) - 1 for group in _copies_in(report))
        results[kind] = {
            "found": found / len(files),
            "verdict_right": right / max(judged, 1),
            "precision": 1 - wrong / max(called, 1),
            "seconds_a_file": seconds,
        }
        one = results[kind]
        print(
            f"{kind:<17}{one['found']:>8.3f}{one['verdict_right']:>9.3f}{one['precision']:>11.3f}"
            f"{1e3 * seconds:>11.1f}",
            flush=True,
        )
    return results


def _copies_in(report: DuplicateReport) -> list[DuplicateGroup]:
    return [group for group in report.groups if group.verdict != "variant"]


def recall(
    copies: NDArray[np.float32], originals: NDArray[np.float32], numbers: NDArray[np.int64]
) -> tuple[float, float]:
    """How often the original of a copy has the largest cosine similarity, and one of the five largest.

    Args:
        copies: features (M, D).
        originals: features (K, D).
        numbers: (M,) which of the originals each copy is of.
    """
    first, second = (
        rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        for rows in (copies, originals)
    )
    scores = first @ second.T
    own = scores[np.arange(len(copies)), numbers]
    nearer = (scores > own[:, None]).sum(axis=1)
    return float((nearer < 1).mean()), float((nearer < 5).mean())


def _distinct(folder: Path, most: int | None) -> list[tuple[Path, Any]]:
    """The smallest files of a folder that hold meshes, none twice, with their meshes."""
    files = sorted(find_files(folder), key=lambda path: (path.stat().st_size, path.as_posix()))
    found: dict[str, tuple[Path, Any]] = {}
    for path in files:
        if len(found) == most:
            break
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        if content in found:
            continue
        try:
            corners = read_geometry(path).triangles.transpose(2, 0, 1).astype(np.float64).reshape(-1, 3)
        except MeshError:
            continue
        if len(corners):
            found[content] = path, trimesh.Trimesh(corners, np.arange(len(corners)).reshape(-1, 3))
    return list(found.values())


def _copies(mesh: Any, up: str, rng: np.random.Generator) -> dict[str, Any]:
    """A copy of each kind; none that is remeshed without the package that decimates."""
    vertical = AXES.index(up)
    across = np.eye(4)
    across[(vertical + 1) % 3, (vertical + 1) % 3] = -1
    about = trimesh.transformations.rotation_matrix(rng.uniform(0, 2 * np.pi), np.eye(3)[vertical])
    about[:3, 3] = rng.uniform(-2, 2, 3) * mesh.extents.max()
    turn = trimesh.transformations.random_rotation_matrix(rng.random(3))
    copies = {
        "sample": mesh,
        "saved": trimesh.Trimesh(mesh.vertices, rng.permutation(mesh.faces), process=False),
        "scaled": mesh.copy().apply_scale(float(np.exp(rng.uniform(np.log(0.1), np.log(30))))),
        "mirrored": mesh.copy().apply_transform(across),
        "moved": mesh.copy().apply_transform(about),
        "turned": mesh.copy().apply_transform(turn),
    }
    try:
        remeshed, coarse = _decimated(mesh.subdivide()), _decimated(mesh)
    except ImportError:
        return copies
    return copies | {
        "remeshed": remeshed,
        "remeshed_turned": remeshed.copy().apply_transform(turn),
        "coarse": coarse,
    }


def _decimated(mesh: Any) -> Any:
    """With a third of its triangles, but not less than `FEWEST_TRIANGLES`."""
    count = max(FEWEST_TRIANGLES, len(mesh.faces) // 3)
    return mesh.copy() if count >= len(mesh.faces) else mesh.simplify_quadric_decimation(face_count=count)


def _poses(mesh: Any, pose: Pose, up: str) -> int:
    """How often the mesh goes through the network."""
    corners = mesh.vertices[mesh.faces].transpose(1, 2, 0)
    return len(rotations(second_moments(Geometry(corners, np.empty((0, 3)))), pose, up))
