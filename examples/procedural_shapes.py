"""Draw the first sixty-four procedural shapes of a seed.

Usage:

    python examples/procedural_shapes.py            (writes docs/procedural_shapes.png)
    python examples/procedural_shapes.py out.png 7  (another file, another seed)
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from matplotlib.figure import Figure

from pointmae_zoo.procedural import generate_many
from pointmae_zoo.viz import draw_cloud

SIDE = 8


def draw(out: Path, seed: int = 0) -> None:
    """Write the picture as a PNG."""
    shapes = generate_many(SIDE * SIDE, seed=seed, num_points=4096)
    figure = Figure(figsize=(SIDE, SIDE), dpi=96, facecolor="white")
    figure.subplots_adjust(0, 0, 1, 1, wspace=0, hspace=0)
    for axes, points in zip(figure.subplots(SIDE, SIDE).flat, shapes, strict=True):
        draw_cloud(axes, points)
    figure.savefig(out, format="png", pil_kwargs={"optimize": True})


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    default = Path(__file__).parent.parent / "docs" / "procedural_shapes.png"
    parser.add_argument("out", nargs="?", type=Path, default=default)
    parser.add_argument("seed", nargs="?", type=int, default=0)
    given = parser.parse_args()
    draw(given.out, given.seed)
