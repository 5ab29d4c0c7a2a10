"""Whether labelled clouds are the same ones as before, wherever they lie now."""

import hashlib
from pathlib import Path

from pointmae_zoo.datasets.labelled.labelled_clouds import LabelledClouds


def identity_sha256(clouds: LabelledClouds) -> str:
    """Hash of which clouds these are, in order: the same however many points of each are read, and in
    whatever folder they lie.

    It covers class name and near-duplicate group of each cloud, and what tells it from others: of an
    ``.npz`` its first point; elsewhere, where that may depend on how many are drawn, its file's name.
    """
    digest = hashlib.sha256()
    for label, group, name in zip(clouds.labels.tolist(), clouds.groups.tolist(), clouds.names, strict=True):
        digest.update(f"{clouds.classes[label]}\0{group}\0".encode("utf-8", "surrogateescape"))
        if not clouds.name.endswith(".npz"):
            digest.update(f"{Path(name).name}\0".encode("utf-8", "surrogateescape"))
    if clouds.name.endswith(".npz"):
        digest.update(clouds.points[:, 0].tobytes())
    return digest.hexdigest()
