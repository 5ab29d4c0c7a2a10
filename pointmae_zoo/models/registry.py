"""Names to models: families, their architectures, and the table of published weights.

This module knows no family. A family is a file or folder in `pointmae_zoo.models` that registers itself when
it is imported: its architectures with `register_model`, its published weights with `register_weights`. The
files and folders there are imported at the first question about names, and so are the entry points of the
group ``pointmae_zoo.families`` that other installed packages declare. To use a family from anywhere else,
import it.
"""

import dataclasses
import difflib
import fnmatch
import functools
import importlib
import pkgutil
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

from torch import Tensor, nn

from pointmae_zoo.models.encoder import EncoderConfig, PointEncoder
from pointmae_zoo.models.heads import (
    ClassifierConfig,
    PartSegmenterConfig,
    PointForClassification,
    PointForPartSegmentation,
)
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.models.pretraining_model import PretrainingModel
from pointmae_zoo.models.stored_config import KINDS, ModelConfig

ENTRY_POINTS = "pointmae_zoo.families"
"""The group of entry points by which an installed package offers families: ``name = "its.module"``."""
_MODELS = "pointmae_zoo.models"


class Paper(NamedTuple):
    """A paper to cite."""

    method: str
    venue: str
    identifier: str
    """Such as ``arXiv:2212.06785``."""
    url: str
    bibtex: str


ENCODER_PAPER = Paper(
    "Point-M2AE",
    "NeurIPS 2022",
    "arXiv:2205.14401",
    "https://arxiv.org/abs/2205.14401",
    """\
@inproceedings{zhang2022pointm2ae,
  title     = {Point-M2AE: Multi-scale Masked Autoencoders for Hierarchical Point Cloud Pre-training},
  author    = {Zhang, Renrui and Guo, Ziyu and Gao, Peng and Fang, Rongyao and Zhao, Bin and Wang, Dong and
               Qiao, Yu and Li, Hongsheng},
  booktitle = {NeurIPS},
  year      = {2022}
}""",
)
"""Of `PointEncoder`, which all families share."""


@dataclass(frozen=True)
class Family:
    """What the architectures of one method have in common."""

    name: str
    """Such as ``i2p_mae``; its recipes are called ``i2p_mae/...``."""
    paper: Paper | None = None
    """The method's; None: there is none to cite."""
    recipes: Path | None = None
    """A folder of YAML recipes, ``NAME.yaml``; None: the family has none."""


@dataclass(frozen=True)
class ReferencePreset:
    """What a checkpoint's weights can't tell, for one data set that they were trained on."""

    arguments: dict[str, Any]
    """Of the architecture."""
    preprocess: Preprocess = field(default_factory=lambda: Preprocess(num_points=2048))
    """What the code behind the checkpoint does with points."""


@dataclass(frozen=True)
class ReferenceCheckpoints:
    """One sort of checkpoint that others publish, and how it becomes weights here (`hub.convert`)."""

    source: str
    """Whose code writes them."""
    kind: str
    """What they become: one of `KINDS`."""
    marks: tuple[str, ...]
    """Keys that all of them have, and together no other sort. The first is one of the encoder's."""
    presets: Mapping[str, ReferencePreset]
    """By the name of the data set."""
    translate: Callable[[str, Tensor], tuple[str, Tensor] | None]
    """A key and its tensor -> ours, as in a model that has the encoder as ``encoder``. None: the key is
    unknown."""
    left_out: tuple[str, ...] = ()
    """Beginnings of keys that have no place here."""


@dataclass(frozen=True)
class Architecture:
    """What the name of an architecture stands for: default configurations, pre-training model, input."""

    family: Family
    encoder: EncoderConfig
    pretraining: Any
    """The family's own configuration, a dataclass."""
    pretraining_model: type[PretrainingModel]
    """Takes ``encoder`` and ``pretraining``."""
    preprocess: Preprocess
    classification: ClassifierConfig = field(default_factory=ClassifierConfig)
    part_segmentation: PartSegmenterConfig = field(default_factory=PartSegmenterConfig)
    summary: str = ""
    references: tuple[ReferenceCheckpoints, ...] = ()
    """The checkpoints of others that ``convert`` reads."""

    @property
    def paper(self) -> str:
        """Such as ``arXiv:2212.06785``; empty without a paper."""
        return "" if self.family.paper is None else self.family.paper.identifier

    @property
    def has_reference(self) -> bool:
        """Whether others publish checkpoints, which ``convert`` reads."""
        return bool(self.references)


@dataclass(frozen=True)
class Weights:
    """One set of published weights, ``architecture.tag``: part of the package, on the Hub, or both."""

    architecture: str
    tag: str
    sha256: str
    """Of ``model.safetensors``; checked at every load."""
    size: int
    """Of ``model.safetensors``, in bytes."""
    status: str
    """One of `STATUSES`: how its numbers compare with the paper's."""
    licence: str
    """SPDX identifier."""
    summary: str
    config_sha256: str
    """Of ``config.json``, whose arguments decide what the weights compute; checked as well."""
    repo: str | None = None
    """``org/repo`` on the Hub; None: not there."""
    commit: str | None = None
    """The Hub commit that is loaded, 40 hexadecimal digits: a branch can change, and a hash that is stored in
    the repository itself proves nothing."""
    encoder: str | None = None
    """Published weights whose encoder these use unchanged; the file then holds everything else."""

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
"""``reproduced``: the paper's data, and its numbers reached, which an evaluation shows. ``own-recipe``:
measured, but with another recipe. ``demo``: for trying things out."""

_ARCHITECTURES: dict[str, Architecture] = {}
_WEIGHTS: dict[str, Weights] = {}


def register_model(function: Callable[[], Architecture]) -> Callable[[], Architecture]:
    """Enter an architecture under the function's name; the first line of its docstring is its summary.

    Raises:
        ValueError: the name is taken, or another family has the family's name.
    """
    if not function.__module__.startswith(f"{_MODELS}."):
        _import_own_families()  # first, so that a newcomer can't take one of our names
    name = function.__name__
    if name in _ARCHITECTURES:
        raise ValueError(f"an architecture named {name!r} is registered already")
    entry = function()
    if any(entry.family.name == one.name and entry.family != one for one in _families()):
        raise ValueError(f"{name}: another family named {entry.family.name!r} is registered already")
    summary = (function.__doc__ or "").strip().partition("\n")[0]
    _ARCHITECTURES[name] = dataclasses.replace(entry, summary=summary)
    return function


@functools.cache
def _import_own_families() -> None:
    """Import every file and folder of `pointmae_zoo.models`; those that are families register themselves."""
    for module in pkgutil.iter_modules(importlib.import_module(_MODELS).__path__):
        importlib.import_module(f"{_MODELS}.{module.name}")


@functools.cache
def _import_families() -> None:
    """Import all families that need no import by hand: ours and those of other installed packages."""
    _import_own_families()
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except Exception as error:  # one broken package must not take the other families away
            warnings.warn(f"family {entry.name} ({entry.value}): not available: {error}", stacklevel=2)


def _families() -> list[Family]:
    return list({entry.family.name: entry.family for entry in _ARCHITECTURES.values()}.values())


def register_weights(weights: Weights) -> Weights:
    """Enter published weights. An architecture's name alone loads those that were entered first.

    Raises:
        ValueError: the name is taken, or there is no such architecture.
    """
    if weights.architecture not in _ARCHITECTURES:
        get_architecture(weights.architecture)  # maybe of a family that is not imported yet; raises if not
    if weights.name in _WEIGHTS:
        raise ValueError(f"weights named {weights.name!r} are registered already")
    _WEIGHTS[weights.name] = weights
    return weights


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """Architectures whose name matches a shell pattern (``"i2p*"``), sorted; ``pretrained``: with weights."""
    _import_families()
    with_weights = {entry.architecture for entry in _WEIGHTS.values()}
    names = [name for name in _ARCHITECTURES if not pretrained or name in with_weights]
    return sorted(fnmatch.filter(names, pattern))


def list_weights(pattern: str = "*") -> list[str]:
    """Published weights, ``architecture.tag``, whose name matches a shell pattern, sorted."""
    _import_families()
    return sorted(fnmatch.filter(_WEIGHTS, pattern))


def list_families() -> list[Family]:
    """All families, sorted by name."""
    _import_families()
    return sorted(_families(), key=lambda family: family.name)


def get_architecture(name: str) -> Architecture:
    """The entry of an architecture; raises a ValueError that suggests similar names."""
    _import_families()
    if name not in _ARCHITECTURES:
        raise ValueError(f"no architecture is called {name!r}{_suggest(name, list_models())}")
    return _ARCHITECTURES[name]


def get_weights(name: str) -> Weights:
    """The entry of published weights, by ``architecture.tag`` or by the bare architecture (its first).

    Raises:
        ValueError: no such weights; suggests similar names.
    """
    _import_families()
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


@overload
def create_model(
    name: str,
    kind: Literal["encoder"] = "encoder",
    *,
    preprocess: Preprocess | None = None,
    labels: tuple[str, ...] | None = None,
    provenance: dict[str, Any] | None = None,
    **overrides: Any,
) -> PointEncoder: ...


@overload
def create_model(
    name: str,
    kind: Literal["pretraining"],
    *,
    preprocess: Preprocess | None = None,
    labels: tuple[str, ...] | None = None,
    provenance: dict[str, Any] | None = None,
    **overrides: Any,
) -> PretrainingModel: ...


@overload
def create_model(
    name: str,
    kind: Literal["classification"],
    *,
    preprocess: Preprocess | None = None,
    labels: tuple[str, ...] | None = None,
    provenance: dict[str, Any] | None = None,
    **overrides: Any,
) -> PointForClassification: ...


@overload
def create_model(
    name: str,
    kind: Literal["part_segmentation"],
    *,
    preprocess: Preprocess | None = None,
    labels: tuple[str, ...] | None = None,
    provenance: dict[str, Any] | None = None,
    **overrides: Any,
) -> PointForPartSegmentation: ...


@overload
def create_model(
    name: str,
    kind: str,
    *,
    preprocess: Preprocess | None = None,
    labels: tuple[str, ...] | None = None,
    provenance: dict[str, Any] | None = None,
    **overrides: Any,
) -> Any: ...


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
        preprocess, labels, provenance: stored with the weights. Default: the architecture's input, no labels,
            no provenance.
        overrides: fields of the encoder's configuration or of the kind's, such as ``num_classes=12`` or
            ``depths=(2, 2)``.

    Returns:
        `PointEncoder`, the family's ``...ForPretraining``, `PointForClassification` or
        `PointForPartSegmentation`, in training mode, with ``.config``.

    Raises:
        ValueError: unknown name or kind (similar ones are suggested), or a value out of range.
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
    """Set a model's configuration, and that of the encoder inside it."""
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
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; known: {', '.join(known)}" if known else ""
