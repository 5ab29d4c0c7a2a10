"""What pre-training hides and what the model predicts there: a short run, then a picture.

    python examples/masks_and_reconstruction.py [OUT]

It trains on procedural shapes. OUT (default: masks/) gets the run and reconstruction.png: other shapes, their
visible points, and these with the predicted points.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

import torch

import pointmae_zoo
from pointmae_zoo.procedural import generate_many
from pointmae_zoo.train import pretrain, read_recipe
from pointmae_zoo.viz import draw_reconstruction


def show(out: Path, recipe: str = "joint_mae/smoke", **changes: object) -> Path:
    pretrain(read_recipe(recipe, **changes), out / "run")
    model = pointmae_zoo.from_pretrained(str((out / "run").resolve()))
    shapes = generate_many(4, seed=1, num_points=2048)
    points = model.config.preprocess(list(shapes))  # (4, N, 3)
    with torch.no_grad():
        return draw_reconstruction(model, points, None, out / "reconstruction.png")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=Path("masks"))
    print(show(parser.parse_args().out))
