"""Fine-tuning on labelled clouds: the task, and a run from recipe to weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pointmae_zoo.datasets.augmentation import augment, points_of_step, subsample
from pointmae_zoo.datasets.labelled import LabelledClouds, open_labelled
from pointmae_zoo.datasets.splits import few_per_class, validation_split
from pointmae_zoo.hub import save_pretrained
from pointmae_zoo.models.batch_norm import averaging_statistics
from pointmae_zoo.models.encoder import PointEncoder, evaluating
from pointmae_zoo.models.pretraining_model import LossTerm
from pointmae_zoo.ops.batch_random import share_of_batch
from pointmae_zoo.shapes.up_axis import DEFAULT_UP
from pointmae_zoo.train.device_cache import to_device
from pointmae_zoo.train.provenance import finetune_provenance, validation_of, without_folder
from pointmae_zoo.train.recipes import FinetuneRecipe
from pointmae_zoo.train.resuming import finished_run, recipe_of_run
from pointmae_zoo.train.schedule import batch_indices, total_steps
from pointmae_zoo.train.starting_model import KINDS, create_finetuning_model
from pointmae_zoo.train.task import TrainingResult
from pointmae_zoo.train.training_run import Run, open_run, steps_in_words
from pointmae_zoo.train.validation import Scorer, Validation, steps_between

if TYPE_CHECKING:
    from accelerate import Accelerator


FEW_LABELS = 20
"""Training clouds of a class, on average, below which the head alone is trained, unless the recipe says."""


@dataclass(frozen=True)
class LabelledBatch:
    """B clouds as the model gets them.

    Args:
        points: (B, n, 3).
        labels: (B,) class numbers.
        parts: (B, n) part numbers, or None.
    """

    points: Tensor
    labels: Tensor
    parts: Tensor | None


class FinetuneTask:
    """Training with labels: a classifier ``model(points) -> (B, classes)``, or a part segmenter
    ``model(points, labels) -> (B, N, parts)``; any module will do.

    Raises:
        ValueError: only the head is to be trained, but the model has no ``encoder``.
    """

    command = "finetune"

    def __init__(self, model: nn.Module, clouds: LabelledClouds, recipe: FinetuneRecipe) -> None:
        self.model = model
        self.count = len(clouds)
        self.clouds = clouds
        self.recipe = recipe
        self.frozen: nn.Module | None = None
        if recipe.trained_part == "head":
            encoder = getattr(model, "encoder", None)
            if not isinstance(encoder, PointEncoder):
                raise ValueError(
                    f"trained_part is 'head', but {type(model).__name__} has no encoder; set it to 'all'"
                )
            self.frozen = encoder.requires_grad_(False)

    def batch(self, indices: NDArray[np.int64], generator: torch.Generator) -> LabelledBatch:
        clouds, settings, device = self.clouds, self.recipe.augmentation, generator.device
        points = to_device(clouds.points[indices], device)
        count = points_of_step(self.recipe.num_points, points.shape[1], settings, generator)
        chosen = subsample(points, count, settings.fps_share, generator, fps_surplus=settings.fps_surplus)
        points = augment(points.gather(1, chosen[:, :, None].expand(-1, -1, 3)), settings, generator)
        parts = None
        if self.recipe.task == "parts" and clouds.part_labels is not None:
            parts = to_device(clouds.part_labels[indices], device).gather(1, chosen)
        return LabelledBatch(points, to_device(clouds.labels[indices], device), parts)

    def losses(self, batch: LabelledBatch) -> dict[str, LossTerm]:
        if self.frozen is not None:
            self.frozen.eval()  # the loop has put the whole model into training mode
        logits = _logits(self.model, batch).float()
        target = batch.labels if batch.parts is None else batch.parts.flatten()
        loss = F.cross_entropy(logits, target, label_smoothing=self.recipe.label_smoothing)
        with torch.no_grad():
            wrong = (logits.argmax(dim=1) != target).float().mean()
        count = len(target)
        return {"cross_entropy": LossTerm(loss, 1.0, count), "error_rate": LossTerm(wrong, 0.0, count)}

    def settle(self, model: nn.Module, accelerator: "Accelerator") -> None:
        """Recompute the BatchNorm statistics of the trained parts for the present weights, over the run's
        first batches; the processes share these."""
        recipe, device = self.recipe, accelerator.device
        trained: Any = model if self.frozen is None else model.head
        generator = torch.Generator(device).manual_seed(recipe.seed)
        size = recipe.batch_size // accelerator.num_processes
        first = size * accelerator.process_index
        with evaluating(model), averaging_statistics(trained), share_of_batch(first, recipe.batch_size):
            for step in range(recipe.calibration_batches):
                indices = batch_indices(
                    step, count=self.count, batch_size=recipe.batch_size, seed=recipe.seed
                )
                _logits(model, self.batch(indices[first : first + size], generator))

    def monitors(self, batch: LabelledBatch) -> dict[str, LossTerm]:
        del batch
        return {}

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        return [self.clouds.names[index] for index in indices]


def finetune(
    recipe: FinetuneRecipe | None,
    out: str | Path,
    *,
    resume: bool = False,
    cache: str | Path | None = None,
    device: str | None = None,
    trackers: Sequence[str] = (),
    progress: bool = True,
) -> TrainingResult:
    """Fine-tune a model on labelled clouds; leaves ``model.safetensors``, ``config.json``, ``recipe.yaml``,
    ``metrics.jsonl`` and ``environment.json`` in ``out``.

    Signals, memory and several processes as for `pretrain`.

    Args:
        recipe, out, resume, device, trackers, progress: as for `pretrain`.
        cache: folder for points read from meshes, shared between runs; by default ``out/cache``, with
            ``resume`` that of the run's last session.

    Raises:
        ValueError: ``out`` holds a run and ``resume`` is off; another process trains in it; recipe or data
            differ from those of the run to resume; weights or data don't fit the recipe; a loss or gradient
            is not finite (names the step); see also ``open_labelled`` and ``from_pretrained``.
        FileNotFoundError: nothing to resume; a file of the recipe is missing.
        ModuleNotFoundError: accelerate or a tracker is missing.
    """
    out = Path(out)
    recipe = recipe_of_run(recipe, out, FinetuneRecipe, resume=resume)
    if not recipe.data:
        raise ValueError("recipe: no data; give --data FILE, a folder, or BENCHMARK:FOLDER")
    if resume and (finished := finished_run(out, FinetuneTask.command)):
        return finished
    opened = open_run(
        recipe, out, resume=resume, cache=cache, device=device, trackers=trackers, progress=progress
    )
    with opened as run:
        recipe = run.recipe
        with run.preparing():
            clouds, validation = open_training_parts(recipe, run.cache, progress=run.progress)
            recipe, why = settle_trained_part(recipe, clouds, validation)
            run = run.with_recipe(recipe)
            model = create_finetuning_model(recipe, clouds)
            task = FinetuneTask(model, clouds, recipe)
            run.say(_what_is_trained(recipe, model, clouds, validation, out) + why)
            run.begin({without_folder(recipe.data): clouds.sha256})
        result = _trained(run, task, validation)
        if result.completed and run.is_main:
            made = finetune_provenance(recipe, clouds, validation, result, run.commit)
            save_pretrained(model, out, provenance=made)
    return result


def finetune_model(
    model: nn.Module,
    clouds: LabelledClouds,
    validation: LabelledClouds | None,
    recipe: FinetuneRecipe,
    out: str | Path,
    *,
    resume: bool = False,
    device: str | None = None,
    trackers: Sequence[str] = (),
    progress: bool = True,
) -> TrainingResult:
    """Train a module of your own (see `FinetuneTask`) by a recipe, in place, as `finetune` does.

    ``out`` gets recipe, metrics, environment and checkpoints, but no weights: the module has them. With
    ``resume`` the weights of a finished run are loaded into the module.

    Args:
        model: has the weights to begin with, and on return the final ones, in evaluation mode.
        clouds: to train on; see `open_training_parts`.
        validation: clouds to validate on, or None.
        recipe: its ``weights``, ``model``, ``model_arguments`` and ``data`` are ignored.
        out, resume, device, trackers, progress: as for `pretrain`.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: as for `finetune`.
    """
    out = Path(out)
    recipe = recipe_of_run(recipe, out, FinetuneRecipe, resume=resume)
    opened = open_run(
        recipe, out, resume=resume, cache=None, device=device, trackers=trackers, progress=progress
    )
    with opened as run:
        recipe = run.recipe
        if recipe.trained_part == "auto":  # nobody knows whether the module is pre-trained
            recipe = recipe.override(trained_part="all")
            run = run.with_recipe(recipe)
        with run.preparing():
            task = FinetuneTask(model, clouds, recipe)
            run.begin({clouds.name: clouds.sha256})
        return _trained(run, task, validation)


def open_training_parts(
    recipe: FinetuneRecipe, cache: Path | None = None, *, progress: bool = True
) -> tuple[LabelledClouds, LabelledClouds | None]:
    """The clouds of a recipe: those to train on, and those to validate on (None: there are none).

    Validation clouds are the data's own validation split, if it has one, else a part of train; there are none
    if ``validation_share`` is 0.

    Raises:
        ValueError: a class without training clouds, or only one class; no clouds to choose the best weights
            by; see also ``open_labelled``.
    """
    how: dict[str, Any] = {
        "num_points": recipe.num_points,
        "most_points": recipe.cloud_points,
        "classes": recipe.classes,
        "with_parts": recipe.task == "parts",
        "up": recipe.up,
        "cache": cache,
        "progress": progress,
    }
    found = open_labelled(recipe.data, "train", **how)
    counts = np.bincount(found.labels, minlength=len(found.classes))
    if recipe.task == "classification" and len(found.classes) < 2:
        raise ValueError(
            f"{recipe.data}: only one class ({found.classes[0]}); a classifier needs two or more"
        )
    if missing := [name for name, count in zip(found.classes, counts, strict=True) if not count]:
        raise ValueError(
            f"{recipe.data}: no training cloud of class {missing[0]!r}, though other splits have some; "
            "move some to train, or leave the class out"
        )
    validation: LabelledClouds | None
    if validation_of(recipe, found) == "val":
        train, validation = found, open_labelled(recipe.data, "val", **how)
    else:
        rows, held_out = validation_split(found.labels, found.groups, recipe.validation_share, recipe.seed)
        train, validation = found.select(rows), found.select(held_out) if len(held_out) else None
    if recipe.select == "best" and validation is None:
        raise ValueError(
            f"{recipe.data}: no class has clouds of two groups, so nothing can be held out to choose the "
            "best weights by; set select to last"
        )
    if recipe.shots is not None:
        train = train.select(few_per_class(train.labels, train.groups, recipe.shots, recipe.seed))
    return train, validation


def settle_trained_part(
    recipe: FinetuneRecipe, clouds: LabelledClouds, validation: LabelledClouds | None
) -> tuple[FinetuneRecipe, str]:
    """The recipe with ``all`` or ``head`` in place of ``auto``, and a line that says why (empty: it says so
    itself)."""
    if recipe.trained_part != "auto":
        return recipe, ""
    if not recipe.weights:
        return recipe.override(trained_part="all"), "\ntrained_part: auto is all, as nothing is pre-trained"
    # Without shots as many as before validation took some, so that all seeds of a recipe choose the same.
    kept_out = 0
    if recipe.shots is None and validation is not None and validation_of(recipe, clouds) == "train":
        kept_out = len(validation)
    each = (len(clouds) + kept_out) / len(clouds.classes)
    few = each < FEW_LABELS
    chosen, other = ("head", "all") if few else ("all", "head")
    what = "the encoder stays as it is" if few else "the encoder learns, too"
    return recipe.override(trained_part=chosen), (
        f"\ntrained_part: auto is {chosen}, {what}: the data have {each:.0f} labelled clouds of a class on "
        f"average, {'fewer than' if few else 'at least'} {FEW_LABELS}; or --set trained_part={other}"
    )


def _trained(
    run: Run[FinetuneRecipe], task: FinetuneTask, validation: LabelledClouds | None
) -> TrainingResult:
    recipe, watched = task.recipe, None
    if validation is not None:
        scorer = Scorer(validation, recipe, run.accelerator)
        seen = len(validation) + recipe.calibration_batches * recipe.batch_size
        every = recipe.validate_steps or steps_between(
            total_steps(recipe, task.count), recipe.batch_size, seen
        )
        if recipe.select == "best" and every >= total_steps(recipe, task.count):
            run.say(
                "select is 'best', but the run is validated only once, at its end, so it ends with the last "
                "weights; set validate_steps to choose among several"
            )
        watched = Validation(scorer, every, scorer.headline if recipe.select == "best" else None)
    settle = (lambda model: task.settle(model, run.accelerator)) if recipe.calibration_batches else None
    return run.train(task, validation=watched, settle=settle, layer_decay=recipe.layer_decay)


def _what_is_trained(
    recipe: FinetuneRecipe, model: Any, clouds: LabelledClouds, validation: LabelledClouds | None, out: Path
) -> str:
    """A line that says what is trained on which data, and others if the warm-up is cut or clouds are
    turned."""
    base = model.config.provenance.get("initialised_from")
    begin = f"{base['name']}" if base else f"{recipe.model} from scratch"
    if base and base["new"]:
        begin += f" with a new {KINDS[recipe.task].replace('_', ' ')} head"
    number, what = len(clouds.classes), "class" if len(clouds.classes) == 1 else "classes"
    held_out = "no validation"
    if validation is not None:
        own = " in its own split" if validation_of(recipe, clouds) == "val" else ""
        held_out = f"{len(validation):,} for validation{own}"
    steps, cut = steps_in_words(recipe, len(clouds))
    data = f"{len(clouds):,} clouds of {number} {what} ({held_out})"
    only = ", the head alone" if recipe.trained_part == "head" else ""
    up = recipe.up
    turned = (
        ""
        if up == DEFAULT_UP
        else f"\n{up} is up in the data, so they are turned; give predict --up {up}, too"
    )
    return f"{begin} on {data}{only}, {steps}: {out}{cut}{turned}"


def _logits(model: nn.Module, batch: LabelledBatch) -> Tensor:
    """(B, classes); for a part segmenter a row for each point of the batch, (B n, parts)."""
    if batch.parts is None:
        found: Tensor = model(batch.points)
        return found
    by_point: Tensor = model(batch.points, batch.labels)
    return by_point.flatten(0, 1)
