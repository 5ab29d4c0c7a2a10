"""Fine-tuning on labelled clouds: the task, and a run of it from recipe to folder of weights."""

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
from pointmae_zoo.train.device_rows import sent
from pointmae_zoo.train.finetune_recipe import FinetuneRecipe
from pointmae_zoo.train.provenance import finetune_provenance, validation_of, without_folder
from pointmae_zoo.train.run import Run, announced_steps, finished_run, open_run, settled_recipe
from pointmae_zoo.train.schedule import batch_indices, total_steps
from pointmae_zoo.train.starting_model import KINDS, create_finetuning_model
from pointmae_zoo.train.training_result import TrainingResult
from pointmae_zoo.train.validation import Validation
from pointmae_zoo.train.validation_scores import Scorer

if TYPE_CHECKING:
    from accelerate import Accelerator

_LOOKS = 20  # at the validation part, unless a recipe says how often


@dataclass(frozen=True)
class LabelledBatch:
    """B clouds as the model sees them.

    Args:
        points: (B, n, 3).
        labels: (B,) class numbers.
        parts: (B, n) part numbers, or None.
    """

    points: Tensor
    labels: Tensor
    parts: Tensor | None


class FinetuneTask:
    """Training on labels: a classifier ``model(points) -> (B, classes)``, or a part segmenter
    ``model(points, labels) -> (B, N, parts)``; any module will do.

    Raises:
        ValueError: the head alone is to be trained, but the model has no ``encoder`` to leave as it is.
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
                    f"trained_part is 'head', but {type(model).__name__} has no encoder under one; set it to "
                    "'all'"
                )
            self.frozen = encoder.requires_grad_(False)

    def batch(self, indices: NDArray[np.int64], generator: torch.Generator) -> LabelledBatch:
        clouds, settings, device = self.clouds, self.recipe.augmentation, generator.device
        points = sent(clouds.points[indices], device)
        count = points_of_step(self.recipe.num_points, points.shape[1], settings, generator)
        chosen = subsample(points, count, settings.fps_share, generator, fps_surplus=settings.fps_surplus)
        points = augment(points.gather(1, chosen[:, :, None].expand(-1, -1, 3)), settings, generator)
        parts = None
        if self.recipe.task == "parts" and clouds.part_labels is not None:
            parts = sent(clouds.part_labels[indices], device).gather(1, chosen)
        return LabelledBatch(points, sent(clouds.labels[indices], device), parts)

    def losses(self, batch: LabelledBatch) -> dict[str, LossTerm]:
        if self.frozen is not None:
            self.frozen.eval()  # the loop puts all of the model into training mode
        logits = _logits(self.model, batch).float()
        target = batch.labels if batch.parts is None else batch.parts.flatten()
        loss = F.cross_entropy(logits, target, label_smoothing=self.recipe.label_smoothing)
        with torch.no_grad():
            wrong = (logits.argmax(dim=1) != target).float().mean()
        count = len(target)
        return {"cross_entropy": LossTerm(loss, 1.0, count), "error_rate": LossTerm(wrong, 0.0, count)}

    def settle(self, model: nn.Module, accelerator: "Accelerator") -> None:
        """Give a model with these weights the BatchNorm statistics that belong to them: over the run's first
        batches, which the processes share, in the parts that are trained."""
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
        recipe: None with ``resume``: the run's own.
        out: run folder.
        resume: go on from the newest readable checkpoint of ``out`` (from the start if there is none yet). A
            finished run is left as it is.
        cache: folder for points read from meshes, shared between runs; by default ``out/cache``, with
            ``resume`` that of the run's last session.
        device: where to train; with several processes its type. By default the CPU, with ``resume`` the
            device of the run's last session.
        trackers: names from ``TRACKERS`` to send metrics to.
        progress: show bars.

    Raises:
        ValueError: ``out`` holds a run and ``resume`` is off; another process is at work in it; recipe or
            data differ from those of the run to resume; weights or data that do not fit the recipe;
            non-finite loss or gradient (names the step); see also ``open_labelled`` and ``from_pretrained``.
        FileNotFoundError: nothing to resume; a file of the recipe is missing.
        ModuleNotFoundError: accelerate or a tracker is missing.
    """
    out = Path(out)
    recipe = settled_recipe(recipe, out, FinetuneRecipe, resume=resume)
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
            model = create_finetuning_model(recipe, clouds)
            task = FinetuneTask(model, clouds, recipe)
            run.say(_announced(recipe, model, clouds, validation, out))
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
    """Train a module of one's own (see `FinetuneTask`) by a recipe, in place, as `finetune` does.

    What is left in ``out`` are recipe, metrics, environment and checkpoints, but no weights: the module has
    them. With ``resume`` a finished run's are loaded into it.

    Args:
        model: with the weights to begin with; on return with the final ones, in evaluation mode.
        clouds: to train on; see `open_training_parts`.
        validation: to look at meanwhile, or None.
        recipe: its ``weights``, ``model``, ``model_arguments`` and ``data`` are not looked at.
        out, resume, device, trackers, progress: as for `finetune`.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: as for `finetune`.
    """
    out = Path(out)
    recipe = settled_recipe(recipe, out, FinetuneRecipe, resume=resume)
    opened = open_run(
        recipe, out, resume=resume, cache=None, device=device, trackers=trackers, progress=progress
    )
    with opened as run:
        recipe = run.recipe
        with run.preparing():
            task = FinetuneTask(model, clouds, recipe)
            run.begin({clouds.name: clouds.sha256})
        return _trained(run, task, validation)


def open_training_parts(
    recipe: FinetuneRecipe, cache: Path | None = None, *, progress: bool = True
) -> tuple[LabelledClouds, LabelledClouds | None]:
    """The clouds of a recipe: to train on, and to look at meanwhile (None: there are none).

    The latter are the data's own validation split, if it states one, and else a part of train; none where
    ``validation_share`` is 0.

    Raises:
        ValueError: a class without training clouds, or one class only; nothing to choose the best weights by;
            see also ``open_labelled``.
    """
    how: dict[str, Any] = {
        "num_points": recipe.num_points,
        "most_points": recipe.cloud_points,
        "classes": recipe.classes,
        "with_parts": recipe.task == "parts",
        "cache": cache,
        "progress": progress,
    }
    found = open_labelled(recipe.data, "train", **how)
    counts = np.bincount(found.labels, minlength=len(found.classes))
    if recipe.task == "classification" and len(found.classes) < 2:
        raise ValueError(
            f"{recipe.data}: one class only ({found.classes[0]}); a classifier needs two or more"
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


def _trained(
    run: Run[FinetuneRecipe], task: FinetuneTask, validation: LabelledClouds | None
) -> TrainingResult:
    recipe, watched = task.recipe, None
    if validation is not None:
        scorer = Scorer(validation, recipe, run.accelerator)
        every = recipe.validate_steps or max(1, total_steps(recipe, task.count) // _LOOKS)
        watched = Validation(scorer, every, scorer.headline if recipe.select == "best" else None)
    settle = (lambda model: task.settle(model, run.accelerator)) if recipe.calibration_batches else None
    return run.train(task, validation=watched, settle=settle, layer_decay=recipe.layer_decay)


def _announced(
    recipe: FinetuneRecipe, model: Any, clouds: LabelledClouds, validation: LabelledClouds | None, out: Path
) -> str:
    """What is trained on what, in one line; and another if the warm-up has to be cut."""
    base = model.config.provenance.get("initialised_from")
    begin = f"{base['name']}" if base else f"{recipe.model} from scratch"
    if base and base["new"]:
        begin += f" with a new {KINDS[recipe.task].replace('_', ' ')} head"
    number, what = len(clouds.classes), "class" if len(clouds.classes) == 1 else "classes"
    held_out = "no validation"
    if validation is not None:
        own = " in its own split" if validation_of(recipe, clouds) == "val" else ""
        held_out = f"{len(validation):,} for validation{own}"
    steps, cut = announced_steps(recipe, len(clouds))
    data = f"{len(clouds):,} clouds of {number} {what} ({held_out})"
    only = ", the head alone" if recipe.trained_part == "head" else ""
    return f"{begin} on {data}{only}, {steps}: {out}{cut}"


def _logits(model: nn.Module, batch: LabelledBatch) -> Tensor:
    """(B, classes), or of a part segmenter one row for each point of the batch, (B n, parts)."""
    if batch.parts is None:
        found: Tensor = model(batch.points)
        return found
    by_point: Tensor = model(batch.points, batch.labels)
    return by_point.flatten(0, 1)
