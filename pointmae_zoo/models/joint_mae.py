"""Joint-MAE pre-training (IJCAI 2023, arXiv 2302.14007): masked points and their masked depth image.

No code or weights of the paper were published. What the paper fixes is that both modalities are masked at
random (75 %), embedded hierarchically, encoded by one joint transformer with local-aligned attention, decoded
by modal-shared and then modal-specific blocks, and reconstructed under a 3D, a 2D and a cross-reconstruction
loss. Everything that it leaves open is a field of `JointMAEConfig` marked "ours".
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from pointmae_zoo.data.fields import check_fields
from pointmae_zoo.models.config import ModelConfig
from pointmae_zoo.models.encoder import EncoderConfig, PointEncoder
from pointmae_zoo.models.losses import LossTerm, weighted_sum
from pointmae_zoo.models.reconstruction import Prediction
from pointmae_zoo.ops import ViewFrames


@dataclass(frozen=True)
class JointMAEConfig:
    """The pre-training model around the encoder. "Paper" is what its text fixes; "ours" is our choice."""

    mask_ratio_3d: float = 0.75
    """Share of the coarsest 3D tokens that is masked. Paper."""
    mask_ratio_2d: float = 0.75
    """Share of every image's patches that is masked. Paper."""
    mask_alignment: Literal["independent", "aligned", "complementary"] = "independent"
    """How the visible patches are drawn: at random (paper); preferring those that show the visible 3D tokens,
    or those that show the hidden ones (ours)."""
    image_branch: bool = True
    """Ours, for ablation. False: no image, no 2D tokens, and no loss but the 3D one."""
    cross_attention: Literal["local", "full", "none"] = "local"
    """Which 3D tokens and 2D patches see each other in the joint encoder: those that share points of the
    cloud (paper; that points decide, in one softmax with everything else, is ours), all, or none (ours, for
    ablation)."""
    views: Literal[1, 3] = 1
    """Depth images of each cloud: one from a random place, drawn in every step, or three along the axes.
    Ours."""
    elevation: float = 30.0
    """A random view looks from at most so many degrees above or below the horizon, and from anywhere around
    it. Ours."""
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
    """Decoder blocks of each modality after them."""
    hidden_margin: float = 0.05
    """The cross loss leaves out predicted points that lie farther than this behind the visible surface; in
    units of the depth image. Ours."""
    weight_3d: float = 1.0
    """Of the Chamfer distance between predicted and true neighbours of hidden tokens. All weights are
    ours."""
    weight_2d: float = 1.0
    """Of the squared error of masked patches."""
    weight_cross: float = 1.0
    """Of the squared difference between predicted points' depth and the depth image's."""

    def __post_init__(self) -> None:
        check_fields(self)


class JointOutput(NamedTuple):
    """Losses of one batch, and what they compare. P are the patches of one image, row by row."""

    losses: dict[str, LossTerm]
    """``3d`` (mean over hidden 3D tokens), ``2d`` (masked patches), ``cross`` (predicted points that lie on
    or before the visible surface). Without the image branch ``3d`` alone."""
    monitors: dict[str, LossTerm]
    """``2d_object``: the 2D loss on masked patches that show something of the object."""
    visible: Tensor  # (B, G of the coarsest level) bool
    points: Prediction  # of the hidden tokens: (B, W, K, 3), their neighbours relative to their centres
    images: Tensor | None  # (B, V, H, W) depth images, [0, 1], background 0; None without the image branch
    visible_patches: Tensor | None  # (B, V, P) bool
    patches: Tensor | None  # (B, V, P, S, S) float32, predicted for all patches; losses count masked ones
    frames: ViewFrames | None  # of the images; ``frames.project`` puts any points into them

    @property
    def loss(self) -> Tensor:
        """What is minimised."""
        return weighted_sum(self.losses)


class JointMAEForPretraining(nn.Module):
    """Encoder, 2D branch, joint attention, decoders and the three losses."""

    config: ModelConfig

    def __init__(self, encoder: EncoderConfig, config: JointMAEConfig) -> None:
        super().__init__()
        self.hyper = config
        self.encoder = PointEncoder(encoder)

    @staticmethod
    def taught(teacher: tuple[int, int] | None) -> dict[str, Any]:
        """The arguments that a teacher decides: none, as this model takes none.

        Raises:
            ValueError: there is a teacher.
        """
        if teacher is not None:
            raise ValueError("Joint-MAE has no teacher: its images are the clouds' own; leave teacher out")
        return {}

    def forward(
        self,
        points: Tensor,
        views: None = None,
        *,
        visible: Tensor | None = None,
        visible_patches: Tensor | None = None,
        rotations: Tensor | None = None,
    ) -> JointOutput:
        """One batch's losses.

        Args:
            points: (B, N, 3) augmented clouds; y is up.
            views: None; there is no teacher.
            visible: (B, G) bool over the coarsest 3D tokens; None: drawn.
            visible_patches: (B, V, P) bool; None: drawn. All False: the 3D loss that 3D tokens alone reach.
            rotations: (B, V, 3, 3) of the views; None: drawn, or the axes.

        Draws use torch's global generator of the device.
        """
        raise NotImplementedError
