"""The heads of fine-tuned models: a classifier and a part segmenter on the encoder."""

import dataclasses
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointmae_zoo.models.batch_norm import BatchNorm
from pointmae_zoo.models.encoder import EncoderConfig, PointEncoder
from pointmae_zoo.models.layers import Dropout, init_linear
from pointmae_zoo.models.stored_config import ModelConfig
from pointmae_zoo.models.tokens import Tokens, pooled
from pointmae_zoo.ops import three_nn_interpolate
from pointmae_zoo.system.checked_fields import check_fields


@dataclass(frozen=True)
class ClassifierConfig:
    """The classification head."""

    num_classes: int = 40
    head_pool: Literal["max", "mean", "mean+max", "mean,max", "mean,max[1:]", "levels"] = "mean,max"
    """How tokens are pooled for the head. The reference takes mean and maximum of the coarsest tokens and
    adds them for ModelNet40, concatenates them for ScanObjectNN. ``mean,max[1:]``: Point-M2AE's code leaves
    the first token out of that maximum. ``levels``, ours: mean and standard deviation of every level."""
    head_width: int = 256
    """Of the head's two hidden layers. 0, ours: no hidden layer; a BatchNorm standardises the pooled features
    for one linear layer, which is better with few labels."""
    head_dropout: float = 0.5

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1 <= self.num_classes <= 1_000_000:
            raise ValueError(f"num_classes: from 1 to 1000000 expected, got {self.num_classes}")
        if not 0 <= self.head_width <= 65536:
            raise ValueError(f"head_width: from 0 to 65536 expected, got {self.head_width}")
        if not 0.0 <= self.head_dropout < 1.0:
            raise ValueError(f"head_dropout: from 0 to below 1 expected, got {self.head_dropout}")


class PointForClassification(nn.Module):
    """Encoder, pooled tokens, head; by default I2P-MAE's (section 4.2): coarsest tokens, three layers."""

    config: ModelConfig

    def __init__(self, encoder: EncoderConfig, config: ClassifierConfig) -> None:
        super().__init__()
        self.hyper = config
        self.encoder = PointEncoder(encoder)
        top = str(len(encoder.dims) - 1)
        for level, norm in self.encoder.norms.items():
            # Only `embed` reads the other levels' norms.
            norm.requires_grad_(level == top or config.head_pool == "levels")
        width, dim = config.head_width, self.encoder.feature_dim(config.head_pool)
        layers: list[nn.Module] = []
        for before in (dim, width) if width else ():
            layers += [
                nn.Linear(before, width),
                BatchNorm(width),
                nn.ReLU(),
                Dropout(config.head_dropout),
            ]
        if not width:
            layers += [BatchNorm(dim), Dropout(config.head_dropout)]
        self.head = nn.Sequential(*layers, nn.Linear(width or dim, config.num_classes))
        self.head.apply(init_linear)

    def forward_head(self, tokens: Tokens, *, pre_logits: bool = False) -> Tensor:
        """The output of the encoder's ``forward_features`` -> logits (B, num_classes), or with ``pre_logits``
        pooled features (B, D)."""
        features = pooled(tokens, self.hyper.head_pool)
        return features if pre_logits else self.head(features)

    def forward(self, points: Tensor) -> Tensor:
        """(B, N, 3) -> logits (B, num_classes)."""
        return self.forward_head(self.encoder.forward_features(points))

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.head[-1]

    def reset_classifier(self, num_classes: int) -> None:
        """A new last layer for ``num_classes`` with random weights and without labels; the rest stays."""
        self.hyper = dataclasses.replace(self.hyper, num_classes=num_classes)
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        fresh = nn.Linear(last.in_features, num_classes, device=last.weight.device, dtype=last.weight.dtype)
        self.head[-1] = fresh.apply(init_linear)
        arguments = {**self.config.arguments, "num_classes": num_classes}
        self.config = dataclasses.replace(self.config, arguments=arguments, labels=None)


@dataclass(frozen=True)
class PartSegmenterConfig:
    """The part segmentation head."""

    num_parts: int = 50
    num_object_classes: int = 16
    propagated_dims: tuple[int, int] = (1536, 1024)
    """Widths of the MLP after one level's tokens are interpolated to the points."""
    label_dim: int = 64
    head_dims: tuple[int, int, int] = (1024, 512, 256)
    head_dropout: float = 0.5

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("num_parts", "num_object_classes", "label_dim"):
            if not 1 <= getattr(self, name) <= 100_000:
                raise ValueError(f"{name}: from 1 to 100000 expected, got {getattr(self, name)}")
        for name in ("propagated_dims", "head_dims"):
            if not all(1 <= dim <= 65536 for dim in getattr(self, name)):
                raise ValueError(f"{name}: entries from 1 to 65536 expected, got {list(getattr(self, name))}")
        if not 0.0 <= self.head_dropout < 1.0:
            raise ValueError(f"head_dropout: from 0 to below 1 expected, got {self.head_dropout}")


class PointForPartSegmentation(nn.Module):
    """Point-M2AE's head: every level's tokens at every point, a global feature and the object's class."""

    config: ModelConfig

    def __init__(self, encoder: EncoderConfig, config: PartSegmenterConfig) -> None:
        super().__init__()
        if encoder.norm_levels != "all":
            raise ValueError("norm_levels: part segmentation needs 'all'; it reads every level")
        self.hyper = config
        self.encoder = PointEncoder(encoder)
        self.propagations = nn.ModuleList(
            [_point_mlp((3 + dim, *config.propagated_dims), bias=True, slope=0.0) for dim in encoder.dims]
        )
        self.label_embedding = _point_mlp(
            (config.num_object_classes, config.label_dim), bias=False, slope=0.2
        )
        point_dim = config.propagated_dims[-1] * len(encoder.dims)
        dims = (2 * point_dim + config.label_dim, *config.head_dims)
        head: list[nn.Module] = []
        for before, after in pairwise(dims):
            head += [nn.Linear(before, after), BatchNorm(after), nn.ReLU()]
        head.insert(3, nn.Dropout(config.head_dropout))
        self.head = nn.Sequential(*head, nn.Linear(dims[-1], config.num_parts))

    def forward(self, points: Tensor, object_class: Tensor) -> Tensor:
        """Part logits of every point.

        Args:
            points: (B, N, 3).
            object_class: (B,) integers below ``num_object_classes``.

        Returns:
            (B, N, num_parts) logits.

        Raises:
            ValueError: classes of another shape or type, or out of range.
        """
        count = self.hyper.num_object_classes
        if object_class.shape != points.shape[:1] or object_class.is_floating_point():
            raise ValueError(
                f"object_class: ({len(points)},) integers expected, got {tuple(object_class.shape)} "
                f"{object_class.dtype}"
            )
        if bool((object_class < 0).any()) or bool((object_class >= count).any()):
            raise ValueError(f"object_class: from 0 to {count - 1} expected, got {object_class.tolist()}")
        tokens = self.encoder.forward_features(points)
        batch, number, _ = points.shape
        spread = []
        for propagate, centers, features in zip(
            self.propagations, tokens.centers, tokens.features, strict=True
        ):
            carried = three_nn_interpolate(points, centers, features)
            x = torch.cat([points.to(carried.dtype), carried], dim=-1)
            spread.append(propagate(x.flatten(0, 1)))  # (B N, C)
        local = torch.cat(spread, dim=-1).view(batch, number, -1)  # (B, N, sum of C)
        label = self.label_embedding(F.one_hot(object_class.long(), count).to(local.dtype))
        # Global feature and class are the same for all points of a cloud, so their part of the first layer is
        # computed once per cloud.
        whole = torch.cat([local.amax(1) + local.mean(1), label], dim=-1)
        first = self.head[0]
        assert isinstance(first, nn.Linear)
        split = whole.shape[-1]
        shared = F.linear(whole, first.weight[:, :split], first.bias)
        x = F.linear(local, first.weight[:, split:]) + shared.unsqueeze(1)
        return self.head[1:](x.flatten(0, 1)).view(batch, number, -1)


def _point_mlp(dims: tuple[int, ...], *, bias: bool, slope: float) -> nn.Sequential:
    """Linear, BatchNorm, leaky ReLU (slope 0: plain) for each pair of widths; on rows."""
    layers: list[nn.Module] = []
    for before, after in pairwise(dims):
        layers += [nn.Linear(before, after, bias=bias), BatchNorm(after), nn.LeakyReLU(slope)]
    return nn.Sequential(*layers)
