"""Joint-MAE: nothing leaks from what is masked."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pointmae_zoo import ops
from pointmae_zoo.models.joint_mae import joint_views
from pointmae_zoo.models.joint_mae.depth_embedding import DepthEmbedding
from pointmae_zoo.models.tokens import pack
from samples.joint_mae import encoded, half, shapes, small


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("even", [True, False])
def test_masked_pixels_are_never_read(training: bool, even: bool) -> None:
    """Masked patches full of NaN, in every image others, change no bit of a visible patch's token."""
    torch.manual_seed(0)
    embedding = DepthEmbedding(48, (4, 2, 2), (16, 24, 32), 2, 4.0).train(training)
    images = torch.rand(3, 48, 48)
    visible = half(3, 9, 3)
    if not even:
        visible[0] = False
        visible[0, 4] = True
    order = visible.int().argsort(dim=1, descending=True, stable=True)[:, :3]
    valid = visible.gather(1, order)
    before = embedding(images, order, None if even else valid)
    hidden = ~visible.view(3, 3, 3).repeat_interleave(16, 1).repeat_interleave(16, 2)
    spoilt = images.masked_fill(hidden, float("nan"))
    after = embedding(spoilt, order, None if even else valid)
    assert torch.equal(before[valid], after[valid]) and bool(after[valid].isfinite().all())


def test_visible_pixels_are_read_across_patches() -> None:
    """The counterpart: a visible patch does see its visible neighbour, and each of its own pixels."""
    torch.manual_seed(0)
    embedding = DepthEmbedding(32, (4, 2, 2), (16, 24, 32), 2, 4.0)
    images = torch.rand(1, 32, 32, requires_grad=True)
    embedding(images, torch.tensor([[0, 1]]))[0, 0].square().sum().backward()
    assert images.grad is not None
    cut = images.grad.view(2, 16, 2, 16).transpose(1, 2).flatten(0, 1)
    assert bool((cut[0] != 0).all()) and bool((cut[1] != 0).any()) and not bool(cut[2:].any())


def test_the_embedding_equals_plain_masked_convolutions() -> None:
    """On whole images, as ConvMAE has it: strided convolutions, the mask before every 5 x 5 one."""
    torch.manual_seed(0)
    embedding = DepthEmbedding(48, (4, 2, 2), (8, 12, 16), 2, 4.0).double()
    images = torch.rand(2, 48, 48).double()
    visible = half(2, 9, 4)
    order = visible.int().argsort(dim=1, descending=True, stable=True)[:, :4]
    found = embedding(images, order)

    def strided(linear: Any, x: Tensor, stride: int) -> Tensor:
        """A linear layer of merged positions as the convolution that it is."""
        weight = linear.weight.view(len(linear.weight), stride, stride, x.shape[1]).permute(0, 3, 1, 2)
        return torch.nn.functional.conv2d(x, weight, linear.bias, stride=stride)

    def rows(layer: Any, x: Tensor) -> Tensor:
        return layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    x, total = images.unsqueeze(1), torch.zeros(())
    for stage, stride in enumerate((4, 2, 2)):
        reduction: Any = embedding.reductions[stage]
        x = rows(reduction[2], rows(reduction[1], strided(reduction[0], x, stride)))
        if stage == 2:
            break
        scale = x.shape[-1] // 3
        mask = visible.view(2, 1, 3, 3).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        for block in embedding.stages[stage]:  # type: ignore[union-attr]
            inner = rows(block.conv1, rows(block.norm1, x)) * mask
            x = x + rows(block.conv2, block.depthwise(inner))
            x = x + rows(block.mlp, rows(block.norm2, x))
        fusion: Any = embedding.fusions[stage]
        if scale == 4:  # the positions of a patch in nested order: 2 x 2 of 2 x 2
            weight = fusion.weight.view(16, 2, 2, 2, 2, 8).permute(0, 1, 3, 2, 4, 5).reshape(16, 4, 4, 8)
            total = total + torch.nn.functional.conv2d(x, weight.permute(0, 3, 1, 2), fusion.bias, stride=4)
        else:
            total = total + strided(fusion, x, 2)
    total = total + rows(embedding.last, x)
    expected = total.flatten(2).transpose(1, 2).gather(1, order.unsqueeze(2).expand(-1, -1, 16))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
def test_masked_pixels_change_no_visible_token(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, points = small().train(training), shapes()
    masks = {"visible": half(2, 8, 3), "visible_patches": half(2, 49, 12).view(2, 1, 49)}
    masks["rotations"] = joint_views.draw_rotations(2, points.device, model.hyper)
    output, before = encoded(model, points, **masks)
    hidden = ~masks["visible_patches"].view(2, 1, 7, 7).repeat_interleave(8, 2).repeat_interleave(8, 3)
    render = joint_views.render_depth_images

    def spoilt(*given: Any) -> ops.DepthViews:
        images, pixels = render(*given)
        return ops.DepthViews(torch.where(hidden, 1.0 - images, images), pixels)

    monkeypatch.setattr(joint_views, "render_depth_images", spoilt)
    other, after = encoded(model, points, **masks)
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    assert abs(other.losses["2d"].value.item() - output.losses["2d"].value.item()) > 1e-3


@pytest.mark.parametrize("training", [True, False])
def test_points_of_masked_tokens_change_no_visible_token(
    training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grouping and the images kept, every point that no visible token is made of is moved."""
    model, points = small(num_neighbors=(8, 4)).train(training), shapes()
    groups = model.encoder.group(points)
    masks = {"visible": half(2, 8, 3), "visible_patches": half(2, 49, 12).view(2, 1, 49)}
    masks["rotations"] = joint_views.draw_rotations(2, points.device, model.hyper)
    _, before = encoded(model, points, **masks)
    shown = model.encoder.visible_below(masks["visible"], groups)[0]
    hidden = torch.ones(2, 512, dtype=torch.bool)
    for b in range(2):
        hidden[b, groups.neighbors[0][b][shown[b]].flatten()] = False
    assert 0.2 < float(hidden.float().mean()) < 0.99
    moved = torch.where(hidden.unsqueeze(2), points + torch.rand(2, 512, 3), points)
    fit, render = joint_views.fit_view_frames, joint_views.render_depth_images
    monkeypatch.setattr(model.encoder, "group", lambda _: groups)
    monkeypatch.setattr(joint_views, "fit_view_frames", lambda _, *rest, **more: fit(points, *rest, **more))
    monkeypatch.setattr(joint_views, "render_depth_images", lambda _, frames: render(points, frames))
    _, after = encoded(model, moved, **masks)
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))


def test_padding_tells_nothing_of_hidden_tokens() -> None:
    """What a GPU embeds, where the number of visible tokens is not asked for."""
    encoder, points = small().encoder.train(), shapes()
    groups = encoder.group(points)
    shown = half(2, 32, 9)
    shown[1, :20] = False
    order, valid = pack(shown, 12)
    centers, neighbors = (ops.index_points(one[0], order) for one in (groups.centers, groups.neighbors))
    found = []
    hidden = torch.ones(2, 512, dtype=torch.bool)
    for b in range(2):
        hidden[b, groups.neighbors[0][b][shown[b]].flatten()] = False
    for cloud in (points, torch.where(hidden.unsqueeze(2), points + torch.rand(2, 512, 3), points)):
        found.append(encoder._embed_padded(0, cloud, centers, neighbors, valid)[valid])
    assert torch.equal(*found) and not bool(valid.all())


@pytest.mark.parametrize("level", [0, 1])
def test_padding_counts_in_no_statistics(level: int) -> None:
    """The same tokens, and the same running statistics, as where only visible tokens are embedded."""
    points = shapes()
    found = []
    for name in ("_embed_visible", "_embed_padded"):
        encoder = small().encoder.train()
        groups = encoder.group(points)
        shown = half(2, 32 if level == 0 else 8, 5)
        shown[1, shown[1].nonzero()[2:, 0]] = False
        order, valid = pack(shown, None)
        centers, neighbors = (
            ops.index_points(one[level], order) for one in (groups.centers, groups.neighbors)
        )
        finer = points if level == 0 else torch.randn(2, 32, 48, generator=torch.Generator().manual_seed(2))
        tokens = getattr(encoder, name)(level, finer, centers, neighbors, valid)[valid]
        (tokens.square() * torch.linspace(0, 1, tokens.shape[1])).sum().backward()
        embedding: Any = encoder.embeddings[level]
        found.append(
            {
                "tokens": tokens.detach(),
                **{name: value for name, value in embedding.state_dict().items() if "running" in name},
                # The others' gradients are rounding: nothing changes with a bias before a BatchNorm.
                "gradient": embedding.conv4.weight.grad,
            }
        )
    for name, expected in found[0].items():
        torch.testing.assert_close(found[1][name], expected, rtol=1e-4, atol=1e-5)


def test_clouds_with_more_and_fewer_visible_do_not_mix() -> None:
    model, points = small(views=3).eval(), shapes(3)
    visible, patches = half(3, 8, 4), half(9, 49, 9).view(3, 3, 49)
    visible[1, 2:], patches[1, 1, 5:], patches[2, 0] = False, False, False
    visible[1, 1] = True
    together = model(points, visible=visible, visible_patches=patches)
    for b in range(3):
        alone = model(points[b : b + 1], visible=visible[b : b + 1], visible_patches=patches[b : b + 1])
        torch.testing.assert_close(together.patches[b], alone.patches[0], rtol=0, atol=1e-5)
        count = int(alone.points.valid.sum())
        assert int(together.points.valid[b].sum()) == count
        torch.testing.assert_close(
            together.points.predicted[b, :count], alone.points.predicted[0, :count], rtol=0, atol=1e-5
        )
