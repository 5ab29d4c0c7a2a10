"""Tables, seats, cabinets, beds: tops, backs and shelves on legs."""

import numpy as np

from pointmae_zoo.procedural.bricks import Dice, ball, leg, profile, rounded, slab, solid, turned
from pointmae_zoo.procedural.constructive_geometry import Assembly, turn_x, turn_z
from pointmae_zoo.procedural.primitives import BOX, capsule, cylinder, extrude, fan, sphere


def legs(d: Dice, width: float, depth: float, height: float) -> Assembly:
    """What carries a top: four legs, three, side walls, a central foot, trestles; splayed and braced at
    random.
    """
    a = Assembly()
    thick = d.between(0.04, 0.14)
    x, z = width / 2 - thick, depth / 2 - thick
    kind = d.whole(0, 5)
    if kind <= 2:
        one = Assembly().include(
            leg(d, height, thick), turn=turn_z(d.pick((0.0, 0.0, 0.12))) @ turn_x(d.pick((0.0, -0.12)))
        )
        a.mirror(Assembly().mirror(Assembly().include(one, (x, 0, z)), 2), 0)
        if d.chance(0.4):
            bar, y = thick * 0.6, height * d.between(0.2, 0.5)
            a.mirror(Assembly().box((x, y, 0), (bar, bar, 2 * z)))
            if d.chance(0.5):
                a.mirror(Assembly().box((0, y, z), (2 * x, bar, bar)), 2)
            else:
                a.box((0, y, 0), (2 * x, bar, bar))
    elif kind == 3:
        a.ring(leg(d, height, thick), d.whole(3, 5), min(x, z), start=d.between(0, 1))
    elif kind == 4:
        a.add(turned(profile(d), d.sides()), size=(d.between(0.15, 0.5), height, d.between(0.15, 0.5)))
        foot = d.between(0.4, 0.8) * min(width, depth)
        if d.chance(0.5):
            a.add(cylinder(12, 0.6), (0, 0.03, 0), (foot, 0.06, foot))
        else:
            a.ring(Assembly().box((foot / 4, 0.03, 0), (foot / 2, 0.06, 0.07)), d.whole(3, 5))
    else:
        a.mirror(Assembly().box((x, height / 2, 0), (thick, height, depth * d.between(0.7, 1))))
        if d.chance(0.5):
            a.box((0, height * 0.5, -z * d.pick((0, 1))), (width, height * d.between(0.2, 1), thick / 2))
    return a


def table(d: Dice) -> Assembly:
    width, depth, height = d.between(0.6, 1.8), d.between(0.5, 1.1), d.between(0.3, 1.1)
    top = d.between(0.03, 0.12)
    a = legs(d, width * 0.9, depth * 0.9, height)
    a.include(slab(d, width, depth, top), (0, height, 0))
    if d.chance(0.25):
        a.box((0, height * d.between(0.2, 0.5), 0), (width * 0.85, top / 2, depth * 0.85))
    if d.chance(0.3):
        a.box((width * d.between(-0.25, 0.25), height * 0.75, 0), (width * 0.35, height * 0.5, depth * 0.8))
    if d.chance(0.25):
        for _ in range(d.whole(1, 4)):
            size = d.between(0.1, 0.25)
            at = (d.between(-0.35, 0.35) * width, height + top / 2 + size / 2, d.between(-0.3, 0.3) * depth)
            a.add(solid(d), at, size)
    return a


def seat(d: Dice) -> Assembly:
    """Chairs, stools, benches, sofas, thrones."""
    wide = d.chance(0.3)
    width, depth, height = (
        d.between(1.0, 2.0) if wide else d.between(0.45, 0.65),
        d.between(0.4, 0.65),
        d.between(0.25, 0.6),
    )
    a = legs(d, width, depth, height)
    thick = d.between(0.04, 0.2)
    a.include(
        slab(d, width, depth, thick) if not wide else Assembly().box((0, 0, 0), (width, thick, depth)),
        (0, height, 0),
    )
    if d.chance(0.85):
        tall, lean = d.between(0.3, 0.9), d.pick((0.0, 0.0, -0.2))
        back, w = Assembly(), d.between(0.03, 0.1)
        kind = d.whole(0, 3)
        if kind == 0:
            back.box((0, tall / 2, 0), (width, tall, w))
        elif kind == 1:
            back.mirror(Assembly().box((width / 2 - w / 2, tall / 2, 0), (w, tall, w)))
            n = d.whole(1, 4)
            back.row(
                Assembly().box((0, 0, 0), (width, tall / n * d.between(0.3, 0.7), w * 0.6)),
                n,
                (0, tall / n, 0),
                (0, tall / n * 0.6, 0),
            )
        elif kind == 2:
            n = d.whole(2, 7)
            back.row(
                Assembly().box((0, tall / 2, 0), (w * 0.6, tall, w * 0.6)),
                n,
                (width / n, 0, 0),
                (-width * (n - 1) / n / 2, 0, 0),
            )
            back.box((0, tall, 0), (width, d.between(0.05, 0.2), w))
        else:
            back.add(
                extrude(fan(rounded(1, 1, d.between(0.15, 0.45)))), (0, tall / 2, 0), (width * 0.95, tall, w)
            )
        a.include(back, (0, height, -depth / 2 + w / 2), turn=turn_x(lean))
    if d.chance(0.35):
        arm, rise = d.between(0.05, 0.15), d.between(0.15, 0.3)
        side = Assembly().box((width / 2, height + rise, 0), (arm, arm * 0.7, depth))
        if d.chance(0.6):
            side.box((width / 2, height + rise / 2, depth / 2 - arm), (arm * 0.6, rise, arm * 0.6))
        else:
            side.box((width / 2, (height + rise) / 2, 0), (arm, height + rise, depth))
        a.mirror(side)
    return a


def cabinet(d: Dice) -> Assembly:
    """Shelves with things on them, cupboards with doors and knobs, chests of drawers."""
    width, height, depth = d.between(0.5, 1.4), d.between(0.5, 2.0), d.between(0.25, 0.6)
    w = d.between(0.02, 0.06)
    a = Assembly()
    rows, columns = d.whole(1, 5), d.pick((1, 1, 2, 3))
    cell, shelf = width / columns, height / rows
    if d.chance(0.6):
        a.row(
            Assembly().box((0, height / 2, 0), (w, height, depth)),
            columns + 1,
            (cell, 0, 0),
            (-width / 2, 0, 0),
        )
        a.row(Assembly().box((0, 0, 0), (width, w, depth)), rows + 1, (0, shelf, 0))
        if d.chance(0.6):
            a.box((0, height / 2, -depth / 2), (width, height, w))
        if d.chance(0.6):
            for r in range(rows):
                for _ in range(d.whole(0, 3)):
                    size = d.many(3, 0.2, 0.7) * (cell * 0.5, shelf, depth)
                    a.add(
                        d.pick((BOX, BOX, cylinder(8), ball(d))),
                        (d.between(-0.4, 0.4) * width, r * shelf + size[1] / 2, 0),
                        size,
                    )
    else:
        a.box((0, height / 2, 0), (width, height, depth))
        for r in range(rows):
            for c in range(columns):
                at = np.array([(c - (columns - 1) / 2) * cell, (r + 0.5) * shelf, depth / 2])
                a.box(at, (cell * 0.88, shelf * 0.88, w))
                a.add(d.pick((BOX, ball(d))), at + (0, 0, w), (min(cell, shelf) * 0.12,) * 3)
    if d.chance(0.4):
        a.box((0, height, 0), (width * 1.08, w * 1.5, depth * 1.1))
    if d.chance(0.3):
        a.mirror(
            Assembly().mirror(
                Assembly().box((width / 2 - w, -0.05, depth / 2 - w), (w * 1.5, 0.12, w * 1.5)), 2
            ),
            0,
        )
    return a


def bed(d: Dice) -> Assembly:
    width, length, height = d.between(0.7, 1.4), d.between(1.3, 2.0), d.between(0.2, 0.5)
    a = (
        Assembly()
        .include(legs(d, width, length, height))
        .box((0, height, 0), (width, d.between(0.1, 0.3), length))
    )
    a.box((0, height, -length / 2), (width, d.between(0.4, 1.2), 0.08))
    if d.chance(0.6):
        a.box((0, height, length / 2), (width, d.between(0.2, 0.6), 0.08))
    pillow = d.pick((BOX, sphere(10, 6), capsule(2.0, 8)))
    a.row(
        Assembly().add(pillow, size=(width * 0.4, 0.15, 0.3)),
        2,
        (width * 0.45, 0, 0),
        (-width * 0.22, height + 0.2, -length * 0.38),
    )
    return a


RULES = (table, table, seat, seat, cabinet, cabinet, bed)
