"""Training steps: the paper's against a plain formulation of it, and where the time of ours goes."""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import plain_step
from benchmarks.clocks import Parts, ProcessorClock
from benchmarks.rows import clouds
from benchmarks.timing import Row, interleaved_medians
from pointmae_zoo.datasets.augmentation import Augmentation, augment
from pointmae_zoo.datasets.sources import procedural_source
from pointmae_zoo.models.joint_mae.joint_network import JointMAEForPretraining
from pointmae_zoo.models.pretraining_model import TeacherViews, weighted_sum
from pointmae_zoo.models.registry import create_model
from pointmae_zoo.models.teacher.image_teacher import Teacher
from pointmae_zoo.ops import Rendering
from pointmae_zoo.ops.precision import chosen_precision
from pointmae_zoo.train.optimizer import adamw, parameter_groups
from pointmae_zoo.train.pretraining import PretrainTask, create_pretraining_model
from pointmae_zoo.train.recipe_files import read_recipe
from pointmae_zoo.train.recipes import PretrainRecipe, merged
from pointmae_zoo.train.runtime import keep_freed_memory, precision
from pointmae_zoo.train.target_cache import cached_targets
from pointmae_zoo.train.teacher_targets import LiveTargets

CLIP = "vit_base_patch16_clip_quickgelu_224"
CPU = torch.device("cpu")
_AUGMENTATION = Augmentation(scale=1.5, shift=0.2, normalize=False)  # the paper's
_TOLERANCE = 1e-5  # of the losses, relative
_HALF_TOLERANCE = 2e-2  # of the losses, relative, where the teacher computes in bfloat16
_GRADIENT_TOLERANCE = 1e-3  # of the norm of all gradients, relative: float32 sums of 10^5 rows


class Sides:
    """Both steps on the same clouds, with the same weights, draws and teacher (of random weights).

    Args:
        batch: clouds.
        device: where both run.
    """

    def __init__(self, batch: int, device: torch.device = CPU) -> None:
        if device.type == "cpu":
            keep_freed_memory()  # as training does; it serves both sides
        torch.manual_seed(0)
        self.clouds = clouds(batch, 2048).to(device)
        self.half = False  # our model in bfloat16, as the recipe's precision says
        # Drop path draws random numbers, which the two sides would not share.
        self.model = create_model("i2p_mae_base", kind="pretraining", drop_path=0.0).train().to(device)
        self.plain = plain_step.Pretraining().train().to(device)
        self.plain.load_from(self.model.state_dict())
        teacher = Teacher(CLIP, weights="random", normalization="imagenet", precision="float32")
        self.teacher = teacher.to(device)
        self.targets = LiveTargets(self.teacher, Rendering("summed", views=3, size=224, cover=5))
        self.optimizers = [
            adamw(self.model, weight_decay=0.05, betas=(0.9, 0.999)),
            torch.optim.AdamW(parameter_groups(self.plain, 0.05), lr=0.0, betas=(0.9, 0.999)),
        ]
        # What was drawn, seen from outside: zeros are only shifted, ones are scaled and shifted.
        shift = self.augmented(torch.zeros_like(self.clouds))[:, 0]
        self.draws = self.augmented(torch.ones_like(self.clouds))[:, 0] - shift, shift
        self.visible = torch.empty(0)

    def augmented(self, points: Tensor) -> Tensor:
        return augment(points, _AUGMENTATION, torch.Generator(points.device).manual_seed(0))

    def views(self, points: Tensor) -> TeacherViews:
        every = torch.arange(points.shape[1], device=points.device).expand(len(points), -1)
        return self.targets.views(np.arange(len(points)), every, points, points)

    def ours(self, views: TeacherViews | None = None, update: bool = True) -> Tensor:
        """The two losses, (2,)."""
        points = self.augmented(self.clouds)
        torch.manual_seed(0)  # of the drawn masks
        views = self.views(points) if views is None else views
        with torch.autocast(points.device.type, torch.bfloat16, enabled=self.half):
            output = self.model(points, views)
        output.loss.backward()
        self.visible = output.visible
        if update:
            self._update(0)
        return torch.stack([output.losses[name].value.detach() for name in ("3d", "2d")])

    def theirs(self, maps: plain_step.Maps | None = None, update: bool = True) -> Tensor:
        """The two losses, (2,)."""
        points = plain_step.augmented(self.clouds, *self.draws)
        if maps is None:
            maps = self.maps(points)
        losses = self.plain(points, plain_step.read_at_points(maps), self.visible)
        (losses.loss_3d + losses.loss_2d).backward()
        if update:
            self._update(1)
        return torch.stack([losses.loss_3d, losses.loss_2d]).detach()

    def maps(self, points: Tensor) -> plain_step.Maps:
        return plain_step.maps_of(self.teacher.network, points, self.teacher.mean, self.teacher.std)

    def _update(self, side: int) -> None:
        self.optimizers[side].step()  # at rate 0: every round is the same
        self.optimizers[side].zero_grad()

    def check(self) -> str:
        """Losses and gradients of both sides agree; a note that says how well.

        Raises:
            AssertionError: they don't.
        """
        ours, theirs = self.ours(update=False), self.theirs(update=False)
        worst = difference(ours, theirs)
        if not worst <= _TOLERANCE:
            raise AssertionError(f"the losses differ: {ours} and {theirs}")
        norms = [_gradient_norm(model) for model in (self.model, self.plain)]
        if not abs(norms[0] - norms[1]) <= _GRADIENT_TOLERANCE * norms[1]:
            raise AssertionError(f"the gradients differ: norms {norms[0]:.6g} and {norms[1]:.6g}")
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        return f"losses within {worst:.0e}, gradients' norm within {abs(1 - norms[0] / norms[1]):.0e}"


def _gradient_norm(model: torch.nn.Module) -> float:
    grads = [one.grad for one in model.parameters() if one.grad is not None]
    return float(torch.linalg.vector_norm(torch.stack([one.double().norm() for one in grads])))


def whole_step(seconds: float) -> Row:
    """Everything in float32. The image network is timm's on both sides, and half of our step."""
    sides = Sides(batch=2)
    note = sides.check()
    times = interleaved_medians(sides.ours, sides.theirs, seconds, warm_up=1)
    return Row("training step, base, 2 clouds, CLIP float32", *times, target=None, note=note)


def whole_step_bfloat16(seconds: float) -> Row:
    """The recipes' ``teacher.precision: auto``: bfloat16 where the processor has it."""
    sides = Sides(batch=2)
    sides.check()
    reference = sides.ours()
    sides.teacher.precision = "auto"
    worst = difference(sides.ours(), reference)
    if not worst <= _HALF_TOLERANCE:
        raise AssertionError(f"with the teacher in half precision the losses differ by {worst:.2g}")
    times = interleaved_medians(sides.ours, sides.theirs, seconds, warm_up=0)
    used = sides.teacher.computes_in(torch.device("cpu"))
    note = f"our teacher {used}, plain float32; losses within {worst:.0e} of float32's"
    return Row(f"the same, our CLIP in {used}", *times, target=2.0, note=note)


def student_step(seconds: float) -> Row:
    """What is left where the teacher's maps are there already, or come from an accelerator."""
    sides = Sides(batch=4)
    points = sides.augmented(sides.clouds)
    sides.check()
    views, maps = sides.views(points), sides.maps(points)
    times = interleaved_medians(lambda: sides.ours(views), lambda: sides.theirs(maps), seconds, warm_up=1)
    worst = difference(sides.ours(views), sides.theirs(maps))
    note = f"the teacher's feature maps are given; losses within {worst:.0e}"
    return Row("training step, base, 4 clouds, maps given", *times, target=2.0, note=note)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest relative difference of losses."""
    return float(((ours - theirs).abs() / theirs.abs()).max())


def joint_step(seconds: float) -> Row:
    """Joint-MAE against I2P-MAE of its size, each by its own recipe: other work, for other losses."""
    batch = 32
    with tempfile.TemporaryDirectory() as folder:
        joint, other = (
            RecipeStep(read_recipe(f"{family}/pretrain_tiny", batch_size=batch), Path(folder))
            for family in ("joint_mae", "i2p_mae")
        )
        times = interleaved_medians(joint.take, other.take, seconds)
    speeds = " and ".join(f"{batch / one:.0f}" for one in times)
    note = f"ours: joint_mae_tiny; plain: i2p_mae_tiny, cached targets; {speeds} clouds/s"
    used = joint.task.recipe.precision
    name = f"training step, tiny, {batch} clouds, Joint-MAE"
    return Row(name, *times, target=None, note=note, precision=used)


TRAIN_ROWS: dict[str, Callable[[float], Row]] = {
    "step": whole_step,
    "step-bfloat16": whole_step_bfloat16,
    "step-student": student_step,
    "step-joint": joint_step,
}


PARTS = (
    "data",
    "teacher",
    "sampling and neighbours",
    "depth images and masks",
    "2D embedding",
    "encoder",
    "decoder and losses",
    "backward",
    "optimizer",
)


def where_time_goes() -> list[dict[str, Any]]:
    """The parts of a step of the shipped recipes, on procedural shapes, with teachers of random weights."""
    keep_freed_memory()
    shapenet, chosen = "pretrain_shapenet", chosen_precision("auto", CPU)
    return [
        _parts(f"i2p_mae/{shapenet}", "base, CLIP in float32", batch=2, rounds=3, precision="float32"),
        _parts(f"i2p_mae/{shapenet}", f"base, CLIP in {chosen}", batch=2, rounds=5, precision=chosen),
        _parts("i2p_mae/pretrain_tiny", "tiny, cached targets", batch=64, rounds=8, precision="auto"),
        _parts(f"joint_mae/{shapenet}", "Joint-MAE, base", batch=2, rounds=5),
        _parts("joint_mae/pretrain_tiny", "Joint-MAE, tiny", batch=64, rounds=8),
    ]


def _parts(name: str, title: str, *, batch: int, rounds: int, precision: str | None = None) -> dict[str, Any]:
    """Median seconds of each part over ``rounds`` steps; two before them are not counted.

    Args:
        precision: the teacher's; None: there is no teacher.
    """
    recipe = recipe_of(name, batch, precision)
    with tempfile.TemporaryDirectory() as folder:
        step = RecipeStep(recipe, Path(folder))
        step.watch(Parts(ProcessorClock()))
        rows = []
        for _ in range(rounds + 2):
            step.take()
            rows.append(step.parts.taken())
    return {"name": title, "recipe": step.task.recipe.to_dict(), "seconds": medians(rows[2:])}


def recipe_of(name: str, batch: int, teacher_precision: str | None, **changes: Any) -> PretrainRecipe:
    """A shipped recipe with a teacher of random weights; None: it has none."""
    teacher = {} if teacher_precision is None else {"weights": "random", "precision": teacher_precision}
    return read_recipe(name, **merged({"batch_size": batch, "teacher": teacher}, changes))


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """Of each part over several steps, in the order in which the parts are listed."""
    return {part: statistics.median(row[part] for row in rows) for part in PARTS if part in rows[0]}


class RecipeStep:
    """A step of a recipe, to be taken again and again on the same clouds.

    Args:
        recipe: a teacher of it has random weights.
        folder: where its cache may lie.
        device: where it runs.
    """

    def __init__(self, recipe: PretrainRecipe, folder: Path, device: torch.device = CPU) -> None:
        if device.type == "cpu":
            keep_freed_memory()
        recipe = recipe.resolved(device)
        settings = recipe.teacher
        torch.manual_seed(0)
        source = procedural_source(recipe.batch_size, 0, recipe.cloud_points, progress=False)
        teacher, targets = None, None
        if settings.name:
            teacher = Teacher(
                settings.name,
                weights="random",
                strides=settings.strides,
                normalization=settings.normalization,
                precision=settings.precision,
            ).to(device)
            targets = (
                LiveTargets(teacher, settings.rendering())
                if settings.targets == "live"
                else cached_targets(source, teacher, settings.rendering(), folder, progress=False)
            )
        model = create_pretraining_model(recipe, teacher).train().to(device)
        stored = source.read(np.arange(recipe.batch_size))
        source.read = lambda indices: stored[indices]  # made beforehand, as in a run with a cache
        self.task = PretrainTask(model, source, targets, recipe)
        self.optimizer = adamw(model, recipe.weight_decay, recipe.betas)
        self.device = device
        self.parts = Parts(ProcessorClock())
        self.taken = 0

    def watch(self, parts: Parts) -> None:
        """From now on its parts are these."""
        self.parts, model = parts, self.task.model
        if isinstance(self.task.targets, LiveTargets):
            parts.watch(self.task.targets.teacher, "forward", "teacher")
        parts.watch(model.encoder, "group", "sampling and neighbours")
        parts.watch(model.encoder, "forward_features", "encoder")
        if isinstance(model, JointMAEForPretraining):
            parts.watch(model, "_look", "depth images and masks")
            parts.watch(model.image_embedding, "forward", "2D embedding")

    def take(self) -> Tensor:
        """One step, as the engine does it; its loss."""
        self.taken += 1
        recipe, parts, kind = self.task.recipe, self.parts, self.device.type
        torch.manual_seed(self.taken)
        with parts.part("data"):  # with a teacher's depth images, or the reading of cached targets
            indices = np.arange(recipe.batch_size)
            batch = self.task.batch(indices, torch.Generator(self.device).manual_seed(self.taken))
        half = torch.autocast(kind, dtype=torch.bfloat16, enabled=recipe.precision == "bfloat16")
        with parts.part("decoder and losses"), half, precision(recipe.precision, self.device):
            loss = weighted_sum(self.task.losses(batch))
        with parts.part("backward"):
            loss.backward()
        with parts.part("optimizer"):
            torch.nn.utils.clip_grad_norm_(self.task.model.parameters(), recipe.clip_norm or float("inf"))
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss.detach()
