"""Heads of our own: all levels pooled, and one linear layer on standardised features."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pointmae_zoo import create_model, from_pretrained, save_pretrained
from pointmae_zoo.models.encoder import evaluating
from samples.models import POINTS, SMALL, small

LINEAR = {"num_classes": 3, "head_pool": "levels", "head_width": 0}


@pytest.mark.parametrize("pool", ["mean+max", "mean,max", "levels"])
def test_the_head_reads_what_embed_gives(pool: str) -> None:
    model = small(kind="classification", head_pool=pool, head_width=8)
    with evaluating(model):
        tokens = model.encoder.forward_features(POINTS)
        features = model.forward_head(tokens, pre_logits=True)
        assert torch.equal(model.forward_head(tokens), model(POINTS))
    torch.testing.assert_close(features, model.encoder.embed(POINTS, pool), rtol=0, atol=1e-6)


def test_a_linear_head_is_linear_in_standardised_features() -> None:
    model = small(kind="classification", head_dropout=0.0, drop_path=0.0, **LINEAR).train()
    points = torch.randn(12, 40, 3)
    pooled = model.forward_head(model.encoder.forward_features(points), pre_logits=True)
    features = pooled.detach().double().numpy()
    z = (features - features.mean(0)) / np.sqrt(features.var(0) + model.head[0].eps)
    last = model.get_classifier()
    expected = z @ last.weight.detach().double().numpy().T + last.bias.detach().double().numpy()
    np.testing.assert_allclose(model(points).detach().numpy(), expected, rtol=0, atol=1e-4)
    assert len(model.head) == 3


@pytest.mark.parametrize("width", [0, 8])
def test_all_that_it_reads_is_trained(width: int) -> None:
    """Norms of finer levels are there and learn, whether the encoder is new or was pre-trained."""
    new = small(kind="classification", **{**LINEAR, "head_width": width}).train()
    F.cross_entropy(new(POINTS), torch.tensor([0, 2])).backward()
    assert [name for name, one in new.named_parameters() if one.grad is None] == []
    assert "encoder.norms.0.weight" in dict(new.named_parameters())


def test_it_sits_on_pretrained_weights_and_is_stored(tmp_path: Path) -> None:
    save_pretrained(small(kind="pretraining", teacher_dim=4, num_views=3), tmp_path / "run")
    one = from_pretrained(tmp_path / "run", kind="classification", labels=["a", "b", "c"], **LINEAR).train()
    F.cross_entropy(one(POINTS), torch.tensor([0, 2])).backward()
    assert all(value.grad is not None for value in one.parameters())
    save_pretrained(one.eval(), tmp_path / "classifier")
    again = from_pretrained(tmp_path / "classifier")
    assert torch.equal(again(POINTS), one(POINTS)) and again.config.labels == ("a", "b", "c")


def test_the_tensors_of_a_part_segmenter() -> None:
    """Stored weights have these names and shapes. The layer that reads the object's class has no bias."""
    head = {"num_parts": 5, "num_object_classes": 2, "label_dim": 4}
    model = small(kind="part_segmentation", propagated_dims=(6, 7), head_dims=(8, 9, 10), **head)
    linear = {}
    for level, dim in enumerate(SMALL["dims"]):
        linear |= {f"propagations.{level}.0": (3 + dim, 6), f"propagations.{level}.3": (6, 7)}
    linear |= {"label_embedding.0": (2, 4)}
    linear |= {"head.0": (2 * 14 + 4, 8), "head.4": (8, 9), "head.7": (9, 10), "head.10": (10, 5)}
    expected = {f"{name}.weight": (after, before) for name, (before, after) in linear.items()}
    expected |= {f"{name}.bias": (after,) for name, (_, after) in linear.items() if name[0] != "l"}
    found = {name: tuple(value.shape) for name, value in model.named_parameters()}
    norms = {name.rsplit(".", 1)[0] for name, one in model.named_buffers() if name.endswith("running_mean")}
    own = {name: shape for name, shape in found.items() if not name.startswith("encoder.")}
    assert {name: own[name] for name in own if name.rsplit(".", 1)[0] not in norms} == expected


def test_outputs_can_be_replaced() -> None:
    model = small(kind="classification", **LINEAR)
    model.reset_classifier(5)
    assert model(POINTS).shape == (2, 5)


def test_widths_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="head_width: from 0 to 65536 expected, got -1"):
        create_model("i2p_mae_tiny", "classification", **SMALL, head_width=-1)
