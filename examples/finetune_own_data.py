"""A classifier for your own meshes, in a folder with a sub-folder for each class.

    python examples/finetune_own_data.py FOLDER [RUN]     (without arguments: the meshes beside this file)

The classifier is written to RUN; 'pointmae-zoo predict FILES --model RUN' uses it.
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
    """Copy the examples' meshes into a folder for each class: lamp_floor.ply goes to OUT/lamp/."""
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
