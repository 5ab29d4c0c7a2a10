"""Trees, plants, rocks."""

import numpy as np

from pointmae_zoo.procedural.bricks import Dice, bow, profile, shell, turned
from pointmae_zoo.procedural.constructive_geometry import Assembly, aim, turn_x, turn_y, turn_z
from pointmae_zoo.procedural.primitives import (
    BOX,
    Primitive,
    capsule,
    cylinder,
    dome,
    extrude,
    frustum,
    sphere,
    strip,
    tube,
)


def leaf(d: Dice) -> Primitive:
    """A thin leaf from the origin along +x, length 1, drooping or rising."""
    kind = d.whole(0, 2)
    t = np.linspace(0, 1, 6)
    half = d.between(0.08, 0.3) * np.sin(np.pi * (0.05 + 0.9 * t) ** d.between(0.6, 1.5))
    if kind == 0:
        return extrude(strip(np.stack([t, half], 1), np.stack([t, -half], 1)))
    line = np.stack([t, d.between(-0.6, 0.5) * t**2 + d.between(0, 0.4) * t, 0 * t], 1)
    return tube(line, np.maximum(half * 0.5, 0.01), 5)


def rock_mesh(d: Dice) -> Primitive:
    """A lump: an angular lathe of few sides."""
    n = d.whole(3, 6)
    line = np.stack(
        [d.between(0.35, 0.5) * np.sin(np.linspace(0.4, 2.8, n)) * d.many(n, 0.7, 1.1), np.linspace(0, 1, n)],
        1,
    )
    return turned(line - (0, 0.5), d.whole(5, 9))


def tree(d: Dice) -> Assembly:
    """A trunk, straight or bent, bare or with roots, and a crown: balls, cones in tiers, one lathe, palm
    leaves, branches.
    """
    a = Assembly()
    height, width = d.between(0.5, 2.0), d.between(0.06, 0.22)
    top = np.array([0.0, height, 0.0])
    if d.chance(0.4):
        line = bow(d, 8) * height
        a.add(tube(line, width / 2 * np.linspace(1.2, 0.6, 8), d.pick((5, 6, 8))))
        top = line[-1]
    else:
        a.rod((0, 0, 0), top, width, sides=d.pick((5, 6, 8)), top=0.6)
    if d.chance(0.25):
        root = Assembly().rod((0, width, 0), (d.between(0.15, 0.4), -0.05, 0), width * 0.7, sides=5, top=0.4)
        a.ring(root, d.whole(3, 5), start=d.between(0, 1))
    kind = d.whole(0, 6)
    size = d.between(0.6, 1.5)
    if kind == 0:
        blobs = d.pick((sphere(8, 5), sphere(6, 4), rock_mesh(d), BOX))
        for _ in range(d.whole(1, 8)):
            s = size * d.between(0.4, 0.9)
            a.add(
                blobs, top + d.many(3, -0.35, 0.35) * size, s * d.many(3, 0.8, 1.2), turn_y(d.between(0, 6))
            )
    elif kind == 1:
        tiers, sides = d.whole(1, 5), d.pick((4, 5, 6, 8, 12))
        part = d.pick((cylinder(sides, 0.0), cylinder(sides, 0.4), frustum(0.0), cylinder(sides, 0.2)))
        for k in range(tiers):
            s = size * (1 - 0.7 * k / tiers)
            a.add(part, top + (0, (k * 0.45 - 0.1) * size, 0), (s, 0.75 * size, s), turn_y(0.5 * k))
    elif kind == 2:
        a.add(turned(profile(d), d.sides()), top - (0, 0.1, 0), (size, size * d.between(0.7, 2), size))
    elif kind == 3:
        frond = Assembly().add(
            leaf(d), size=(size * 0.8, size, size * d.between(0.05, 0.6)), turn=turn_z(d.between(-0.3, 0.6))
        )
        if d.chance(0.6):
            frond = frond.transformed(turn_x(np.pi / 2) if d.chance(0.3) else np.eye(3))
        fronds = Assembly().ring(frond, d.whole(5, 10))
        a.include(fronds, top)
        if d.chance(0.3):
            a.include(fronds, top + (0, 0.1, 0), 0.7, turn_y(0.4))
    else:
        forks, crown = d.whole(2, 5), d.pick((sphere(8, 5), sphere(6, 4), rock_mesh(d), None))
        for k in range(forks):
            start = top * d.between(0.5, 1)
            way = turn_y(2 * np.pi * k / forks + d.between(-0.4, 0.4)) @ np.array(
                [d.between(0.4, 1), d.between(0.3, 1), 0]
            )
            end = start + way * size * 0.5
            a.rod(start, end, width * 0.5, sides=5, top=0.6)
            if crown is not None:
                a.add(crown, end, size * d.between(0.35, 0.7))
            else:
                for _ in range(2):
                    a.rod(end, end + (way + d.many(3, -0.6, 0.6)) * size * 0.3, width * 0.3, sides=4, top=0.4)
        if d.chance(0.5) and crown is not None:
            a.add(crown, top + (0, 0.2 * size, 0), size)
    return a


def plant(d: Dice) -> Assembly:
    """Flowers, bushes, grass, cacti, mushrooms, ferns, pot plants, crops in rows."""
    a = Assembly()
    kind = d.whole(0, 5)
    if kind == 0:  # flowers
        flower = Assembly().add(d.pick((sphere(8, 4), dome(8), cylinder(8))), size=(0.2, 0.12, 0.2))
        petal = Assembly().add(sphere(6, 4), (0.2, 0, 0), (0.3, 0.05, 0.16), turn_z(d.between(-0.3, 0.9)))
        flower.ring(petal, d.whole(4, 8))
        for _ in range(d.pick((1, 1, 2, 4))):
            end = np.array([d.between(-0.3, 0.3), d.between(0.6, 1.3), d.between(-0.3, 0.3)])
            a.rod((0, 0, 0), end, 0.05, sides=5).include(flower, end, turn=turn_x(d.between(-0.6, 0.6)))
        if d.chance(0.6):
            blade = Assembly().add(leaf(d), size=(0.6, 0.6, 0.12), turn=turn_z(d.between(0.2, 1.0)))
            a.ring(blade, d.whole(2, 5))
    elif kind == 1:  # leaves from the ground
        blade = Assembly().add(leaf(d), size=(1, 1, d.between(0.05, 0.3)), turn=turn_z(d.between(0.3, 1.3)))
        count = d.whole(4, 10)
        for k in range(count):
            a.include(
                blade, size=d.between(0.5, 1.1), turn=turn_y(2 * np.pi * k / count + d.between(-0.3, 0.3))
            )
    elif kind == 2:  # a mushroom or two
        stem, hat = (
            turned(profile(d), d.sides()),
            d.pick((dome(12), dome(8), cylinder(12, 0.0), sphere(10, 6), cylinder(12, 0.4))),
        )
        for _ in range(d.pick((1, 1, 2, 3))):
            s = d.between(0.4, 1.0)
            x, z = d.between(-0.7, 0.7), d.between(-0.5, 0.5)
            a.add(stem, (x, 0, z), (0.4 * s, s, 0.4 * s)).add(
                hat, (x, 0.95 * s, z), (s, s * d.between(0.5, 1.2), s)
            )
    elif kind == 3:  # a cactus
        rod = capsule(4.0, d.pick((6, 8, 10)))
        a.add(rod, (0, 0.7, 0), (1.2, 1.5, 1.2))
        for _ in range(d.whole(0, 3)):
            y, way = d.between(0.4, 1.0), turn_y(d.pick((0.0, np.pi, 1.0)))
            arm = (
                Assembly()
                .rod((0, y, 0), (0.4, y, 0), 0.2, sides=6)
                .add(rod, (0.4, y + 0.25, 0), (0.8, 0.6, 0.8))
            )
            a.include(arm, turn=way)
    elif kind == 4:  # in a pot
        a.include(plant(d), (0, 0.5, 0), d.between(0.5, 1.0))
        a.add(shell(np.array([(d.between(0.2, 0.4), 0.0), (0.45, 1.0)]), 0.05, d.sides()), size=(1, 0.55, 1))
        return a
    else:  # a row or a patch of the same
        one = Assembly().rod((0, 0, 0), (0, 0.6, 0), 0.06, sides=5)
        one.add(
            d.pick((sphere(6, 4), capsule(3.0, 6), cylinder(6, 0.0))),
            (0, 0.6, 0),
            (0.3, d.between(0.2, 0.7), 0.3),
        )
        if d.chance(0.5):
            one.ring(Assembly().add(leaf(d), size=(0.4, 0.4, 0.06), turn=turn_z(0.7)), 3)
        for i in range(d.whole(1, 3)):
            a.row(one, d.whole(2, 5), (0.5, 0, 0), (0.2 * (i % 2), 0, 0.5 * i))
        if d.chance(0.4):
            a.box((1, 0, 0.4), (2.6, 0.15, 1.4))
    return a


def rocks(d: Dice) -> Assembly:
    """Boulders, piles, pebbles, crystals, hills with things on them."""
    a = Assembly()
    if d.chance(0.25):
        crystal = turned(np.array([(0.3, 0.0), (d.between(0.35, 0.5), 0.7), (0.02, 1.0)]), d.pick((4, 5, 6)))
        for _ in range(d.whole(2, 7)):
            way = np.array([d.between(-0.7, 0.7), 1.0, d.between(-0.7, 0.7)])
            a.add(crystal, (0, 0, 0), (0.35, d.between(0.5, 1.4), 0.35), aim(way))
        if d.chance(0.5):
            a.add(rock_mesh(d), (0, 0, 0), (1, 0.4, 0.8))
        return a
    for _ in range(d.pick((1, 1, 2, 3, 5))):
        turn = turn_y(d.between(0, 6)) @ turn_x(d.between(-0.6, 0.6)) @ turn_z(d.between(-0.6, 0.6))
        a.add(
            rock_mesh(d), d.many(3, -0.5, 0.5) * (1, 0.3, 1), d.between(0.4, 1.0) * d.many(3, 0.6, 1.3), turn
        )
        if d.chance(0.4):  # a flat face
            a.box(d.many(3, -1, 1) * 0.9, 1.0, turn_y(d.between(0, 6)) @ turn_x(d.between(0, 6)), cut=True)
    if d.chance(0.2):
        a.include(tree(d) if d.chance(0.5) else plant(d), (0, 0.2, 0), 0.5)
    return a


RULES = (tree, tree, tree, plant, plant, rocks, rocks)
