"""The ops on a GPU: against torch loops, against what the device needs at least, and against the CPU."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import plain
from benchmarks.gpu_rows import Bench, DeviceRow, floor_of
from benchmarks.rows import clouds, same
from pointmae_zoo import ops

_FLOAT, _INDEX = 4, 8  # bytes


def equal_share(ours: Tensor, theirs: Tensor) -> str:
    """How many entries are equal, as a note: what a plain formulation rounds otherwise is not an error."""
    share = float((ours.cpu() == theirs.cpu()).double().mean())
    return "identical to plain" if share == 1.0 else f"{100 * share:.2f} % as plain"


def sampling(bench: Bench, *, batch: int = 128, points: int = 2048, samples: int = 512) -> DeviceRow:
    """Farthest point sampling: a chain of so many steps, whatever the device."""
    given = clouds(batch, points)
    here = given.to(bench.device)
    found = ops.farthest_point_sample(here, samples)
    same(found.cpu(), ops.farthest_point_sample(given, samples), 0)
    ours, theirs = bench.times(
        lambda: ops.farthest_point_sample(here, samples), lambda: plain.farthest_point_sample(here, samples)
    )
    floor, by = floor_of(
        bench.floors,
        bytes_moved=batch * (points * 3 * _FLOAT + samples * _INDEX),
        operations=batch * samples * points * 10.0,
        chain=samples - 1,
    )
    note = f"identical to the CPU, {equal_share(found, plain.farthest_point_sample(here, samples))}"
    name = f"farthest points, {batch} x {points:,} -> {samples:,}"
    return DeviceRow(name, ours, theirs, floor, by, 3.0, "floor", note)


def nearest(
    bench: Bench, *, batch: int = 128, points: int = 2048, queries: int = 512, k: int = 16
) -> DeviceRow:
    """k nearest neighbours; the smallest possible work: all distances, and no table of them in memory."""
    given = clouds(batch, points)
    here = given.to(bench.device)
    query = here[:, :queries]
    found = ops.knn(query, here, k)
    same(found.cpu(), ops.knn(given[:, :queries], given, k), 0)
    ours, theirs = bench.times(lambda: ops.knn(query, here, k), lambda: plain.knn(query, here, k))
    floor, by = floor_of(
        bench.floors,
        bytes_moved=batch * ((points + queries) * 3 * _FLOAT + queries * k * _INDEX),
        operations=batch * queries * points * 8.0,
    )
    note = f"identical to the CPU, {equal_share(found, plain.knn(query, here, k))}"
    return DeviceRow(f"{k} nearest, {batch} x {queries:,} of {points:,}", ours, theirs, floor, by, note=note)


def interpolation(
    bench: Bench, *, batch: int = 128, points: int = 512, sources: int = 256, channels: int = 192
) -> DeviceRow:
    """Features carried from the three nearest."""
    given = clouds(batch, points)
    features = torch.randn(batch, sources, channels, generator=torch.Generator().manual_seed(1))
    here, carried = given.to(bench.device), features.to(bench.device)
    source = here[:, :sources]
    note = same(
        ops.three_nn_interpolate(here, source, carried).cpu(),
        ops.three_nn_interpolate(given, given[:, :sources], features),
        1e-4,
    )
    ours, theirs = bench.times(
        lambda: ops.three_nn_interpolate(here, source, carried),
        lambda: plain.three_nn_interpolate(here, source, carried),
    )
    floor, by = floor_of(
        bench.floors,
        bytes_moved=batch * _FLOAT * ((points + sources) * 3 + (points + sources) * channels),
        operations=batch * points * (sources * 8.0 + channels * 6.0),
    )
    name = f"3-NN interpolation, {batch} x {points:,} from {sources:,}, {channels} channels"
    return DeviceRow(name, ours, theirs, floor, by, note=f"{note} to the CPU")


def chamfer(bench: Bench, *, patches: int = 24576, size: int = 16) -> DeviceRow:
    """Chamfer distance and its gradient."""
    target = clouds(patches, size)
    guess = target + 0.1 * clouds(patches, size, seed=1)
    there, here = target.to(bench.device), guess.to(bench.device).requires_grad_()
    guess.requires_grad_()

    def run(distance: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
        return torch.autograd.grad(distance(a, b), a)[0]

    note = same(
        patches * run(ops.chamfer_distance, here, there).cpu(),
        patches * run(ops.chamfer_distance, guess, target),
        1e-3,
    )
    ours, theirs = bench.times(
        lambda: run(ops.chamfer_distance, here, there), lambda: run(plain.chamfer_distance, here, there)
    )
    floor, by = floor_of(
        bench.floors,
        bytes_moved=patches * size * 3 * _FLOAT * 5.0,  # both read twice, the gradient written
        operations=patches * size * size * 8.0,
    )
    name = f"Chamfer and gradient, {patches:,} patches of {size}"
    return DeviceRow(name, ours, theirs, floor, by, note=f"gradient: {note} to the CPU")


def summed_images(bench: Bench, *, batch: int = 128, points: int = 2048, size: int = 224) -> DeviceRow:
    """The paper's depth images."""
    given = clouds(batch, points)
    here = given.to(bench.device)

    def ours() -> Tensor:
        return ops.summed_depth_images(here, size=size).images

    note = same(ours().cpu(), ops.summed_depth_images(given, size=size).images, 1e-4)
    times = bench.times(ours, lambda: plain.summed_depth_images(here, size))
    floor, by = floor_of(
        bench.floors,
        bytes_moved=batch * 3 * _FLOAT * (size * size + points * 3),
        operations=batch * 3 * points * 50.0,
    )
    name = f"summed depth images, {batch} x 3 views of {size}"
    return DeviceRow(name, *times, floor, by, note=f"{note} to the CPU")


def zbuffer_images(
    bench: Bench, *, batch: int = 128, points: int = 1024, views: int = 6, size: int = 112
) -> DeviceRow:
    """Depth images in which the nearest surface wins; there is no plain formulation of them."""
    here = clouds(batch, points).to(bench.device)
    rotations = ops.view_rotations(views, bench.device)
    found = ops.zbuffer_depth_images(here, rotations, size=size).images
    expected = ops.zbuffer_depth_images(here.cpu(), rotations.cpu(), size=size).images
    # A point on the edge of two pixels may fall on the other one.
    share = float(((found.cpu() - expected).abs() < 1e-4).double().mean())
    if share < 0.999:
        raise AssertionError(f"only {100 * share:.2f} % of the pixels are the CPU's")
    times = bench.times(lambda: ops.zbuffer_depth_images(here, rotations, size=size))
    floor, by = floor_of(
        bench.floors,
        bytes_moved=batch * views * _FLOAT * (size * size + points * 3),
        operations=batch * views * points * 30.0,
    )
    name = f"z-buffered depth images, {batch} x {views} views of {size}"
    note = f"{100 * share:.2f} % of the pixels are the CPU's"
    return DeviceRow(name, times[0], None, floor, by, note=note)


OPS: dict[str, Callable[[Bench], DeviceRow]] = {
    "fps": sampling,
    "knn": nearest,
    "three-nn": interpolation,
    "chamfer": chamfer,
    "summed": summed_images,
    "zbuffer": zbuffer_images,
}
