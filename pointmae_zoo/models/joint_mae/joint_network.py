"""Joint-MAE pre-training (IJCAI 2023, arXiv 2302.14007): masked points and their masked depth image.

The paper's code and weights were not published. The paper fixes that both modalities are masked at random
(75 %), embedded hierarchically, encoded by one joint transformer with local-aligned attention, decoded by
modal-shared and then modal-specific blocks, and reconstructed under a 3D, a 2D and a cross-reconstruction
loss. All else is our choice. Choices that are numbers or switches are fields of `JointMAEConfig` and of the
architectures' entries; the others are:

- the forms of the three losses: Chamfer-L2 between neighbours, squared error of depths, and `cross_loss`;
- the 2D embedding's blocks (after ConvMAE), its fixed sin-cos positions, and one modality embedding per view;
- the decoder's input: normalised visible tokens, a mask token for each modality, positions before every
  block; for 3D also the finer levels' tokens on the way to the target level.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pointmae_zoo.models.encoder import EncoderConfig
from pointmae_zoo.models.joint_mae.depth_embedding import DepthEmbedding, sincos_positions
from pointmae_zoo.models.joint_mae.depth_losses import cross_loss, patch_losses
from pointmae_zoo.models.joint_mae.joint_config import JointMAEConfig
from pointmae_zoo.models.joint_mae.joint_masks import (
    check_masks,
    draw_visible_patches,
    joint_attention_mask,
)
from pointmae_zoo.models.joint_mae.joint_preview import (
    draw_points,
    image_column,
    image_columns,
    view_direction,
)
from pointmae_zoo.models.joint_mae.joint_views import SeenImages, render_views
from pointmae_zoo.models.layers import Block, Stage, init_linear, run_blocks
from pointmae_zoo.models.pretraining_model import (
    LossTerm,
    PretrainingModel,
    Preview,
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
from pointmae_zoo.ops import ViewFrames, fill_holes, index_points


class JointOutput(NamedTuple):
    """The losses of one batch, and what they compare. P patches of an image are counted row by row."""

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


class JointMAEForPretraining(PretrainingModel):
    """Encoder, 2D branch, joint attention, decoders and the three losses.

    The encoder is `PointEncoder` with blocks at its coarsest level only. In pre-training these blocks are the
    joint transformer over the visible tokens of both modalities; afterwards, without 2D branch and decoder,
    they are the 3D encoder's own. Positions are added before every block. Those of 2D tokens include a
    modality embedding; 3D tokens need none, because the last bias of their position MLP serves as one.
    """

    hyper: JointMAEConfig
    image_positions: Tensor

    def __init__(self, encoder: EncoderConfig, config: JointMAEConfig) -> None:
        top = len(encoder.dims) - 1
        dim = encoder.dims[top]
        if any(encoder.depths[:top]) or not encoder.depths[top]:
            raise ValueError(
                "depths: blocks at the coarsest level expected (the joint encoder), none at the others, got "
                f"{list(encoder.depths)}"
            )
        if not 0 <= config.target_level <= top:
            raise ValueError(f"target_level: from 0 to {top} expected, got {config.target_level}")
        if encoder.norm_levels != "all":
            raise ValueError("norm_levels: pre-training needs 'all'; the decoder reads every level")
        if config.image_branch and config.image_dims[-1] != dim:
            raise ValueError(
                f"image_dims: the last must be the encoder's, {dim}; got {list(config.image_dims)}"
            )
        super().__init__(encoder, config)
        for level in range(config.target_level):  # the decoder doesn't read these levels
            self.encoder.norms[str(level)].requires_grad_(False)
        heads, ratio = encoder.num_heads, encoder.mlp_ratio
        levels = range(top - 1, config.target_level - 1, -1)
        self.mask_token = _token(dim)
        self.shared_stage = Stage(dim, heads, ratio, [0.0] * config.shared_blocks)
        self.stage_3d = Stage(dim, heads, ratio, [0.0] * config.specific_blocks)
        self.propagations = nn.ModuleList(
            [TokenPropagation(encoder.dims[level], encoder.dims[level + 1]) for level in levels]
        )
        self.norm = nn.LayerNorm(encoder.dims[config.target_level])
        self.head_3d = nn.Linear(
            self.norm.normalized_shape[0], 3 * encoder.num_neighbors[config.target_level]
        )
        parts: list[nn.Module] = [self.shared_stage, self.stage_3d, self.head_3d]
        if config.image_branch:
            self.image_embedding = DepthEmbedding(
                config.image_size, config.image_strides, config.image_dims, config.image_blocks, ratio
            )
            # One for each view: a modality embedding that also tells fixed views apart.
            self.view_tokens = _token(config.views, dim)
            positions = sincos_positions(self.image_embedding.patches_per_side, dim)
            # Stored, because models are built without memory and get it from the file.
            self.register_buffer("image_positions", positions)
            self.image_norm = nn.LayerNorm(dim)  # of the joint encoder's 2D tokens
            self.image_mask_token = _token(dim)
            self.blocks_2d = nn.ModuleList(
                [Block(dim, heads, ratio, 0.0) for _ in range(config.specific_blocks)]
            )
            self.norm_2d = nn.LayerNorm(dim)
            self.head_2d = nn.Linear(dim, config.patch_side**2)
            parts += [self.image_embedding, self.blocks_2d, self.head_2d]
        for part in parts:
            part.apply(init_linear)

    @classmethod
    def taught(cls, teacher: tuple[int, int] | None) -> dict[str, Any]:
        """Nothing; raises a ValueError if there is a teacher."""
        if teacher is not None:
            raise ValueError("Joint-MAE has no teacher: its images are the clouds' own")
        return {}

    def forward(
        self,
        points: Tensor,
        views: TeacherViews | None = None,
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
            visible_patches: (B, V, P) bool; None: drawn. All False: 3D tokens work alone.
            rotations: (B, V, 3, 3) of the views; None: random ones, or those along the axes.

        Draws use torch's global generator of the device.

        Raises:
            ValueError: views, or masks or rotations of another shape or type.
        """
        if views is not None:
            raise ValueError("views: None expected; Joint-MAE has no teacher")
        groups = self.encoder.group(points)
        check_masks(visible, visible_patches, rotations, groups, self.hyper)
        most = self.num_visible if visible is None else None
        if visible is None:
            visible = self.draw_visible(groups)
        seen = None
        if self.hyper.image_branch:
            seen = self._look(points, groups, visible, visible_patches, rotations)
        tokens_2d: Tensor | None = None

        def coarsest(x: Tensor, centers: Tensor, order: Tensor, allowed: Tensor | None) -> Tensor:
            nonlocal tokens_2d
            if seen is None:
                return self.encoder.stages[-1](x, centers, allowed)
            x, tokens_2d = self._encode_jointly(x, centers, order, allowed, visible, seen)
            return x

        tokens = self.encoder.forward_features(
            points, groups=groups, visible=visible, most_visible=most, coarsest=coarsest
        )
        shown = tokens.visible[self.hyper.target_level]
        assert shown is not None
        x, flat = self._decode(tokens.features, groups, visible, seen, tokens_2d)
        hidden = predict_neighbors(
            self.head_3d,
            x,
            points,
            groups,
            self.hyper.target_level,
            ~shown,
            # Every visible coarsest token makes at least itself visible at every level.
            None if most is None else shown.shape[1] - most,
        )
        losses = {"3d": neighbors_loss(hidden, self.hyper.weight_3d)}
        if seen is None or flat is None:
            return JointOutput(losses, {}, visible, hidden, None, None, None, None)
        side = self.hyper.patch_side
        patches = self.head_2d(flat).float().view(*seen.visible.shape, side, side)
        losses["2d"], of_object = patch_losses(patches, seen.views.images, seen.visible, self.hyper.weight_2d)
        losses["cross"] = self._cross_loss(hidden, groups, seen)
        monitors = {"2d_object": of_object}
        return JointOutput(
            losses, monitors, visible, hidden, seen.views.images, seen.visible, patches, seen.views.frames
        )

    def watched(self, points: Tensor, views: TeacherViews | None = None) -> dict[str, LossTerm]:
        """The 3D loss of the same 3D tokens with the visible patches and without any.

        If they were far apart, the 3D branch would depend on the 2D one.
        """
        both = self(points, views)
        if both.visible_patches is None:
            return {}
        none = torch.zeros_like(both.visible_patches)
        alone = self(points, views, visible=both.visible, visible_patches=none)
        found = {"3d_with_2d": both.losses["3d"], "3d_without_2d": alone.losses["3d"]}
        return {name: LossTerm(one.value, 0.0, one.count) for name, one in found.items()}

    @property
    def num_visible(self) -> int:
        """How many of the coarsest 3D tokens stay visible."""
        return count_visible(self.hyper.mask_ratio_3d, self.encoder.hyper.num_tokens[-1])

    def draw_visible(self, groups: Groups) -> Tensor:
        """Draw the visible coarsest 3D tokens, all equally likely: (B, G) bool."""
        batch, count, _ = groups.centers[-1].shape
        return draw_visible(torch.ones(batch, count, device=groups.indices.device), self.num_visible)

    def _look(
        self,
        points: Tensor,
        groups: Groups,
        visible: Tensor,
        visible_patches: Tensor | None,
        rotations: Tensor | None,
    ) -> SeenImages:
        """Render the clouds, draw the visible patches and embed them."""
        config = self.hyper
        views = render_views(points, groups, config, rotations)
        drawn = visible_patches is None
        if visible_patches is None:
            visible_patches = draw_visible_patches(views.shared, visible, config)
        order, valid = pack(visible_patches.flatten(0, 1), config.num_visible_patches if drawn else None)
        some = None if drawn else valid
        tokens = self.image_embedding(views.images.flatten(0, 1), order, some)
        batch, count = visible_patches.shape[:2]
        view = torch.arange(count, device=order.device).view(1, -1, 1) * config.num_patches
        return SeenImages(
            views=views,
            visible=visible_patches,
            order=(order.view(batch, count, -1) + view).flatten(1),
            valid=None if some is None else some.view(batch, count * some.shape[1]),
            tokens=tokens.view(batch, count * tokens.shape[1], tokens.shape[2]),
        )

    def _encode_jointly(
        self,
        x: Tensor,
        centers: Tensor,
        order: Tensor,
        allowed: Tensor | None,
        visible: Tensor,
        seen: SeenImages,
    ) -> tuple[Tensor, Tensor]:
        """Packed visible 3D tokens (B, W, C) and 2D tokens (B, U, C), after the joint encoder."""
        stage = self.encoder.stages[-1]
        assert isinstance(stage, Stage)
        positions = self._image_positions(x.dtype)
        position = torch.cat([stage.position(centers.to(x.dtype)), positions[seen.order]], 1)
        tokens = torch.cat([x, seen.tokens.to(x.dtype)], 1)
        mask = self._joint_mask(order, allowed, visible, seen)
        tokens = run_blocks(stage.blocks, tokens, position, mask)
        return tokens[:, : x.shape[1]], tokens[:, x.shape[1] :]

    def _joint_mask(
        self, order: Tensor, allowed: Tensor | None, visible: Tensor, seen: SeenImages
    ) -> Tensor | None:
        """Which tokens of the joint encoder attend to each other, (B, 1, W + U, W + U) bool; None: all."""
        cross = self.hyper.cross_attention
        if cross == "full" and allowed is None and seen.valid is None:
            return None
        if cross == "local":
            assert seen.views.shared is not None
            rows = index_points(seen.views.shared, order)
            shared = rows.gather(2, seen.order.unsqueeze(1).expand(-1, rows.shape[1], -1))
        else:
            shape = *order.shape, seen.order.shape[1]
            shared = torch.full(shape, cross == "full", device=order.device)
        valid = torch.ones_like(seen.order, dtype=torch.bool) if seen.valid is None else seen.valid
        return joint_attention_mask(shared, allowed, visible.gather(1, order), valid)

    def _image_positions(self, dtype: torch.dtype) -> Tensor:
        """(V P, C): positions of every patch of every view, including the modality embedding."""
        return (self.view_tokens.unsqueeze(1) + self.image_positions).flatten(0, 1).to(dtype)

    def _decode(
        self,
        features: list[Tensor],
        groups: Groups,
        visible: Tensor,
        seen: SeenImages | None,
        tokens_2d: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """The decoder's normalised tokens: the target level's (B, G, C), and all patches' (B, V P, C)."""
        top = len(features) - 1
        centers = groups.centers
        x = torch.where(visible.unsqueeze(-1), features[top], self.mask_token.to(features[top].dtype))
        flat = None
        if seen is None or tokens_2d is None:
            x = self.shared_stage(x, centers[top])
        else:
            shown = self.image_norm(tokens_2d).to(x.dtype)
            hidden = self.image_mask_token.to(x.dtype)
            if seen.valid is not None:
                shown = torch.where(seen.valid.unsqueeze(-1), shown, hidden)
            positions = self._image_positions(x.dtype)
            flat = hidden.expand(len(x), len(positions), -1)
            flat = flat.scatter(1, seen.order.unsqueeze(-1).expand_as(shown), shown)
            both = torch.cat(
                [self.shared_stage.position(centers[top].to(x.dtype)), positions.expand(len(x), -1, -1)], 1
            )
            joint = run_blocks(self.shared_stage.blocks, torch.cat([x, flat], 1), both, None)
            x, flat = joint[:, : x.shape[1]], joint[:, x.shape[1] :]
            flat = self.norm_2d(run_blocks(self.blocks_2d, flat, positions, None))
        x = self.stage_3d(x, centers[top])
        for level, propagate in zip(range(top - 1, -1, -1), self.propagations, strict=False):
            x = propagate(centers[level], centers[level + 1], features[level], x)
        return self.norm(x), flat

    def _cross_loss(self, hidden: Prediction, groups: Groups, seen: SeenImages) -> LossTerm:
        """The predicted neighbours of hidden tokens, in the cloud's coordinates, against the depth images."""
        around = index_points(groups.centers[self.hyper.target_level], hidden.order)
        points = (hidden.predicted + around.unsqueeze(2)).flatten(1, 2)  # (B, W K, 3)
        valid = hidden.valid.repeat_interleave(hidden.predicted.shape[2], 1)
        config = self.hyper
        surfaces = fill_holes(seen.views.images, config.filled_gaps)
        return cross_loss(
            points, valid, surfaces, seen.views.frames, config.hidden_margin, config.weight_cross
        )

    def preview(self, points: Tensor, views: TeacherViews | None) -> Preview:
        """Before the clouds a depth image, its visible patches, and these with the predicted ones; after them
        the reconstructed points as the same depth image. Each cloud is seen from where its image is taken."""
        output = self(points, views)
        groups = self.encoder.group(points)
        masks = self.encoder.visible_below(output.visible, groups)
        visible = visible_points(groups, masks[0], points.shape[1])
        hidden = output.points
        centers = index_points(groups.centers[self.hyper.target_level], hidden.order)
        around = centers.unsqueeze(2) + hidden.predicted  # (B, W, K, 3)
        predicted = [one[valid].flatten(0, 1) for one, valid in zip(around, hidden.valid, strict=True)]
        count = f"{int(output.visible[0].sum())} of {output.visible.shape[1]} tokens"
        clouds = visible, count, [as_float64(one) for one in predicted]
        if output.frames is None:
            return Preview(*clouds)
        far = output.frames.farthest
        drawn = []
        for row, part in enumerate(predicted):
            shown = points[row, torch.from_numpy(visible[row]).to(points.device)]
            drawn.append(draw_points(torch.cat([shown, part]), output.frames, row))
        return Preview(
            *clouds,
            before=image_columns(output.images, output.patches, output.visible_patches, far),
            after=[image_column("reconstruction, projected", np.stack(drawn), far, scale=True)],
            seen_from=[view_direction(rotation) for rotation in output.frames.rotations[:, 0]],
        )


def _token(*shape: int) -> nn.Parameter:
    token = nn.Parameter(torch.empty(shape))
    nn.init.trunc_normal_(token, std=0.02)
    return token
