"""People, robots, beasts, birds, fish and insects: a body, a head, limbs in mirrored pairs."""

import numpy as np

from pointmae_zoo.procedural.bricks import Dice, ball, profile, solid, turned
from pointmae_zoo.procedural.constructive_geometry import FORWARD, Assembly, turn_x, turn_y, turn_z
from pointmae_zoo.procedural.primitives import (
    BOX,
    Primitive,
    capsule,
    cylinder,
    dome,
    extrude,
    fan,
    sphere,
    strip,
    torus,
    tube,
)


def flesh(d: Dice) -> Primitive:
    """What a body part is made of: round or boxy, size about 1."""
    return d.pick((sphere(10, 6), sphere(8, 5), BOX, cylinder(8, 0.8), cylinder(8, 1.25), capsule(1.5, 8)))


def head(d: Dice, size: float) -> Assembly:
    """Facing +z, centred at the origin: a skull with ears, a nose, horns, hair or a hat."""
    a = Assembly().add(flesh(d), size=size * d.many(3, 0.8, 1.2))
    kind = d.whole(0, 5)
    if kind == 0:
        a.mirror(
            Assembly().add(
                d.pick((cylinder(5, 0.0), sphere(6, 4), capsule(3.0, 6))),
                (size * 0.35, size * 0.6, 0),
                size * d.many(3, 0.3, 0.6),
                turn_z(-0.3),
            )
        )
    elif kind == 1:
        a.add(cylinder(12), (0, size * 0.45, 0), (size * 1.6, size * 0.08, size * 1.6))
        a.add(
            d.pick((cylinder(10), cylinder(10, 0.0), dome(10))),
            (0, size * 0.7, 0),
            (size * 0.8, size * 0.7, size * 0.8),
        )
    elif kind == 2:
        a.add(dome(10), (0, size * 0.15, -0.03), size * 1.2)
    elif kind == 3:
        a.mirror(
            Assembly().rod(
                (size * 0.2, size * 0.4, 0), (size * 0.6, size * 0.9, 0), size * 0.15, sides=5, top=0.4
            )
        )
    if d.chance(0.6):
        a.add(
            d.pick((BOX, cylinder(6, 0.0), sphere(6, 4))),
            (0, -size * 0.1, size * 0.5),
            (size * 0.3, size * d.between(0.3, 0.7), size * 0.3),
            FORWARD,
        )
    if d.chance(0.3):
        a.mirror(Assembly().add(sphere(6, 4), (size * 0.22, size * 0.12, size * 0.45), size * 0.2))
    return a


def limb(d: Dice, start: np.ndarray, end: np.ndarray, width: float, stout: bool) -> Assembly:
    """Two bones and a hand or a foot."""
    middle = (start + end) / 2 + d.many(3, -0.12, 0.12) * np.linalg.norm(end - start)
    sides = 4 if stout else 7
    a = (
        Assembly()
        .rod(start, middle, width, sides=sides, top=0.8)
        .rod(middle, end, width * 0.85, sides=sides, top=0.8)
    )
    if not stout:
        a.add(sphere(6, 4), middle, width)
    if d.chance(0.8):
        a.add(
            d.pick((BOX, sphere(6, 4))),
            end + (0, 0, width * 0.3),
            width * np.array([1.1, 0.8, d.between(1, 2.0)]),
        )
    return a


def person(d: Dice) -> Assembly:
    """Upright, arms hanging, stretched out or raised; armed or with a pack now and then."""
    stout = d.chance(0.4)
    hip, chest, size = d.between(0.3, 0.9), d.between(0.4, 0.8), d.between(0.2, 0.6)
    width, thick = d.between(0.25, 0.6), d.between(0.08, 0.2)
    a = Assembly()
    body = (
        BOX
        if stout
        else d.pick(
            (
                cylinder(8, 0.8),
                cylinder(8, 1.25),
                sphere(10, 6),
                capsule(1.5, 8),
                turned(profile(d) - (0, 0.5), 8),
            )
        )
    )
    a.add(body, (0, hip + chest / 2, 0), (width, chest, width * d.between(0.5, 1)))
    a.include(head(d, size), (0, hip + chest + size * 0.45, 0))
    if d.chance(0.85):
        a.mirror(
            limb(
                d,
                np.array([width * 0.25, hip + 0.05, 0.0]),
                np.array([width * d.between(0.2, 0.5), 0.0, d.between(-0.1, 0.1)]),
                thick * 1.2,
                stout,
            )
        )
    else:  # a robe
        a.add(cylinder(10, 0.6), (0, hip / 2, 0), (width * 1.5, hip * 1.1, width * 1.5))
    lift, reach = d.pick((-1.2, -1.2, 0.0, 0.0, 0.7)), d.between(0.35, 0.8)
    shoulder = np.array([width * 0.45, hip + chest * 0.85, 0.0])
    hand = shoulder + reach * np.array([np.cos(lift), np.sin(lift), d.between(0, 0.6)])
    a.mirror(limb(d, shoulder, hand, thick, stout))
    if d.chance(0.3):
        a.rod(hand - (0, 0.3, 0), hand + (0, d.between(0.3, 1.0), 0), 0.05, sides=5).add(
            solid(d), hand + (0, 0.4, 0), 0.2
        )
    if d.chance(0.25):
        a.add(solid(d), (0, hip + chest * 0.6, -width * 0.5), (width * 0.8, chest * 0.7, 0.2))
    if d.chance(0.15):
        a.box((0, hip + chest * 0.3, -width * 0.45), (width * 1.3, chest * 1.4, 0.03), turn_x(0.15))
    return a


def beast(d: Dice) -> Assembly:
    """Four legs, a neck, a tail: dogs, horses, dinosaurs, elephants, turtles."""
    length, width, height = d.between(0.7, 1.4), d.between(0.3, 0.7), d.between(0.15, 0.8)
    stout = d.chance(0.35)
    a = Assembly()
    body = BOX if stout else d.pick((sphere(10, 6), capsule(1.5, 8), capsule(2.0, 8)))
    fat = d.between(0.8, 1.6) if body is not BOX else 1.0
    y = height + width * 0.35
    a.add(body, (0, y, 0), (width * fat, length, width * fat), FORWARD)
    if d.chance(0.3):
        a.add(flesh(d), (0, y + 0.05, length * 0.25), width * 1.2)
    size = d.between(0.25, 0.55)
    neck = np.array([0, y + d.between(0.0, 0.7), length * 0.5 + d.between(0.05, 0.35)])
    a.rod((0, y, length * 0.35), neck, width * 0.4, sides=4 if stout else 8, top=0.8).include(
        head(d, size), neck
    )
    thick = d.between(0.08, 0.2)
    for z in (length * 0.35, -length * 0.35):
        foot = np.array([width * d.between(0.3, 0.45), 0.0, z + d.between(-0.1, 0.1)])
        a.mirror(limb(d, np.array([width * 0.32, y, z]), foot, thick, stout))
    if d.chance(0.8):
        t = np.linspace(0, 1, 7)
        tail = np.stack([0 * t, d.between(-0.5, 0.7) * t ** d.between(0.7, 2), -d.between(0.2, 1.0) * t], 1)
        a.add(
            tube(
                tail + (0, y + 0.05, -length * 0.42),
                d.between(0.04, 0.15) * np.linspace(1, d.between(0.1, 1), 7),
                6,
                across=(1, 0, 0),
            )
        )
    if d.chance(0.2):
        a.row(
            Assembly().add(cylinder(4, 0.0), size=(0.06, 0.25, 0.2)),
            5,
            (0, 0, -length * 0.18),
            (0, y + width * 0.5 * fat, length * 0.35),
        )
    if d.chance(0.15):
        a.add(dome(12), (0, y, 0), (width * 1.6, width * 1.4, length * 1.1))
    return a.transformed(turn_y(d.pick((0.0, 0.0, np.pi / 2))))


def bird(d: Dice) -> Assembly:
    """Birds, bats, dragons: a body on two legs, wings spread or folded, a beak, a tail."""
    a = Assembly()
    size = d.between(0.4, 0.7)
    a.add(
        flesh(d),
        (0, 0, 0),
        (size * 0.8, size * 0.8, size * d.between(0.9, 1.6)),
        turn_x(d.between(-0.6, 0.3)),
    )
    neck = np.array([0, size * d.between(0.4, 1.1), size * d.between(0.3, 0.8)])
    a.rod((0, 0, 0), neck, size * 0.3, top=0.8).add(ball(d), neck, size * 0.5)
    a.rod(neck, neck + (0, -0.05, size * 0.6), size * 0.25, sides=5, top=0.0)
    span = d.between(0.3, 1.2)
    t = np.linspace(0, 1, 5)
    front = np.stack([t * span, 0.15 - d.between(0, 0.3) * t**2], 1)
    back = front - np.stack([0 * t, d.between(0.2, 0.5) * (1.02 - t)], 1)
    wing = Assembly().add(extrude(strip(front, back)), size=(1, 1, 0.04), turn=turn_x(np.pi / 2))
    a.mirror(Assembly().include(wing, (size * 0.3, size * 0.15, 0), turn=turn_z(d.between(-1.2, 0.8))))
    a.box((0, 0, -size * 0.8), (size * d.between(0.3, 0.8), 0.05, size * 0.8), turn_x(d.between(-0.6, 0.3)))
    if d.chance(0.7):
        a.mirror(
            Assembly()
            .rod((size * 0.2, -size * 0.3, 0), (size * 0.22, -size * 0.9, 0.02), 0.05, sides=5)
            .box((size * 0.22, -size * 0.9, 0.08), (0.12, 0.03, 0.2))
        )
    return a


def fish(d: Dice) -> Assembly:
    """A spindle along z with fins and a tail: fish, sharks, whales, tadpoles."""
    length, width, tall = d.between(1.0, 2.0), d.between(0.2, 0.6), d.between(0.3, 0.9)
    t = np.linspace(0.04, 1, 10)
    line = np.stack(
        [0.5 * np.sin(np.pi * t ** d.between(0.5, 1.2)) ** d.between(0.6, 1.2) + 0.03, t - 0.5], 1
    )
    a = Assembly().add(turned(line, d.sides()), size=(width, length, tall), turn=turn_x(-np.pi / 2))
    tail = d.between(0.2, 0.5)
    shape = d.pick(
        (fan([(0.0, 0.05), (tail, 0.4), (tail * 0.6, 0.0), (tail, -0.4), (0.0, -0.05), (-0.05, 0)]), None)
    )
    up = d.chance(0.7)
    fin = (
        Assembly().add(extrude(shape), size=(1, d.between(0.5, 1.2), 0.05))
        if shape is not None
        else Assembly().add(cylinder(4, 0.0), (tail / 2, 0, 0), (0.5, tail, 0.05), turn_z(np.pi / 2))
    )
    a.include(
        fin, (0, 0, -length * 0.46), turn=turn_y(np.pi / 2) if up else turn_y(np.pi / 2) @ turn_x(np.pi / 2)
    )
    if d.chance(0.8):
        a.add(
            cylinder(4, 0.0),
            (0, tall * 0.5, d.between(-0.2, 0.1) * length),
            (0.05, d.between(0.2, 0.5), d.between(0.2, 0.5)),
            turn_x(-0.4),
        )
    side = Assembly().add(sphere(6, 4), (0.15, 0, 0), (d.between(0.2, 0.6), 0.05, 0.2))
    a.mirror(
        Assembly().include(
            side, (width * 0.35, -tall * 0.15, length * 0.15), turn=turn_y(0.5) @ turn_z(d.between(-0.8, 0.2))
        )
    )
    if d.chance(0.4):
        a.mirror(Assembly().add(sphere(6, 4), (width * 0.3, tall * 0.12, length * 0.35), 0.1))
    if d.chance(0.2):
        a.rod((0, 0, length * 0.45), (0, 0.1, length * 0.8), 0.08, sides=5, top=0.0)
    return a.transformed(turn_y(d.pick((0.0, 0.0, np.pi / 2))))


def insect(d: Dice) -> Assembly:
    """Segments in a row with many legs: ants, spiders, crabs, beetles, caterpillars, snakes."""
    n, y = d.whole(1, 5), d.between(0.15, 0.5)
    part, z = flesh(d), 0.0
    a = Assembly()
    for _ in range(n):
        s = d.between(0.25, 0.7)
        a.add(part, (0, y, z), (s * d.between(0.7, 1.3), s * 0.7, s))
        z -= s * 0.75
    legs, thick = d.whole(2, 5), d.between(0.03, 0.1)
    out = d.between(0.4, 0.9)
    for k in range(legs):
        at = z * (k + 0.5) / legs + 0.15
        knee = np.array([out * 0.5, y + d.between(0, 0.35), at * 1.2])
        a.mirror(
            Assembly()
            .rod((0.1, y, at), knee, thick, sides=5)
            .rod(knee, (out, 0, at * 1.4), thick, sides=5, top=0.6)
        )
    if d.chance(0.6):
        a.mirror(Assembly().rod((0.08, y + 0.1, 0.2), (0.25, y + d.between(0.1, 0.6), 0.6), 0.04, sides=4))
    if d.chance(0.3):
        a.mirror(
            Assembly().add(sphere(8, 4), (0.5, y + 0.3, z / 2), (0.9, 0.03, 0.35), turn_z(0.3) @ turn_y(0.4))
        )
    return a


def skull(d: Dice) -> Assembly:
    """Heads, masks, helmets, bones."""
    if d.chance(0.3):
        length = d.between(0.8, 1.6)
        knob = Assembly().add(ball(d), (0.12, length / 2, 0), 0.3)
        end = Assembly().mirror(knob)
        bone = Assembly().rod((0, -length / 2, 0), (0, length / 2, 0), 0.2, sides=8).mirror(end, 1)
        return bone.transformed(turn_z(d.pick((0.0, 0.6, np.pi / 2))))
    a = Assembly().add(flesh(d), size=d.many(3, 0.8, 1.1))
    a.box((0, -0.45, 0.15), d.many(3, 0.3, 0.7))
    a.mirror(Assembly().add(ball(d), (0.2, 0.0, 0.45), d.between(0.2, 0.32), cut=True))
    if d.chance(0.5):
        a.add(cylinder(4, 0.0), (0, -0.2, 0.5), 0.2, cut=True)
    if d.chance(0.3):
        a.row(Assembly().box((0, -0.6, 0.4), (0.06, 0.15, 0.3), cut=True), 4, (0.12, 0, 0), (-0.18, 0, 0))
    if d.chance(0.4):
        a.include(
            Assembly().mirror(
                Assembly().rod((0.3, 0.3, 0), (0.8, d.between(0.2, 1.0), 0), 0.2, sides=6, top=0.4)
            )
        )
    if d.chance(0.2):
        a.add(torus(0.15), (0, 0.3, 0), (1.2, 1, 1.2))
    return a


RULES = (person, person, person, beast, beast, bird, fish, fish, insect, skull)
