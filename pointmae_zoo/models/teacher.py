"""The frozen image network that teaches: patch features and a saliency for every depth view (I2P-MAE, section
3.2).

``Teacher("vit_base_patch16_clip_quickgelu_224", weights="clip.safetensors")`` is the paper's; any other timm
vision transformer or convolutional network serves, and so do torchvision's plain stacks under
``torchvision/NAME`` (timm has no SqueezeNet).

Weights are timm's own download (``weights="pretrained"``), a local file, or none (``"random"``, for tests).
Local files:

- ``.safetensors``, ``.pth``, ``.pt``: a state dict with timm's or torchvision's names, or OpenAI's CLIP
  (``visual.*`` keys);
- ``.npz`` of *plain convolutions*: arrays ``..N_weight`` and ``..N_bias`` numbered in network order,
  BatchNorm already folded into them, as exported by ONNX tools. They go into the model's convolutions in the
  same order, the biases into unit BatchNorms.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_TORCHVISION = "torchvision/"


@dataclass(frozen=True)
class TeacherFeatures:
    """What the teacher sees in B clouds of V views.

    Args:
        maps: one (B, V, C_i, h_i, w_i) float32 feature map for each stride; transformers give one.
        saliency: (B, V, h, w) float32, not negative, each view adds up to 1 (transformers: to 1 minus what
            the class token gives itself).
    """

    maps: tuple[Tensor, ...]
    saliency: Tensor


class Teacher(nn.Module):
    """A frozen image network: (B, V, H, W) depth images in [0, 1] -> ``TeacherFeatures``.

    Transformers give their patch tokens after the final norm (CLIP: and the projection), the saliency is the
    class token's row of the last block's attention, mean over heads; it is computed for that row alone, the
    blocks themselves keep their fused attention. Convolutional networks give their feature maps at
    ``strides``; the saliency is the squared activation of the coarsest, summed over channels, each view
    scaled to add up to 1.

    Args:
        name: timm model name, or ``torchvision/NAME`` for a torchvision model that is a plain stack
            ``features``.
        weights: ``"pretrained"``, ``"random"`` or the path of a local file (see the module).
        strides: for convolutional networks: the pixel strides of the feature maps, fine to coarse.
        image_size: side to which images are resized (bilinear) first; None leaves them as they are
            (transformers: to the model's own).
        normalization: ``"model"``: mean and standard deviation of the model's training; ``"imagenet"``:
            ImageNet's, as the reference does with CLIP.
        precision: ``"bfloat16"`` autocast, ``"float32"``, or ``"auto"``: bfloat16 on devices that are faster
            with it (see ``bfloat16_helps``). Features differ by 1 % or less (CLIP ViT-B/16) to 3 %
            (MobileNetV2) of their norm; the saliency's attention is always computed in float32.

    Raises:
        ModuleNotFoundError: timm or torchvision is missing.
        ValueError: unknown model, no feature map of such a stride, a file that does not fit the model.
        FileNotFoundError: no such weights file.
    """

    mean: Tensor
    std: Tensor

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
        self.precision = precision
        self.strides = tuple(strides)
        pretrained = str(weights) == "pretrained"
        network, self.channels, settings = _build(name, self.strides, pretrained)
        if str(weights) not in ("pretrained", "random"):
            load_weights(network, Path(weights))
        self.network = network.eval().requires_grad_(False)
        self.is_transformer = hasattr(network, "blocks") and hasattr(network, "patch_embed")
        if self.is_transformer:
            if not hasattr(network.blocks[-1].attn, "qkv") or not network.has_class_token:
                raise ValueError(
                    f"teacher {name}: no class token with plain attention, so no saliency; use a plain ViT"
                )
            self.channels = (network.head.out_features if self._projects else network.num_features,)
            image_size = image_size or network.patch_embed.img_size[0]
        self.image_size = image_size
        if normalization == "imagenet":
            mean, std = IMAGENET_MEAN, IMAGENET_STD
        else:
            mean, std = settings.get("mean", IMAGENET_MEAN), settings.get("std", IMAGENET_STD)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def _projects(self) -> bool:
        """CLIP's features live behind its projection, which timm keeps as the head."""
        return "clip" in self.name and isinstance(self.network.head, nn.Linear)

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
        flat = images.flatten(0, 1).unsqueeze(1)
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
            saliency=saliency.float().unflatten(0, (num_clouds, num_views)),
        )

    def computes_in(self, device: torch.device) -> str:
        """``"bfloat16"`` or ``"float32"``: the precision on a device."""
        if self.precision == "auto":
            return "bfloat16" if bfloat16_helps(device) else "float32"
        return self.precision

    def _convolutional(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        maps = list(self.network(images))
        energy = maps[-1].float().square().sum(dim=1)
        return maps, energy / energy.sum(dim=(1, 2), keepdim=True).clamp_min(1e-12)

    def _transformer(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        attention = self.network.blocks[-1].attn
        seen: list[Tensor] = []
        hook = attention.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
        try:
            tokens = self.network.forward_features(images)
        finally:
            hook.remove()
        num_prefix = self.network.num_prefix_tokens
        rows, columns = self.network.patch_embed.grid_size
        patches = tokens[:, num_prefix:]
        if self._projects:
            patches = self.network.head(self.network.fc_norm(patches))
        with torch.autocast(images.device.type, enabled=False):
            saliency = _class_attention(attention, seen[0].float())[:, num_prefix:]
        return [patches.transpose(1, 2).unflatten(2, (rows, columns))], saliency.unflatten(1, (rows, columns))


def bfloat16_helps(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16: most GPUs, and CPUs with AVX512-BF16 or AMX.

    Measured on one AVX512-BF16 core: CLIP ViT-B/16 3.2 times as fast, ConvNeXt 2.0, MobileNetV2 1.7.
    Elsewhere it is emulated and slower.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # not in every torch
        return any(getattr(torch.cpu, name, bool)() for name in names)
    return False


def _class_attention(attention: nn.Module, tokens: Tensor) -> Tensor:
    """Attention of token 0 to all tokens, mean over heads: (B, T, C) -> (B, T). No other row is computed."""
    module: Any = attention
    channels = tokens.shape[-1]
    bias = module.qkv.bias
    query = nn.functional.linear(
        tokens[:, :1], module.qkv.weight[:channels], None if bias is None else bias[:channels]
    )
    key = nn.functional.linear(
        tokens,
        module.qkv.weight[channels : 2 * channels],
        None if bias is None else bias[channels : 2 * channels],
    )
    query, key = (part.unflatten(2, (module.num_heads, -1)).transpose(1, 2) for part in (query, key))
    query, key = module.q_norm(query), module.k_norm(key)
    return (query @ key.transpose(2, 3) * module.scale).softmax(dim=-1)[:, :, 0].mean(dim=1)


def _build(
    name: str, strides: tuple[int, ...], pretrained: bool
) -> tuple[Any, tuple[int, ...], Mapping[str, Any]]:
    """The network, its channels for each stride, and its normalisation settings."""
    if name.startswith(_TORCHVISION):
        return _build_torchvision(name, strides, pretrained)
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("an image teacher needs timm: pip install 'pointmae-zoo[train]'") from error
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0].split('_')[0]}*")[:3]
        hint = f"; near ones: {', '.join(near)}" if near else "; timm.list_models() has the names"
        raise ValueError(f"teacher {name!r} is not a timm model{hint}")
    network = timm.create_model(name, pretrained=False)
    if hasattr(network, "blocks") and hasattr(network, "patch_embed"):
        if pretrained:
            network = timm.create_model(name, pretrained=True)
        return network, (), network.pretrained_cfg
    with_features = timm.create_model(name, features_only=True, pretrained=pretrained)
    reductions = list(with_features.feature_info.reduction())
    if missing := [stride for stride in strides if stride not in reductions]:
        raise ValueError(f"teacher {name}: no feature map of stride {missing[0]}; it has {reductions}")
    indices = tuple(reductions.index(stride) for stride in strides)
    channels = tuple(with_features.feature_info.channels()[index] for index in indices)
    return _Chosen(with_features, indices), channels, network.pretrained_cfg


class _Chosen(nn.Module):
    """Some of the feature maps of a timm ``features_only`` network."""

    def __init__(self, network: nn.Module, indices: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        self.indices = indices

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.network(images)
        return [maps[index] for index in self.indices]


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
            # Convolutions without padding shave pixels off, so 112 -> 55 is still a stride of 2.
            found[2 ** round(float(np.log2(images.shape[-1] / maps.shape[-1])))] = maps
        if missing := [stride for stride in self.strides if stride not in found]:
            raise ValueError(f"teacher: no feature map of stride {missing[0]}; it has {sorted(found)}")
        return [found[stride] for stride in self.strides]


def _build_torchvision(
    name: str, strides: tuple[int, ...], pretrained: bool
) -> tuple[Any, tuple[int, ...], Mapping[str, Any]]:
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
    network = torchvision.models.get_model(short, weights="DEFAULT" if pretrained else None)
    if not isinstance(getattr(network, "features", None), nn.Sequential):
        raise ValueError(f"teacher {name}: not a plain stack of layers; use the timm model of that name")
    stack = _PlainStack(network, strides)
    with torch.no_grad():
        channels = tuple(one.shape[1] for one in stack.eval()(torch.zeros(1, 3, 224, 224)))
    return stack, channels, {}


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill a teacher's network from a local file (kinds: see the module), in place.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unknown suffix, a damaged file, or one that does not fit the network (names the first
            key).
    """
    if not path.is_file():
        raise FileNotFoundError(f"teacher weights {path}: no such file")
    inner: Any = network.network if isinstance(network, (_Chosen, _PlainStack)) else network
    state = _read_arrays(path)
    if path.suffix == ".npz":
        try:
            load_plain_convolutions(inner, state)
        except ValueError as error:
            raise ValueError(f"teacher weights {path}: {error}") from error
        return
    if "visual.class_embedding" in state:
        from timm.models.vision_transformer import checkpoint_filter_fn

        visual = {key: value for key, value in state.items() if key.startswith("visual.")}
        try:
            state = checkpoint_filter_fn(visual, inner)
        except (KeyError, RuntimeError, ValueError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else _first_line(error)
            raise ValueError(
                f"teacher weights {path}: CLIP's image network, but incomplete ({reason}); download it again"
            ) from error
    expected = inner.state_dict()
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    # A feature extractor has neither head nor classifier, so a full model's file may hold more than is asked
    # for.
    wrong = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    if missing or wrong:
        key = (missing + wrong)[0]
        counts = f"{len(missing)} keys missing, {len(wrong)} of another shape"
        raise ValueError(f"teacher weights {path}: {counts}; the first is {key}")
    inner.load_state_dict({key: value for key, value in state.items() if key in expected}, strict=False)


def _read_arrays(path: Path) -> dict[str, Any]:
    """What a file holds by name: arrays from ``.npz``, else tensors. No pickled code is ever run."""
    if path.suffix not in (".npz", ".safetensors", ".pth", ".pt", ".bin"):
        raise ValueError(f"teacher weights {path}: unknown suffix; expected .safetensors, .pth, .pt or .npz")
    found: Any
    try:
        if path.suffix == ".npz":
            found = np.load(path, allow_pickle=False)
            if not isinstance(found, np.ndarray):
                with found:
                    found = dict(found)
        elif path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (PermissionError, MemoryError):  # nothing wrong with the file
        raise
    except Exception as error:  # a damaged file raises whatever its first broken byte leads to
        raise ValueError(
            f"teacher weights {path}: damaged, or no {path.suffix} of plain weights ({_first_line(error)}); "
            "download it again, or save the network's state_dict() as .safetensors"
        ) from error
    kind = np.ndarray if path.suffix == ".npz" else Tensor
    if not isinstance(found, dict) or not any(isinstance(value, kind) for value in found.values()):
        raise ValueError(
            f"teacher weights {path}: no named weights in it; save the network's state_dict() as .safetensors"
        )
    return {str(key): value for key, value in found.items() if isinstance(value, kind)}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@torch.no_grad()
def load_plain_convolutions(network: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Put numbered plain convolutions, BatchNorm folded in, into a network's convolutions in definition
    order, in place.

    A convolution with a bias takes it; one without must be followed by a BatchNorm, which becomes the
    identity plus that bias (running variance 1 - eps, so that eps changes nothing). Arrays after the
    network's last convolution (a head that a feature extractor lacks) are left over.

    Args:
        network: modules defined in the order in which they run.
        arrays: ``*N_weight`` (O, I, h, w) and ``*N_bias`` (O,), N counting up in network order.

    Raises:
        ValueError: too few convolutions, or one of another shape.
    """
    numbered: dict[int, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        found = re.fullmatch(r".*?(\d+)_(weight|bias)", key)
        if found:
            numbered.setdefault(int(found[1]), {})[found[2]] = array
    stored = [
        (number, numbered[number])
        for number in sorted(numbered)
        if numbered[number].get("weight", np.empty(0)).ndim == 4
    ]
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d))]
    convolutions = [index for index, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    if len(stored) < len(convolutions):
        raise ValueError(f"{len(stored)} convolutions, but the network has {len(convolutions)}")
    for index, (number, pair) in zip(convolutions, stored, strict=False):
        convolution = layers[index]
        assert isinstance(convolution, nn.Conv2d)
        if "bias" not in pair:
            raise ValueError(f"convolution {number} has no bias; fold the BatchNorms into the convolutions")
        if pair["weight"].shape != tuple(convolution.weight.shape):
            expected = tuple(convolution.weight.shape)
            shape = pair["weight"].shape
            raise ValueError(f"convolution {number} is {shape}, the network has {expected} there")
        if pair["bias"].shape != pair["weight"].shape[:1] or {pair[key].dtype.kind for key in pair} != {"f"}:
            raise ValueError(
                f"convolution {number} has {pair['weight'].dtype} weights and a {pair['bias'].dtype} bias of "
                f"shape {pair['bias'].shape}; expected floats, one bias for each filter"
            )
        convolution.weight.copy_(torch.from_numpy(pair["weight"]))
        bias = torch.from_numpy(pair["bias"])
        if convolution.bias is not None:
            convolution.bias.copy_(bias)
            continue
        norm = layers[index + 1] if index + 1 < len(layers) else None
        if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
            raise ValueError(
                f"convolution {number} has a bias, but the network has neither a bias nor a BatchNorm there"
            )
        norm.weight.fill_(1.0)
        norm.bias.copy_(bias)
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - norm.eps)
