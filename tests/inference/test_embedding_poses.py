"""Features that don't depend on how a file lies: rotated files, several poses of a file in full batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from pointmae_zoo.cli import main
from pointmae_zoo.inference import Embeddings, embed_files, read_table, write_table
from pointmae_zoo.library import similar
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.shapes.measures import measure
from pointmae_zoo.shapes.pose import rotations
from pointmae_zoo.shapes.read import read_geometry, read_points, read_points_and_size
from pointmae_zoo.shapes.reader_pool import ReaderPool
from pointmae_zoo.shapes.up_axis import turn_up
from samples.models import small

BATCH = 3  # no divisor of 4 poses: most files lie in two batches


@pytest.fixture(scope="module")
def model() -> Any:
    return small(preprocess=Preprocess(64, 1024))


def bracket() -> Any:
    ball = trimesh.creation.icosphere(2, 1.0)
    ball.apply_translation((2, 1, 2))
    return trimesh.util.concatenate([trimesh.creation.box(extents=(5, 3, 1)), ball])


SHAPES = {
    "bracket": bracket,
    "cube": lambda: trimesh.creation.box().subdivide(),
    "disc": lambda: trimesh.creation.cylinder(2.0, 0.4),
    "tube": lambda: trimesh.creation.annulus(0.5, 0.7, 5.0),
}


def features(model: Any, folder: Path, mesh: Any, turns: list[Any], **given: Any) -> Any:
    """(M, D) of the mesh turned in so many ways, each moved, too; z is up."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, turn in enumerate(turns):
        vertices = mesh.vertices @ turn.as_matrix().T + rng.uniform(-3, 3, 3)
        trimesh.Trimesh(vertices, mesh.faces, process=False).export(folder / f"{number:02}.stl")
    return embed_files(folder, model, up="z", batch_size=16, workers=1, progress=False, **given).features


def farthest(rows: Any) -> float:
    """The largest distance of two rows, as a share of their length."""
    rows = rows.astype(np.float64)
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    return float(apart.max() / np.linalg.norm(rows, axis=1).mean())


@pytest.mark.parametrize(("shape", "share"), [("bracket", 0.01), ("cube", 0.3), ("disc", 0.3), ("tube", 0.3)])
def test_any_rotation_gives_the_same_features(model: Any, tmp_path: Path, shape: str, share: float) -> None:
    """Within a share of what they differ by as they stand; where axes are ambiguous, the share is larger."""
    turns = [Rotation.identity(), *Rotation.random(5, rng=np.random.default_rng(1))]
    mesh = SHAPES[shape]()
    wild = farthest(features(model, tmp_path / "upright", mesh, turns))
    tame = farthest(features(model, tmp_path / "any", mesh, turns, pose="any"))
    assert tame < share * wild


@pytest.mark.parametrize(("shape", "share"), [("bracket", 0.01), ("disc", 0.05)])
def test_a_turn_about_up_gives_the_same_features(
    model: Any, tmp_path: Path, shape: str, share: float
) -> None:
    turns = [Rotation.from_euler("z", angle) for angle in (0.0, 0.3, 1.1, 2.0, 4.4)]
    mesh = SHAPES[shape]()
    mesh.apply_transform(trimesh.transformations.rotation_matrix(0.4, (1, 0, 0)))
    wild = farthest(features(model, tmp_path / "upright", mesh, turns))
    tame = farthest(features(model, tmp_path / "turned", mesh, turns, pose="turned"))
    assert tame < share * wild


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Meshes of 4 and 24 poses, a cloud, and two files that cannot be read."""
    home = tmp_path_factory.mktemp("meshes")
    for number, shape in enumerate(SHAPES.values()):
        shape().export(home / f"{number}.stl")
    np.save(home / "8.npy", np.random.default_rng(0).normal(size=(1500, 3)) * (1, 2, 3))
    (home / "1b.stl").write_bytes(b"")
    (home / "9.off").write_text("a poem")
    return home


@pytest.mark.parametrize("pose", ["turned", "any"])
@pytest.mark.parametrize("up", ["y", "z", "-x"])
def test_a_row_is_the_mean_over_the_poses(model: Any, folder: Path, pose: Any, up: str) -> None:
    """Against the model, a pose at a time, with points that were turned before anything else."""
    table = embed_files(folder, model, seed=5, up=up, pose=pose, batch_size=BATCH, workers=1, progress=False)
    assert [Path(path).name for path in table.paths] == ["0.stl", "1.stl", "2.stl", "3.stl", "8.npy"]
    assert [Path(path).name for path, _ in table.failures] == ["1b.stl", "9.off"]
    for path, row in zip(table.paths, table.features, strict=True):
        points, moments, _ = read_points_and_size(path, 1024, seed=5)
        upright = turn_up(np.eye(3), up, "y").T
        found = rotations(upright @ moments @ upright.T, pose, "y")
        alone = [
            model.embed(model.config.preprocess(points @ (turn @ upright).T)[None])[0].numpy()
            for turn in found
        ]
        np.testing.assert_allclose(row, np.mean(alone, axis=0), atol=2e-4)


def test_batches_are_full_and_rows_do_not_depend_on_their_neighbours(
    model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = model.forward

    def counted(points: Any, *given: Any) -> Any:
        seen.append(len(torch.unique(points, dim=0)))
        return forward(points, *given)

    monkeypatch.setattr(model, "forward", counted)
    given: dict[str, Any] = {"pose": "any", "batch_size": 7, "workers": 1, "progress": False}
    together = embed_files(folder, model, **given)
    poses = 4 + 24 + 4 + 4 + 4
    assert seen == [7] * (poses // 7) + [poses % 7]
    for path, row in zip(together.paths, together.features, strict=True):
        assert np.array_equal(embed_files(path, model, **given).features[0], row)


def test_a_run_that_stopped_between_two_poses_of_a_file_goes_on(
    model: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"pose": "any", "batch_size": BATCH, "workers": 1, "progress": False}
    embed_files(folder, model, out=tmp_path / "whole.npz", **given)
    forward, calls = model.forward, []

    def stopping(points: Any, *rest: Any) -> Any:
        calls.append(1)
        if len(calls) == 11:
            raise KeyboardInterrupt
        return forward(points, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(model, "forward", stopping)
        with pytest.raises(KeyboardInterrupt):
            embed_files(folder, model, out=tmp_path / "t.npz", **given)
    with pytest.raises(ValueError, match="pose: 'any', now 'turned'"):
        embed_files(folder, model, out=tmp_path / "t.npz", **{**given, "pose": "turned"})
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(model, "forward", lambda *rest: calls.append(1) or forward(*rest))
        embed_files(folder, model, out=tmp_path / "t.npz", **given)
    assert len(calls) == 4  # 12 poses of 40 are left: two files had their rows
    assert (tmp_path / "t.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_one_pose_without_features_fails_its_file_alone(
    model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = model.forward, []

    def broken(points: Any, *rest: Any) -> Any:
        calls.append(1)
        found = forward(points, *rest)
        if len(calls) == 2:
            found[0] = float("nan")  # the last pose of the first file
        return found

    monkeypatch.setattr(model, "forward", broken)
    table = embed_files(folder, model, pose="any", batch_size=BATCH, workers=1, progress=False)
    assert [Path(path).name for path in table.paths] == ["1.stl", "2.stl", "3.stl", "8.npy"]
    assert (str(folder / "0.stl"), "the network gives NaN or infinity for it") in table.failures


def test_readers_give_points_moments_and_size(folder: Path) -> None:
    files = [folder / "0.stl", folder / "8.npy"]
    with ReaderPool(1, timeout=600, memory_limit_gb=2) as pool:
        for file, reading in zip(files, pool.read(files, 100, 7), strict=True):
            points, moments, measures = read_points_and_size(file, 100, seed=7)
            assert np.array_equal(reading.points, points) and np.array_equal(reading.moments, moments)
            assert reading.measures == measures == measure(read_geometry(file))
            assert np.array_equal(points, read_points(file, 100, seed=7))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_a_query_is_posed_as_the_table_was(model: Any, folder: Path, tmp_path: Path, suffix: str) -> None:
    table = tmp_path / f"t{suffix}"
    embed_files(folder, model, pose="any", up="z", out=table, workers=1, progress=False)
    assert read_table(table).metadata["pose"] == "any"
    turned = bracket()
    turned.apply_transform(trimesh.transformations.random_rotation_matrix(np.array([0.1, 0.5, 0.9])))
    turned.export(tmp_path / "turned.stl")
    (found, score, _), *_ = similar(tmp_path / "turned.stl", table, model=model, pose="any")
    assert found == str(folder / "0.stl") and score > 0.999
    with pytest.raises(ValueError, match="pose: 'upright' given, but the table was made with 'any'"):
        similar(tmp_path / "turned.stl", table, model=model, pose="upright")
    with pytest.raises(ValueError, match="pose: upright, turned or any expected, got 'lying'"):
        similar(tmp_path / "turned.stl", table, model=model, pose="lying")  # type: ignore[arg-type]


def test_a_table_from_before_poses_is_upright(model: Any, folder: Path, tmp_path: Path) -> None:
    table = embed_files(folder, model, up="z", workers=1, progress=False)
    assert table.metadata.pop("pose") == "upright"
    write_table(tmp_path / "old.npz", table)
    twin = tmp_path / "twin.stl"
    twin.write_bytes((folder / "0.stl").read_bytes())
    (found, score, _), *_ = similar(twin, tmp_path / "old.npz", model=model)
    assert found == str(folder / "0.stl") and score > 1 - 1e-5
    with pytest.raises(ValueError, match="pose: 'any' given, but the table was made with 'upright'"):
        similar(twin, tmp_path / "old.npz", model=model, pose="any")


def test_a_table_that_says_nothing_takes_the_pose_that_is_given(
    model: Any, folder: Path, tmp_path: Path
) -> None:
    table = embed_files(folder, model, pose="any", workers=1, progress=False)
    bare = Embeddings(table.paths, table.features)
    twin = tmp_path / "twin.stl"
    twin.write_bytes((folder / "0.stl").read_bytes())
    posed, as_it_stands = (
        1
        - {hit.path: hit.similarity for hit in similar(twin, bare, model=model, up="y", pose=pose)}[
            str(folder / "0.stl")
        ]
        for pose in ("any", None)
    )
    assert posed < 0.1 * as_it_stands


def test_the_command_line_takes_a_pose(folder: Path, tmp_path: Path, capsys: Any) -> None:
    given = ["embed", str(folder / "0.stl"), "--out", str(tmp_path / "t.npz"), "--workers", "1"]
    assert main([*given, "--pose", "any"]) == 0
    assert read_table(tmp_path / "t.npz").metadata["pose"] == "any"
    assert main([*given, "--pose", "lying"]) == 2
    assert "pose" in capsys.readouterr().err
    parts = ["predict", str(folder), "--parts-out", str(tmp_path / "parts"), "--pose", "any"]
    assert main(parts) == 2
    assert "--pose: is for a classifier" in capsys.readouterr().err
