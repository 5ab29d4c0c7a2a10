"""The same computations written down plainly, as papers and common code state them: what we measure against.

Nothing here is slow on purpose. Neighbours are found by `topk`, not by a sort; convolutions run on all groups
at once; attention is a batched matmul. What is missing is the package's algebra and care for memory.
"""

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def farthest_point_sample(points: Tensor, num_samples: int) -> Tensor:
    """The gather loop of the PointNet++ ports, copied from one to the next. (B, N, 3) -> (B, num_samples)."""
    batch, count, _ = points.shape
    device = points.device
    picked = torch.zeros(batch, num_samples, dtype=torch.long, device=device)
    nearest = torch.ones(batch, count, dtype=points.dtype, device=device) * 1e10
    last = torch.zeros(batch, dtype=torch.long, device=device)
    clouds = torch.arange(batch, device=device)
    for step in range(num_samples):
        picked[:, step] = last
        center = points[clouds, last].view(batch, 1, 3)
        distance = ((points - center) ** 2).sum(-1)
        nearer = distance < nearest
        nearest[nearer] = distance[nearer]
        last = nearest.max(-1)[1]
    return picked


def knn(query: Tensor, points: Tensor, k: int) -> Tensor:
    """cdist and topk. (B, M, 3), (B, N, 3) -> (B, M, k).

    Without cdist's matmul form, which cancels and then returns other neighbours.
    """
    distance = torch.cdist(query, points, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.topk(k, largest=False, sorted=True).indices


def three_nn_interpolate(query: Tensor, source: Tensor, features: Tensor) -> Tensor:
    """All distances sorted, the first three weighted. (B, N, 3), (B, G, 3), (B, G, C) -> (B, N, C)."""
    table = ((query.unsqueeze(2) - source.unsqueeze(1)) ** 2).sum(-1)
    distance, order = table.sort(dim=-1)
    weight = 1.0 / (distance[..., :3] + 1e-8)
    weight = weight / weight.sum(-1, keepdim=True)
    return (gather(features, order[..., :3]) * weight.unsqueeze(-1)).sum(2)


def gather(values: Tensor, indices: Tensor) -> Tensor:
    """(B, N, C), (B, ...) -> (B, ..., C)."""
    clouds = torch.arange(len(values), device=values.device).view(-1, *[1] * (indices.ndim - 1))
    return values[clouds, indices]


def chamfer_distance(a: Tensor, b: Tensor) -> Tensor:
    """Chamfer-L2 through the full table of differences. (B, N, 3), (B, M, 3) -> scalar."""
    distance = ((a.unsqueeze(2) - b.unsqueeze(1)) ** 2).sum(-1)
    return distance.amin(2).mean() + distance.amin(1).mean()


def summed_depth_images(points: Tensor, size: int = 224) -> tuple[Tensor, Tensor]:
    """Three axis views, every point scattered as 25 copies into an image of three equal channels.

    (B, N, 3) -> images (B, 3 views, 3 channels, size, size), and each point's own pixel, (B, 3, N, 2).
    """
    batch, count, _ = points.shape
    steps = torch.arange(-2, 3, dtype=points.dtype, device=points.device)
    cover = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).reshape(25, 2)
    images, pixels = [], []
    for view in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        plane, depth = points[..., view[:2]], points[..., view[2]]
        low, high = plane.amin(1, keepdim=True), plane.amax(1, keepdim=True)
        cell = (high - low).amax(-1, keepdim=True) / (size - 3)
        index = torch.floor((plane - low) / cell) + 1  # (B, N, 2): row and column
        middle = torch.floor((index.amax(1, keepdim=True) + index.amin(1, keepdim=True)) / 2)
        index = index + (size // 2 - middle - 1)
        pixels.append(index.clamp(0, size - 1).long())
        copies = (index.unsqueeze(2) + cover).view(batch, count * 25, 2)
        copies[copies < 0] += 1
        copies[copies > size - 1] -= 1
        flat = (copies[..., 0] * size + copies[..., 1]).long().unsqueeze(-1).expand(-1, -1, 3)
        depths = depth.view(batch, count, 1, 1).expand(-1, -1, 25, 3).reshape(batch, count * 25, 3)
        canvas = torch.zeros(batch, size * size, 3, device=points.device).scatter_add_(1, flat, depths)
        images.append(canvas.view(batch, size, size, 3).permute(0, 3, 1, 2))
    return torch.stack(images, dim=1), torch.stack(pixels, dim=1)


class TokenEmbedding(nn.Module):
    """MLP, max, concatenate [global, local], MLP, max. (B, G, K, C_in) -> (B, G, C_out)."""

    def __init__(self, widths: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        inner, hidden, middle, wide, out = widths
        self.first = nn.Sequential(
            nn.Conv1d(inner, hidden, 1), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Conv1d(hidden, middle, 1)
        )
        self.second = nn.Sequential(
            nn.Conv1d(2 * middle, wide, 1), nn.BatchNorm1d(wide), nn.ReLU(), nn.Conv1d(wide, out, 1)
        )

    def forward(self, groups: Tensor) -> Tensor:
        batch, tokens, neighbours, channels = groups.shape
        local = self.first(groups.reshape(batch * tokens, neighbours, channels).transpose(1, 2))
        whole = local.amax(-1, keepdim=True).expand(-1, -1, neighbours)
        return self.second(torch.cat([whole, local], dim=1)).amax(-1).reshape(batch, tokens, -1)


class Attention(nn.Module):
    """Softmax attention spelled out, with a mask that blocks nothing added to the scores."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) * (channels // self.heads) ** -0.5
        weights = (scores + mask.unsqueeze(1) * -1e5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, channels))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = Attention(channels, heads)
        self.fc1, self.fc2 = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), mask)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Encoder(nn.Module):
    """The base encoder as published, nothing masked; each level samples the centres of the one before.

    (B, N, 3) -> (B, 64, 384), the normalised tokens of the top level.
    """

    tokens, neighbours, channels = (512, 256, 64), (16, 8, 8), (96, 192, 384)
    # Where the parts of the package's encoder are found here.
    _names = (
        (r"embeddings\.(\d)\.conv1", r"embeddings.\1.first.0"),
        (r"embeddings\.(\d)\.norm1", r"embeddings.\1.first.1"),
        (r"embeddings\.(\d)\.conv2", r"embeddings.\1.first.3"),
        (r"embeddings\.(\d)\.conv3", r"embeddings.\1.second.0"),
        (r"embeddings\.(\d)\.norm2", r"embeddings.\1.second.1"),
        (r"embeddings\.(\d)\.conv4", r"embeddings.\1.second.3"),
        (r"stages\.(\d)\.position", r"positions.\1"),
        (r"stages\.(\d)\.blocks\.(\d)", r"levels.\1.\2"),
        (r"\.attn\.", r".attention."),
        (r"\.mlp\.", r"."),
    )

    def load_from(self, state: dict[str, Tensor]) -> None:
        """Take the weights of the package's ``i2p_mae_base`` encoder; strict."""
        renamed = {}
        for name, value in state.items():
            for pattern, replacement in self._names:
                name = re.sub(pattern, replacement, name)
            # A linear layer over points is a 1 x 1 convolution.
            convolution = re.search(r"(first|second)\.[03]\.weight$", name)
            renamed[name] = value.unsqueeze(-1) if convolution else value
        self.load_state_dict(renamed, strict=True)

    def __init__(self) -> None:
        super().__init__()
        widths = [(3, 128, 256, 512, 96), (96, 96, 96, 192, 192), (192, 192, 192, 384, 384)]
        self.embeddings = nn.ModuleList(TokenEmbedding(w) for w in widths)
        self.positions = nn.ModuleList(
            nn.Sequential(nn.Linear(3, c), nn.GELU(), nn.Linear(c, c)) for c in self.channels
        )
        self.levels = nn.ModuleList(nn.ModuleList(Block(c, 6) for _ in range(5)) for c in self.channels)
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in self.channels)

    def forward(self, points: Tensor) -> Tensor:
        centers, features = points, None
        for level, (tokens, neighbours) in enumerate(zip(self.tokens, self.neighbours, strict=True)):
            finer = centers
            centers = gather(finer, farthest_point_sample(finer, tokens))
            nearest = knn(centers, finer, neighbours)
            groups = (
                gather(finer, nearest) - centers.unsqueeze(2)
                if features is None
                else gather(features, nearest)
            )
            x = self.embeddings[level](groups)
            position = self.positions[level](centers)
            mask = torch.zeros(len(x), tokens, tokens, device=x.device)
            for block in self.levels[level]:
                x = block(x + position, mask)
            features = x
        return self.norms[-1](features)
