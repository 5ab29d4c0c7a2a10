"""What ``make demo`` runs: features of the meshes beside this file, a table, and a picture of neighbours.

    python examples/demo.py

It writes demo/features.npz and demo/neighbours.png into the current folder.
"""

import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import pointmae_zoo
from pointmae_zoo.shapes.file_search import find_files

MESHES = Path(__file__).parent / "meshes"
MODEL = "i2p_mae_tiny.shapes"
NEIGHBOURS = 3


def main(model: Any = MODEL, out: Path = Path("demo")) -> int:
    """Run the demo.

    Args:
        model: a name, a folder of weights or an encoder.
        out: the folder to write to.

    Returns:
        The exit code: 0, or 2 after an error, which is printed in one line.
    """
    try:
        return _run(model, out)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(model: Any, out: Path) -> int:
    features, picture = out / "features.npz", out / "neighbours.png"
    features.unlink(missing_ok=True)  # if this run fails, an older table must not look like its result
    out.mkdir(parents=True, exist_ok=True)

    # Points for the picture, read one file at a time. embed_files reads the files again, in worker processes.
    files, points, seconds = find_files(MESHES), {}, {}
    print(f"reading {len(files)} meshes in {MESHES}", flush=True)
    pointmae_zoo.read_points(files[0])  # warm-up: the first call also imports libraries
    for path in files:
        start = time.perf_counter()
        points[str(path)] = pointmae_zoo.read_points(path)
        seconds[str(path)] = time.perf_counter() - start

    print("loading the encoder and computing features", flush=True)
    start = time.perf_counter()
    table = pointmae_zoo.embed_files(MESHES, model, out=features)
    took = time.perf_counter() - start
    for path, reason in table.failures:
        print(f"failed: {path}: {reason}", file=sys.stderr)

    nearest = {path: pointmae_zoo.similar(path, table, NEIGHBOURS) for path in table.paths}
    print(f"{'file':20} {'format':>6} {'read in':>8}   {'nearest neighbour':20} {'similarity':>10}")
    for path, found in nearest.items():
        this, (other, similarity, _) = Path(path), found[0]
        print(
            f"{this.name:20} {this.suffix[1:]:>6} {seconds[path] * 1e3:5.0f} ms   "
            f"{Path(other).name:20} {similarity:10.3f}"
        )
    rows, columns = table.features.shape
    print(f"\n{rows} shapes, {columns} features each, in {took:.1f} s (with loading the model): {features}")

    from pointmae_zoo.viz import draw_neighbours

    print("drawing every shape beside its neighbours", flush=True)
    print(
        f"every shape beside its {NEIGHBOURS} nearest neighbours: {draw_neighbours(points, nearest, picture)}"
    )
    return 0


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(main())
