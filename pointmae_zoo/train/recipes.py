"""Recipes: every choice of a run, typed, documented, and stored with it."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch

from pointmae_zoo.datasets.augmentation import Augmentation
from pointmae_zoo.datasets.poses import StoredPose
from pointmae_zoo.ops import Rendering
from pointmae_zoo.ops.precision import chosen_precision
from pointmae_zoo.shapes.up_axis import DEFAULT_UP, UpAxis
from pointmae_zoo.system.checked_fields import from_values


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """The fields that recipes of all tasks have.

    Args:
        steps, epochs: the run ends after so many optimizer steps or passes over the clouds, whichever comes
            first; one of them may be None. An epoch has ``clouds // batch_size`` steps.
        batch_size: clouds in an optimizer step, over all processes and ``accumulation_steps`` together.
        accumulation_steps: a step's batch is computed in so many parts, to save memory. Each part counts
            equally, and BatchNorm sees one part at a time, so the numbers differ a little.
        learning_rate: the highest one.
        final_learning_rate: at the start of the warm-up and at the end of the cosine.
        warmup_steps, warmup_epochs: linear warm-up; at most one of them above 0. If it is as long as the run
            or longer, and no cosine is set, it is cut to a tenth of the run.
        cosine_steps, cosine_epochs: the cosine ends after so many steps or epochs of the run; both None: at
            its end.
        schedule: ``step``: the learning rate changes at every step, and the cosine begins after the warm-up.
            ``epoch``: as in the reference, it changes at every epoch, and the cosine begins with the run; the
            warm-up replaces its first part.
        weight_decay: AdamW's, on matrices only (see ``parameter_groups``).
        betas: AdamW's.
        clip_norm: the largest gradient norm; 0: no clipping.
        ema_decay: above 0: the saved weights are an exponential moving average over the steps, with this
            decay.
        precision: ``float32``, ``bfloat16`` autocast (geometry and losses stay float32), or ``auto``:
            bfloat16 where the device has it (see ``ops.precision``). A run says which it is, and stores and
            keeps it.
        compile: ``torch.compile`` the transformer blocks, those of a live transformer teacher, too.
        deterministic: only algorithms that give the same result every time; slower on GPUs. On a CPU runs are
            reproducible without it.
        seed: of weights, data order, augmentation and masks.
        checkpoint_steps, checkpoint_minutes: write a checkpoint after so many steps or minutes, whichever
            comes first.
        keep_checkpoints: how many of the newest are kept. If one can't be read, the one before is used.
        log_steps: write a line to ``metrics.jsonl`` every so many steps, with means over them.
        log_gradient_norms: these lines also have the gradient norm of each weighted loss at their last step;
            costs a backward pass for each loss, at these steps only.
    """

    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 64
    accumulation_steps: int = 1
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    warmup_steps: int = 0
    warmup_epochs: float = 0.0
    cosine_steps: int | None = None
    cosine_epochs: float | None = None
    schedule: Literal["step", "epoch"] = "step"
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 5.0
    ema_decay: float = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    deterministic: bool = False
    seed: int = 0
    checkpoint_steps: int = 500
    checkpoint_minutes: float = 5.0
    keep_checkpoints: int = 2
    log_steps: int = 10
    log_gradient_norms: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation_steps", "checkpoint_steps", "log_steps"):
            check_at_least(self, name, 1)
        for name in ("keep_checkpoints", "cosine_steps"):
            check_at_least(self, name, 1)
        for name in (
            "final_learning_rate",
            "warmup_steps",
            "warmup_epochs",
            "weight_decay",
            "clip_norm",
            "seed",
        ):
            check_at_least(self, name, 0)
        for name in ("epochs", "cosine_epochs", "learning_rate", "checkpoint_minutes"):
            check_above_zero(self, name)
        if self.steps is None and self.epochs is None:
            raise ValueError("steps and epochs are both None, so the run would never end; set one")
        for steps, epochs in (("warmup_steps", "warmup_epochs"), ("cosine_steps", "cosine_epochs")):
            if getattr(self, steps) and getattr(self, epochs):
                raise ValueError(f"{steps} and {epochs} are both set; keep one of them")
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"batch_size is {self.batch_size}, expected a multiple of accumulation_steps "
                f"({self.accumulation_steps})"
            )
        for name, values in (("betas", self.betas), ("ema_decay", (self.ema_decay,))):
            if outside := [value for value in values if not 0 <= value < 1]:
                raise ValueError(f"{name} holds {outside[0]}, expected at least 0 and below 1")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, every field, the task's own first, as in ``recipe.yaml``."""
        shared = [one.name for one in dataclasses.fields(TrainingRecipe)]
        values = json.loads(json.dumps(dataclasses.asdict(self)))
        return {name: values[name] for name in sorted(values, key=lambda name: name in shared)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """A recipe of these values; a ValueError names a field that is unknown or of a wrong type."""
        return from_values(cls, values)

    def override(self, **changes: Any) -> Self:
        """A copy with some fields changed; ``augmentation={"scale": 1.2}`` changes only that field of it."""
        return self.from_dict(merged(self.to_dict(), changes))

    def automatic(self) -> list[str]:
        """The fields that say ``auto``."""
        return ["precision"] if self.precision == "auto" else []

    def resolved(self, device: torch.device) -> Self:
        """A copy in which ``auto`` is replaced by the precision of this device."""
        return self.override(precision=chosen_precision(self.precision, device))

    def keeping_choices(self, before: Self) -> Self:
        """A copy in which ``auto`` is replaced by what a run has begun with."""
        return self.override(precision=before.precision) if self.precision == "auto" else self


@dataclass(frozen=True, kw_only=True)
class TeacherSettings:
    """The teacher, an image network, and the images it gets.

    Args:
        name: timm model name, or ``torchvision/NAME``; empty: no teacher, only the 3D loss.
        weights: ``pretrained`` (timm downloads them), ``random`` or a local file.
        strides: pixel strides of a convolutional teacher's feature maps; a transformer has only one map.
        normalization: of the images: the ``model``'s own mean and deviation, or ``imagenet``'s, which the
            reference uses with CLIP, too.
        precision: of the teacher; values as for the run.
        targets: ``cached``: the teacher sees the stored clouds once, so steps don't have to run it.
            ``live``: it sees the augmented clouds in every step, as in the paper.
        standardize: of ``cached`` targets: features with mean 0 and deviation 1 per channel, each image's
            saliency with mean 1. Live ones are always raw, as in the paper.
        image_size: side that images are resized to for the teacher. None: not resized, or for a network made
            for one size, that size (DINOv2: 518, which is slow; any multiple of its patch size works).
        projection, views, size, cover: how depth images are made, see `Rendering`; in the reference
            ``summed``, 3, 224 and 5.
    """

    name: str = "mobilenetv2_100"
    weights: str = "pretrained"
    strides: tuple[int, ...] = (8, 16)
    normalization: Literal["model", "imagenet"] = "model"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    targets: Literal["cached", "live"] = "cached"
    standardize: bool = True
    image_size: int | None = None
    projection: Literal["zbuffer", "summed"] = Rendering.projection
    views: int = Rendering.views
    size: int = Rendering.size
    cover: int = Rendering.cover

    def __post_init__(self) -> None:
        if wrong := [stride for stride in self.strides if stride < 1]:
            raise ValueError(f"teacher.strides holds {wrong[0]}, expected above 0")
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"teacher.image_size is {self.image_size}, expected at least 1")
        try:
            self.rendering()
        except ValueError as error:
            raise ValueError(f"teacher: {error}") from error

    def rendering(self) -> Rendering:
        """How the teacher's images are made."""
        return Rendering(projection=self.projection, views=self.views, size=self.size, cover=self.cover)


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe(TrainingRecipe):
    """The recipe of a pre-training run; it also has the fields of ``TrainingRecipe``.

    Args:
        task: ``pretraining``; recipe files of other tasks have another one.
        model: architecture name.
        model_arguments: overrides of its arguments (drop path, mask ratio, weights of the losses...).
        weights: whose encoder to begin with: a published name, a repository of the Hub, or a folder; the
            decoder is new. Empty: random weights.
        data: the training clouds (see ``open_sources``): ``.npz`` / ``.npy`` files, folders of meshes or
            clouds, ``shapenet55:PATH``, ``modelnet40:PATH``, ``scanobjectnn:PATH`` or
            ``shapenetpart:PATH``. Only training splits are used.
        up: what points up in ``data``; those clouds are turned so that y does.
        procedural_clouds: how many procedural shapes to add; None: as many as ``data`` holds.
        procedural_shapes: ``cached``: made before training and kept in the cache folder, 12 kB each with
            2,048 points. ``live``: other processes make those of the coming steps meanwhile, and nothing is
            stored; with a teacher only for ``live`` targets. The shapes are the same.
        procedural_seed: which procedural shapes; separate from ``seed``, so that runs with several seeds
            share the teacher's targets.
        pose: of the stored clouds, which the teacher sees, too: ``upright`` as they are, ``turned`` by any
            angle about y, ``any``: by any rotation, or ``principal``: along their principal axes, as
            ``embed --pose any`` sees them. Each cloud keeps its own.
        poses: number of copies of each cloud, each with its own rotation; an epoch is that much longer.
        pose_seed: which rotations; separate from ``seed`` for the same reason.
        cloud_points: points kept of each stored cloud; cached depth images are rendered from them.
        num_points: points that the model gets, chosen anew each time.
        teacher: see ``TeacherSettings``.
        augmentation: see ``Augmentation``.
    """

    task: Literal["pretraining"] = "pretraining"
    model: str = "i2p_mae_tiny"
    model_arguments: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    data: tuple[str, ...] = ()
    up: UpAxis = DEFAULT_UP
    procedural_clouds: int | None = None
    procedural_shapes: Literal["cached", "live"] = "cached"
    procedural_seed: int = 0
    pose: StoredPose = "upright"
    poses: int = 1
    pose_seed: int = 0
    cloud_points: int = 2048
    num_points: int = 1024
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("procedural_clouds", "procedural_seed", "pose_seed"):
            check_at_least(self, name, 0)
        check_at_least(self, "poses", 1)
        check_at_least(self, "cloud_points", 2)
        check_at_least(self, "num_points", 2)
        if self.pose == "upright" and self.poses > 1:
            raise ValueError(f"poses is {self.poses}, but pose is 'upright'; set it to another one")
        if self.num_points > self.cloud_points:
            raise ValueError(
                f"num_points is {self.num_points}, more than cloud_points ({self.cloud_points}); "
                f"set num_points to {self.cloud_points} or lower, or cloud_points higher"
            )
        if self.procedural_shapes == "live" and self.teacher.name and self.teacher.targets == "cached":
            raise ValueError(
                "procedural_shapes is 'live', but teacher.targets is 'cached', for which all shapes must be "
                "there before training; set teacher.targets to 'live', or procedural_shapes to 'cached'"
            )

    def automatic(self) -> list[str]:
        taught = self.teacher.name and self.teacher.precision == "auto"
        return super().automatic() + (["teacher.precision"] if taught else [])

    def resolved(self, device: torch.device) -> Self:
        of_teacher = chosen_precision(self.teacher.precision, device)
        return super().resolved(device).override(teacher={"precision": of_teacher})

    def keeping_choices(self, before: Self) -> Self:
        kept = super().keeping_choices(before)
        if self.teacher.precision != "auto":
            return kept
        return kept.override(teacher={"precision": before.teacher.precision})


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Values with changes applied: mappings are merged, all else is replaced."""
    result = dict(values)
    for name, change in changes.items():
        both = isinstance(change, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], change) if both else change
    return result


def check_at_least(recipe: Any, name: str, least: float) -> None:
    value = getattr(recipe, name)
    if value is not None and not (value >= least and math.isfinite(value)):
        raise ValueError(f"{name} is {value}, expected at least {least}")


def check_above_zero(recipe: Any, name: str) -> None:
    value = getattr(recipe, name)
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} is {value}, expected above 0")


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(TrainingRecipe):
    """The recipe of a fine-tuning run; it also has the fields of ``TrainingRecipe``.

    Args:
        task: ``classification`` of clouds, or ``parts``: segmentation into the parts of known classes.
        weights: to begin with: a published name, a repository of the Hub, or a folder; empty: ``model`` is
            trained from scratch.
        model: architecture to train from scratch; empty with ``weights``, which name their own.
        model_arguments: overrides of its arguments: those of the head (``head_pool``, ``head_dropout``), and
            those of the encoder that change no weights (``num_neighbors``, ``local_radius``, ``drop_path``);
            from scratch any.
        data: the labelled clouds (see ``open_labelled``); the training split is used.
        up: what points up in them; they are turned so that y does.
        classes: ``core`` or ``all``; None: core if the data names some.
        shots: clouds of each class to train on, drawn by ``seed`` from as many groups of near duplicates as
            possible; None: all.
        validation_share: share of the training split that is kept for validation; 0: none. It is drawn by
            ``seed``, before ``shots``; groups of near duplicates stay together. If the data has a validation
            split, all of that is used instead, whatever the share, and all of train is trained on.
        validate_steps: validate every so many steps. None: as often as the length of the run allows, at most
            twenty times: validations see at most a tenth of the clouds that are trained on, those of
            ``calibration_batches`` included. The last step is always validated.
        select: the weights that the run ends with: the ``last``, or those with the ``best`` validation score
            (of equal ones the earlier).
        trained_part: ``all``, or only the ``head``: the encoder stays the same, bit for bit. ``auto``: the
            head if the run begins with weights and the data have few labels (see
            ``finetuning.FEW_LABELS``), else all. A run says which it is, and stores and keeps it.
        layer_decay: below 1: each layer's learning rate is that of the layer above it times this (see
            ``layer_depths``).
        label_smoothing: share of a target that is spread over all classes.
        calibration_batches: for validation and at the end, BatchNorm's statistics are averaged over so many
            training batches. 0: as in the reference, the moving average over the steps, which in a short
            training lags behind the weights.
        cloud_points: points kept of each stored cloud, if it has so many.
        num_points: points that the model gets: in training chosen anew each time; in validation the first
            ones of each cloud, as in evaluations, or the farthest ones if training takes no others.
        augmentation: see ``Augmentation``.
    """

    task: Literal["classification", "parts"] = "classification"
    weights: str = "i2p_mae_tiny.shapes"
    model: str = ""
    model_arguments: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    up: UpAxis = DEFAULT_UP
    classes: Literal["core", "all"] | None = None
    shots: int | None = None
    validation_share: float = 0.1
    validate_steps: int | None = None
    select: Literal["last", "best"] = "last"
    trained_part: Literal["auto", "all", "head"] = "all"
    layer_decay: float = 1.0
    label_smoothing: float = 0.0
    calibration_batches: int = 8
    cloud_points: int = 2048
    num_points: int = 1024
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weights and not self.model:
            raise ValueError("weights and model are both empty; name weights to begin with, or a model")
        if self.weights and self.model:
            raise ValueError(
                f"model is {self.model!r}, but weights ({self.weights}) have one of their own; set "
                "weights to nothing to train from scratch, or leave model out"
            )
        for name in ("shots", "validate_steps"):
            check_at_least(self, name, 1)
        for name in ("cloud_points", "num_points"):
            check_at_least(self, name, 2)
        check_at_least(self, "calibration_batches", 0)
        check_above_zero(self, "layer_decay")
        if self.layer_decay > 1:
            raise ValueError(f"layer_decay is {self.layer_decay}, expected above 0 and at most 1")
        for name in ("validation_share", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 0 and below 1")
        if self.select == "best" and not self.validation_share:
            raise ValueError("select is 'best', but validation_share is 0; set it to 0.1, or select to last")
        if self.num_points > self.cloud_points:
            raise ValueError(
                f"num_points is {self.num_points}, more than cloud_points ({self.cloud_points}); "
                f"set num_points to {self.cloud_points} or lower, or cloud_points higher"
            )

    def keeping_choices(self, before: Self) -> Self:
        kept = super().keeping_choices(before)
        return kept.override(trained_part=before.trained_part) if self.trained_part == "auto" else kept
