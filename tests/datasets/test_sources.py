"""Sources of clouds: what is for training and nothing else, the same however it is read."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import trimesh

from pointmae_zoo.datasets import cloud_cache, sources
from pointmae_zoo.datasets.mesh_folder import training_files
from pointmae_zoo.datasets.sources import CloudSource, concatenate, open_sources, procedural_source
from pointmae_zoo.procedural import generate
from samples.clouds import in_unit_sphere


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def clouds(count: int, num_points: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, num_points, 3)).astype(np.float32)


def everything(source: CloudSource) -> np.ndarray:
    return source.read(np.arange(len(source)))


# Files of clouds


def test_only_training_splits_are_read(tmp_path: Path, cache: Path) -> None:
    split = np.array(["train", "test", "unlabelled", "val", "heldout", "train"])
    np.savez(tmp_path / "a.npz", points=clouds(6), split=split)
    source = open_sources([str(tmp_path / "a.npz")], 16, cache=cache)
    np.testing.assert_allclose(everything(source), in_unit_sphere(clouds(6)[[0, 2, 5], :16]), atol=1e-6)
    assert source.names == [f"{tmp_path}/a.npz, row {row}" for row in (0, 2, 5)]
    assert everything(source).dtype == np.float32


@pytest.mark.parametrize(
    "labels",
    [
        {"y": np.full(3, 99), "classes": np.array(["a"])},
        {"y": np.zeros(7)},
        {"core_classes": np.array(["nothing"])},
        {"group": np.zeros(2)},
        {"classes": np.array([{"an": "object"}], dtype=object)},
    ],
)
def test_labels_do_not_matter(tmp_path: Path, cache: Path, labels: dict) -> None:
    np.savez(tmp_path / "a.npz", points=clouds(3), **labels)
    assert len(open_sources([str(tmp_path / "a.npz")], 16, cache=cache)) == 3


def test_large_files_give_the_same_through_a_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "a.npz", points=clouds(5), split=np.array(["train", "test", "train", "val", "train"]))
    np.savez(tmp_path / "b.npz", points=clouds(4, seed=1))
    np.save(tmp_path / "c.npy", clouds(3, seed=2))
    entries = [str(tmp_path / name) for name in ("a.npz", "b.npz", "c.npy")]
    small = open_sources(entries, 20, cache=cache)
    monkeypatch.setattr(sources, "IN_MEMORY_BYTES", 0)
    large = open_sources(entries, 20, cache=cache)
    np.testing.assert_array_equal(everything(small), everything(large))
    assert small.names == large.names and len(small) == 10
    assert len(list(cache.glob("*.npy"))) == 3


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("few.npz", r"few\.npz: 32 points a cloud, the recipe asks for 64: --set cloud_points=32"),
        ("test.npz", r"test\.npz: no cloud of split train or unlabelled \(it has test, val\)"),
        ("short.npz", r"short\.npz: 'split' has shape \(1,\), expected \(3,\)"),
        ("nan.npz", r"nan\.npz: cloud 2 holds NaN"),
        ("absent.npz", "absent.npz: no such file or folder"),
        ("one.obj", "for one mesh, name its folder"),
        ("empty", "empty: no meshes or point files there; expected .stl"),
        ("shapenet55:", "has no path; expected shapenet55:FOLDER"),
        ("shapenet56:/somewhere", "names no known benchmark .shapenet55, modelnet40"),
        (
            "modelnet40:/somewhere",
            "/somewhere: no such folder; expected modelnet40_ply_hdf5_2048 .* download",
        ),
    ],
)
def test_wrong_entries_say_what_is_wrong(tmp_path: Path, cache: Path, entry: str, message: str) -> None:
    np.savez(tmp_path / "few.npz", points=clouds(3))
    np.savez(tmp_path / "test.npz", points=clouds(2), split=np.array(["test", "val"]))
    np.savez(tmp_path / "short.npz", points=clouds(3), split=np.array(["train"]))
    broken = clouds(3, 64)
    broken[2, 5] = np.nan
    np.savez(tmp_path / "nan.npz", points=broken, split=np.array(["test", "train", "train"]))
    (tmp_path / "one.obj").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        open_sources([entry if ":" in entry else str(tmp_path / entry)], 64, cache=cache)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("up", "matrix"), [("z", ((1, 0, 0), (0, 0, 1), (0, -1, 0))), ("-y", np.diag([1, -1, -1]))]
)
def test_what_is_up_in_the_data_is_turned_up(tmp_path: Path, cache: Path, up: str, matrix: object) -> None:
    np.savez(tmp_path / "a.npz", points=clouds(3))
    np.save(tmp_path / "b.npy", clouds(2, seed=1))
    entries = [str(tmp_path / name) for name in ("a.npz", "b.npy")]
    lying, upright = (open_sources(entries, 32, cache=cache, up=one) for one in ("y", up))
    expected = everything(lying) @ np.array(matrix, dtype=np.float32).T
    np.testing.assert_allclose(everything(upright), expected, atol=1e-6)
    assert upright.names == lying.names and upright.sha256 == lying.sha256
    with pytest.raises(ValueError, match="up: x, y, z, -x, -y or -z expected, got 'w'"):
        open_sources(entries, 32, cache=cache, up="w")


# Folders


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    """Boxes of three proportions in class folders; one of the classes has a single file."""
    folder = tmp_path / "meshes"
    for name, size in (("flat/a.stl", (4, 4, 1)), ("flat/b.ply", (4, 4, 1)), ("cube/only.obj", (2, 2, 2))):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        trimesh.creation.box(extents=size).export(file)
    return folder


def test_a_folder_gives_points_on_its_meshes(meshes: Path, cache: Path) -> None:
    source = open_sources([str(meshes)], 500, cache=cache, workers=1)
    assert source.names == [f"{meshes}/{name}" for name in ("cube/only.obj", "flat/a.stl", "flat/b.ply")]
    points = everything(source)
    assert points.shape == (3, 500, 3)
    # Sampled, then centred and scaled: every point of a cube is on one of three pairs of parallel planes.
    low, high = points[0].min(axis=0), points[0].max(axis=0)
    on_a_side = np.minimum(np.abs(points[0] - low), np.abs(points[0] - high)).min(axis=1)
    assert on_a_side.max() < 0.02
    np.testing.assert_allclose(high - low, 2 / np.sqrt(3), atol=0.05)
    np.testing.assert_allclose(np.linalg.norm(points, axis=2).max(axis=1), 1, atol=1e-6)
    flat = np.ptp(points[1], axis=0)
    np.testing.assert_allclose(flat[2] / flat[:2], 0.25, atol=0.01)


def test_what_is_held_out_stays_out(meshes: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("flat/test", "Val/cube", "train/cube", "testament"):
        (meshes / name).mkdir(parents=True)
        trimesh.creation.box().export(meshes / name / "x.stl")
    source = open_sources([str(meshes)], 16, cache=cache, workers=1)
    kept = ["cube/only.obj", "flat/a.stl", "flat/b.ply", "testament/x.stl", "train/cube/x.stl"]
    assert source.names == [f"{meshes}/{name}" for name in kept]
    assert "2 files in folders such as Val/cube are left out" in capsys.readouterr().err
    # Asked for by name, a folder is what it was asked for.
    assert len(open_sources([str(meshes / "flat" / "test")], 16, cache=cache, workers=1)) == 1
    other = meshes.parent / "other"
    (other / "test").mkdir(parents=True)
    trimesh.creation.box().export(other / "test" / "x.stl")
    with pytest.raises(FileNotFoundError, match="all 1 files are held out"):
        open_sources([str(other)], 16, cache=cache)


@pytest.mark.parametrize(
    ("names", "held_out"),
    [
        ("test Test TESTS testing test-set test_set testdata test.meshes test_01 test2 test_chairs", True),
        ("val valid validate validation Validation-Set val_set val-2 val2017 val_chairs", True),
        (
            "eval evaluate evaluation dev dev-set held-out held_out heldout hold_out HoldOut held-out-parts",
            True,
        ),
        (
            "train testament latest contest valves val\u00e9rie developer device 2017 _ valid_parts",
            False,
        ),
    ],
)
def test_names_of_what_is_held_out(tmp_path: Path, names: str, held_out: bool) -> None:
    (tmp_path / "keep.xyz").write_text("0 0 0\n1 1 1\n")
    given = [*names.split(), *(["held out", "Test set"] if held_out else ["a test"])]
    for name in given:
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "x.xyz").write_text("0 0 0\n1 1 1\n")
    kept, left_out = training_files(tmp_path)
    assert {file.parts[0] for file in left_out} == (set(given) if held_out else set())
    assert len(kept) + len(left_out) == len(given) + 1


def test_unreadable_files_are_skipped_and_said(
    meshes: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (meshes / "flat" / "empty.stl").touch()
    (meshes / "few.xyz").write_text("0 0 0\n1 1 1\n2 0 1\n")
    (meshes / "many.npz").write_bytes(b"PK nothing of the kind")
    source = open_sources([str(meshes)], 16, cache=cache, workers=1, progress=False)
    assert len(source) == 3
    said = capsys.readouterr().err
    assert f"{meshes}: 3 of 6 files were skipped:" in said
    assert f"{meshes}/flat/empty.stl: is empty (0 bytes)" in said
    remedy = "--set cloud_points=3 (and --set num_points=3, unless it is lower)"
    assert f"{meshes}/few.xyz: has 3 points, the recipe asks for 16: {remedy}" in said
    assert [Path(name).name for name, _ in source.skipped] == ["few.xyz", "empty.stl", "many.npz"]
    again = open_sources([str(meshes)], 16, cache=cache, workers=1)
    assert again.skipped == source.skipped and again.sha256 == source.sha256
    said = capsys.readouterr().err
    (listed,) = cache.glob("folder-*.json")
    assert said == f"{meshes}: 3 of 6 files were skipped when they were read; {listed} says which\n"
    kept = json.loads(listed.read_text(encoding="utf-8"))["skipped"]
    assert [(one["file"], one["reason"]) for one in kept] == source.skipped


def test_a_cache_that_lists_what_was_skipped_by_number_is_read_again(meshes: Path, cache: Path) -> None:
    (meshes / "empty.stl").touch()
    source = open_sources([str(meshes)], 16, cache=cache, workers=1, progress=False)
    (listed,) = cache.glob("folder-*.json")
    said = json.loads(listed.read_text(encoding="utf-8"))
    of_before = said | {"skipped": {str(one["number"]): one["reason"] for one in said["skipped"]}}
    listed.write_text(json.dumps(of_before), encoding="utf-8")
    again = open_sources([str(meshes)], 16, cache=cache, workers=1, progress=False)
    assert again.skipped == source.skipped and again.sha256 == source.sha256
    assert json.loads(listed.read_text(encoding="utf-8")) == said


def test_a_wrong_path_is_named_before_anything_is_read(meshes: Path, cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no such file or folder"):
        open_sources([str(meshes), "nowhere"], 16, cache=cache, workers=1, progress=False)
    assert not cache.exists() or not list(cache.iterdir())


def test_nothing_but_unreadable_files(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.stl").touch()
    for _ in range(2):  # and no cache that would keep saying so
        with pytest.raises(ValueError, match=r"none of its 1 files can be used; .*x\.stl: is empty"):
            open_sources([str(tmp_path / "bad")], 16, cache=cache, workers=1)
        assert list(cache.iterdir()) == []
    trimesh.creation.box().export(tmp_path / "bad" / "x.stl")
    assert len(open_sources([str(tmp_path / "bad")], 16, cache=cache, workers=1)) == 1


def test_files_are_read_once_and_again_when_they_change(
    meshes: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_sources([str(meshes)], 64, cache=cache, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(sources, "read_files", lambda *_, **__: pytest.fail("read again"))
        second = open_sources([str(meshes)], 64, cache=cache, workers=1)
    np.testing.assert_array_equal(everything(first), everything(second))
    trimesh.creation.box(extents=(1, 1, 9)).export(meshes / "flat" / "a.stl")
    third = open_sources([str(meshes)], 64, cache=cache, workers=1)
    assert third.sha256 != first.sha256
    np.testing.assert_array_equal(everything(first)[[0, 2]], everything(third)[[0, 2]])
    assert not np.array_equal(everything(first)[1], everything(third)[1])
    other = open_sources([str(meshes)], 64, cache=cache, workers=1, seed=1)
    assert not np.array_equal(everything(third), everything(other))


def test_files_of_one_size_and_time_are_not_mixed_up(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they come out of an archive."""
    monkeypatch.setattr(sources, "IN_MEMORY_BYTES", 0)
    for number, name in enumerate(("a", "b")):
        np.save(tmp_path / f"{name}.npy", clouds(3, seed=number))
        os.utime(tmp_path / f"{name}.npy", (0, 0))
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", clouds(3, seed=number)[0])
        os.utime(tmp_path / name / "x.npy", (0, 0))
    for pair in (("a.npy", "b.npy"), ("a", "b")):
        first, second = (
            everything(open_sources([str(tmp_path / name)], 32, cache=cache, workers=1)) for name in pair
        )
        assert not np.array_equal(first, second)


def test_content_decides_the_hash_and_not_the_place(meshes: Path, cache: Path, tmp_path: Path) -> None:
    first = open_sources([str(meshes)], 64, cache=cache, workers=1)
    meshes.rename(tmp_path / "moved")
    second = open_sources([str(tmp_path / "moved")], 64, cache=tmp_path / "another", workers=1)
    assert first.sha256 == second.sha256


def test_benchmarks_are_not_taken_for_folders(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "ShapeNet55-34" / "shapenet_pc").mkdir(parents=True)
    (tmp_path / "ShapeNet55-34" / "ShapeNet-55").mkdir()
    np.save(tmp_path / "ShapeNet55-34" / "shapenet_pc" / "02691156-1.npy", clouds(1)[0])
    for place in ("ShapeNet55-34", "ShapeNet55-34/shapenet_pc", "."):
        with pytest.raises(ValueError, match=r"test clouds must not be trained on; write shapenet55:"):
            open_sources([str(tmp_path / place)], 16, cache=cache)


# Reading


def test_sources_are_put_together_in_their_order(tmp_path: Path, cache: Path, meshes: Path) -> None:
    np.savez(tmp_path / "a.npz", points=clouds(4))
    source = concatenate(
        [
            open_sources([str(meshes), str(tmp_path / "a.npz")], 24, cache=cache, workers=1),
            procedural_source(3, 5, 24),
        ]
    )
    assert len(source) == len(source.names) == 10 and len(source.sha256) == 3
    points = everything(source)
    np.testing.assert_allclose(points[3:7], in_unit_sphere(clouds(4)[:, :24]), atol=1e-6)
    order = np.array([9, 0, 5, 5, 3, 8])
    np.testing.assert_array_equal(source.read(order), points[order])
    assert source.read(np.array([], dtype=np.int64)).shape == (0, 24, 3)
    for wrong in ([10], [-1]):
        with pytest.raises(IndexError, match="there are 10"):
            source.read(np.array(wrong))
    with pytest.raises(ValueError, match="one number of points expected, got"):
        concatenate([source, procedural_source(1, 0, 8)])


def test_procedural_shapes_are_the_same_cached_or_not(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_cache, "CHUNK", 4)
    kept, made = procedural_source(11, 3, 40, cache=cache), procedural_source(11, 3, 40)
    np.testing.assert_array_equal(everything(kept), everything(made))
    for index in (0, 10):
        shape = in_unit_sphere(generate(3, 40, index=index))
        np.testing.assert_allclose(everything(kept)[index], shape, rtol=0, atol=0.5 / 32767 + 1e-6)
    assert kept.names[10] == "procedural shape 10 of seed 3"
    (file,) = cache.glob("procedural-*.npy")
    assert file.stat().st_size == 128 + 11 * 40 * 6  # two bytes a coordinate, after numpy's header


def test_processes_make_the_same_procedural_shapes_until_they_are_closed() -> None:
    source = concatenate([procedural_source(2, 1, 40), procedural_source(30, 3, 40, workers=2)])
    expected = everything(procedural_source(30, 3, 40))
    order = np.array([1, 31, *range(2, 30), 2])
    np.testing.assert_array_equal(source.read(order)[1:], expected[order[1:] - 2])
    processes = source.blocks[1]._processes._processes  # type: ignore[attr-defined]
    assert 1 <= len(processes) <= 2 and all(process.poll() is None for process in processes)
    processes[0].kill()
    with pytest.raises(RuntimeError, match=r"makes procedural shapes ended early \(exit code"):
        for _ in range(50):  # the other process may have been the faster one
            source.read(order)
    source.close()
    assert all(process.poll() is not None for process in processes)


def test_pickles_as_a_file_name(cache: Path) -> None:
    source = procedural_source(20, 0, 500, cache=cache)
    data = pickle.dumps(source)
    assert len(data) < 20_000  # the points would be 120,000 bytes
    np.testing.assert_array_equal(everything(pickle.loads(data)), everything(source))
