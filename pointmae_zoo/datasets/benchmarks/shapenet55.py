"""ShapeNet-55 as Point-BERT and its successors distribute it (``ShapeNet55-34``): 52,470 clouds of 8,192
points, one ``.npy`` each, and two lists.

    ShapeNet55-34/
        shapenet_pc/02691156-1a04e3eab45ca15dd86060f189eb133.npy ...
        ShapeNet-55/train.txt, test.txt
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.benchmarks.benchmark import Benchmark, check_files, check_split, locate, read_list

NAME = "shapenet55"
SOURCE = (
    "get it with the links in DATASET.md of github.com/lulutang0608/Point-BERT (ShapeNet55/34), under "
    "ShapeNet's terms"
)

# The 55 categories of ShapeNetCore v2, by WordNet offset.
CATEGORIES = {
    "02691156": "airplane", "02747177": "trash bin", "02773838": "bag", "02801938": "basket",
    "02808440": "bathtub", "02818832": "bed", "02828884": "bench", "02843684": "birdhouse",
    "02871439": "bookshelf", "02876657": "bottle", "02880940": "bowl", "02924116": "bus",
    "02933112": "cabinet", "02942699": "camera", "02946921": "can", "02954340": "cap", "02958343": "car",
    "02992529": "cellphone", "03001627": "chair", "03046257": "clock", "03085013": "keyboard",
    "03207941": "dishwasher", "03211117": "display", "03261776": "earphone", "03325088": "faucet",
    "03337140": "file cabinet", "03467517": "guitar", "03513137": "helmet", "03593526": "jar",
    "03624134": "knife", "03636649": "lamp", "03642806": "laptop", "03691459": "loudspeaker",
    "03710193": "mailbox", "03759954": "microphone", "03761084": "microwave", "03790512": "motorbike",
    "03797390": "mug", "03928116": "piano", "03938244": "pillow", "03948459": "pistol",
    "03991062": "flowerpot", "04004475": "printer", "04074963": "remote control", "04090263": "rifle",
    "04099429": "rocket", "04225987": "skateboard", "04256520": "sofa", "04330267": "stove",
    "04379243": "table", "04401088": "telephone", "04460130": "tower", "04468005": "train",
    "04530566": "watercraft", "04554684": "washing machine",
}  # fmt: skip


def recognise(folder: Path) -> bool:
    """Whether this folder is one, or the part of one that holds the clouds."""
    if folder.name == "shapenet_pc":
        return True
    return (folder / "shapenet_pc").is_dir() and (folder / "ShapeNet-55").is_dir()


def read(folder: Path, split: str) -> Benchmark:
    """The clouds of ``ShapeNet-55/train.txt`` or ``test.txt``.

    Raises:
        FileNotFoundError, ValueError: something is missing or wrong; names it.
    """
    check_split(split, ("train", "test"), NAME)
    wanted = "ShapeNet55-34, with shapenet_pc/*.npy and ShapeNet-55/train.txt and test.txt"
    root = locate(folder, "ShapeNet-55", ("ShapeNet55-34", "ShapeNet55"), NAME, wanted, SOURCE)
    # Unpacking the archive into a folder of its name gives one within the other.
    clouds = locate(root, "shapenet_pc", ("ShapeNet55-34",), NAME, wanted, SOURCE) / "shapenet_pc"
    if (clouds / "shapenet_pc").is_dir():
        clouds /= "shapenet_pc"
    listed = root / "ShapeNet-55" / f"{split}.txt"
    files, labels = [], []
    numbers = {offset: number for number, offset in enumerate(CATEGORIES)}
    for line in read_list(listed, SOURCE):
        name = line if line.endswith(".npy") else f"{line}.npy"
        number = numbers.get(name.partition("-")[0])
        if number is None or "/" in name:
            raise ValueError(
                f"{listed}: {line!r} is not the name of a cloud; expected such as 02691156-1a04e3ea.npy"
            )
        files.append(clouds / name)
        labels.append(number)
    check_files(files, listed, SOURCE)
    return Benchmark(
        name=NAME,
        split=split,
        classes=tuple(CATEGORIES.values()),
        labels=np.array(labels, dtype=np.int64),
        names=[str(file) for file in files],
        files=[listed, *files],
        load=lambda row: _load(files[row]),
    )


def _load(file: Path) -> NDArray:
    try:
        stored = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        said = " ".join(str(error).split())[:120]
        raise ValueError(f"{file}: is not an .npy file or was cut off ({said}); get it again") from error
    if not isinstance(stored, np.ndarray):
        raise ValueError(f"{file}: is an .npz archive, expected the points alone, (N, 3)")
    return stored
