"""What a pre-training model gives to training: its losses, what it takes from a teacher, and its preview."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pointmae_zoo.models.encoder import EncoderConfig, PointEncoder
from pointmae_zoo.models.stored_config import ModelConfig
from pointmae_zoo.models.tokens import Groups


@dataclass(frozen=True)
class LossTerm:
    """One loss of a batch: a mean over ``count`` items of this process.

    With the count, the mean over all processes is the mean over all items, however unevenly they are spread.
    """

    value: Tensor
    """Scalar."""
    weight: float
    """Its share in what is minimised; 0: it is only monitored."""
    count: Tensor | float
    """A scalar tensor stays on the device, so that nobody waits for a GPU."""


def weighted_sum(losses: Mapping[str, LossTerm]) -> Tensor:
    """What is minimised: the sum of weight * value."""
    total = sum(term.weight * term.value for term in losses.values())
    if not isinstance(total, Tensor):
        raise ValueError("losses: at least one expected, got none")
    return total


class TeacherViews(NamedTuple):
    """What an image teacher saw of a batch of clouds."""

    maps: list[Tensor]  # each (B, V, C, h, w) feature maps; the channels of all maps are concatenated
    saliency: Tensor | None  # (B, V, h, w), or None: no guidance
    pixels: Tensor  # (B, V, N, 2) every point's own pixel, grid_sample coordinates


class PretrainingOutput(Protocol):
    """What a forward pass returns; a family's own output has more fields."""

    @property
    def losses(self) -> dict[str, LossTerm]:
        """What is minimised, by name."""

    @property
    def monitors(self) -> dict[str, LossTerm]:
        """What is only logged, by name; weights are 0."""


@dataclass(frozen=True)
class PreviewColumn:
    """A column of a preview: values on the points of B clouds, or B images."""

    title: str
    values: NDArray[np.float64]
    """(B, N) or (B, H, W), from 0 to 1; NaN is grey."""
    colours: str = "viridis"
    """A colour map of matplotlib."""
    opacity: NDArray[np.float64] | None = None
    """(B, H, W), of images: from 0 to 1."""
    scale: tuple[str, str] | None = None
    """What 0 and 1 mean, in words; None: no scale is drawn."""
    note: str = ""


@dataclass(frozen=True)
class Preview:
    """What a model saw of B clouds and what it predicted for the rest; `viz.draw_reconstruction` draws it."""

    visible: NDArray[np.bool_]
    """(B, N): the points in the groups of visible tokens."""
    count: str
    """How many tokens are visible, in words."""
    predicted: list[NDArray[np.float64]]
    """B times (M, 3): the points that masked tokens predict."""
    before: list[PreviewColumn] = field(default_factory=list)
    """Columns to the left of the clouds."""
    after: list[PreviewColumn] = field(default_factory=list)
    """Columns to the right of them."""
    seen_from: list[tuple[float, float]] | None = None
    """Azimuth and elevation from which each cloud is drawn, in degrees; None: as all pictures are."""


class PretrainingModel(nn.Module):
    """The base class of every family's ``...ForPretraining``.

    A subclass overrides `forward`, and as much of the other methods as its family needs.

    Args:
        encoder: of the encoder.
        config: of the model around it, of the family's own class.
    """

    config: ModelConfig
    encoder: PointEncoder

    def __init__(self, encoder: EncoderConfig, config: Any) -> None:
        super().__init__()
        self.hyper = config
        self.encoder = PointEncoder(encoder)

    def forward(self, points: Tensor, views: TeacherViews | None = None) -> PretrainingOutput:
        """The losses of augmented clouds (B, N, 3). ``views``: what a teacher saw of them; None: none did."""
        raise NotImplementedError

    @classmethod
    def taught(cls, teacher: tuple[int, int] | None) -> dict[str, Any]:
        """The arguments of the model that follow from its teacher.

        Args:
            teacher: its (views, channels of all maps together); None: there is no teacher.

        Raises:
            ValueError: a teacher for a model that takes none.
        """
        if teacher is not None:
            raise ValueError(f"{cls.__name__} takes no teacher")
        return {}

    def watched(self, points: Tensor, views: TeacherViews | None = None) -> dict[str, LossTerm]:
        """Measures that are too expensive for every step; training logs them now and then."""
        return {}

    def preview(self, points: Tensor, views: TeacherViews | None) -> Preview:
        """What the model makes of clouds (B, N, 3). The caller decides on mode and random state.

        Raises:
            TypeError: the family has no pictures.
        """
        raise TypeError(f"there are no pictures of a {type(self).__name__}")


def visible_points(groups: Groups, mask: Tensor, count: int) -> NDArray[np.bool_]:
    """(B, N): the points in the groups of the finest level's visible tokens.

    Args:
        groups: the hierarchy over the clouds.
        mask: (B, G) bool, the visible tokens of level 0.
        count: N.
    """
    neighbors = groups.neighbors[0]  # (B, G, K)
    times = torch.zeros(len(neighbors), count, dtype=torch.int32, device=mask.device)
    times.scatter_add_(1, neighbors.flatten(1), mask.unsqueeze(2).expand_as(neighbors).flatten(1).int())
    return (times > 0).cpu().numpy()


def as_float64(values: Tensor) -> NDArray[np.float64]:
    """A tensor of any device as a numpy array."""
    return values.double().cpu().numpy()
