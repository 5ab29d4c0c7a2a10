"""Dice, and the pieces that the rules throw with them: random solids, profiles, sections and curves."""

import random
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from pointmae_zoo.procedural.constructive_geometry import LAID, Assembly
from pointmae_zoo.procedural.primitives import (
    BOX,
    Array,
    Primitive,
    Section,
    capsule,
    convex,
    cylinder,
    dome,
    extrude,
    fan,
    frustum,
    lathe,
    outline,
    sphere,
    strip,
    torus,
    tube,
)

T = TypeVar("T")


class Dice:
    """Random decisions from one seed. Only ``random()`` of Python's generator is used: its stream is
    guaranteed.
    """

    def __init__(self, seed: str) -> None:
        self._next = random.Random(seed).random

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self._next()

    def whole(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return low + int(self._next() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        return self._next() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self._next() * len(options))]

    def many(self, count: int, low: float, high: float) -> Array:
        return np.array([self.between(low, high) for _ in range(count)])

    def sides(self) -> int:
        """Sides of something round: low-poly as often as smooth."""
        return self.pick((5, 6, 8, 8, 10, 12, 16, 20))

    def top(self) -> float:
        """Upper over lower width of something straight or tapered, in steps: primitives are shared."""
        return self.pick((1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 1.25, 1.5))


def solid(d: Dice) -> Primitive:
    """Any convex-ish brick within [-0.5, 0.5]^3."""
    kind = d.whole(0, 9)
    if kind <= 2:
        return BOX
    if kind == 3:
        return cylinder(d.sides(), d.top())
    if kind == 4:
        return sphere(d.sides(), d.whole(4, 9))
    if kind == 5:
        return frustum(d.pick((0.0, 0.3, 0.6, 0.8)))
    if kind == 6:
        return cylinder(d.sides(), 0.0)
    if kind == 7:
        return wedge(d.pick((0.0, 0.0, 0.3, 0.6)))
    if kind == 8:
        return gable()
    return torus(d.pick((0.15, 0.25, 0.35)), d.sides(), d.pick((4, 6, 8)))


def wedge(top: float = 0.0) -> Primitive:
    """A ramp of side 1 that falls from -x to +x, ``top`` of its length level."""
    return extrude(convex([(-0.5, -0.5), (0.5, -0.5), (top - 0.5, 0.5), (-0.5, 0.5)]))


def gable(shift: float = 0.0) -> Primitive:
    """A roof of side 1 with its ridge along z."""
    return extrude(convex([(-0.5, -0.5), (0.5, -0.5), (shift, 0.5)]))


def knots(d: Dice, count: int, low: float, high: float, points: int) -> Array:
    """A smooth random line: ``count`` random heights, cosine between them, read at ``points`` places."""
    values = d.many(count, low, high)
    at = np.linspace(0, count - 1, points)
    left = np.minimum(at.astype(int), count - 2)
    t = (1 - np.cos((at - left) * np.pi)) / 2
    return values[left] * (1 - t) + values[left + 1] * t


def profile(d: Dice, points: int = 8) -> Array:
    """A random outline (K, 2) of a turned body from y = 0 to 1: radii about 0.1 to 0.5, smooth, stepped or
    angular.
    """
    kind = d.whole(0, 2)
    y = np.linspace(0, 1, points)
    if kind == 0:
        return np.stack([knots(d, d.whole(3, 4), 0.12, 0.5, points), y], 1)
    if kind == 1:
        n = d.whole(2, 4)
        radii = np.repeat(d.many(n, 0.12, 0.5), 2)
        cuts = np.sort(d.many(n - 1, 0.1, 0.9))
        return np.stack([radii, np.concatenate([[0], np.repeat(cuts, 2), [1]])], 1)
    n = d.whole(2, 4)
    return np.stack([d.many(n, 0.1, 0.5), np.concatenate([[0], np.sort(d.many(n - 2, 0.15, 0.85)), [1]])], 1)


def turned(line: Array, sides: int) -> Primitive:
    """A solid lathe of an outline (K, 2) that need not begin or end on the axis."""
    return lathe(np.concatenate([[(0.0, line[0, 1])], line, [(0.0, line[-1, 1])]]), sides)


def shell(line: Array, wall: float, sides: int) -> Primitive:
    """A vessel: the outline (K, 2) as its outside, open at the top, walls and floor ``wall`` thick."""
    inner = line[::-1] - (wall, 0)
    inner[:, 0] = np.maximum(inner[:, 0], 0.01)
    inner[:, 1] = np.maximum(inner[:, 1], line[0, 1] + wall)
    inner[0, 1] = line[-1, 1]
    return lathe(np.concatenate([[(0.0, line[0, 1])], line, inner, [(0.0, inner[-1, 1])]]), sides)


def regular(sides: int, radius: float = 0.5, start: float = 0.0) -> Array:
    angle = np.arange(sides) * (2 * np.pi / sides) + start
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def star(points: int, depth: float) -> Array:
    """(2 points, 2): outer radius 0.5, inner 0.5 * depth."""
    loop = regular(2 * points)
    loop[1::2] *= depth
    return loop


def gear(teeth: int, depth: float) -> Array:
    """(4 teeth, 2): outer radius 0.5, between the teeth 0.5 * depth."""
    loop = regular(4 * teeth)
    loop[2::4] *= depth
    loop[3::4] *= depth
    return loop


def blob(d: Dice, points: int = 14) -> Array:
    """A smooth closed loop (points, 2) of radii 0.25 to 0.5 about the origin."""
    angle = np.arange(points) * (2 * np.pi / points)
    radius = 1.0 + sum(d.between(0, 0.3) / k * np.cos(k * angle + d.between(0, 6.28)) for k in range(1, 4))
    return (0.5 * radius / radius.max())[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def rounded(width: float, height: float, corner: float, steps: int = 3) -> Array:
    """A rectangle with round corners, as a loop about the origin."""
    angle = np.linspace(0, np.pi / 2, steps + 1)
    arc = corner * np.stack([np.cos(angle), np.sin(angle)], 1)
    x, y = width / 2 - corner, height / 2 - corner
    turns = [
        np.array(m) for m in ([[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]])
    ]
    centres = [(x, y), (-x, y), (-x, -y), (x, -y)]
    return np.concatenate([arc @ m.T + c for m, c in zip(turns, centres, strict=True)])


def arc(radius: float, start: float, end: float, points: int) -> Array:
    angle = np.linspace(start, end, points)
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def arch(inner: float, points: int = 9) -> Section:
    """Half a ring standing on the ground: outer radius 0.5, inner radius 0.5 * inner."""
    return strip(arc(0.5, 0, np.pi, points), arc(0.5 * inner, 0, np.pi, points))


def beam(d: Dice) -> Section:
    """A steel or wooden profile within [-0.5, 0.5]^2: L, U, T, I, Z, a cross, or a hollow box."""
    a = d.between(0.1, 0.35)
    h = 0.5
    kind = d.whole(0, 6)
    if kind == 0:
        return outline(
            [(-h, -h), (h, -h), (h, a - h), (a - h, a - h), (a - h, h), (-h, h)],
            [(-h, -h, h, a - h), (-h, a - h, a - h, h)],
        )
    if kind == 1:
        loop = [(-h, -h), (h, -h), (h, h), (h - a, h), (h - a, a - h), (a - h, a - h), (a - h, h), (-h, h)]
        return outline(loop, [(-h, -h, h, a - h), (-h, a - h, a - h, h), (h - a, a - h, h, h)])
    b = a / 2
    if kind == 2:
        loop = [(-b, -h), (b, -h), (b, h - a), (h, h - a), (h, h), (-h, h), (-h, h - a), (-b, h - a)]
        return outline(loop, [(-b, -h, b, h - a), (-h, h - a, h, h)])
    if kind == 3:
        right = [(h, -h), (h, a - h), (b, a - h), (b, h - a), (h, h - a), (h, h)]
        loop = right + [(-x, y) for x, y in reversed(right)]
        return outline(loop, [(-h, -h, h, a - h), (-b, a - h, b, h - a), (-h, h - a, h, h)])
    if kind == 4:
        loop = [(-b, -h), (h, -h), (h, a - h), (b, a - h), (b, h), (-h, h), (-h, h - a), (-b, h - a)]
        return outline(loop, [(-b, -h, b, h), (b, -h, h, a - h), (-h, h - a, -b, h)])
    if kind == 5:
        quarter = [(h, b), (b, b), (b, h)]
        loop = [
            (x * c - y * s, x * s + y * c) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1)) for x, y in quarter
        ]
        return outline(loop, [(-h, -b, h, b), (-b, b, b, h), (-b, -h, b, -b)])
    square = np.array([(h, h), (-h, h), (-h, -h), (h, -h)])
    return strip(square, square * (1 - a), closed=True)


def flat(d: Dice) -> Section:
    """Any section within [-0.5, 0.5]^2."""
    kind = d.whole(0, 7)
    if kind == 0:
        return fan(regular(d.pick((3, 5, 6, 8)), start=d.between(0, 1)))
    if kind == 1:
        return fan(star(d.whole(4, 8), d.between(0.35, 0.75)))
    if kind == 2:
        return fan(blob(d))
    if kind == 3:
        return fan(rounded(1.0, d.between(0.4, 1.0), 0.18))
    if kind == 4:
        return arch(d.between(0.4, 0.8))
    if kind == 5:
        ring = regular(d.pick((6, 8, 12, 16)))
        return strip(ring, ring * d.between(0.4, 0.85), closed=True)
    if kind == 6:
        return fan(gear(d.whole(5, 12), d.between(0.6, 0.85)))
    return beam(d)


def bow(d: Dice, points: int = 10) -> Array:
    """A flat random curve (points, 3) of length about 1 in the x-y plane, from the origin upwards."""
    heading = np.pi / 2 + np.cumsum(knots(d, 3, -1, 1, points) * d.between(0.0, 3.0) / points)
    step = np.stack([np.cos(heading), np.sin(heading), np.zeros(points)], 1) / points
    return np.concatenate([np.zeros((1, 3)), np.cumsum(step, 0)])[:points]


def helix(turns: float, radius: float, height: float, points: int) -> Array:
    t = np.linspace(0, 1, points)
    angle = 2 * np.pi * turns * t
    return np.stack([radius * np.cos(angle), height * t, radius * np.sin(angle)], 1)


def handle(radius: float, width: float, sides: int, bulge: float = 1.0) -> Primitive:
    """A D-shaped grip of height 1 about the origin, reaching out along x to ``bulge``, as a bent tube."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 8)
    curve = np.stack([bulge * np.cos(angle), 0.5 * np.sin(angle), np.zeros(8)], 1)
    return tube(curve * (radius, 1, 1), width, sides)


def leg(d: Dice, height: float, width: float) -> Assembly:
    """One leg standing on the ground at the origin."""
    kind = d.whole(0, 4)
    a = Assembly()
    if kind <= 1:
        return a.box((0, height / 2, 0), (width, height, width))
    if kind == 2:
        return a.add(cylinder(d.sides(), d.top()), (0, height / 2, 0), (width, height, width))
    if kind == 3:
        return a.add(frustum(d.pick((1.5, 2.0))), (0, height / 2, 0), (width * 0.7, height, width * 0.7))
    return a.add(turned(profile(d), d.sides()), (0, 0, 0), (width * 1.3, height, width * 1.3))


def slab(d: Dice, width: float, depth: float, thick: float) -> Assembly:
    """A horizontal plate centred at the origin: square, round, rounded or any shape."""
    kind = d.whole(0, 5)
    a = Assembly()
    if kind <= 2:
        return a.box((0, 0, 0), (width, thick, depth))
    if kind == 3:
        return a.add(cylinder(d.pick((8, 12, 16, 24)), 1.0), (0, 0, 0), (width, thick, depth))
    if kind == 4:
        return a.add(
            extrude(fan(rounded(1.0, 1.0, d.between(0.1, 0.4)))), (0, 0, 0), (width, depth, thick), LAID
        )
    return a.add(extrude(fan(blob(d))), (0, 0, 0), (width, depth, thick), LAID)


def ball(d: Dice) -> Primitive:
    return sphere(d.sides(), d.whole(4, 9))


def pill(d: Dice) -> Primitive:
    return capsule(d.pick((1.5, 2.0, 3.0, 4.0)), d.sides())


def cap(d: Dice) -> Primitive:
    """Something that closes a tower or a post: a cone, dome or pyramid; diameter about 1, floor at y = 0."""
    kind = d.whole(0, 3)
    if kind == 0:
        return dome(d.sides())
    if kind == 1:
        return turned(np.array([(0.5, 0.0), (0.01, 1.0)]), d.sides())
    if kind == 2:
        return turned(np.array([(0.7, 0.0), (0.01, 0.6)]), 4)
    line = profile(d)
    line[-1, 0] = 0.02
    return turned(line, d.sides())
