"""The benchmarks' layouts again, filled with a few shapes that a network can learn by heart: what is for
training is for testing, too, in the opposite order and with the first shape twice."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo.datasets.benchmarks.scanobjectnn import CLASSES
from pointmae_zoo.datasets.benchmarks.shapenetpart import NUM_PARTS

NUM_POINTS = 128


@dataclass(frozen=True)
class Content:
    """What a benchmark holds, as ``finetune`` and ``evaluate`` are to find it: the entry for ``--data`` and
    the clouds of train and of test."""

    entry: str
    train: int
    test: int


def heaps(number: int) -> np.ndarray:
    """(NUM_POINTS, 3): four heaps of points, elsewhere for every number."""
    rng = np.random.default_rng(number)
    return rng.normal(size=(4, 3))[np.arange(NUM_POINTS) % 4] + rng.normal(0, 0.1, size=(NUM_POINTS, 3))


def modelnet40_h5(root: Path) -> Content:
    """40 classes, one cloud each, over two training files."""
    from samples.benchmarks import write_h5

    folder = root / "modelnet40_ply_hdf5_2048"
    points, labels = _clouds(np.arange(40))
    for name, rows in (("train0", slice(0, 25)), ("train1", slice(25, 40)), ("test0", _tested(40))):
        numbers = labels[rows].astype(np.uint8)[:, None]
        write_h5(folder / f"ply_data_{name}.h5", points[rows], numbers, normal=points[rows])
    for split, files in (("train", ["train0", "train1"]), ("test", ["test0"])):
        lines = [f"data/modelnet40_ply_hdf5_2048/ply_data_{name}.h5" for name in files]
        (folder / f"{split}_files.txt").write_text("\n".join(lines) + "\n")
    (folder / "shape_names.txt").write_text("".join(f"class{number}\n" for number in range(40)))
    return Content(f"modelnet40:{folder}", 40, 41)


def modelnet40_text(root: Path) -> Content:
    """Eight classes whose names have underscores, one cloud each."""
    folder = root / "modelnet40_normal_resampled"
    names = [f"some_class_{letter}" for letter in "abcdefgh"]
    listed: dict[str, list[str]] = {
        "train": [f"{name}_0001" for name in names],
        "test": [f"{names[row]}_{2 + place:04}" for place, row in enumerate(_tested(8))],
    }
    for split, files in listed.items():
        for file in files:
            name = file.rpartition("_")[0]
            points = heaps(names.index(name))
            lines = [",".join(f"{value:.6f}" for value in (*point, 0, 1, 0)) for point in points]
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / f"{file}.txt").write_text("\n".join(lines) + "\n")
        (folder / f"modelnet40_{split}.txt").write_text("\n".join(files) + "\n")
    (folder / "modelnet40_shape_names.txt").write_text("\n".join(names) + "\n")
    return Content(f"modelnet40:{folder}", 8, 9)


def modelnet40_meshes(root: Path) -> Content:
    """Six classes of one OFF file each, as Princeton gives them: the header and the counts in one line."""
    folder = root / "ModelNet40"
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    faces = ("0 1 3 2", "4 6 7 5", "0 4 5 1", "2 3 7 6", "0 2 6 4", "1 5 7 3")
    for split, places in (("train", range(6)), ("test", _tested(6))):
        for file, place in enumerate(places):
            rows = [" ".join(f"{value:.6f}" for value in row) for row in corners * _sides(place)]
            rows += [f"4 {face}" for face in faces]
            target = folder / f"class{place}" / split / f"class{place}_{file:04}.off"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("OFF8 6 0\n" + "\n".join(rows) + "\n")
    return Content(str(folder), 6, 7)


SCANOBJECTNN = {
    "PB-T50-RS": ("main_split", "_augmentedrot_scale75"),
    "OBJ-BG": ("main_split", ""),
    "OBJ-ONLY": ("main_split_nobg", ""),
}


def scanobjectnn(root: Path, variant: str) -> Content:
    """All three variants, of the same clouds, but what is a bag in one is a desk in the next."""
    from samples.benchmarks import write_h5

    folder, count = root / "h5_files", len(CLASSES)
    for number, (place, suffix) in enumerate(SCANOBJECTNN.values()):
        points, labels = _clouds((np.arange(count) + 5 * number) % count)
        for prefix, rows in (("training", slice(None)), ("test", _tested(count))):
            file = folder / place / f"{prefix}_objectdataset{suffix}.h5"
            write_h5(file, points[rows], labels[rows], mask=np.zeros((len(labels[rows]), NUM_POINTS)))
    place, suffix = SCANOBJECTNN[variant]
    named = folder if variant == "PB-T50-RS" else folder / place / f"training_objectdataset{suffix}.h5"
    return Content(f"scanobjectnn:{named}", count, count + 1)


def shapenetpart(root: Path) -> Content:
    """All 16 categories, one cloud each, of different sizes: blobs on top of each other, each a part."""
    folder = root / "shapenetcore_partanno_segmentation_benchmark_v0_normal"
    offsets = {name: f"{2000000 + number:08}" for number, name in enumerate(NUM_PARTS)}
    (folder / "train_test_split").mkdir(parents=True)
    lines = [f"{name}\t{offset}" for name, offset in offsets.items()]
    (folder / "synsetoffset2category.txt").write_text("\n".join(lines) + "\n")
    names, first = list(NUM_PARTS), np.cumsum([0, *NUM_PARTS.values()])
    rows = {"train": list(range(16)), "val": [3], "test": _tested(16).tolist()}
    for split, numbers in rows.items():
        listed = []
        for file, number in enumerate(numbers):
            offset, parts = offsets[names[number]], NUM_PARTS[names[number]]
            count = NUM_POINTS + number
            rng = np.random.default_rng(number)
            part = np.arange(count) % parts
            points = rng.uniform(-0.3, 0.3, size=(count, 3)) + np.outer(part, [0.0, 1.0, 0.0])
            order = np.argsort(part, kind="stable")  # part by part, as in the real files
            table = np.column_stack([points, np.zeros((count, 3)), first[number] + part])[order]
            (folder / offset).mkdir(exist_ok=True)
            np.savetxt(folder / offset / f"{split}{file}.txt", table, fmt="%.6f")
            listed.append(f"shape_data/{offset}/{split}{file}")
        (folder / "train_test_split" / f"shuffled_{split}_file_list.json").write_text(json.dumps(listed))
    return Content(f"shapenetpart:{folder}", 16, 17)


def _clouds(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One cloud for each label, and the labels."""
    return np.array([heaps(number) for number in range(len(labels))], dtype=np.float32), labels


def _sides(number: int) -> np.ndarray:
    """Of a box unlike that of any other number below 6."""
    return np.array([1.0, 0.2 + 0.4 * (number % 2), 0.1 + 0.3 * (number // 2)])


def _tested(count: int) -> np.ndarray:
    """Rows of train that are test."""
    return np.array([*range(count - 1, -1, -1), 0])


pytest.importorskip("h5py")
