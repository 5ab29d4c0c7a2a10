"""Colour the parts of a shape: a small part segmenter is trained on procedural shapes, then labels a new one.

    python examples/part_colours.py [FOLDER]

FOLDER (default: part_colours/) gets the training data, the segmenter in run/, and a PLY and a GLB for any
viewer. features.npy has features of every point, which need no training for parts.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

import numpy as np

import pointmae_zoo
from pointmae_zoo.procedural.part_shapes import CLASSES, generate_with_parts, write_part_shapes
from pointmae_zoo.train import FinetuneRecipe, finetune

NARROW = {"propagated_dims": [96, 64], "label_dim": 16, "head_dims": [128, 64, 64], "head_dropout": 0.0}


def colour(out: Path, shapes: int = 120, steps: int = 60, **changes: object) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    write_part_shapes(out / "shapes.npz", train=shapes, test=6)
    recipe = FinetuneRecipe(
        task="parts",
        data=str(out / "shapes.npz"),
        model_arguments=NARROW,
        steps=steps,
        batch_size=8,
        learning_rate=2e-3,
        validation_share=0.0,
        **changes,
    )
    finetune(recipe, out / "run")

    cloud = generate_with_parts(1000, index=2)  # a shape that training has not seen
    np.save(out / "cloud.npy", cloud.points)
    run = str((out / "run").resolve())
    written = []
    for suffix in (".ply", ".glb"):
        found = pointmae_zoo.predict_parts(
            out / "cloud.npy", run, out / "coloured", object_class=list(CLASSES)[cloud.label], suffix=suffix
        )
        written += found.written.values()
    ((_, shares),) = found.shares.items()
    for number, share in enumerate(shares):
        if share:
            print(
                f"{found.labels[number]:20} #{bytes(found.colours[number]).hex()}  {share:.0%} of the points"
            )

    encoder = pointmae_zoo.from_pretrained("i2p_mae_tiny.shapes", kind="encoder")
    points = encoder.config.preprocess(cloud.points)  # (N, 3)
    np.save(out / "features.npy", encoder.per_point_features(points[None])[0].numpy())  # (N, D)
    return written


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("part_colours"))
    for path in colour(parser.parse_args().folder):
        print(path)
