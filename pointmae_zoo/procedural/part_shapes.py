"""Procedural objects of a few classes whose parts have names: part segmentation with no download.

A class has two to four parts; a chair need not have arms. Shape ``index`` of seed ``seed`` is always the
same. Part numbers count through all classes, as ShapeNetPart's do.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.procedural import furniture, vehicles
from pointmae_zoo.procedural.bricks import Dice, ball, handle, pill, rounded, shell, slab, turned
from pointmae_zoo.procedural.constructive_geometry import FORWARD, Assembly, sample_named, turn_x, turn_z
from pointmae_zoo.procedural.generator import check_whole
from pointmae_zoo.procedural.primitives import BOX, convex, cylinder, dome, extrude, fan, frustum
from pointmae_zoo.system.files import written_whole

CLASSES = {
    "airplane": ("body", "wing", "tail", "engine"),
    "car": ("body", "cabin", "wheel"),
    "chair": ("seat", "back", "leg", "arm"),
    "lamp": ("base", "pole", "shade"),
    "mug": ("body", "handle"),
    "table": ("top", "leg"),
}
"""Classes and the names of their parts."""

_LEAST_SHARE = 0.01  # of the points on a part: a part that is there can be seen


class PartShape(NamedTuple):
    """One object: points (N, 3) float32 as ``procedural.generate`` gives them, the part number of each (N,)
    counted through all classes, and the class, a position in ``CLASSES``."""

    points: NDArray[np.float32]
    parts: NDArray[np.int64]
    label: int


def generate_with_parts(seed: int, num_points: int = 2048, *, index: int = 0) -> PartShape:
    """One shape. The classes take turns: ``index`` modulo their number is the class.

    Raises ValueError for a negative seed or index, or num_points below 2.
    """
    for name, value, least in (("seed", seed, 0), ("index", index, 0), ("num_points", num_points, 2)):
        check_whole(name, value, least)
    label = int(index) % len(CLASSES)
    dice = Dice(f"parts/{int(seed)}/{int(index)}")
    rng = np.random.default_rng([int(seed), int(index)])
    first = sum(len(parts) for parts in list(CLASSES.values())[:label])
    while True:  # one whose parts hide each other is thrown again: rare, and part of the same stream
        pieces = _RULES[label](dice)
        whole = Assembly()
        for number, piece in enumerate(pieces):
            if piece is not None:
                whole.include(piece.named(number))
        stretch = np.diag([dice.between(0.8, 1.25), dice.between(0.8, 1.25), dice.between(0.8, 1.25)])
        found = sample_named(whole.transformed(stretch), int(num_points), rng)
        if found is None:
            continue
        seen = np.bincount(found.names, minlength=len(pieces)) / num_points
        if any(piece is not None and share < _LEAST_SHARE for piece, share in zip(pieces, seen, strict=True)):
            continue
        points = found.points - found.points.mean(0)
        farthest = np.sqrt((points**2).sum(1).max())
        return PartShape((points / (farthest * (1 + 1e-6))).astype(np.float32), found.names + first, label)


def write_part_shapes(
    path: str | Path,
    *,
    train: int = 600,
    test: int = 180,
    num_points: int = 2048,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Write an ``.npz`` of shapes 0 .. train + test - 1 of a seed, as `open_labelled` reads it.

    Args:
        path: of the file.
        train, test: how many shapes of each split, of all classes together.
        num_points: of each shape.
        progress: a bar on a terminal.

    Raises:
        ValueError: fewer shapes than classes in a split, or what ``generate_with_parts`` refuses.
        OSError: it cannot be written there.
    """
    from tqdm import tqdm

    if min(train, test) < len(CLASSES):
        raise ValueError(f"train {train}, test {test}: expected {len(CLASSES)} or more, one of each class")
    numbers = tqdm(range(train + test), unit="shape", disable=None if progress else True)
    shapes = [generate_with_parts(seed, num_points, index=index) for index in numbers]
    with written_whole(Path(path)) as unfinished, unfinished.open("wb") as stream:
        np.savez_compressed(
            stream,
            points=np.round(np.stack([shape.points for shape in shapes]) * 32767).astype(np.int16),
            point_scale=np.float32(1 / 32767),
            parts=np.stack([shape.parts for shape in shapes]).astype(np.uint8),
            part_names=np.array([f"{name}/{part}" for name, parts in CLASSES.items() for part in parts]),
            y=np.array([shape.label for shape in shapes], dtype=np.int16),
            classes=np.array(list(CLASSES)),
            split=np.array(["train"] * train + ["test"] * test),
        )


# --- one rule for each class: its parts, in the order of their names; None where one is not there --------

Pieces = tuple[Assembly | None, ...]


def _airplane(d: Dice) -> Pieces:
    """Along z, nose forward: a hull, a pair of wings, fins at the back, engines under the wings."""
    length, width = d.between(1.4, 2.2), d.between(0.16, 0.32)
    body = Assembly()
    kind = d.whole(0, 2)
    if kind == 0:
        body.add(pill(d), size=(width * 2, length, width * 2), turn=FORWARD)
    elif kind == 1:
        body.box((0, 0, 0), (width, width, length * 0.8))
        body.add(frustum(0.3), (0, 0, length * 0.5), (width, length * 0.2, width), FORWARD)
    else:
        radius = np.array([0.12, 0.35, 0.5, 0.5, 0.45, 0.25])
        hull = turned(np.stack([radius, np.linspace(-0.5, 0.5, 6)], 1), d.sides())
        body.add(hull, size=(width, length, width), turn=FORWARD)
    span, chord, sweep = d.between(0.6, 1.2), d.between(0.25, 0.5), d.between(-0.1, 0.6)
    tip = chord * d.between(0.3, 1.0)
    panel = extrude(
        convex([(0, chord / 2), (0, -chord / 2), (span, -tip / 2 - sweep), (span, tip / 2 - sweep)])
    )
    flat, place = turn_x(np.pi / 2), (0, d.between(-0.3, 0.3) * width, d.between(0.0, 0.2) * length)
    raised = turn_z(d.between(-0.1, 0.2))
    one = Assembly().include(Assembly().add(panel, size=(1, 1, 0.04), turn=flat), place, turn=raised)
    wing = Assembly().mirror(one)
    back, rise = -length * d.between(0.38, 0.44), d.between(0.25, 0.5)
    tail = Assembly().box((0, rise / 2, back), (0.04, rise, chord * 0.6))
    level = d.pick((0.0, 0.0, rise))
    tail.mirror(Assembly().box((span * 0.18, level, back), (span * 0.36, 0.035, chord * 0.5)))
    if d.chance(0.35):
        return body, wing, tail, None
    pod, size = d.pick((cylinder(10, 0.8), pill(d), BOX)), d.between(0.12, 0.2)
    out, down = span * d.between(0.3, 0.6), size * 0.55
    # Under the wing where it is: swept back, and raised towards its tip.
    along = np.array([out, -down, -sweep * out / span + chord * 0.2])
    engine = Assembly().mirror(
        Assembly().add(pod, raised @ along + place, (size, chord * d.between(0.7, 1.0), size), FORWARD)
    )
    return body, wing, tail, engine


def _car(d: Dice) -> Pieces:
    """Along x: a body, a cabin on it, two or three axles."""
    length, width, height = d.between(1.4, 2.4), d.between(0.7, 0.95), d.between(0.25, 0.45)
    radius = d.between(0.16, 0.28)
    middle = radius + height / 2
    body = Assembly()
    if d.chance(0.5):
        side = rounded(length, height, height * d.between(0.2, 0.45))
        body.add(extrude(fan(side)), (0, middle, 0), (1, 1, width))
    else:
        body.box((0, middle, 0), (length, height, width))
    size, tall, at = d.between(0.35, 0.6) * length, d.between(0.25, 0.5), d.between(-0.18, 0.12) * length
    top = middle + height / 2
    cabin = Assembly()
    if d.chance(0.5):
        cabin.add(frustum(d.pick((0.6, 0.8))), (at, top + tall / 2, 0), (size, tall, width * 0.9))
    else:
        cabin.box((at, top + tall / 2, 0), (size, tall, width * d.between(0.8, 0.95)))
    rim, axles, wheels = vehicles.wheel(d, radius, 0.14), d.pick((2, 2, 2, 3)), Assembly()
    for k in range(axles):
        place = (k / (axles - 1) - 0.5) * length * 0.66
        wheels.mirror(Assembly().include(rim, (place, radius, width / 2 + 0.04)), 2)
    return body, cabin, wheels


def _chair(d: Dice) -> Pieces:
    """Facing +z: legs, a seat, a back of a plate or of bars, and perhaps arms."""
    width, depth, height = d.between(0.45, 0.75), d.between(0.42, 0.6), d.between(0.3, 0.55)
    thick = d.between(0.05, 0.12)
    carry = furniture.legs(d, width, depth, height)
    seat = Assembly().include(slab(d, width, depth, thick), (0, height + thick / 2, 0))
    tall, w, bars = d.between(0.4, 0.8), d.between(0.04, 0.08), d.whole(3, 6)
    back = Assembly()
    if d.chance(0.5):
        back.box((0, tall / 2, 0), (width, tall, w))
    else:
        one = Assembly().box((0, tall / 2, 0), (w, tall, w))
        back.row(one, bars, ((width - w) / (bars - 1), 0, 0), ((w - width) / 2, 0, 0))
        back.box((0, tall, 0), (width, d.between(0.08, 0.2), w))
    lean = turn_x(d.pick((0.0, 0.0, -0.15)))
    behind = Assembly().include(back, (0, height + thick, -depth / 2 + w / 2), turn=lean)
    if d.chance(0.5):
        return seat, behind, carry, None
    arm, rise = d.between(0.06, 0.1), d.between(0.18, 0.28)
    base = height + thick
    side = Assembly().box((width / 2, base + rise, 0), (arm, arm * 0.7, depth * 0.9))
    side.box((width / 2, base + rise / 2, depth * 0.35), (arm * 0.7, rise, arm * 0.7))
    return seat, behind, carry, Assembly().mirror(side)


def _lamp(d: Dice) -> Pieces:
    """A base on the ground, a pole, and a shade around its end."""
    height, sides, wide = d.between(0.8, 2.2), d.pick((8, 12, 16)), d.between(0.45, 0.9)
    foot, flat = d.between(0.35, 0.7), d.between(0.06, 0.2)
    base = Assembly().add(
        d.pick((cylinder(sides, 0.6), cylinder(sides, 1.0), BOX)), (0, flat / 2, 0), (foot, flat, foot)
    )
    pole = Assembly().rod((0, flat, 0), (0, height, 0), d.between(0.06, 0.12), top=d.pick((1.0, 0.8)))
    shade, kind = Assembly(), d.whole(0, 2)
    if kind == 0:
        cone = shell(np.array([(0.5, -0.5), (d.between(0.2, 0.4), 0.5)]), 0.04, sides)
        shade.add(cone, (0, height, 0), (wide, wide * d.between(0.6, 0.9), wide))
    elif kind == 1:
        shade.add(ball(d), (0, height, 0), wide * 0.8)
    else:
        shade.add(dome(sides), (0, height - 0.05, 0), (wide, wide, wide))
    return base, pole, shade


def _mug(d: Dice) -> Pieces:
    """A vessel, straight, flared or bellied, and one handle."""
    height, sides = d.between(0.8, 1.4), d.pick((10, 12, 16, 20))
    low, belly, high = d.between(0.35, 0.5), d.between(0.4, 0.55), d.between(0.38, 0.52)
    line = np.array([(low, 0.0), (belly, 0.5), (high, 1.0)])
    body = Assembly().add(shell(line, d.between(0.04, 0.08), sides), size=(1, height, 1))
    # Its ends stay within the wall.
    grip = handle(d.between(0.22, 0.36), d.between(0.045, 0.07), 8)
    place, tall = (min(low, belly, high) - 0.03, height * 0.5, 0), height * d.between(0.45, 0.7)
    return body, Assembly().add(grip, place, (1, tall, 1))


def _table(d: Dice) -> Pieces:
    """A top of any outline on legs, a foot or walls."""
    width, depth, height = d.between(0.8, 1.6), d.between(0.6, 1.1), d.between(0.4, 0.9)
    thick = d.between(0.05, 0.12)
    carry = furniture.legs(d, width * 0.85, depth * 0.85, height)
    return Assembly().include(slab(d, width, depth, thick), (0, height + thick / 2, 0)), carry


_RULES: tuple[Callable[[Dice], Pieces], ...] = (_airplane, _car, _chair, _lamp, _mug, _table)
