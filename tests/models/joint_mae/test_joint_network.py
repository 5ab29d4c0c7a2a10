"""Joint-MAE: attention is local, masks and views are as asked, losses are the output's, and it learns."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from pointmae_zoo import create_model, ops
from pointmae_zoo.models.joint_mae import joint_views
from pointmae_zoo.models.joint_mae.depth_embedding import DepthEmbedding, sincos_positions
from pointmae_zoo.models.joint_mae.joint_config import JointMAEConfig
from pointmae_zoo.models.joint_mae.joint_masks import patches_of_points, token_patch_map
from pointmae_zoo.models.joint_mae.joint_network import JointMAEForPretraining, JointOutput
from pointmae_zoo.train.optimizer import adamw
from samples.joint_mae import encoded, half, shapes, small

# Attention.


@pytest.mark.parametrize("cross", ["local", "full", "none"])
def test_which_patches_reach_a_3d_token_in_one_block(cross: str) -> None:
    """The gradient of a 3D token with respect to every 2D token: exactly zero unless they share points."""
    model = small(depths=(0, 1), cross_attention=cross, drop_path=0.0, num_neighbors=(8, 2))
    points = shapes(1)
    visible, patches = half(1, 8, 4), half(1, 49, 20).view(1, 1, 49)
    rotations = joint_views.draw_rotations(1, points.device, model.hyper)
    embedded: list[Tensor] = []
    solid: list[Tensor] = []
    model.image_embedding.register_forward_hook(lambda _, __, out: embedded.append(out))
    model.encoder.norms["1"].register_forward_hook(lambda _, __, out: solid.append(out))
    model(points, visible=visible, visible_patches=patches, rotations=rotations)
    groups = model.encoder.group(points)
    pixels = ops.zbuffer_depth_images(points, rotations, size=56, cover=3).pixels
    shared = token_patch_map(groups, patches_of_points(pixels, 7), 49)[0]
    seen = {"local": shared, "full": torch.ones_like(shared), "none": torch.zeros_like(shared)}[cross]
    shown = patches[0, 0].nonzero().flatten()
    related = []
    # A plain sum would be no function of the patches at all: normalised channels add up to 0.
    along = torch.randn(solid[0].shape[-1], generator=torch.Generator().manual_seed(0))
    for token in visible[0].nonzero().flatten().tolist():
        (gradient,) = torch.autograd.grad(solid[0][0, token] @ along, embedded[0], retain_graph=True)
        assert torch.equal((gradient[0] != 0).any(-1), seen[token, shown]), token
        related.append(seen[token, shown])
    if cross == "local":
        assert 0.0 < float(torch.stack(related).float().mean()) < 0.8


def test_without_patches_the_joint_encoder_is_the_encoder() -> None:
    model, points = small().eval(), shapes()
    visible = half(2, 8, 3)
    groups = model.encoder.group(points)
    alone = model.encoder.forward_features(points, groups=groups, visible=visible).features
    output, found = encoded(
        model, points, visible=visible, visible_patches=torch.zeros(2, 1, 49, dtype=torch.bool)
    )
    for level, mask in enumerate(model.encoder.visible_below(visible, groups)):
        torch.testing.assert_close(found[level], alone[level][mask], rtol=0, atol=1e-6)
    assert bool(output.loss.isfinite())


def test_both_modalities_meet_in_the_shared_decoder() -> None:
    """With none of it in the encoder, a hidden 3D token still depends on the 2D mask token, and a masked
    patch on the 3D one."""
    model, points = small(cross_attention="none"), shapes()
    output = model(points)
    solid = output.points.predicted[output.points.valid].square().sum()
    (gradient,) = torch.autograd.grad(solid, model.image_mask_token, retain_graph=True)
    assert float(gradient.abs().max()) > 0.0
    (gradient,) = torch.autograd.grad(
        output.patches[~output.visible_patches].square().sum(), model.mask_token
    )
    assert float(gradient.abs().max()) > 0.0


@pytest.mark.parametrize("views", [1, 3])
def test_the_decoder_reads_what_was_encoded_and_where(views: int) -> None:
    """The sequence that enters the shared block, by hand: each visible patch's normalised token at its own
    place, view after view, mask tokens everywhere else; then the blocks of each modality, with positions."""
    model, points = small(views=views, drop_path=0.0).eval(), shapes()
    torch.manual_seed(0)
    with torch.no_grad():
        for scale in (model.image_norm.weight, model.image_norm.bias, model.mask_token, model.view_tokens):
            scale.uniform_(-1.0, 1.0)
    given: dict[str, list[Any]] = {}

    def keep(name: str, module: Any) -> None:
        given[name] = []
        module.register_forward_hook(lambda _, inputs, out: given[name].append((inputs[0], out)))

    keep("embedded", model.image_embedding)
    keep("joint", model.encoder.stages[-1].blocks[-1])
    keep("shared", model.shared_stage.blocks[0])
    keep("2d", model.blocks_2d[0])
    keep("3d", model.stage_3d.blocks[0])
    keep("2d norm", model.norm_2d)
    keep("propagation", model.propagations[0].fuse)
    with torch.no_grad():
        output = model(points)
    patches, width = output.visible_patches.flatten(1), int(output.visible[0].sum())
    where = model.view_tokens.unsqueeze(1) + sincos_positions(7, 96)  # (V, P, C)
    where = where.flatten(0, 1)
    ((entered, left),) = given["shared"]
    assert entered.shape == (2, 8 + views * 49, 96)
    ((_, encoded_2d),) = given["joint"]
    for b in range(2):
        expected = model.image_mask_token.expand(views * 49, -1).clone()
        expected[patches[b]] = model.image_norm(encoded_2d[b, width:])
        torch.testing.assert_close(entered[b, 8:], expected + where, rtol=0, atol=1e-5)
    ((entered_2d, left_2d),) = given["2d"]
    torch.testing.assert_close(entered_2d, left[:, 8:] + where, rtol=0, atol=1e-5)
    ((normed, _),) = given["2d norm"]
    assert torch.equal(normed, left_2d)
    ((entered_3d, left_3d),) = given["3d"]
    at = model.stage_3d.position(model.encoder.group(points).centers[-1])
    torch.testing.assert_close(entered_3d, left[:, :8] + at, rtol=0, atol=1e-5)
    centers = model.encoder.group(points).centers
    carried = ops.three_nn_interpolate(centers[0], centers[1], left_3d)
    ((fused, _),) = given["propagation"]
    torch.testing.assert_close(fused.view(2, 32, -1)[..., 48:], carried, rtol=0, atol=1e-5)


def test_what_is_watched_is_the_loss_with_and_without_patches() -> None:
    model, points = small().eval(), shapes()
    torch.manual_seed(5)
    watched = model.watched(points)
    torch.manual_seed(5)
    both = model(points)
    none = torch.zeros_like(both.visible_patches)
    rotations = both.frames.rotations
    alone = model(points, visible=both.visible, visible_patches=none, rotations=rotations)
    assert watched["3d_with_2d"].value.item() == pytest.approx(both.losses["3d"].value.item())
    assert watched["3d_without_2d"].value.item() == pytest.approx(alone.losses["3d"].value.item())
    assert alone.losses["3d"].value.item() != pytest.approx(both.losses["3d"].value.item(), rel=1e-5)
    assert {term.weight for term in watched.values()} == {0.0}


# Masks and views.


def test_masks_hold_what_the_ratios_say() -> None:
    model = small(mask_ratio_2d=0.8, views=3)
    output = model(shapes())
    assert output.visible.sum(1).tolist() == [2, 2]  # of 8
    assert output.visible_patches.sum(2).tolist() == [[49 - 39] * 3] * 2
    assert output.images.shape == (2, 3, 56, 56) and output.patches.shape == (2, 3, 49, 8, 8)
    hidden = ~model.encoder.visible_below(output.visible, model.encoder.group(shapes()))[0]
    assert torch.equal(output.points.valid.sum(1), hidden.sum(1))
    assert float(output.losses["2d"].count) == 2 * 3 * 39
    assert torch.equal(output.frames.rotations[1], ops.view_rotations(3))


def test_paper_sized_masks() -> None:
    model = create_model("joint_mae_base", "pretraining")
    assert (model.num_visible, model.hyper.num_visible_patches, model.hyper.num_patches) == (16, 49, 196)


def test_views_are_drawn_from_around_within_the_elevation() -> None:
    model = small(elevation=20.0)
    torch.manual_seed(0)
    towards = joint_views.draw_rotations(500, torch.device("cpu"), model.hyper)[:, 0, 2]
    elevation = towards[:, 1].asin().rad2deg()
    assert float(elevation.abs().max()) <= 20.001
    assert float(elevation.min()) < -18 and float(elevation.max()) > 18
    yaw = torch.atan2(towards[:, 0], towards[:, 2])
    assert torch.histc(yaw, 8, -torch.pi, torch.pi).min() > 30


def test_alignment_of_the_masks() -> None:
    """How much the visible patches show the visible 3D tokens: most where aligned, least where
    complementary."""
    points = shapes(8)
    found = {}
    for alignment in ("aligned", "independent", "complementary"):
        model = small(mask_alignment=alignment, num_neighbors=(8, 2))
        torch.manual_seed(0)
        output = model(points)
        assert output.visible_patches.sum(2).flatten().tolist() == [model.hyper.num_visible_patches] * 8
        pixels = ops.zbuffer_depth_images(points, output.frames.rotations, size=56).pixels
        shared = token_patch_map(model.encoder.group(points), patches_of_points(pixels, 7), 49)
        seen = shared & output.visible_patches
        found[alignment] = float((seen & output.visible.unsqueeze(2)).sum() / seen.sum())
    assert found["aligned"] > found["independent"] + 0.1
    assert found["complementary"] < found["independent"] - 0.1


@pytest.mark.parametrize("alignment", ["independent", "aligned"])
def test_draws_do_not_depend_on_how_a_batch_is_split(alignment: str) -> None:
    model, points = small(mask_alignment=alignment).eval(), shapes(4)
    torch.manual_seed(3)
    whole = model(points)
    for first in (0, 2):
        torch.manual_seed(3)
        with ops.share_of_batch(first, 4):
            part = model(points[first : first + 2])
        rows = slice(first, first + 2)
        assert torch.equal(part.visible, whole.visible[rows])
        assert torch.equal(part.visible_patches, whole.visible_patches[rows])
        assert torch.equal(part.frames.rotations, whole.frames.rotations[rows])
        torch.testing.assert_close(part.patches, whole.patches[rows], rtol=0, atol=1e-5)


# Losses, and learning.


def test_the_losses_are_those_of_the_output() -> None:
    """Recomputed from what the output holds, in plain loops."""
    model, points = small(weight_3d=3.0, weight_2d=0.5, weight_cross=2.0), shapes()
    output: JointOutput = model(points)
    assert list(output.losses) == ["3d", "2d", "cross"] and list(output.monitors) == ["2d_object"]
    terms = {name: term.value.item() for name, term in output.losses.items()}
    assert output.loss.item() == pytest.approx(3.0 * terms["3d"] + 0.5 * terms["2d"] + 2.0 * terms["cross"])

    errors = []
    for b, patch in itertools.product(range(2), range(49)):
        row, column = patch // 7 * 8, patch % 7 * 8
        if not output.visible_patches[b, 0, patch]:
            cut = output.images[b, 0, row : row + 8, column : column + 8]
            errors.append((output.patches[b, 0, patch] - cut).square().mean().item())
    assert terms["2d"] == pytest.approx(sum(errors) / len(errors), rel=1e-5)

    order, valid, predicted, target = output.points
    distances = []
    for one, two in zip(predicted[valid].double(), target[valid].double(), strict=True):
        apart = (one.unsqueeze(1) - two).square().sum(-1)
        distances.append((apart.amin(0).mean() + apart.amin(1).mean()).item())
    assert terms["3d"] == pytest.approx(sum(distances) / len(distances), rel=1e-4)

    groups = model.encoder.group(points)
    surfaces = ops.fill_holes(output.images, 5)
    backs = ops.without_covers(surfaces, 3)
    squares = []
    for b in range(2):
        placed = predicted[b] + groups.centers[0][b, order[b]].unsqueeze(1)
        frames = output.frames.of(b)
        place, depth = frames.project(placed[valid[b]].view(1, -1, 3))
        unit = float((frames.near - frames.back) / 0.8 / frames.extent)
        for (column, row), d in zip(((place[0, 0] + 1) * 56 - 1) / 2, depth[0, 0], strict=True):
            if not (-0.5 < column < 55.5 and -0.5 < row < 55.5):
                continue
            column, row = column.clamp(0, 55), row.clamp(0, 55)
            left, top = min(int(column), 54), min(int(row), 54)
            across, down = column - left, row - top
            shares = torch.outer(torch.stack([1 - down, down]), torch.stack([1 - across, across]))
            four, deep = (one[b, 0, top : top + 2, left : left + 2] for one in (surfaces, backs))
            before, behind = (
                unit * float(d.detach() - (one * shares.detach()).sum()) for one in (four, deep)
            )
            if bool((four > 0).all()) and (behind if bool((deep > 0).all()) else before) > -0.03:
                apart = abs(max(before, 0.0) + min(behind, 0.0))
                squares.append(apart**2 if apart < 0.03 else 0.03**2 + 2 * 0.03 * (apart - 0.03))
    assert float(output.losses["cross"].count) == len(squares) > 10
    assert terms["cross"] == pytest.approx(sum(squares) / len(squares), rel=1e-3)


@pytest.mark.slow
def test_one_batch_is_learned() -> None:
    """Same masks and view in every step: all three losses fall to a tenth and below. Weighted so that all are
    about as large at first; else how far the 3D loss gets depends on the masks."""
    model, points = small(drop_path=0.0, weight_3d=30.0), shapes()
    optimizer = adamw(model, weight_decay=0.0, betas=(0.9, 0.95))
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    steps = 200
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1.0, (step + 1) / 20, 2 * (1 - step / steps))
        torch.manual_seed(7)
        output = model(points)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        last = {name: term.value.item() for name, term in output.losses.items()}
        first = first or last
    assert all(last[name] < first[name] / 10 for name in first), (first, last)


def test_without_the_image_branch_there_is_one_loss() -> None:
    model, points = small(image_branch=False), shapes()
    output = model(points)
    output.loss.backward()
    assert list(output.losses) == ["3d"] and output.images is None and output.frames is None
    assert [key for key, value in model.named_parameters() if value.grad is None] == []
    assert not any("image" in key or "2d" in key for key in model.state_dict())


def test_no_statistics_over_images() -> None:
    """In training, too, an image's tokens are the same whatever images are beside it, and nothing is left of
    a batch: statistics would tell visible patches of others, and one cloud of others."""
    torch.manual_seed(0)
    embedding = DepthEmbedding(48, (4, 2, 2), (16, 24, 32), 2, 4.0).train()
    before = {name: value.clone() for name, value in embedding.state_dict().items()}
    images, order = torch.rand(3, 48, 48), half(3, 9, 3).nonzero()[:, 1].view(3, 3)
    together = embedding(images, order)
    for image in range(3):
        alone = embedding(images[image : image + 1], order[image : image + 1])
        torch.testing.assert_close(alone[0], together[image], rtol=0, atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in embedding.state_dict().items())


def test_positions_of_patches_differ() -> None:
    positions = sincos_positions(7, 48)
    assert positions.shape == (49, 48) and float(positions.abs().max()) <= 1.0
    apart = torch.cdist(positions, positions) + torch.eye(49) * 9
    assert float(apart.min()) > 0.1
    # Patches of one row share what tells the row, those of one column what tells the column.
    assert torch.equal(positions[7:14, 24:], positions[7, 24:].expand(7, -1))
    assert torch.equal(positions[3::7, :24], positions[3, :24].expand(7, -1))


# Errors.


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        ({"mask_ratio_3d": 1.0}, ValueError, "mask_ratio_3d: from 0"),
        ({"mask_ratio_2d": -0.1}, ValueError, "mask_ratio_2d: from 0"),
        ({"mask_alignment": "random"}, TypeError, "mask_alignment: one of 'independent', 'aligned'"),
        ({"cross_attention": "global"}, TypeError, "cross_attention: one of 'local', 'full', 'none'"),
        ({"views": 2}, TypeError, "views: one of 1, 3"),
        ({"elevation": 91.0}, ValueError, "elevation: from 0"),
        ({"image_size": 60}, ValueError, r"image_size: a multiple of .* \(8\)"),
        ({"image_size": 10**6}, ValueError, "image_size: from 8 to 4096"),
        ({"cover": 4}, ValueError, "cover: odd"),
        ({"cover": 55}, ValueError, "cover: odd and below"),
        ({"farthest": 0.0}, ValueError, "farthest: from 0.001"),
        ({"image_strides": (2, 2)}, ValueError, "image_dims: 2 entries"),
        ({"image_strides": (2, 2, 0)}, ValueError, "image_strides: entries from 1 to 64"),
        ({"image_dims": (16, 32, 10**5)}, ValueError, "image_dims: entries from 1 to 8192"),
        ({"image_dims": (16, 32, 48)}, ValueError, "image_dims: the last must be the encoder's, 96"),
        ({"image_blocks": 10**6}, ValueError, "image_blocks: from 0 to 128"),
        ({"image_strides": (1,) * 9, "image_dims": (96,) * 9}, ValueError, "image_strides: at most 8"),
        ({"image_blocks": 128, "image_strides": (1,) * 8}, ValueError, "image_blocks: at most 256"),
        ({"shared_blocks": 0}, ValueError, "shared_blocks: from 1 to 128"),
        ({"specific_blocks": 129}, ValueError, "specific_blocks: from 1 to 128"),
        ({"target_level": 2}, ValueError, "target_level: from 0 to 1"),
        ({"hidden_margin": 2.0}, ValueError, "hidden_margin: from 0"),
        ({"filled_gaps": 2}, ValueError, "filled_gaps: an odd number"),
        ({"weight_cross": -1.0}, ValueError, "weight_cross: from 0"),
        ({"depths": (1, 2)}, ValueError, "depths: blocks at the coarsest level expected"),
        ({"depths": (0, 0)}, ValueError, "depths: blocks at the coarsest level expected"),
        ({"norm_levels": "last"}, ValueError, "norm_levels: pre-training needs 'all'"),
    ],
)
def test_wrong_arguments_are_named(overrides: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        small(**overrides)


@pytest.mark.parametrize(
    "limits",
    [
        {"image_strides": (64,), "image_dims": (8192,), "image_size": 4096},
        {"image_strides": (1,), "image_dims": (1,), "image_size": 8, "cover": 1},
        {"mask_ratio_3d": 0.999, "mask_ratio_2d": 0.999, "farthest": 0.999, "hidden_margin": 1.0},
        {"mask_ratio_3d": 0.0, "mask_ratio_2d": 0.0, "farthest": 0.001, "hidden_margin": 0.0},
        {"shared_blocks": 128, "specific_blocks": 128, "image_blocks": 128, "cover": 101},
        {"shared_blocks": 1, "specific_blocks": 1, "image_blocks": 0, "elevation": 90.0, "filled_gaps": 101},
    ],
)
def test_the_limits_that_messages_name_are_allowed(limits: dict[str, Any]) -> None:
    config = JointMAEConfig(**limits)
    assert {name: getattr(config, name) for name in limits} == limits


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"visible": torch.ones(2, 7, dtype=torch.bool)}, r"visible: bool \(2, 8\) expected, got .*\(2, 7\)"),
        ({"visible": torch.ones(2, 8)}, r"visible: bool \(2, 8\) expected, got torch.float32"),
        ({"visible_patches": torch.ones(2, 49, dtype=torch.bool)}, r"visible_patches: bool \(2, 1, 49\)"),
        ({"rotations": torch.eye(3)}, r"rotations: \(2, 1, 3, 3\) expected, got \(3, 3\)"),
    ],
)
def test_wrong_masks_are_named(given: dict[str, Tensor], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small()(shapes(), **given)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), 1e30])
def test_broken_points_are_a_broken_loss(broken: float) -> None:
    """Which training reports with the clouds' names, not an index error from somewhere."""
    points = shapes()
    points[1, 7] = broken
    assert not bool(small(views=3)(points).loss.isfinite())


def test_a_stage_instead_needs_a_mask() -> None:
    encoder = small().encoder
    with pytest.raises(ValueError, match="coarsest: only together with visible"):
        encoder.forward_features(shapes(), coarsest=lambda x, *_: x)


@pytest.mark.parametrize("name", ["joint_mae_base", "joint_mae_tiny"])
def test_classifiers_add_mean_and_maximum(name: str) -> None:
    model = create_model(name, "classification").eval()
    tokens = model.encoder.forward_features(shapes())
    pooled = model.forward_head(tokens, pre_logits=True)
    coarsest = tokens.features[-1]
    torch.testing.assert_close(pooled, coarsest.mean(1) + coarsest.amax(1))


def test_a_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match="no teacher"):
        small()(shapes(), object())
    assert JointMAEForPretraining.taught(None) == {}
    with pytest.raises(ValueError, match="no teacher"):
        JointMAEForPretraining.taught((6, 128))
