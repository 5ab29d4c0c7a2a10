"""Every mesh of the corpus read twice: by our readers and by assimp, which shares no code with them.

Bounding box, area and number of triangles must agree, or the difference is explained below.
"""

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from pointmae_zoo.shapes.read import MeshError, read_geometry

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = {".stl", ".obj", ".off", ".ply", ".glb", ".gltf", ".3mf"}

# Reads each file that stdin names and prints its measures as JSON, or why there are none. In a process of its
# own: assimp crashes on some damaged files.
READER = """
import json, sys
import assimp_py
import numpy as np

flags = assimp_py.Process_Triangulate | assimp_py.Process_PreTransformVertices
for line in sys.stdin:
    path = json.loads(line)
    try:
        meshes = assimp_py.import_file(path, flags).meshes
        parts = [np.asarray(m.vertices, float).reshape(-1, 3)[np.asarray(m.indices)] for m in meshes
                 if m.indices is not None and len(m.indices) and len(m.indices) % 3 == 0]
        corners = np.concatenate([part.reshape(-1, 3) for part in parts]).reshape(-1, 3, 3)
        crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(crossed, axis=1) / 2
        solid = corners.reshape(-1, 3)
        found = {"low": solid.min(0).tolist(), "high": solid.max(0).tolist(), "area": area.sum(),
                 "triangles": int((area > 1e-8 * np.ptp(solid, axis=0).max() ** 2).sum())}
    except Exception as error:
        found = {"refused": str(error)[:100]}
    print(json.dumps(found), flush=True)
"""


class Measures(NamedTuple):
    """Of the triangles of a file; those of next to no area don't count."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    area: float
    triangles: int


def by_assimp(files: list[Path]) -> Iterator[dict[str, Any]]:
    """What assimp finds in each file, in their order."""
    child: subprocess.Popen[str] | None = None
    for file in files:
        if child is None:
            child = subprocess.Popen(
                [sys.executable, "-c", READER],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps(str(file)) + "\n")
        child.stdin.flush()
        if line := child.stdout.readline():
            yield json.loads(line)
        else:
            child.wait()
            child = None
            yield {"refused": "assimp crashed"}
    if child is not None:
        child.communicate()


def ours(file: Path) -> Measures | None:
    """Ours of the same file; None: it has no triangles."""
    corners = read_geometry(file).triangles.astype(np.float64)  # (3 corners, 3 axes, F)
    if not corners.shape[2]:
        return None
    crossed = np.cross(corners[1] - corners[0], corners[2] - corners[0], axis=0)
    area = np.linalg.norm(crossed, axis=0) / 2
    low, high = corners.min((0, 2)), corners.max((0, 2))
    return Measures(low, high, float(area.sum()), int((area > 1e-8 * (high - low).max() ** 2).sum()))


def by_trimesh(file: Path) -> dict[str, Any]:
    """What trimesh finds: for files that assimp refuses, as most builds of it do with Draco."""
    try:
        geometry = trimesh.load_scene(file, process=False, skip_materials=True).to_geometry()
        corners = np.asarray(geometry.triangles, dtype=np.float64)
        crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(crossed, axis=1) / 2
        solid = corners.reshape(-1, 3)
        return {
            "low": solid.min(0).tolist(),
            "high": solid.max(0).tolist(),
            "area": float(area.sum()),
            "triangles": int((area > 1e-8 * np.ptp(solid, axis=0).max() ** 2).sum()),
        }
    except Exception as error:  # it lets every kind escape
        return {"refused": str(error)[:100]}


def difference(file: Path, theirs: dict[str, Any]) -> str:
    """In which way the two readers differ; empty: they agree, or neither finds triangles."""
    try:
        found = ours(file)
    except MeshError as error:
        return "" if "refused" in theirs else f"we refuse: {error.reason}"
    if found is None:
        return "" if "refused" in theirs else "we find no triangles"
    if "refused" in theirs:
        return f"refused there: {theirs['refused']}"
    size = float(np.linalg.norm(found.high - found.low))
    moved = max(np.abs(found.low - theirs["low"]).max(), np.abs(found.high - theirs["high"]).max())
    if moved > 1e-4 * size:
        return f"box {found.low.round(3)} {found.high.round(3)} here, {theirs['low']} {theirs['high']} there"
    if abs(found.area - theirs["area"]) > 1e-3 * found.area:
        return f"area {found.area:.6g} here, {theirs['area']:.6g} there"
    if abs(found.triangles - theirs["triangles"]) > 0.001 * found.triangles:
        return f"{found.triangles} triangles here, {theirs['triangles']} there"
    return ""


def compared(files: list[Path]) -> Iterator[tuple[Path, str]]:
    """Every file, with the difference to the second opinion, and to a third where the second has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file, theirs in zip(files, by_assimp(files), strict=True):
            told = difference(file, theirs)
            if told and "refused" in theirs:
                told = difference(file, by_trimesh(file))
            yield file, told


COMPONENTS = "components in other parts of the package: assimp and trimesh don't look there"
NOT_PRINTED = "we leave out what a slicer doesn't print"
ENCODED = "the URI is percent-encoded; trimesh doesn't decode it"
STREAMED = "the number of triangles in the header is wrong; the size of the file tells it"
POSED = "morph weights or joints move the mesh in its default pose; assimp gives the mesh without them"
CONCAVE = "a polygon that no fan from its first corner covers"
STRAIGHT = "a corner lies between its neighbours: cut elsewhere, one triangle more has no area"
GLTF_1 = "glTF 1 has another structure"
EXPLAINED = {
    "3mf-not-model/item_path_otherroot.3mf": COMPONENTS,
    "3mf-not-model/item_path_refused.3mf": COMPONENTS,
    "3mf-not-model/other_type_x0to1.3mf": NOT_PRINTED,
    "3mf-not-model/printable0_x0to1_or_51.3mf": NOT_PRINTED,
    "3mf-not-model/support_type_x0to1.3mf": NOT_PRINTED,
    "3mf-parts-in-one-other-file/a_two_objects_one_file.3mf": COMPONENTS,
    "3mf-parts-in-one-other-file/b_same_id_in_two_files.3mf": COMPONENTS,
    "gltf-encoded-uri/space.gltf": ENCODED,
    "gltf-encoded-uri/umlaut.gltf": ENCODED,
    "gltf-gpu-instancing/encoded_uri_0to1.gltf": ENCODED,
    "gltf-gpu-instancing/instancing_x0to41.gltf": "EXT_mesh_gpu_instancing, which assimp doesn't know",
    "gltf-gpu-instancing/normalized_0to1.gltf": "normalised integers, which assimp doesn't divide",
    "gltf-gpu-instancing/quantized_stride8_0to1.gltf": "quantised positions, which assimp reads as floats",
    "obj-continuation-negative/e_crlf_tabs_indent.obj": "indented and tabbed lines",
    "obj-continuation-negative/h_trailing_comments.obj": "comments behind numbers",
    "obj-continuation-negative/p_upper.obj": "keywords in capitals",
    "off/comments.off": "assimp drops a face behind a comment",
    "off/lower.off": "the keyword in small letters",
    "off/nokeyword.off": "no keyword; Geomview reads it",
    "off/three_per_line.off": "the format is free-form: lines mean nothing",
    "off/vertices_on_one_line.off": "the format is free-form: lines mean nothing",
    "ply-odd-order/gzip.ply": "compressed",
    "ply-odd-order/tristrips.ply": "assimp reads one triangle of each strip",
    "ply-odd-order/upper_XYZ.ply": "property names in capitals",
    "ply-odd-order/utf16.ply": "UTF-16",
    "stl-oddities/bin_count_ffffffff.stl": STREAMED,
    "stl-oddities/bin_count_low_by_one.stl": STREAMED,
    "stl-oddities/bin_count_zero_stream.stl": STREAMED,
    "stl-oddities/bin_solid_facet_trailing.stl": "bytes behind the triangles",
    "stl-oddities/bin_trailing.stl": "bytes behind the triangles",
    "stl-oddities/txt_no_endsolid.stl": "cut off, as far as anybody can tell: we refuse it",
    "3MF/cube_gears_prod_req.3mf": COMPONENTS,
    "3MF/production_components.3mf": COMPONENTS,
    "OBJ/box_longline.obj": "one polygon that goes round 234 times: its area has no meaning",
    "OBJ/concave_polygon.obj": CONCAVE,
    "OBJ/number_formats.obj": "3.1+e2 is no number: we refuse it",
    "OBJ/space_in_material_name.obj": CONCAVE,
    "models/glTF/BoxTextured-glTF/BoxTextured.gltf": GLTF_1,
    "models/glTF/BoxTextured-glTF-Embedded/BoxTextured.gltf": GLTF_1,
    "BoxTextured-glTF-MaterialsCommon/BoxTextured.gltf": GLTF_1,
    "CesiumMilkTruck/CesiumMilkTruck.gltf": GLTF_1,
    "TwoBoxes/TwoBoxes.gltf": GLTF_1,
    "IndexOutOfRange/IndexOutOfRange.gltf": "a face names a vertex that isn't there: we refuse it",
    "glTF/MorphPrimitivesTest.gltf": POSED,
    "glTF/SimpleMorph.gltf": POSED,
    "simple_skin/simple_skin.gltf": POSED,
    "PLY/ant-half.ply": "half of the file is missing: we refuse it",
    "cute_fish_pack/Humphead.glb": POSED,
    "cute_fish_pack/MandarinFish.glb": POSED,
    "cute_fish_pack/MoorishIdol.glb": POSED,
    "dinosaurs_pack/Parasaurolophus.glb": POSED,
    "platformer_game_pack/Lever.glb": POSED,
    "models/polygonfaces.obj": "polygons that are far from flat: triangles depend on where they are cut",
    "models/wallhole.obj": CONCAVE,
    "City-Builder-Bits-1.0/building_F.obj": STRAIGHT,
    "City-Builder-Bits-1.0/building_F_withoutBase.obj": STRAIGHT,
}
"""Where the readers differ, by the end of the path, and why."""


def meshes_below(*folders: Path) -> list[Path]:
    found = (file for folder in folders for file in folder.rglob("*"))
    return sorted(file for file in found if file.suffix.lower() in SUFFIXES and file.is_file())


def explanation(file: Path) -> str | None:
    return next((why for end, why in EXPLAINED.items() if file.as_posix().endswith(f"/{end}")), None)


def test_the_examples_are_what_another_reader_sees() -> None:
    found = list(compared(meshes_below(ROOT / "examples" / "meshes")))
    assert len(found) >= 14
    assert [(file.name, told) for file, told in found if told] == []


@pytest.mark.slow
def test_the_whole_corpus_is_what_another_reader_sees(testdata: Path) -> None:
    files = meshes_below(*(testdata / name for name in ("formats", "parts", "shapes/meshes")))
    files += meshes_below(testdata.parent / "cases")
    found = dict(compared(files))
    assert len(found) > 2700
    unexplained = [f"{file}: {told}" for file, told in found.items() if told and explanation(file) is None]
    assert unexplained == []
    stale = [file for file, told in found.items() if not told and explanation(file) is not None]
    assert stale == []


if __name__ == "__main__":
    named = meshes_below(*map(Path, sys.argv[1:]))
    differing = [(file, told) for file, told in compared(named) if told]
    for file, told in differing:
        print(f"{file} | {told} | {explanation(file) or 'UNEXPLAINED'}")
    print(f"{len(named)} files: {len(named) - len(differing)} equal, {len(differing)} different")
