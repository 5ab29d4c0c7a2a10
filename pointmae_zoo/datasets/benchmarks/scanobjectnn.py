"""ScanObjectNN: scanned objects of 15 classes, 2,048 points each, in HDF5.

    h5_files/
        main_split/training_objectdataset_augmentedrot_scale75.h5, test_...     PB-T50-RS, the hardest
        main_split/training_objectdataset.h5, test_...                          OBJ-BG
        main_split_nobg/training_objectdataset.h5, test_...                     OBJ-ONLY

A folder stands for PB-T50-RS; for another variant name its training file.
"""

from pathlib import Path

from pointmae_zoo.datasets.benchmarks.benchmark import Benchmark, Hdf5Clouds, check_split, locate

NAME = "scanobjectnn"
SOURCE = "request it from its makers, under their terms, at hkust-vgd.github.io/scanobjectnn"

CLASSES = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door",
    "shelf", "table", "bed", "pillow", "sink", "sofa", "toilet",
)  # fmt: skip
_PREFIX = {"train": "training_objectdataset", "test": "test_objectdataset"}
_HARDEST = "_augmentedrot_scale75.h5"


def recognise(folder: Path) -> bool:
    """Whether this folder, or its main_split, holds the HDF5 files."""
    return any((folder / place).is_dir() for place in ("main_split", "main_split_nobg")) or any(
        folder.glob("*_objectdataset*.h5")
    )


def read(folder: Path, split: str) -> Benchmark:
    """One split of PB-T50-RS, or of the variant whose training file ``folder`` is.

    Raises:
        FileNotFoundError, ValueError: something is missing or wrong; names it.
    """
    check_split(split, tuple(_PREFIX), NAME)
    if folder.suffix == ".h5":
        if not folder.name.startswith(_PREFIX["train"]):
            raise ValueError(f"{folder}: expected a training file, {_PREFIX['train']}*.h5, or a folder")
        file = folder.with_name(_PREFIX[split] + folder.name.removeprefix(_PREFIX["train"]))
    else:
        wanted = f"h5_files/main_split/{_PREFIX[split]}{_HARDEST}"
        within = (
            "main_split",
            "h5_files/main_split",
            "ScanObjectNN/main_split",
            "ScanObjectNN/h5_files/main_split",
        )
        name = _PREFIX[split] + _HARDEST
        if folder.is_dir() and folder.name == "main_split_nobg":
            raise ValueError(
                f"{folder}: several variants lie there; name the training file of the one you mean"
            )
        file = (
            locate(folder, name, within, NAME, f"{wanted}, or the training file of another variant", SOURCE)
            / name
        )
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; {SOURCE}")
    clouds = Hdf5Clouds([file], len(CLASSES))
    training = _PREFIX["train"] + file.name.removeprefix(_PREFIX[split])
    return Benchmark(
        name=NAME,
        split=split,
        classes=CLASSES,
        labels=clouds.labels,
        names=clouds.names,
        files=[file],
        load=clouds.load,
        variant=f"{file.resolve().parent.name}/{training}",
    )
