"""I2P-MAE pre-training (CVPR 2023, arXiv 2212.06785): masked points, guided by an image network."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pointmae_zoo.models.encoder import EncoderConfig
from pointmae_zoo.models.i2p_mae.i2p_config import I2PMAEConfig
from pointmae_zoo.models.layers import Stage, init_linear
from pointmae_zoo.models.pretraining_model import (
    LossTerm,
    PretrainingModel,
    Preview,
    PreviewColumn,
    TeacherViews,
    as_float64,
    visible_points,
    weighted_sum,
)
from pointmae_zoo.models.reconstruction import (
    Prediction,
    TokenPropagation,
    count_visible,
    draw_visible,
    neighbors_loss,
    predict_neighbors,
)
from pointmae_zoo.models.tokens import Groups, pack
from pointmae_zoo.ops import index_points, knn, read_maps


class PretrainOutput(NamedTuple):
    """The losses of one batch, and what they compare."""

    losses: dict[str, LossTerm]
    """``3d``, the mean over hidden tokens; with a teacher and a weight also ``2d``, the mean over visible
    ones."""
    visible: Tensor  # (B, G of the coarsest level) bool
    points: Prediction  # of the hidden tokens: (B, W, K, 3), their neighbours relative to their centres
    images: Prediction | None  # of the visible tokens: (B, W, P, V C), the teacher's features

    @property
    def monitors(self) -> dict[str, LossTerm]:
        """None beside the losses."""
        return {}

    @property
    def loss(self) -> Tensor:
        """What is minimised: weight_3d * loss_3d + weight_2d * loss_2d."""
        return weighted_sum(self.losses)


class I2PMAEForPretraining(PretrainingModel):
    """Encoder, hierarchical decoder and the two losses.

    Most coarse tokens are masked; the visible ones are drawn by the saliency of the teacher's images (paper,
    section 3.2: 2D-guided masking). Masked tokens predict the coordinates of their neighbours (Chamfer-L2),
    visible ones the teacher's features at theirs (2D-semantic reconstruction; MSE).
    """

    hyper: I2PMAEConfig

    def __init__(self, encoder: EncoderConfig, config: I2PMAEConfig) -> None:
        top = len(encoder.dims) - 1
        if not 0 <= config.target_level <= top:
            raise ValueError(f"target_level: from 0 to {top} expected, got {config.target_level}")
        levels = list(range(top, config.target_level - 1, -1))
        if len(config.decoder_depths) != len(levels):
            raise ValueError(
                f"decoder_depths: {len(levels)} entries expected, for levels {levels}, "
                f"got {list(config.decoder_depths)}"
            )
        if encoder.norm_levels != "all":
            raise ValueError("norm_levels: pre-training needs 'all'; the decoder reads every level")
        super().__init__(encoder, config)
        for level in range(config.target_level):  # the decoder doesn't read these levels
            self.encoder.norms[str(level)].requires_grad_(False)
        dims, size = encoder.dims, encoder.num_neighbors[config.target_level]
        self.mask_token = nn.Parameter(torch.empty(dims[top]))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.stages = nn.ModuleList(
            [
                Stage(dims[level], encoder.num_heads, encoder.mlp_ratio, [0.0] * depth)
                for level, depth in zip(levels, config.decoder_depths, strict=True)
            ]
        )
        self.propagations = nn.ModuleList(
            [TokenPropagation(dims[level], dims[level + 1]) for level in levels[1:]]
        )
        dim = dims[config.target_level]
        self.norm = nn.LayerNorm(dim)
        self.head_3d = nn.Linear(dim, 3 * size)
        targets = size if config.target_points == "neighbors" else 1
        self.head_2d = nn.Linear(dim, targets * config.num_views * config.teacher_dim)
        for module in (self.stages, self.head_3d, self.head_2d):
            module.apply(init_linear)
        if config.weight_2d == 0:
            self.head_2d.requires_grad_(False)  # no loss reaches it

    @classmethod
    def taught(cls, teacher: tuple[int, int] | None) -> dict[str, Any]:
        """The teacher's views and channels; without a teacher there is no 2D loss."""
        if teacher is None:
            return {"weight_2d": 0.0}
        return {"num_views": teacher[0], "teacher_dim": teacher[1]}

    def forward(
        self,
        points: Tensor,
        views: TeacherViews | None = None,
        *,
        visible: Tensor | Sequence[Tensor] | None = None,
    ) -> PretrainOutput:
        """One batch's losses.

        Args:
            points: (B, N, 3) augmented clouds.
            views: the teacher's view of them; may be None if ``weight_2d`` is 0.
            visible: (B, G) bool over the coarsest tokens, or one mask per level as in
                `PointEncoder.forward_features`; None: drawn.

        Raises:
            ValueError: no views although the 2D loss has a weight, or views that don't fit the configuration.
        """
        self._check_views(views, points)
        level = self.hyper.target_level
        groups = self.encoder.group(points)
        most = None
        if visible is None:
            visible, most = self.draw_visible(groups, views), self.num_visible
        tokens = self.encoder.forward_features(points, groups=groups, visible=visible, most_visible=most)
        drawn, shown = tokens.visible[-1], tokens.visible[level]
        assert drawn is not None and shown is not None
        decoded = self.decode(tokens.features, groups, drawn)
        # Every visible coarsest token makes at least itself visible at every level.
        most_hidden = None if most is None else shown.shape[1] - most
        hidden = predict_neighbors(self.head_3d, decoded, points, groups, level, ~shown, most_hidden)
        losses = {"3d": neighbors_loss(hidden, self.hyper.weight_3d)}
        seen = None
        if views is not None and self.hyper.weight_2d > 0:
            seen = self._predict_images(views, groups, decoded, shown, most)
            errors = (seen.predicted.float() - seen.target.float()).square().flatten(2).mean(2)  # (B, W)
            count = seen.valid.sum()
            loss_2d = (errors * seen.valid).sum() / count.clamp_min(1)
            losses["2d"] = LossTerm(loss_2d, self.hyper.weight_2d, count.float())
        return PretrainOutput(losses, drawn, hidden, seen)

    def _predict_images(
        self, views: TeacherViews, groups: Groups, decoded: Tensor, shown: Tensor, most_visible: int | None
    ) -> Prediction:
        """What visible tokens predict, (B, W, P, V C): features at their neighbours or centres."""
        level = self.hyper.target_level
        order, valid = pack(shown, self.encoder.visible_bounds(most_visible)[level])
        if self.hyper.target_points == "tokens":
            at = groups.indices.gather(1, order).unsqueeze(-1)  # (B, W, 1) points
        else:
            at = index_points(groups.neighbors[level], order)  # (B, W, K)
            if level > 0:  # from the finer level's tokens to points
                at = groups.indices.gather(1, at.flatten(1)).view_as(at)
        pixels = _pixels_of(views.pixels, at.flatten(1))
        read = torch.cat([read_maps(maps, pixels, mode=self.hyper.read_mode) for maps in views.maps], dim=-1)
        target = read.reshape(*at.shape, -1)
        predicted = self.head_2d(index_points(decoded, order)).view(target.shape)
        return Prediction(order, valid, predicted, target)

    def _check_views(self, views: TeacherViews | None, points: Tensor) -> None:
        if views is None:
            if self.hyper.weight_2d > 0:
                raise ValueError("views: the teacher's views are needed while weight_2d is above 0")
            return
        count, channels = views.pixels.shape[1], sum(maps.shape[2] for maps in views.maps)
        if (count, channels) != (self.hyper.num_views, self.hyper.teacher_dim):
            raise ValueError(
                f"views: {self.hyper.num_views} views of {self.hyper.teacher_dim} channels expected "
                f"(num_views, teacher_dim), got {count} of {channels}"
            )
        if views.pixels.shape[2] != points.shape[1]:
            raise ValueError(
                f"views: pixels of {points.shape[1]} points expected, got {views.pixels.shape[2]}"
            )

    @property
    def num_visible(self) -> int:
        """How many of the coarsest tokens stay visible."""
        return count_visible(self.hyper.mask_ratio, self.encoder.hyper.num_tokens[-1])

    def draw_visible(self, groups: Groups, views: TeacherViews | None) -> Tensor:
        """Draw the visible coarsest tokens, (B, G) bool, without replacement (paper, equations 4 and 5).

        Uses torch's global generator of the device. Without saliency every token is equally likely.
        """
        batch, count, _ = groups.centers[-1].shape
        if views is not None and views.saliency is not None:
            probability = self.token_probability(groups, views)
        else:
            probability = torch.full((batch, count), 1.0 / count, device=groups.indices.device)
        return draw_visible(probability, self.num_visible)

    def token_probability(self, groups: Groups, views: TeacherViews) -> Tensor:
        """softmax(saliency / temperature) over each cloud's coarsest tokens, (B, G) float32."""
        assert views.saliency is not None
        count = groups.centers[-1].shape[1]
        pixels = _pixels_of(views.pixels, groups.indices[:, :count])
        read = read_maps(views.saliency.float().unsqueeze(2), pixels, mode=self.hyper.read_mode)
        saliency = read.squeeze(-1).mean(-1)  # (B, G, V, 1) -> (B, G)
        if self.hyper.standardize_saliency:
            deviation = saliency.std(-1, keepdim=True).clamp_min(1e-12)
            saliency = (saliency - saliency.mean(-1, keepdim=True)) / deviation
        return (saliency / self.hyper.saliency_temperature).softmax(-1)

    def decode(self, features: list[Tensor], groups: Groups, visible: Tensor) -> Tensor:
        """Every level's encoder tokens, zero where hidden -> the target level's, normalised: (B, G, C)."""
        top = len(features) - 1
        x = torch.where(visible.unsqueeze(-1), features[top], self.mask_token.to(features[top].dtype))
        x = self.stages[0](x, groups.centers[top])
        for step, (propagate, stage) in enumerate(
            zip(self.propagations, self.stages[1:], strict=True), start=1
        ):
            level = top - step
            x = propagate(groups.centers[level], groups.centers[level + 1], features[level], x)
            x = stage(x, groups.centers[level])
        return self.norm(x)

    def preview(self, points: Tensor, views: TeacherViews | None) -> Preview:
        """The clouds; with the teacher's views also its saliency at every point, and how well its features
        are predicted at each visible token.

        That is the correlation over channels, views and places, after the mean over all tokens is subtracted.
        """
        level = self.hyper.target_level
        groups = self.encoder.group(points)
        drawn = self.draw_visible(groups, views)
        masks = self.encoder.visible_below(drawn, groups)
        tokens = self.encoder.forward_features(points, groups=groups, visible=drawn)
        decoded = self.decode(tokens.features, groups, drawn)
        local = self.head_3d(decoded).float().unflatten(2, (-1, 3))  # (B, G, K, 3)
        around = as_float64(local + groups.centers[level].unsqueeze(2))
        hidden = ~masks[level].cpu().numpy()
        visible = visible_points(groups, masks[0], points.shape[1])
        columns = []
        if views is not None and views.saliency is not None:
            saliency = _point_saliency(views, self.hyper.read_mode)
            columns.append(
                PreviewColumn("2D teacher's saliency", saliency, colours="plasma", scale=("low", "high"))
            )
        if views is not None and self.hyper.weight_2d > 0:
            agreement = np.where(visible, self._agreement(points, views, drawn, groups), np.nan)
            columns.append(
                PreviewColumn("2D features: correlation", agreement, scale=("0", "1"), note="grey: masked")
            )
        return Preview(
            visible,
            f"{self.num_visible} of {drawn.shape[1]} tokens",
            [one[mask].reshape(-1, 3) for one, mask in zip(around, hidden, strict=True)],
            after=columns,
        )

    def _agreement(
        self, points: Tensor, views: TeacherViews, drawn: Tensor, groups: Groups
    ) -> NDArray[np.float64]:
        """Correlation of predicted and teacher's features, (B, N), at a point its nearest visible token's."""
        images = self(points, views, visible=drawn).images
        target, predicted = images.target.float(), images.predicted.float()  # (B, W, P, V C)
        mean = target[images.valid].mean(0)
        target, predicted = ((one - mean).flatten(2) for one in (target, predicted))
        similar = torch.cosine_similarity(target, predicted, dim=2).clamp_min(0)  # (B, W)
        centers = index_points(groups.centers[self.hyper.target_level], images.order)
        centers = centers.masked_fill(~images.valid.unsqueeze(2), 1e6)  # padding is no point's nearest
        nearest = knn(points, centers, 1).squeeze(2)
        return as_float64(similar.gather(1, nearest))


def _point_saliency(views: TeacherViews, mode: str) -> NDArray[np.float64]:
    """The saliency at every point, (B, N): the mean over the views, scaled to [0, 1] for each cloud."""
    assert views.saliency is not None
    read = read_maps(views.saliency.float().unsqueeze(2), views.pixels, mode=mode).mean((2, 3))
    low, high = read.quantile(torch.tensor([0.02, 0.98], device=read.device), dim=1, keepdim=True)
    return as_float64(((read - low) / (high - low).clamp_min(1e-12)).clamp(0, 1))


def _pixels_of(pixels: Tensor, indices: Tensor) -> Tensor:
    """Pixels of chosen points: (B, V, N, 2), (B, M) -> (B, V, M, 2)."""
    return pixels.gather(2, indices[:, None, :, None].expand(-1, pixels.shape[1], -1, 2))
