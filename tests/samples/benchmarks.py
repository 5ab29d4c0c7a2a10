"""Small folders in the real layouts of the benchmarks."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")


def clouds(count: int, num_points: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, num_points, 3)).astype(np.float32)


def write_h5(path: Path, points: np.ndarray, labels: np.ndarray, **more: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as archive:
        for key, array in {"data": points, "label": labels, **more}.items():
            archive.create_dataset(key, data=array, compression="gzip")


def shapenet55(root: Path) -> Path:
    """ShapeNet55-34: three airplanes and a chair for training, one of each for testing."""
    folder = root / "ShapeNet55-34"
    (folder / "shapenet_pc").mkdir(parents=True)
    (folder / "ShapeNet-55").mkdir()
    (folder / "ShapeNet-34").mkdir()
    names = {
        "train": ["02691156-a1.npy", "02691156-b2.npy", "03001627-c3.npy", "02691156-d4.npy"],
        "test": ["02691156-e5.npy", "03001627-f6.npy"],
    }
    for seed, (split, files) in enumerate(names.items()):
        for name, points in zip(files, clouds(len(files), 128, seed), strict=True):
            np.save(folder / "shapenet_pc" / name, points)
        (folder / "ShapeNet-55" / f"{split}.txt").write_text("\n".join(files) + "\n")
    return folder


def modelnet40_h5(root: Path) -> Path:
    """Two training files and a test file, labels (M, 1) of uint8, listed as its makers did."""
    folder = root / "modelnet40_ply_hdf5_2048"
    for seed, (name, count) in enumerate((("train0", 5), ("train1", 3), ("test0", 2))):
        labels = (np.arange(count) + seed).astype(np.uint8)[:, None]
        points = clouds(count, 128, seed)
        write_h5(folder / f"ply_data_{name}.h5", points, labels, normal=points, faceId=np.zeros((count, 128)))
    for split, files in (("train", ["train0", "train1"]), ("test", ["test0"])):
        lines = [f"data/modelnet40_ply_hdf5_2048/ply_data_{name}.h5" for name in files]
        (folder / f"{split}_files.txt").write_text("\n".join(lines) + "\n")
    (folder / "shape_names.txt").write_text("\n".join(f"class{number}" for number in range(40)) + "\n")
    return folder


def modelnet40_text(root: Path) -> Path:
    folder = root / "modelnet40_normal_resampled"
    splits = {"train": ["airplane_0001", "night_stand_0002", "airplane_0003"], "test": ["night_stand_0201"]}
    for seed, (split, names) in enumerate(splits.items()):
        for name, points in zip(names, clouds(len(names), 128, seed), strict=True):
            file = folder / name.rpartition("_")[0] / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = np.concatenate([points, points[:, ::-1]], axis=1)
            file.write_text("\n".join(",".join(f"{value:.6f}" for value in row) for row in rows) + "\n")
        (folder / f"modelnet40_{split}.txt").write_text("\n".join(names) + "\n")
    (folder / "modelnet40_shape_names.txt").write_text("airplane\nnight_stand\n")
    return folder


def scanobjectnn(root: Path) -> Path:
    folder = root / "h5_files"
    for place, suffix, count in (
        ("main_split", "_augmentedrot_scale75", 6),
        ("main_split", "", 4),
        ("main_split_nobg", "", 3),
    ):
        for prefix, number in (("training", count), ("test", 2)):
            file = folder / place / f"{prefix}_objectdataset{suffix}.h5"
            write_h5(file, clouds(number, 128, count), np.arange(number) * 2, mask=np.zeros((number, 128)))
    return folder


def shapenetpart(root: Path) -> Path:
    folder = root / "shapenetcore_partanno_segmentation_benchmark_v0_normal"
    categories = (
        "Airplane 02691156|Bag 02773838|Cap 02954340|Car 02958343|Chair 03001627|Earphone 03261776|"
        "Guitar 03467517|Knife 03624134|Lamp 03636649|Laptop 03642806|Motorbike 03790512|Mug 03797390|"
        "Pistol 03948459|Rocket 04099429|Skateboard 04225987|Table 04379243"
    )
    (folder / "train_test_split").mkdir(parents=True)
    (folder / "synsetoffset2category.txt").write_text(categories.replace("|", "\n").replace(" ", "\t") + "\n")
    # Motorbikes have parts 30 to 35, tables 47 to 49.
    splits = {
        "train": [("03790512", "m1", 100, 30), ("04379243", "t1", 80, 47), ("04379243", "t2", 40, 47)],
        "val": [("04379243", "t3", 50, 47)],
        "test": [("03790512", "m2", 60, 30)],
    }
    for split, entries in splits.items():
        for offset, name, count, first in entries:
            (folder / offset).mkdir(exist_ok=True)
            part = first + np.arange(count) % 3
            rows = np.column_stack([clouds(1, count)[0], clouds(1, count)[0], part.astype(float)])
            np.savetxt(folder / offset / f"{name}.txt", rows, fmt="%.6f")
        listed = [f"shape_data/{offset}/{name}" for offset, name, _, _ in entries]
        file = folder / "train_test_split" / f"shuffled_{split}_file_list.json"
        file.write_text(json.dumps(listed))
    return folder


BUILDERS: dict[str, list[Callable[[Path], Path]]] = {
    "shapenet55": [shapenet55],
    "modelnet40": [modelnet40_h5, modelnet40_text],
    "scanobjectnn": [scanobjectnn],
    "shapenetpart": [shapenetpart],
}
EVERY = [(name, builder) for name, builders in BUILDERS.items() for builder in builders]
