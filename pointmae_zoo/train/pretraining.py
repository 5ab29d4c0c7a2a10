"""Self-supervised pre-training: the task, and a run of it from recipe to folder of weights."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointmae_zoo.datasets.augmentation import Augmentation, augment, points_of_step, subsample
from pointmae_zoo.datasets.poses import posed
from pointmae_zoo.datasets.sources import CloudSource, concatenate, open_sources, procedural_source
from pointmae_zoo.hub import save_pretrained
from pointmae_zoo.hub.pretrained import public_name
from pointmae_zoo.models.pretraining_model import LossTerm, TeacherViews
from pointmae_zoo.models.registry import create_model, get_architecture
from pointmae_zoo.models.teacher.image_teacher import Teacher
from pointmae_zoo.models.teacher.teacher_weights import check_weights_file
from pointmae_zoo.ops import farthest_point_sample
from pointmae_zoo.shapes.reader_pool import available_cores
from pointmae_zoo.shapes.up_axis import DEFAULT_UP
from pointmae_zoo.train.device_cache import Rows
from pointmae_zoo.train.provenance import cloud_counts, entry_names, provenance
from pointmae_zoo.train.read_ahead import ReadAhead
from pointmae_zoo.train.recipes import PretrainRecipe, TeacherSettings
from pointmae_zoo.train.resuming import finished_run, recipe_of_run
from pointmae_zoo.train.runtime import compile_teacher
from pointmae_zoo.train.starting_model import load_encoder
from pointmae_zoo.train.target_cache import cached_targets
from pointmae_zoo.train.task import TrainingResult
from pointmae_zoo.train.teacher_targets import LiveTargets, Targets
from pointmae_zoo.train.training_run import open_run, steps_in_words
from pointmae_zoo.viz import draw_reconstruction

if TYPE_CHECKING:
    from accelerate import Accelerator

_PREVIEWED = 6  # shapes in the picture


class PretrainTask:
    """Masked pre-training of a ``...ForPretraining`` model on clouds, with an image teacher or without.

    The model defines the losses; see ``models/pretraining_model.py``.
    """

    command = "pretrain"

    def __init__(
        self, model: Any, source: CloudSource, targets: Targets | None, recipe: PretrainRecipe
    ) -> None:
        self.model = model
        self.count = len(source)
        self.source = source
        self.ahead = ReadAhead(source.read)
        self.clouds = Rows(self.ahead.read, len(source), copied=recipe.procedural_shapes == "cached")
        self.targets = targets
        self.recipe = recipe

    def close(self) -> None:
        """End the processes and threads that make clouds."""
        self.source.close()
        self.ahead.close()

    def batch(
        self, indices: NDArray[np.int64], generator: torch.Generator
    ) -> tuple[Tensor, TeacherViews | None]:
        device = generator.device
        stored = self.clouds.fetch(indices, device)
        settings = self.recipe.augmentation
        count = points_of_step(self.recipe.num_points, stored.shape[1], settings, generator)
        chosen = subsample(stored, count, settings.fps_share, generator)
        points = stored.gather(1, chosen[:, :, None].expand(-1, -1, 3))
        points = augment(points, settings, generator)
        views = None if self.targets is None else self.targets.views(indices, chosen, points, stored)
        return points, views

    def losses(self, batch: tuple[Tensor, TeacherViews | None]) -> dict[str, LossTerm]:
        output = self.model(*batch)
        return {**output.losses, **output.monitors}

    def monitors(self, batch: tuple[Tensor, TeacherViews | None]) -> dict[str, LossTerm]:
        watched: dict[str, LossTerm] = self.model.watched(*batch)
        return watched

    def farthest_points(
        self, indices: NDArray[np.int64], device: torch.device
    ) -> tuple[Tensor, TeacherViews | None]:
        """Clouds (B,) as the model gets them for features, (B, n, 3), and the teacher's views of them."""
        stored = torch.from_numpy(self.source.read(indices)).to(device)
        chosen = farthest_point_sample(stored, self.recipe.num_points)
        points = stored.gather(1, chosen[:, :, None].expand(-1, -1, 3))
        points = augment(points, Augmentation(scale=1.0), torch.Generator(device))
        views = None if self.targets is None else self.targets.views(indices, chosen, points, stored)
        return points, views

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        return [str(self.source.names[index]) for index in indices]


def pretrain(
    recipe: PretrainRecipe | None,
    out: str | Path,
    *,
    resume: bool = False,
    cache: str | Path | None = None,
    device: str | None = None,
    trackers: Sequence[str] = (),
    progress: bool = True,
) -> TrainingResult:
    """Pre-train a model; leaves ``model.safetensors``, ``config.json``, ``recipe.yaml``, ``metrics.jsonl``,
    ``environment.json`` and ``preview.png`` in ``out``.

    On SIGINT and SIGTERM the run writes a checkpoint and ends. On Linux and CPU the malloc settings of the
    process are changed for good: it keeps freed memory (see ``keep_freed_memory``).

    Under ``torchrun`` or ``accelerate launch`` the processes share each batch; all of them must see the
    folders ``out`` and ``cache``.

    Args:
        recipe: what to train; None with ``resume``: the run's own recipe.
        out: run folder.
        resume: continue from the newest readable checkpoint of ``out`` (from the start if there is none). A
            finished run is left as it is.
        cache: folder for teacher targets and procedural shapes, shared between runs; by default
            ``out/cache``, with ``resume`` that of the run's last session.
        device: where to train, for several processes its type; by default the CPU, with ``resume`` the device
            of the run's last session.
        trackers: names from ``TRACKERS``; they get the metrics, too.
        progress: show progress bars.

    Raises:
        ValueError: ``out`` holds a run and ``resume`` is off; another process trains in it; recipe or data
            differ from those of the run to resume; a loss or gradient is not finite (names the step); see
            also ``open_sources`` and ``Teacher``.
        FileNotFoundError: nothing to resume; a file of the recipe is missing.
        ModuleNotFoundError: accelerate, timm or a tracker is missing.
    """
    out = Path(out)
    recipe = recipe_of_run(recipe, out, PretrainRecipe, resume=resume)
    if resume and (finished := finished_run(out, PretrainTask.command)):
        return finished
    opened = open_run(
        recipe, out, resume=resume, cache=cache, device=device, trackers=trackers, progress=progress
    )
    with opened as run:
        recipe = run.recipe
        # A faulty recipe is refused before anything is written. The cheap checks come first, then the data,
        # and last the teacher's weights, which may have to be downloaded.
        teacher = _untrained_teacher(recipe)
        model = create_pretraining_model(recipe, teacher)
        with run.preparing():
            source = open_training_source(recipe, run.cache, run.progress)
            run.say(_what_is_trained(recipe, source, out))
            if teacher is not None and recipe.teacher.weights != "random":
                teacher = _teacher(recipe.teacher, recipe.teacher.weights)
            begun = load_encoder(model, recipe.weights) if recipe.weights else None
            run.begin(dict(zip(entry_names(recipe), source.sha256, strict=True)))
        targets = _targets(recipe, teacher, source, run.cache, run.accelerator, run.progress)
        with contextlib.closing(PretrainTask(model, source, targets, recipe)) as task:
            # Cached clouds are read in less time than it takes to hand them from thread to thread.
            result = run.train(task, expect=task.ahead.expect if recipe.procedural_shapes == "live" else None)
            if result.completed and run.is_main:
                made = provenance(recipe, source, result, run.commit)
                made |= {"initialised_from": begun} if begun else {}
                save_pretrained(model, out, provenance=made)
                draw_preview(task, out / "preview.png", run.accelerator.device)
    return result


def draw_preview(task: PretrainTask, path: Path, device: torch.device) -> None:
    """Draw the model's reconstruction of a few shapes, the same ones for every run on these clouds. If that
    fails, say why."""
    indices = np.linspace(0, task.count - 1, min(_PREVIEWED, task.count)).astype(np.int64)
    try:
        points, views = task.farthest_points(indices, device)
        draw_reconstruction(task.model, points, views, path)
    except Exception as error:  # of any kind: the weights are written, and nothing depends on the picture
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        print(f"{path}: not drawn ({reason})", file=sys.stderr)


def open_training_source(recipe: PretrainRecipe, cache: Path, progress: bool = True) -> CloudSource:
    """The recipe's clouds in its pose: those of ``data``, then the procedural ones.

    Raises:
        ValueError: there are none; see also ``open_sources``.
    """
    if not recipe.data and not recipe.procedural_clouds:
        raise ValueError(
            "recipe: neither data nor procedural_clouds; give --data FILE, or --set procedural_clouds=1000"
        )
    found = open_sources(recipe.data, recipe.cloud_points, cache=cache, up=recipe.up, progress=progress)
    count = len(found) if recipe.procedural_clouds is None else recipe.procedural_clouds
    if count:
        live = recipe.procedural_shapes == "live"
        made = procedural_source(
            count,
            recipe.procedural_seed,
            recipe.cloud_points,
            cache=None if live else cache,
            workers=_spare_cores() if live else None,
            progress=progress,
        )
        found = concatenate([found, made])
    return posed(found, recipe.pose, recipe.pose_seed, poses=recipe.poses)


def _spare_cores() -> int:
    """Cores that a process of a run has beside its own one; at least 1."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's and accelerate's
    return max(1, available_cores() // processes - 1)


def create_pretraining_model(recipe: PretrainRecipe, teacher: Teacher | None) -> Any:
    """The recipe's model, with random weights drawn from its seed.

    Raises:
        ValueError: no such model or arguments; a teacher for a model that takes none.
    """
    architecture = get_architecture(recipe.model)
    taught = _taught(recipe, None if teacher is None else (recipe.teacher.views, sum(teacher.channels)))
    for name, value in taught.items():
        if recipe.model_arguments.get(name, value) != value:
            whose = f"with teacher {recipe.teacher.name}" if teacher else "without a teacher"
            raise ValueError(
                f"recipe: model_arguments.{name} is {recipe.model_arguments[name]}, "
                f"but {whose} it is {value}; leave it out"
            )
    # Weights store how many points they were trained on and how shapes lay, and features are taken so.
    preprocess = architecture.preprocess
    preprocess = dataclasses.replace(
        preprocess,
        num_points=recipe.num_points,
        surface_samples=max(preprocess.surface_samples, recipe.num_points),
        pose="any" if recipe.pose == "principal" else recipe.pose,
    )
    torch.manual_seed(recipe.seed)
    try:
        return create_model(
            recipe.model, kind="pretraining", preprocess=preprocess, **{**recipe.model_arguments, **taught}
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"recipe: model or model_arguments: {error}") from error


def _taught(recipe: PretrainRecipe, teacher: tuple[int, int] | None) -> dict[str, Any]:
    """The model's arguments that a teacher with (views, channels), or no teacher, decides; the recipe must
    not set them differently."""
    try:
        arguments: dict[str, Any] = get_architecture(recipe.model).pretraining_model.taught(teacher)
    except ValueError as error:
        raise ValueError(
            f"recipe: teacher.name is {recipe.teacher.name!r}, but {error}; --set teacher.name= for none"
        ) from error
    return arguments


def _what_is_trained(recipe: PretrainRecipe, source: CloudSource, out: Path) -> str:
    """A line that says what is trained on which data, and others if the warm-up is cut or clouds are
    turned."""
    from_data, made = cloud_counts(recipe, source)
    parts = [f"{from_data:,} clouds"] if from_data else []
    if made:
        parts.append(f"{made:,} procedural" + ("" if from_data else " clouds"))
    poses = f" in {recipe.poses} poses each" if recipe.poses > 1 else ""
    teacher = f"teacher {recipe.teacher.name}" if recipe.teacher.name else "no teacher"
    if recipe.teacher.name and recipe.teacher.weights == "random":
        teacher += " with random weights"
    steps, cut = steps_in_words(recipe, len(source))
    up = recipe.up
    turned = (
        "" if up == DEFAULT_UP else f"\n{up} is up in the data, so they are turned; give embed --up {up}, too"
    )
    begins = f" from {public_name(recipe.weights)}" if recipe.weights else ""
    return f"{recipe.model}{begins} on {' + '.join(parts)}{poses}, {teacher}, {steps}: {out}{cut}{turned}"


def _untrained_teacher(recipe: PretrainRecipe) -> Teacher | None:
    """The teacher with random weights: enough to find nearly all that can be wrong with its settings."""
    settings = recipe.teacher
    if not settings.name:
        return None
    _taught(
        recipe, (settings.views, 1)
    )  # raises if the model takes no teacher; the channels are not known yet
    if settings.weights not in ("pretrained", "random"):
        check_weights_file(Path(settings.weights))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return _teacher(settings, "random")


def _teacher(settings: TeacherSettings, weights: str) -> Teacher:
    return Teacher(
        settings.name,
        weights=weights,
        strides=settings.strides,
        image_size=settings.image_size,
        normalization=settings.normalization,
        precision=settings.precision,
    )


def _targets(
    recipe: PretrainRecipe,
    teacher: Teacher | None,
    source: CloudSource,
    cache: Path,
    accelerator: "Accelerator",
    progress: bool,
) -> Targets | None:
    if teacher is None:
        return None
    settings = recipe.teacher
    teacher = teacher.to(accelerator.device)
    if settings.targets == "live":
        if recipe.compile:
            compile_teacher(teacher)
        return LiveTargets(teacher, settings.rendering())
    return cached_targets(
        source, teacher, settings.rendering(), cache, standardize=settings.standardize, progress=progress
    )
