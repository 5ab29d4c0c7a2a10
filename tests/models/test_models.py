"""Models of every registered architecture: shapes, invariances, masks, and the tokenizer's algebra."""

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pointmae_zoo import create_model, list_models, register_model
from pointmae_zoo.models.encoder import PointEncoder
from pointmae_zoo.models.pretraining_model import TeacherViews
from pointmae_zoo.models.reconstruction import predict_neighbors
from pointmae_zoo.models.registry import get_architecture
from pointmae_zoo.models.tokenizer import TokenEmbedding
from pointmae_zoo.models.tokens import POOLS
from pointmae_zoo.ops import index_points, summed_depth_images

KINDS = ["encoder", "pretraining", "classification", "part_segmentation"]


def clouds(batch: int = 2, points: int = 1024, seed: int = 0) -> Tensor:
    drawn = torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(seed))
    return F.normalize(drawn, dim=-1) * torch.linspace(0.4, 1.0, points).view(1, -1, 1)


def views_of(points: Tensor, model: Any) -> TeacherViews | None:
    """A stand-in teacher for models that have one: noise of the right shape, three axis views repeated."""
    if not hasattr(model.hyper, "teacher_dim"):
        return None
    repeat = -(-model.hyper.num_views // 3)
    pixels = summed_depth_images(points).pixels.repeat(1, repeat, 1, 1)[:, : model.hyper.num_views]
    generator = torch.Generator().manual_seed(1)
    shape = (len(points), model.hyper.num_views, model.hyper.teacher_dim, 14, 14)
    return TeacherViews(
        [torch.randn(shape, generator=generator)], torch.rand(*shape[:2], 14, 14, generator=generator), pixels
    )


@pytest.fixture(scope="module")
def tiny() -> PointEncoder:
    torch.manual_seed(0)
    encoder: PointEncoder = create_model("i2p_mae_tiny").eval()
    with torch.no_grad():  # fresh BatchNorm statistics are all 0 and 1, which would hide a wrong folding
        for name, buffer in encoder.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return encoder


@pytest.mark.parametrize("name", list_models())
def test_every_architecture_embeds(name: str) -> None:
    model = create_model(name)
    points = clouds(2, model.config.preprocess.num_points)
    for pool in POOLS:
        features = model.embed(points, pool=pool)
        assert features.shape == (2, model.feature_dim(pool)) and features.dtype == torch.float32
        assert bool(features.isfinite().all())
    assert model.training and not model.embed(points).requires_grad


@pytest.mark.parametrize("name", list_models())
def test_every_architecture_learns(name: str) -> None:
    """Pre-training, classification and part segmentation: one step backward reaches every weight in use."""
    torch.manual_seed(0)
    points = clouds(2, 600)
    pretraining = create_model(name, "pretraining")
    out = pretraining(points, views_of(points, pretraining))
    out.loss.backward()
    assert bool(out.loss.isfinite())
    idle = [key for key, value in pretraining.named_parameters() if value.grad is None]
    # Only norms of levels finer than the decoder reads may be idle.
    assert all(key.startswith("encoder.norms.") for key in idle), idle

    classifier = create_model(name, "classification", num_classes=5)
    logits = classifier(points)
    F.cross_entropy(logits, torch.tensor([1, 4])).backward()
    assert logits.shape == (2, 5)
    assert [key for key, value in classifier.named_parameters() if value.grad is None] == []

    parts = create_model(name, "part_segmentation", num_parts=7, num_object_classes=3)
    logits = parts(points, torch.tensor([0, 2]))
    logits.square().mean().backward()
    assert logits.shape == (2, 600, 7)
    assert [key for key, value in parts.named_parameters() if value.grad is None] == []


def test_sizes_are_those_of_the_paper() -> None:
    """Parameter counts published for the reference (12.9 M for the whole fine-tuning model)."""
    count = lambda model: sum(parameter.numel() for parameter in model.parameters())  # noqa: E731
    assert count(create_model("i2p_mae_base")) == 12_654_976
    assert count(create_model("i2p_mae_base", "pretraining")) == 17_622_808
    assert (
        count(create_model("i2p_mae_base", "classification", num_classes=40, head_pool="mean+max"))
        == 12_830_056
    )
    assert count(create_model("i2p_mae_base", "classification", num_classes=15)) == 12_921_935
    assert 1_000_000 < count(create_model("i2p_mae_tiny")) < 2_000_000


def test_features_ignore_the_order_of_the_points(tiny: PointEncoder) -> None:
    """All but the first point, where sampling starts, may be shuffled."""
    points = clouds(1)
    order = torch.cat([torch.zeros(1, dtype=torch.int64), torch.randperm(1023) + 1])
    torch.testing.assert_close(tiny.embed(points), tiny.embed(points[:, order]), rtol=0, atol=1e-5)


def test_features_of_a_cloud_ignore_its_batch(tiny: PointEncoder) -> None:
    points = clouds(5)
    whole = tiny.embed(points)
    for i in range(5):
        torch.testing.assert_close(whole[i], tiny.embed(points[i : i + 1])[0], rtol=0, atol=1e-5)


def test_shapes_differ_in_features(tiny: PointEncoder) -> None:
    flat = clouds(1) * torch.tensor([1.0, 0.1, 1.0])
    assert float((tiny.embed(clouds(1)) - tiny.embed(flat)).abs().max()) > 1e-2


def test_embed_leaves_modes_and_statistics_alone() -> None:
    model = create_model("i2p_mae_tiny").train()
    model.stages[0].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.embed(clouds())
    assert model.training and not model.stages[0].training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_per_point_features_follow_the_points(tiny: PointEncoder) -> None:
    points = clouds(1, 300)
    features = tiny.per_point_features(points)
    assert features.shape == (1, 300, sum(tiny.hyper.dims))
    # At a token's own centre the interpolation is that token.
    tokens = tiny.forward_features(points)
    at = tokens.groups.indices[0]
    torch.testing.assert_close(
        features[0, at, : tiny.hyper.dims[0]], tokens.features[0][0], rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("hide", [False, True])
def test_pooling_of_all_levels_takes_visible_tokens_only(tiny: PointEncoder, hide: bool) -> None:
    encoder = create_model("i2p_mae_tiny", hide_uncovered=hide, num_neighbors=(16, 2)).eval()
    encoder.load_state_dict(tiny.state_dict())
    points = clouds(3)
    with torch.no_grad():
        tokens = encoder.forward_features(points)
    assert (tokens.visible[0] is None) is not hide
    pooled = encoder.embed(points, pool="levels")
    for b in range(3):
        expected = []
        for features, visible in zip(tokens.features, tokens.visible, strict=True):
            rows = features[b] if visible is None else features[b][visible[b]]
            expected += [rows.mean(0), rows.double().std(0, correction=0).float()]
        torch.testing.assert_close(pooled[b], torch.cat(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("points", [2, 5, 40])
def test_few_points_still_give_features(tiny: PointEncoder, points: int) -> None:
    assert bool(tiny.embed(clouds(1, points)).isfinite().all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_points_of_any_float_type(tiny: PointEncoder, dtype: torch.dtype) -> None:
    points = clouds().to(dtype)
    torch.testing.assert_close(tiny.embed(points), tiny.embed(points.float()))


def test_bfloat16_weights_give_nearly_the_same(tiny: PointEncoder) -> None:
    half = create_model("i2p_mae_tiny")
    half.load_state_dict(tiny.state_dict())
    half = half.to(torch.bfloat16)
    similarity = F.cosine_similarity(half.embed(clouds()), tiny.embed(clouds()))
    assert float(similarity.min()) > 0.999


@pytest.mark.parametrize(
    ("points", "error", "words"),
    [
        ([[0.0, 0.0, 0.0]], TypeError, "torch.as_tensor"),
        (torch.zeros(1, 8, 3, dtype=torch.int64), TypeError, "floating point"),
        (torch.zeros(8, 3), ValueError, r"points\[None\]"),
        (torch.zeros(1, 8, 4), ValueError, r"\(1, 8, 4\)"),
        (torch.zeros(0, 8, 3), ValueError, "at least 1 cloud"),
        (torch.zeros(1, 1, 3), ValueError, "at least 2 points"),
        (torch.tensor([[[0.0, 0, 0], [1, 1, float("nan")]]]), ValueError, "cloud 0"),
        (torch.tensor([[[0.0, 0, 0], [1, 1, float("inf")]]]), ValueError, "NaN or infinity"),
    ],
)
def test_wrong_points_are_named(tiny: PointEncoder, points: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        tiny.embed(points)


def test_wrong_object_classes_are_named() -> None:
    model = create_model("i2p_mae_tiny", "part_segmentation", num_object_classes=3).eval()
    for classes, words in (([0, 3], "from 0 to 2"), ([0], "integers expected")):
        with pytest.raises(ValueError, match=words):
            model(clouds(), torch.tensor(classes))


# Masks.


def test_hidden_points_change_no_visible_token(tiny: PointEncoder) -> None:
    points = clouds(1)
    groups = tiny.group(points)
    visible = torch.zeros(1, 32, dtype=torch.bool)
    visible[0, :5] = True
    before = tiny.forward_features(points, groups=groups, visible=visible)
    shown = before.visible[0]
    assert shown is not None and 0 < int(shown.sum()) < 128
    seen = groups.neighbors[0][shown].unique()
    moved = points.clone()
    hidden = torch.ones(1024, dtype=torch.bool)
    hidden[seen] = False
    moved[0, hidden] += 0.3
    after = tiny.forward_features(moved, groups=groups, visible=visible)
    for level in range(2):
        torch.testing.assert_close(before.features[level], after.features[level], rtol=0, atol=1e-5)


def test_masked_clouds_do_not_mix(tiny: PointEncoder) -> None:
    """Padding of clouds with fewer visible tokens is attended to by nobody."""
    points = clouds(3)
    visible = torch.zeros(3, 32, dtype=torch.bool)
    visible[0, :12], visible[1, 20:], visible[2, ::3] = True, True, True
    together = tiny.forward_features(points, visible=visible)
    for i in range(3):
        alone = tiny.forward_features(points[i : i + 1], visible=visible[i : i + 1])
        for level in range(2):
            torch.testing.assert_close(
                together.features[level][i], alone.features[level][0], rtol=0, atol=1e-5
            )


def test_skipping_hidden_groups_changes_only_statistics(tiny: PointEncoder) -> None:
    """`embed_hidden` off gives the same visible tokens wherever BatchNorm does not look at the batch."""
    model = create_model("i2p_mae_tiny", drop_path=0.0, embed_hidden=True)
    other = create_model("i2p_mae_tiny", drop_path=0.0, embed_hidden=False)
    for each in (model, other):
        each.load_state_dict(tiny.state_dict())
        each.train()
        for embedding in each.embeddings:
            embedding.eval()
    visible = torch.rand(2, 32, generator=torch.Generator().manual_seed(3)) < 0.3
    ours, theirs = (each.forward_features(clouds(), visible=visible).features for each in (model, other))
    for level in range(2):
        torch.testing.assert_close(ours[level], theirs[level], rtol=0, atol=1e-5)


def test_saliency_guides_the_draw() -> None:
    torch.manual_seed(0)
    model = create_model("i2p_mae_tiny", "pretraining", saliency_temperature=0.1)
    points = clouds(1)
    views = views_of(points, model)
    assert views is not None and views.saliency is not None
    groups = model.encoder.group(points)
    likely = model.token_probability(groups, views)[0]
    drawn = sum(model.draw_visible(groups, views)[0].float() for _ in range(200)) / 200
    top, bottom = likely.topk(8).indices, likely.topk(8, largest=False).indices
    assert float(drawn[top].mean()) > float(drawn[bottom].mean()) + 0.3
    assert int(model.draw_visible(groups, views).sum()) == 32 - int(0.7 * 32)


@pytest.mark.parametrize("level", [0, 1])
def test_what_hidden_tokens_are_to_predict(tiny: PointEncoder, level: int) -> None:
    """By brute force: at level 0 the nearest points, else the nearest centres of the finer level."""
    points = clouds(2, 600)
    groups = tiny.group(points)
    count = groups.neighbors[level].shape[-1]
    hidden = torch.zeros(groups.centers[level].shape[:2], dtype=torch.bool)
    hidden[0, [1, 4]] = hidden[1, [0, 2, 5]] = True
    found = predict_neighbors(lambda x: x[..., :1].repeat(1, 1, 3 * count), hidden.unsqueeze(-1).float(),
                              points, groups, level, hidden, None)  # fmt: skip
    assert found.valid.tolist() == [[True, True, False], [True, True, True]]
    assert bool((found.predicted[found.valid] == 1).all()), "the decoded token of each"
    for b, row in ((0, (1, 4)), (1, (0, 2, 5))):
        for place, token in enumerate(row):
            center = groups.centers[level][b, token].double()
            apart = (points[b] if level == 0 else groups.centers[0][b]).double() - center
            nearest = apart[apart.square().sum(-1).argsort(stable=True)[:count]]
            torch.testing.assert_close(found.target[b, place].double(), nearest, rtol=0, atol=1e-6)


def test_views_that_do_not_fit_are_named() -> None:
    model = create_model("i2p_mae_tiny", "pretraining")
    points = clouds()
    views = views_of(points, model)
    assert views is not None
    with pytest.raises(ValueError, match="views are needed"):
        model(points)
    with pytest.raises(ValueError, match="128 channels expected"):
        model(points, views._replace(maps=[views.maps[0][:, :, :5]]))
    with pytest.raises(ValueError, match="pixels of 1024 points"):
        model(points, views._replace(pixels=views.pixels[:, :, :7]))


# The tokenizer's algebra against the published order of operations.


def published(embedding: TokenEmbedding, groups: Tensor) -> Tensor:
    """(B, G, K, C) through both MLPs as the paper draws them: every point by itself, full concatenation."""
    batch, count, size, _ = groups.shape

    def norm(layer: torch.nn.BatchNorm1d, x: Tensor) -> Tensor:
        return (
            layer(x.flatten(0, 2).t().contiguous().unsqueeze(0)).squeeze(0).t().view(batch, count, size, -1)
        )

    local = embedding.conv2(F.relu(norm(embedding.norm1, embedding.conv1(groups))))
    whole = local.amax(2, keepdim=True).expand(-1, -1, size, -1)
    mixed = F.relu(norm(embedding.norm2, embedding.conv3(torch.cat([whole, local], dim=-1))))
    return embedding.conv4(mixed).amax(2)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("gathered", [False, True])
def test_token_embedding_equals_the_published_order(training: bool, gathered: bool) -> None:
    torch.manual_seed(0)
    ours, reference = TokenEmbedding(6, 6, 6, 10).double(), TokenEmbedding(6, 6, 6, 10).double()
    with torch.no_grad():
        for name, buffer in ours.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    reference.load_state_dict(ours.state_dict())
    ours.train(training)
    reference.train(training)
    tokens = torch.randn(3, 20, 6).double()
    neighbors = torch.randint(0, 15, (3, 9, 4))  # some tokens in many groups, some in none
    groups = index_points(tokens, neighbors)
    out = ours(tokens, neighbors) if gathered else ours(groups)
    expected = published(reference, groups)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    if training:
        for (key, own), other in zip(ours.named_buffers(), reference.buffers(), strict=True):
            torch.testing.assert_close(own, other, rtol=0, atol=1e-10, msg=key)
        out.square().sum().backward()
        expected.square().sum().backward()
        for (key, own), other in zip(ours.named_parameters(), reference.parameters(), strict=True):
            assert own.grad is not None and other.grad is not None
            torch.testing.assert_close(own.grad, other.grad, rtol=0, atol=1e-9, msg=key)


def test_weighted_statistics_are_exact_under_autocast() -> None:
    torch.manual_seed(0)
    embedding = TokenEmbedding(6, 6, 6, 10)
    tokens, neighbors = torch.randn(4, 400, 6) + 3, torch.randint(0, 400, (4, 300, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedding(tokens, neighbors)
        hidden = embedding.conv1(tokens)
    exact = index_points(hidden.double(), neighbors).flatten(0, 2)
    mean, var = embedding.norm1.running_mean, embedding.norm1.running_var
    assert mean is not None and var is not None
    torch.testing.assert_close(mean.double() / 0.1, exact.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close((var.double() - 0.9) / 0.1, exact.var(0), rtol=1e-3, atol=1e-3)


# The registry.


def test_names_and_patterns() -> None:
    assert list_models("i2p*") == ["i2p_mae_base", "i2p_mae_tiny"]
    assert list_models("joint*") == ["joint_mae_base", "joint_mae_tiny"]
    assert list_models("no such*") == []
    for name, words in (
        ("i2p_mae_tinny", "did you mean i2p_mae_tiny"),
        ("zzz", "known: "),
        ("pointnet", "known: "),
    ):
        with pytest.raises(ValueError, match=words):
            create_model(name)
    with pytest.raises(ValueError, match="did you mean classification"):
        create_model("i2p_mae_tiny", "classifier")


def test_the_global_seed_decides_the_weights() -> None:
    def draw(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([parameter.flatten() for parameter in create_model("i2p_mae_tiny").parameters()])

    assert torch.equal(draw(3), draw(3)) and not torch.equal(draw(3), draw(4))


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        ({"depth": (1, 1)}, TypeError, "no argument 'depth'; did you mean depths"),
        ({"depths": 3}, TypeError, "depths: a list of whole numbers expected, got 3"),
        ({"depths": (1, 1.5)}, TypeError, "depths"),
        ({"depths": (1, 1, 1)}, ValueError, "depths: 2 entries"),
        ({"depths": (1, 10**9)}, ValueError, "depths: entries from 0 to 128"),
        ({"num_tokens": (32, 32)}, ValueError, "num_tokens: must fall"),
        ({"num_tokens": (128,)}, ValueError, "num_tokens: 2 to 8 levels"),
        ({"num_heads": 7}, ValueError, "num_heads"),
        ({"pool": "median"}, ValueError, "pool: one of 'max'"),
        ({"drop_path": 1.0}, ValueError, "drop_path"),
        ({"drop_path": True}, TypeError, "drop_path: a number expected"),
        ({"local_radius": (0.1, -1.0)}, ValueError, "local_radius"),
        ({"norm_levels": "none"}, ValueError, "norm_levels"),
    ],
)
def test_wrong_overrides_are_named(overrides: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        create_model("i2p_mae_tiny", **overrides)


def test_overrides_are_stored() -> None:
    model = create_model("i2p_mae_tiny", "classification", num_classes=3, depths=[1, 1])
    assert model.config.arguments["num_classes"] == 3 and model.config.arguments["depths"] == (1, 1)
    assert "num_classes" not in model.encoder.config.arguments and model.encoder.config.kind == "encoder"
    assert len(model.encoder.stages[0].blocks) == 1


def test_a_taken_name_is_refused() -> None:
    def i2p_mae_tiny() -> Any:
        return dataclasses.replace(get_architecture("i2p_mae_tiny"))

    with pytest.raises(ValueError, match="registered already"):
        register_model(i2p_mae_tiny)
