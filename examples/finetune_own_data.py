"""A classifier of one's own meshes: a folder with a sub-folder per class.

    python examples/finetune_own_data.py FOLDER [RUN]     (without arguments: the meshes beside this file)

leaves the classifier in RUN; 'pointmae-zoo predict FILES --model RUN' uses it from then on.
"""

import shutil
import sys
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
    given = [Path(argument) for argument in sys.argv[1:3]]
    classify(
        given[0] if given else sorted_into_classes(Path("own_data")),
        given[1] if len(given) > 1 else Path("own_classifier"),
    )
