"""Houses, towers, walls, fences, stairs, bridges, signs, and ground to stand on."""

import numpy as np

from pointmae_zoo.procedural.bricks import (
    Dice,
    arch,
    ball,
    blob,
    cap,
    gable,
    knots,
    leg,
    rounded,
    solid,
    star,
    turned,
    wedge,
)
from pointmae_zoo.procedural.constructive_geometry import FORWARD, LAID, Assembly, turn_x, turn_y, turn_z
from pointmae_zoo.procedural.nature import plant, rocks, tree
from pointmae_zoo.procedural.primitives import BOX, convex, cylinder, extrude, fan, frustum, outline


def roof(d: Dice, width: float, depth: float, rise: float) -> Assembly:
    """On y = 0, over width and depth: gabled, hipped, flat with a parapet, leaning or arched."""
    a = Assembly()
    w, z = width * d.between(1.0, 1.25), depth * d.between(1.0, 1.25)
    kind = d.whole(0, 5)
    if kind <= 1:
        a.add(gable(d.pick((0.0, 0.0, 0.2))), (0, rise / 2, 0), (w, rise, z))
    elif kind == 2:
        a.add(frustum(d.pick((0.0, 0.4))), (0, rise / 2, 0), (w, rise, z))
    elif kind == 3:
        a.box((0, 0.03, 0), (w, 0.08, z))
        a.mirror(Assembly().box((w / 2, 0.08, 0), (0.05, 0.16, z))).mirror(
            Assembly().box((0, 0.08, z / 2), (w, 0.16, 0.05)), 2
        )
    elif kind == 4:
        a.add(wedge(), (0, rise / 2, 0), (w, rise, z))
    else:
        a.mirror(
            Assembly().box(
                (w / 4, rise / 2, 0), (np.hypot(w / 2, rise) * 1.1, 0.07, z), turn_z(-np.arctan2(rise, w / 2))
            )
        )
    return a


def house(d: Dice) -> Assembly:
    """Walls and a roof, storeys, wings, a chimney, doors and windows cut or stuck on, a porch, steps."""
    width, depth, height = d.between(0.7, 1.6), d.between(0.6, 1.2), d.between(0.4, 1.6)
    a = Assembly().box((0, height / 2, 0), (width, height, depth))
    holes = d.chance(0.5)
    storeys, columns = d.whole(1, 3), d.whole(1, 4)
    pane = min(width / columns, height / storeys)
    if d.chance(0.25):  # hollow
        a.box((0, height / 2 - 0.05, 0), (width - 0.12, height, depth - 0.12), cut=True)
    for s in range(storeys):
        for c in range(columns):
            at = ((c - (columns - 1) / 2) * width / columns, (s + 0.55) * height / storeys)
            a.mirror(Assembly().box((*at, depth / 2), (pane * 0.45, pane * 0.5, 0.12), cut=holes), 2)
    door = d.between(0.2, 0.35)
    a.box(
        (d.pick((0, 0.25)) * width, door * 0.75, depth / 2), (door * 0.7, door * 1.5, 0.1), cut=d.chance(0.5)
    )
    rise = d.between(0.2, 0.8)
    turn = turn_y(d.pick((0.0, np.pi / 2)))
    if turn[0, 0] > 0.5:
        a.include(roof(d, width, depth, rise), (0, height, 0))
    else:
        a.include(roof(d, depth, width, rise), (0, height, 0), turn=turn)
    if d.chance(0.4):
        a.box((width * 0.3, height + rise * 0.5, depth * 0.2), (0.12, rise * 1.3, 0.12))
    if d.chance(0.4):
        w, h = width * d.between(0.3, 0.7), height * d.between(0.4, 1.2)
        side = d.pick((-1, 1))
        a.box((side * (width + w) / 2, h / 2, 0), (w, h, depth * 0.7))
        a.include(roof(d, w, depth * 0.7, rise * 0.6), (side * (width + w) / 2, h, 0))
    if d.chance(0.3):
        a.box((0, 0.5 * height, depth * 0.7), (width * 0.8, 0.05, depth * 0.4))
        post = Assembly().include(leg(d, height * 0.5, 0.05))
        a.mirror(Assembly().include(post, (width * 0.35, 0, depth * 0.85)))
    if d.chance(0.3):
        a.box((0, -0.04, 0), (width * 1.4, 0.1, depth * 1.5))
    if d.chance(0.2):
        a.row(Assembly().box((0, 0, 0), (0.4, 0.08, 0.1)), 3, (0, -0.06, 0.1), (0, 0.05, depth / 2 + 0.05))
    return a


def tower(d: Dice) -> Assembly:
    """Castles, lighthouses, skyscrapers, pagodas, chimneys, wells: storeys of one outline, battlements, a
    cap.
    """
    a = Assembly()
    sides = d.pick((4, 4, 6, 8, 12, 16))
    y, width = 0.0, d.between(0.6, 1.2)
    eaves = d.chance(0.3)
    for _ in range(d.whole(1, 5)):
        h = d.between(0.3, 1.2)
        a.add(cylinder(sides, d.pick((1.0, 1.0, 0.8))), (0, y + h / 2, 0), (width, h, width))
        y += h
        if eaves:
            a.add(cylinder(sides, d.pick((0.4, 0.6))), (0, y, 0), (width * 1.5, 0.2, width * 1.5))
        elif d.chance(0.4):
            a.add(cylinder(sides, d.pick((1.0, 1.25))), (0, y, 0), (width * 1.15, 0.1, width * 1.15))
        width *= d.between(0.65, 1.0)
    if d.chance(0.4):  # battlements
        count = d.pick((4, 6, 8))
        a.add(cylinder(sides), (0, y, 0), (width * 1.3, 0.15, width * 1.3))
        a.ring(Assembly().box((0, y + 0.14, 0), (0.12, 0.18, 0.18)), count, width * 0.55, start=np.pi / count)
    if d.chance(0.6):
        a.add(
            cap(d), (0, y, 0), (width * d.between(0.8, 1.4), d.between(0.3, 1.2), width * d.between(0.8, 1.4))
        )
    if d.chance(0.5):
        hole = d.between(0.1, 0.25)
        for k in range(d.whole(1, 4)):
            a.box((0, 0.3 + 0.5 * k, 0.5), (hole, hole * 1.6, 0.8), cut=d.chance(0.7))
    if d.chance(0.2):
        wall = (
            Assembly()
            .box((0.6, 0.3, 0), (1.2, 0.6, 0.15))
            .row(Assembly().box((0, 0.65, 0), (0.12, 0.16, 0.16)), 4, (0.25, 0, 0), (0.35, 0, 0))
        )
        a.include(wall).include(wall, turn=turn_y(d.pick((np.pi / 2, np.pi))))
    return a


def column(d: Dice) -> Assembly:
    """Pillars, posts, statues' bases, bollards, gravestones, obelisks, fountains."""
    height = d.between(1.0, 3.0)
    sides = d.pick((4, 6, 8, 12, 16))
    w = d.between(0.25, 0.6)
    a = Assembly()
    shaft = cylinder(sides, d.pick((1.0, 0.8)))
    a.add(shaft, (0, height / 2, 0), (w, height, w))
    steps = d.whole(0, 3)
    for k in range(steps):
        s = w * (1.2 + 0.25 * k)
        foot = d.pick((BOX, cylinder(sides)))
        a.add(foot, (0, 0.1 * (steps - k) - 0.05, 0), (s, 0.12, s))
        if d.chance(0.8):
            a.add(foot, (0, height - 0.1 * (steps - k) + 0.05, 0), (s, 0.12, s))
    if d.chance(0.3):
        a.ring(
            Assembly().add(cylinder(6), (0, height / 2, 0), (w * 0.2, height, w * 0.2)),
            d.whole(6, 10),
            w * 0.5,
        )
    if d.chance(0.4):
        a.add(solid(d), (0, height + 0.15, 0), d.between(0.3, 0.8))
    return a


def fence(d: Dice) -> Assembly:
    """Posts and rails, pickets, walls of stones, gates, railings, hedges; straight, at a corner, or around
    a yard.
    """
    length, height = d.between(1.0, 2.5), d.between(0.3, 1.0)
    one = Assembly()
    posts = d.whole(2, 9)
    width = d.between(0.03, 0.12)
    post = Assembly().include(leg(d, height, width))
    if d.chance(0.4):
        post.add(d.pick((frustum(), ball(d), BOX)), (0, height, 0), width * 1.6)
    one.row(post, posts, (length / (posts - 1), 0, 0), (-length / 2, 0, 0))
    kind = d.whole(0, 3)
    if kind <= 1:
        rails = d.whole(1, 4)
        rail = Assembly().box((0, 0, 0), (length, d.between(0.03, 0.1), width * 0.5))
        one.row(rail, rails, (0, height * 0.75 / rails, 0), (0, height * 0.25, 0))
    elif kind == 2:
        one.box((0, height * 0.4, 0), (length, height * 0.7, width * d.between(0.3, 1.5)))
        if d.chance(0.4):
            n = d.whole(3, 8)
            one.row(
                Assembly().box((0, height * 0.85, 0), (length / n * 0.5, height * 0.25, width)),
                n,
                (length / n, 0, 0),
                (-length * (n - 1) / n / 2, 0, 0),
            )
    else:
        n = d.whole(6, 14)
        picket = Assembly().box((0, height * 0.45, 0), (length / n * d.between(0.3, 0.8), height * 0.9, 0.03))
        if d.chance(0.5):
            picket.add(gable(), (0, height * 0.95, 0), (length / n * 0.7, height * 0.12, 0.03))
        one.row(picket, n, (length / n, 0, 0), (-length * (n - 1) / n / 2, 0, 0)).box(
            (0, height * 0.5, 0.03), (length, 0.06, 0.03)
        )
    layout = d.whole(0, 5)
    if layout == 4:
        return (
            Assembly()
            .include(one, (length / 2, 0, 0))
            .include(one, (0, 0, length / 2), turn=turn_y(np.pi / 2))
        )
    if layout == 5:
        turned_one = one.transformed(turn_y(np.pi / 2))
        return Assembly().ring(turned_one, d.pick((3, 4)), length / 2)
    return one


def wall(d: Dice) -> Assembly:
    """Walls with doors, windows, arches, pillars, battlements, bricks."""
    length, height, thick = d.between(0.8, 2.0), d.between(0.6, 1.6), d.between(0.06, 0.3)
    a = Assembly()
    if d.chance(0.25):  # of bricks
        rows, n = d.whole(3, 6), d.whole(3, 6)
        for r in range(rows):
            size = (length / n * 0.92, height / rows * 0.9, thick)
            a.row(
                Assembly().box((0, 0, 0), size),
                n,
                (length / n, 0, 0),
                (length / n * 0.5 * (r % 2), r * height / rows, 0),
            )
        return a
    a.box((0, height / 2, 0), (length, height, thick))
    for k in range(d.whole(0, 3)):
        at, w = (k - 1) * length / 3, d.between(0.15, 0.28) * length
        low = d.pick((0.0, 0.35)) * height
        tall = d.between(0.3, 0.55) * height
        a.box((at, low + tall / 2 - 0.01, 0), (w, tall, 1), cut=True)
        if d.chance(0.5):
            a.add(cylinder(12), (at, low + tall, 0), (w, 1, w), FORWARD, cut=True)
        if d.chance(0.4):
            a.box((at, low, thick / 2), (w * 1.3, 0.06, 0.12))
    if d.chance(0.4):
        n = d.whole(3, 7)
        a.row(
            Assembly().box((0, height + 0.06, 0), (length / n * 0.55, 0.16, thick)),
            n,
            (length / n, 0, 0),
            (-length * (n - 1) / n / 2, 0, 0),
        )
    if d.chance(0.4):
        a.mirror(Assembly().box((length / 2, height * 0.55, 0), (0.18, height * 1.1, thick * 1.6)))
    if d.chance(0.3):
        a.box((0, 0.05, 0), (length * 1.05, 0.12, thick * 1.4))
    if d.chance(0.2):
        a.box((length / 2, height / 2, length / 3), (thick, height, length * 0.66))
    return a


def stairs(d: Dice) -> Assembly:
    """Straight, open, or winding steps with sides, posts and a landing."""
    n = d.whole(3, 12)
    rise, run, width = d.between(0.08, 0.2), d.between(0.1, 0.25), d.between(0.4, 1.2)
    a = Assembly()
    kind = d.whole(0, 3)
    if kind == 0:
        for k in range(n):
            a.box((k * run, (k + 1) * rise / 2, 0), (run, (k + 1) * rise, width))
    elif kind == 1:
        loop = (
            [(0.0, 0.0)]
            + [(k * run, (k + j) * rise) for k in range(n) for j in (0, 1)][1:]
            + [(n * run, n * rise), (n * run, 0.0)]
        )
        tiles = [(k * run, 0.0, (k + 1) * run, (k + 1) * rise) for k in range(n)]
        a.add(extrude(outline(loop, tiles)), size=(1, 1, width))
    elif kind == 2:
        a.row(Assembly().box((0, 0, 0), (run, rise * 0.4, width)), n, (run, rise, 0))
        length = np.hypot(run, rise) * n
        side = Assembly().box(
            ((n - 1) * run / 2, (n - 1) * rise / 2, width / 2),
            (length, 0.12, 0.05),
            turn_z(np.arctan2(rise, run)),
        )
        a.mirror(side, 2)
    else:
        winding = d.between(0.25, 0.6)
        step = Assembly().box((width / 2, 0, 0), (width, rise * 0.6, run * 1.5))
        for k in range(n):
            a.include(step, (0, k * rise, 0), turn=turn_y(k * winding))
        a.rod((0, -rise, 0), (0, (n + 2) * rise, 0), 0.15)
        return a
    if d.chance(0.5):
        rail = Assembly().row(Assembly().box((0, 0.3, width / 2), (0.04, 0.6, 0.04)), n, (run, rise, 0))
        rail.rod((0, 0.6, width / 2), ((n - 1) * run, 0.6 + (n - 1) * rise, width / 2), 0.06, sides=4)
        a.mirror(rail, 2) if d.chance(0.7) else a.include(rail)
    if d.chance(0.3):
        a.box(((n + 1) * run, n * rise / 2, 0), (3 * run, n * rise, width))
    return a


def bridge(d: Dice) -> Assembly:
    """Bridges, arches, gates, piers, swings, scaffolds."""
    length, width, height = d.between(1.2, 2.5), d.between(0.3, 0.8), d.between(0.3, 1.0)
    a = Assembly()
    kind = d.whole(0, 3)
    if kind == 0:  # arches under a deck
        n = d.whole(1, 4)
        span = length / n
        a.box((0, height / 2, 0), (length, height, width))
        hole = Assembly().add(cylinder(16), size=(span * 0.75, 3, height * 1.5), turn=FORWARD, cut=True)
        a.row(hole, n, (span, 0, 0), (-length * (n - 1) / n / 2, 0, 0))
        if d.chance(0.6):
            a.mirror(Assembly().box((0, height, width / 2), (length, 0.25, 0.06)), 2)
    elif kind == 1:  # a gate
        post = Assembly().include(column(d), (length * 0.35, 0, 0), (0.6, 0.5, 0.6))
        a.mirror(post)
        if d.chance(0.5):
            a.add(extrude(arch(0.8)), (0, height, 0), (length * 0.85, length * 0.6, 0.2))
        else:
            a.row(
                Assembly().box((0, 0, 0), (length, 0.1, 0.2)),
                d.whole(1, 2),
                (0, 0.2, 0),
                (0, height * 1.2, 0),
            )
    elif kind == 2:  # a deck on posts, of planks
        n = d.whole(4, 9)
        a.row(
            Assembly().box((0, height, 0), (length / n * 0.85, 0.06, width)),
            n,
            (length / n, 0, 0),
            (-length * (n - 1) / n / 2, 0, 0),
        )
        post = Assembly().box((0, height * 0.6, width / 2), (0.07, height * 1.2, 0.07))
        a.mirror(Assembly().row(post, 3, (length * 0.4, 0, 0), (-length * 0.4, 0, 0)), 2)
        if d.chance(0.5):
            a.mirror(Assembly().box((0, height * 1.2, width / 2), (length, 0.05, 0.05)), 2)
    else:  # an A-frame with something hanging
        side = Assembly().rod((length / 2, 0, width), (length / 2, 1.2, 0), 0.07, sides=6)
        side.rod((length / 2, 0, -width), (length / 2, 1.2, 0), 0.07, sides=6)
        a.mirror(side).rod((-length / 2, 1.2, 0), (length / 2, 1.2, 0), 0.08, sides=6)
        rope = Assembly().rod((0.15, 1.2, 0), (0.15, 0.4, 0), 0.025, sides=4)
        a.mirror(rope).add(solid(d), (0, 0.35, 0), (0.5, d.between(0.05, 0.4), 0.3))
    return a


def sign(d: Dice) -> Assembly:
    """Flags, signposts, arrows, shields, tombstones, banners, traffic lights."""
    height = d.between(0.6, 2.0)
    a = Assembly()
    plates = (
        fan(rounded(1, 1, 0.2)),
        fan(star(5, 0.45)),
        fan(blob(d)),
        convex([(-0.5, 0), (0, -0.5), (0.5, -0.4), (0.5, 0.4), (0, 0.5)]),
    )
    a.rod((0, 0, 0), (0, height, 0), d.between(0.04, 0.12), sides=d.pick((4, 6, 8)))
    for k in range(d.whole(1, 3)):
        size = (d.between(0.4, 1.0), d.between(0.2, 0.6), d.between(0.03, 0.12))
        part = extrude(d.pick(plates)) if d.chance(0.5) else BOX
        a.add(
            part,
            (d.pick((0, 0.5, -0.5)) * size[0], height * (1 - 0.3 * k), 0.05),
            size,
            turn_y(d.pick((0.0, 0.0, 0.7))),
        )
    if d.chance(0.5):
        a.add(solid(d), (0, 0.03, 0), (d.between(0.2, 0.5), 0.1, d.between(0.2, 0.5)))
    return a


def ground(d: Dice) -> Assembly:
    """A platform, an island or a tile with things on it."""
    width, depth, thick = d.between(0.8, 1.4), d.between(0.8, 1.4), d.between(0.08, 0.8)
    a = Assembly()
    kind = d.whole(0, 3)
    if kind == 0:
        a.box((0, -thick / 2, 0), (width, thick, depth))
    elif kind == 1:
        a.box((0, -thick / 2, 0), (width, thick, depth)).box(
            (0, -0.05, 0), (width * 1.05, 0.12, depth * 1.05)
        )
    elif kind == 2:
        a.add(
            extrude(fan(blob(d)), taper=d.pick((1.0, 0.7))),
            (0, -thick / 2, 0),
            (width, depth, thick),
            LAID @ turn_x(np.pi),
        )
    else:
        line = np.stack([np.maximum(knots(d, 3, 0.2, 0.5, 6), 0.05), np.linspace(-1, 0, 6)], 1)
        a.add(turned(line, d.sides()), size=(width * 1.2, thick, depth * 1.2))
    for _ in range(d.whole(0, 4)):
        thing = (
            d.pick((tree, plant, rocks, column, house))(d)
            if d.chance(0.4)
            else Assembly().add(solid(d), (0, 0.4, 0), d.many(3, 0.3, 1.2))
        )
        a.include(
            thing, (d.between(-0.3, 0.3) * width, 0, d.between(-0.3, 0.3) * depth), d.between(0.15, 0.4)
        )
    return a


RULES = (house, house, house, tower, tower, column, fence, fence, wall, wall, stairs, bridge, sign, ground)
