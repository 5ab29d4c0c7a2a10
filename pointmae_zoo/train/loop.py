"""One training loop for every task, on one process or many.

All randomness of a step (clouds, points, augmentation, masks, drop path) depends only on the recipe's seed
and the step's number. So a checkpoint holds only weights and optimizer, and on a CPU a resumed run equals an
uninterrupted one bit for bit. Every process draws random numbers for the whole batch and uses its own rows of
them (``share_of_batch``): the number of processes changes only the order of sums.

No step waits for the device: losses are read when a line of metrics is due, and before anything is stored.
"""

import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pointmae_zoo.models.pretraining_model import LossTerm
from pointmae_zoo.ops.batch_random import share_of_batch
from pointmae_zoo.system.progress import progress_bar
from pointmae_zoo.train.checkpoints import load_latest, save_if_possible
from pointmae_zoo.train.metrics import Metrics
from pointmae_zoo.train.optimizer import MovingAverage, adamw, load_optimizer
from pointmae_zoo.train.read_ahead import STEPS_AHEAD
from pointmae_zoo.train.recipes import TrainingRecipe
from pointmae_zoo.train.runtime import compile_blocks, determinism, precision, signals_caught
from pointmae_zoo.train.schedule import batch_indices, learning_rate, step_seed, total_steps
from pointmae_zoo.train.step_losses import NORM, LossDetails, UnreadLosses, over_processes
from pointmae_zoo.train.task import Task, TrainingResult
from pointmae_zoo.train.validation import Validation

if TYPE_CHECKING:
    from accelerate import Accelerator


def train(
    task: Task,
    recipe: TrainingRecipe,
    out: Path,
    accelerator: "Accelerator",
    *,
    resume: bool = False,
    progress: bool = True,
    validation: Validation | None = None,
    settle: Callable[[nn.Module], None] | None = None,
    expect: Callable[[NDArray[np.int64]], None] | None = None,
    layer_decay: float = 1.0,
) -> TrainingResult:
    """Train ``task.model``. Afterwards it is in evaluation mode and has its final weights: those that
    ``validation`` chose, if it chooses, else the moving average, if the recipe has one, else the last ones.

    On SIGINT and SIGTERM the run writes a checkpoint and ends; several processes agree on it at the next line
    of metrics. All processes must have the same ``out``; only the main one writes to it.

    Args:
        validation: scores the model between steps; every time a line of metrics is written with the scores.
        settle: prepares a model for use; called with the present weights before every validation and after
            the last step. It must not change what is trained, nor use torch's global generator.
        expect: called with the numbers of clouds that ``task.batch`` will be asked for, ``STEPS_AHEAD`` steps
            before.
        layer_decay: see ``parameter_groups``.

    Raises:
        ValueError: a loss or gradient is not finite (names step, clouds and last good checkpoint); no
            checkpoint of the run can be read.
        OSError: the last checkpoint or the last metrics can't be written.
    """
    recipe = recipe.resolved(accelerator.device)
    run = _Run(task, recipe, out, accelerator, validation, settle, expect, layer_decay)
    with determinism(recipe.deterministic):
        result = run.train(resume, progress)
    if validation is not None and validation.weights is not None and result.completed:
        task.model.load_state_dict(validation.weights)
    elif run.average is not None:
        task.model.load_state_dict(run.average.module.state_dict())
    task.model.eval()
    return result


class _Losses(nn.Module):
    """The module that accelerate wraps for several processes and other precisions: batch -> losses."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = task.model
        self.losses = task.losses

    def forward(self, batch: Any) -> dict[str, LossTerm]:
        return self.losses(batch)


class _Run:
    """One process of a run: its state, and the loop."""

    def __init__(
        self,
        task: Task,
        recipe: TrainingRecipe,
        out: Path,
        accelerator: "Accelerator",
        validation: Validation | None,
        settle: Callable[[nn.Module], None] | None,
        expect: Callable[[NDArray[np.int64]], None] | None,
        layer_decay: float,
    ) -> None:
        self.task = task
        self.validation = validation
        self.settle = settle
        self.expect = expect
        self.recipe = recipe
        self.out = out
        self.accelerator = accelerator
        self.device = accelerator.device
        self.steps = total_steps(recipe, task.count)
        self.model = task.model.to(self.device)
        self.average = MovingAverage(self.model, recipe.ema_decay) if recipe.ema_decay else None
        if recipe.compile:
            compile_blocks(self.model, backward_once=not recipe.log_gradient_norms)
        optimizer = adamw(self.model, recipe.weight_decay, recipe.betas, layer_decay)
        with warnings.catch_warnings():
            # Newer versions of torch have renamed the argument; older ones don't know the new name.
            warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
            self.wrapped, self.optimizer = accelerator.prepare(_Losses(task), optimizer)
        self.metrics = Metrics(out / "metrics.jsonl")
        self.step = 0
        self.unread = UnreadLosses(out, task, self._indices, accelerator.is_main_process)
        self.losses: dict[str, float] = {}
        self.scores: dict[str, float] = {}  # of the last validation
        self.look: LossDetails | None = None  # at the present step, if a line of metrics is due after it
        self.unwritten = ""  # metrics for which the disk had no room when the checkpoint was written
        self.seconds_before = 0.0  # of training in earlier sessions
        self.started = self.saved = time.perf_counter()

    @property
    def is_main(self) -> bool:
        return self.accelerator.is_main_process

    def train(self, resume: bool, progress: bool) -> TrainingResult:
        if resume:
            self._resume()
        if self.is_main:
            self.metrics.start(self.step, self.unwritten)
        self.model.train()
        for ahead in range(STEPS_AHEAD):
            self._announce(self.step + ahead)
        first = logged = self.step
        self.started = self.saved = last_log = time.perf_counter()
        bar = progress_bar(
            total=self.steps,
            initial=self.step,
            desc="train",
            unit="step",
            disable=not (progress and self.is_main),
        )
        with signals_caught() as stopped, bar:
            stop = False
            while self.step < self.steps and not stop:
                self.unread.add(self._one_step())
                self.step += 1
                bar.update()
                if self.look is not None:
                    speed = self._log(self.step - logged, last_log)
                    logged, last_log = self.step, time.perf_counter()
                    bar.set_postfix_str(f"{self._short_losses()}, {speed:.0f} clouds/s")
                late = time.perf_counter() - self.saved > 60.0 * self.recipe.checkpoint_minutes
                stop, late = self._agreed(stopped.is_set(), late)
                if self.step < self.steps and (stop or late or self.step % self.recipe.checkpoint_steps == 0):
                    self._save(must=stop)
            if self.step >= self.steps:
                self._save(must=True)
                self.metrics.finish()
        seconds = time.perf_counter() - self.started
        return TrainingResult(
            folder=self.out,
            steps=self.step,
            completed=self.step >= self.steps,
            command=self.task.command,
            losses=self.losses,
            validation={} if self.validation is None else self.validation.of_kept,
            steps_now=self.step - first,
            seconds=seconds,
            clouds_per_second=(self.step - first) * self.recipe.batch_size / max(seconds, 1e-9),
            total_seconds=self.seconds_before + seconds,
        )

    def _one_step(self) -> dict[str, Tensor]:
        recipe, accelerator = self.recipe, self.accelerator
        seed = step_seed(self.step, recipe.seed)
        self._announce(self.step + STEPS_AHEAD)
        rate = learning_rate(self.step, recipe, self.task.count)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        parts: list[dict[str, Tensor]] = []
        self.look = look = LossDetails(self.task, recipe, accelerator) if self._line_due() else None
        for first, indices in self._parts(self.step):
            torch.manual_seed(seed)  # masks and drop path draw from the global generator
            generator = torch.Generator(device=self.device).manual_seed(seed)
            with accelerator.accumulate(self.wrapped), share_of_batch(first, recipe.batch_size):
                batch = self.task.batch(indices, generator)
                with precision(recipe.precision, self.device):
                    losses = self.wrapped(batch)
                terms, found = self._weighted(losses)
                if look is not None:
                    look.at_gradients(terms)
                accelerator.backward(sum(terms.values()))
                if look is not None:
                    look.at_batch(batch, seed)
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(self.model.parameters(), recipe.clip_norm or math.inf)
                self.optimizer.step()
                self.optimizer.zero_grad()
            parts.append(found)
        if self.average is not None:
            self.average.update_parameters(self.model)
        # Cloned: a loss may be a view of a far larger tensor, which it would keep in memory.
        values = {name: torch.stack([one[name] for one in parts]).mean(0).clone() for name in parts[0]}
        return {**values, NORM: norm.detach().clone()}

    def _parts(self, step: int) -> list[tuple[int, NDArray[np.int64]]]:
        """The parts of a step's batch that this process computes, one after another: place of the first cloud
        in the batch, and the clouds' numbers."""
        indices, processes = self._indices(step), self.accelerator.num_processes
        size = self.recipe.batch_size // (processes * self.recipe.accumulation_steps)
        starts = range(size * self.accelerator.process_index, self.recipe.batch_size, size * processes)
        return [(first, indices[first : first + size]) for first in starts]

    def _announce(self, step: int) -> None:
        if self.expect is not None and step < self.steps:
            for _, indices in self._parts(step):
                self.expect(indices)

    def _line_due(self) -> bool:
        """Whether a line of metrics is due after the coming step."""
        done = self.step + 1
        looked = self.validation is not None and self.validation.due(done, self.steps)
        return looked or done % self.recipe.log_steps == 0 or done == self.steps

    def _indices(self, step: int) -> NDArray[np.int64]:
        recipe = self.recipe
        return batch_indices(step, count=self.task.count, batch_size=recipe.batch_size, seed=recipe.seed)

    def _weighted(self, losses: dict[str, LossTerm]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The weighted losses to back-propagate here, and the values to log: each loss over all processes,
        and their weighted sum."""
        shares, means = over_processes(losses, self.accelerator)
        weights = [one.weight for one in losses.values()]
        terms = {
            name: one.weight * share
            for (name, one), share in zip(losses.items(), shares, strict=True)
            if one.value.requires_grad
        }
        total = sum(weight * value for weight, value in zip(weights, means, strict=True))
        assert isinstance(total, Tensor)
        return terms, {
            "loss": total,
            **{
                f"loss_{name}" if one.value.requires_grad else name: mean
                for (name, one), mean in zip(losses.items(), means, strict=True)
            },
        }

    def _agreed(self, stop: bool, late: bool) -> tuple[bool, bool]:
        """Whether any process wants to stop, and whether a checkpoint is due.

        Several processes ask each other only at lines of metrics, as this waits for the device.
        """
        if self.accelerator.num_processes == 1:
            return stop, late
        if self.step % self.recipe.log_steps:
            return False, False
        wishes = torch.tensor([float(stop), float(late and self.is_main)], device=self.device)
        stop_sum, late_sum = self.accelerator.reduce(wishes, "sum").tolist()
        return stop_sum > 0, late_sum > 0

    def _log(self, steps: int, since: float) -> float:
        """Write a line of metrics. Returns the clouds per second of the steps taken ``since``; these are over
        only when their losses have been read."""
        values = self.unread.read(self.step)
        speed = steps * self.recipe.batch_size / (time.perf_counter() - since)
        self.unread.clear()
        means = {name: float(np.mean([one[name] for one in values])) for name in values[0]}
        self.losses = {name: value for name, value in means.items() if name != NORM}
        rate = learning_rate(self.step - 1, self.recipe, self.task.count)
        looked = {} if self.look is None else self.look.values()
        line = {**means, "learning_rate": rate, **looked}
        final = self.model if self.average is None else self.average.module
        looked_at = self.validation is not None and self.validation.due(self.step, self.steps)
        if self.settle is not None and (looked_at or self.step == self.steps):
            self.settle(final)
        if self.validation is not None and looked_at:
            self.scores = {
                f"validation_{name}": value for name, value in self.validation.look(final, self.step).items()
            }
            line |= self.scores
        if self.is_main:
            self.metrics.add({"step": self.step, **line})
        self.accelerator.log({**line, "clouds_per_second": speed}, step=self.step)
        return speed

    def _short_losses(self) -> str:
        shown = {**self.losses, **self.scores}
        return ", ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in shown.items())

    def _save(self, must: bool) -> None:
        """Write a checkpoint; unread losses are checked first, so that broken weights are never stored."""
        self.unread.read(self.step)
        self.saved = time.perf_counter()
        if not self.is_main:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "validation": None if self.validation is None else self.validation.state_dict(),
            # The losses since the last line of metrics, so that a resumed run logs what an uninterrupted one
            # does.
            "pending": self.unread.state(),
            "losses": self.losses,
            "unwritten_metrics": self.metrics.waiting,
            "seconds": self.seconds_before + time.perf_counter() - self.started,
        }
        keep = self.recipe.keep_checkpoints
        save_if_possible(self.out / "checkpoints", self.step, state, keep=keep, must=must)

    def _resume(self) -> None:
        state, skipped = load_latest(self.out / "checkpoints")
        if self.is_main:
            for line in skipped:
                print(line, file=sys.stderr)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        load_optimizer(self.optimizer, state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.validation is not None:
            self.validation.load_state_dict(state["validation"])
        self.step = int(state["step"])
        self.unread.load(state["pending"], self.device)
        self.losses = dict(state["losses"])
        self.unwritten = state.get("unwritten_metrics", "")  # older checkpoints lack it
        self.seconds_before = float(state["seconds"])
