"""A supervised PointNet, to compare fine-tuned encoders with. It is not a model of the zoo.

Qi et al., "PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation" (arXiv:1612.00593),
section 4.2 and appendix C, in its plain form without the two transformation networks (table 5 of the paper:
87.1 % on ModelNet40 against 89.2 % with both). They align rotated clouds, and here all clouds are upright.
Without them the loss is cross-entropy alone, as for the other networks.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

POINT_WIDTHS = (64, 64, 64, 128, 1024)
"""Widths of the MLP that is applied to every point."""
HEAD_WIDTHS = (512, 256)


class PointNet(nn.Module):
    """One MLP for every point, then the maximum over the points, then three more layers.

    Args:
        num_classes: outputs.
        point_widths, head_widths: default: the paper's.
        dropout: before the last layer; the paper keeps 70 %.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        point_widths: Sequence[int] = POINT_WIDTHS,
        head_widths: Sequence[int] = HEAD_WIDTHS,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.points = _mlp((3, *point_widths))
        self.head = nn.Sequential(
            *_mlp((point_widths[-1], *head_widths)),
            nn.Dropout(dropout),
            nn.Linear(head_widths[-1], num_classes),
        )

    def forward(self, points: Tensor) -> Tensor:
        """(B, N, 3) -> logits (B, num_classes)."""
        batch, count, _ = points.shape
        rows = self.points(points.flatten(0, 1))
        return self.head(rows.view(batch, count, -1).amax(1))

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.head[-1]


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    """Linear, BatchNorm, ReLU for each pair of widths; on rows."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers)
