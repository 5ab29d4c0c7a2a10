"""The hierarchical point encoder, one class for pre-training, frozen features and fine-tuning."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pointmae_zoo.models.layers import Stage, init_linear
from pointmae_zoo.models.stored_config import ModelConfig
from pointmae_zoo.models.tokenizer import TokenEmbedding, group_coordinates
from pointmae_zoo.models.tokens import Groups, Tokens, check_pool, pack, pooled
from pointmae_zoo.ops import farthest_point_sample, index_points, knn, squared_distances, three_nn_interpolate
from pointmae_zoo.system.checked_fields import check_fields

CoarsestStage = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""What can replace the coarsest level's stage: packed visible tokens (B, W, C), their centres (B, W, 3),
their indices (B, W), and which pairs may attend (as in `Attention`) -> (B, W, C)."""

MOST_BLOCKS = 256
"""Of one encoder or decoder. Even a hostile file that asks for this many is built, and refused, quickly."""


@dataclass(frozen=True)
class EncoderConfig:
    """Everything that shapes the encoder. Levels run from fine to coarse; a tuple has one entry per level.

    The defaults are I2P-MAE's at pre-training (paper, section 4.1).
    """

    num_tokens: tuple[int, ...] = (512, 256, 64)
    """Tokens per level, falling."""
    num_neighbors: tuple[int, ...] = (16, 8, 8)
    """Neighbours that one token gathers from the level below (level 0: from the points)."""
    dims: tuple[int, ...] = (96, 192, 384)
    """Channels per level."""
    depths: tuple[int, ...] = (5, 5, 5)
    """Transformer blocks per level; a level without blocks only embeds its groups."""
    num_heads: int = 6
    mlp_ratio: float = 4.0
    stem_widths: tuple[int, int] = (128, 256)
    """Widths of the first MLP in the level-0 token embedding; the second MLP is twice as wide as the last."""
    drop_path: float = 0.1
    """Stochastic depth rate of the last block; rates grow linearly from 0 at the first."""
    local_radius: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Tokens at this distance or more don't attend to each other; 0: all do. Units of the input."""
    norm_levels: str = "all"
    """``all``: a LayerNorm on every level's output (pre-training, part segmentation); ``last``: on the
    coarsest only (classification)."""
    skip_near_origin: bool = False
    """The reference's sampling rule (see `ops.farthest_point_sample`): on for converted weights only."""
    hide_uncovered: bool = False
    """Leave out finer tokens that are in no coarser token's group, as the reference's masking does even when
    nothing is masked. On for converted pre-training weights, off for ours."""
    embed_hidden: bool = True
    """In masked training, embed the hidden tokens too. Nothing reads them, but as in the reference they count
    in BatchNorm's statistics. False is faster."""
    pool: str = "max"
    """How `embed` pools the tokens by default; one of `POOLS`."""

    def __post_init__(self) -> None:
        check_fields(self)
        levels = len(self.num_tokens)
        if not 2 <= levels <= 8:
            raise ValueError(f"num_tokens: 2 to 8 levels expected, got {list(self.num_tokens)}")
        for name in ("num_neighbors", "dims", "depths", "local_radius"):
            if len(getattr(self, name)) != levels:
                raise ValueError(
                    f"{name}: {levels} entries expected, one per level, got {list(getattr(self, name))}"
                )
        for name, least, most in (
            ("num_tokens", 1, 16384),
            ("num_neighbors", 1, 512),
            ("dims", 1, 8192),
            ("depths", 0, 128),
        ):
            if not all(least <= value <= most for value in getattr(self, name)):
                raise ValueError(
                    f"{name}: entries from {least} to {most} expected, got {list(getattr(self, name))}"
                )
        if sum(self.depths) > MOST_BLOCKS:
            raise ValueError(f"depths: at most {MOST_BLOCKS} together expected, got {list(self.depths)}")
        if sorted(set(self.num_tokens), reverse=True) != list(self.num_tokens):
            raise ValueError(f"num_tokens: must fall from level to level, got {list(self.num_tokens)}")
        if not 1 <= self.num_heads <= 256 or any(dim % self.num_heads for dim in self.dims):
            raise ValueError(f"num_heads: {self.num_heads} does not divide all of dims {list(self.dims)}")
        if not all(1 <= width <= 8192 for width in self.stem_widths):
            raise ValueError(f"stem_widths: entries from 1 to 8192 expected, got {list(self.stem_widths)}")
        if not 0.0 < self.mlp_ratio <= 64.0:
            raise ValueError(f"mlp_ratio: above 0 and at most 64 expected, got {self.mlp_ratio}")
        if not 0.0 <= self.drop_path < 1.0:
            raise ValueError(f"drop_path: from 0 to below 1 expected, got {self.drop_path}")
        if not all(0 <= radius <= 1e6 for radius in self.local_radius):
            raise ValueError(f"local_radius: entries from 0 to 1e6 expected, got {list(self.local_radius)}")
        if self.norm_levels not in ("all", "last"):
            raise ValueError(f"norm_levels: 'all' or 'last' expected, got {self.norm_levels!r}")
        check_pool(self.pool)


class PointEncoder(nn.Module):
    """Points -> tokens at several levels -> one feature vector.

    The encoder of Point-M2AE (I2P-MAE, section 3.1). Farthest point sampling and k nearest neighbours group
    the cloud, level by level. Each level embeds its groups, adds positions before every block, and attends
    globally or within a radius.
    """

    config: ModelConfig

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.hyper = config
        dims, depths = config.dims, config.depths
        widths = [(3, *config.stem_widths), *((dim, dim, dim) for dim in dims[:-1])]
        self.embeddings = nn.ModuleList(
            [TokenEmbedding(*width, out_dim=dim) for width, dim in zip(widths, dims, strict=True)]
        )
        blocks = sum(depths)
        rates = [config.drop_path * block / max(1, blocks - 1) for block in range(blocks)]
        starts = [sum(depths[:level]) for level in range(len(depths))]
        self.stages = nn.ModuleList(
            [
                Stage(dim, config.num_heads, config.mlp_ratio, rates[start : start + depth])
                for dim, depth, start in zip(dims, depths, starts, strict=True)
            ]
        )
        normed = range(len(dims)) if config.norm_levels == "all" else [len(dims) - 1]
        self.norms = nn.ModuleDict({str(level): nn.LayerNorm(dims[level]) for level in normed})
        self.stages.apply(init_linear)

    def group(self, points: Tensor) -> Groups:
        """The hierarchy of centres and neighbours of clouds (B, N, 3).

        A single farthest point sampling serves all levels: a coarser level's centres are its first picks.

        Distances are compared in float32 (or float64) whatever the dtype of the weights.
        """
        config = self.hyper
        indices = farthest_point_sample(
            points, config.num_tokens[0], skip_near_origin=config.skip_near_origin
        )
        finest = index_points(points, indices)
        centers = [finest[:, :count] for count in config.num_tokens]
        sources = [points, *centers[:-1]]
        neighbors = [
            knn(center, source, k)
            for center, source, k in zip(centers, sources, config.num_neighbors, strict=True)
        ]
        return Groups(centers, indices, neighbors)

    def visible_below(self, visible: Tensor, groups: Groups) -> list[Tensor]:
        """From the coarsest level's visible tokens, (B, G) bool, to every level's, fine to coarse.

        A finer token is visible iff a visible coarser one gathers it.
        """
        levels = [visible]
        for level in range(len(groups.centers) - 1, 0, -1):
            neighbors = groups.neighbors[level]
            shown = levels[0].unsqueeze(-1).expand_as(neighbors).flatten(1)  # (B, G K)
            times = torch.zeros(groups.centers[level - 1].shape[:2], dtype=torch.int32, device=shown.device)
            times.scatter_add_(1, neighbors.flatten(1), shown.int())
            levels.insert(0, times > 0)
        return levels

    def forward_features(
        self,
        points: Tensor,
        *,
        groups: Groups | None = None,
        visible: Tensor | Sequence[Tensor] | None = None,
        most_visible: int | None = None,
        coarsest: CoarsestStage | None = None,
    ) -> Tokens:
        """Tokens of every level.

        Args:
            points: (B, N, 3) float, any N >= 1.
            groups: the hierarchy, if the caller has it already.
            visible: (B, G) bool over the coarsest tokens; the others, and the finer tokens that only they
                gather, are masked out. Or one mask per level, fine to coarse, which is used as given.
            most_visible: with a mask over the coarsest tokens: the largest number visible in any cloud, if
                the caller knows it. Then there is no need to wait for a GPU to learn shapes.
            coarsest: with ``visible``: replaces the last level's stage.

        Raises:
            ValueError: ``coarsest`` without ``visible``.
        """
        if coarsest is not None and visible is None:
            raise ValueError("coarsest: only together with visible")
        groups = self.group(points) if groups is None else groups
        masks: list[Tensor | None] = [None] * len(groups.centers)
        if visible is not None:
            masks = list(self.visible_below(visible, groups) if isinstance(visible, Tensor) else visible)
        elif self.hyper.hide_uncovered:
            everything = torch.ones(groups.centers[-1].shape[:2], dtype=torch.bool, device=points.device)
            masks = [None if bool(mask.all()) else mask for mask in self.visible_below(everything, groups)]
        features: list[Tensor] = []
        finer = points
        for level, (mask, bound) in enumerate(zip(masks, self.visible_bounds(most_visible), strict=True)):
            instead = coarsest if level == len(groups.centers) - 1 else None
            finer = self._level(level, finer, groups, mask, bound, instead)
            out = self.norms[str(level)](finer) if str(level) in self.norms else finer
            features.append(out if mask is None else out * mask.unsqueeze(-1))
        return Tokens(features, groups.centers, masks, groups)

    def visible_bounds(self, most_visible: int | None) -> list[int | None]:
        """For every level an upper limit of a cloud's visible tokens, if at most ``most_visible`` of the
        coarsest are visible. None: unknown."""
        if most_visible is None:
            return [None] * len(self.hyper.num_tokens)
        bounds = [most_visible]
        for level in range(len(self.hyper.num_tokens) - 1, 0, -1):
            gathered = bounds[0] * self.hyper.num_neighbors[level]
            bounds.insert(0, min(self.hyper.num_tokens[level - 1], gathered))
        return [*bounds]

    def _level(
        self,
        level: int,
        finer: Tensor,
        groups: Groups,
        mask: Tensor | None,
        bound: int | None,
        instead: CoarsestStage | None,
    ) -> Tensor:
        """One level, (B, M, C of the finer level) -> (B, G, C), not yet normalised."""
        stage = self.stages[level]
        centers, neighbors = groups.centers[level], groups.neighbors[level]
        if mask is None:
            x = self._embed(level, finer, centers, neighbors)
            return stage(x, centers, self._allowed(level, centers, None))
        # Visible tokens are packed to the front; clouds with fewer get padding that no token attends to.
        order, valid = pack(mask, bound)  # both (B, W)
        packed = index_points(centers, order)  # (B, W, 3)
        if self.hyper.embed_hidden or not self.training:
            out = self._embed(level, finer, centers, neighbors)
            raw = index_points(out, order)
        else:
            raw = self._embed_visible(level, finer, packed, index_points(neighbors, order), valid)
            out = raw.new_zeros(*mask.shape, raw.shape[-1])
        full = valid.device.type == "cpu" and bool(valid.all())  # on a GPU, asking means waiting
        allowed = self._allowed(level, packed, None if full else valid)
        x = stage(raw, packed, allowed) if instead is None else instead(raw, packed, order, allowed)
        # Hidden tokens keep their embedding for the next level's groups.
        x = torch.where(valid.unsqueeze(-1), x, raw)
        return out.scatter(1, order.unsqueeze(-1).expand_as(x), x.to(out.dtype))

    def _embed(
        self, level: int, finer: Tensor, centers: Tensor, neighbors: Tensor, valid: Tensor | None = None
    ) -> Tensor:
        embed = self.embeddings[level]
        if level > 0:
            return embed(finer, neighbors, valid)
        near = group_coordinates(finer, centers, neighbors).to(next(embed.parameters()).dtype)
        return embed(near, valid=valid)

    def _embed_visible(
        self, level: int, finer: Tensor, centers: Tensor, neighbors: Tensor, valid: Tensor
    ) -> Tensor:
        """Packed tokens, of which valid ones matter: centres (B, W, 3), neighbours (B, W, K) -> (B, W, C).

        A CPU embeds only the valid ones, as tokens of one long cloud. On a GPU, counting them means waiting,
        so all W are embedded, a number that follows from the configuration.
        """
        if valid.device.type != "cpu":
            return self._embed_padded(level, finer, centers, neighbors, valid)
        batch, count, channels = finer.shape
        rows = valid.flatten().nonzero()[:, 0]  # into (B W)
        offsets = torch.arange(batch).view(-1, 1, 1) * count
        found = self._embed(
            level,
            finer.reshape(1, batch * count, channels),
            centers.flatten(0, 1)[rows].unsqueeze(0),
            (neighbors + offsets).flatten(0, 1)[rows].unsqueeze(0),
        )[0]
        out = found.new_zeros(valid.numel(), found.shape[-1]).index_copy(0, rows, found)
        return out.view(*valid.shape, -1)

    def _embed_padded(
        self, level: int, finer: Tensor, centers: Tensor, neighbors: Tensor, valid: Tensor
    ) -> Tensor:
        """All W packed tokens. Padding repeats a cloud's first visible token and has no weight in BatchNorm's
        statistics, so they are those of the visible tokens, as on a CPU."""
        shown = valid.unsqueeze(-1)
        centers = torch.where(shown, centers, centers[:, :1])
        return self._embed(level, finer, centers, torch.where(shown, neighbors, neighbors[:, :1]), valid)

    def _allowed(self, level: int, centers: Tensor, valid: Tensor | None) -> Tensor | None:
        """Which pairs may attend, (B, 1, G or 1, G) bool, or None where all may."""
        allowed = None if valid is None else valid[:, None, None, :]
        radius = self.hyper.local_radius[level]
        if radius > 0:
            near = (squared_distances(centers, centers).sqrt_() < radius).unsqueeze(1)
            allowed = near if allowed is None else near & allowed
        return allowed

    def forward(self, points: Tensor, pool: str | None = None) -> Tensor:
        """(B, N, 3) -> (B, D) in the module's current mode, differentiable; `embed` gives frozen features."""
        return pooled(self.forward_features(points), pool or self.hyper.pool)

    def feature_dim(self, pool: str | None = None) -> int:
        """D of what `embed` returns."""
        pool = check_pool(pool or self.hyper.pool)
        if pool == "levels":
            return 2 * sum(self.hyper.dims)
        return self.hyper.dims[-1] * (2 if "," in pool else 1)

    @torch.no_grad()
    def embed(self, points: Tensor, pool: str | None = None) -> Tensor:
        """Frozen features: computed in evaluation mode without gradient; the module's own mode stays.

        Args:
            points: (B, N, 3) float, as `config.preprocess`, when called, prepares them.
            pool: of the coarsest tokens ``max``, ``mean``, ``mean+max`` (added) or ``mean,max``
                (concatenated), or ``levels``: mean and standard deviation of every level, concatenated, fine
                to coarse. ``mean,max[1:]``, for converted weights of Point-M2AE: the maximum leaves out the
                first token. Default: the one stored with the weights.

        Returns:
            (B, D) float32, D as `feature_dim` says.

        Raises:
            TypeError: not a floating point tensor.
            ValueError: wrong shape, fewer than 2 points, NaN or infinity, or an unknown pool.
        """
        check_pool(pool or self.hyper.pool)
        points = check_points(points).to(next(self.parameters()).device)
        with evaluating(self):
            return self.forward(points, pool).float()

    @torch.no_grad()
    def per_point_features(self, points: Tensor) -> Tensor:
        """Frozen features of every point: (B, N, 3) -> (B, N, sum of dims) float32.

        Every level's tokens are interpolated to the points from the three nearest centres and concatenated,
        fine to coarse. Raises as `embed` does.
        """
        points = check_points(points).to(next(self.parameters()).device)
        with evaluating(self):
            tokens = self.forward_features(points)
        spread = [
            three_nn_interpolate(points, center, feature.float())
            for center, feature in zip(tokens.centers, tokens.features, strict=True)
        ]
        return torch.cat(spread, dim=-1)


def check_points(points: Tensor) -> Tensor:
    """Points as float32, checked; raises what `PointEncoder.embed` lists."""
    if not isinstance(points, Tensor):
        raise TypeError(
            f"points: a torch tensor (B, N, 3) expected, got {type(points).__name__}; "
            "torch.as_tensor turns an array into one"
        )
    if not points.is_floating_point():
        raise TypeError(
            f"points: a floating point tensor expected, got {points.dtype}; points.float() turns it into one"
        )
    if points.ndim != 3 or points.shape[-1] != 3:
        hint = "; points[None] makes a batch of one cloud" if points.ndim == 2 else ""
        raise ValueError(f"points: shape (B, N, 3) expected, got {tuple(points.shape)}{hint}")
    if points.shape[0] == 0 or points.shape[1] < 2:
        raise ValueError(
            f"points: at least 1 cloud of at least 2 points expected, got shape {tuple(points.shape)}"
        )
    points = points.float()
    finite = points.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        cloud = int((~finite).nonzero()[0])
        raise ValueError(f"points: NaN or infinity in cloud {cloud}; remove such points first")
    return points


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Inside this context a module is in evaluation mode; every submodule gets its own mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
