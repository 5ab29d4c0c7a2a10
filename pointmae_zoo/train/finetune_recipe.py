"""The recipe of a fine-tuning: every choice of it besides those that all training has."""

from dataclasses import dataclass, field
from typing import Any, Literal

from pointmae_zoo.datasets.augmentation import Augmentation
from pointmae_zoo.train.recipe import TrainingRecipe, check_above_zero, check_at_least


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(TrainingRecipe):
    """All that determines a fine-tuning run, besides what ``TrainingRecipe`` says.

    Args:
        task: ``classification`` of clouds, or ``parts``: segmentation into the parts of known classes.
        weights: what to begin with: a published name, a repository of the Hub, or a folder; empty: nothing,
            the model of ``model`` is trained from scratch.
        model: architecture to train from scratch; empty with ``weights``, which say it themselves.
        model_arguments: overrides of its arguments: of the head (``head_pool``, ``head_dropout``), and of the
            encoder those that change no weights (``num_neighbors``, ``local_radius``, ``drop_path``); from
            scratch any.
        data: where labelled clouds come from (see ``open_labelled``); the training split is used.
        classes: ``core`` or ``all``; None: core if the data names some.
        shots: clouds of each class to train on, drawn by ``seed``, from as many groups of near duplicates as
            there are; None: all.
        validation_share: of the training split, held out to look at how the run does; 0: none. It is drawn by
            ``seed``, before ``shots``, with groups of near duplicates kept together. Where the data states a
            validation split, that is looked at, whole, whatever the share, and all of train is trained on.
        validate_steps: look at it every so many steps; None: twenty times over the run. It is always looked
            at after the last step.
        select: the weights that the run ends with: its ``last``, or those that did ``best`` in validation
            (of equal ones the earlier).
        trained_part: ``all``, or the ``head`` alone: the encoder stays as it is, bit for bit.
        layer_decay: below 1: each layer's learning rate is that of the layer above it times this (see
            ``layer_depths``).
        label_smoothing: share of a target that goes to all classes alike.
        calibration_batches: BatchNorm's statistics that a trained model is used with are the average over so
            many training batches, shown to it when it is looked at and in the end. 0: as in the reference,
            the moving average over the steps, which in a short training lags behind the weights.
        cloud_points: points kept of each stored cloud, if it has so many.
        num_points: points that the model sees: in training another choice of them each time; in validation
            the first ones of each cloud, as in evaluations, or the farthest, if training takes no others.
        augmentation: see ``Augmentation``.
    """

    task: Literal["classification", "parts"] = "classification"
    weights: str = "i2p_mae_tiny.shapes"
    model: str = ""
    model_arguments: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    classes: Literal["core", "all"] | None = None
    shots: int | None = None
    validation_share: float = 0.1
    validate_steps: int | None = None
    select: Literal["last", "best"] = "last"
    trained_part: Literal["all", "head"] = "all"
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
