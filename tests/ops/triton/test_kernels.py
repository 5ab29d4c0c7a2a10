"""Triton's kernels, run by its interpreter on a CPU, against float64 brute force and the other paths."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from pointmae_zoo import ops
from samples import interpreter
from samples.interpreter import Run

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed: its kernels are not tested"
)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with interpreter.interpreter() as run:
        yield run


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((*shape, 3)).astype(np.float32)


def grid(seed: int, *shape: int) -> np.ndarray:
    """Small integers: nearly every distance is tied, many points are duplicates, float32 is exact."""
    return np.random.default_rng(seed).integers(0, 3, (*shape, 3)).astype(np.float32)


CLOUDS = {
    "plain": normal(0, 2, 37),
    "grid": grid(1, 2, 70),
    "a power of two": grid(2, 1, 32),
    "duplicates": np.tile(normal(3, 2, 5), (1, 7, 1)),
    "all equal": np.full((2, 11, 3), 0.5, np.float32),
    "one point": normal(4, 3, 1),
    "at the origin": np.concatenate([np.zeros((1, 6, 3), np.float32), normal(5, 1, 10)], axis=1),
    "all at the origin": np.full((1, 5, 3), 0.01, np.float32),
    "huge": grid(6, 1, 20) * np.float32(2.0**14),
    # Squared distances down to the smallest floats there are.
    "tiny": grid(7, 1, 20) * np.float32(2.0**-72),
}


def farthest(points: np.ndarray, count: int, skip: bool) -> list[int]:
    points = points.astype(np.float64)
    nearest = np.where(skip & ((points**2).sum(1) <= np.float32(1e-3)), -1.0, 1e10)
    picked = [0]
    while len(picked) < count:
        nearest = np.minimum(nearest, ((points - points[picked[-1]]) ** 2).sum(1))
        picked.append(int(nearest.argmax()))
    return picked


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("name", CLOUDS)
def test_farthest_points(run: Run, name: str, skip: bool) -> None:
    cloud = CLOUDS[name]
    picked = run(interpreter.sample, cloud, 14, skip)
    assert picked.dtype == np.int64
    assert picked.tolist() == [farthest(points, 14, skip) for points in cloud]


def test_farthest_points_of_more_than_registers_hold(run: Run) -> None:
    """Above 8,192 points a program reads the coordinates again in each step."""
    cloud = normal(8, 1, 8200)
    expected = ops.farthest_point_sample(torch.from_numpy(cloud), 9)
    assert run(interpreter.sample, cloud, 9, False).tolist() == expected.tolist()


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("name", CLOUDS)
def test_neighbors(run: Run, name: str, k: int) -> None:
    points = CLOUDS[name]
    query = np.concatenate([points[:, :2], points[:, :1] + np.float32(0.25)], axis=1)
    distance = ((query[:, :, None].astype(np.float64) - points[:, None].astype(np.float64)) ** 2).sum(-1)
    expected = distance.argsort(axis=-1, kind="stable")[..., :k]
    # Where there are fewer points, the nearest fills the rest.
    expected = np.concatenate([expected] + [expected[..., :1]] * (k - expected.shape[2]), axis=2)
    found = run(interpreter.nearest, query, points, k)
    assert found.dtype == np.int64
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize(("k", "count"), [(64, 300), (33, 520), (64, 64)])
def test_many_neighbors_of_several_tiles(run: Run, k: int, count: int) -> None:
    """Tiles hold 256 points; ties cross their borders. Falling distances, too: all of each tile is taken."""
    ties = grid(9, 1, count)
    falling = np.zeros((1, count, 3), np.float32)
    falling[0, :, 0] = np.arange(count, 0, -1)
    for points in (ties, falling):
        query = points[:, :1] * 0
        expected = ((points[0].astype(np.float64)) ** 2).sum(-1).argsort(kind="stable")[:k]
        assert run(interpreter.nearest, query, points, k)[0, 0].tolist() == expected.tolist()


def test_neighbors_of_what_is_not_finite_are_points(run: Run) -> None:
    """An index out of range would be an illegal access on a GPU; what is not a number comes last."""
    points = normal(10, 1, 6)
    points[0, 1] = np.nan
    points[0, 2] = np.inf
    found = run(interpreter.nearest, np.zeros((1, 1, 3), np.float32), points, 6)[0, 0]
    assert sorted(found) == list(range(6)) and found[4:].tolist() == [2, 1]


@pytest.mark.parametrize("shape", [(3, 6, 4), (1, 1, 1), (2, 16, 16), (2, 33, 20), (1, 64, 64), (1, 1, 256)])
def test_chamfer_and_its_gradient(run: Run, shape: tuple[int, int, int]) -> None:
    batch, rows, columns = shape
    prediction, target = normal(11, batch, rows), normal(12, batch, columns)
    loss, *gradients = run(interpreter.chamfer, prediction, target)
    expected, *slopes = brute_force(prediction, target, np.ones(batch, bool))
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    for gradient, slope in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-6)


def brute_force(
    prediction: np.ndarray, target: np.ndarray, valid: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """The Chamfer distance and its gradients in float64, by autograd through all pairs."""
    a, b = (torch.from_numpy(x).double().requires_grad_() for x in (prediction, target))
    distance = (a.unsqueeze(2) - b.unsqueeze(1)).square().sum(-1)
    # gather, as the gradient of amin would be shared among ties
    to_b, to_a = (distance.argmin(axis, keepdim=True) for axis in (2, 1))
    each = distance.gather(2, to_b).mean((1, 2)) + distance.gather(1, to_a).mean((1, 2))
    loss = each[torch.from_numpy(valid)].mean()
    loss.backward()
    assert a.grad is not None and b.grad is not None
    return loss.item(), a.grad.numpy(), b.grad.numpy()


@pytest.mark.parametrize("kind", [grid, lambda seed, *shape: np.full((*shape, 3), 0.25, np.float32)])
def test_chamfer_of_ties(run: Run, kind: Callable[..., np.ndarray]) -> None:
    """The lowest index wins on both ways, and equal points have a gradient of zero."""
    prediction, target = kind(13, 2, 9), kind(14, 2, 12)
    loss, *gradients = run(interpreter.chamfer, prediction, target)
    a, b = (torch.from_numpy(x).requires_grad_() for x in (prediction, target))
    expected = ops.chamfer_distance(a, b)
    expected.backward()
    assert float(loss) == pytest.approx(expected.item(), rel=1e-6)
    for gradient, tensor in zip(gradients, (a, b), strict=True):
        assert tensor.grad is not None
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-6, atol=1e-7)


def test_chamfer_of_valid_pairs_only(run: Run) -> None:
    prediction, target, valid = normal(15, 4, 8), normal(16, 4, 8), np.array([True, False, True, False])
    loss, *gradients = run(interpreter.chamfer, prediction, target, valid)
    expected, *slopes = brute_force(prediction, target, valid)
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    for gradient, slope in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-6)
        assert not gradient[~valid].any()
    assert float(run(interpreter.chamfer, prediction, target, valid & False)[0]) == 0


def test_chamfer_of_halves_is_compared_in_float32(run: Run) -> None:
    prediction, target = normal(17, 2, 16) + 100, normal(18, 2, 16) + 100
    rounded = [torch.from_numpy(x).bfloat16().float().numpy() for x in (prediction, target)]
    loss, *_ = run(interpreter.chamfer, prediction, target, None, "bfloat16")
    assert float(loss) == pytest.approx(brute_force(*rounded, np.ones(2, bool))[0], rel=1e-6)
    halves = [torch.from_numpy(x).bfloat16() for x in (prediction, target)]
    assert float(loss) == pytest.approx(float(ops.chamfer_distance(*halves)), rel=1e-6)


def test_what_is_not_a_number_reaches_the_loss(run: Run) -> None:
    prediction = normal(19, 1, 4)
    prediction[0, 2, 1] = np.nan
    assert np.isnan(run(interpreter.chamfer, prediction, normal(20, 1, 4))[0])


def test_operators_pass_torchs_checks(run: Run) -> None:
    run(interpreter.checks_of_operators)


def test_operations_compile_without_a_break(run: Run) -> None:
    assert run(interpreter.compiled_whole)


def test_a_cpu_never_imports_triton() -> None:
    code = (
        "import sys, torch, pointmae_zoo\n"
        "from pointmae_zoo import ops\n"
        "before = 'triton' in sys.modules\n"
        "cloud = torch.rand(1, 9, 3)\n"
        "ops.farthest_point_sample(cloud, 3), ops.knn(cloud, cloud, 3), ops.chamfer_distance(cloud, cloud)\n"
        "assert before == ('triton' in sys.modules)\n"
        "assert 'pointmae_zoo.ops.triton.operators' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
