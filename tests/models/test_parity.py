"""Our models against recorded outputs of the reference implementations, through the converter.

Weights are never stored: each entry is filled from its reference name and shape by a fixed rule, saved as a
reference-style checkpoint, converted, loaded strictly and run.
"""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pointmae_zoo import convert_checkpoint, from_pretrained, ops
from pointmae_zoo.models.i2p_mae.reference_checkpoints import our_key
from pointmae_zoo.models.layers import DropPath
from pointmae_zoo.models.pretraining_model import TeacherViews
from samples.filled_weights import fill

GOLDEN = Path(__file__).parents[1] / "golden"
# Names of fixtures -> keys of the checkpoint, and the preset.
CHECKPOINTS = {
    "pretraining": ("pretraining", None),
    "modelnet40": ("modelnet40", "modelnet40"),
    "scan_obj": ("scan", "scanobjectnn"),
    "scan_pb": ("scan", "scanobjectnn_pb"),
    "parts": ("parts", None),
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """A converted and loaded model by the name of its fixture; keys as the reference saves them."""
    keys = json.loads((GOLDEN / "reference_keys.json").read_text())
    models: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in models:
            manifest, preset = CHECKPOINTS[name]
            folder = tmp_path_factory.mktemp(name)
            state = {f"module.{key}": fill(key, shape) for key, shape in keys[manifest].items()}
            state["module.clip_model.logit_scale"] = torch.zeros(())  # rides along in real checkpoints
            torch.save({"base_model": state, "epoch": 300}, folder / "reference.pth")
            convert_checkpoint(folder / "reference.pth", folder / "ours", preset=preset)
            models[name] = from_pretrained(folder / "ours")
        return models[name]

    return get


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "reference_outputs.safetensors")


def close(ours: Tensor, reference: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours.float(), reference.float(), rtol=0, atol=tolerance)


# What a clone has: the small arrays.


@pytest.mark.parametrize("points", ["n1024", "n2048"])
def test_features_without_mask(converted: Any, golden: dict[str, Tensor], points: str) -> None:
    encoder = converted("pretraining").encoder
    clouds = golden["clouds"][:, : int(points[1:])]
    assert torch.equal(encoder.group(clouds).indices.int(), golden[f"{points}.fps"])
    close(encoder.embed(clouds, pool="max"), golden[f"{points}.feature"], 3e-5)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ({"hide_uncovered": False}, "feature_all_visible"),
        ({"skip_near_origin": False}, "feature_plain_sampling"),
    ],
)
def test_our_own_flags(converted: Any, golden: dict[str, Tensor], flags: dict[str, bool], name: str) -> None:
    """The flags that we leave off for our own weights, off: the variants that were recorded for them."""
    from pointmae_zoo import create_model

    stored = converted("pretraining").encoder
    encoder = create_model("i2p_mae_base", **{**stored.config.arguments, **flags})
    encoder.load_state_dict(stored.state_dict())
    close(encoder.embed(golden["clouds"]), golden[f"n2048.{name}"], 3e-5)


@pytest.mark.parametrize(("name", "points"), [("modelnet40", 1024), ("scan_obj", 2048), ("scan_pb", 2048)])
def test_classifiers(converted: Any, golden: dict[str, Tensor], name: str, points: int) -> None:
    model = converted(name)
    clouds = golden["clouds"][:, :points]
    with torch.no_grad():
        close(model(clouds), golden[f"{name}.logits"], 5e-5)
    close(model.encoder.embed(clouds), golden[f"{name}.pooled"], 3e-5)


def test_part_segmentation(converted: Any, golden: dict[str, Tensor]) -> None:
    with torch.no_grad():
        logits = converted("parts")(golden["clouds"], golden["parts.object_class"])
    close(logits.log_softmax(-1)[:, :64], golden["parts.log_probs_first64"], 3e-4)


def noise(key: str, shape: tuple[int, ...]) -> Tensor:
    drawn = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    return torch.from_numpy(drawn.astype(np.float32))


def teacher_views(clouds: Tensor, saliency: Tensor | None = None) -> TeacherViews:
    """The recorded passes' stand-in for a teacher: fixed noise, stored view by view."""
    features = noise("img_feats", (6, 512, 14, 14)).view(3, 2, 512, 14, 14).transpose(0, 1)
    if saliency is not None:
        saliency = saliency.view(3, 2, 14, 14).transpose(0, 1)
    return TeacherViews([features], saliency, ops.summed_depth_images(clouds).pixels)


def test_losses_of_a_masked_pass(converted: Any, golden: dict[str, Tensor]) -> None:
    model = converted("pretraining")
    visible = ~golden["maskedB.l2.masked"].bool()
    with torch.no_grad():
        out = model(golden["clouds"], teacher_views(golden["clouds"]), visible=visible)
    ours = torch.stack([out.losses["3d"].value, out.losses["2d"].value])
    torch.testing.assert_close(ours, golden["maskedB.losses"], rtol=1e-5, atol=0)


# Every recorded array, where the folder is there.


class Watch:
    """Outputs of named submodules during one pass."""

    def __init__(self, **modules: torch.nn.Module) -> None:
        self.seen: dict[str, Tensor] = {}
        for name, module in modules.items():
            module.register_forward_hook(lambda _m, _i, out, name=name: self.seen.__setitem__(name, out))

    def __getitem__(self, name: str) -> Tensor:
        return self.seen[name]


@pytest.mark.parametrize("points", [1024, 2048])
def test_every_array_without_mask(converted: Any, parity: Path, points: int) -> None:
    encoder = converted("pretraining").encoder
    recorded = load_file(parity / "i2p_pretrain.safetensors")
    clouds = load_file(parity / "inputs.safetensors")["clouds"][:, :points]
    watch = Watch(**{str(level): embed for level, embed in enumerate(encoder.embeddings)})
    with torch.no_grad():
        tokens = encoder.forward_features(clouds)
    for level in range(3):
        prefix = f"nomask.n{points}.l{level}."
        count = encoder.hyper.num_tokens[level]
        close(tokens.centers[level], recorded[prefix + "center"], 0)
        # The reference samples each level from the one below; a prefix of level 0 is the identity there.
        own = tokens.groups.indices if level == 0 else torch.arange(count).expand(2, -1)
        assert torch.equal(own.int(), recorded[prefix + "fps_idx"])
        assert torch.equal(tokens.groups.neighbors[level].int(), recorded[prefix + "knn_idx"])
        hidden = recorded[prefix + "masked"].bool()
        visible = tokens.visible[level]
        assert torch.equal(torch.ones_like(hidden) if visible is None else visible, ~hidden)
        if prefix + "token_embed.first64" in recorded:
            close(watch[str(level)][:, :64], recorded[prefix + "token_embed.first64"], 3e-4)
        if prefix + "encoder_norm_out" in recorded:
            valid = recorded[prefix + "valid"].bool()
            close(tokens.features[level][~hidden], recorded[prefix + "encoder_norm_out"][valid], 3e-5)


def masks(parity: Path, tag: str, *, slip: bool) -> list[Tensor]:
    """Visible tokens per level; with ``slip``, including the reference's token 0 of the first cloud."""
    recorded = load_file(parity / "i2p_pretrain.safetensors")
    suffix = "masked" if slip else "masked_without_index0_quirk"
    return [~recorded[f"masked{tag}.l{level}.{suffix}"].bool() for level in range(3)]


@pytest.mark.parametrize("tag", ["A", "B"])
def test_every_array_of_the_masked_passes(converted: Any, parity: Path, tag: str) -> None:
    model = converted("pretraining")
    recorded = {
        name.removeprefix(f"masked{tag}."): array
        for name, array in load_file(parity / "i2p_pretrain.safetensors").items()
    }
    clouds = load_file(parity / "inputs.safetensors")["clouds"]
    drawn = torch.zeros(2, 64, dtype=torch.bool)
    generator = np.random.default_rng({"A": 0, "B": 3}[tag])
    for cloud in drawn:
        cloud[generator.permutation(64)[:13]] = True
    groups = model.encoder.group(clouds)
    for ours, reference in zip(
        model.encoder.visible_below(drawn, groups), masks(parity, tag, slip=False), strict=True
    ):
        assert torch.equal(ours, reference)

    visible = masks(parity, tag, slip=True)
    watch = Watch(
        stage0=model.stages[0],
        position0=model.stages[0].position,
        propagated=model.propagations[0],
        end=model.norm,
    )
    with torch.no_grad():
        out = model(clouds, teacher_views(clouds), visible=visible)
        tokens = model.encoder.forward_features(clouds, visible=visible)
    for level in range(3):
        if f"l{level}.x_vis" in recorded:
            valid = recorded[f"l{level}.valid"].bool()
            close(tokens.features[level][visible[level]], recorded[f"l{level}.x_vis"][valid], 3e-5)
    # The reference's decoder has visible tokens first; ours keeps the order of the centres.
    order = (~visible[2]).int().argsort(dim=1, stable=True).unsqueeze(-1)
    sorted_centers = groups.centers[2].gather(1, order.expand(-1, -1, 3))
    close(sorted_centers, recorded["center0_vis_then_masked"], 0)
    if tag == "A":
        wide = order.expand(-1, -1, 384)
        fed = torch.where(visible[2].unsqueeze(-1), tokens.features[2], model.mask_token)
        close(fed.gather(1, wide), recorded["dec0_in"], 3e-5)
        close(watch["position0"].gather(1, wide), recorded["dec0_pos"], 3e-5)
        close(watch["stage0"].gather(1, wide), recorded["dec0_out"], 2e-4)
        close(watch["propagated"], recorded["token_prop_out"], 5e-4)
    close(watch["end"], recorded["decoder_norm_out"], 2e-4)
    close(out.points.predicted[out.points.valid], recorded["rec_3d"], 1e-4)
    close(out.points.target[out.points.valid], recorded["gt_3d"], 0)
    channels = load_file(parity / "i2p_pretrain.safetensors")["meta.rec2d_channels"].long()
    close(out.images.predicted[out.images.valid][..., channels], recorded["rec_2d_sub"], 2e-4)
    close(out.images.target[out.images.valid][..., channels], recorded["target_2d_sub"], 3e-5)
    torch.testing.assert_close(out.losses["3d"].value, recorded["loss_3d"][0], rtol=1e-5, atol=0)
    torch.testing.assert_close(out.losses["2d"].value, recorded["loss_2d"][0], rtol=1e-5, atol=0)


def test_gradients_of_a_training_step(converted: Any, parity: Path, tmp_path: Path) -> None:
    """BatchNorm in batch mode: statistics weighted by multiplicity must equal those of repeated rows."""
    from pointmae_zoo import save_pretrained

    save_pretrained(converted("pretraining"), tmp_path)
    model = from_pretrained(tmp_path).train()
    for part in model.modules():
        if isinstance(part, DropPath):
            part.rate = 0.0
    step = json.loads((parity / "manifest_i2p_mae_pretrain.json").read_text())["train_step_maskA_droppath0"]
    clouds = load_file(parity / "inputs.safetensors")["clouds"]
    out = model(clouds, teacher_views(clouds), visible=masks(parity, "A", slip=True))
    assert float(out.losses["3d"].value.detach()) == pytest.approx(step["loss_3d"], rel=1e-5)
    assert float(out.losses["2d"].value.detach()) == pytest.approx(step["loss_2d"], rel=1e-5)
    out.loss.backward()
    parameters = dict(model.named_parameters())
    assert len(step["grad_norm_and_sum"]) == len(parameters)
    for key, recorded in step["grad_norm_and_sum"].items():
        if recorded is None:
            assert parameters[our_key(key)].grad is None, key
            continue
        norm, total = recorded
        gradient = parameters[our_key(key)].grad.double()
        assert float(gradient.norm()) == pytest.approx(norm, rel=3e-4, abs=1e-2 if norm < 1e-2 else 0), key
        assert float(gradient.sum()) == pytest.approx(
            total, abs=3e-3 * max(norm, 1e-2) * gradient.numel() ** 0.5
        )
    buffers = dict(model.named_buffers())
    for key, (mean, deviation) in step["bn_running_after"].items():
        buffer = buffers[our_key(key)].double()
        assert float(buffer.mean()) == pytest.approx(mean, rel=1e-4, abs=1e-6), key
        assert float(buffer.std()) == pytest.approx(deviation, rel=1e-4), key


@pytest.mark.parametrize(("name", "points"), [("modelnet40", 1024), ("scan_obj", 2048), ("scan_pb", 2048)])
def test_every_array_of_the_fine_tuned_models(converted: Any, parity: Path, name: str, points: int) -> None:
    recorded = {
        key.removeprefix(f"{name}."): array
        for key, array in load_file(parity / "i2p_finetune.safetensors").items()
        if key.startswith(f"{name}.")
    }
    model = converted(name)
    encoder = model.encoder
    clouds = load_file(parity / "inputs.safetensors")["clouds"][:, :points]
    watch = Watch(**{str(level): stage for level, stage in enumerate(encoder.stages)})
    with torch.no_grad():
        logits = model(clouds)
        groups = encoder.group(clouds)
    for level in range(3):
        allowed = encoder._allowed(level, groups.centers[level], None).squeeze(1)
        blocked = torch.from_numpy(np.packbits((~allowed).numpy(), axis=-1))
        assert torch.equal(blocked, recorded[f"l{level}.att_blocked_bits"])
        if f"l{level}.knn_idx" in recorded:
            assert torch.equal(groups.neighbors[level].int(), recorded[f"l{level}.knn_idx"])
            close(groups.centers[level], recorded[f"l{level}.center"], 0)
        if f"l{level}.block_out" in recorded:
            close(watch[str(level)], recorded[f"l{level}.block_out"], 3e-4)
    close(watch["2"], recorded["encoder_out"], 3e-4)
    close(logits, recorded["logits"], 5e-5)
    if "smooth_loss" in recorded:
        # The reference spreads the smoothing over the other classes only: its 0.2 is torch's 0.2 * 40 / 39.
        loss = torch.nn.functional.cross_entropy(
            logits, recorded["labels"].long(), label_smoothing=0.2 * 40 / 39
        )
        close(loss, recorded["smooth_loss"][0], 5e-5)


def test_every_array_of_part_segmentation(converted: Any, parity: Path) -> None:
    recorded = load_file(parity / "m2ae_seg.safetensors")
    model = converted("parts")
    clouds = load_file(parity / "inputs.safetensors")["clouds"]
    watch = Watch(**{f"p{level}": part for level, part in enumerate(model.propagations)})
    with torch.no_grad():
        logits = model(clouds, recorded["cls_label"])
        tokens = model.encoder.forward_features(clouds)
    for level in range(3):
        close(tokens.features[level].transpose(1, 2), recorded[f"encoder_norm_out.l{level}"], 3e-5)
        spread = watch[f"p{level}"].view(2, 2048, -1)
        close(spread[:, :8].transpose(1, 2), recorded[f"propagated.l{level}.first8"], 3e-4)
        stats = torch.stack([spread.mean(1), spread.amax(1)], dim=0)
        close(stats, recorded[f"propagated.l{level}.mean_max"], 3e-4)
    close(logits.log_softmax(-1), recorded["log_probs"], 3e-4)


def test_point_m2aes_encoder(parity: Path, tmp_path: Path) -> None:
    """Only of the first cloud: it has no hidden token. In the reference, tokens of clouds with fewer visible
    ones than another in the batch also attend to padding."""
    keys = json.loads((parity / "manifest_point_m2ae_pretrain.json").read_text())["state_dict"]
    state = {key: fill(key, entry["shape"]) for key, entry in keys.items()}
    torch.save({"base_model": state}, tmp_path / "pre-train.pth")
    encoder = from_pretrained(convert_checkpoint(tmp_path / "pre-train.pth", tmp_path / "ours"))
    recorded = load_file(parity / "m2ae_pretrain.safetensors")
    clouds = load_file(parity / "inputs.safetensors")["clouds"]
    for points in (1024, 2048):
        with torch.no_grad():
            tokens = encoder.forward_features(clouds[:1, :points])
        close(tokens.features[2], recorded[f"nomask.n{points}.l2.encoder_norm_out"][:1], 3e-5)
        close(encoder.embed(clouds[:1, :points]), recorded[f"nomask.n{points}.svm_feature"][:1], 3e-5)


def test_every_array_of_the_projection(converted: Any, parity: Path) -> None:
    recorded = load_file(parity / "i2p_projection.safetensors")
    clouds = recorded["input.pts"]
    views = ops.summed_depth_images(clouds)
    maps = recorded["i2p_featmap"].unsqueeze(1)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for number in range(3):
        prefix = f"view{number + 1}."
        close(views.images[:, number], recorded[prefix + "depth_sum"], 3e-5)
        image = (views.images[:, number, None].sigmoid() - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
        close(image[:, :, 100], recorded[prefix + "img_norm_row100"], 3e-5)
        read = ops.read_maps(maps, views.pixels[:, number : number + 1]).squeeze(2)
        close(read, recorded[prefix + "i2p_points"], 3e-5)
    saliency = recorded["img_sals_cls_row"].view(3, 2, 14, 14).transpose(0, 1)
    read = ops.read_maps(saliency.unsqueeze(2), views.pixels).squeeze(-1)
    for number in range(3):
        close(read[..., number], recorded[f"view{number + 1}.point_saliency"], 3e-5)
    close(read.mean(-1), recorded["point_saliency_mean"], 3e-5)

    model = converted("pretraining")
    groups = model.encoder.group(clouds)
    seen = TeacherViews([], saliency, views.pixels)
    close(model.token_probability(groups, seen), recorded["token_prob"], 1e-6)
    # The reference draws by torch.multinomial, which in torch 2.6 had other numbers for the same seed.
    torch.manual_seed(1234)
    by_multinomial = torch.multinomial(recorded["token_prob"], model.num_visible, replacement=False)
    torch.manual_seed(1234)
    drawn = model.draw_visible(groups, seen)
    assert torch.equal(drawn, torch.zeros_like(drawn).scatter(1, by_multinomial, True))
    if not torch.__version__.startswith("2.6."):
        assert torch.equal(drawn, ~recorded["mask_2D_guided.cpu_seed1234"].bool())
