"""Vehicles, ships, aircraft, machine parts, pipes, robots' arms, instruments."""

import numpy as np

from pointmae_zoo.data.procedural.assembly import FORWARD, LAID, SIDEWAYS, Assembly, turn_x, turn_y, turn_z
from pointmae_zoo.data.procedural.bricks import (
    Dice,
    ball,
    bow,
    convex,
    gear,
    knots,
    pill,
    profile,
    rounded,
    solid,
    turned,
    wedge,
)
from pointmae_zoo.data.procedural.primitives import (
    BOX,
    capsule,
    cylinder,
    dome,
    extrude,
    fan,
    frustum,
    sphere,
    strip,
    torus,
    tube,
)


def wheel(d: Dice, radius: float, width: float) -> Assembly:
    """About the z axis, centred at the origin."""
    a = Assembly()
    sides = d.pick((8, 10, 12, 16))
    if d.chance(0.6):
        a.add(cylinder(sides), size=(2 * radius, width, 2 * radius), turn=FORWARD)
        if d.chance(0.6):
            a.add(cylinder(sides), size=(radius, width * 1.3, radius), turn=FORWARD)
    else:
        a.add(torus(0.25, sides), size=(2 * radius, width * 4, 2 * radius), turn=FORWARD)
        spokes = Assembly().ring(
            Assembly().box((radius / 2, 0, 0), (radius, radius * 0.15, radius * 0.15)), d.whole(3, 8)
        )
        a.include(spokes, turn=FORWARD).add(
            cylinder(8), size=(radius * 0.4, width * 1.3, radius * 0.4), turn=FORWARD
        )
    return a


def car(d: Dice) -> Assembly:
    """Cars, trucks, tractors, carts, tanks, trains: a body, a cabin, wheels in mirrored pairs."""
    length, width, height = d.between(1.2, 2.4), d.between(0.6, 0.9), d.between(0.2, 0.5)
    radius = d.between(0.12, 0.3)
    a = Assembly()
    y = radius + height / 2 - d.between(0, 0.1)
    if d.chance(0.4):
        loop = rounded(length, height, height * d.between(0.2, 0.45))
        a.add(extrude(fan(loop)), (0, y, 0), (1, 1, width))
    else:
        a.box((0, y, 0), (length, height, width))
    cabin, at = d.between(0.25, 0.7) * length, d.between(-0.25, 0.25) * length
    tall = d.between(0.2, 0.6)
    kind = d.whole(0, 3)
    top = y + height / 2
    if kind == 0:
        a.add(frustum(d.pick((0.6, 0.8))), (at, top + tall / 2, 0), (cabin, tall, width * 0.95))
    elif kind == 1:
        a.box((at, top + tall / 2, 0), (cabin, tall, width * 0.95))
        a.box((at, top + tall, 0), (cabin * 1.1, 0.05, width))
    elif kind == 2:
        loop = [(-0.5, 0), (0.5, 0), (d.between(0.1, 0.4), 1), (d.between(-0.5, -0.2), 1)]
        a.add(extrude(convex(loop)), (at, top, 0), (cabin, tall, width * 0.9))
    else:  # a load: a tank, a box, a heap
        load = d.pick((BOX, cylinder(12), dome(10), solid(d)))
        a.add(load, (-0.2 * length, top + tall / 2, 0), (tall, cabin, width * 0.9), turn_z(np.pi / 2))
        a.box((0.35 * length, top + tall / 2, 0), (0.25 * length, tall, width * 0.9))
    if d.chance(0.3):
        a.add(wedge(), (length * 0.55, y, 0), (0.2, height, width))
    axles = d.pick((2, 2, 2, 3, 4))
    rim = wheel(d, radius, 0.12)
    big = Assembly().include(rim, size=(1.5, 1.5, 1), at=(0, radius * 0.5, 0)) if d.chance(0.15) else rim
    for k in range(axles):
        at = ((k / (axles - 1)) - 0.5) * length * 0.68
        a.mirror(Assembly().include(big if k == 0 else rim, (at, radius, width / 2)), 2)
    for _ in range(d.whole(0, 3)):
        small = d.between(0.06, 0.2)
        place = (
            d.between(-0.5, 0.5) * length,
            y + d.between(-0.3, 0.5) * height,
            width * d.pick((0.0, 0.5, 0.35)),
        )
        a.mirror(Assembly().add(solid(d), place, small), 2)
    if d.chance(0.15):
        a.rod((at, top + tall, 0), (at + length * 0.7, top + tall, 0), 0.1)
    return a.transformed(turn_y(d.pick((0.0, 0.0, np.pi / 2))))


def aircraft(d: Dice) -> Assembly:
    """Aeroplanes, rockets, spaceships, helicopters, drones: a hull along z, wings in mirrored pairs, fins, engines."""
    length, width = d.between(1.0, 2.4), d.between(0.2, 0.6)
    a = Assembly()
    hull = d.whole(0, 3)
    if hull == 0:
        a.add(
            turned(
                np.stack(
                    [
                        np.maximum(knots(d, 4, 0.2, 0.5, 9), 0.05) * np.sin(np.linspace(0.3, 2.9, 9)) ** 0.5,
                        np.linspace(-0.5, 0.5, 9),
                    ],
                    1,
                ),
                d.sides(),
            ),
            size=(width, length, width),
            turn=FORWARD,
        )
    elif hull == 1:
        a.box((0, 0, 0), (width, width * 0.7, length)).add(
            frustum(d.pick((0.0, 0.3))), (0, 0, length * 0.6), (width, length * 0.25, width * 0.7), FORWARD
        )
    elif hull == 2:
        a.add(pill(d), size=(width * 2, length, width * 2), turn=FORWARD)
    else:
        a.add(sphere(d.sides(), 7), size=(d.between(0.4, 1.2), width, length * 0.8))
    span, chord, sweep = d.between(0.4, 1.5), d.between(0.2, 0.7), d.between(-0.2, 0.8)
    near = [(0.0, chord / 2), (0.0, -chord / 2)]
    tip = chord * d.between(0.2, 1.0)
    wing = extrude(convex([near[0], near[1], (span, -tip / 2 - sweep), (span, tip / 2 - sweep)]))
    place = (width * 0.2, d.between(-0.3, 0.3) * width, d.between(-0.3, 0.3) * length)
    pair = Assembly().include(
        Assembly().add(wing, size=(1, 1, 0.05), turn=turn_x(np.pi / 2)),
        place,
        turn=turn_z(d.between(-0.3, 0.4)),
    )
    if d.chance(0.5):
        pod = d.pick((capsule(3.0, 8), cylinder(8), BOX, cylinder(8, 0.0)))
        pair.add(
            pod,
            (width * 0.2 + span * d.between(0.3, 1), place[1], place[2]),
            (0.2, d.between(0.2, 0.7), 0.2),
            FORWARD,
        )
    if d.chance(0.85):
        a.mirror(pair)
    back = -length * 0.42
    kind = d.whole(0, 2)
    fin = Assembly().add(
        wedge(d.pick((0.0, 0.3))), (0, width * 0.5, back), (0.3, d.between(0.2, 0.6), 0.05), turn_y(np.pi / 2)
    )
    if kind == 0:
        a.include(fin).mirror(Assembly().box((0.2, 0.05, back), (0.4, 0.04, 0.2)))
    elif kind == 1:
        a.mirror(Assembly().include(fin, (width * 0.4, 0, 0), turn=turn_z(d.between(-0.5, 0.2))))
    else:
        ringed = Assembly().ring(Assembly().box((width * 0.5, 0, 0), (0.35, 0.3, 0.04)), d.whole(3, 4))
        a.include(ringed, (0, 0, back), turn=FORWARD)
    if d.chance(0.5):
        a.add(
            d.pick((dome(10), ball(d), BOX)),
            (0, width * 0.3, length * d.between(0.0, 0.3)),
            (width * 0.6, width * 0.6, 0.4),
        )
    if d.chance(0.25):  # a rotor above
        blades = Assembly().ring(Assembly().box((0.5, 0, 0), (1.0, 0.03, 0.1)), d.whole(2, 4))
        a.include(blades, (0, width * 0.5 + 0.25, 0), length * 0.6).rod(
            (0, 0, 0), (0, width * 0.5 + 0.25, 0), 0.08
        )
    if d.chance(0.3):
        a.add(
            cylinder(10, d.pick((0.6, 1.25))), (0, 0, -length / 2), (width * 0.6, 0.25, width * 0.6), FORWARD
        )
    if d.chance(0.3):
        return a.transformed(turn_x(-np.pi / 2))  # upright: a rocket
    return a.transformed(turn_y(d.pick((0.0, np.pi / 2))))


def boat(d: Dice) -> Assembly:
    """A hull between two lines, open or decked, with cabins, masts, sails, oars, cannons."""
    t = np.linspace(0, 1, 8)
    half = d.between(0.15, 0.35) * np.sin(np.pi * np.clip(0.12 + 0.88 * t, 0, 1)) ** d.between(0.4, 0.9)
    half[-1] = 0.004
    x = (t - 0.5) * 2
    hull = extrude(strip(np.stack([x, half], 1), np.stack([x, -half], 1)), taper=d.pick((0.6, 0.75, 0.9)))
    depth = d.between(0.15, 0.4)
    a = Assembly().add(hull, (0, depth / 2, 0), (1, 1, depth), turn_x(np.pi / 2))
    if d.chance(0.5):
        a.add(hull, (-0.02, depth, 0), (0.88, 0.8, depth * 1.5), turn_x(np.pi / 2), cut=True)
        a.row(
            Assembly().box((0, depth * 0.8, 0), (0.08, 0.03, 0.5)), d.whole(1, 3), (0.4, 0, 0), (-0.4, 0, 0)
        )
    else:
        size = d.between(0.2, 0.6)
        a.box((d.between(-0.5, 0.1), depth + 0.1, 0), (size, 0.25, 0.25))
        if d.chance(0.5):
            a.add(solid(d), (-0.2, depth + 0.3, 0), (size * 0.5, 0.25, 0.2))
    for k in range(d.whole(0, 2)):
        at, tall = 0.3 - 0.6 * k, d.between(0.6, 1.5)
        a.rod((at, 0, 0), (at, depth + tall, 0), 0.05, sides=6)
        if d.chance(0.7):
            sail = (
                convex([(0, 0), (0.6, 0), (0, 1)])
                if d.chance(0.5)
                else convex([(-0.4, 0), (0.4, 0), (0.3, 0.9), (-0.3, 0.9)])
            )
            a.add(
                extrude(sail),
                (at + 0.03, depth + 0.15, 0),
                (0.8, tall * 0.8, 0.03),
                turn_y(d.pick((0.0, 0.0, np.pi / 2))),
            )
    if d.chance(0.3):
        a.mirror(Assembly().rod((0, depth, 0.2), (-0.3, depth * 0.3, 0.9), 0.04, sides=4), 2)
    return a


def bolt(d: Dice) -> Assembly:
    """Bolts, nuts, washers, screws, pins, spacers."""
    sides = d.pick((4, 6, 6, 8, 12))
    head, tall = d.between(0.5, 1.0), d.between(0.15, 0.5)
    a = Assembly().add(
        d.pick((cylinder(sides), cylinder(sides, 0.8), dome(12), cylinder(16))), (0, 0, 0), (head, tall, head)
    )
    length, width = d.between(0.0, 2.0), head * d.between(0.3, 0.6)
    if length < 0.4:
        return a.add(cylinder(12), size=(width, 3, width), cut=True)
    a.add(cylinder(12), (0, -length / 2, 0), (width, length, width))
    if d.chance(0.5):
        n = d.whole(4, 10)
        a.row(
            Assembly().add(torus(0.15, 12, 4), size=(width * 1.15, 1, width * 1.15)),
            n,
            (0, -length * 0.7 / n, 0),
            (0, -length * 0.3, 0),
        )
    if d.chance(0.4):
        slot = d.pick((BOX, cylinder(6)))
        a.add(slot, (0, tall / 2, 0), (head * 0.5, tall * 0.8, head * d.pick((0.1, 0.5))), cut=True)
    if d.chance(0.3):
        a.add(cylinder(12), (0, -tall / 2, 0), (head * 1.4, 0.06, head * 1.4))
    if d.chance(0.3):
        a.add(cylinder(6), (0, -length * 0.8, 0), (head * 0.9, tall, head * 0.9))
    return a.transformed(d.pick((np.eye(3), SIDEWAYS)))


def gears(d: Dice) -> Assembly:
    """Gears, pulleys, sprockets, flanges, discs with holes; on a shaft, alone or meshed."""
    thick = d.between(0.08, 0.4)
    shape = d.whole(0, 2)
    one = Assembly()
    if shape == 0:
        one.add(extrude(fan(gear(d.whole(6, 14), d.between(0.7, 0.88)))), size=(1, 1, thick), turn=LAID)
    elif shape == 1:
        one.add(cylinder(d.pick((12, 16, 24))), size=(1, thick, 1))
    else:
        one.add(turned(profile(d) * (1, thick) - (0, thick / 2), 16))
    if d.chance(0.6):
        holes = Assembly().add(cylinder(8), size=(d.between(0.1, 0.2), 1, d.between(0.1, 0.2)), cut=True)
        one.ring(holes, d.whole(3, 8), d.between(0.25, 0.35))
    if d.chance(0.4):
        one.add(cylinder(12), size=(d.between(0.2, 0.35), thick * d.between(1.2, 3), d.between(0.2, 0.35)))
    bore = d.between(0.08, 0.2)
    if d.chance(0.6):
        one.add(cylinder(10), size=(bore, 3, bore), cut=True)
    a = Assembly().include(one)
    if d.chance(0.4):
        a.rod((0, -d.between(0.2, 1), 0), (0, d.between(0.2, 1), 0), bore, sides=10)
    if d.chance(0.3):
        s = d.between(0.4, 1)
        a.include(one, d.pick(((0.48 + 0.48 * s, 0, 0), (0, thick * 1.5 + 0.2, 0))), (s, 1, s))
    return a.transformed(d.pick((np.eye(3), FORWARD, SIDEWAYS)))


def bracket(d: Dice) -> Assembly:
    """Brackets, clamps, hinges, mounts, housings: plates at angles with holes, ribs and bosses."""
    width, thick = d.between(0.4, 1.0), d.between(0.06, 0.15)
    long, tall = d.between(0.5, 1.2), d.between(0.4, 1.2)
    hole = Assembly().add(cylinder(10), size=(d.between(0.1, 0.2), 1, d.between(0.1, 0.2)), cut=True)
    base = Assembly().box((long / 2, 0, 0), (long, thick, width))
    n = d.whole(1, 2)
    base.row(hole, n, (0, 0, width * 0.5), (long * 0.7, 0, -width * 0.25 * (n - 1)))
    up = Assembly().box((0, tall / 2, 0), (thick, tall, width))
    if d.chance(0.5):
        up.add(cylinder(16), (0, tall, 0), (width, thick, width), SIDEWAYS)
    up.include(hole.transformed(SIDEWAYS), (0, tall * d.between(0.6, 1.0), 0), d.between(1, 2))
    a = Assembly().include(base).include(up)
    kind = d.whole(0, 3)
    if kind == 0:
        a.include(base, turn=turn_y(np.pi))
    elif kind == 1:
        a.include(up, (long, 0, 0))
    elif kind == 2:
        a.include(base, (0, tall, 0))
    if d.chance(0.5):
        rib = Assembly().add(
            wedge(),
            (min(long, tall) * 0.3, min(long, tall) * 0.3, width * d.pick((0.0, 0.4))),
            (min(long, tall) * 0.6, min(long, tall) * 0.6, thick),
        )
        a.mirror(rib, 2)
    if d.chance(0.3):
        a.add(cylinder(12), (long / 2, thick, 0), (0.3, 0.3, 0.3)).add(
            cylinder(12), (long / 2, thick, 0), (0.15, 3, 0.15), cut=True
        )
    return a.transformed(d.pick((np.eye(3), np.eye(3), FORWARD, LAID)))


def pipes(d: Dice) -> Assembly:
    """Pipes with elbows, tees, flanges and valves."""
    width = d.between(0.12, 0.35)
    a = Assembly()
    at, way = np.zeros(3), np.array([0.0, 1.0, 0.0])
    ways = [np.array(w, dtype=np.float64) for w in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (0, -1, 0))]
    flange = cylinder(d.pick((8, 12)))
    sides = d.pick((6, 8, 12))
    flanged = d.chance(0.6)
    for _ in range(d.whole(1, 5)):
        length = d.between(0.3, 1.0)
        end = at + way * length
        a.rod(at, end, width, sides=sides)
        if flanged:
            for p in (at + way * 0.05, end - way * 0.05):
                a.rod(p - way * 0.04, p + way * 0.04, width * 1.5, sides=sides)
        a.add(d.pick((sphere(8, 6), BOX)), end, width * 1.1)
        if d.chance(0.3):
            side = d.pick([w for w in ways if abs(w @ way) < 0.5])
            a.rod((at + end) / 2, (at + end) / 2 + side * 0.4, width * 0.8, sides=sides)
            if d.chance(0.5):
                a.add(torus(0.15), (at + end) / 2 + side * 0.4, width * 2, d.pick((None, SIDEWAYS, FORWARD)))
        at, way = end, d.pick([w for w in ways if abs(w @ way) < 0.5])
    if d.chance(0.4):
        a.add(flange, at, (width * 2, 0.1, width * 2))
    return a


def arm(d: Dice) -> Assembly:
    """Links and joints: robot arms, cranes, desk lamps, excavators, catapults."""
    a = Assembly().add(
        d.pick((cylinder(12), BOX, frustum(0.6))),
        (0, 0.1, 0),
        (d.between(0.4, 0.9), 0.25, d.between(0.4, 0.9)),
    )
    at, angle, width = np.array([0.0, 0.2, 0.0]), d.between(-0.4, 0.4), d.between(0.1, 0.22)
    for _ in range(d.whole(2, 4)):
        way = np.array([np.sin(angle), np.cos(angle), 0])
        end = at + way * d.between(0.4, 0.9)
        a.add(cylinder(10), at, (width * 1.5, width * 1.6, width * 1.5), FORWARD)
        a.rod(at, end, width, sides=d.pick((4, 6, 8)), top=0.8)
        at, angle, width = end, angle + d.between(0.3, 1.3), width * 0.85
    kind = d.whole(0, 2)
    if kind == 0:
        a.add(solid(d), at, d.between(0.2, 0.5))
    elif kind == 1:
        a.mirror(
            Assembly().include(
                Assembly().box((0.15, -0.1, 0), (0.3, 0.08, 0.08)), (at[0], at[1], 0.1), turn=turn_y(0.4)
            ),
            2,
        )
    else:
        a.rod(at, at - (0, d.between(0.2, 0.6), 0), 0.03, sides=4).add(solid(d), at - (0, 0.5, 0), 0.25)
    return a


def device(d: Dice) -> Assembly:
    """Boxes with screens, buttons, grilles, knobs and feet: televisions, radios, computers, ovens, consoles."""
    width, height, depth = d.between(0.6, 1.4), d.between(0.3, 1.0), d.between(0.08, 0.9)
    a = Assembly()
    if d.chance(0.4):
        a.add(
            extrude(fan(rounded(width, height, 0.1)), taper=d.pick((1.0, 1.0, 0.8))),
            size=(1, 1, depth),
            turn=turn_y(np.pi),
        )
    else:
        a.box((0, 0, 0), (width, height, depth))
    front = depth / 2
    a.box(
        (d.pick((0, -0.1)) * width, height * 0.05, front),
        (width * d.between(0.5, 0.9), height * d.between(0.5, 0.85), 0.05),
        cut=d.chance(0.6),
    )
    for _ in range(d.whole(0, 5)):
        place = (d.between(-0.45, 0.45) * width, d.between(-0.45, 0.4) * height, front)
        a.add(d.pick((BOX, cylinder(8))), place, (0.08, 0.1, 0.08), FORWARD)
    kind = d.whole(0, 3)
    if kind == 0:
        a.box((0, -height / 2 - 0.1, 0), (0.12, 0.25, 0.1)).box(
            (0, -height / 2 - 0.2, 0), (width * 0.5, 0.05, 0.35)
        )
    elif kind == 1:
        foot = Assembly().box((width * 0.4, -height / 2 - 0.04, depth * 0.35), (0.08, 0.1, 0.08))
        a.mirror(Assembly().mirror(foot, 2), 0)
    elif kind == 2:
        a.mirror(Assembly().rod((0.03, height / 2, 0), (0.3, height / 2 + 0.4, 0), 0.03, sides=5))
    else:
        a.box((0, -height / 2 - 0.02, depth / 2 + 0.3), (width, 0.06, 0.6))
    return a


def instrument(d: Dice) -> Assembly:
    """A body of two bulges with a neck; bells, horns, drums."""
    a = Assembly()
    kind = d.whole(0, 2)
    if kind == 0:
        t = np.linspace(0, 1, 10)
        half = (
            0.12
            + 0.3 * np.sin(np.pi * t) ** 0.7
            - d.between(0.0, 0.22) * np.exp(-(((t - 0.55) / 0.12) ** 2))
            - 0.12 * t
        )
        half[[0, -1]] *= 0.4
        a.add(
            extrude(strip(np.stack([-half, t], 1), np.stack([half, t], 1))),
            size=(1.1, 1, d.between(0.1, 0.3)),
        )
        a.box((0, 1.3, 0.05), (0.1, 0.9, 0.06)).box((0, 1.75, 0.05), (0.16, 0.2, 0.06))
    elif kind == 1:
        line = bow(d, 12)
        a.add(tube(line, np.linspace(0.03, 0.06, 12) + 0.25 * np.linspace(0, 1, 12) ** 5, d.sides()))
        a.add(ball(d), line[0], 0.12)
    else:
        a.add(turned(profile(d), d.sides()), size=(1, d.between(0.4, 1.2), 1))
        a.row(Assembly().add(torus(0.08, 16), size=(1, 0.7, 1)), 2, (0, 0.5, 0))
        if d.chance(0.5):
            a.mirror(Assembly().rod((0.1, 0.9, 0), (0.6, 1.2, 0), 0.05))
    return a


def truss(d: Dice) -> Assembly:
    """Lattices: masts, cranes' booms, ladders, cages."""
    n, w = d.whole(2, 6), d.between(0.02, 0.06)
    width, step = d.between(0.2, 0.6), d.between(0.25, 0.5)
    sides = d.pick((2, 3, 4))
    a = Assembly()
    corners = [turn_y(2 * np.pi * k / sides) @ np.array([width / 2, 0, 0]) for k in range(sides)]
    shrink = d.pick((1.0, 1.0, 0.5))
    for i in range(n):
        low, high = (1 + (shrink - 1) * j / n for j in (i, i + 1))
        for k in range(sides if sides > 2 else 1):
            p, q = corners[k], corners[(k + 1) % sides]
            a.rod(p * low + (0, i * step, 0), q * low + (0, i * step, 0), w, sides=4)
            if sides > 2 or d.chance(0.2):
                a.rod(p * low + (0, i * step, 0), q * high + (0, (i + 1) * step, 0), w, sides=4)
    for p in corners:
        a.rod(p, p * shrink + (0, n * step, 0), w * 1.4, sides=4)
    if d.chance(0.4):
        a.add(solid(d), (0, n * step, 0), d.between(0.2, 0.6))
    return a.transformed(d.pick((np.eye(3), np.eye(3), SIDEWAYS)))


RULES = (
    car,
    car,
    car,
    aircraft,
    aircraft,
    boat,
    bolt,
    gears,
    gears,
    bracket,
    bracket,
    pipes,
    arm,
    device,
    instrument,
    truss,
)
