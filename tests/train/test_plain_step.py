"""The pre-training step against a plain formulation of the whole of it (``benchmarks.plain_step``)."""

from collections.abc import Iterator

import pytest
import torch

from benchmarks import plain_step
from benchmarks.rows import clouds
from pointmae_zoo.models.pretraining_model import TeacherViews
from pointmae_zoo.models.registry import create_model
from pointmae_zoo.ops import summed_depth_images


@pytest.fixture
def in_float64() -> Iterator[None]:
    """In float32 a maximum of almost equal values may be another one, and with it the whole gradient."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("in_float64")
def test_losses_and_gradients_are_those_of_the_plain_step() -> None:
    torch.manual_seed(0)
    model = create_model("i2p_mae_base", kind="pretraining", drop_path=0.0).train()
    plainly = plain_step.Pretraining().train()
    plainly.load_from(model.state_dict())
    points = clouds(2, 1024).double()
    features, saliency = torch.randn(2, 3, 512, 14, 14), 9 * torch.rand(2, 3, 14, 14)
    pixels = plain_step.plain.summed_depth_images(points)[1]
    seen = plain_step.read_at_points(plain_step.Maps(features, saliency.unsqueeze(2), pixels))
    views = TeacherViews([features], saliency, summed_depth_images(points).pixels)

    output = model(points, views)
    losses = plainly(points, seen, output.visible)
    torch.testing.assert_close(
        output.losses["3d"].value, losses.loss_3d, rtol=1e-6, atol=0, check_dtype=False
    )
    torch.testing.assert_close(
        output.losses["2d"].value, losses.loss_2d, rtol=1e-6, atol=0, check_dtype=False
    )
    probability = model.token_probability(model.encoder.group(points), views)
    torch.testing.assert_close(probability, losses.probability, rtol=1e-5, atol=0, check_dtype=False)

    output.loss.backward()
    (losses.loss_3d + losses.loss_2d).backward()
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    theirs = dict(plainly.named_parameters())
    pairs = {
        "mask_token": "mask_token",
        "head_2d.weight": "head_2d.weight",
        "head_3d.bias": "head_3d.bias",
        "stages.1.blocks.0.attn.qkv.weight": "stages.1.blocks.0.attention.qkv.weight",
        "propagations.0.fuse.weight": "propagations.0.fuse.weight",
        "encoder.stages.0.blocks.4.attn.proj.weight": "encoder.levels.0.4.attention.proj.weight",
        "encoder.embeddings.1.conv3.weight": "encoder.embeddings.1.second.0.weight",
        "encoder.embeddings.0.conv1.weight": "encoder.embeddings.0.first.0.weight",
    }
    for here, there in pairs.items():
        expected = theirs[there].grad
        assert expected is not None and float(expected.norm()) > 0
        difference = ours[here] - expected.view_as(ours[here])
        assert float(difference.norm() / expected.norm()) < 1e-5, here
