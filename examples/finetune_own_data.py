"""A classifier of one's own meshes: a folder with a sub-folder per class.

    python examples/finetune_own_data.py FOLDER [RUN]     (without arguments: the meshes beside this file)

leaves the classifier in RUN; 'pointmae-zoo predict FILES --model RUN' uses it from then on.
"""

import shutil
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

import pointmae_zoo
from pointmae_zoo.train import finetune, read_recipe

MESHES = Path(__file__).parent / "meshes"


def classify(folder: Path, run: Path, steps: int = 60, **changes: object) -> pointmae_zoo.Predictions:
    recipe = read_recipe("i2p_mae/finetune_tiny", data=str(folder), steps=steps, **changes)
    finetune(recipe, run)
    found = pointmae_zoo.predict_files(folder, str(run.resolve()), top=2)
    for path, best in zip(found.paths, found.best, strict=True):
        print(f"{path}:", ", ".join(f"{name} {share:.0%}" for name, share in best))
    return found


def sorted_into_classes(out: Path) -> Path:
    """The examples' meshes as such a folder: lamp_floor.ply becomes OUT/lamp/lamp_floor.ply."""
    for path in sorted(MESHES.iterdir()):
        place = out / path.name.partition("_")[0]
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return out


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("run", nargs="?", type=Path, default=Path("own_classifier"))
    given = parser.parse_args()
    classify(given.folder or sorted_into_classes(Path("own_data")), given.run)
