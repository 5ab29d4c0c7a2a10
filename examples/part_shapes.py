"""Part segmentation with no download: procedural objects of six classes whose parts have names.

python examples/part_shapes.py shapes.npz           (600 to train on, 180 to test on)
python examples/part_shapes.py shapes.npz 60 30     (fewer)

Then: pointmae-zoo finetune --recipe parts_tiny --data shapes.npz --out run
"""

import sys
from pathlib import Path

from pointmae_zoo.procedural.part_shapes import CLASSES, write_part_shapes

if __name__ == "__main__":
    if len(sys.argv) not in (2, 4):
        sys.exit("usage: python examples/part_shapes.py FILE.npz [TRAIN TEST]")
    out = Path(sys.argv[1])
    train, test = (int(word) for word in sys.argv[2:4] or ("600", "180"))
    write_part_shapes(out, train=train, test=test)
    for name, parts in CLASSES.items():
        print(f"{name}: {', '.join(parts)}")
    print(f"written to {out}")
