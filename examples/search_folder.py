"""Which files of a folder are most like this one?

    python examples/search_folder.py QUERY [FOLDER]

This computes features of the whole folder and writes them to features.npz in the current folder. To search
again without computing them: pointmae-zoo similar QUERY features.npz
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

import pointmae_zoo

MESHES = Path(__file__).parent / "meshes"


def search(query: Path, folder: Path) -> None:
    table = pointmae_zoo.embed_files(folder, out="features.npz")
    for path, reason in table.failures:
        print(f"failed: {path}: {reason}", file=sys.stderr)
    for hit in pointmae_zoo.similar(query, table, k=5):
        print(f"{hit.similarity:.3f}  {hit.size_ratio or 0:6.2f} times as large  {hit.path}")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("query", nargs="?", type=Path, default=MESHES / "mug_tall.obj")
    parser.add_argument("folder", nargs="?", type=Path, default=MESHES)
    given = parser.parse_args()
    search(given.query, given.folder)
