"""Vessels, lamps, tools, boxes, food and other things made for hands."""

import numpy as np

from pointmae_zoo.procedural.bricks import (
    Dice,
    arc,
    arch,
    ball,
    beam,
    bow,
    flat,
    handle,
    knots,
    pill,
    profile,
    regular,
    shell,
    slab,
    solid,
    turned,
    wedge,
)
from pointmae_zoo.procedural.constructive_geometry import (
    FORWARD,
    LAID,
    SIDEWAYS,
    Assembly,
    turn_x,
    turn_y,
    turn_z,
)
from pointmae_zoo.procedural.primitives import (
    BOX,
    convex,
    cylinder,
    dome,
    extrude,
    frustum,
    sphere,
    strip,
    torus,
    tube,
)


def vessel(d: Dice) -> Assembly:
    """Cups, mugs, bowls, vases, bottles, jugs, pots, barrels, potions."""
    height = d.between(0.5, 2.0)
    line = profile(d, 9)
    sides = d.sides()
    hollow = d.chance(0.55)
    if not hollow and d.chance(0.5):  # a bottle: neck, rim and stopper
        neck = d.between(0.06, 0.16)
        line = np.concatenate(
            [line * (1, 0.7), [(neck, 0.78), (neck, 0.95), (neck * 1.3, 0.96), (neck * 1.3, 1.0)]]
        )
    a = Assembly().add(
        shell(line, d.between(0.03, 0.08), sides) if hollow else turned(line, sides), size=(1, height, 1)
    )
    radius = float(np.interp(0.55, line[:, 1], line[:, 0]))
    if d.chance(0.4):
        grip = handle(d.between(0.2, 0.4), d.between(0.03, 0.06), 6)
        one = Assembly().add(grip, (radius * 0.93, height * 0.55, 0), (1, height * d.between(0.4, 0.7), 1))
        (a.mirror if d.chance(0.3) else a.include)(one)
    if d.chance(0.2):
        start = np.array([-radius * 0.8, height * 0.4, 0])
        a.rod(start, start + (-d.between(0.3, 0.6), d.between(0.2, 0.5), 0), 0.14, top=0.6)
    if d.chance(0.3):
        rim = 2 * float(line[-1, 0])
        a.add(
            d.pick((dome(sides), cylinder(sides, 0.8), ball(d))),
            (0, height, 0),
            (rim, d.between(0.1, 0.4), rim),
        )
        a.add(ball(d), (0, height + 0.2, 0), 0.15)
    if d.chance(0.2):
        belt = 2 * radius + 0.05
        a.row(
            Assembly().add(torus(0.1, sides, 4), size=(belt, 0.8, belt)),
            2,
            (0, height * 0.3, 0),
            (0, height * 0.4, 0),
        )
    return a


def lamp(d: Dice) -> Assembly:
    """Table lamps, street lamps, lanterns, candlesticks."""
    height, sides = d.between(0.6, 3.0), d.sides()
    a = Assembly().add(
        d.pick((cylinder(sides, 0.6), BOX, dome(sides))),
        (0, 0.05, 0),
        (d.between(0.3, 0.9), d.between(0.08, 0.3), d.between(0.3, 0.9)),
    )
    width = d.between(0.05, 0.14)
    heads = d.pick((1, 1, 1, 2, 3, 4))
    head = Assembly()
    kind = d.whole(0, 4)
    wide = d.between(0.4, 0.9)
    if kind == 0:
        head.add(
            shell(np.array([(0.5, -0.5), (d.between(0.15, 0.4), 0.5)]), 0.03, sides),
            size=(wide, wide * 0.8, wide),
        )
    elif kind == 1:
        head.add(ball(d), size=wide * 0.8)
    elif kind == 2:
        head.add(cylinder(4), size=(wide * 0.6, wide * 0.7, wide * 0.6)).add(
            frustum(), (0, wide * 0.5, 0), (wide * 0.9, wide * 0.4, wide * 0.9)
        )
    elif kind == 3:
        head.add(dome(sides), size=(wide, wide, wide))
    else:
        head.add(cylinder(8), size=(0.1, 0.4, 0.1)).add(cylinder(8, 0.0), (0, 0.28, 0), (0.08, 0.2, 0.08))
    if heads == 1 and d.chance(0.6):
        a.rod((0, 0, 0), (0, height, 0), width, top=0.8)
        return a.include(head, (0, height, 0))
    a.rod((0, 0, 0), (0, height, 0), width, top=0.8)
    reach, rise = d.between(0.3, 0.8), d.between(-0.2, 0.3)
    arm = Assembly().rod((0, 0, 0), (reach, rise, 0), width * 0.6).include(head, (reach, rise - 0.1, 0))
    return a.copies(
        arm, [(turn_y(k * 2 * np.pi / heads), np.array([0, height * 0.97, 0])) for k in range(heads)]
    )


def tool(d: Dice) -> Assembly:
    """A grip with a head: hammers, axes, swords, spears, spoons, brushes, keys, wrenches. Grips upright or
    lying.
    """
    length, width = d.between(0.3, 2.0), d.between(0.05, 0.14)
    a = Assembly()
    if d.chance(0.3):
        a.add(turned(profile(d), d.sides()), size=(width * 2, length, width * 2))
    else:
        a.rod((0, 0, 0), (0, length, 0), width, sides=d.pick((4, 6, 8)), top=d.pick((1.0, 0.8, 1.2)))
    kind = d.whole(0, 7)
    if kind == 0:
        a.box((0, length, 0), (d.between(0.3, 0.8), d.between(0.15, 0.3), d.between(0.12, 0.3)))
        if d.chance(0.5):
            a.add(wedge(), (0.4, length, 0), (0.4, 0.25, 0.1))
    elif kind == 1:  # an axe
        half = strip([(0, -0.1), (0.25, -0.15), (0.45, -0.35)], [(0, 0.1), (0.25, 0.12), (0.45, 0.3)])
        edge = Assembly().add(extrude(half), size=(1, 1, 0.06))
        a.box((0, length * 0.9, 0), (0.16, 0.22, 0.16))
        (a.mirror if d.chance(0.4) else a.include)(Assembly().include(edge, (0, length * 0.9, 0)))
    elif kind <= 3:  # a blade: sword, dagger, spear
        blade, wide = d.between(0.4, 2.2), d.between(0.08, 0.3)
        tip = [(-0.5, 0), (0.5, 0), (0.5, 0.8), (0, 1), (-0.5, 0.8)]
        a.add(extrude(convex(tip)), (0, length, 0), (wide, blade, 0.04))
        if d.chance(0.8):
            a.box((0, length, 0), (wide * d.between(1.2, 3), 0.07, 0.1))
        if d.chance(0.6):
            a.add(ball(d), (0, 0, 0), width * 2)
    elif kind == 4:
        a.add(ball(d), (0, length, 0), (d.between(0.2, 0.5), d.between(0.2, 0.7), d.between(0.05, 0.5)))
    elif kind == 5:  # a fork, a rake, a comb
        n, wide = d.whole(2, 6), d.between(0.2, 0.8)
        a.box((0, length, 0), (wide, 0.08, 0.08))
        turn = d.pick((None, FORWARD))
        tine = Assembly().add(cylinder(5, 0.4), (0, 0.2, 0), (0.06, 0.4, 0.06))
        prong = Assembly().include(tine, turn=turn)
        a.row(prong, n, (wide / n, 0, 0), (-wide * (n - 1) / n / 2, length, 0))
    elif kind == 6:  # a ring or a jaw
        ring = regular(d.pick((6, 10, 16)), d.between(0.15, 0.35))
        a.add(extrude(strip(ring, ring * 0.6, closed=True)), (0, length + ring[0, 0] * 0.8, 0), (1, 1, 0.1))
        if d.chance(0.5):
            a.row(Assembly().box((0.1, 0, 0), (0.2, 0.05, 0.06)), d.whole(1, 3), (0, 0.1, 0), (0, 0.02, 0))
    else:
        a.add(
            extrude(flat(d)), (0, length, 0), (d.between(0.2, 0.8), d.between(0.2, 0.8), d.between(0.04, 0.2))
        )
    return a.transformed(d.pick((np.eye(3), np.eye(3), turn_z(np.pi / 2), turn_z(0.7), FORWARD)))


def gun(d: Dice) -> Assembly:
    """A body with a barrel, a grip, a stock, a magazine and a sight: pistols, drills, flashlights."""
    length, tall, wide = d.between(0.5, 1.2), d.between(0.12, 0.3), d.between(0.06, 0.16)
    a = Assembly().box((0, 0, 0), (length, tall, wide))
    barrel = d.between(0.1, 1.2)
    a.rod(
        (length * 0.4, tall * 0.2, 0),
        (length / 2 + barrel, tall * 0.2, 0),
        wide * d.between(0.4, 1.1),
        top=d.pick((1.0, 1.0, 0.7)),
    )
    a.box(
        (-length * 0.3, -tall, 0),
        (0.16, tall * d.between(1.2, 2.2), wide * 0.9),
        turn_z(d.between(-0.4, 0.1)),
    )
    if d.chance(0.5):
        stock = d.between(0.3, 0.8)
        a.box(
            (-length / 2 - stock / 2, -0.05, 0),
            (stock, tall * 0.6, wide * 0.8),
            turn_z(d.between(-0.1, 0.25)),
        )
        a.box((-length / 2 - stock, -0.1, 0), (0.1, tall * 1.3, wide))
    if d.chance(0.5):
        a.box(
            (length * d.between(0, 0.3), -tall * 0.9, 0),
            (0.14, tall * d.between(0.8, 2), wide * 0.7),
            turn_z(d.between(0, 0.3)),
        )
    if d.chance(0.5):
        sight = (
            Assembly().rod((-0.2, 0, 0), (0.2, 0, 0), wide * 0.7)
            if d.chance(0.6)
            else Assembly().box((0, 0, 0), (0.08, 0.1, wide * 0.3))
        )
        a.include(sight, (0, tall * 0.75, 0))
    if d.chance(0.4):
        a.add(torus(0.2, 10, 5), (-length * 0.08, -tall * 0.7, 0), (0.22, 0.3, 0.22), FORWARD)
    return a.transformed(d.pick((np.eye(3), turn_y(np.pi / 2), turn_y(np.pi))))


def container(d: Dice) -> Assembly:
    """Crates, chests, baskets, buckets, trays, books, suitcases."""
    width, height, depth = d.between(0.6, 1.3), d.between(0.3, 1.0), d.between(0.5, 1.0)
    w = d.between(0.03, 0.1)
    a = Assembly()
    kind = d.whole(0, 4)
    if kind == 0:  # a crate of planks with corner posts
        n = d.whole(2, 5)
        plank = height / n
        sides = Assembly()
        sides.mirror(Assembly().box((0, plank / 2, depth / 2), (width, plank * 0.8, w)), 2)
        sides.mirror(Assembly().box((width / 2, plank / 2, 0), (w, plank * 0.8, depth)))
        a.row(sides, n, (0, plank, 0)).box((0, w / 2, 0), (width, w, depth))
        a.mirror(
            Assembly().mirror(Assembly().box((width / 2, height / 2, depth / 2), (2 * w, height, 2 * w)), 2),
            0,
        )
        if d.chance(0.4):
            a.box((0, height, 0), (width, w, depth))
    elif kind == 1:  # a chest with a round or flat lid
        a.box((0, height / 2, 0), (width, height, depth))
        lid = arch(0.05, 8) if d.chance(0.7) else convex([(-0.5, 0), (0.5, 0), (0.4, 0.3), (-0.4, 0.3)])
        a.add(extrude(lid), (0, height, 0), (depth, depth * 0.8, width), turn_y(np.pi / 2))
        band = Assembly().box((0, height / 2, 0), (w, height * 1.05, depth * 1.05))
        a.row(band, 2, (width * 0.6, 0, 0), (-width * 0.3, 0, 0)).box(
            (0, height, depth / 2), (0.14, 0.18, 0.1)
        )
    elif kind == 2:  # an open box or tray with what is in it
        a.box((0, height / 2, 0), (width, height, depth))
        a.box((0, height / 2 + w, 0), (width - 2 * w, height, depth - 2 * w), cut=True)
        for _ in range(d.pick((0, 0, 2, 4))):
            a.add(
                solid(d),
                (d.between(-0.3, 0.3) * width, height * 0.7, d.between(-0.3, 0.3) * depth),
                d.between(0.15, 0.4),
            )
        if d.chance(0.4):
            a.add(
                handle(d.between(0.4, 0.8), 0.04, 6), (0, height * 0.9, 0), (1, width, 1), turn_z(np.pi / 2)
            )
    elif kind == 3:  # a closed box with edges
        a.box((0, height / 2, 0), (width, height, depth))
        x, y, z = width / 2, height / 2, depth / 2
        for s, t in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            a.box((0, y + s * y, t * z), (width + w, w, w)).box((s * x, y, t * z), (w, height + w, w))
            a.box((s * x, y + t * y, 0), (w, w, depth + w))
        if d.chance(0.5):
            a.mirror(Assembly().rod((-x, 0, z), (x, height, z), w, sides=4), 2)
    else:  # a bucket
        line = np.array([(d.between(0.3, 0.5), 0.0), (0.5, 1.0)])
        a.add(shell(line, 0.05, d.sides()), size=(width, height, width))
        a.add(handle(d.between(0.2, 0.8), 0.025, 5), (0, height, 0), (1, width, 1), turn_z(np.pi / 2))
    return a


def flatware(d: Dice) -> Assembly:
    """Plates, coins, tiles, signs, books, screens: flat things with a rim, a stand or a relief."""
    a = slab(d, 1.0, d.between(0.5, 1.0), d.between(0.03, 0.2))
    if d.chance(0.5):
        a.add(
            solid(d),
            (0, d.between(0, 0.15), 0),
            (d.between(0.2, 0.7), d.between(0.1, 0.3), d.between(0.2, 0.5)),
        )
    if d.chance(0.3):
        a.add(torus(0.1), size=(1.1, 1, 1.1))
    if d.chance(0.2):
        for _ in range(d.whole(2, 6)):
            a.add(
                solid(d),
                (d.between(-0.4, 0.4), 0.08, d.between(-0.25, 0.25)),
                (0.15, d.between(0.05, 0.2), 0.15),
            )
    if d.chance(0.5):
        return a
    a = a.transformed(turn_x(d.pick((np.pi / 2, np.pi / 2, 1.3))))
    if d.chance(0.6):
        a.box((0, -0.55, 0), (0.1, 0.3, 0.08)).box(
            (0, -0.7, 0), (d.between(0.3, 0.7), 0.05, d.between(0.2, 0.5))
        )
    return a


def food(d: Dice) -> Assembly:
    """Fruit, cakes, bread, burgers, skewers: round bodies, layers, slices, bites, stems."""
    a = Assembly()
    kind = d.whole(0, 4)
    sides = d.pick((8, 10, 12, 16))
    if kind == 0:  # a fruit with a dimple, a stem and leaves
        a.add(
            turned(
                np.stack(
                    [
                        knots(d, 3, 0.25, 0.5, 9) * np.sin(np.linspace(0.12, 3.0, 9)) ** 0.6,
                        np.linspace(0, 1, 9),
                    ],
                    1,
                ),
                sides,
            )
        )
        a.rod((0, 0.9, 0), (d.between(-0.15, 0.15), 1.2, 0), 0.06, sides=5)
        if d.chance(0.6):
            a.ring(
                Assembly().add(
                    sphere(6, 4), (0.15, 1.05, 0), (0.35, 0.05, 0.18), turn_z(d.between(-0.4, 0.6))
                ),
                d.whole(1, 6),
            )
    elif kind == 1:  # layers
        y = 0.0
        for _ in range(d.whole(2, 7)):
            t, w = d.between(0.06, 0.35), d.between(0.8, 1.05)
            a.add(
                d.pick((cylinder(sides), cylinder(sides, 0.8), sphere(sides, 6), torus(0.3, sides))),
                (0, y + t / 2, 0),
                (w, t * 1.1, w),
            )
            y += t
        a.add(
            d.pick((dome(sides), ball(d), cylinder(6))),
            (0, y, 0),
            (d.between(0.1, 0.9), d.between(0.2, 0.5), d.between(0.1, 0.9)),
        )
        if d.chance(0.3):
            a.box((0.6, y / 2, 0.0), (1.2, 5, 1.0), turn_y(d.between(0, 3)), cut=True)
    elif kind == 2:  # a slice
        piece = convex([(0, 0), *[tuple(p) for p in arc(1.0, 0, d.between(0.5, 2.0), 6)]])
        a.add(extrude(piece), size=(1, 1, d.between(0.15, 0.6)), turn=LAID)
        if d.chance(0.5):
            a.add(ball(d), (0.5, 0.3, -0.3), 0.2)
    elif kind == 3:  # sausage, banana, bread
        line = bow(d, 9)
        width = d.between(0.08, 0.2) * np.sin(np.linspace(0.3, 2.9, 9)) ** 0.4
        a.add(tube(line, width, sides)).add(ball(d), line[0], 2 * width[0]).add(
            ball(d), line[-1], 2 * width[-1]
        )
        return a.transformed(d.pick((np.eye(3), SIDEWAYS)))
    else:  # on a stick or a plate
        n, size = d.whole(2, 4), d.between(0.25, 0.45)
        same = pill(d) if d.chance(0.5) else ball(d)
        if d.chance(0.5):
            a.rod((0, -0.5, 0), (0, n * size, 0), 0.04, sides=5).row(
                Assembly().add(same, size=size), n, (0, size * 0.95, 0)
            )
        else:
            a.add(cylinder(16, 1.3), size=(1, 0.08, 1))
            a.ring(Assembly().add(same, (0, size / 2, 0), size), n + 2, 0.3)
    return a


def letter(d: Dice) -> Assembly:
    """A flat profile standing up, thick or thin, or two of them crossed or side by side."""
    first = Assembly().add(extrude(beam(d) if d.chance(0.5) else flat(d)), size=(1, 1, d.between(0.1, 0.4)))
    if d.chance(0.4):
        other = Assembly().add(extrude(flat(d)), size=(0.8, 0.8, d.between(0.1, 0.3)))
        return first.include(
            other, d.pick(((0, 0, 0), (1.0, 0, 0), (0, 0.8, 0))), turn=d.pick((None, turn_y(np.pi / 2)))
        )
    return first


RULES = (
    vessel,
    vessel,
    vessel,
    lamp,
    lamp,
    tool,
    tool,
    gun,
    container,
    container,
    flatware,
    food,
    food,
    letter,
)
