"""Random numbers for the clouds of a batch that do not depend on how the batch is split.

A global batch may be computed at once, in parts, or by several processes. Random numbers of a cloud (masks,
drop path, augmentation) are drawn for *all* clouds of the global batch, and each part takes its own rows.
With the same seed before each part, every cloud gets the same numbers.
"""

import contextlib
from collections.abc import Callable, Iterator

from torch import Tensor

_share: tuple[int, int] | None = None


@contextlib.contextmanager
def share_of_batch(first: int, total: int) -> Iterator[None]:
    """Inside this context, a batch of B clouds is rows ``first`` to ``first + B`` of a global batch of
    ``total``.

    Don't enter it from several threads at once.

    Raises:
        ValueError: ``first`` lies outside of ``total``.
    """
    global _share
    if not 0 <= first < total:
        raise ValueError(f"share_of_batch: row {first} of a batch of {total}; expected 0 to {total - 1}")
    before, _share = _share, (first, total)
    try:
        yield
    finally:
        _share = before


def draw_per_cloud(draw: Callable[[int], Tensor], batch: int) -> Tensor:
    """``draw(B)``; inside `share_of_batch`, this share's rows of ``draw(total)``.

    Args:
        draw: number of clouds -> a tensor with that many rows.
        batch: B, clouds here.

    Raises:
        ValueError: the share does not hold that many clouds.
    """
    if _share is None:
        return draw(batch)
    first, total = _share
    if first + batch > total:
        raise ValueError(
            f"draw_per_cloud: {batch} clouds from row {first} on, but the global batch has {total} (see "
            "share_of_batch)"
        )
    return draw(total)[first : first + batch]
