"""Machine parts, pipes, brackets, arms, devices, instruments, lattices."""

import numpy as np

from pointmae_zoo.procedural.bricks import Dice, ball, bow, gear, profile, rounded, solid, turned, wedge
from pointmae_zoo.procedural.constructive_geometry import FORWARD, LAID, SIDEWAYS, Assembly, turn_y
from pointmae_zoo.procedural.primitives import (
    BOX,
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
    """Boxes with screens, buttons, grilles, knobs and feet: televisions, radios, computers, ovens,
    consoles.
    """
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


RULES = (bolt, gears, gears, bracket, bracket, pipes, arm, device, instrument, truss)
