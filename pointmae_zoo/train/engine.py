"""The pre-training loop.

Everything random in a step (which clouds, which points, augmentation, masks, drop path) is a function of the
recipe's seed and the step's number, so a checkpoint holds weights and optimizer only, and a resumed run on
CPU equals an uninterrupted one bit for bit.
"""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

import pointmae_zoo
from pointmae_zoo.data.augment import augment, subsample
from pointmae_zoo.data.commit import current_commit
from pointmae_zoo.data.files import written_whole
from pointmae_zoo.hub import save_pretrained
from pointmae_zoo.models.teacher import Teacher
from pointmae_zoo.registry import create_model, get_architecture
from pointmae_zoo.train.checkpoints import list_checkpoints, load_latest, save_checkpoint
from pointmae_zoo.train.clouds import TrainingClouds, batch_indices, training_clouds
from pointmae_zoo.train.optimizer import adamw, learning_rate
from pointmae_zoo.train.process import catch_signals, keep_freed_memory
from pointmae_zoo.train.recipe import PretrainRecipe, read_recipe
from pointmae_zoo.train.targets import TeacherTargets, teacher_targets

# What may differ between a run and its resumption: it changes when things are written, not what is computed.
_FREE_FIELDS = ("checkpoint_steps", "checkpoint_minutes", "log_steps")

_NORM = "gradient norm"


@dataclass(frozen=True)
class PretrainResult:
    """How a run ended.

    Args:
        folder: the run folder.
        steps: optimizer steps done, in all.
        completed: False if a signal stopped it; the run folder then holds a checkpoint to resume from, but no
            weights.
        losses: means over the last logged interval.
        seconds: of training in this process, teacher and data not counted.
        clouds_per_second: over ``seconds``.
        total_seconds: of training in all processes of the run, up to the checkpoints each was resumed from.
    """

    folder: Path
    steps: int
    completed: bool
    losses: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    clouds_per_second: float = 0.0
    total_seconds: float = 0.0

    def __str__(self) -> str:
        losses = ", ".join(f"{name} {value:.4f}" for name, value in self.losses.items())
        speed = f"{self.seconds:.0f} s, {self.clouds_per_second:.0f} clouds/s"
        if self.completed:
            return f"{self.folder}: {self.steps} steps in {speed}; {losses}"
        return f"{self.folder}: stopped after step {self.steps} ({speed}); resume it to go on"


def pretrain(
    recipe: PretrainRecipe | None,
    out: str | Path,
    *,
    resume: bool = False,
    cache: str | Path | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> PretrainResult:
    """Pre-train a model; leaves ``model.safetensors``, ``config.json``, ``recipe.json``, ``metrics.jsonl`` in
    ``out``.

    SIGINT and SIGTERM write a checkpoint and end the run in good order. On Linux and CPU the process' malloc
    settings are changed for good: freed memory stays with the process (see ``keep_freed_memory``).

    Args:
        recipe: None with ``resume``: the run's own.
        out: run folder.
        resume: go on from the newest readable checkpoint of ``out`` (from the start if there is none).
        cache: folder for teacher targets and procedural shapes, shared between runs; ``out/cache`` by
            default.
        device: where to train.
        progress: show bars.

    Raises:
        ValueError: ``out`` holds a run and ``resume`` is off; the recipe differs from that of the run to
            resume; non-finite loss or gradient (names the step); see also ``read_clouds`` and ``Teacher``.
        FileNotFoundError: nothing to resume and no recipe; a file of the recipe is missing.
        ModuleNotFoundError: timm is missing.
    """
    out = Path(out)
    recipe = _settle_recipe(recipe, out, resume)
    commit = current_commit()  # now: the checkout may have moved on when the run ends
    out.mkdir(parents=True, exist_ok=True)
    cache = Path(cache) if cache is not None else out / "cache"
    with written_whole(out / "recipe.json") as unfinished:
        unfinished.write_text(json.dumps(recipe.to_dict(), indent=1) + "\n", encoding="utf-8")
    if torch.device(device).type == "cpu":
        keep_freed_memory()
    clouds = training_clouds(
        recipe.data,
        recipe.procedural_clouds,
        recipe.cloud_points,
        seed=recipe.procedural_seed,
        cache=cache,
        progress=progress,
    )
    targets = _targets(recipe, clouds, cache, device, progress)
    with torch.random.fork_rng(devices=[] if device == "cpu" else None):
        torch.manual_seed(recipe.seed)
        model = create_pretraining_model(recipe, targets).to(device)
        result = _Run(recipe, model, clouds, targets, out, device, progress).train(resume)
    if result.completed:
        save_pretrained(model.eval(), out, provenance=provenance(recipe, clouds, result, commit))
    return result


def create_pretraining_model(recipe: PretrainRecipe, targets: TeacherTargets | None) -> Any:
    """The recipe's model, its 2D head as wide as the teacher's targets (none without a teacher)."""
    if targets is None:
        taught: dict[str, Any] = {"weight_2d": 0.0}
    else:
        taught = {"num_views": targets.num_views, "teacher_dim": targets.channels}
    # Weights say what they were trained on, and features are extracted from as many points as that.
    preprocess = get_architecture(recipe.model).preprocess
    preprocess = dataclasses.replace(
        preprocess,
        num_points=recipe.num_points,
        surface_samples=max(preprocess.surface_samples, recipe.num_points),
    )
    arguments = {**taught, **recipe.model_arguments}
    return create_model(recipe.model, kind="pretraining", preprocess=preprocess, **arguments)


def provenance(
    recipe: PretrainRecipe, clouds: TrainingClouds, result: PretrainResult, commit: str | None
) -> dict[str, Any]:
    """What the weights' ``config.json`` says about their making. Files are named without their folders."""
    named = recipe.to_dict()
    named["data"] = [Path(path).name for path in recipe.data]
    if recipe.teacher_weights not in ("pretrained", "random"):
        named["teacher_weights"] = Path(recipe.teacher_weights).name
    return {
        "status": "own-recipe",
        "recipe": named,
        "data_sha256": clouds.sha256,
        "clouds_from_files": clouds.num_from_files,
        "clouds_procedural": len(clouds.points) - clouds.num_from_files,
        "steps": result.steps,
        "final_losses": result.losses,
        "seconds": round(result.total_seconds, 1),
        "commit": commit,
        "versions": {"pointmae_zoo": pointmae_zoo.__version__, "torch": torch.__version__},
    }


def _settle_recipe(recipe: PretrainRecipe | None, out: Path, resume: bool) -> PretrainRecipe:
    stored = out / "recipe.json"
    if not resume:
        if recipe is None:
            raise ValueError("no recipe; give one, or resume a run that has its own")
        if list_checkpoints(out / "checkpoints") or (out / "model.safetensors").exists():
            raise ValueError(f"{out}: holds a run already; resume it, or choose another folder")
        return recipe
    if not stored.is_file():
        if recipe is None:
            raise FileNotFoundError(f"{stored}: no such file, so there is no run to resume in that folder")
        return recipe
    before = read_recipe(stored)
    if recipe is None:
        return before
    ours, theirs = recipe.to_dict(), before.to_dict()
    for name in ours:
        if name not in _FREE_FIELDS and ours[name] != theirs[name]:
            raise ValueError(
                f"recipe: {name} is {ours[name]!r}, but the run in {out} has {theirs[name]!r}; "
                "resume it without changes, or choose another folder"
            )
    return recipe


def _targets(
    recipe: PretrainRecipe, clouds: TrainingClouds, cache: Path, device: str, progress: bool
) -> TeacherTargets | None:
    if not recipe.teacher:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # matters to a teacher with random weights only
        teacher = Teacher(recipe.teacher, weights=recipe.teacher_weights, strides=recipe.teacher_strides).to(
            device
        )
    return teacher_targets(
        clouds.points,
        teacher,
        cache,
        views=recipe.views,
        size=recipe.view_size,
        cover=recipe.view_cover,
        progress=progress,
    )


class _Run:
    """One process' share of a run: state, and the loop over it."""

    def __init__(
        self,
        recipe: PretrainRecipe,
        model: Any,
        clouds: TrainingClouds,
        targets: TeacherTargets | None,
        out: Path,
        device: str,
        progress: bool,
    ) -> None:
        self.recipe = recipe
        self.model = model
        self.points = torch.from_numpy(clouds.points)
        self.targets = targets
        self.out = out
        self.device = torch.device(device)
        self.progress = progress
        self.optimizer = adamw(model, recipe.weight_decay, recipe.betas)
        self.step = 0
        self.pending: list[dict[str, Tensor]] = []  # losses not yet read: reading waits for the device
        self.losses: dict[str, float] = {}
        self.started = time.perf_counter()
        self.seconds_before = 0.0  # of training, in the processes before this one

    def train(self, resume: bool) -> PretrainResult:
        from tqdm import tqdm

        recipe = self.recipe
        if resume:
            self._resume()
        else:
            (self.out / "metrics.jsonl").unlink(missing_ok=True)
        self.model.train()
        first = self.step
        self.started = saved = last_log = time.perf_counter()
        bar = tqdm(
            total=recipe.steps,
            initial=self.step,
            desc="pretrain",
            unit="step",
            disable=None if self.progress else True,  # None: only on a terminal
        )
        with catch_signals() as stopped, bar:
            while self.step < recipe.steps and not stopped.is_set():
                self.pending.append(self._one_step())
                self.step += 1
                bar.update()
                if self.step % recipe.log_steps == 0 or self.step == recipe.steps:
                    now = time.perf_counter()
                    speed = len(self.pending) * recipe.batch_size / (now - last_log)
                    last_log = now
                    self._log(speed)
                    bar.set_postfix_str(f"{self._short_losses()}, {speed:.0f} clouds/s")
                due = time.perf_counter() - saved > 60.0 * recipe.checkpoint_minutes
                if self.step % recipe.checkpoint_steps == 0 or due or self.step == recipe.steps:
                    self._save()
                    saved = time.perf_counter()
            if self.step < recipe.steps:
                self._save()
        seconds = time.perf_counter() - self.started
        return PretrainResult(
            folder=self.out,
            steps=self.step,
            completed=self.step >= recipe.steps,
            losses=self.losses,
            seconds=seconds,
            clouds_per_second=(self.step - first) * recipe.batch_size / max(seconds, 1e-9),
            total_seconds=self.seconds_before + seconds,
        )

    def _one_step(self) -> dict[str, Tensor]:
        recipe = self.recipe
        seed = int(
            np.random.SeedSequence([recipe.seed, 2, self.step]).generate_state(1, np.uint64)[0]
            >> np.uint64(1)
        )
        torch.manual_seed(seed)  # masks and drop path draw from the global generator
        generator = torch.Generator(device=self.device).manual_seed(seed)
        which = batch_indices(
            self.step, count=len(self.points), batch_size=recipe.batch_size, seed=recipe.seed
        )
        points = self.points[which].to(self.device)
        chosen = subsample(points, recipe.num_points, recipe.augmentation.fps_share, generator)
        points = points.gather(1, chosen[:, :, None].expand(-1, -1, 3))
        points = augment(points, recipe.augmentation, generator)
        views = None if self.targets is None else self.targets.views(which, chosen, self.device)
        rate = learning_rate(
            self.step,
            steps=recipe.steps,
            warmup=recipe.warmup_steps,
            peak=recipe.learning_rate,
            final=recipe.final_learning_rate,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self._precision():
            output = self.model(points, views)
        output.loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm or math.inf)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        found = {"loss": output.loss, "loss_3d": output.loss_3d, "loss_2d": output.loss_2d}
        found[_NORM] = norm  # read with the losses, so that a broken step stops the run before it is stored
        # Cloned: a loss may be a view into a far larger tensor, which would live as long as it.
        return {name: value.detach().clone() for name, value in found.items() if value is not None}

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        """The recipe's precision.

        On CPU with plain attention: in bfloat16 the fused one goes backwards several times slower than that.
        """
        if self.recipe.precision == "float32":
            yield
            return
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.autocast(self.device.type, dtype=torch.bfloat16))
            if self.device.type == "cpu":
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            yield

    def _flush(self) -> list[dict[str, float]]:
        """Read the pending losses and gradient norms; stops the run at the first that is not finite."""
        values = [{name: float(value) for name, value in one.items()} for one in self.pending]
        for offset, one in enumerate(values):
            for name, value in one.items():
                if not math.isfinite(value):
                    step = self.step - len(values) + offset
                    kept = list_checkpoints(self.out / "checkpoints")
                    last = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
                    raise ValueError(
                        f"step {step}: {name} is {value}; {last}; lower learning_rate or use float32"
                    )
        self.pending = []
        return values

    def _log(self, speed: float) -> None:
        values = self._flush()
        self.losses = {
            name: float(np.mean([one[name] for one in values])) for name in values[0] if name != _NORM
        }
        rate = self.optimizer.param_groups[0]["lr"]
        line = {"step": self.step, **self.losses, "learning_rate": rate, "clouds_per_second": round(speed, 1)}
        with open(self.out / "metrics.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def _short_losses(self) -> str:
        return ", ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in self.losses.items())

    def _save(self) -> None:
        # Losses since the last log line travel along, so that a resumed run logs what an uninterrupted one
        # does.
        pending = [{name: value.cpu() for name, value in one.items()} for one in self.pending]
        self._check_finite()
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "pending": pending,
            "losses": self.losses,
            "seconds": self.seconds_before + time.perf_counter() - self.started,
        }
        save_checkpoint(self.out / "checkpoints", self.step, state)

    def _check_finite(self) -> None:
        pending = self.pending
        self._flush()
        self.pending = pending

    def _resume(self) -> None:
        state, skipped = load_latest(self.out / "checkpoints")
        for line in skipped:
            print(line)
        metrics = self.out / "metrics.jsonl"
        if state is None:
            metrics.unlink(missing_ok=True)
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
        self.pending = [
            {name: value.to(self.device) for name, value in one.items()} for one in state["pending"]
        ]
        self.losses = dict(state["losses"])
        self.seconds_before = float(state.get("seconds", 0.0))
        if metrics.is_file():  # lines of steps that will be done again, the last of them perhaps cut short
            kept = [
                line
                for line in metrics.read_text(encoding="utf-8").splitlines()
                if _step_of(line) <= self.step
            ]
            with written_whole(metrics) as unfinished:
                unfinished.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
