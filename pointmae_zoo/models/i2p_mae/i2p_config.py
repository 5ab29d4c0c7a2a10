"""The configuration of I2P-MAE's pre-training model: masks, decoder, losses."""

from dataclasses import dataclass
from typing import Literal

from pointmae_zoo.models.encoder import MOST_BLOCKS
from pointmae_zoo.system.checked_fields import check_fields


@dataclass(frozen=True)
class I2PMAEConfig:
    """The pre-training model around the encoder. The defaults are the paper's; any other value is ours."""

    mask_ratio: float = 0.8
    """Share of the coarsest tokens that is masked."""
    target_level: int = 1
    """The decoder ends at this level, whose tokens predict their own neighbours (3D) and the teacher's
    features (2D)."""
    decoder_depths: tuple[int, ...] = (1, 1)
    """Blocks per decoder stage, from the coarsest level down to ``target_level``."""
    teacher_dim: int = 512
    """Channels of the teacher per view, all its maps together."""
    num_views: int = 3
    target_points: Literal["neighbors", "tokens"] = "neighbors"
    """Where 2D features are predicted: at each neighbour of a visible token (paper), or at the token's
    centre, which is much cheaper."""
    read_mode: Literal["bicubic", "bilinear"] = "bicubic"
    """How the teacher's maps are read between their cells."""
    saliency_temperature: float = 1.0
    """Divides the saliency before the softmax by which visible tokens are drawn. Raw attention values are
    about 1/197, so with the paper's 1 all tokens are almost equally likely; smaller values guide more."""
    standardize_saliency: bool = False
    """Standardise each cloud's saliency first, so that the temperature means the same for every teacher."""
    weight_3d: float = 1.0
    weight_2d: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        for name, low, high in (
            ("mask_ratio", 0.0, 0.999),
            ("saliency_temperature", 1e-6, 1e6),
            ("weight_3d", 0.0, 1e6),
            ("weight_2d", 0.0, 1e6),
            ("teacher_dim", 1, 16384),
            ("num_views", 1, 64),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}: from {low} to {high} expected, got {getattr(self, name)}")
        if not all(0 <= depth <= 128 for depth in self.decoder_depths):
            raise ValueError(
                f"decoder_depths: entries from 0 to 128 expected, got {list(self.decoder_depths)}"
            )
        if sum(self.decoder_depths) > MOST_BLOCKS:
            raise ValueError(
                f"decoder_depths: at most {MOST_BLOCKS} together expected, got {list(self.decoder_depths)}"
            )
