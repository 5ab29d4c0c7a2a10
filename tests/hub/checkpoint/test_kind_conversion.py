"""One kind of model out of another: what is kept bit for bit, what is new, what is refused."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from pointmae_zoo import create_model, from_pretrained, save_pretrained
from pointmae_zoo.hub import CheckpointError
from pointmae_zoo.hub.checkpoint.model_folder import load_folder

POINTS = torch.randn(2, 300, 3, generator=torch.Generator().manual_seed(0))
SMALL: dict[str, Any] = {
    "num_tokens": (32, 16, 8),
    "num_neighbors": (8, 4, 4),
    "dims": (12, 24, 36),
    "depths": (1, 1, 1),
    "num_heads": 3,
    "stem_widths": (8, 16),
    "local_radius": (0.5, 0.0, 1.5),
    "pool": "mean",
}
OWN: dict[str, dict[str, Any]] = {
    "encoder": {},
    "pretraining": {"teacher_dim": 4, "num_views": 3, "target_level": 1, "decoder_depths": (1, 1)},
    "classification": {"num_classes": 3, "head_width": 16},
    "part_segmentation": {"num_parts": 4, "num_object_classes": 2},
}
NARROW = {"propagated_dims": (16, 8), "head_dims": (8, 8, 8), "label_dim": 4}


@pytest.fixture
def stored(tmp_path: Path) -> Any:
    """Writes a model of a kind and gives it with its folder; no two weights are equal, norms included."""

    def write(kind: str, **more: Any) -> tuple[Any, Path]:
        torch.manual_seed(0)
        own = OWN[kind] | (NARROW if kind == "part_segmentation" else {})
        model = create_model("i2p_mae_base", kind, **SMALL, **own, **more).eval()
        with torch.no_grad():
            for value in model.state_dict().values():
                if value.is_floating_point():
                    value.copy_(torch.rand_like(value) + 0.1)
        return model, save_pretrained(model, tmp_path / kind)

    return write


def encoder_of(model: Any) -> Any:
    return model if model.config.kind == "encoder" else model.encoder


@pytest.mark.parametrize("kind", ["pretraining", "classification", "part_segmentation"])
def test_an_encoder_comes_out_of_every_kind(kind: str, stored: Any) -> None:
    model, folder = stored(kind)
    encoder = from_pretrained(folder, kind="encoder")
    assert encoder.config.kind == "encoder" and not encoder.training
    expected = model.encoder.state_dict()
    assert list(encoder.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[key]) for key, value in encoder.state_dict().items())
    assert torch.equal(encoder.embed(POINTS), model.encoder.embed(POINTS))


@pytest.mark.parametrize("kind", ["encoder", "pretraining", "part_segmentation"])
def test_a_classifier_gets_a_new_head(kind: str, stored: Any, caplog: pytest.LogCaptureFixture) -> None:
    model, folder = stored(kind)
    caplog.set_level(logging.WARNING, "pointmae_zoo")
    torch.manual_seed(7)
    classifier = from_pretrained(folder, kind="classification", num_classes=5, head_width=16)
    (said,) = caplog.messages
    assert str(folder) in said and "new and random" in said and "classification head" in said
    assert "num_classes 5" in said and repr(kind) in said
    assert not any(part.training for part in classifier.modules())
    expected, found = encoder_of(model).state_dict(), classifier.encoder.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in found.items())
    for pool in ("max", "levels"):  # of the finer levels, too: it is the same encoder
        features = classifier.encoder.embed(POINTS, pool)
        assert torch.equal(features, encoder_of(model).embed(POINTS, pool))
    # The head is the one that create_model draws from the same seed.
    torch.manual_seed(7)
    fresh = create_model("i2p_mae_base", "classification", **SMALL, num_classes=5, head_width=16)
    assert all(
        torch.equal(value, fresh.head.state_dict()[key])
        for key, value in classifier.head.state_dict().items()
    )
    assert classifier(POINTS).shape == (2, 5) and classifier.config.arguments["num_classes"] == 5


def test_whatever_is_trained_in_a_classifier_gets_a_gradient(stored: Any) -> None:
    """Several processes wait for ever, or stop, for a parameter that never gets one."""
    _, folder = stored("pretraining")
    classifier = from_pretrained(folder, kind="classification", num_classes=5, head_width=16).train()
    classifier(POINTS).sum().backward()
    left_out = {name for name, one in classifier.named_parameters() if one.grad is None}
    assert left_out == {name for name, one in classifier.named_parameters() if not one.requires_grad}
    assert left_out == {f"encoder.norms.{level}.{what}" for level in (0, 1) for what in ("weight", "bias")}


def test_a_new_head_remembers_what_it_sits_on(stored: Any, tmp_path: Path) -> None:
    """The weights' own history is not that of the model that the encoder was taken from."""
    model, _ = stored("pretraining")
    folder = save_pretrained(model, tmp_path / "home of ada" / "parts", provenance={"steps": 12})
    classifier = from_pretrained(folder, kind="classification", num_classes=5, head_width=16)
    assert classifier.config.provenance == {
        "initialised_from": {
            "name": "parts",
            "kind": "pretraining",
            "new": "the classification head",
            "provenance": {"steps": 12},
        }
    }
    kept = from_pretrained(save_pretrained(classifier, tmp_path / "again"), num_classes=3).config.provenance
    assert kept["initialised_from"]["name"] == "again"
    assert kept["initialised_from"]["new"] == "the last layer of the classification head (head.8.*)"
    inner = kept["initialised_from"]["provenance"]["initialised_from"]
    assert inner["name"] == "parts"


def test_a_new_head_remembers_a_repository_and_its_commit(stored: Any) -> None:
    _, folder = stored("encoder")
    origin = {"repo": "ada/chairs", "commit": "5" * 40}
    head = {"num_classes": 5, "head_width": 16}
    made = load_folder(folder, kind="classification", head=head, origin=origin).config.provenance
    assert made["initialised_from"]["name"] == "ada/chairs@" + "5" * 40
    assert made["initialised_from"]["provenance"]["hub"] == origin


def test_what_got_a_new_head_can_be_saved_and_loaded(stored: Any, tmp_path: Path) -> None:
    _, folder = stored("pretraining")
    labels = ["a", "b", "c", "d"]
    classifier = from_pretrained(folder, kind="classification", labels=labels, head_width=16)
    save_pretrained(classifier, tmp_path / "again")
    again = from_pretrained(tmp_path / "again")
    assert again.config.kind == "classification" and again.config.labels == tuple(labels)
    assert torch.equal(again(POINTS), classifier(POINTS))
    assert torch.equal(again.encoder.embed(POINTS, "levels"), classifier.encoder.embed(POINTS, "levels"))


@pytest.mark.parametrize("kind", ["encoder", "pretraining"])
def test_a_part_segmenter_gets_a_new_head(kind: str, stored: Any, caplog: pytest.LogCaptureFixture) -> None:
    model, folder = stored(kind)
    caplog.set_level(logging.WARNING, "pointmae_zoo")
    torch.manual_seed(3)
    made = from_pretrained(folder, kind="part_segmentation", **OWN["part_segmentation"], **NARROW)
    assert "part_segmentation head (num_parts 4;" in caplog.text
    expected = encoder_of(model).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in made.encoder.state_dict().items())
    assert len(made.encoder.state_dict()) == len(expected)
    torch.manual_seed(3)
    fresh = create_model("i2p_mae_base", "part_segmentation", **SMALL, **OWN["part_segmentation"], **NARROW)
    for key, value in fresh.state_dict().items():
        assert key.startswith("encoder.") or torch.equal(value, made.state_dict()[key])
    assert made(POINTS, torch.tensor([0, 1])).shape == (2, 300, 4)


def test_another_number_of_classes(stored: Any, caplog: pytest.LogCaptureFixture) -> None:
    model, folder = stored("classification", labels=("a", "b", "c"))
    caplog.set_level(logging.WARNING, "pointmae_zoo")
    torch.manual_seed(1)
    other = from_pretrained(folder, num_classes=7)
    (said,) = caplog.messages
    assert "last layer of the classification head (head.8.*)" in said
    assert "num_classes was 3, now 7" in said
    assert other.config.labels is None and other(POINTS).shape == (2, 7)
    expected = model.state_dict()
    changed = {key for key, value in other.state_dict().items() if not torch.equal(value, expected[key])}
    assert changed == {"head.8.weight", "head.8.bias"}
    torch.manual_seed(2)
    assert not torch.equal(from_pretrained(folder, num_classes=7).head[8].weight, other.head[8].weight)
    torch.manual_seed(1)
    assert torch.equal(from_pretrained(folder, num_classes=7).head[8].weight, other.head[8].weight)


def test_what_stays_the_same_is_not_new(stored: Any, caplog: pytest.LogCaptureFixture) -> None:
    model, folder = stored("classification", labels=("a", "b", "c"))
    caplog.set_level(logging.WARNING, "pointmae_zoo")
    expected = model.state_dict()
    for given in ({"num_classes": 3}, {"labels": ["a", "b", "c"]}, {"head_dropout": 0.1}, {"head_width": 16}):
        same = from_pretrained(folder, **given)
        assert same.config.labels == ("a", "b", "c")
        assert all(torch.equal(value, expected[key]) for key, value in same.state_dict().items())
    assert from_pretrained(folder, head_dropout=0.1).head[3].p == 0.1
    assert not caplog.messages


def test_names_for_outputs(stored: Any, caplog: pytest.LogCaptureFixture) -> None:
    model, folder = stored("classification")
    caplog.set_level(logging.WARNING, "pointmae_zoo")
    named = from_pretrained(folder, labels=("a", "b", "c"))
    assert named.config.labels == ("a", "b", "c") and torch.equal(named(POINTS), model(POINTS))
    assert not caplog.messages
    save_pretrained(named, folder)
    other = from_pretrained(folder, labels=("x", "y", "z"))
    assert other.config.labels == ("x", "y", "z") and "its outputs have other labels now" in caplog.text
    assert not torch.equal(other.head[8].weight, model.head[8].weight)
    assert torch.equal(other.head[0].weight, model.head[0].weight)


def test_another_head_is_new_as_a_whole(stored: Any, caplog: pytest.LogCaptureFixture) -> None:
    model, folder = stored("classification")
    caplog.set_level(logging.WARNING, "pointmae_zoo")
    # max and mean give the same width: shapes alone would not tell.
    one = from_pretrained(folder, head_pool="max")
    assert "whole classification head (head_pool was mean,max, now max)" in caplog.text
    save_pretrained(one, folder)
    two = from_pretrained(folder, head_pool="mean")
    for other in (one, two):
        assert torch.equal(other.encoder.embed(POINTS), model.encoder.embed(POINTS))
        assert not torch.equal(other.head[4].weight, model.head[4].weight)
    assert not torch.equal(two.head[0].weight, one.head[0].weight)


@pytest.mark.parametrize(
    ("kind", "asked", "error", "words"),
    [
        ("encoder", {"kind": "pretraining"}, CheckpointError, "has no decoder, so it can't become 'pretrain"),
        ("classification", {"kind": "pretraining"}, CheckpointError, "has no decoder, so it can't become"),
        ("classification", {"kind": "part_segmentation"}, CheckpointError, "part_segmentation reads every"),
        ("encoder", {"kind": "encodr"}, ValueError, "no kind is called 'encodr'"),
        (
            "encoder",
            {"num_classes": 3},
            TypeError,
            "num_classes: a model of kind 'encoder' has no head.*kind=",
        ),
        ("pretraining", {"kind": "encoder", "labels": ["a"]}, TypeError, "labels: .*'encoder' has no head"),
        (
            "encoder",
            {"kind": "classification", "num_clases": 3},
            TypeError,
            "'num_clases'; did you mean num_c",
        ),
        (
            "encoder",
            {"kind": "classification", "colour": 3},
            TypeError,
            "'colour'; known: labels, num_classes",
        ),
        ("encoder", {"kind": "classification", "num_classes": 0}, ValueError, "num_classes: from 1"),
        ("encoder", {"kind": "classification", "num_classes": "3"}, TypeError, "num_classes: a whole number"),
        (
            "encoder",
            {"kind": "classification", "num_classes": 2, "labels": ["a"]},
            ValueError,
            "1 names, but",
        ),
        ("encoder", {"kind": "classification", "labels": "abc"}, TypeError, "labels: a list of names"),
        ("encoder", {"kind": "classification", "dims": (6, 6)}, TypeError, "no argument 'dims'"),
    ],
)
def test_what_cannot_be_is_refused(
    kind: str, asked: dict[str, Any], error: type[Exception], words: str, stored: Any
) -> None:
    _, folder = stored(kind)
    with pytest.raises(error, match=words) as caught:
        from_pretrained(folder, **asked)
    assert "\n" not in str(caught.value)


def test_a_classifier_s_encoder_still_makes_a_classifier(stored: Any, tmp_path: Path) -> None:
    model, folder = stored("classification")
    save_pretrained(from_pretrained(folder, kind="encoder"), tmp_path / "encoder")
    made = from_pretrained(tmp_path / "encoder", kind="classification", num_classes=2)
    assert torch.equal(made.encoder.embed(POINTS), model.encoder.embed(POINTS))
    with pytest.raises(CheckpointError, match="use a pre-training model or its encoder"):
        from_pretrained(tmp_path / "encoder", kind="part_segmentation")


def test_bundled_weights_become_a_classifier() -> None:
    classifier = from_pretrained("i2p_mae_tiny.shapes", kind="classification", num_classes=4)
    encoder = from_pretrained("i2p_mae_tiny.shapes")
    assert classifier(POINTS).shape == (2, 4)
    # The coarsest level's tokens are what a classifier reads.
    expected = encoder.forward_features(POINTS).features[-1]
    assert torch.equal(classifier.encoder.forward_features(POINTS).features[-1], expected)
