"""Cars, aircraft, boats."""

import numpy as np

from pointmae_zoo.procedural.bricks import Dice, ball, knots, pill, rounded, solid, turned, wedge
from pointmae_zoo.procedural.constructive_geometry import FORWARD, Assembly, turn_x, turn_y, turn_z
from pointmae_zoo.procedural.primitives import (
    BOX,
    capsule,
    convex,
    cylinder,
    dome,
    extrude,
    fan,
    frustum,
    sphere,
    strip,
    torus,
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
        side = rounded(length, height, height * d.between(0.2, 0.45))
        a.add(extrude(fan(side)), (0, y, 0), (1, 1, width))
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
        axle = ((k / (axles - 1)) - 0.5) * length * 0.68
        a.mirror(Assembly().include(big if k == 0 else rim, (axle, radius, width / 2)), 2)
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
    """Aeroplanes, rockets, spaceships, helicopters, drones: a hull along z, wings in mirrored pairs, fins,
    engines.
    """
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


RULES = (car, car, car, aircraft, aircraft, boat)
