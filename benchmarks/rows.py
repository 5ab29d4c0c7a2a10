"""The measurements. Each function checks that both sides agree, then times them in turns."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import plain
from benchmarks.timing import Row, interleaved_medians
from pointmae_zoo import ops
from pointmae_zoo.models.encoder import EncoderConfig, PointEncoder
from pointmae_zoo.ops.cpu import numba_operators


@contextlib.contextmanager
def numba(used: bool) -> Iterator[None]:
    """The package with or without its optional loops, whatever is installed."""
    before = os.environ.get("POINTMAE_ZOO_NUMBA")
    os.environ["POINTMAE_ZOO_NUMBA"] = "1" if used else "0"
    numba_operators.available.cache_clear()
    try:
        if used and not numba_operators.available():
            raise RuntimeError("numba is not installed; make bench installs it")
        yield
    finally:
        if before is None:
            del os.environ["POINTMAE_ZOO_NUMBA"]
        else:
            os.environ["POINTMAE_ZOO_NUMBA"] = before
        numba_operators.available.cache_clear()


def clouds(batch: int, count: int, seed: int = 0) -> Tensor:
    """Random points in the unit ball, (batch, count, 3)."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(batch, count, 3, generator=generator), dim=-1)
    return direction * torch.rand(batch, count, 1, generator=generator) ** (1 / 3)


def same(ours: Tensor, theirs: Tensor, tolerance: float) -> str:
    """The largest difference, as a note; an error where it is above the tolerance."""
    difference = float((ours.double() - theirs.double()).abs().max())
    if not difference <= tolerance:
        raise AssertionError(f"the two sides differ by {difference:.2e}, more than {tolerance:.0e}")
    return f"largest difference {difference:.0e}" if difference else "identical"


def _base_encoders() -> tuple[PointEncoder, plain.Encoder]:
    """The package's base encoder and the plain one: same random weights, BatchNorms that do something."""
    torch.manual_seed(0)
    ours = PointEncoder(EncoderConfig()).eval()
    for module in ours.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    theirs = plain.Encoder().eval()
    theirs.load_from(ours.state_dict())
    return ours, theirs


@torch.inference_mode()
def encoder_float32(seconds: float) -> Row:
    ours, theirs = _base_encoders()
    points = clouds(8, 2048)
    note = same(ours.forward_features(points).features[-1], theirs(points), 1e-5)
    times = interleaved_medians(lambda: ours.forward_features(points), lambda: theirs(points), seconds)
    return Row("base encoder, 8 x 2,048, float32", *times, target=3.0, note=note)


@torch.inference_mode()
def encoder_bfloat16(seconds: float) -> Row:
    ours, theirs = _base_encoders()
    ours = ours.to(torch.bfloat16)
    points = clouds(8, 2048)
    half, full = ours.forward_features(points).features[-1].amax(1).float(), theirs(points).amax(1)
    cosine = float(torch.nn.functional.cosine_similarity(half, full).min())
    if cosine < 0.99:
        raise AssertionError(f"bfloat16 features are off: cosine {cosine:.4f} with float32")
    times = interleaved_medians(lambda: ours.forward_features(points), lambda: theirs(points), seconds)
    note = f"ours bfloat16, plain float32; cosine of the features {cosine:.4f}"
    return Row("base encoder, 8 x 2,048, bfloat16", *times, target=3.0, note=note, precision="bfloat16")


def _sampling(used: bool, target: float, seconds: float) -> Row:
    points = clouds(8, 2048)
    with numba(used):
        note = same(ops.farthest_point_sample(points, 512), plain.farthest_point_sample(points, 512), 0)
        times = interleaved_medians(
            lambda: ops.farthest_point_sample(points, 512),
            lambda: plain.farthest_point_sample(points, 512),
            seconds,
        )
    return Row(f"farthest points, 8 x 2,048 -> 512, {_extra(used)}", *times, target=target, note=note)


def sampling_torch(seconds: float) -> Row:
    return _sampling(False, 4.0, seconds)


def sampling_numba(seconds: float) -> Row:
    return _sampling(True, 40.0, seconds)


def _neighbors(used: bool, seconds: float) -> Row:
    points = clouds(8, 2048)
    query = points[:, :512]
    with numba(used):
        note = same(ops.knn(query, points, 16), plain.knn(query, points, 16), 0)
        times = interleaved_medians(
            lambda: ops.knn(query, points, 16), lambda: plain.knn(query, points, 16), seconds
        )
    return Row(f"16 nearest, 8 x 512 of 2,048, {_extra(used)}", *times, target=None, note=note)


def neighbors_torch(seconds: float) -> Row:
    return _neighbors(False, seconds)


def neighbors_numba(seconds: float) -> Row:
    return _neighbors(True, seconds)


def depth_images(seconds: float) -> Row:
    points = clouds(8, 2048)

    def ours() -> Tensor:  # one channel is computed; the other two are views of it
        return ops.summed_depth_images(points).images.unsqueeze(2).expand(-1, -1, 3, -1, -1)

    note = same(ours(), plain.summed_depth_images(points)[0], 1e-5)
    times = interleaved_medians(ours, lambda: plain.summed_depth_images(points), seconds)
    return Row("depth images, 8 x 3 views of 224 x 224", *times, target=10.0, note=note)


def chamfer(seconds: float) -> Row:
    target = clouds(2048, 16)
    guess = (target + 0.1 * clouds(2048, 16, seed=1)).requires_grad_()

    def run(distance: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return torch.autograd.grad(distance(guess, target), guess)[0]

    note = same(run(ops.chamfer_distance), run(plain.chamfer_distance), 1e-6)
    times = interleaved_medians(
        lambda: run(ops.chamfer_distance), lambda: run(plain.chamfer_distance), seconds
    )
    return Row("Chamfer and gradient, 2,048 patches of 16", *times, target=None, note=note)


def mesh_off(seconds: float) -> Row:
    return _mesh(".off", seconds)


def mesh_stl(seconds: float) -> Row:
    return _mesh(".stl", seconds)


def _mesh(suffix: str, seconds: float) -> Row:
    import trimesh

    from pointmae_zoo.shapes.read import read_points

    vertices, faces = _bumpy_torus(rows=250, columns=200)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"torus{suffix}"
        trimesh.Trimesh(vertices, faces, process=False).export(path)

        def plainly() -> np.ndarray:
            mesh = trimesh.load(path, force="mesh")
            return np.asarray(trimesh.sample.sample_surface(mesh, 8192, seed=0)[0], dtype=np.float32)

        ours, theirs = read_points(path, 8192, seed=0), plainly()
        # Two random samples of one surface, so they differ, but nowhere by more than their spacing allows.
        away = max(_farthest_nearest(ours, theirs), _farthest_nearest(theirs, ours))
        if away > 0.1:
            raise AssertionError(f"the two samples lie up to {away:.3f} apart on a torus of radius 1")
        times = interleaved_medians(lambda: read_points(path, 8192, seed=0), plainly, seconds)
    note = f"{len(faces):,} faces -> 8,192 points; samples within {away:.2f} of each other"
    return Row(f"mesh to points, {suffix[1:].upper()}", *times, target=8.0, note=note)


def _bumpy_torus(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """A closed surface with 2 * rows * columns faces of uneven size."""
    u, v = np.meshgrid(
        np.linspace(0, 2 * np.pi, rows, endpoint=False),
        np.linspace(0, 2 * np.pi, columns, endpoint=False),
        indexing="ij",
    )
    tube = 0.35 + 0.03 * np.sin(7 * u) * np.cos(5 * v)
    ring = 1 + tube * np.cos(v)
    vertices = np.stack([ring * np.cos(u), tube * np.sin(v), ring * np.sin(u)], axis=-1).reshape(-1, 3)
    number = np.arange(rows * columns).reshape(rows, columns)
    right, down = np.roll(number, -1, axis=1), np.roll(number, -1, axis=0)
    corner = np.roll(right, -1, axis=0)
    faces = np.concatenate(
        [
            np.stack([number, down, right], -1).reshape(-1, 3),
            np.stack([right, down, corner], -1).reshape(-1, 3),
        ]
    )
    return vertices, faces


def _farthest_nearest(a: np.ndarray, b: np.ndarray) -> float:
    return float(torch.cdist(torch.from_numpy(a), torch.from_numpy(b)).amin(1).max())


def _extra(used: bool) -> str:
    return "with extra 'fast'" if used else "no extras"


def embedding_files(seconds: float) -> Row:
    """Nothing to compare with: the whole way from files to features, start of the workers included."""
    from pointmae_zoo import embed_files, from_pretrained

    meshes = Path(__file__).resolve().parent.parent / "examples" / "meshes"
    model = from_pretrained("i2p_mae_tiny.shapes")
    with tempfile.TemporaryDirectory() as folder:
        for copy in range(20):
            shutil.copytree(meshes, Path(folder) / str(copy))
        files = 20 * len(embed_files([meshes], model, progress=False).paths)
        ours, _ = interleaved_medians(
            lambda: embed_files([folder], model, progress=False), lambda: None, seconds, fewest=3
        )
    note = f"{files / ours:.0f} files/s; {files} files, workers started and ended each time"
    return Row("embed, per mesh file", ours / files, None, None, note)


def seconds_of_a_cloud(name: str, seconds: float) -> float:
    """Seconds for the features of one cloud, in batches of 16."""
    from pointmae_zoo import from_pretrained

    model = from_pretrained(name, kind="encoder")
    points = clouds(16, model.config.preprocess.num_points)
    ours, _ = interleaved_medians(lambda: model.embed(points), lambda: None, seconds)
    return ours / 16


def embedding_clouds(seconds: float) -> Row:
    """Nothing to compare with: seconds per cloud of the small model."""
    ours = seconds_of_a_cloud("i2p_mae_tiny.shapes", seconds)
    note = f"{1 / ours:.0f} clouds/s, batches of 16"
    return Row("i2p_mae_tiny, per cloud of 1,024", ours, None, None, note)


ROWS: dict[str, Callable[[float], Row]] = {
    "encoder": encoder_float32,
    "encoder-bfloat16": encoder_bfloat16,
    "fps": sampling_torch,
    "fps-numba": sampling_numba,
    "knn": neighbors_torch,
    "knn-numba": neighbors_numba,
    "depth": depth_images,
    "chamfer": chamfer,
    "off": mesh_off,
    "stl": mesh_stl,
    "embed-files": embedding_files,
    "embed-clouds": embedding_clouds,
}
