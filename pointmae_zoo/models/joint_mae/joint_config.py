"""The configuration of Joint-MAE's pre-training model: what the paper fixes, and what we chose."""

from dataclasses import dataclass
from math import prod
from typing import Literal

from pointmae_zoo.models.encoder import MOST_BLOCKS
from pointmae_zoo.models.reconstruction import count_visible
from pointmae_zoo.system.checked_fields import check_fields


@dataclass(frozen=True)
class JointMAEConfig:
    """The pre-training model around the encoder. "Paper" marks what the paper fixes, "ours" our choices."""

    mask_ratio_3d: float = 0.75
    """Share of the coarsest 3D tokens that is masked. Paper."""
    mask_ratio_2d: float = 0.75
    """Share of every image's patches that is masked. Paper."""
    mask_alignment: Literal["independent", "aligned", "complementary"] = "independent"
    """How visible patches are drawn: at random (paper), or preferring those that show visible 3D tokens
    (``aligned``) or hidden ones (``complementary``; both ours)."""
    image_branch: bool = True
    """False, ours, for ablation: no images, no 2D tokens, and only the 3D loss."""
    cross_attention: Literal["local", "full", "none"] = "local"
    """Which 3D tokens and 2D patches attend to each other in the joint encoder: those that share points of
    the cloud (paper; that points decide, and the single softmax, are ours), all, or none (ours, for
    ablation)."""
    views: Literal[1, 3] = 1
    """Depth images of each cloud: one from a random direction, drawn in every step, or three along the axes.
    Ours."""
    elevation: float = 30.0
    """Largest angle of a random view above or below the horizon, in degrees; its azimuth is uniform. Ours."""
    image_size: int = 224
    """Rows and columns of the depth images. Ours."""
    cover: int = 5
    """Side of the square of pixels that one point covers; odd. Ours."""
    farthest: float = 0.2
    """A depth image's value at the cloud's farthest point; the nearest has 1, empty pixels 0. Ours."""
    image_strides: tuple[int, ...] = (4, 2, 2)
    """Of the 2D embedding's stages; their product is the side of a patch, in pixels. Ours."""
    image_dims: tuple[int, ...] = (96, 192, 384)
    """Channels of those stages; the last is the encoder's. Ours."""
    image_blocks: int = 2
    """Masked convolution blocks of every stage but the last. Ours."""
    target_level: int = 1
    """The level whose hidden tokens predict the coordinates of their neighbours. Ours."""
    shared_blocks: int = 1
    """Decoder blocks over the tokens of both modalities together. The order, shared and then specific, is the
    paper's; the depths are ours."""
    specific_blocks: int = 1
    """Decoder blocks of each modality after them. Ours."""
    hidden_margin: float = 0.03
    """The cross loss ignores predicted points farther than this behind the visible surface, and grows
    linearly for points farther than this before it; as a share of the view's extent. Ours."""
    filled_gaps: int = 15
    """Gaps narrower than this many pixels are filled before the cross loss reads a surface; odd, 1 fills
    none. Between the points of a sparse cloud the image shows what lies behind, and predicted points should
    not be drawn there. Ours."""
    weight_3d: float = 1.0
    """Of the Chamfer distance between predicted and true neighbours of hidden tokens. Ours."""
    weight_2d: float = 1.0
    """Of the squared error of masked patches. Ours."""
    weight_cross: float = 1.0
    """Of the distance, along the view, between predicted points and the depth image's surface: squared up to
    ``hidden_margin``, linear beyond. Ours."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name, low, high in (
            ("mask_ratio_3d", 0.0, 0.999),
            ("mask_ratio_2d", 0.0, 0.999),
            ("elevation", 0.0, 90.0),
            ("image_size", 8, 4096),
            ("cover", 1, 101),
            ("farthest", 0.001, 0.999),
            ("image_blocks", 0, 128),
            ("shared_blocks", 1, 128),
            ("specific_blocks", 1, 128),
            ("hidden_margin", 0.0, 1.0),
            ("filled_gaps", 1, 101),
            ("weight_3d", 0.0, 1e6),
            ("weight_2d", 0.0, 1e6),
            ("weight_cross", 0.0, 1e6),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}: from {low} to {high} expected, got {getattr(self, name)}")
        if self.cover % 2 == 0 or self.cover + 2 >= self.image_size:
            raise ValueError(
                f"cover: odd and below image_size - 2 ({self.image_size - 2}) expected, got {self.cover}"
            )
        if self.filled_gaps % 2 == 0:
            raise ValueError(f"filled_gaps: an odd number of pixels expected, got {self.filled_gaps}")
        for name, most in (("image_strides", 64), ("image_dims", 8192)):
            values = getattr(self, name)
            if not values or not all(1 <= value <= most for value in values):
                raise ValueError(f"{name}: entries from 1 to {most} expected, got {list(values)}")
        if len(self.image_strides) > 8:
            raise ValueError(f"image_strides: at most 8 expected, got {len(self.image_strides)}")
        if self.image_blocks * (len(self.image_strides) - 1) > MOST_BLOCKS:
            raise ValueError(
                f"image_blocks: at most {MOST_BLOCKS} in all stages but the last together expected, got "
                f"{self.image_blocks} in each"
            )
        if len(self.image_dims) != len(self.image_strides):
            raise ValueError(
                f"image_dims: {len(self.image_strides)} entries expected, one per stride, got "
                f"{list(self.image_dims)}"
            )
        if self.image_size % self.patch_side:
            raise ValueError(
                f"image_size: a multiple of the product of image_strides ({self.patch_side}) expected, got "
                f"{self.image_size}"
            )

    @property
    def patch_side(self) -> int:
        """S, rows and columns of a patch."""
        return prod(self.image_strides)

    @property
    def num_patches(self) -> int:
        """P, patches of an image."""
        return (self.image_size // self.patch_side) ** 2

    @property
    def num_visible_patches(self) -> int:
        """How many patches of an image stay visible."""
        return count_visible(self.mask_ratio_2d, self.num_patches)
