"""The frozen image network that teaches: patch features and a saliency for every depth view (I2P-MAE, section
3.2).

``Teacher("vit_base_patch16_clip_quickgelu_224", weights="clip.safetensors")`` is the paper's. Any other timm
model can teach, and so can torchvision's plain stacks under ``torchvision/NAME`` (timm has no SqueezeNet):

- Plain vision transformers (ViT, DeiT, CLIP, DINO, DINOv2, DINOv3, MAE, EVA, BEiT) give one map, the patch
  tokens after the final norm. The saliency is the class token's attention in the last block; without a class
  token (SigLIP) there is no saliency, and masks are not guided.
- Networks with feature maps (ResNet, ConvNeXt, EfficientNet, RegNet, Swin, PVT, Hiera, ...) give these at the
  chosen strides. The saliency is the activation energy of the coarsest map.

Weights are downloaded by timm (``weights="pretrained"``), read from a local file (see ``teacher_weights``),
or random (``"random"``, for tests).
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from pointmae_zoo.models.teacher.teacher_weights import first_line, load_weights
from pointmae_zoo.ops.precision import chosen_precision

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_TORCHVISION = "torchvision/"
_TRANSFORMERS = ("VisionTransformer", "VisionTransformerDistilled", "Eva", "Beit")


@dataclass(frozen=True)
class TeacherFeatures:
    """What the teacher sees in B clouds of V views.

    Args:
        maps: one (B, V, C_i, h_i, w_i) float32 feature map for each stride; transformers give one.
        saliency: (B, V, h, w) float32, not negative. Each view sums to 1; with transformers to 1 minus the
            class token's attention to itself and to other tokens that are not patches. None: there is none.
    """

    maps: tuple[Tensor, ...]
    saliency: Tensor | None


class Teacher(nn.Module):
    """A frozen image network: (B, V, H, W) depth images in [0, 1] -> ``TeacherFeatures``.

    Transformers give their patch tokens after the final norm (CLIP: and the projection). The saliency is the
    class token's row of the last block's attention, averaged over heads. With plain attention only that row
    is computed, and the blocks keep their fused attention; in EVA, DINOv3 and BEiT (rotary or relative
    positions) the last block computes all rows. Other networks give their feature maps at ``strides``; the
    saliency is the squared activation of the coarsest map, summed over channels, scaled to
    sum to 1 in each view.

    Args:
        name: timm model name, or ``torchvision/NAME`` for a torchvision model that is a plain stack
            ``features``.
        weights: ``"pretrained"``, ``"random"`` or the path of a local file.
        strides: for networks with feature maps: the pixel strides of the maps, fine to coarse.
        image_size: side to which images are resized (bilinear) first; None leaves them as they are, or, for
            networks made for one size, resizes them to that.
        normalization: ``"model"``: mean and standard deviation of the model's training; ``"imagenet"``:
            ImageNet's, as the reference does with CLIP.
        precision: ``"bfloat16"`` autocast, ``"float32"``, or ``"auto"``: bfloat16 on devices that have it
            (see ``ops.precision``). Features differ by 1 % or less (CLIP ViT-B/16) to 3 % (MobileNetV2) of
            their norm; plain class attention is always computed in float32.

    Attributes:
        channels: of each map.
        saliency: ``"attention"``, ``"activation"`` or ``"none"``.

    Raises:
        ModuleNotFoundError: timm or torchvision is missing.
        ValueError: unknown model, no feature map of such a stride, a file that does not fit the model.
        FileNotFoundError: no such weights file.
        OSError: the weights cannot be downloaded.
    """

    mean: Tensor
    std: Tensor
    saliency: Literal["attention", "activation", "none"]

    def __init__(
        self,
        name: str,
        *,
        weights: str | Path = "pretrained",
        strides: Sequence[int] = (8, 16),
        image_size: int | None = None,
        normalization: Literal["model", "imagenet"] = "model",
        precision: Literal["auto", "float32", "bfloat16"] = "float32",
    ) -> None:
        super().__init__()
        self.name = name
        self.strides = tuple(strides)
        self.precision = precision
        build = _build_torchvision if name.startswith(_TORCHVISION) else _build_timm
        built = build(name, self.strides, image_size, str(weights) == "pretrained")
        if str(weights) not in ("pretrained", "random"):
            load_weights(built.own, Path(weights))
        self.network = built.network.eval().requires_grad_(False)
        if not built.is_transformer:  # convolutions are 1.3 to 1.8 times as fast in this layout
            self.network.to(memory_format=torch.channels_last)
        self.channels = built.channels
        self.image_size = image_size or built.image_size
        self.is_transformer = built.is_transformer
        self.saliency = "activation"
        if self.is_transformer:
            network: Any = self.network
            has_token = getattr(network, "cls_token", None) is not None and network.num_prefix_tokens > 0
            self.saliency = "attention" if has_token else "none"
        if self.saliency == "attention" and not _is_plain(self.network.blocks[-1].attn):
            self.network.blocks[-1].attn.fused_attn = False
        imagenet = normalization == "imagenet"
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if imagenet else (built.mean, built.std)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "Teacher":
        """Stays in evaluation mode: a teacher does not learn."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> TeacherFeatures:
        """All views of all clouds in one batch.

        Args:
            images: (B, V, H, W) in [0, 1].

        Raises:
            ValueError: images of another shape.
        """
        if images.ndim != 4:
            raise ValueError(f"teacher images have shape {tuple(images.shape)}, expected (B, V, H, W)")
        num_clouds, num_views = images.shape[:2]
        flat = images.flatten(0, 1).unsqueeze(1)  # (B V, 1, H, W)
        if self.image_size is not None and flat.shape[-2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            flat = nn.functional.interpolate(flat, size=size, mode="bilinear", align_corners=False)
        flat = (flat.expand(-1, 3, -1, -1) - self.mean) / self.std
        with torch.autocast(
            flat.device.type, dtype=torch.bfloat16, enabled=self.computes_in(flat.device) == "bfloat16"
        ):
            maps, saliency = self._transformer(flat) if self.is_transformer else self._convolutional(flat)
        return TeacherFeatures(
            maps=tuple(one.float().unflatten(0, (num_clouds, num_views)) for one in maps),
            saliency=None if saliency is None else saliency.float().unflatten(0, (num_clouds, num_views)),
        )

    def computes_in(self, device: torch.device) -> str:
        """``"bfloat16"`` or ``"float32"``: the precision on a device."""
        return chosen_precision(self.precision, device)

    def _convolutional(self, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
        maps = list(self.network(images.contiguous(memory_format=torch.channels_last)))
        energy = maps[-1].float().square().sum(dim=1)
        return maps, energy / energy.sum(dim=(1, 2), keepdim=True).clamp_min(1e-12)

    def _transformer(self, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
        attention = self.network.blocks[-1].attn
        plain = _is_plain(attention)
        seen: list[Tensor] = []  # plain: the tokens that go into the last attention; else its weights
        hook = (attention if plain else attention.attn_drop).register_forward_pre_hook(
            lambda _module, inputs: seen.append(inputs[0])
        )
        try:
            tokens = self.network.forward_features(images)
        finally:
            hook.remove()
        num_prefix = self.network.num_prefix_tokens
        rows, columns = self.network.patch_embed.grid_size
        patches = tokens[:, num_prefix:]
        if _projects(self.name, self.network):
            patches = self.network.head(self.network.fc_norm(patches))
        maps = [patches.transpose(1, 2).unflatten(2, (rows, columns))]  # (B V, C, h, w)
        if self.saliency == "none":
            return maps, None
        with torch.autocast(images.device.type, enabled=False):
            row = (
                _class_attention(attention, seen[0].float())
                if plain
                else seen[0][:, :, 0].float().mean(dim=1)
            )
        return maps, row[:, num_prefix:].unflatten(1, (rows, columns))


def _class_attention(attention: nn.Module, tokens: Tensor) -> Tensor:
    """Attention of token 0 to all tokens, mean over heads: (B, T, C) -> (B, T). No other row is computed."""
    module: Any = attention
    channels = module.qkv.weight.shape[0] // 3
    weights = module.qkv.weight[: 2 * channels].chunk(2)
    biases = (None, None) if module.qkv.bias is None else module.qkv.bias[: 2 * channels].chunk(2)
    query = nn.functional.linear(tokens[:, 0], weights[0], biases[0])
    query = module.q_norm(query.unflatten(1, (module.num_heads, -1))) * module.scale  # (B, H, D)
    if isinstance(module.k_norm, nn.Identity):
        # q (W x + b) = (W' q) x + q b. The last term is the same for all tokens, so no key is computed.
        seeks = torch.einsum("bhd,hdc->bhc", query, weights[1].unflatten(0, (module.num_heads, -1)))
        logits = seeks @ tokens.transpose(1, 2)  # (B, H, C) @ (B, C, T) -> (B, H, T)
    else:
        key = nn.functional.linear(tokens, weights[1], biases[1]).unflatten(2, (module.num_heads, -1))
        logits = torch.einsum("bhd,bthd->bht", query, module.k_norm(key))  # (B, H, T)
    return logits.softmax(dim=-1).mean(dim=1)


def _is_plain(attention: nn.Module) -> bool:
    """Whether attention is just softmax(q k / sqrt(d)), so that one row can be computed alone."""
    from timm.models.vision_transformer import Attention

    return type(attention) is Attention


def _projects(name: str, network: Any) -> bool:
    """Whether the head is CLIP's projection, after which its features are taken."""
    return "clip" in name and isinstance(network.head, nn.Linear)


@dataclass(frozen=True)
class _Built:
    """A network and its properties; ``own`` is the part whose keys are those of published weights."""

    network: Any
    own: nn.Module
    channels: tuple[int, ...]
    image_size: int | None = None
    is_transformer: bool = False
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD


def _build_timm(name: str, strides: tuple[int, ...], image_size: int | None, pretrained: bool) -> _Built:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("an image teacher needs timm: pip install 'pointmae-zoo[train]'") from error
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3)
        hint = f"near ones: {', '.join(near)}" if near else "timm.list_models() has the names"
        raise ValueError(f"teacher {name!r} is not a timm model; {hint}")
    network = _created(name, False)
    settings = network.pretrained_cfg
    own_size = settings["input_size"][-1] if settings.get("fixed_input_size") else None
    sized = {"img_size": image_size} if image_size and own_size else {}
    known = {"mean": settings.get("mean", IMAGENET_MEAN), "std": settings.get("std", IMAGENET_STD)}
    if type(network).__name__ in _TRANSFORMERS:
        if pretrained or sized:
            network = _created(name, pretrained, **sized)
        width = network.head.out_features if _projects(name, network) else network.num_features
        return _Built(network, network, (width,), own_size, True, **known)
    try:
        with_features = _created(name, pretrained, features_only=True, **sized)
    except (AttributeError, AssertionError, RuntimeError) as error:
        raise ValueError(
            f"teacher {name}: neither a plain vision transformer nor a network that gives feature maps "
            f"({first_line(error)})"
        ) from error
    reductions = list(with_features.feature_info.reduction())
    if missing := [stride for stride in strides if stride not in reductions]:
        raise ValueError(
            f"teacher {name}: no feature map of stride {missing[0]}; it has {sorted(set(reductions))}"
        )
    last = {stride: index for index, stride in enumerate(reductions)}
    indices = tuple(last[stride] for stride in strides)
    channels = tuple(with_features.feature_info.channels()[index] for index in indices)
    channels_last = str(getattr(with_features, "output_fmt", "NCHW")).endswith("NHWC")
    own = with_features.model if type(with_features).__name__ == "FeatureGetterNet" else with_features
    return _Built(_Chosen(with_features, indices, channels_last), own, channels, own_size, **known)


def _created(name: str, pretrained: bool, **options: Any) -> Any:
    """timm.create_model, with one line for an unknown tag or a failed download."""
    import timm

    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except RuntimeError as error:
        first = first_line(error)
        if "tag" not in first and "No pretrained" not in first:
            raise
        tags = timm.list_pretrained(f"{name.split('.')[0]}.*")
        hint = f"pretrained ones: {', '.join(tags)}" if tags else "name a file of weights"
        raise ValueError(f"teacher {name}: {first}; {hint}") from error
    except Exception as error:
        if not pretrained:
            raise
        raise _not_downloaded(name, error) from error


def _not_downloaded(name: str, error: Exception) -> OSError:
    return OSError(
        f"teacher {name}: its weights could not be downloaded ({first_line(error)}); download them elsewhere "
        "and name the file: --set teacher.weights=FILE (or random, for a trial without them)"
    )


class _Chosen(nn.Module):
    """Some of the feature maps of a timm ``features_only`` network."""

    def __init__(self, network: nn.Module, indices: tuple[int, ...], channels_last: bool) -> None:
        super().__init__()
        self.network = network
        self.indices = indices
        self.channels_last = channels_last

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.network(images)
        chosen = [maps[index] for index in self.indices]
        return [one.permute(0, 3, 1, 2) for one in chosen] if self.channels_last else chosen


class _PlainStack(nn.Module):
    """The last map at each stride of a network that is one sequence of layers."""

    def __init__(self, network: nn.Module, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        self.strides = strides

    def forward(self, images: Tensor) -> list[Tensor]:
        found: dict[int, Tensor] = {}
        maps = images
        for layer in self.network.features:  # type: ignore[union-attr]
            maps = layer(maps)
            # Convolutions without padding lose pixels at the edges, so 112 -> 55 is still a stride of 2.
            found[2 ** round(float(np.log2(images.shape[-1] / maps.shape[-1])))] = maps
        if missing := [stride for stride in self.strides if stride not in found]:
            raise ValueError(f"teacher: no feature map of stride {missing[0]}; it has {sorted(found)}")
        return [found[stride] for stride in self.strides]


def _build_torchvision(
    name: str, strides: tuple[int, ...], _image_size: int | None, pretrained: bool
) -> _Built:
    try:
        import torchvision
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "this teacher needs torchvision: pip install 'pointmae-zoo[train]'"
        ) from error
    short = name.removeprefix(_TORCHVISION)
    if short not in torchvision.models.list_models():
        raise ValueError(
            f"teacher {name!r} is not a torchvision model; torchvision.models.list_models() has the names"
        )
    try:
        network = torchvision.models.get_model(short, weights="DEFAULT" if pretrained else None)
    except (OSError, RuntimeError) as error:  # RuntimeError: a download cut short, by its hash
        if not pretrained:
            raise
        raise _not_downloaded(name, error) from error
    if not isinstance(getattr(network, "features", None), nn.Sequential):
        raise ValueError(f"teacher {name}: not a plain stack of layers; use the timm model of that name")
    stack = _PlainStack(network, strides)
    with torch.no_grad():
        channels = tuple(one.shape[1] for one in stack.eval()(torch.zeros(1, 3, 224, 224)))
    return _Built(stack, network, channels)
