"""Point operations against float64 brute force, on what breaks fast code: ties, duplicates, too few."""

import importlib.util
import itertools
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pointmae_zoo import ops
from pointmae_zoo.ops import neighbors, sampling
from pointmae_zoo.ops.cpu import numba_operators

Sampler = Callable[[Tensor, int, bool], Tensor]


def grid_cloud(seed: int, count: int, side: int = 4) -> Tensor:
    """Points on a small integer grid: nearly every distance is tied, most points are duplicates."""
    return torch.randint(0, side, (2, count, 3), generator=torch.Generator().manual_seed(seed)).float()


def random_cloud(seed: int, count: int) -> Tensor:
    return torch.randn(2, count, 3, generator=torch.Generator().manual_seed(seed))


CLOUDS = {
    "random": random_cloud(0, 97),
    "grid": grid_cloud(1, 80),
    "duplicates": random_cloud(2, 5).repeat(1, 9, 1),
    "all equal": torch.full((2, 12, 3), 0.5),
    "one point": random_cloud(3, 1),
    "at the origin": torch.cat([torch.zeros(2, 6, 3), random_cloud(4, 10)], dim=1),
}


def samplers() -> list[object]:
    fast = pytest.mark.skipif(not numba_operators.available(), reason="numba is not installed")
    return [
        pytest.param(sampling._sample_torch, id="torch"),
        pytest.param(sampling._sample_numpy, id="numpy"),
        pytest.param(numba_operators.farthest_point_sample, id="numba", marks=fast),
    ]


def searches() -> list[object]:
    fast = pytest.mark.skipif(not numba_operators.available(), reason="numba is not installed")
    return [
        pytest.param(neighbors._knn_torch, id="torch"),
        pytest.param(numba_operators.knn, id="numba", marks=fast),
    ]


def brute_force_sample(points: np.ndarray, count: int, skip: bool) -> list[int]:
    allowed = [not skip or float(p @ p) > 1e-3 for p in points]
    picked = [0]
    while len(picked) < count:
        best, far = 0, -1.0
        for i, p in enumerate(points):
            nearest = min(float(((p - points[j]) ** 2).sum()) for j in picked)
            if allowed[i] and nearest > far:
                best, far = i, nearest
        picked.append(best)
    return picked


@pytest.mark.parametrize("sample", samplers())
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("name", CLOUDS)
def test_farthest_points_by_brute_force(sample: Sampler, skip: bool, name: str) -> None:
    cloud = CLOUDS[name]
    count = 30
    expected = [brute_force_sample(points.double().numpy(), count, skip) for points in cloud]
    assert sample(cloud, count, skip).tolist() == expected


@pytest.mark.parametrize("sample", [sampling._sample_torch, sampling._sample_numpy])
def test_doubles_are_compared_as_doubles(sample: Sampler) -> None:
    """The point with index 2 is the farther one by less than a float32 can tell."""
    cloud = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [-1 - 1e-10, 0, 0], [0, 0.9, 0]]], dtype=torch.float64)
    assert sample(cloud, 3, False).tolist() == [[0, 2, 1]]


def test_farthest_points_are_prefixes_of_each_other() -> None:
    cloud = random_cloud(5, 500)
    whole = ops.farthest_point_sample(cloud, 128)
    assert torch.equal(whole[:, :32], ops.farthest_point_sample(cloud, 32))
    again = ops.farthest_point_sample(ops.index_points(cloud, whole), 128)
    assert torch.equal(again, torch.arange(128).expand(2, -1))


def test_all_implementations_agree_bit_for_bit() -> None:
    if not numba_operators.available():
        pytest.skip("numba is not installed")
    cloud = random_cloud(6, 3000)
    fast = numba_operators.farthest_point_sample(cloud, 700, True)
    assert torch.equal(fast, sampling._sample_torch(cloud, 700, True))
    assert torch.equal(fast, sampling._sample_numpy(cloud, 700, True))
    centers = ops.index_points(cloud, fast)
    assert torch.equal(numba_operators.knn(centers, cloud, 16), neighbors._knn_torch(centers, cloud, 16))


@pytest.mark.parametrize("sample", samplers())
def test_the_lowest_index_wins_a_tie_however_far_apart(sample: Sampler) -> None:
    """A cube's corners, listed again and again: of 800 points, in pieces of any size, the first eight are
    picked."""
    corners = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))
    picked = sample(corners.repeat(1, 100, 1), 12, False)[0]
    assert picked[0] == 0 and picked[1] == 7 and sorted(picked[:8].tolist()) == list(range(8))
    assert picked[8:].tolist() == [0] * 4


@pytest.mark.parametrize("search", searches())
@pytest.mark.parametrize("name", CLOUDS)
def test_neighbors_by_brute_force(search: Callable[[Tensor, Tensor, int], Tensor], name: str) -> None:
    points = CLOUDS[name]
    query = torch.cat([points[:, ::3], points[:, :1] + 0.25], dim=1)
    k = min(9, points.shape[1])
    distance = ((query.double().unsqueeze(2) - points.double().unsqueeze(1)) ** 2).sum(-1)
    expected = [
        [sorted(range(len(row)), key=lambda i: (row[i], i))[:k] for row in d] for d in distance.tolist()
    ]
    assert search(query, points, k).tolist() == expected


def test_an_error_in_a_thread_is_not_lost() -> None:
    def work(piece: slice) -> None:
        if piece.start:
            raise MemoryError("in the second share")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(MemoryError, match="second share"):
            numba_operators._in_threads(work, 2)
    finally:
        torch.set_num_threads(before)


def test_threads_are_waited_for() -> None:
    first_is_done, done = threading.Event(), []

    def work(piece: slice) -> None:
        if piece.start:
            first_is_done.wait(10)
            time.sleep(0.05)
        done.append((piece.start, piece.stop))
        first_is_done.set()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        numba_operators._in_threads(work, 5)
    finally:
        torch.set_num_threads(before)
    assert done == [(0, 2), (2, 5)]


def test_numba_can_be_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = numba_operators.available.__wrapped__  # what the environment says now, not at the first call
    monkeypatch.setenv("POINTMAE_ZOO_NUMBA", "0")
    assert not asked()
    monkeypatch.delenv("POINTMAE_ZOO_NUMBA")
    monkeypatch.setattr(importlib.util, "find_spec", {"numba": object()}.get)
    assert asked()
    monkeypatch.setattr(importlib.util, "find_spec", {}.get)
    assert not asked()


def test_too_few_neighbors_repeat_the_nearest() -> None:
    points = random_cloud(7, 3)
    found = ops.knn(points, points, 5)
    assert found.shape == (2, 3, 5)
    for cloud, (own, *_) in itertools.product(found.tolist(), [(0,)]):
        for i, row in enumerate(cloud):
            assert row[own] == i and sorted(row[:3]) == [0, 1, 2] and row[3:] == [i, i]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_compared_exactly(dtype: torch.dtype) -> None:
    points = random_cloud(8, 64).to(dtype)
    distance = ((points.double().unsqueeze(2) - points.double().unsqueeze(1)) ** 2).sum(-1)
    assert torch.equal(ops.knn(points, points, 4), distance.argsort(dim=-1, stable=True)[..., :4])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.farthest_point_sample(torch.zeros(4, 3), 2), r"\(B, N, 3\)"),
        (lambda: ops.farthest_point_sample(torch.zeros(1, 0, 3), 2), "N >= 1"),
        (lambda: ops.farthest_point_sample(torch.zeros(1, 4, 3), 0), "num_samples"),
        (lambda: ops.knn(torch.zeros(1, 4, 3), torch.zeros(2, 4, 3), 2), r"\(2, 4, 3\)"),
        (lambda: ops.knn(torch.zeros(1, 4, 3), torch.zeros(1, 0, 3), 2), "N >= 1"),
        (lambda: ops.chamfer_distance(torch.zeros(0, 4, 3), torch.zeros(0, 4, 3)), "no points"),
        (lambda: ops.view_rotations(4), "3 or 6"),
        (lambda: ops.summed_depth_images(torch.rand(1, 4, 3), cover=4), "odd number"),
    ],
)
def test_wrong_input_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_interpolation_by_brute_force() -> None:
    query, source = random_cloud(9, 40), random_cloud(10, 12)
    features = torch.randn(2, 12, 5, generator=torch.Generator().manual_seed(0))
    out = ops.three_nn_interpolate(query, source, features)
    for b, n in itertools.product(range(2), range(40)):
        distance = ((query[b, n].double() - source[b].double()) ** 2).sum(-1)
        nearest = distance.argsort()[:3]
        weight = 1 / (distance[nearest] + 1e-8)
        expected = (weight / weight.sum()) @ features[b, nearest].double()
        torch.testing.assert_close(out[b, n].double(), expected, rtol=1e-4, atol=1e-5)
    at_sources = ops.three_nn_interpolate(source, source, features)
    torch.testing.assert_close(at_sources, features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_interpolation_from_fewer_than_three(count: int) -> None:
    source = random_cloud(11, count)
    features = torch.ones(2, count, 4)
    torch.testing.assert_close(
        ops.three_nn_interpolate(random_cloud(12, 7), source, features), torch.ones(2, 7, 4)
    )


def test_chamfer_and_its_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    prediction = torch.randn(3, 6, 3, dtype=torch.float64, generator=generator)
    target = torch.randn(3, 4, 3, dtype=torch.float64, generator=generator)
    expected = 0.0
    for a, b in zip(prediction, target, strict=True):
        distance = [[float(((p - q) ** 2).sum()) for q in b] for p in a]
        expected += sum(map(min, distance)) / 18 + sum(map(min, zip(*distance, strict=True))) / 12
    assert float(ops.chamfer_distance(prediction, target)) == pytest.approx(expected)
    assert torch.autograd.gradcheck(
        ops.chamfer_distance, (prediction.requires_grad_(), target.requires_grad_())
    )


def test_chamfer_of_equal_sets_has_a_finite_gradient() -> None:
    points = random_cloud(13, 8).requires_grad_()
    loss = ops.chamfer_distance(points, points.detach().clone())
    loss.backward()
    assert loss.item() == 0.0 and points.grad is not None and float(points.grad.abs().max()) == 0.0


def scattered_copies(points: np.ndarray, view: tuple[int, ...], size: int) -> np.ndarray:
    """The summed depth image, one copy of a point per covered pixel, in plain loops."""
    row, column, depth = (points[:, axis] for axis in view)
    plane = np.stack([row, column], 1)
    low, high = plane.min(0), plane.max(0)
    cell = np.float32((high - low).max()) / np.float32(size - 3)
    index = np.floor((plane - low) / cell).astype(int) + 1
    index += size // 2 - (index.max(0) + index.min(0)) // 2 - 1
    image = np.zeros((size, size))
    for (r, c), d in zip(index, depth, strict=True):
        for dr, dc in itertools.product(range(-2, 3), repeat=2):
            image[min(max(r + dr, 0), size - 1), min(max(c + dc, 0), size - 1)] += d
    return image


def test_summed_depth_images_equal_scattered_copies() -> None:
    cloud = random_cloud(14, 300)
    images = ops.summed_depth_images(cloud, size=48).images
    for b, (v, view) in itertools.product(range(2), enumerate(ops.AXIS_VIEWS)):
        expected = scattered_copies(cloud[b].numpy(), view, 48)
        np.testing.assert_allclose(images[b, v].numpy(), expected, atol=1e-4)


def test_reading_a_map_equals_upsampling_it() -> None:
    cloud = random_cloud(15, 200)
    views = ops.summed_depth_images(cloud, size=96)
    maps = torch.randn(2, 3, 7, 6, 6, generator=torch.Generator().manual_seed(2))
    big = F.interpolate(maps.flatten(0, 1), size=96, mode="bicubic", align_corners=False).view(
        2, 3, 7, 96, 96
    )
    read = ops.read_maps(maps, views.pixels)
    column, row = (((views.pixels + 1) * 96 - 1) / 2).round().long().unbind(-1)
    for b, v in itertools.product(range(2), range(3)):
        expected = big[b, v][:, row[b, v], column[b, v]].t()
        torch.testing.assert_close(read[b, :, v], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("count", [3, 6])
def test_view_rotations_are_rotations(count: int) -> None:
    rotations = ops.view_rotations(count).double()
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).double().expand(count, 3, 3))
    assert (torch.linalg.det(rotations) > 0.999).all()


def test_where_the_views_are_taken_from() -> None:
    """Right, up and towards the viewer: from the front, from the side and from above; then from corners."""
    x, y, z = torch.eye(3)
    expected = torch.stack([torch.stack(rows) for rows in ((x, y, z), (-z, y, x), (x, -z, y))])
    assert torch.equal(ops.view_rotations(3), expected) and torch.equal(ops.view_rotations(6)[:3], expected)
    corners = ops.view_rotations(6)[3:]
    assert bool((corners[:, 2].abs() > 0.3).all()) and bool((corners[:, 1, 1] > 0.5).all())
    assert corners[:, 2].sign().tolist() == [[1, 1, 1], [-1, 1, 1], [1, -1, -1]]


def test_the_nearest_surface_wins() -> None:
    """Front view: y is up, the viewer looks along -z; brightness is linear in depth from ``far`` to 1."""
    cloud = torch.tensor([[[-1.0, -1.0, 0.0], [1.0, 1.0, -1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.5]]])
    views = ops.zbuffer_depth_images(cloud, ops.view_rotations(3)[:1], size=33, cover=1, farthest=0.2)
    image = views.images[0, 0]
    assert float(image[0, 32]) == pytest.approx(1.0)  # up and right; the point behind it is hidden
    assert float(image[32, 0]) == pytest.approx(0.6)
    assert float(image[16, 16]) == pytest.approx(0.8)
    assert int((image > 0).sum()) == 3


def test_every_visible_point_is_read_back_at_its_pixel() -> None:
    cloud = random_cloud(16, 400)
    rotations = ops.view_rotations(6)
    views = ops.zbuffer_depth_images(cloud, rotations, size=64, cover=1, farthest=0.1)
    read = ops.read_maps(views.images.unsqueeze(2), views.pixels, mode="bilinear").squeeze(-1)  # (B, N, V)
    depth = torch.einsum("bnc,vc->bnv", cloud, rotations[:, 2])
    low, high = depth.amin(1, keepdim=True), depth.amax(1, keepdim=True)
    own = 0.1 + 0.9 * (depth - low) / (high - low)
    assert bool((read >= own - 1e-4).all())  # hidden points see what hides them
    assert float(((read - own).abs() < 1e-4).float().mean()) > 0.8
