"""Training steps on a GPU: against plain formulations, and where their time goes."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.utils.flop_counter import FlopCounterMode

from benchmarks.clocks import Counted, Parts, clock_of, peak_memory
from benchmarks.gpu_rows import Bench, DeviceRow, plain_ops
from benchmarks.steps import RecipeStep, Sides, difference, medians, recipe_of
from pointmae_zoo.train.recipes import PretrainRecipe
from pointmae_zoo.train.runtime import compile_blocks, compile_teacher
from pointmae_zoo.train.teacher_targets import LiveTargets

_FULL_TOLERANCE = 2e-2  # of the losses, relative: a tie that is broken otherwise gives other groups
_HALF_TOLERANCE = 5e-2  # in bfloat16
_PLAIN_SPEEDUP = 5.0  # what was promised

RECIPES: dict[str, tuple[str, int, str | None]] = {
    "I2P-MAE, base": ("i2p_mae/pretrain_shapenet", 64, "auto"),
    "I2P-MAE, tiny": ("i2p_mae/pretrain_tiny", 128, "auto"),
    "Joint-MAE, base": ("joint_mae/pretrain_shapenet", 64, None),
    "Joint-MAE, tiny": ("joint_mae/pretrain_tiny", 128, None),
}
"""Steps by name: recipe, clouds, the teacher's precision."""


def paper_step(bench: Bench, *, batch: int = 32) -> list[DeviceRow]:
    """I2P-MAE's as in the paper, CLIP in it, against all of it written down plainly, in float32: ours in
    float32, in bfloat16, and that compiled."""
    sides = Sides(batch, bench.device)
    reference = sides.ours(update=False)
    worst = difference(reference, sides.theirs(update=False))
    if not worst <= _FULL_TOLERANCE:
        raise AssertionError(f"the losses of ours and of the plain step differ by {worst:.2g}")
    name = f"step of I2P-MAE base, {batch} clouds, CLIP"
    ours, theirs = bench.times(sides.ours, sides.theirs)
    rows = [DeviceRow(f"{name}, float32", ours, theirs, note=f"losses within {worst:.0e}")]
    sides.half, sides.teacher.precision = True, "bfloat16"
    for compiled in (False, True):
        if compiled:
            compile_blocks(sides.model, backward_once=True)
            compile_teacher(sides.teacher)
        off = difference(sides.ours(), reference)
        if not off <= _HALF_TOLERANCE:
            raise AssertionError(f"in bfloat16 the losses differ by {off:.2g}")
        ours, theirs = bench.times(sides.ours, sides.theirs)
        what = "bfloat16, compiled" if compiled else "bfloat16"
        note = f"plain is float32; losses within {off:.0e} of float32's"
        rows.append(DeviceRow(f"{name}, {what}", ours, theirs, None, "", _PLAIN_SPEEDUP, "plain", note))
    return rows


def recipe_step(bench: Bench, name: str, *, batch: int | None = None, **changes: Any) -> list[DeviceRow]:
    """A shipped recipe's step, in bfloat16, and compiled, against the same model with plain searches and
    losses in float32."""
    recipe = _recipe(name, batch, changes)
    with tempfile.TemporaryDirectory() as folder:
        ours = RecipeStep(recipe, Path(folder), bench.device)
        full = recipe.override(precision="float32", teacher={"precision": "float32"})
        other = RecipeStep(full, Path(folder), bench.device)

        def plainly() -> None:
            with plain_ops():
                other.take()

        rows = []
        for compiled in (False, True):
            if compiled:
                compile_blocks(ours.task.model, backward_once=True)
                if isinstance(ours.task.targets, LiveTargets):
                    compile_teacher(ours.task.targets.teacher)
            loss = float(ours.take())
            if not loss == loss:
                raise AssertionError("the loss is NaN")
            memory = peak_memory(bench.device, ours.take)
            times = bench.times(ours.take, plainly)
            what = "bfloat16, compiled" if compiled else "bfloat16"
            speed = f"{recipe.batch_size / times[0]:,.0f} clouds/s"
            held = "" if memory is None else f", at most {memory / 1e9:.1f} GB"
            note = f"{speed}{held}; plain: torch loops for searches and Chamfer, float32"
            title = f"step of {name}, {recipe.batch_size} clouds, {what}"
            rows.append(DeviceRow(title, *times, None, "", _PLAIN_SPEEDUP, "plain", note))
    return rows


def where_time_goes(
    bench: Bench, name: str, *, batch: int | None = None, rounds: int = 20, **changes: Any
) -> dict[str, Any]:
    """The parts of a shipped recipe's step in bfloat16, not compiled: seconds, operations of their matrix
    products (forward parts and backward; a recomputation counts), and the share of the measured rate of
    bfloat16 products that these are."""
    recipe = _recipe(name, batch, changes)
    with tempfile.TemporaryDirectory() as folder:
        step = RecipeStep(recipe, Path(folder), bench.device)
        step.watch(Parts(clock_of(bench.device)))
        rows = []
        for _ in range(rounds + 3):
            step.take()
            rows.append(step.parts.taken())
        seconds = medians(rows[3:])
        with FlopCounterMode(display=False) as counter:
            step.parts.clock = Counted(counter)
            step.take()
            operations = step.parts.taken()
        memory = peak_memory(bench.device, step.take)
    return {
        "name": f"{name}, {recipe.batch_size} clouds",
        "recipe": recipe.to_dict(),
        "seconds": seconds,
        "operations": operations,
        "share_of_peak": {
            part: operations[part] / time / bench.floors.bfloat16
            for part, time in seconds.items()
            if operations.get(part) and time
        },
        "peak_memory": memory,
    }


def _recipe(name: str, batch: int | None, changes: dict[str, Any]) -> PretrainRecipe:
    path, clouds, precision = RECIPES[name]
    return recipe_of(path, batch or clouds, precision, **{"precision": "bfloat16", **changes})


STEPS: dict[str, Callable[[Bench], list[DeviceRow]]] = {
    "paper-step": paper_step,
    **{f"step {name}": lambda bench, name=name: recipe_step(bench, name) for name in RECIPES},  # type: ignore[misc]
}
