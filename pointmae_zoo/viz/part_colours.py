"""The colours of parts, in pictures and in files of coloured clouds."""

import colorsys

import numpy as np
from numpy.typing import NDArray


def part_colours(count: int) -> NDArray[np.uint8]:
    """(count, 3) red, green, blue by part number; always the same, and distinct for a few parts."""
    golden = (np.sqrt(5) - 1) / 2
    colours = [
        colorsys.hsv_to_rgb(
            (0.58 + number * golden) % 1, (0.75, 0.55)[number % 2], (0.9, 0.75)[number // 2 % 2]
        )
        for number in range(count)
    ]
    return np.round(255 * np.array(colours).reshape(count, 3)).astype(np.uint8)
