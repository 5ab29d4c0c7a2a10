"""The image teacher, against the reference's CLIP, an independent forward pass and a photo."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pointmae_zoo.models.teacher.image_teacher import IMAGENET_MEAN, IMAGENET_STD, Teacher
from pointmae_zoo.models.teacher.teacher_weights import load_plain_convolutions

pytest.importorskip("timm")

LITE_BLOCK = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
TINY_VIT = "test_vit"  # timm's own for tests: 160 pixels, 64 channels


def test_convolutional_maps_have_the_asked_strides_and_saliency_adds_up() -> None:
    torch.manual_seed(0)
    teacher = Teacher("mobilenetv2_035", weights="random", strides=(8, 16))
    features = teacher(torch.rand(2, 3, 64, 64))
    assert [tuple(one.shape) for one in features.maps] == [(2, 3, 16, 8, 8), (2, 3, 32, 4, 4)]
    assert teacher.channels == (16, 32)
    torch.testing.assert_close(features.saliency.sum(dim=(2, 3)), torch.ones(2, 3))
    energy = features.maps[1].square().sum(dim=2)
    torch.testing.assert_close(features.saliency, energy / energy.sum(dim=(2, 3), keepdim=True))


def test_views_are_independent_of_their_neighbours_in_the_batch() -> None:
    torch.manual_seed(0)
    teacher = Teacher("mobilenetv2_035", weights="random", strides=(16,))
    images = torch.rand(2, 3, 64, 64)
    alone = teacher(images[1:, 2:]).maps[0]
    torch.testing.assert_close(teacher(images).maps[0][1:, 2:], alone, rtol=1e-3, atol=1e-3)


def test_brightness_is_that_of_the_teachers_training() -> None:
    """Flat images, as the network gets them: with the model's own mean and deviation, or with ImageNet's."""
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    own = (0.5, 0.5, 0.5)  # of timm's small test model
    for normalization, mean, std in (
        ("model", own, own),
        ("imagenet", IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
    ):
        teacher = Teacher(TINY_VIT, weights="random", normalization=normalization)
        seen: list[torch.Tensor] = []
        teacher.network.patch_embed.register_forward_pre_hook(
            lambda _, given, seen=seen: seen.append(given[0])
        )
        teacher(torch.linspace(0, 1, 3).view(1, 3, 1, 1).expand(1, 3, 160, 160))
        for view, value in enumerate((0.0, 0.5, 1.0)):
            expected = (value - torch.tensor(mean)) / torch.tensor(std)
            torch.testing.assert_close(seen[0][view, :, 80, 80], expected, rtol=0, atol=1e-5)


def test_nothing_gathers_in_a_teacher_that_is_used_again_and_again() -> None:
    teacher = Teacher(TINY_VIT, weights="random")
    teacher(torch.zeros(1, 1, 160, 160))
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in teacher.modules())


def test_teacher_is_frozen_and_stays_in_evaluation_mode() -> None:
    teacher = Teacher("mobilenetv2_035", weights="random").train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize("normed_keys", [False, True])
def test_transformer_saliency_is_the_class_row_of_the_last_attention(normed_keys: bool) -> None:
    torch.manual_seed(0)
    teacher = Teacher(TINY_VIT, weights="random", image_size=160)
    last = teacher.network.blocks[-1].attn
    torch.nn.init.normal_(last.qkv.weight, std=0.3)  # far from uniform
    torch.nn.init.normal_(last.qkv.bias)
    if normed_keys:
        last.k_norm = torch.nn.LayerNorm(last.head_dim).requires_grad_(False)
    images = torch.rand(1, 2, 112, 112)
    features = teacher(images)
    assert tuple(features.maps[0].shape) == (1, 2, 64, 10, 10)
    # Independently: the network with its unfused attention, all rows of all heads recorded as they pass the
    # dropout.
    network, seen = teacher.network, []
    attention = network.blocks[-1].attn
    attention.fused_attn = False
    attention.attn_drop.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    flat = F.interpolate(images.flatten(0, 1)[:, None], size=(160, 160), mode="bilinear", align_corners=False)
    tokens = network.forward_features((flat.expand(-1, 3, -1, -1) - teacher.mean) / teacher.std)
    torch.testing.assert_close(
        features.saliency.flatten(0, 1).flatten(1), seen[0].mean(dim=1)[:, 0, 1:], rtol=1e-4, atol=1e-7
    )
    torch.testing.assert_close(
        features.maps[0][0].flatten(2).transpose(1, 2), tokens[:, 1:], rtol=1e-4, atol=1e-5
    )


def test_clip_agrees_with_the_reference(parity: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    sys.path.insert(0, str(parity))
    try:
        import fill
    finally:
        sys.path.remove(str(parity))
    manifest = json.loads((parity / "manifest_clip_visual.json").read_text(encoding="utf-8"))
    entries = manifest["state_dict"].items()
    save_file(
        {key: torch.from_numpy(fill.fill_value(key, one["shape"])) for key, one in entries},
        tmp_path / "clip.safetensors",
    )
    teacher = Teacher(
        "vit_base_patch16_clip_quickgelu_224", weights=tmp_path / "clip.safetensors", normalization="imagenet"
    )
    expected = load_file(parity / "clip_visual.safetensors")
    summed = load_file(parity / "i2p_projection.safetensors")["view1.depth_sum"].reshape(2, 1, 224, 224)
    features = teacher(torch.sigmoid(summed))
    torch.testing.assert_close(features.maps[0][:, 0], expected["dense"], rtol=0, atol=3e-5)
    torch.testing.assert_close(
        features.saliency[:, 0].flatten(1), expected["attn_cls_row"], rtol=0, atol=1e-7
    )


def test_plain_convolutions_agree_with_a_plain_forward_pass(testdata: Path) -> None:
    path = testdata / "teacher2d" / "mobilenetv2_imagenet_nofc.npz"
    teacher = Teacher("mobilenetv2_100", weights=path, strides=(8, 16))
    torch.manual_seed(0)
    images = torch.rand(1, 2, 112, 112)
    with np.load(path) as arrays:
        weights = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    numbers = iter(sorted({int(key.split("_")[1]) for key in weights if key.startswith("conv")}))

    def convolve(x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        number = next(numbers)
        kernel, bias = weights[f"conv_{number}_weight"], weights[f"conv_{number}_bias"]
        groups = len(kernel) if kernel.shape[1] == 1 else 1
        return F.conv2d(x, kernel, bias, stride=stride, padding=kernel.shape[-1] // 2, groups=groups)

    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (IMAGENET_MEAN, IMAGENET_STD))
    x = (images[0][:, None].expand(-1, 3, -1, -1) - mean) / std
    x = convolve(x, 2).clamp(0, 6)
    x = convolve(convolve(x).clamp(0, 6))
    by_width = {}
    for width, repeats, first_stride in ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1)):
        for repeat in range(repeats):
            inner = convolve(x).clamp(0, 6)
            inner = convolve(inner, first_stride if repeat == 0 else 1).clamp(0, 6)
            inner = convolve(inner)
            x = inner if repeat == 0 else x + inner
        by_width[width] = x
    features = teacher(images)
    torch.testing.assert_close(features.maps[0][0], by_width[32], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(features.maps[1][0], by_width[96], rtol=1e-4, atol=1e-4)


def test_squeezenet_recognises_a_red_panda(testdata: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    image_module = pytest.importorskip("PIL.Image")
    folder = testdata / "teacher2d"
    network = torchvision.models.squeezenet1_1().eval()
    with np.load(folder / "squeezenet1_1_imagenet.npz") as arrays:
        load_plain_convolutions(network, dict(arrays))
    photo = image_module.open(folder / "test.jpg").convert("RGB").resize((256, 256)).crop((16, 16, 240, 240))
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        best = int(network((pixels - mean) / std).argmax())
    assert "red panda" in (folder / "labels1000.txt").read_text(encoding="utf-8").splitlines()[best]
    teacher = Teacher(
        "torchvision/squeezenet1_1", weights=folder / "squeezenet1_1_imagenet.npz", strides=(8, 16)
    )
    assert teacher.channels == (256, 512)
    assert len(teacher(torch.rand(1, 1, 112, 112)).maps) == 2


def test_state_dict_files_are_read_and_checked(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    source = Teacher(TINY_VIT, weights="random")
    state = {key: value.clone() for key, value in source.network.state_dict().items()}
    save_file(state, tmp_path / "vit.safetensors")
    torch.save(state, tmp_path / "vit.pth")
    images = torch.rand(1, 1, 160, 160)
    for name in ("vit.safetensors", "vit.pth"):
        torch.testing.assert_close(
            Teacher(TINY_VIT, weights=tmp_path / name)(images).maps[0], source(images).maps[0]
        )
    del state["norm.weight"]
    save_file(state, tmp_path / "vit.safetensors")
    with pytest.raises(ValueError, match=r"1 of \d+ keys missing.*norm\.weight"):
        Teacher(TINY_VIT, weights=tmp_path / "vit.safetensors")


@pytest.mark.parametrize(
    ("name", "strides", "channels", "saliency"),
    [
        ("resnet10t", (8, 16), (128, 256), "activation"),
        ("convnext_atto", (4, 16), (40, 160), "activation"),
        ("efficientnet_b0", (8, 32), (40, 320), "activation"),
        ("xcit_nano_12_p16_224", (16,), (128,), "activation"),  # its last block
        ("deit_tiny_distilled_patch16_224", (8, 16), (192,), "attention"),
        ("vit_small_patch16_dinov3", (8, 16), (384,), "attention"),
        ("test_vit", (8, 16), (64,), "attention"),
        ("vit_wee_patch16_reg1_gap_256", (8, 16), (256,), "none"),
    ],
)
def test_kinds_of_networks(
    name: str, strides: tuple[int, ...], channels: tuple[int, ...], saliency: str
) -> None:
    timm = pytest.importorskip("timm")
    if not timm.is_model(name):
        pytest.skip(f"this timm has no {name}")
    teacher = Teacher(name, weights="random", strides=strides)
    assert (teacher.channels, teacher.saliency) == (channels, saliency)
    features = teacher(torch.rand(1, 2, 64, 64))
    assert tuple(one.shape[2] for one in features.maps) == channels
    side = teacher.image_size or 64
    if not teacher.is_transformer:
        assert [tuple(one.shape[3:]) for one in features.maps] == [(side // s, side // s) for s in strides]
    if saliency == "none":
        assert features.saliency is None
        return
    assert features.saliency is not None
    assert features.saliency.shape[2:] == features.maps[-1].shape[3:]
    total = features.saliency.sum((2, 3))
    assert ((total > 0.5) & (total < 1 + 1e-5)).all()


@pytest.mark.parametrize(
    ("name", "stride"),
    [("convnext_atto", 16), ("swin_tiny_patch4_window7_224", 8), ("xcit_nano_12_p16_224", 16)],
)
def test_a_full_models_weights_fill_its_feature_maps(name: str, stride: int, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    full = timm.create_model(name).eval()
    torch.save({"model": full.state_dict(), "epoch": 3}, tmp_path / "full.pth")
    teacher = Teacher(name, weights=tmp_path / "full.pth", strides=(stride,))
    images = torch.rand(1, 1, 224, 224)
    with torch.no_grad():
        flat = (images[0, :, None].expand(-1, 3, -1, -1) - teacher.mean) / teacher.std
        found = full.forward_intermediates(flat, intermediates_only=True, output_fmt="NCHW")
    expected = next(one for one in reversed(found) if one.shape[-1] == 224 // stride)
    torch.testing.assert_close(teacher(images).maps[0][0], expected, rtol=1e-4, atol=1e-4)


def test_an_efficientnet_lite_under_the_names_of_another_package(tmp_path: Path) -> None:
    """efficientnet-pytorch and timm define the same layers in the same order."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    full = timm.create_model("tf_efficientnet_lite0").eval()
    for layer in full.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # untrained ones are all the same
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    layers = ["_conv_stem", "_bn0", *(f"_blocks.0.{one}" for one in LITE_BLOCK[2:])]
    layers += [f"_blocks.{number}.{one}" for number in range(1, 16) for one in LITE_BLOCK]
    layers += ["_conv_head", "_bn1", "_fc"]
    of_layer = {key.rpartition(".")[0]: [] for key in full.state_dict()}
    for key, value in full.state_dict().items():
        of_layer[key.rpartition(".")[0]].append((key.rpartition(".")[2], value))
    theirs = {
        f"{layer}.{array}": value
        for layer, arrays in zip(layers, of_layer.values(), strict=True)
        for array, value in arrays
    }
    torch.save(theirs, tmp_path / "lite.pth")
    teacher = Teacher("tf_efficientnet_lite0", weights=tmp_path / "lite.pth", strides=(8, 16, 32))
    images = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        flat = (images[0, :, None].expand(-1, 3, -1, -1) - teacher.mean) / teacher.std
        found = full.forward_intermediates(flat, intermediates_only=True)
    for one, expected in zip(teacher(images).maps, found[-3:], strict=True):
        torch.testing.assert_close(one[0], expected, rtol=1e-4, atol=1e-4)
    del theirs["_blocks.15._bn2.bias"]
    torch.save(theirs, tmp_path / "lite.pth")
    with pytest.raises(ValueError, match=r"1 of \d+ keys missing.*blocks\.6\.0\.bn3\.bias"):
        Teacher("tf_efficientnet_lite0", weights=tmp_path / "lite.pth", strides=(8, 16, 32))


def test_another_image_size_moves_the_positions_with_it() -> None:
    teacher = Teacher(TINY_VIT, weights="random", image_size=96)
    assert teacher(torch.rand(1, 1, 50, 50)).maps[0].shape == (1, 1, 64, 6, 6)


@pytest.mark.parametrize("name", ["mobilenetv2_035", "test_vit"])
def test_bfloat16_is_near_and_float32_is_exact_whatever_is_around(name: str) -> None:
    torch.manual_seed(0)
    teacher = Teacher(name, weights="random")
    images = torch.rand(2, 1, 64, 64)
    exact = teacher(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(teacher(images).maps[0], exact.maps[0])
    teacher.precision = "bfloat16"
    near = teacher(images)
    assert near.maps[0].dtype == torch.float32
    error = (near.maps[0] - exact.maps[0]).norm() / exact.maps[0].norm()
    assert 1e-5 < error < 0.05
    teacher.precision = "auto"
    assert teacher.computes_in(torch.device("meta")) == "float32"


def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: object) -> object:
        if pretrained:
            raise ConnectionError("no route to host\nand many lines more")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    for name in ("test_vit", "mobilenetv2_035"):
        with pytest.raises(OSError, match=rf"teacher {name}: .*no route to host\); download them elsewhere"):
            Teacher(name)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "mobilenetv2_1000"}, ValueError, "not a timm model; near ones: mobilenetv2_100"),
        ({"name": "vit_base_patch16_clip_244"}, ValueError, "near ones: vit_base_patch16_clip_224"),
        ({"name": "mobilenetv2_100.imagenet"}, ValueError, r"pretrained ones: mobilenetv2_100\.ra_in1k"),
        (
            {"name": "crossvit_tiny_240"},
            ValueError,
            r"240: (neither a|no feature map of stride 8; .* \[12, 17\])",
        ),
        ({"name": "mobilenetv2_100", "strides": (7,)}, ValueError, "no feature map of stride 7"),
        ({"name": "mobilenetv2_100", "weights": "absent.npz"}, FileNotFoundError, "no such file"),
        ({"name": "torchvision/absent"}, ValueError, "not a torchvision model"),
    ],
)
def test_wrong_arguments(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Teacher(**{"weights": "random", **arguments})


def test_plain_convolutions_that_do_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", conv_0_weight=np.zeros((32, 3, 3, 3)), conv_0_bias=np.zeros(32))
    with pytest.raises(ValueError, match=r"few\.npz: 1 convolutions, but the network has"):
        Teacher("mobilenetv2_100", weights=tmp_path / "few.npz")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    with pytest.raises(ValueError, match="the network has"):
        load_plain_convolutions(network, {"a1_weight": np.zeros((5, 3, 1, 1)), "a1_bias": np.zeros(5)})
    with pytest.raises(ValueError, match=r"\(1, 3\)|expected \(B, V, H, W\)"):
        Teacher("mobilenetv2_035", weights="random")(torch.zeros(1, 3))


def test_folded_convolutions_through_layers_with_batch_norm() -> None:
    """A network of convolutions with and without a bias gives what the plain convolutions give by numpy."""
    nn = torch.nn
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4, eps=0.01), nn.Conv2d(4, 2, 1))
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(4, 3)).astype("f4"), generator.normal(size=(2, 4)).astype("f4")
    biases = generator.normal(size=4).astype("f4"), generator.normal(size=2).astype("f4")
    with torch.no_grad():
        for value in network[1].state_dict().values():
            value.fill_(7)
    arrays = {"c2_weight": first[..., None, None], "c2_bias": biases[0]}
    arrays |= {"c10_weight": second[..., None, None], "c10_bias": biases[1], "c11_bias": biases[1]}
    load_plain_convolutions(network, arrays)
    pixel = generator.normal(size=3).astype("f4")
    found = network.eval()(torch.from_numpy(pixel).view(1, 3, 1, 1)).detach().flatten()
    np.testing.assert_allclose(found, second @ (first @ pixel + biases[0]) + biases[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".npz"])
def test_damaged_files_are_named_with_a_remedy(tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    path = tmp_path / f"teacher{suffix}"
    if suffix == ".npz":
        np.savez(path, conv_0_weight=np.zeros((32, 3, 3, 3)), conv_0_bias=np.zeros(32))
    elif suffix == ".pth":
        torch.save({"weight": torch.zeros(100)}, path)
    else:
        save_file({"weight": torch.zeros(100)}, path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not weights at all"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"teacher\{suffix}: damaged.*download it again") as caught:
            Teacher("mobilenetv2_035", weights=path)
        assert "\n" not in str(caught.value)


class _Harmful:
    def __reduce__(self) -> tuple:
        return (pytest.fail, ("pickled code was run",))


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    torch.save(_Harmful(), tmp_path / "code.pth")
    np.savez(tmp_path / "code.npz", conv_0_weight=np.array([_Harmful()], dtype=object))
    for name in ("code.pth", "code.npz"):
        with pytest.raises(ValueError, match=f"{name}: damaged, or no"):
            Teacher("mobilenetv2_035", weights=tmp_path / name)


def test_shapes_that_do_not_fit_are_given(tmp_path: Path) -> None:
    state = dict(Teacher(TINY_VIT, weights="random").network.state_dict())
    shape = tuple(state["cls_token"].shape)
    state["cls_token"] = torch.zeros(1, 1, 7)
    torch.save(state, tmp_path / "other.pth")
    said = f"1 of another shape; the first is cls_token, (1, 1, 7) in the file and {shape} in the model"
    with pytest.raises(ValueError, match=re.escape(said)):
        Teacher(TINY_VIT, weights=tmp_path / "other.pth")


def test_files_without_named_weights(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    torch.save({"visual.class_embedding": torch.zeros(192)}, tmp_path / "clip.pth")
    with pytest.raises(ValueError, match=r"list\.pth: no named weights"):
        Teacher(TINY_VIT, weights=tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"clip\.pth: "):
        Teacher(TINY_VIT, weights=tmp_path / "clip.pth")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    kernel = np.zeros((4, 3, 1, 1), np.float32)
    with pytest.raises(ValueError, match="has no bias"):
        load_plain_convolutions(network, {"a1_weight": kernel})
    with pytest.raises(ValueError, match=r"bias of shape \(5,\)"):
        load_plain_convolutions(network, {"a1_weight": kernel, "a1_bias": np.zeros(5, np.float32)})
