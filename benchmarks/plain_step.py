"""The pre-training step of I2P-MAE written down plainly, as the paper and its reference state it.

Clouds are augmented, masked and packed one by one; packed tokens are padded and masked in attention; every
level samples and groups anew; feature maps are upsampled to the image before a few of their pixels are read;
the three nearest are found by sorting all. The parts come from `benchmarks.plain`.
"""

import re
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import plain


def augmented(points: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Each cloud scaled and shifted along each axis: (B, N, 3), (B, 3), (B, 3) -> (B, N, 3)."""
    points = points.clone()
    for cloud in range(len(points)):
        points[cloud] = points[cloud] * scale[cloud] + shift[cloud]
    return points


class Maps(NamedTuple):
    """What the teacher says of the images, and where the points lie in them."""

    features: Tensor  # (B, V, C, h, w)
    saliency: Tensor  # (B, V, 1, h, w)
    pixels: Tensor  # (B, V, N, 2) rows and columns


class Seen(NamedTuple):
    """What the teacher says of every point."""

    features: Tensor  # (B, V, N, C)
    saliency: Tensor  # (B, V, N)


@torch.no_grad()
def maps_of(network: Any, points: Tensor, mean: Tensor, std: Tensor) -> Maps:
    """Depth images, and the CLIP image network on all of them.

    The network is timm's as it comes; its last block gives the whole table of attention, of which one row is
    read.
    """
    images, pixels = plain.summed_depth_images(points)
    images = (images.sigmoid().flatten(0, 1) - mean) / std
    attention = network.blocks[-1].attn
    tables: list[Tensor] = []
    fused, attention.fused_attn = attention.fused_attn, False
    hook = attention.attn_drop.register_forward_pre_hook(lambda _module, inputs: tables.append(inputs[0]))
    try:
        tokens = network.forward_features(images)
    finally:
        hook.remove()
        attention.fused_attn = fused
    shape = *pixels.shape[:2], -1, *network.patch_embed.grid_size
    features = network.head(network.fc_norm(tokens[:, 1:])).transpose(1, 2).reshape(shape)
    return Maps(features, tables[0].mean(1)[:, 0, 1:].reshape(shape), pixels)


@torch.no_grad()
def read_at_points(maps: Maps, size: int = 224) -> Seen:
    """Every map upsampled to the image, then every point's own pixel."""
    batch, views = maps.pixels.shape[:2]
    place = (maps.pixels[..., 0] * size + maps.pixels[..., 1]).view(batch * views, 1, -1)

    def read(small: Tensor) -> Tensor:
        large = F.interpolate(small.flatten(0, 1), size=(size, size), mode="bicubic").flatten(2)
        found = large.gather(2, place.expand(-1, large.shape[1], -1)).transpose(1, 2)
        return found.reshape(batch, views, found.shape[1], -1)

    return Seen(read(maps.features), read(maps.saliency).squeeze(-1))


class Losses(NamedTuple):
    loss_3d: Tensor
    loss_2d: Tensor
    probability: Tensor  # (B, 64) of each top token to be shown


class Stage(nn.Module):
    """A decoder stage: positions, and blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.position = nn.Sequential(nn.Linear(3, channels), nn.GELU(), nn.Linear(channels, channels))
        self.blocks = nn.ModuleList([plain.Block(channels, 6)])

    def forward(self, x: Tensor, centers: Tensor) -> Tensor:
        position = self.position(centers)
        mask = torch.zeros(len(x), x.shape[1], x.shape[1], device=x.device)
        for block in self.blocks:
            x = block(x + position, mask)
        return x


class Propagation(nn.Module):
    """Coarse tokens carried to fine centres from the three nearest, which sorting finds."""

    def __init__(self, channels: int, coarse: int) -> None:
        super().__init__()
        self.fuse, self.fuse_norm = nn.Conv1d(channels + coarse, channels, 1), nn.BatchNorm1d(channels)
        self.conv1, self.norm1 = nn.Conv1d(channels, channels, 1), nn.BatchNorm1d(channels)
        self.conv2, self.norm2 = nn.Conv1d(channels, channels, 1), nn.BatchNorm1d(channels)

    def forward(self, centers: Tensor, coarse_centers: Tensor, skip: Tensor, coarse: Tensor) -> Tensor:
        carried = plain.three_nn_interpolate(centers, coarse_centers, coarse)
        x = torch.cat([skip, carried], dim=-1).transpose(1, 2)
        x = F.gelu(self.fuse_norm(self.fuse(x)))
        residual = self.norm2(self.conv2(F.gelu(self.norm1(self.conv1(x)))))
        return F.gelu(residual + x).transpose(1, 2)


class Pretraining(nn.Module):
    """The base model with its decoder and two losses; drop path is off."""

    views, teacher_channels = 3, 512

    def __init__(self) -> None:
        super().__init__()
        self.encoder = plain.Encoder()
        self.mask_token = nn.Parameter(torch.zeros(384))
        self.stages = nn.ModuleList([Stage(384), Stage(192)])
        self.propagations = nn.ModuleList([Propagation(192, 384)])
        self.norm = nn.LayerNorm(192)
        self.head_3d = nn.Linear(192, 8 * 3)
        self.head_2d = nn.Linear(192, 8 * self.views * self.teacher_channels)

    def load_from(self, state: dict[str, Tensor]) -> None:
        """Take the weights of the package's ``i2p_mae_base`` pre-training model; strict."""
        inner = {name: value for name, value in state.items() if name.startswith("encoder.")}
        self.encoder.load_from({name.removeprefix("encoder."): value for name, value in inner.items()})
        renamed = {f"encoder.{name}": value for name, value in self.encoder.state_dict().items()}
        for name, value in state.items():
            if name in inner:
                continue
            convolution = re.search(r"propagations\.0\.(fuse|conv\d)\.weight$", name)
            name = name.replace(".attn.", ".attention.").replace(".mlp.", ".")
            renamed[name] = value.unsqueeze(-1) if convolution else value
        self.load_state_dict(renamed, strict=True)

    def forward(self, points: Tensor, seen: Seen, visible: Tensor) -> Losses:
        """(B, N, 3) augmented clouds; ``visible`` (B, 64) bool, drawn elsewhere."""
        encoder = self.encoder
        centers, neighbours, finest = [], [], None
        finer = points
        for tokens, size in zip(encoder.tokens, encoder.neighbours, strict=True):
            picked = plain.farthest_point_sample(finer, tokens)
            finest = picked if finest is None else plain.gather(finest.unsqueeze(-1), picked).squeeze(-1)
            centers.append(plain.gather(finer, picked))
            neighbours.append(plain.knn(centers[-1], finer, size))
            if len(centers) == 1:
                first = finest
            finer = centers[-1]
        top = seen.saliency.gather(2, finest.unsqueeze(1).expand(-1, self.views, -1)).mean(1)
        probability = top.softmax(-1)
        shown = self._shown(visible, neighbours)

        outputs = []
        features = None
        for level, channels in enumerate(encoder.channels):
            finer = points if level == 0 else centers[level - 1]
            groups = (
                plain.gather(finer, neighbours[0]) - centers[0].unsqueeze(2)
                if features is None
                else plain.gather(features, neighbours[level])
            )
            x = encoder.embeddings[level](groups)
            counts = [int(one.sum()) for one in shown[level]]
            packed, where = x.new_zeros(len(x), max(counts), channels), x.new_zeros(len(x), max(counts), 3)
            mask = torch.ones(len(x), max(counts), max(counts), device=x.device)
            for cloud, count in enumerate(counts):
                packed[cloud, :count] = x[cloud, shown[level][cloud]]
                where[cloud, :count] = centers[level][cloud, shown[level][cloud]]
                mask[cloud, :count, :count] = 0
            position = encoder.positions[level](where)
            for block in encoder.levels[level]:
                packed = block(packed + position, mask)
            features = x.clone()
            for cloud, count in enumerate(counts):
                features[cloud, shown[level][cloud]] = packed[cloud, :count]
            outputs.append(encoder.norms[level](packed))

        x, order = self._with_mask_tokens(outputs[2], visible)
        coarse_centers = plain.gather(centers[2], order)
        x = self.stages[0](x, coarse_centers)
        skip = x.new_zeros(len(x), encoder.tokens[1], encoder.channels[1])
        for cloud, chosen in enumerate(shown[1]):
            skip[cloud, chosen] = outputs[1][cloud, : int(chosen.sum())]
        x = self.propagations[0](centers[1], coarse_centers, skip, x)
        x = self.norm(self.stages[1](x, centers[1]))

        target_3d = plain.gather(centers[0], neighbours[1]) - centers[1].unsqueeze(2)
        predicted_3d = self.head_3d(x[~shown[1]]).reshape(-1, 8, 3)
        loss_3d = plain.chamfer_distance(predicted_3d, target_3d[~shown[1]])
        members = plain.gather(first.unsqueeze(-1), neighbours[1]).flatten(1)  # (B, 256 8) of the points
        target_2d = torch.stack([plain.gather(view, members) for view in seen.features.unbind(1)], dim=2)
        target_2d = target_2d.view(len(x), encoder.tokens[1], 8, -1)
        predicted_2d = self.head_2d(x[shown[1]]).view(-1, 8, self.views * self.teacher_channels)
        return Losses(loss_3d, F.mse_loss(predicted_2d, target_2d[shown[1]]), probability)

    def _shown(self, visible: Tensor, neighbours: list[Tensor]) -> list[Tensor]:
        """Each level's mask, cloud by cloud: whatever a shown coarser token gathers is shown."""
        levels = [visible]
        for level in (2, 1):
            finer = torch.zeros_like(visible[:, :1]).repeat(1, self.encoder.tokens[level - 1])
            for cloud in range(len(visible)):
                finer[cloud, neighbours[level][cloud, levels[0][cloud]].flatten().unique()] = True
            levels.insert(0, finer)
        return levels

    def _with_mask_tokens(self, tokens: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """[visible | mask tokens], and which top token each of them is."""
        rest = self.mask_token.expand(len(tokens), int((~visible[0]).sum()), -1)
        order = torch.stack([torch.cat([one.nonzero()[:, 0], (~one).nonzero()[:, 0]]) for one in visible])
        return torch.cat([tokens, rest], dim=1), order
