"""What a fine-tuned network says of clouds: its outputs, plain or as the mean over several views."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pointmae_zoo.datasets.augmentation import Augmentation, augment, subsample
from pointmae_zoo.models.encoder import evaluating

VOTE_SEED = 0
_AT_ONCE = 64

Floats = NDArray[np.float32]


@torch.no_grad()
def predict_clouds(
    network: nn.Module,
    points: Floats,
    object_classes: NDArray[np.integer] | None = None,
    *,
    batch_size: int = 64,
    device: str = "cpu",
    tick: Callable[[int], object] | None = None,
) -> Floats:
    """Scores of prepared clouds, the network in evaluation mode for that time.

    Args:
        network: a classifier, ``forward(points)``, or with ``object_classes`` a part segmenter,
            ``forward(points, object_class)``.
        points: (M, N, 3).
        object_classes: (M,) what every cloud is of.
        tick: is told of so many more clouds that are done.

    Returns:
        (M, classes) or (M, N, parts) logits.

    Raises:
        ValueError: they hold NaN or infinity.
    """
    found = []
    with evaluating(network):
        for start in range(0, len(points), batch_size):
            given = [torch.from_numpy(np.ascontiguousarray(points[start : start + batch_size]))]
            if object_classes is not None:
                given.append(torch.from_numpy(object_classes[start : start + batch_size].astype(np.int64)))
            found.append(network(*(one.to(device) for one in given)).float().cpu().numpy())
            if tick is not None:
                tick(len(found[-1]))
    logits = np.concatenate(found)
    if not np.isfinite(logits).all():
        raise ValueError("the scores hold NaN or infinity; the model that made them is broken")
    return logits


@torch.no_grad()
def vote(
    network: nn.Module,
    points: Floats,
    votes: int,
    settings: Augmentation,
    *,
    num_points: int | None = None,
    object_classes: NDArray[np.integer] | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    tick: Callable[[int], object] | None = None,
) -> Floats:
    """Mean probabilities over ``votes`` random views of every cloud, each changed as training clouds were.

    Args:
        network, object_classes, tick: as for `predict_clouds`.
        points: (M, N, 3).
        votes: how many views; their draws come from ``VOTE_SEED``.
        settings: of the training.
        num_points: how many of the N points a view has; None: all, in their order.

    Returns:
        (M, classes), or (M, N, parts) of a segmenter.
    """
    total: Any = 0.0
    for number in range(votes):
        generator = torch.Generator().manual_seed(VOTE_SEED + number)

        def view(batch: Tensor, generator: torch.Generator = generator) -> Tensor:
            if num_points is not None:
                chosen = subsample(
                    batch, num_points, settings.fps_share, generator, fps_surplus=settings.fps_surplus
                )
                batch = batch.gather(1, chosen[..., None].expand(-1, -1, 3))
            return augment(batch, settings, generator)

        logits = predict_clouds(
            network,
            in_batches(view, points),
            object_classes,
            batch_size=batch_size,
            device=device,
            tick=tick,
        )
        total = total + _probabilities(logits)
    return np.asarray(total / votes, dtype=np.float32)


def in_batches(change: Callable[[Tensor], Tensor], points: Floats) -> Floats:
    """(M, N, 3) changed some clouds at a time, whatever the batches of the network are."""
    changed = [
        change(torch.from_numpy(np.ascontiguousarray(points[start : start + _AT_ONCE]))).numpy()
        for start in range(0, len(points), _AT_ONCE)
    ]
    return np.concatenate(changed)


def _probabilities(logits: Floats) -> NDArray[Any]:
    grown = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return grown / grown.sum(axis=-1, keepdims=True)
