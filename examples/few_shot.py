"""New classes from one file each: only a linear head on frozen features is trained.

    python examples/few_shot.py

The head learns from one mesh of each pair beside this file, and predicts the class of the other.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import pointmae_zoo

MESHES = Path(__file__).parent / "meshes"


def name_the_others(model: Any = pointmae_zoo.DEFAULT_MODEL) -> float:
    """Returns the share of right predictions."""
    table = pointmae_zoo.embed_files(MESHES, model)
    names = np.array([Path(path).name for path in table.paths])
    classes = np.array([name.partition("_")[0] for name in names])
    shown = np.append(True, classes[1:] != classes[:-1])  # the first of each class; names are sorted
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    head.fit(table.features[shown], classes[shown])
    said = head.predict(table.features[~shown])
    for name, answer in zip(names[~shown], said, strict=True):
        print(f"{name:20} {answer}")
    return float((said == classes[~shown]).mean())


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.parse_args()
    print(f"{name_the_others():.0%} right, from one mesh of each class")
