"""A third family, after Point-MAE (arXiv 2203.06604): all of it is here, nothing of it in the package."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pointmae_zoo.models.encoder import EncoderConfig
from pointmae_zoo.models.layers import Stage
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.models.pretraining_model import (
    LossTerm,
    PretrainingModel,
    Preview,
    TeacherViews,
    as_float64,
    visible_points,
)
from pointmae_zoo.models.reconstruction import (
    Prediction,
    count_visible,
    draw_visible,
    neighbors_loss,
    predict_neighbors,
)
from pointmae_zoo.models.registry import (
    Architecture,
    Family,
    Paper,
    ReferenceCheckpoints,
    ReferencePreset,
    register_model,
)
from pointmae_zoo.ops import index_points
from pointmae_zoo.system.checked_fields import check_fields


@dataclass(frozen=True)
class PointMAEConfig:
    """The decoder around the encoder."""

    mask_ratio: float = 0.5
    """Share of the coarsest tokens that is masked."""
    decoder_blocks: int = 1

    def __post_init__(self) -> None:
        check_fields(self)


class PointMAEOutput(NamedTuple):
    """Losses of one batch, and what they compare."""

    losses: dict[str, LossTerm]
    monitors: dict[str, LossTerm]
    visible: Tensor  # (B, G) bool
    points: Prediction


class PointMAEForPretraining(PretrainingModel):
    """Masked tokens of the coarsest level predict their neighbours."""

    hyper: PointMAEConfig

    def __init__(self, encoder: EncoderConfig, config: PointMAEConfig) -> None:
        super().__init__(encoder, config)
        dim = encoder.dims[-1]
        self.mask_token = nn.Parameter(torch.zeros(dim))
        self.decoder = Stage(dim, encoder.num_heads, encoder.mlp_ratio, [0.0] * config.decoder_blocks)
        self.head = nn.Linear(dim, 3 * encoder.num_neighbors[-1])

    def forward(self, points: Tensor, views: TeacherViews | None = None) -> PointMAEOutput:
        groups = self.encoder.group(points)
        batch, count, _ = groups.centers[-1].shape
        kept = count_visible(self.hyper.mask_ratio, count)
        visible = draw_visible(points.new_ones(batch, count), kept)
        tokens = self.encoder.forward_features(points, groups=groups, visible=visible, most_visible=kept)
        x = torch.where(visible.unsqueeze(-1), tokens.features[-1], self.mask_token)
        x = self.decoder(x, groups.centers[-1])
        level = len(groups.centers) - 1
        hidden = predict_neighbors(self.head, x, points, groups, level, ~visible, count - kept)
        return PointMAEOutput({"3d": neighbors_loss(hidden, 1.0)}, {}, visible, hidden)

    def preview(self, points: Tensor, views: TeacherViews | None) -> Preview:
        output, groups = self(points), self.encoder.group(points)
        masks = self.encoder.visible_below(output.visible, groups)
        around = index_points(groups.centers[-1], output.points.order).unsqueeze(2) + output.points.predicted
        return Preview(
            visible_points(groups, masks[0], points.shape[1]),
            f"{int(output.visible[0].sum())} of {output.visible.shape[1]} tokens",
            [as_float64(one.flatten(0, 1)) for one in around],
        )


FAMILY = Family(
    name="point_mae",
    paper=Paper(
        "Point-MAE",
        "ECCV 2022",
        "arXiv:2203.06604",
        "https://arxiv.org/abs/2203.06604",
        "@inproceedings{pang2022pointmae}",
    ),
    recipes=Path(__file__).parent / "recipes",
)


@register_model
def point_mae_small() -> Architecture:
    """Point-MAE, small enough for a test."""
    return Architecture(
        family=FAMILY,
        encoder=EncoderConfig(
            num_tokens=(16, 8),
            num_neighbors=(8, 4),
            dims=(12, 24),
            depths=(1, 1),
            local_radius=(0.0, 0.0),
            num_heads=3,
            stem_widths=(8, 16),
        ),
        pretraining=PointMAEConfig(),
        pretraining_model=PointMAEForPretraining,
        preprocess=Preprocess(num_points=96),
        references=(
            ReferenceCheckpoints(
                source="Point-MAE's code",
                kind="pretraining",
                marks=("MAE.mask_token",),
                presets={"shapenet": ReferencePreset({"mask_ratio": 0.6}, Preprocess(num_points=512))},
                translate=lambda key, tensor: (key[4:], tensor) if key.startswith("MAE.") else None,
            ),
        ),
    )
