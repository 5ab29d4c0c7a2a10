"""One procedural shape.

A shape is an assembly of simple solids put together by one of some sixty rules (legs under a top,
stacked lathes, a trunk with a crown, a body with mirrored pairs, copies around an axis, cuts ...),
stretched and sometimes bent, and sampled evenly over what can be seen of its surface from outside.
"""

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.procedural import (
    abstract,
    buildings,
    creatures,
    furniture,
    household,
    machines,
    nature,
    vehicles,
)
from pointmae_zoo.procedural.bricks import Dice
from pointmae_zoo.procedural.constructive_geometry import Warp, sample, turn_y

_RULES = (
    *abstract.RULES,
    *abstract.RULES,  # twice: what no theme foresees
    *furniture.RULES,
    *household.RULES,
    *nature.RULES,
    *buildings.RULES,
    *vehicles.RULES,
    *machines.RULES,
    *creatures.RULES,
)


def generate(seed: int, num_points: int = 2048, *, index: int = 0) -> NDArray[np.float32]:
    """One shape: points (num_points, 3) float32, even over its surface, centroid at the origin, farthest
    point at distance 1, y up.

    Raises ValueError for a negative seed or index, or num_points below 2.
    """
    for name, value, least in (("seed", seed, 0), ("index", index, 0), ("num_points", num_points, 2)):
        check_whole(name, value, least)
    dice = Dice(f"{int(seed)}/{int(index)}")
    rng = np.random.default_rng([int(seed), int(index)])
    while True:  # a rule that cuts everything away is thrown again: rare, and part of the same stream
        shape = dice.pick(_RULES)(dice).transformed(_stretch(dice))
        warp = _warp(dice) if dice.chance(0.3) else None
        points = sample(shape, int(num_points), rng, union=dice.chance(0.7), warp=warp)
        if points is None:
            continue
        points -= points.mean(0)
        farthest = np.sqrt((points**2).sum(1).max())
        if np.isfinite(farthest) and farthest > 1e-6:
            return (points / (farthest * (1 + 1e-6))).astype(np.float32)


def check_whole(name: str, value: float, least: int) -> None:
    """Raises ValueError unless the value is a whole number of at least ``least``."""
    if int(value) != value or value < least:
        raise ValueError(f"{name}: a whole number from {least} expected, got {value!r}")


def _stretch(d: Dice) -> NDArray[np.float64]:
    """A linear map: other proportions, a turn about the up axis, rarely a slant."""
    matrix = np.diag([d.between(0.75, 1.35), d.between(0.75, 1.35), d.between(0.75, 1.35)])
    if d.chance(0.07):
        matrix = matrix @ np.array([[1, d.between(-0.4, 0.4), 0], [0, 1, 0], [0, d.between(-0.4, 0.4), 1]])
    if d.chance(0.5):
        matrix = turn_y(d.pick((np.pi / 2, np.pi, 3 * np.pi / 2, d.between(0, 6.28)))) @ matrix
    return matrix


def _warp(d: Dice) -> Warp:
    """A smooth bending of the cube [-1, 1]^3: taper, twist, bend, or waves."""
    kind = d.whole(0, 3)
    if kind == 0:
        k, axis = d.between(-0.45, 0.45), d.pick((1, 1, 0, 2))
        others = [i for i in range(3) if i != axis]

        def taper(p: NDArray[np.float64]) -> NDArray[np.float64]:
            out = p.copy()
            out[:, others] *= 1 + k * p[:, axis, None]
            return out

        return taper
    if kind == 1:
        angle = d.between(-1.0, 1.0)

        def twist(p: NDArray[np.float64]) -> NDArray[np.float64]:
            c, s = np.cos(angle * p[:, 1]), np.sin(angle * p[:, 1])
            return np.stack([c * p[:, 0] - s * p[:, 2], p[:, 1], s * p[:, 0] + c * p[:, 2]], 1)

        return twist
    if kind == 2:
        k, way = d.between(0.15, 0.8) * d.pick((-1, 1)), d.pick((0, 2))

        def bend(p: NDArray[np.float64]) -> NDArray[np.float64]:
            out = p.copy()
            out[:, way] = (p[:, way] - 1 / k) * np.cos(k * p[:, 1]) + 1 / k
            out[:, 1] = -(p[:, way] - 1 / k) * np.sin(k * p[:, 1])
            return out

        return bend
    waves = [
        (d.many(3, -1, 1) * d.between(2, 7), d.between(0, 6.28), d.many(3, -1, 1) * d.between(0.01, 0.06))
        for _ in range(3)
    ]

    def wobble(p: NDArray[np.float64]) -> NDArray[np.float64]:
        out = p.copy()
        for direction, phase, strength in waves:
            out += np.sin(p @ direction + phase)[:, None] * strength
        return out

    return wobble
