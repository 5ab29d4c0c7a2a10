"""Write the meshes of examples/meshes: seven pairs of objects, in seven file formats. y is up.

    python examples/make_meshes.py [FOLDER]

The meshes are the same every time. The two of a pair are built alike and differ in proportions and details,
so you see at once whether nearest neighbours make sense.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.exchange.gltf import export_glb, export_gltf

from pointmae_zoo.procedural.bricks import gear, handle, regular, shell
from pointmae_zoo.procedural.constructive_geometry import LAID, SIDEWAYS, Assembly, turn_x, turn_y
from pointmae_zoo.procedural.primitives import convex, cylinder, dome, extrude, lathe, sphere, strip, torus

Array = NDArray[np.float64]


def four_legs(width: float, depth: float, height: float, thick: float) -> Assembly:
    leg = Assembly().box((width / 2, height / 2, depth / 2), (thick, height, thick))
    return Assembly().mirror(Assembly().mirror(leg, 2), 0)


def chair(width: float, height: float, back: float, slats: int) -> Assembly:
    a = four_legs(width - 0.04, width - 0.04, height, 0.04).box((0, height, 0), (width, 0.04, width))
    z = -width / 2 + 0.02
    if slats:
        post = Assembly().box((width / 2 - 0.02, height + back / 2, z), (0.04, back, 0.04))
        rail = Assembly().box((0, 0, 0), (width, back / slats * 0.5, 0.02))
        a.mirror(post).row(rail, slats, (0, back / slats, 0), (0, height + back / slats * 0.7, z))
    else:
        a.box((0, height + back / 2, z), (width, back, 0.03))
    return a


def table(width: float, depth: float, height: float, thick: float) -> Assembly:
    a = four_legs(width * 0.9, depth * 0.88, height, thick)
    apron = Assembly().box((width * 0.45, height - 0.06, 0), (0.02, 0.1, depth * 0.88))
    return a.mirror(apron).box((0, height, 0), (width, 0.03, depth))


def mug(radius: float, height: float, waist: float) -> Assembly:
    y = np.linspace(0, 1, 6)
    line = np.stack([radius * (1 - waist * np.sin(np.pi * y)), height * y], 1)
    a = Assembly().add(shell(line, 0.08 * radius, 28))
    grip = handle(0.55 * radius, 0.07, 8)
    return a.add(grip, (radius * (0.95 - waist), height / 2, 0), (1, 0.65 * height, 1))


def bolt(width: float, length: float, threads: int) -> Assembly:
    a = Assembly().add(cylinder(6), (0, 0.35 * width, 0), (2 * width, 0.7 * width, 2 * width))
    a.add(cylinder(20), (0, -length / 2, 0), (width, length, width))
    pitch = 0.6 * length / threads
    thread = Assembly().add(torus(0.16, 20, 4), size=(1.2 * width, 0.7 * width, 1.2 * width))
    a.row(thread, threads, (0, -pitch, 0), (0, -0.38 * length, 0))
    return a.add(cylinder(20, 0.6), (0, -length - 0.1 * width, 0), (width, 0.2 * width, width), turn_x(np.pi))


def lamp_parts(height: float, shade: float, top: float) -> dict[str, Assembly]:
    cone = lathe(
        np.array([(0.5, -0.5), (0.5 * top, 0.5), (0.5 * top - 0.03, 0.5), (0.47, -0.5)]), 24, closed=True
    )
    foot = Assembly().add(dome(24, 4), size=(0.7 * shade, 0.16, 0.7 * shade))
    return {
        "foot": foot,
        "pole": Assembly().rod((0, 0, 0), (0, height, 0), 0.05, sides=12),
        "shade": Assembly().add(cone, (0, height, 0), (shade, 0.7 * shade, shade)),
        "bulb": Assembly().add(sphere(12, 8), (0, height + 0.05, 0), 0.16),
    }


def cogwheel(teeth: int, depth: float, bore: float, thick: float) -> Assembly:
    rim = gear(teeth, depth)
    hole = regular(len(rim), 0.5 * bore)
    a = Assembly().add(extrude(strip(rim, hole, closed=True)), size=(1, 1, thick), turn=LAID)
    hub = strip(regular(24, 0.8 * bore), regular(24, 0.5 * bore), closed=True)
    return a.add(extrude(hub), size=(1, 1, 2 * thick), turn=LAID)


def plate(size: float, thick: float, hole: float) -> Assembly:
    """A square plate from x = 0 to ``size`` on the ground, with a round hole in the middle."""
    corner = regular(24, 1.0, np.pi / 24)
    square = corner / np.abs(corner).max(1, keepdims=True) / 2
    drilled = extrude(strip(square, regular(24, hole / size / 2, np.pi / 24), closed=True))
    return Assembly().add(drilled, (size / 2, 0, 0), (size, size, thick), LAID)


def bracket(size: float, thick: float, hole: float, ribs: bool) -> Assembly:
    flat = plate(size, thick, hole)
    a = Assembly().include(flat).include(flat, (thick / 2, 0, 0), turn=SIDEWAYS)
    if ribs:
        rib = extrude(convex([(0, 0), (0.45, 0), (0, 0.45)]))
        a.mirror(Assembly().add(rib, (0, 0, 0.42 * size), (size, size, thick)), 2)
    return a


def joined(triangles: Array) -> trimesh.Trimesh:
    """One mesh, equal corners shared, in an order that depends on nothing but the triangles."""
    corners, faces = np.unique(triangles.reshape(-1, 3).round(6) + 0.0, axis=0, return_inverse=True)
    faces = faces.reshape(-1, 3)
    flat = (faces[:, 0] == faces[:, 1]) | (faces[:, 1] == faces[:, 2]) | (faces[:, 2] == faces[:, 0])
    return trimesh.Trimesh(corners, faces[~flat], process=False)


def scene(parts: dict[str, Assembly], turn: Array) -> trimesh.Scene:
    """Each part is a node. Its mesh is stored rotated, and the node's transform rotates it back."""
    whole = trimesh.Scene()
    place = np.eye(4)
    place[:3, :3] = turn
    for name, part in parts.items():
        whole.add_geometry(joined(part.triangles() @ turn), node_name=name, geom_name=name, transform=place)
    return whole


def meshes() -> dict[str, bytes | str]:
    """File name -> contents."""

    def mesh(assembly: Assembly) -> trimesh.Trimesh:
        return joined(assembly.triangles())

    floor_lamp = lamp_parts(1.5, 0.45, 0.5)
    table_lamp = lamp_parts(0.8, 0.6, 0.6)
    lamp_gltf = export_gltf(scene(table_lamp, turn_y(0.5)), embed_buffers=True)["model.gltf"]
    slatted = {"chair": chair(0.42, 0.48, 0.55, 3)}
    return {
        "bolt_long.3mf": mesh(bolt(8, 50, 9)).export(file_type="3mf"),
        "bolt_short.stl": mesh(bolt(10, 32, 6)).export(file_type="stl"),
        "bracket_plain.stl": mesh(bracket(60, 6, 22, False)).export(file_type="stl_ascii"),
        "bracket_ribbed.glb": export_glb(scene({"bracket": bracket(80, 6, 30, True)}, turn_x(0.7))),
        "chair_panel.stl": mesh(chair(0.45, 0.45, 0.5, 0)).export(file_type="stl"),
        "chair_slatted.glb": export_glb(scene(slatted, turn_x(np.pi / 2))),
        "gear_coarse.off": mesh(cogwheel(10, 0.8, 0.25, 0.12)).export(file_type="off"),
        "gear_fine.3mf": mesh(cogwheel(16, 0.86, 0.3, 0.12)).export(file_type="3mf"),
        "lamp_floor.ply": joined(np.concatenate([p.triangles() for p in floor_lamp.values()])).export(
            file_type="ply"
        ),
        "lamp_table.gltf": lamp_gltf,
        "mug_tall.obj": mesh(mug(0.4, 1.1, 0.06)).export(file_type="obj"),
        "mug_wide.ply": mesh(mug(0.5, 0.95, 0.0)).export(file_type="ply", encoding="ascii"),
        "table_long.obj": mesh(table(1.8, 0.8, 0.72, 0.07)).export(file_type="obj"),
        "table_square.off": mesh(table(1.2, 1.0, 0.74, 0.08)).export(file_type="off"),
    }


def write(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in meshes().items():
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        paths.append(path)
    return paths


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent / "meshes")
    for written in write(parser.parse_args().folder):
        print(f"{written.stat().st_size / 1024:6.1f} kB  {written}")
