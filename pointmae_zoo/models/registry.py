"""Names -> models: the architectures of the zoo and the table of published weights.

A new architecture is one function here, decorated with `register_model`; everything else finds it through
`list_models`.
"""

import dataclasses
import difflib
import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from pointmae_zoo.models.config import KINDS, ModelConfig
from pointmae_zoo.models.encoder import EncoderConfig, PointEncoder
from pointmae_zoo.models.heads import (
    ClassifierConfig,
    PartSegmenterConfig,
    PointForClassification,
    PointForPartSegmentation,
)
from pointmae_zoo.models.i2p_mae import I2PMAEConfig, I2PMAEForPretraining
from pointmae_zoo.models.joint_mae.joint_config import JointMAEConfig
from pointmae_zoo.models.joint_mae.joint_network import JointMAEForPretraining
from pointmae_zoo.models.preprocess import Preprocess


@dataclass(frozen=True)
class Architecture:
    """Everything that a name stands for: default configurations, the pre-training model, the input."""

    encoder: EncoderConfig
    pretraining: I2PMAEConfig | JointMAEConfig
    pretraining_model: type[I2PMAEForPretraining] | type[JointMAEForPretraining]
    preprocess: Preprocess
    paper: str
    classification: ClassifierConfig = field(default_factory=ClassifierConfig)
    part_segmentation: PartSegmenterConfig = field(default_factory=PartSegmenterConfig)
    summary: str = ""
    has_reference: bool = False
    """Whether others publish checkpoints of it, which ``convert`` takes."""


@dataclass(frozen=True)
class Weights:
    """One set of published weights, ``architecture.tag``. They come with the package or lie on the Hub, or
    both."""

    architecture: str
    tag: str
    sha256: str
    """Of ``model.safetensors``; checked at every load."""
    size: int
    """Of ``model.safetensors``, in bytes."""
    status: str
    """One of `STATUSES`: what the numbers of its card allow to say."""
    licence: str
    """SPDX identifier."""
    summary: str
    config_sha256: str
    """Of ``config.json``, whose arguments decide what the same weights compute; checked likewise."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The main numbers of its card, in percent."""
    repo: str | None = None
    """``org/repo`` on the Hub; None: not there."""
    commit: str | None = None
    """The Hub commit that is loaded, 40 hexadecimal digits: a branch may move, and a hash beside the file in
    the same repository proves nothing."""
    encoder: str | None = None
    """Other published weights whose encoder these use as it is: their file holds all but the encoder."""

    def __post_init__(self) -> None:
        name = self.name
        if self.status not in STATUSES:
            raise ValueError(f"{name}: status: one of {', '.join(STATUSES)} expected, got {self.status!r}")
        for what, sha256 in (("sha256", self.sha256), ("config_sha256", self.config_sha256)):
            if not re.fullmatch(r"[0-9a-f]{64}", sha256):
                raise ValueError(f"{name}: {what}: 64 hexadecimal digits expected, got {sha256!r}")
        if self.size < 1:
            raise ValueError(f"{name}: size: bytes expected, got {self.size}")
        if (self.repo is None) != (self.commit is None):
            raise ValueError(f"{name}: repo and commit: both expected, or neither")
        if self.commit is not None and not re.fullmatch(r"[0-9a-f]{40}", self.commit):
            raise ValueError(f"{name}: commit: 40 hexadecimal digits expected, got {self.commit!r}")

    @property
    def name(self) -> str:
        return f"{self.architecture}.{self.tag}"


STATUSES = ("reproduced", "own-recipe", "demo")
"""What weights have earned: the paper's numbers with the paper's data; honest numbers with a recipe of our
own; none that count."""

_ARCHITECTURES: dict[str, Architecture] = {}
_WEIGHTS: dict[str, Weights] = {}


def register_model(function: Callable[[], Architecture]) -> Callable[[], Architecture]:
    """Enter an architecture under the function's name; the first line of its docstring is its summary.

    Raises:
        ValueError: the name is taken.
    """
    name = function.__name__
    if name in _ARCHITECTURES:
        raise ValueError(f"an architecture named {name!r} is registered already")
    summary = (function.__doc__ or "").strip().partition("\n")[0]
    _ARCHITECTURES[name] = dataclasses.replace(function(), summary=summary)
    return function


@register_model
def i2p_mae_base() -> Architecture:
    """I2P-MAE at the paper's size: 12.7 M parameters, 2,048 points, 512/256/64 tokens."""
    return Architecture(
        encoder=EncoderConfig(),
        pretraining=I2PMAEConfig(),
        pretraining_model=I2PMAEForPretraining,
        preprocess=Preprocess(num_points=2048),
        paper="arXiv:2212.06785",
        has_reference=True,
    )


@register_model
def i2p_mae_tiny() -> Architecture:
    """I2P-MAE made for CPUs: 1.8 M parameters, 1,024 points, 128/32 tokens."""
    return Architecture(
        encoder=EncoderConfig(
            num_tokens=(128, 32),
            num_neighbors=(16, 8),
            dims=(96, 192),
            depths=(2, 3),
            stem_widths=(64, 128),
            local_radius=(0.0, 0.0),
            embed_hidden=False,
            pool="levels",
        ),
        pretraining=I2PMAEConfig(
            mask_ratio=0.7,
            target_level=0,
            teacher_dim=128,
            num_views=6,
            target_points="tokens",
            read_mode="bilinear",
            standardize_saliency=True,
        ),
        pretraining_model=I2PMAEForPretraining,
        preprocess=Preprocess(num_points=1024),
        paper="arXiv:2212.06785",
    )


@register_model
def joint_mae_base() -> Architecture:
    """Joint-MAE at the size of I2P-MAE's: 22.2 M parameters, 2,048 points, 512/256/64 tokens.

    The paper says that both modalities are embedded hierarchically; the sizes are ours, and so is adding mean
    and maximum for tasks.
    """
    return Architecture(
        encoder=EncoderConfig(depths=(0, 0, 12), embed_hidden=False, pool="mean+max"),
        pretraining=JointMAEConfig(),
        pretraining_model=JointMAEForPretraining,
        classification=ClassifierConfig(head_pool="mean+max"),
        preprocess=Preprocess(num_points=2048),
        paper="arXiv:2302.14007",
    )


@register_model
def joint_mae_tiny() -> Architecture:
    """Joint-MAE made for CPUs: 2.0 M parameters, 1,024 points, 128/32 tokens.

    All sizes are ours.
    """
    return Architecture(
        encoder=EncoderConfig(
            num_tokens=(128, 32),
            num_neighbors=(16, 8),
            dims=(96, 192),
            depths=(0, 4),
            stem_widths=(64, 128),
            local_radius=(0.0, 0.0),
            embed_hidden=False,
            pool="levels",
        ),
        pretraining=JointMAEConfig(
            image_size=112,
            cover=3,
            image_dims=(48, 96, 192),
            target_level=0,
            filled_gaps=11,
            weight_3d=10.0,  # its gradient is then about as large as those of the other two
        ),
        pretraining_model=JointMAEForPretraining,
        classification=ClassifierConfig(head_pool="mean+max"),
        preprocess=Preprocess(num_points=1024),
        paper="arXiv:2302.14007",
    )


def register_weights(weights: Weights) -> Weights:
    """Enter published weights. The first of an architecture's are what its bare name loads.

    Raises:
        ValueError: the name is taken, or there is no such architecture.
    """
    get_architecture(weights.architecture)
    if weights.name in _WEIGHTS:
        raise ValueError(f"weights named {weights.name!r} are registered already")
    _WEIGHTS[weights.name] = weights
    return weights


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """Architectures whose name matches a shell pattern (``"i2p*"``), sorted; ``pretrained``: with weights."""
    with_weights = {entry.architecture for entry in _WEIGHTS.values()}
    names = [name for name in _ARCHITECTURES if not pretrained or name in with_weights]
    return sorted(fnmatch.filter(names, pattern))


def list_weights(pattern: str = "*") -> list[str]:
    """Published weights, ``architecture.tag``, whose name matches a shell pattern, sorted."""
    return sorted(fnmatch.filter(_WEIGHTS, pattern))


def get_architecture(name: str) -> Architecture:
    """The entry of an architecture; raises a ValueError that suggests the near names."""
    if name not in _ARCHITECTURES:
        raise ValueError(f"no architecture is called {name!r}{_suggest(name, list_models())}")
    return _ARCHITECTURES[name]


def get_weights(name: str) -> Weights:
    """The entry of published weights, by ``architecture.tag`` or by the bare architecture (its first).

    Raises:
        ValueError: no such weights; suggests the near names.
    """
    if name in _WEIGHTS:
        return _WEIGHTS[name]
    for entry in _WEIGHTS.values():
        if entry.architecture == name:
            return entry
    if name in _ARCHITECTURES:
        convert = ""
        if get_architecture(name).has_reference:
            convert = ", 'pointmae-zoo convert' turns your copy of a reference checkpoint into weights for it"
        raise ValueError(
            f"{name} has no published weights yet; create_model({name!r}) gives it with random ones, "
            f"'pointmae-zoo pretrain' makes your own{convert}"
        )
    known = [*list_weights(), *list_models(pretrained=True)]
    raise ValueError(f"no weights are called {name!r}{_suggest(name, known)}")


def create_model(
    name: str,
    kind: str = "encoder",
    *,
    preprocess: Preprocess | None = None,
    labels: tuple[str, ...] | None = None,
    provenance: dict[str, Any] | None = None,
    **overrides: Any,
) -> Any:
    """Build a model with random weights, drawn from torch's global seed.

    Args:
        name: an architecture, as `list_models` gives them.
        kind: ``encoder``, ``pretraining``, ``classification`` or ``part_segmentation``.
        preprocess, labels, provenance: what to store beside the weights; default: the architecture's input,
            no names, nothing.
        overrides: any field of the encoder's configuration or of the kind's, such as ``num_classes=12`` or
            ``depths=(2, 2)``.

    Returns:
        `PointEncoder`, the architecture's ``...ForPretraining``, `PointForClassification` or
        `PointForPartSegmentation`, in training mode, with ``.config``.

    Raises:
        ValueError: unknown name or kind (near ones are suggested), or a value out of range.
        TypeError: an unknown or ill-typed override, by name.
    """
    architecture = get_architecture(name)
    if kind not in KINDS:
        raise ValueError(f"no kind is called {kind!r}{_suggest(kind, list(KINDS))}")
    encoder: Any = architecture.encoder
    own: Any = None if kind == "encoder" else getattr(architecture, kind)
    if kind == "classification" and overrides.get("head_pool", own.head_pool) != "levels":
        encoder = dataclasses.replace(encoder, norm_levels="last")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in overrides.items()}
    known = [*_field_names(encoder), *(_field_names(own) if own else ())]
    for key in values:
        if key not in known:
            raise TypeError(f"{name} ({kind}) has no argument {key!r}{_suggest(key, known)}")
    in_encoder = _field_names(encoder)
    encoder = dataclasses.replace(encoder, **{key: values[key] for key in values if key in in_encoder})
    arguments = dataclasses.asdict(encoder)
    model: nn.Module
    if own is None:
        model = PointEncoder(encoder)
    else:
        own = dataclasses.replace(own, **{key: values[key] for key in values if key not in in_encoder})
        arguments.update(dataclasses.asdict(own))
        kinds: dict[str, Callable[[Any, Any], nn.Module]] = {
            "pretraining": architecture.pretraining_model,
            "classification": PointForClassification,
            "part_segmentation": PointForPartSegmentation,
        }
        model = kinds[kind](encoder, own)
    config = ModelConfig(
        name, kind, arguments, preprocess or architecture.preprocess, labels, dict(provenance or {})
    )
    set_config(model, config)
    return model


def set_config(model: nn.Module, config: ModelConfig) -> None:
    """Give a model its configuration, and the encoder inside it the part that lets it stand alone."""
    model.config = config  # type: ignore[assignment]
    if config.kind != "encoder":
        model.encoder.config = encoder_config(config)  # type: ignore[union-attr]


def encoder_config(config: ModelConfig) -> ModelConfig:
    """The configuration of the encoder inside a model of any kind."""
    names = _field_names(EncoderConfig)
    arguments = {key: value for key, value in config.arguments.items() if key in names}
    return dataclasses.replace(config, kind="encoder", arguments=arguments, labels=None)


def _field_names(config: Any) -> tuple[str, ...]:
    return tuple(item.name for item in dataclasses.fields(config))


def _suggest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; known: {', '.join(known)}" if known else ""


# Only what exists is listed.
register_weights(
    Weights(
        architecture="i2p_mae_tiny",
        tag="shapes",
        sha256="932996ad1e24732cdcb53d0f67f8741fc6745e39d28505917012d5b6d5155549",
        size=3630776,
        config_sha256="c72048bd5fdfc2705ae455fa7e3dd348048d5c7aa9e2a86f620d58de8be95314",
        status="own-recipe",
        licence="Apache-2.0",
        summary="encoder, pre-trained on CC0 and procedural shapes (recipe pretrain_tiny)",
        metrics={"linear probe, 24 classes": 76.2, "5-way 10-shot": 81.8},
    )
)
register_weights(
    Weights(
        architecture="i2p_mae_tiny",
        tag="shapes24",
        sha256="748c7a286139f075e3fc37124b5bee03cf1103577e9652c6860f17e0d7a90d15",
        size=37536,
        config_sha256="1ab025d6b6e04fdcd44cd4d8858cb5fc3f6fc604f3327144729772d2f297b7d3",
        encoder="i2p_mae_tiny.shapes",
        status="own-recipe",
        licence="Apache-2.0",
        summary="classifier of 24 kinds of low-poly objects, a linear head on i2p_mae_tiny.shapes",
        metrics={"accuracy, 24 classes": 77.2},
    )
)
register_weights(
    Weights(
        architecture="joint_mae_tiny",
        tag="shapes",
        sha256="a9a5003df3614a571335de227e30eb9a0d0c37713dc5002161aaab7e729e73ef",
        size=4051992,
        config_sha256="24fc7b165c7cbe298b5adb55fbddb2bec64dd4b5b14bbfbab5dcafcab89995d6",
        status="own-recipe",
        licence="Apache-2.0",
        summary="encoder, pre-trained on CC0 and procedural shapes (recipe joint_mae/pretrain_tiny)",
        metrics={"linear probe, 24 classes": 69.8, "5-way 10-shot": 77.6},
    )
)
