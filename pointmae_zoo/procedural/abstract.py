"""Shapes of no particular thing: bricks put together by symmetry, repetition, branching and cutting."""

import numpy as np

from pointmae_zoo.procedural.bricks import (
    Dice,
    ball,
    beam,
    bow,
    cap,
    flat,
    helix,
    pill,
    profile,
    shell,
    solid,
    turned,
)
from pointmae_zoo.procedural.constructive_geometry import (
    FORWARD,
    LAID,
    SIDEWAYS,
    Assembly,
    aim,
    turn_x,
    turn_y,
    turn_z,
)
from pointmae_zoo.procedural.primitives import BOX, Primitive, cylinder, extrude, torus, tube


def any_brick(d: Dice) -> Primitive:
    """Something of size about 1 about the origin."""
    kind = d.whole(0, 9)
    if kind <= 5:
        return solid(d)
    if kind == 6:
        return pill(d)
    if kind == 7:
        return extrude(flat(d), taper=d.pick((1.0, 1.0, 0.6)))
    line = profile(d) - (0, 0.5)
    return turned(line, d.sides()) if kind == 8 or line[:, 0].min() < 0.15 else shell(line, 0.06, d.sides())


def upright(d: Dice) -> np.ndarray:
    """A turn by a right angle, mostly none."""
    return d.pick((np.eye(3), np.eye(3), SIDEWAYS, FORWARD, LAID, turn_y(d.between(0, 3.1))))


def sizes(d: Dice, low: float, high: float) -> np.ndarray:
    if d.chance(0.3):
        return np.full(3, d.between(low, high))
    return d.many(3, low, high)


def single(d: Dice) -> Assembly:
    """One brick, stretched."""
    return Assembly().add(any_brick(d), size=sizes(d, 0.3, 1.2), turn=upright(d))


def cluster(d: Dice) -> Assembly:
    """A body with bricks on its faces: alone, in mirrored pairs, or around it."""
    body = sizes(d, 0.4, 1.2)
    a = Assembly().add(solid(d), size=body)
    for _ in range(d.whole(1, 4)):
        small = sizes(d, 0.12, 0.6)
        part = any_brick(d)
        kind = d.whole(0, 3)
        if kind == 0:  # on top or below
            side = d.pick((1, 1, -1))
            a.add(part, (d.between(-0.3, 0.3) * body[0], side * (body[1] + small[1]) * 0.48, 0), small)
        elif kind == 1:  # a mirrored pair at the sides
            at = (
                body[0] / 2 + small[0] * 0.3,
                d.between(-0.4, 0.4) * body[1],
                d.between(-0.4, 0.4) * body[2],
            )
            a.mirror(Assembly().add(part, at, small, upright(d)))
        elif kind == 2:  # around it
            count = d.whole(3, 8)
            a.ring(Assembly().add(part, (0, d.between(-0.5, 0.5) * body[1], 0), small), count, body[0] / 2)
        else:  # at all four corners
            corner = np.array([0.45, d.pick((-0.5, 0.5)), 0.45]) * body
            a.mirror(Assembly().mirror(Assembly().add(part, corner, small), 2), 0)
    return a


def heap(d: Dice) -> Assembly:
    """Bricks anywhere, turned anyhow."""
    a = Assembly()
    one = any_brick(d)
    same = d.chance(0.4)
    for _ in range(d.whole(2, 8)):
        turn = turn_y(d.between(0, 6.28)) @ turn_x(d.between(-1, 1))
        a.add(one if same else any_brick(d), d.many(3, -0.5, 0.5), sizes(d, 0.2, 0.7), turn)
    return a


def stack(d: Dice) -> Assembly:
    """Bricks on top of each other, wide ones mostly below."""
    a, y, width = Assembly(), 0.0, 1.0
    sides, turn = d.sides(), d.pick((0.0, 0.0, 0.3, 0.8))
    shared = d.chance(0.5)
    floor = cylinder(sides, d.top())
    for k in range(d.whole(2, 7)):
        height = d.between(0.15, 0.8)
        part = floor if shared else d.pick((BOX, cylinder(sides, d.top()), ball(d), solid(d)))
        a.add(
            part,
            (0, y + height / 2, 0),
            (width, height * 1.02, width * d.pick((1.0, 1.0, 0.7))),
            turn_y(turn * k),
        )
        y += height
        width *= d.between(0.55, 1.1)
    if d.chance(0.5):
        a.add(cap(d), (0, y - 0.01, 0), (width, d.between(0.2, 0.8), width))
    return a


def grid(d: Dice) -> Assembly:
    """One brick in a regular grid: rows, racks, city blocks; heights alike, random or in waves."""
    a = Assembly()
    nx, ny, nz = d.whole(1, 5), d.pick((1, 1, 1, 2, 3)), d.whole(1, 5)
    part, fill = solid(d), d.between(0.4, 1.05)
    kind, wave = d.whole(0, 3), d.between(0.5, 2.0)
    for i in range(nx):
        for k in range(nz):
            height = (1.0, d.between(0.3, 2.5), 1.2 + np.sin(wave * i) * np.cos(wave * k), 1.0)[kind]
            if kind == 3 and d.chance(0.35):
                continue
            for j in range(ny):
                a.add(part, (i, (j + 0.5) * height, k), (fill, height * fill, fill))
    if d.chance(0.5) or not a.parts:
        a.box(((nx - 1) / 2, -0.1, (nz - 1) / 2), (nx + 0.2, 0.3, nz + 0.2))
    return a


def blocks(d: Dice) -> Assembly:
    """Cubes grown one at a time on each other's faces, often mirrored."""
    cells = {(0, 0, 0)}
    ways = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
    last = (0, 0, 0)
    for _ in range(d.whole(3, 14)):
        start = last if d.chance(0.6) else d.pick(sorted(cells))
        way = d.pick(ways)
        last = (start[0] + way[0], start[1] + way[1], start[2] + way[2])
        cells.add(last)
    if d.chance(0.5):
        low = min(x for x, _, _ in cells)
        cells |= {(2 * low - x, y, z) for x, y, z in cells}
    part = d.pick((BOX, BOX, BOX, cylinder(8), ball(d), solid(d)))
    fill = d.pick((1.0, 1.0, 0.9, 1.1))
    a = Assembly()
    for cell in sorted(cells):
        a.add(part, cell, fill)
    return a


def carved(d: Dice) -> Assembly:
    """A solid with bites, holes, slots or pockets cut out of it."""
    body = sizes(d, 0.5, 1.2)
    a = Assembly().add(solid(d), size=body)
    if d.chance(0.3):
        a.add(solid(d), d.many(3, -0.4, 0.4), sizes(d, 0.4, 0.9))
    for _ in range(d.whole(1, 3)):
        kind = d.whole(0, 3)
        if kind == 0:  # holes right through
            hole = Assembly().add(
                cylinder(d.sides()), size=(d.between(0.1, 0.35), 3, d.between(0.1, 0.35)), cut=True
            )
            count = d.whole(1, 4)
            a.row(
                hole, count, (0.4 * body[0] / count * 2, 0, 0), (-0.4 * body[0] * (count - 1) / count, 0, 0)
            )
        elif kind == 1:  # a pocket from above
            a.box(
                (0, body[1] * d.between(0.3, 0.6), 0),
                body * (d.between(0.4, 0.9), 1, d.between(0.4, 0.9)),
                cut=True,
            )
        elif kind == 2:  # a bite
            a.add(solid(d), d.many(3, -0.5, 0.5) * body, sizes(d, 0.3, 0.8), cut=True)
        else:  # slots
            slot = Assembly().box((0, d.between(0.2, 0.5) * body[1], 0), (0.06, body[1], 3), cut=True)
            count = d.whole(2, 6)
            a.row(slot, count, (body[0] / count, 0, 0), (-body[0] * (count - 1) / count / 2, 0, 0))
    return a


def bar(d: Dice) -> Assembly:
    """A profile pulled straight, with holes now and then."""
    length = d.between(0.2, 3.0)
    a = Assembly().add(extrude(flat(d) if d.chance(0.5) else beam(d)), size=(1, d.between(0.5, 1), length))
    if d.chance(0.3):
        for k in range(d.whole(1, 4)):
            a.add(
                cylinder(8), (0, 0, (k - 1.5) * length / 5), (0.2, 3, 0.2), d.pick((None, SIDEWAYS)), cut=True
            )
    return a.transformed(d.pick((np.eye(3), LAID, turn_y(np.pi / 2))))


def around(d: Dice) -> Assembly:
    """The same arm many times about an axis: stars, wheels, fans, crowns, flowers."""
    count = d.whole(3, 12)
    hub = d.between(0.1, 0.5)
    a = Assembly()
    if d.chance(0.75):
        a.add(
            d.pick((cylinder(d.sides()), ball(d), torus(0.2))), size=(2 * hub, d.between(0.1, 0.6), 2 * hub)
        )
    length, thick = d.between(0.3, 1.2), d.between(0.05, 0.3)
    tilt = turn_z(d.pick((0.0, 0.0, d.between(-1, 1))))
    arm = Assembly().add(
        any_brick(d), (length / 2, 0, 0), (length, thick, d.between(0.05, 0.4)), turn_x(d.pick((0.0, 0.6)))
    )
    if d.chance(0.4):
        arm.add(solid(d), (length, 0, 0), d.between(0.15, 0.4))
    a.ring(arm.transformed(tilt), count, hub * 0.8)
    if d.chance(0.35):
        outer = 2 * (hub + length)
        a.add(torus(d.pick((0.06, 0.1))), size=(outer, outer * d.between(0.6, 1.5), outer))
    return a.transformed(d.pick((np.eye(3), FORWARD, SIDEWAYS)))


def branches(d: Dice) -> Assembly:
    """A branching thing: antlers, corals, candelabra, dendrites."""
    a = Assembly()
    sides = d.pick((4, 5, 6, 8))
    forks, levels = d.whole(2, 3), d.whole(2, 3)
    spread, shorter, thinner = d.between(0.3, 1.1), d.between(0.55, 0.9), d.between(0.5, 0.8)
    planar, tip = d.chance(0.3), d.pick((None, None, ball(d), BOX, cylinder(6, 0.0)))

    def grow(start: np.ndarray, heading: np.ndarray, length: float, width: float, level: int) -> None:
        end = start + length * heading
        a.rod(start, end, width, sides=sides, top=round(thinner, 1))
        if level == 0:
            if tip is not None:
                a.add(tip, end, width * 3 * thinner, aim(heading))
            return
        frame = aim(heading)
        first = d.between(0, 6.28)
        for k in range(forks):
            angle = 0.0 if planar else first + k * 2 * np.pi / forks
            lean = spread * (2 * k / (forks - 1) - 1) if planar else spread * d.between(0.6, 1.3)
            way = frame @ turn_y(angle) @ np.array([np.sin(lean), np.cos(lean), 0])
            grow(end, way / np.linalg.norm(way), length * shorter, width * thinner, level - 1)

    grow(np.zeros(3), np.array([0.0, 1.0, 0.0]), 1.0, d.between(0.08, 0.3), levels)
    return a


def bent_tube(d: Dice) -> Assembly:
    """Springs, hooks, pipes, worms and rings."""
    sides, width = d.pick((5, 6, 8)), d.between(0.03, 0.14)
    kind = d.whole(0, 3)
    if kind == 0:
        turns = d.between(1, 5)
        line = helix(turns, d.between(0.2, 0.6), d.between(0.5, 1.5), int(10 * turns) + 4)
        if d.chance(0.4):
            line[:, [0, 2]] *= np.linspace(1, d.between(0.1, 0.8), len(line))[:, None]
        return Assembly().add(tube(line, width, sides, across=(0, 1, 0)))
    if kind == 1:
        links = Assembly()
        link = torus(d.pick((0.15, 0.2)), 10, 6)
        for k in range(d.whole(2, 6)):
            links.add(link, (0, 0.6 * k, 0), (0.7, 1, 1), turn_y(np.pi / 2 * (k % 2)) @ FORWARD)
        return links
    line = bow(d, 12)
    a = Assembly().add(tube(line, width * np.linspace(1, d.between(0.3, 1.2), len(line)), sides))
    if d.chance(0.5):
        a.add(solid(d), line[-1], d.between(0.2, 0.5))
    if d.chance(0.4):
        a.add(any_brick(d), line[0], (d.between(0.2, 0.8), 0.15, d.between(0.2, 0.8)))
    if kind == 3:
        return Assembly().ring(a, d.whole(2, 7), d.between(0, 0.3))
    return a


def frame(d: Dice) -> Assembly:
    """The edges of a box as beams, with panels, shelves or a diagonal."""
    size = sizes(d, 0.4, 1.3)
    w = d.between(0.03, 0.12)
    a = Assembly()
    x, y, z = size / 2
    beam_x, beam_y, beam_z = (size[0] + w, w, w), (w, size[1] + w, w), (w, w, size[2] + w)
    for s, t in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        a.box((0, s * y, t * z), beam_x).box((s * x, 0, t * z), beam_y).box((s * x, t * y, 0), beam_z)
    for k in range(d.whole(0, 3)):
        a.box((0, (k - 0.7) * size[1] / 3, 0), (size[0], w / 2, size[2]))
    if d.chance(0.4):
        a.rod((-x, -y, z), (x, y, z), w, sides=4).rod((-x, -y, -z), (x, y, -z), w, sides=4)
    if d.chance(0.3):
        a.box((0, 0, -z), (size[0], size[1], w / 2))
    if d.chance(0.4):
        a.add(solid(d), (0, -y + 0.3 * size[1], 0), size * 0.6)
    return a


RULES = (
    single,
    cluster,
    cluster,
    heap,
    stack,
    grid,
    blocks,
    carved,
    carved,
    bar,
    around,
    around,
    branches,
    bent_tube,
    frame,
)
