"""The pre-training recipe: every choice of a run, typed, documented, and stored with it."""

import dataclasses
import difflib
import json
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pointmae_zoo.data.augment import Augmentation

_LEAST = {
    "procedural_clouds": 0,
    "procedural_seed": 0,
    "cloud_points": 1,
    "num_points": 2,
    "view_size": 1,
    "view_cover": 1,
    "steps": 1,
    "batch_size": 1,
    "final_learning_rate": 0,
    "warmup_steps": 0,
    "weight_decay": 0,
    "clip_norm": 0,
    "seed": 0,
    "checkpoint_steps": 1,
    "log_steps": 1,
}


@dataclass(frozen=True)
class PretrainRecipe:
    """All that determines a pre-training run. The defaults suit ``i2p_mae_tiny``; the
    recipe of its bundled weights is ``examples/recipes/i2p_mae_tiny.demo.json``.

    Args:
        model: architecture name.
        model_arguments: overrides of its arguments.
        data: ``.npz`` / ``.npy`` files of clouds; only their ``train`` and ``unlabelled`` splits are used.
        procedural_clouds: how many procedural shapes to add; None: as many as the files hold.
        procedural_seed: which procedural shapes; apart from ``seed``, so that runs of several seeds share the
            teacher's targets.
        cloud_points: points kept of each stored cloud; its depth views are rendered from them.
        num_points: points that the model sees, another choice of them each time.
        teacher: timm model name, or ``torchvision/NAME``; empty for the 3D loss alone.
        teacher_weights: ``pretrained``, ``random`` or a local file.
        teacher_strides: pixel strides of a convolutional teacher's feature maps.
        views: depth views of each cloud: 3 along the axes, 6 with three oblique ones.
        view_size: rows and columns of a view.
        view_cover: pixels that a point covers, along a side.
        augmentation: see ``Augmentation``.
        steps: optimizer steps.
        batch_size: clouds in a step.
        learning_rate: peak.
        final_learning_rate: at the end of the cosine, and at the start of the warm-up.
        warmup_steps: linear warm-up.
        weight_decay: AdamW's, on matrices only (see ``parameter_groups``).
        betas: AdamW's.
        clip_norm: largest gradient norm; 0 for no clipping.
        precision: ``float32``, or ``bfloat16`` autocast (geometry and losses stay float32).
        seed: of weights, data order, augmentation and masks.
        checkpoint_steps, checkpoint_minutes: write a checkpoint after so many steps or minutes, whichever is
            first.
        log_steps: a line in ``metrics.jsonl`` every so many steps (means over them).
    """

    model: str = "i2p_mae_tiny"
    model_arguments: dict[str, Any] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    procedural_clouds: int | None = None
    procedural_seed: int = 0
    cloud_points: int = 2048
    num_points: int = 1024
    teacher: str = "mobilenetv2_100"
    teacher_weights: str = "pretrained"
    teacher_strides: tuple[int, ...] = (8, 16)
    views: int = 6
    view_size: int = 112
    view_cover: int = 3
    augmentation: Augmentation = field(default_factory=Augmentation)
    steps: int = 2400
    batch_size: int = 64
    learning_rate: float = 3e-3
    final_learning_rate: float = 1e-6
    warmup_steps: int = 100
    weight_decay: float = 0.05
    betas: tuple[float, ...] = (0.9, 0.95)
    clip_norm: float = 5.0
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    checkpoint_steps: int = 500
    checkpoint_minutes: float = 5.0
    log_steps: int = 10

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not (value >= least and math.isfinite(value)):
                raise ValueError(f"recipe: {name} is {value}, expected at least {least}")
        for name in ("learning_rate", "checkpoint_minutes"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"recipe: {name} is {value}, expected above 0")
        if self.view_cover % 2 == 0:
            raise ValueError(f"recipe: view_cover is {self.view_cover}, expected an odd number")
        if wrong := [stride for stride in self.teacher_strides if stride < 1]:
            raise ValueError(f"recipe: teacher_strides holds {wrong[0]}, expected above 0")
        if self.num_points > self.cloud_points:
            raise ValueError(
                f"recipe: num_points is {self.num_points}, more than cloud_points ({self.cloud_points})"
            )
        if self.views not in (3, 6):
            raise ValueError(f"recipe: views is {self.views}, expected 3 or 6")
        if len(self.betas) != 2:
            raise ValueError(f"recipe: betas has {len(self.betas)} values, expected 2")
        if outside := [beta for beta in self.betas if not 0 <= beta < 1]:
            raise ValueError(f"recipe: betas holds {outside[0]}, expected at least 0 and below 1")
        if not self.data and not self.procedural_clouds:
            raise ValueError(
                "recipe: neither data files nor procedural_clouds; name at least one source of clouds"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in ``recipe.json``."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PretrainRecipe":
        """Strict: raises ValueError that names the unknown or ill-typed field."""
        return _from_dict(cls, values, "recipe")

    def override(self, **changes: Any) -> "PretrainRecipe":
        """A copy with some fields changed; ``augmentation={"scale": 1.2}`` changes that field of it only."""
        values = self.to_dict()
        for name, value in changes.items():
            nested = (
                isinstance(value, dict) and isinstance(values.get(name), dict) and name != "model_arguments"
            )
            values[name] = {**values[name], **value} if nested else value
        return PretrainRecipe.from_dict(values)


def read_recipe(path: str | Path) -> PretrainRecipe:
    """Read a recipe from JSON.

    Raises:
        FileNotFoundError, ValueError: no such file, no JSON object, or a wrong field; names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such recipe file")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected an object of recipe fields")
    try:
        return PretrainRecipe.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_setting(text: str) -> dict[str, Any]:
    """``"steps=500"`` or ``"augmentation.scale=1.2"`` -> what ``PretrainRecipe.override`` takes. Values are
    JSON, or else text.

    Raises:
        ValueError: no ``=`` in it.
    """
    name, separator, written = text.partition("=")
    if not separator or not name:
        raise ValueError(f"{text!r}: expected FIELD=VALUE, for example steps=500")
    try:
        value = json.loads(written)
    except ValueError:
        value = written
    for part in reversed(name.strip().split(".")[1:]):
        value = {part: value}
    return {name.strip().split(".")[0]: value}


def _from_dict(cls: Any, values: dict[str, Any], where: str) -> Any:
    known = {one.name: one for one in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    arguments = {}
    for name, value in values.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"its fields are {', '.join(known)}"
            raise ValueError(f"{where}: no field {name!r}; {hint}")
        arguments[name] = _coerce(value, hints[name], f"{where}: {name}")
    return cls(**arguments)


def _coerce(value: Any, hint: Any, where: str) -> Any:
    """The value as the annotated type, from what JSON can hold; never text to number or number to text."""
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        return _coerce(value, next(one for one in options if one is not type(None)), where)
    if origin is Literal:
        if value in typing.get_args(hint):
            return value
        raise ValueError(f"{where} is {value!r}, expected {' or '.join(map(repr, typing.get_args(hint)))}")
    if origin is tuple:
        if isinstance(value, (list, tuple)):
            return tuple(_coerce(one, typing.get_args(hint)[0], where) for one in value)
        raise ValueError(f"{where} is {value!r}, expected a list")
    if origin is dict:
        if isinstance(value, dict):
            return dict(value)
        raise ValueError(f"{where} is {value!r}, expected an object")
    if dataclasses.is_dataclass(hint):
        if isinstance(value, dict):
            return _from_dict(hint, value, where)
        raise ValueError(f"{where} is {value!r}, expected an object")
    fits = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not fits:
        raise ValueError(f"{where} is {value!r}, expected {hint.__name__}")
    return value
