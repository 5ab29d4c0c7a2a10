"""The operations on a GPU against the same on the CPU. Its kernels need no GPU in test_triton_*.py."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from pointmae_zoo import ops

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: nothing was run on one")


@contextmanager
def no_waiting() -> Iterator[None]:
    """Whatever waits for the GPU fails."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed))


def grid(seed: int, *shape: int) -> Tensor:
    """Small integers: ties and duplicates everywhere."""
    return torch.randint(0, 6, (*shape, 3), generator=torch.Generator().manual_seed(seed)).float()


CLOUDS = {
    "plain": normal(0, 4, 2048),
    "grid": grid(1, 4, 1000),
    "duplicates": normal(2, 2, 5).repeat(1, 40, 1),
    "all equal": torch.full((2, 300, 3), 0.5),
    "one point": normal(3, 3, 1),
    "at the origin": torch.cat([torch.zeros(2, 20, 3), normal(4, 2, 100)], dim=1),
    "tiny": grid(5, 1, 200) * 2.0**-72,
    "huge": grid(6, 1, 200) * 2.0**14,
    "many": normal(7, 2, 16_384),
    "not quite as many": normal(8, 2, 9_001),
}


@pytest.fixture
def kernels() -> None:
    """The kernels serve: without this check, the tests below would pass with torch's operators alone."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    from pointmae_zoo.ops.triton.kernels import USABLE

    assert USABLE


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("name", CLOUDS)
def test_farthest_points(name: str, skip: bool, kernels: None) -> None:
    cloud = CLOUDS[name]
    there = cloud.cuda()
    with no_waiting():
        picked = ops.farthest_point_sample(there, 130, skip_near_origin=skip)
    assert torch.equal(picked.cpu(), ops.farthest_point_sample(cloud, 130, skip_near_origin=skip))


@pytest.mark.parametrize("k", [1, 3, 32, 64])
@pytest.mark.parametrize("name", CLOUDS)
def test_neighbors(name: str, k: int, kernels: None) -> None:
    points = CLOUDS[name]
    query = torch.cat([points[:, ::29], points[:, :1] + 0.25], dim=1)
    there = query.cuda(), points.cuda()
    with no_waiting():
        found = ops.knn(*there, k)
    assert torch.equal(found.cpu(), ops.knn(query, points, k))


@pytest.mark.parametrize("shape", [(2000, 16, 16), (3, 1, 5), (100, 33, 20), (20, 64, 64), (5, 16, 256)])
@pytest.mark.parametrize("kind", [normal, grid])
def test_chamfer_and_its_gradient(
    shape: tuple[int, int, int], kind: Callable[..., Tensor], kernels: None
) -> None:
    batch, rows, columns = shape
    prediction, target = kind(9, batch, rows), kind(10, batch, columns)
    valid = torch.arange(batch) % 3 != 1

    def run(a: Tensor, b: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        loss = ops.chamfer_distance(a.requires_grad_(), b.requires_grad_(), valid)
        return loss.detach(), *torch.autograd.grad(loss, (a, b))

    there = prediction.cuda(), target.cuda(), valid.cuda()
    with no_waiting():
        results = run(*there)
    for result, expected in zip(results, run(prediction, target, valid), strict=True):
        torch.testing.assert_close(result.cpu(), expected, rtol=1e-6, atol=1e-6)


def test_chamfer_is_the_same_each_time(kernels: None) -> None:
    """No sum depends on which of a GPU's threads came first."""
    prediction, target = normal(11, 500, 64).cuda().requires_grad_(), grid(12, 500, 32).cuda()
    first, second = (
        torch.autograd.grad(ops.chamfer_distance(prediction, target), prediction)[0] for _ in range(2)
    )
    assert torch.equal(first, second)


def test_interpolation(kernels: None) -> None:
    query, source = normal(13, 2, 500), normal(14, 2, 64)
    features = torch.randn(2, 64, 8, generator=torch.Generator().manual_seed(0))
    there = query.cuda(), source.cuda(), features.cuda()
    with no_waiting():
        carried = ops.three_nn_interpolate(*there)
    torch.testing.assert_close(
        carried.cpu(), ops.three_nn_interpolate(query, source, features), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    cloud, guess = normal(15, 2, 200).to(dtype), normal(16, 2, 40).to(dtype)
    there, other = cloud.cuda(), guess.cuda()
    assert torch.equal(ops.farthest_point_sample(there, 50).cpu(), ops.farthest_point_sample(cloud, 50))
    assert torch.equal(ops.knn(other, there, 9).cpu(), ops.knn(guess, cloud, 9))
    with torch.autocast("cuda", torch.bfloat16):
        distance = ops.chamfer_distance(other, there)
    torch.testing.assert_close(distance.cpu(), ops.chamfer_distance(guess, cloud), rtol=1e-6, atol=1e-6)


def test_more_than_the_kernels_take() -> None:
    cloud = grid(17, 1, 17_000)
    there = cloud.cuda()
    assert torch.equal(ops.farthest_point_sample(there, 20).cpu(), ops.farthest_point_sample(cloud, 20))
    query = cloud[:, :10]
    assert torch.equal(ops.knn(query.cuda(), there, 65).cpu(), ops.knn(query, cloud, 65))
    distance = ops.chamfer_distance(there[:, :300], there[:, 300:700])
    torch.testing.assert_close(distance.cpu(), ops.chamfer_distance(cloud[:, :300], cloud[:, 300:700]))


def test_compiled_around_them(kernels: None) -> None:
    """`torch.compile` takes the operators as they are, without a break."""

    def work(points: Tensor, guess: Tensor) -> Tensor:
        centers = ops.index_points(points, ops.farthest_point_sample(points, 32))
        groups = ops.index_points(points, ops.knn(centers, points, 16))
        return ops.chamfer_distance(guess * 2, groups.flatten(0, 1))

    points, guess = normal(18, 2, 512).cuda(), normal(19, 64, 16).cuda().requires_grad_()
    plain = torch.autograd.grad(work(points, guess), guess)[0]
    compiled = torch.compile(work, fullgraph=True)
    torch.testing.assert_close(torch.autograd.grad(compiled(points, guess), guess)[0], plain)
