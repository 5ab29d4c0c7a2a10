"""Depth images -> tokens, hierarchically, by masked convolutions (after ConvMAE, arXiv 2205.03892).

Masked patches are never read. Only the pixels of visible patches are, and all layers work on the positions of
visible patches alone; the depth-wise convolution sees zeros between them. Normalisation is per position
(LayerNorm), because statistics over a batch would leak what is masked.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from pointmae_zoo.models.layers import Mlp


class MaskedConvBlock(nn.Module):
    """1x1, depth-wise 5x5 and 1x1 convolution, then an MLP; both are residual and follow a LayerNorm. The
    block is ConvMAE's; using it here is our choice."""

    def __init__(self, dim: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.conv1 = nn.Linear(dim, dim)
        self.depthwise = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.conv2 = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, places: Tensor, padding: Tensor | None, images: int, side: int) -> Tensor:
        """Apply the block to visible positions.

        Args:
            x: (R, C) the visible positions of all images.
            places: (R,) int64, their indices among images x side x side positions.
            padding: (R, 1) bool, True for those that only fill up; None: none do.
            images: number of images.
            side: positions along a side of an image.

        Returns:
            (R, C).
        """
        hidden = self.conv1(self.norm1(x))
        if padding is not None:
            hidden = hidden.masked_fill(padding, 0.0)
        grid = hidden.new_zeros(images * side * side, hidden.shape[1]).index_copy(0, places, hidden)
        # (images, C, side, side), channels last in memory: the rows already are in that layout. On a CPU in
        # the weights' own precision: in bfloat16 their gradient takes twice as long.
        grid = grid.view(images, side, side, -1).permute(0, 3, 1, 2)
        if grid.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                grid = self.depthwise(grid.to(self.depthwise.weight.dtype))
        else:
            grid = self.depthwise(grid)
        rows = grid.permute(0, 2, 3, 1).reshape(images * side * side, -1)
        x = x + self.conv2(rows.index_select(0, places))
        return x + self.mlp(self.norm2(x))


class DepthEmbedding(nn.Module):
    """Visible patches of depth images -> one token each.

    Args:
        size: rows and columns of the images.
        strides: of the stages; a patch's side is their product.
        dims: channels of the stages.
        blocks: masked convolution blocks in every stage but the last.
        mlp_ratio: of these blocks.
    """

    def __init__(
        self, size: int, strides: Sequence[int], dims: Sequence[int], blocks: int, mlp_ratio: float
    ) -> None:
        super().__init__()
        self.size, self.strides = size, tuple(strides)
        widths = [stride * stride * dim for stride, dim in zip(strides, [1, *dims[:-1]], strict=True)]
        self.reductions = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(width, dim), nn.LayerNorm(dim), nn.GELU())
                for width, dim in zip(widths, dims, strict=True)
            ]
        )
        self.stages = nn.ModuleList(
            [nn.ModuleList([MaskedConvBlock(dim, mlp_ratio) for _ in range(blocks)]) for dim in dims[:-1]]
        )
        # Positions of a patch at each stage but the last; each stage's are fused into the patch's token.
        counts = [prod(strides[stage + 1 :]) ** 2 for stage in range(len(dims) - 1)]
        self.fusions = nn.ModuleList(
            [nn.Linear(count * dim, dims[-1]) for count, dim in zip(counts, dims[:-1], strict=True)]
        )
        self.last = nn.Linear(dims[-1], dims[-1])

    @property
    def patches_per_side(self) -> int:
        return self.size // prod(self.strides)

    def forward(self, images: Tensor, order: Tensor, valid: Tensor | None = None) -> Tensor:
        """Tokens of chosen patches.

        Args:
            images: (M, H, W).
            order: (M, U) int64, indices of patches, row by row; each at most once per image.
            valid: (M, U) bool; the others are padding: nothing sees them, and their tokens are meaningless.
                None: all are valid.

        Returns:
            (M, U, C).
        """
        count, width = order.shape
        tokens = count * width
        pixels = images.reshape(-1).index_select(0, self._places(order, 0).flatten())
        # Rows are the positions of the first stage, columns the pixels that each merges.
        x = pixels.view(tokens * prod(self.strides[1:]) ** 2, self.strides[0] ** 2)
        x = x.to(self.last.weight.dtype)
        fused: list[Tensor] = []
        for stage, reduce in enumerate(self.reductions):
            x = reduce(x)
            if stage == len(self.strides) - 1:
                break
            places = self._places(order, stage + 1)
            padding = None if valid is None else ~valid.unsqueeze(2).expand_as(places).reshape(-1, 1)
            side = self.size // prod(self.strides[: stage + 1])
            blocks = self.stages[stage]
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x = block(x, places.flatten(), padding, count, side)
            fused.append(self.fusions[stage](x.view(tokens, places.shape[2] * x.shape[1])))  # (M U, C)
            merged = self.strides[stage + 1] ** 2
            x = x.view(len(x) // merged, merged * x.shape[1])
        return torch.stack([self.last(x), *fused]).sum(0).view(count, width, x.shape[1])

    def _places(self, order: Tensor, stage: int) -> Tensor:
        """Indices of the patches' positions among all positions that go *into* ``stage`` (0: the pixels):
        (M, U) -> (M, U, S) int64.

        A patch's positions are in nested order: those that a stage merges are neighbours, so merging is a
        reshape.
        """
        side = self.patches_per_side
        row, column = order // side, order % side
        for stride in reversed(self.strides[stage:]):
            step = torch.arange(stride, device=order.device)
            row = row.unsqueeze(-1).unsqueeze(-1) * stride + step.unsqueeze(1)
            column = column.unsqueeze(-1).unsqueeze(-1) * stride + step
            row, column = torch.broadcast_tensors(row, column)
            side *= stride
        image = torch.arange(len(order), device=order.device).view(-1, 1, 1)
        return (image * side + row.flatten(2)) * side + column.flatten(2)


def sincos_positions(side: int, dim: int) -> Tensor:
    """Fixed position embeddings of side x side patches, row by row: (side ** 2, dim). As in vision
    transformers, sines and cosines of the column fill half of the channels, those of the row the other half.
    Ours.

    Raises:
        ValueError: ``dim`` is no multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"image_dims: the last must be a multiple of 4, got {dim}")
    rates = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angles = torch.arange(side, dtype=torch.float64).unsqueeze(1) * rates  # (side, dim / 4)
    waves = torch.cat([angles.sin(), angles.cos()], 1)
    columns, rows = waves.repeat(side, 1), waves.repeat_interleave(side, 0)
    return torch.cat([columns, rows], 1).float()
