"""Token embedding: a small PointNet over each group of neighbours.

As published (I2P-MAE after Point-M2AE): conv - BN - ReLU - conv, maximum over the group, [global, local]
concatenated, conv - BN - ReLU - conv, maximum. This module computes the same function with less work:

- there is no non-linearity between the first MLP's last layer and the second MLP's first layer, so their
  weights are multiplied;
- the global half of the concatenation is the same for all points of a group and is computed once per group;
- above level 0 the same token is in many groups. The first MLP runs once per token, and BatchNorm's
  statistics are weighted by how often the token occurs, which gives the published statistics;
- at inference BatchNorm is folded into the weights, and groups are processed in pieces that fit a CPU's
  cache.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointmae_zoo.models.batch_norm import batch_norm
from pointmae_zoo.ops import index_points
from pointmae_zoo.ops.exportable import exporting

# Rows (points) that a CPU processes at a time. Larger pieces cost page faults.
_CPU_ROWS = 1024


class TokenEmbedding(nn.Module):
    """Groups of K neighbours -> one token each.

    Args:
        in_dim: channels of a neighbour (3 at level 0: coordinates relative to the group's centre).
        hidden, mid: widths of the first MLP (in - hidden - mid); the second is 2 mid - 2 mid - out.
        out_dim: channels of a token.
    """

    def __init__(self, in_dim: int, hidden: int, mid: int, out_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Linear(in_dim, hidden)
        self.norm1 = nn.BatchNorm1d(hidden)
        self.conv2 = nn.Linear(hidden, mid)
        self.conv3 = nn.Linear(2 * mid, 2 * mid)
        self.norm2 = nn.BatchNorm1d(2 * mid)
        self.conv4 = nn.Linear(2 * mid, out_dim)

    def forward(
        self, features: Tensor, neighbors: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Embed groups.

        Args:
            features: (B, G, K, C) grouped neighbours; or, with ``neighbors``, (B, M, C) tokens of the finer
            level.
            neighbors: (B, G, K) int64 into the M tokens.
            valid: (B, G) bool; the others are padding and count in no statistics. None: all are valid.

        Returns:
            (B, G, out_dim).
        """
        if neighbors is None:
            batch, groups, size = features.shape[:3]
            rows = features.reshape(batch * groups * size, -1)
        else:
            batch, groups, size = neighbors.shape
            rows = features.reshape(-1, features.shape[-1])
        if self.training:
            tokens = self._train(rows, batch, size, neighbors, valid)
        else:
            tokens = self._infer(rows, batch, groups, size, neighbors)
        return tokens.view(batch, groups, -1)

    def _composed(self) -> tuple[Tensor, Tensor, Tensor]:
        """conv3's global half, its local half times conv2, and the bias of both: weights (2 mid, mid),
        (2 mid, hidden) and bias (2 mid,)."""
        mid = self.conv2.out_features
        of_global, of_local = self.conv3.weight[:, :mid], self.conv3.weight[:, mid:]
        return of_global, of_local @ self.conv2.weight, self.conv3.bias + of_local @ self.conv2.bias

    def _train(
        self, rows: Tensor, batch: int, size: int, neighbors: Tensor | None, valid: Tensor | None
    ) -> Tensor:
        of_global, composed, bias = self._composed()
        hidden = self.conv1(rows)  # (B G K, hidden), or (B M, hidden) with neighbours
        times = None  # (B G K,) how often each neighbour of each group counts
        if valid is not None:
            times = valid.unsqueeze(-1).expand(-1, -1, size).flatten().to(hidden.dtype)
        if neighbors is None:
            hidden = F.relu(batch_norm(self.norm1, hidden, times))
        else:
            flat = _flat_rows(neighbors, len(rows) // batch)
            # Not bincount: on a GPU it looks at the values first, which means waiting.
            once = hidden.new_ones(len(flat)) if times is None else times
            counts = hidden.new_zeros(len(rows)).index_add_(0, flat, once)
            hidden = F.relu(batch_norm(self.norm1, hidden, counts))
        local = F.linear(hidden, self.conv2.weight)
        mixed = F.linear(hidden, composed, bias)
        if neighbors is not None:
            local, mixed = local.index_select(0, flat), mixed.index_select(0, flat)
        # The bias is the same for all points of a group. Added after the maximum, it costs the compared sums
        # no digits.
        whole = _group_max(local.view(-1, size, local.shape[-1])) + self.conv2.bias
        whole = F.linear(whole, of_global)  # (B G, 2 mid)
        mixed = mixed.view(-1, size, mixed.shape[-1]) + whole.unsqueeze(1)  # (B G, K, 2 mid)
        mixed = F.relu(batch_norm(self.norm2, mixed.view(-1, mixed.shape[-1]), times))
        tokens = F.linear(mixed, self.conv4.weight).view(-1, size, self.conv4.out_features)
        return _group_max(tokens) + self.conv4.bias

    def _infer(self, rows: Tensor, batch: int, groups: int, size: int, neighbors: Tensor | None) -> Tensor:
        of_global, composed, bias = self._composed()
        scale1, shift1 = _folded(self.norm1)
        scale2, shift2 = _folded(self.norm2)
        first = self.conv1.weight * scale1[:, None], self.conv1.bias * scale1 + shift1
        # conv2 and the composed layer have the same input: one product computes both.
        mid = self.conv2.out_features
        both = torch.cat([self.conv2.weight, composed * scale2[:, None]])
        both_bias = torch.cat([self.conv2.bias, bias * scale2 + shift2])
        of_global = of_global * scale2[:, None]
        flat = None
        if neighbors is not None:
            flat = _flat_rows(neighbors, rows.shape[0] // batch)
            rows = F.linear(F.relu(F.linear(rows, *first)), both, both_bias)
        total = batch * groups * size
        starts, step = range(0, 1), total
        if rows.device.type == "cpu" and not exporting():  # a traced program takes any number of rows
            step = max(1, _CPU_ROWS // size) * size
            starts = range(0, total, step)
        pieces = []
        for start in starts:
            if flat is None:
                piece = F.linear(F.relu(F.linear(rows[start : start + step], *first)), both, both_bias)
            else:
                piece = rows.index_select(0, flat[start : start + step])
            piece = piece.view(-1, size, piece.shape[-1])  # (groups of the piece, K, 3 mid)
            whole = F.linear(piece[..., :mid].amax(1), of_global)
            mixed = F.relu(piece[..., mid:] + whole.unsqueeze(1))
            # The last bias is the same for all points of a group: added after the maximum.
            pieces.append(F.linear(mixed, self.conv4.weight).amax(1))
        return torch.cat(pieces) + self.conv4.bias


def group_coordinates(points: Tensor, centers: Tensor, neighbors: Tensor) -> Tensor:
    """Neighbours relative to their centre: (B, N, 3), (B, G, 3), (B, G, K) -> (B, G, K, 3)."""
    return index_points(points, neighbors) - centers.unsqueeze(2)


def _flat_rows(neighbors: Tensor, tokens: int) -> Tensor:
    """(B, G, K) indices per cloud -> (B G K) rows of the (B M) token matrix."""
    offsets = torch.arange(neighbors.shape[0], device=neighbors.device).view(-1, 1, 1) * tokens
    return (neighbors + offsets).flatten()


def _folded(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Evaluation-mode BatchNorm as scale and shift."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _group_max(x: Tensor) -> Tensor:
    """(M, K, C) -> (M, C).

    ``amax`` shares the gradient among equal values; the published model gives it to the first. In bfloat16
    many values are equal, either rule is fine, and ``amax`` is seven times faster on a CPU.
    """
    return x.amax(1) if x.dtype == torch.bfloat16 else x.max(1).values
