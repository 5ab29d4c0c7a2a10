"""Live and cached targets of the image teacher: against the teacher by hand, and what may befall a cache."""

import copy
import functools
import math
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pointmae_zoo.datasets.sources import CloudSource, InMemory
from pointmae_zoo.models.teacher.image_teacher import IMAGENET_MEAN, IMAGENET_STD, Teacher
from pointmae_zoo.ops import Rendering
from pointmae_zoo.train import target_cache
from pointmae_zoo.train.target_cache import cached_targets
from pointmae_zoo.train.teacher_targets import LiveTargets

pytest.importorskip("timm")

CLIP = "vit_base_patch16_clip_quickgelu_224"
CPU = torch.device("cpu")


class Source(CloudSource):
    """Clouds of random boxes; remembers what is read of them."""

    def __init__(self, count: int = 5, num_points: int = 64, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.points = rng.uniform(-0.5, 0.5, (count, num_points, 3)).astype(np.float32)
        self.points *= rng.uniform(0.3, 1, (count, 1, 3)).astype(np.float32)
        names = [f"box {number}" for number in range(count)]
        super().__init__(num_points, [InMemory(self.points)], names, [f"{seed:064x}"])
        self.read_rows: list[int] = []

    def read(self, indices: np.ndarray) -> np.ndarray:
        self.read_rows += [int(index) for index in indices]
        return super().read(indices)


def summed_by_hand(cloud: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The paper's three images (3, 224, 224) of one cloud (N, 3), point by point, and rows and columns
    (3, N, 2)."""
    images, places = np.zeros((3, 224, 224)), np.zeros((3, len(cloud), 2), int)
    for view, axes in enumerate([(0, 1, 2), (2, 0, 1), (1, 2, 0)]):
        turned = cloud[:, axes]
        low, high = turned[:, :2].min(0), turned[:, :2].max(0)
        cell = np.float32((high - low).max() / np.float32(221))
        index = np.floor((turned[:, :2] - low) / cell).astype(int) + 1
        index += 112 - 1 - (index.max(0) + index.min(0)) // 2
        for (row, column), depth in zip(index, turned[:, 2], strict=True):
            for down in range(-2, 3):
                for right in range(-2, 3):
                    at = [place + (place < 0) - (place > 223) for place in (row + down, column + right)]
                    images[view, at[0], at[1]] += depth
        places[view] = index.clip(0, 223)
    return images, places


def test_live_targets_of_the_paper_are_what_the_teacher_gives_by_hand() -> None:
    torch.manual_seed(0)
    teacher = Teacher(CLIP, weights="random", normalization="imagenet")
    live = LiveTargets(teacher, Rendering(projection="summed", views=3, size=224, cover=5))
    points = torch.from_numpy(Source(1, 200).points)
    seen = live.views(np.array([7]), torch.arange(200).expand(1, -1), points, points)

    assert [tuple(one.shape) for one in seen.maps] == [(1, 3, 512, 14, 14)]
    hands, places = zip(*(summed_by_hand(cloud) for cloud in points.numpy()), strict=True)
    rows_columns = torch.from_numpy(np.stack(places))
    torch.testing.assert_close(seen.pixels, (2 * rows_columns.flip(-1) + 1) / 224 - 1, rtol=0, atol=1e-6)
    pictures = (
        torch.from_numpy(np.stack(hands)).float().sigmoid().flatten(0, 1)[:, None].expand(-1, 3, -1, -1)
    )
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (IMAGENET_MEAN, IMAGENET_STD))
    network, rows = teacher.network, []
    attention = network.blocks[-1].attn
    attention.fused_attn = False
    hook = attention.attn_drop.register_forward_hook(lambda _m, inputs, _o: rows.append(inputs[0]))
    with torch.no_grad():
        tokens = network.head(network.forward_features((pictures - mean) / std)[:, 1:])
    hook.remove()
    expected = tokens.transpose(1, 2).reshape(1, 3, 512, 14, 14)
    torch.testing.assert_close(seen.maps[0], expected, rtol=1e-4, atol=1e-4)
    saliency = rows[0].mean(1)[:, 0, 1:].reshape(1, 3, 14, 14)
    assert seen.saliency is not None
    torch.testing.assert_close(seen.saliency, saliency, rtol=1e-4, atol=1e-8)


@functools.cache
def small(precision: Any = "float32", seed: int = 0) -> Teacher:
    torch.manual_seed(seed)
    return Teacher("mobilenetv2_035", weights="random", strides=(8, 16), precision=precision)


@pytest.mark.parametrize("projection", ["summed", "zbuffer"])
def test_live_targets_see_the_augmented_points_in_their_order(projection: Any) -> None:
    source, teacher = Source(3, 100), small()
    rendering = Rendering(projection=projection, views=3, size=64, cover=3)
    live = LiveTargets(teacher, rendering)
    points = torch.from_numpy(source.points)
    order = torch.randperm(100)
    chosen, indices = order.expand(3, -1), np.arange(3)
    seen = live.views(indices, chosen, points[:, order], points)
    images, pixels = rendering(points)
    torch.testing.assert_close(seen.pixels, pixels[:, :, order])
    for one, expected in zip(seen.maps, teacher(images).maps, strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-4)
    squeezed = live.views(indices, chosen, points[:, order] * torch.tensor([0.2, 1.0, 1.0]), points)
    assert not torch.equal(squeezed.maps[0], seen.maps[0])


def test_several_batches_of_images_give_what_one_gives() -> None:
    teacher, points = small(), torch.from_numpy(Source(5, 100).points)
    rendering = Rendering(views=3, size=64)
    whole, parts = (
        LiveTargets(teacher, rendering, images_at_once=most).views(
            np.arange(5), torch.arange(100), points, points
        )
        for most in (256, 7)
    )
    for one, other in zip([*whole.maps, whole.saliency], [*parts.maps, parts.saliency], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_live_targets_carry_no_gradient_and_ignore_the_precision_around_them() -> None:
    teacher, points = small(), torch.from_numpy(Source(2, 100).points).requires_grad_()
    live = LiveTargets(teacher, Rendering(views=3, size=64))
    alone = live.views(np.arange(2), torch.arange(100), points, points)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        amid = live.views(np.arange(2), torch.arange(100), points, points)
    for one, other in zip([*alone.maps, alone.pixels], [*amid.maps, amid.pixels], strict=True):
        assert not one.requires_grad and one.dtype == torch.float32
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "rendering", [Rendering(views=6, size=64), Rendering("summed", views=3, size=64, cover=5)]
)
def test_cached_targets_equal_live_ones_where_nothing_is_augmented(
    rendering: Rendering, tmp_path: Path
) -> None:
    source, teacher = Source(5, 100), small()
    cached = cached_targets(
        source, teacher, rendering, tmp_path, standardize=False, batch_size=2, progress=False
    )
    indices, order = np.array([4, 0, 3]), torch.stack([torch.randperm(100)[:50] for _ in range(3)])
    points = torch.from_numpy(source.points[indices])
    chosen = points.gather(1, order[:, :, None].expand(-1, -1, 3))
    old = cached.views(indices, order, chosen, points)
    # The live view of all points, as fewer of them make other pictures.
    new = LiveTargets(teacher, rendering).views(indices, torch.arange(100), points, points)
    assert old.saliency is not None and new.saliency is not None
    maps = [*zip(old.maps, new.maps, strict=True), (old.saliency.unsqueeze(2), new.saliency.unsqueeze(2))]
    for one, other in maps:
        # Half a 255th of what the cloud's channel spans, and the rounding of low and step to float16.
        span = other.amax((1, 3, 4), keepdim=True) - other.amin((1, 3, 4), keepdim=True)
        most = span / 255 * 0.51 + other.abs().amax() * 2**-11
        assert bool(((one - other).abs() <= most).all())
    index = order[:, None, :, None].expand(-1, rendering.views, -1, 2)
    torch.testing.assert_close(old.pixels, new.pixels.gather(2, index), rtol=0, atol=1e-6)


def test_a_hundred_and_fifty_thousand_clouds_fit_in_ten_gigabytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, teacher = Source(2, 400), Teacher("mobilenetv2_100", weights="random", strides=(8, 16))
    cached = cached_targets(source, teacher, Rendering(), tmp_path, standardize=False, progress=False)
    assert cached.parts[0].itemsize * 150_000 <= 10e9
    exact = teacher(Rendering()(torch.from_numpy(source.points)).images).maps
    for name, one in zip(cached.map_names, exact, strict=True):
        off = cached.features(name, np.arange(2), CPU) - one
        share = off.square().mean((0, 1, 3, 4)).sqrt() / one.transpose(1, 2).flatten(3).std((0, 2, 3))
        assert share.mean() < 0.01


def test_standardised_features_have_mean_zero_and_deviation_one_where_points_lie(tmp_path: Path) -> None:
    source = Source(12, 80)
    cached = cached_targets(source, small(), Rendering(views=3, size=64), tmp_path, progress=False)
    stored = torch.from_numpy(source.points)
    seen = cached.views(np.arange(12), torch.arange(80).expand(12, -1), stored, stored)
    for one in seen.maps:
        at = seen.pixels.flatten(0, 1)[:, :, None]
        read = F.grid_sample(one.flatten(0, 1), at, padding_mode="border", align_corners=False)
        values = read.squeeze(3).transpose(0, 1).flatten(1)
        torch.testing.assert_close(values.mean(1), torch.zeros(len(values)), rtol=0, atol=2e-2)
        torch.testing.assert_close(values.std(1), torch.ones(len(values)), rtol=2e-2, atol=0)
    assert seen.saliency is not None
    torch.testing.assert_close(seen.saliency.mean((2, 3)), torch.ones(12, 3))
    assert (cached.folder / "settings.json").is_file()


def build(folder: Path, **changes: Any) -> Any:
    arguments = {"source": Source(7), "teacher": small(), "rendering": Rendering(views=3, size=32), **changes}
    return cached_targets(cache=folder, batch_size=2, progress=False, **arguments)


def test_a_second_run_reads_and_a_changed_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(tmp_path)
    changed = [
        {"source": Source(7, seed=1)},
        {"source": Source(6)},
        {"rendering": Rendering(views=6, size=32)},
        {"rendering": Rendering(projection="summed", views=3, size=32)},
        {"teacher": small(seed=1)},  # other weights
        {"teacher": small("bfloat16")},
    ]
    folders = {first.folder, *(build(tmp_path, **one).folder for one in changed)}
    assert len(folders) == 7
    other = Source(7)
    other.points[:] = other.points[:, ::-1].copy()  # sampled otherwise from the same files
    assert build(tmp_path, source=other).folder not in folders
    monkeypatch.setattr(Teacher, "forward", lambda *_: pytest.fail("the teacher was asked again"))
    again = build(tmp_path)
    assert again.folder == first.folder
    assert np.array_equal(again.read("maps_0", np.arange(7)), first.read("maps_0", np.arange(7)))


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_cache, "_PART", 3)
    whole = build(tmp_path / "whole")
    forward, calls = Teacher.forward, []

    def dies(self: Teacher, images: torch.Tensor) -> Any:
        calls.append(len(images))
        if len(calls) == 4:  # one for the shapes, two for the first part
            raise KeyboardInterrupt
        return forward(self, images)

    monkeypatch.setattr(Teacher, "forward", dies)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "killed")
    folder = next((tmp_path / "killed").iterdir())
    assert sorted(path.name for path in folder.glob("part*")) == ["part-00000.npy", "part-00001.lock"]
    (folder / ".part-00001.npy.123.tmp").write_bytes(b"what SIGKILL leaves")
    monkeypatch.setattr(Teacher, "forward", forward)
    source = Source(7)
    resumed = build(tmp_path / "killed", source=source, standardize=False)  # which reads clouds, too
    assert set(source.read_rows[7:]) == {0, 3, 4, 5, 6}  # after the key's: the shapes', and parts 1 and 2
    assert len(resumed.parts) == 3
    assert not [path for path in folder.iterdir() if path.name.startswith(".") or path.suffix == ".lock"]
    names = resumed.parts[0].dtype.names
    assert names is not None and len(names) == 6
    for name in names:
        assert np.array_equal(resumed.read(name, np.arange(7)), whole.read(name, np.arange(7)))


def test_a_part_that_lost_its_end_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_cache, "_PART", 3)
    before = build(tmp_path)
    expected = before.read("maps_0", np.arange(7))
    broken = before.folder / "part-00001.npy"
    content = broken.read_bytes()
    broken.unlink()  # not in place, as the file is mapped
    broken.write_bytes(content[: len(content) // 2])
    assert np.array_equal(build(tmp_path).read("maps_0", np.arange(7)), expected)


def _build_in_a_process(folder: Path, queue: Any) -> None:
    torch.set_num_threads(1)
    target_cache._PART = 4
    source = Source(24)
    cached = build(folder, source=source, standardize=False)
    queue.put((cached.read("maps_0", np.arange(24)).tobytes(), len(source.read_rows)))


def test_processes_share_the_work(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_build_in_a_process, args=(tmp_path, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    found = [queue.get(timeout=600) for _ in processes]
    for process in processes:
        process.join(600)
        assert process.exitcode == 0
    assert found[0][0] == found[1][0]
    # Each reads eight for the key and at most one for the shapes; together they read each of the 24 once.
    assert sum(count for _, count in found) <= 24 + 2 * 9


def test_a_disk_without_space_is_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    source = Source(7)
    with pytest.raises(OSError, match=r"need .* GB more, 0\.0 GB are free"):
        build(tmp_path, source=source)
    assert len(source.read_rows) <= 8 + 1


def test_a_disk_that_fills_up_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="the disk is full; make space") as caught:
        build(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_features_that_no_cache_can_hold(tmp_path: Path) -> None:
    teacher = copy.deepcopy(small())
    with torch.no_grad():
        next(teacher.network.network.parameters()).fill_(math.inf)
    with pytest.raises(ValueError, match="feature map 0 holds NaN or values beyond 65504"):
        build(tmp_path, teacher=teacher)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"projection": "orthographic"}, "projection is 'orthographic'"),
        ({"views": 4}, "views is 4, expected 3 or 6"),
        ({"projection": "summed", "views": 6}, "views is 6, expected 3 for projection summed"),
        ({"cover": 2}, "cover is 2, expected an odd number"),
        ({"size": 3}, "size is 3"),
    ],
)
def test_renderings_that_do_not_exist(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rendering(**arguments)


def test_fewer_images_at_once_than_views() -> None:
    with pytest.raises(ValueError, match="images_at_once is 2"):
        LiveTargets(small(), Rendering(views=3), images_at_once=2)
