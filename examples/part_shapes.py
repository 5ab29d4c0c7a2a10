"""Labelled clouds without a download: procedural objects of six classes, whose parts have names.

    python examples/part_shapes.py shapes.npz           (600 for training, 180 for testing)
    python examples/part_shapes.py shapes.npz 60 30     (fewer)

Use them for part segmentation, or with any command that takes clouds with classes:

    pointmae-zoo finetune --recipe parts_tiny --data shapes.npz --out runs/parts
    pointmae-zoo evaluate linear i2p_mae_tiny.shapes --data shapes.npz
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from pointmae_zoo.procedural.part_shapes import CLASSES, write_part_shapes

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("train", nargs="?", type=int, default=600)
    parser.add_argument("test", nargs="?", type=int, default=180)
    given = parser.parse_args()
    write_part_shapes(given.file, train=given.train, test=given.test)
    for name, parts in CLASSES.items():
        print(f"{name}: {', '.join(parts)}")
    print(f"written to {given.file}")
