"""What an editor is told about the model of each kind: it is true, and mypy knows it.

``make types`` checks this file, too.
"""

import dataclasses
import inspect
from pathlib import Path
from typing import Any, Literal, assert_type, get_args, get_overloads, get_type_hints

import pytest

from pointmae_zoo import create_model, from_pretrained, save_pretrained
from pointmae_zoo.models.encoder import PointEncoder
from pointmae_zoo.models.heads import (
    ClassifierConfig,
    PartSegmenterConfig,
    PointForClassification,
    PointForPartSegmentation,
)
from pointmae_zoo.models.pretraining_model import PretrainingModel
from pointmae_zoo.models.stored_config import KINDS

SMALL: dict[str, Any] = {"num_tokens": (16, 8), "num_neighbors": (4, 4), "dims": (12, 24), "depths": (1, 1)}


def told(function: Any) -> dict[str, type]:
    """Kind -> the class that the overload for it names."""
    hints = [get_type_hints(one) for one in get_overloads(function)]
    return {kind: one["return"] for one in hints for kind in get_args(one["kind"]) if kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_what_is_told(kind: str, tmp_path: Path) -> None:
    model: Any = create_model("i2p_mae_tiny", kind, **SMALL)
    assert issubclass(type(model), told(create_model)[kind])
    loaded = from_pretrained(save_pretrained(model, tmp_path / "model"), kind=kind)
    assert issubclass(type(loaded), told(from_pretrained)[kind])


def test_the_overloads_know_every_keyword() -> None:
    keywords = set(inspect.signature(from_pretrained).parameters) - {"source", "kind", "head"}
    heads = {one.name for head in (ClassifierConfig, PartSegmenterConfig) for one in dataclasses.fields(head)}
    for overload in get_overloads(from_pretrained):
        (options,) = get_args(get_type_hints(overload)["options"])
        assert set(options.__annotations__) == keywords | heads | {"labels"}


def names_for_mypy(name: str, kind: Literal["encoder", "classification"], any_kind: str) -> None:
    """Never called: ``make types`` checks it."""
    assert_type(create_model(name), PointEncoder)
    assert_type(create_model(name, "encoder", depths=(1, 1)), PointEncoder)
    assert_type(create_model(name, "pretraining"), PretrainingModel)
    assert_type(create_model(name, kind="classification", num_classes=3), PointForClassification)
    assert_type(create_model(name, "part_segmentation"), PointForPartSegmentation)
    assert_type(create_model(name, kind), PointEncoder | PointForClassification)
    assert_type(create_model(name, any_kind), Any)
    assert_type(from_pretrained(name), Any)
    assert_type(from_pretrained(name, kind="encoder", device="cuda"), PointEncoder)
    assert_type(from_pretrained(name, kind="pretraining"), PretrainingModel)
    assert_type(from_pretrained(name, kind="classification", labels=["a"]), PointForClassification)
    assert_type(from_pretrained(name, kind="part_segmentation"), PointForPartSegmentation)
