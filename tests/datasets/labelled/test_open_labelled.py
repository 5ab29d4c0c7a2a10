"""Labelled clouds from files and benchmarks."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointmae_zoo.datasets.labelled import joint_sha256, open_labelled
from samples import benchmarks

CLASSES = ["cube", "ball", "cone"]


def npz(folder: Path, **changes: Any) -> Path:
    """Twelve clouds of three classes, of which ball and cone are core ones; None takes an array out."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "points": rng.normal(size=(12, 40, 3)).astype(np.float32),
        "y": np.array([0, 1, 2] * 4),
        "classes": np.array(CLASSES),
        "core_classes": np.array(["cone", "ball"]),
        "split": np.array(["train"] * 6 + ["val"] * 3 + ["test"] * 3),
        "group": np.arange(12) // 2,
        **changes,
    }
    path = folder / "clouds.npz"
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return path


def test_a_file_of_clouds(tmp_path: Path) -> None:
    path = npz(tmp_path)
    stored = np.load(path)["points"]
    train = open_labelled(path, "train", num_points=32, classes="all")
    assert np.array_equal(train.points, stored[:6, :32])
    assert train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert train.groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert (train.classes, train.class_set, train.name) == (tuple(CLASSES), "all", "clouds.npz")
    assert train.names[4] == f"{path}, row 4" and train.splits == ("test", "train", "val")
    assert train.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert open_labelled(path, "val", num_points=32, most_points=99).points.shape == (2, 40, 3)
    assert joint_sha256([train, open_labelled(path, "test", num_points=32)]) == train.sha256


def test_core_classes_are_numbered_in_their_own_order(tmp_path: Path) -> None:
    path = npz(tmp_path)
    found = open_labelled(path, "test", num_points=32)
    assert (found.classes, found.class_set) == (("cone", "ball"), "core")
    assert found.labels.tolist() == [1, 0]
    assert [name.rpartition(" ")[2] for name in found.names] == ["10", "11"]


def test_a_selection_keeps_rows_together(tmp_path: Path) -> None:
    train = open_labelled(npz(tmp_path), "train", num_points=40, classes="all")
    for rows in (np.array([5, 1]), np.arange(6) % 4 == 1):
        chosen, numbers = train.select(rows), np.arange(6)[rows]
        assert np.array_equal(chosen.points, train.points[numbers])
        assert np.array_equal(chosen.labels, train.labels[numbers])
        assert np.array_equal(chosen.groups, train.groups[numbers])
        assert chosen.names == [train.names[number] for number in numbers]
        assert chosen.part_labels is None and len(chosen) == 2


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({"classes": None, "core_classes": None}, {}, "no 'classes' array"),
        ({"core_classes": None}, {"classes": "core"}, "no 'core_classes' array"),
        ({}, {"num_points": 41}, "40 points a cloud, fewer than the 41 asked for"),
        ({"split": np.array(["train"] * 12)}, {}, r"split 'test' \(its splits: 'train'\)"),
        ({"split": None}, {}, r"split 'test' \(its splits: none\)"),
        ({"y": np.full(12, -1)}, {}, "no labelled cloud"),
        ({"y": np.array([0, 1, 1] * 3 + [0, 1, 2])}, {}, "class 'cone' .* not in train"),
        ({}, {"with_parts": True}, "no array 'parts'"),
        ({}, {"num_points": 1}, "num_points 1"),
        ({}, {"most_points": 5}, "most_points 5"),
        ({}, {"split": "tests"}, "split: 'tests', expected one of train, val, test"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    changes: dict, arguments: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        open_labelled(npz(tmp_path, **changes), **{"split": "test", "num_points": 32, **arguments})


def test_one_class_cannot_be_trained_on(tmp_path: Path) -> None:
    path = npz(tmp_path, y=np.zeros(12, int), core_classes=None)
    with pytest.raises(ValueError, match="clouds of one class only, 'cube'"):
        open_labelled(path, "train", num_points=32)


def test_another_file(tmp_path: Path) -> None:
    (tmp_path / "chair.obj").write_text("v 0 0 0\n")
    with pytest.raises(ValueError, match=r"chair\.obj: expected an \.npz file with points, y, classes"):
        open_labelled(tmp_path / "chair.obj", "train", num_points=32)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected an \.npz file, a folder, or BENCHMARK:FOLDER"):
        open_labelled(tmp_path / "none", "train", num_points=32)


@pytest.mark.parametrize(("name", "build"), benchmarks.EVERY)
def test_every_benchmark(name: str, build: Any, tmp_path: Path) -> None:
    folder = build(tmp_path)
    train, test = (open_labelled(f"{name}:{folder}", split, num_points=32) for split in ("train", "test"))
    assert train.points.shape[1:] == test.points.shape[1:] == (32, 3)
    assert train.classes == test.classes and train.labels.max() < len(train.classes)
    assert not set(train.groups.tolist()) & set(test.groups.tolist())
    assert train.splits == (("train", "val", "test") if name == "shapenetpart" else ("train", "test"))
    assert len(train.names) == len(set(train.names)) == len(train)
    assert train.name.startswith(f"{name}:") and str(tmp_path) not in train.name
    assert joint_sha256([train, test]) not in (train.sha256, test.sha256)


@pytest.mark.parametrize(("name", "build"), benchmarks.EVERY)
def test_the_hash_of_a_benchmark_is_of_its_clouds_however_many_points_are_read(
    name: str, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointmae_zoo.datasets.labelled.from_benchmark._HASHED_POINTS", 40)
    entry = f"{name}:{build(tmp_path)}"
    hashes = set()
    for num_points, most_points, seed in ((16, 32, 0), (32, 32, 1), (40, 40, 0), (40, 99, 0), (16, 999, 2)):
        train, test = (
            open_labelled(entry, split, num_points=num_points, most_points=most_points, seed=seed)
            for split in ("train", "test")
        )
        hashes.add((train.sha256, test.sha256, joint_sha256([train, test])))
        if num_points == 40 and name != "shapenetpart":  # as it was when hashes were of what had been read
            arrays = [train.points[:, :40], train.labels, test.points[:, :40], test.labels]
            expected = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
            assert joint_sha256([train, test]) == expected
    assert len(hashes) == 1 and len(set(*hashes)) == 3


def test_clouds_of_a_benchmark_are_its_first_points_and_too_few_are_refused(tmp_path: Path) -> None:
    folder = benchmarks.scanobjectnn(tmp_path)
    found = open_labelled(f"scanobjectnn:{folder}", "train", num_points=32, most_points=100)
    assert np.array_equal(found.points, benchmarks.clouds(6, 128, 6)[:, :100])
    with pytest.raises(ValueError, match="128 points, fewer than the 200"):
        open_labelled(f"scanobjectnn:{folder}", "train", num_points=200)
    with pytest.raises(ValueError, match="no core classes"):
        open_labelled(f"scanobjectnn:{folder}", "train", num_points=32, classes="core")
    with pytest.raises(ValueError, match="no part labels"):
        open_labelled(f"scanobjectnn:{folder}", "train", num_points=32, with_parts=True)


def test_a_benchmark_of_many_files_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointmae_zoo.datasets.labelled.from_benchmark._MANY_FILES", 2)
    entry = f"shapenetpart:{benchmarks.shapenetpart(tmp_path)}"
    cache = tmp_path / "cache"
    plain = open_labelled(entry, "train", num_points=60, with_parts=True)
    for _ in range(2):
        kept = open_labelled(entry, "train", num_points=60, with_parts=True, cache=cache)
        assert np.array_equal(kept.points, plain.points) and kept.sha256 == plain.sha256
        assert np.array_equal(kept.part_labels, plain.part_labels)  # type: ignore[arg-type]
    assert open_labelled(entry, "train", num_points=60, cache=cache).part_labels is None
    assert len(list(cache.glob("labelled-shapenetpart-*.npz"))) == 2


def test_shapenetpart_with_its_parts(tmp_path: Path) -> None:
    folder = benchmarks.shapenetpart(tmp_path)
    found = open_labelled(f"shapenetpart:{folder}", "train", num_points=60, with_parts=True)
    assert found.part_labels is not None and found.part_labels.shape == (3, 60)
    assert [found.classes[label] for label in found.labels] == ["Motorbike", "Table", "Table"]
    assert found.parts[found.labels[0]] == range(30, 36) and found.part_names[30] == "Motorbike/0"
    assert len(found.part_names) == 50
    for row, name in enumerate(found.names):  # every point with the part that it has in the file
        table = np.loadtxt(name)
        known = {
            tuple(point): int(part)
            for point, part in zip(table[:, :3].astype(np.float32), table[:, 6], strict=True)
        }
        assert [known[tuple(point)] for point in found.points[row]] == found.part_labels[row].tolist()
        assert len(np.unique(found.points[row], axis=0)) == min(60, len(table))  # none twice before all
    assert open_labelled(f"shapenetpart:{folder}", "val", num_points=40).part_labels is None


def test_real_clouds(testdata: Path) -> None:
    path = testdata / "shapes" / "train_test.npz"
    train, test = (open_labelled(path, split, num_points=1024) for split in ("train", "test"))
    assert (len(train), len(test), len(train.classes)) == (861, 281, 24)
    assert not set(train.groups.tolist()) & set(test.groups.tolist())
