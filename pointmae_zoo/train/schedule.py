"""The schedule of a run: clouds, learning rate and random numbers of each step.

All depend only on the recipe and the step's number, so none of it has to be stored for resuming.
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.train.recipes import TrainingRecipe


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Clouds that don't fill a last batch wait for the next epoch. With fewer clouds than a batch: 1."""
    return max(1, count // batch_size)


def total_steps(recipe: TrainingRecipe, count: int) -> int:
    """Steps of a run on ``count`` clouds."""
    per_epoch = steps_per_epoch(count, recipe.batch_size)
    ends = [] if recipe.steps is None else [recipe.steps]
    if recipe.epochs is not None:
        ends.append(max(1, round(recipe.epochs * per_epoch)))
    return min(ends)


def warmup_steps(recipe: TrainingRecipe, count: int) -> tuple[float, float]:
    """Steps of warm-up: as the recipe asks for, and as the run has them.

    A warm-up that would not end before the run, as in a short trial of a long recipe, is cut to a tenth of
    the run; else the learning rate would never get near its highest value. If the recipe says where the
    cosine ends, the schedule doesn't depend on the length of the run, and nothing is cut.
    """
    asked = recipe.warmup_steps or recipe.warmup_epochs * steps_per_epoch(count, recipe.batch_size)
    total = total_steps(recipe, count)
    kept = asked < total or recipe.cosine_steps or recipe.cosine_epochs
    return asked, asked if kept else total // 10


def learning_rate(step: int, recipe: TrainingRecipe, count: int) -> float:
    """The learning rate of step ``step`` (from 0) on ``count`` clouds: linear warm-up, then half a cosine
    (see ``TrainingRecipe``)."""
    peak, final = recipe.learning_rate, recipe.final_learning_rate
    per_epoch = steps_per_epoch(count, recipe.batch_size)
    _, warmup = warmup_steps(recipe, count)
    end = (
        float(recipe.cosine_steps or 0)
        or (recipe.cosine_epochs or 0.0) * per_epoch
        or total_steps(recipe, count)
    )
    if recipe.schedule == "epoch":
        # The reference sets its schedule at the end of every epoch, to that epoch's number: it is one behind.
        step = max(0, step // per_epoch - 1) * per_epoch
        if step < warmup:
            return final + (peak - final) * step / warmup
        done = step / end
    else:
        if step < warmup:
            return final + (peak - final) * (step + 1) / (warmup + 1)
        done = (step - warmup) / max(1.0, end - 1 - warmup)
    return final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def batch_indices(step: int, *, count: int, batch_size: int, seed: int) -> NDArray[np.int64]:
    """Numbers of the clouds of step ``step``, (batch_size,).

    An epoch is a permutation of all clouds. With fewer clouds than a batch, a batch is several permutations.
    """
    if count >= batch_size:
        epoch, place = divmod(step, count // batch_size)
        return _order(count, seed, epoch)[place * batch_size : (place + 1) * batch_size].copy()
    rounds = -(-batch_size // count)
    rng = np.random.default_rng([seed, 1, step])
    return np.concatenate([rng.permutation(count) for _ in range(rounds)])[:batch_size]


@functools.lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    order = np.random.default_rng([seed, 1, epoch]).permutation(count)
    order.setflags(write=False)
    return order


def step_seed(step: int, seed: int) -> int:
    """The seed of all random numbers of step ``step``."""
    state = np.random.SeedSequence([seed, 2, step]).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))
