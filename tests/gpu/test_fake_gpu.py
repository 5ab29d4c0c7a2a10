"""The pre-training step has no GPU waited for: found out without one.

Fake CUDA tensors have a shape and a device and no values: whatever would have to know a value raises, and so
does mixing devices. Copies between a CPU and the device for which somebody waits are looked for, too. A
backward pass needs a device that is there; in it ``meta`` stands for the GPU, likewise without values.

The searches stand aside: on a GPU they have kernels of their own.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pointmae_zoo.datasets import augmentation
from pointmae_zoo.datasets.sources import CloudSource, InMemory
from pointmae_zoo.models import encoder, reconstruction
from pointmae_zoo.models.pretraining_model import TeacherViews, weighted_sum
from pointmae_zoo.models.registry import create_model
from pointmae_zoo.models.teacher.image_teacher import Teacher
from pointmae_zoo.ops import Rendering, depth_images, neighbors
from pointmae_zoo.train import PretrainRecipe, device_cache, loop
from pointmae_zoo.train.optimizer import MovingAverage
from pointmae_zoo.train.pretraining import PretrainTask
from pointmae_zoo.train.step_losses import over_processes
from pointmae_zoo.train.target_cache import CachedTargets
from pointmae_zoo.train.teacher_targets import LiveTargets, Targets

BATCH, STORED = 4, 300
ASKING = {
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_consecutive",
    "unique_dim",
}
"""Operators whose result, or its shape, a GPU has to be waited for."""


def _can_be_faked() -> bool:
    try:
        with FakeTensorMode():
            return torch.empty(2, 2, device="cuda")[..., 0].is_cuda
    except RuntimeError:
        return False


fake_gpu = pytest.mark.skipif(
    not _can_be_faked(), reason="this torch needs a driver even for a GPU's tensors that have no values"
)


class Unasked(TorchDispatchMode):
    """Raises where a device that is no CPU is asked for something, or somebody waits for a copy between it
    and a CPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        name = func.overloadpacket.__name__
        if any(one.device.type != "cpu" for one in tensors):
            masks = any(one.dtype == torch.bool for one in tensors[1:])
            if name in ASKING or (name in ("index", "index_put_", "index_put") and masks):
                raise AssertionError(f"{func} asks the device")
        result = func(*args, **kwargs)
        if name in ("_to_copy", "copy_"):
            sides = {one.device.type for one in (result, *tensors)}
            awaited = not (kwargs.get("non_blocking") or (name == "copy_" and any(args[2:])))
            if awaited and len(sides) > 1:
                raise AssertionError(f"{func} of {tuple(result.shape)} is waited for")
        return result


class OfDevice(torch.Generator):
    """A generator that says that it is no CPU's."""

    device = torch.device("meta")


def without_values(module: Any, device: str) -> Any:
    """A module with parameters and buffers of its shapes on a device that may not be there."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                empty = torch.empty(value.shape, dtype=value.dtype, device=device)
                part._parameters[name] = nn.Parameter(empty, value.requires_grad)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = torch.empty(value.shape, dtype=value.dtype, device=device)
    return module


@pytest.fixture
def searches_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any indices of the right shape; and what else can't run where nothing has a value."""

    def sample(points: Tensor, count: int, **_: Any) -> Tensor:
        return points[..., 0].sort(1).indices[:, :count]

    def nearest(query: Tensor, points: Tensor, k: int) -> Tensor:
        return torch.cdist(query.float(), points.float()).sort(-1).indices[..., :k]

    def apart(prediction: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        each = (prediction - target).square().mean((1, 2))
        return each.mean() if valid is None else (each * valid).sum() / valid.sum().clamp_min(1)

    monkeypatch.setattr(encoder, "farthest_point_sample", sample)
    monkeypatch.setattr(augmentation, "farthest_point_sample", sample)
    monkeypatch.setattr(encoder, "knn", nearest)
    monkeypatch.setattr(neighbors, "knn", nearest)
    monkeypatch.setattr(reconstruction, "chamfer_distance", apart)
    monkeypatch.setattr(
        depth_images, "_rotations_on", lambda count, device: torch.empty(count, 3, 3, device=device)
    )
    monkeypatch.setattr(device_cache, "free_bytes", lambda device: 10**9)


@contextlib.contextmanager
def no_autocast(*_: Any, **__: Any) -> Iterator[None]:
    """There is none for ``meta``."""
    yield


def sent(array: np.ndarray, device: torch.device) -> Tensor:
    """An upload, as far as shape and type go."""
    return torch.empty(array.shape, dtype=torch.from_numpy(array).dtype, device=device)


def clouds() -> CloudSource:
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (6, STORED, 3)).astype(np.float32)
    return CloudSource(STORED, [InMemory(points)], [""] * 6, [""])


def recipe_of(name: str) -> PretrainRecipe:
    return PretrainRecipe(
        model=name,
        steps=1,
        precision="float32",
        cloud_points=STORED,
        num_points=200,
        augmentation=augmentation.Augmentation(
            fps_surplus=1.2, scale=1.2, turn=20.0, shift=0.1, jitter=0.02, density=1.3, normalize_first=True
        ),
    )


def small(name: str, **more: Any) -> Any:
    return create_model(name, kind="pretraining", **more).train()


class Given:
    """Targets that are simply there."""

    num_views, channels = 6, 128

    def views(self, indices: Any, chosen: Tensor, points: Tensor, stored: Tensor) -> TeacherViews:
        shape = len(points), self.num_views
        given = {"device": points.device}
        return TeacherViews(
            [torch.empty(*shape, self.channels, 7, 7, **given)],
            torch.empty(*shape, 7, 7, **given),
            torch.empty(*shape, points.shape[1], 2, **given),
        )


def cached(folder: Any) -> CachedTargets:
    fields = [
        ("maps_0", "u1", (6, 128, 7, 7)),
        ("range_maps_0", "<f2", (2, 128)),
        ("saliency", "u1", (6, 1, 7, 7)),
        ("range_saliency", "<f2", (2, 1)),
    ]
    standard = (torch.ones(128, 1, 1),)
    return CachedTargets(folder, Rendering(), (np.zeros(6, dtype=fields),), standard, standard)


@pytest.mark.usefixtures("searches_aside")
@pytest.mark.parametrize("name", ["i2p_mae_tiny", "joint_mae_tiny"])
def test_a_step_from_clouds_to_gradients(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(torch, "autocast", no_autocast)
    monkeypatch.setattr(device_cache, "to_device", sent)
    model = without_values(small(name, drop_path=0.2), "meta")
    targets: Targets | None = cached(tmp_path) if name.startswith("i2p") else None
    task = PretrainTask(model, clouds(), targets, recipe_of(name))
    generator = OfDevice()
    generator.manual_seed(0)
    indices = np.array([3, 1, 5, 0])
    task.batch(indices, generator)  # the upload, for which one may wait
    average = MovingAverage(model, 0.9)
    average.n_averaged = torch.ones((), dtype=torch.int64)
    with Unasked():
        points, views = task.batch(indices, generator)
        losses = task.losses((points, views))
        loss = weighted_sum(losses)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        average.update_parameters(model)
    assert points.device.type == loss.device.type == "meta" and points.shape[0] == BATCH
    learned = [one for one in model.parameters() if one.requires_grad]
    assert learned and all(one.grad is not None and one.grad.device.type == "meta" for one in learned)


@fake_gpu
@pytest.mark.usefixtures("searches_aside")
@pytest.mark.parametrize("name", ["i2p_mae_tiny", "joint_mae_tiny", "i2p_mae_base", "joint_mae_base"])
def test_one_device_from_points_to_losses(name: str) -> None:
    model = small(name, **({"views": 3} if name == "joint_mae_base" else {}))
    with FakeTensorMode(), Unasked():
        model = without_values(model, "cuda")
        points = torch.empty(BATCH, 600, 3, device="cuda")
        views = None
        if name.startswith("i2p"):
            given = Given()
            given.num_views, given.channels = model.hyper.num_views, model.hyper.teacher_dim
            views = given.views(None, points, points, points)
        output = model(points, views)
        shares, means = over_processes({**output.losses, **output.monitors}, One())
    assert shares.device.type == means.device.type == "cuda"
    assert {one.value.device.type for one in output.losses.values()} == {"cuda"}


class One:
    """What `over_processes` asks of a single process."""

    num_processes = 1


@fake_gpu
@pytest.mark.usefixtures("searches_aside")
@pytest.mark.parametrize("network", ["vit_tiny_patch16_224", "mobilenetv2_035"])
@pytest.mark.parametrize("projection", ["summed", "zbuffer"])
def test_live_targets(network: str, projection: Any) -> None:
    pytest.importorskip("timm")
    teacher = Teacher(network, weights="random", precision="bfloat16")
    side = 224 if teacher.is_transformer else 64
    with FakeTensorMode(), Unasked():
        live = LiveTargets(
            without_values(teacher, "cuda"), Rendering(projection, views=3, size=side, cover=3)
        )
        points = torch.empty(BATCH, 200, 3, device="cuda")
        seen = live.views(np.arange(BATCH), points, points, points)
    assert seen.saliency is not None
    assert {one.device.type for one in (*seen.maps, seen.saliency, seen.pixels)} == {"cuda"}
    assert seen.maps[0].dtype == torch.float32


@fake_gpu
@pytest.mark.parametrize("asks", ["item", "branch", "mask", "nonzero", "copy", "read"])
def test_asking_is_noticed(asks: str) -> None:
    with FakeTensorMode(), Unasked():
        x = torch.empty(4, device="cuda")
        ask = {
            "item": lambda: x.sum().item(),
            "branch": lambda: bool((x > 0).any()),
            "mask": lambda: x[x > 0],
            "nonzero": lambda: x.nonzero(),
            "copy": lambda: torch.zeros(4).to("cuda"),
            "read": lambda: x.cpu(),
        }[asks]
        with pytest.raises(Exception, match=r"asks the device|is waited for|item|nonzero|data-dependent"):
            ask()


class Alone:
    """What the training loop asks of accelerate, for one process on a device without values."""

    device = torch.device("meta")
    num_processes, process_index, is_main_process, sync_gradients = 1, 0, True, True

    def prepare(self, *given: Any) -> Any:
        return given

    def accumulate(self, _: Any) -> Any:
        return contextlib.nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip_grad_norm_(self, parameters: Any, norm: float) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, norm)


@pytest.mark.usefixtures("searches_aside")
@pytest.mark.parametrize("name", ["i2p_mae_tiny", "joint_mae_tiny"])
def test_the_loops_own_step(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """In parts, with a moving average and clipped gradients, from reading the clouds to new weights."""
    monkeypatch.setattr(torch, "autocast", no_autocast)
    of_host = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device=None: OfDevice() if device else of_host())
    monkeypatch.setattr(device_cache, "to_device", sent)
    recipe = recipe_of(name).override(
        steps=9, batch_size=4, accumulation_steps=2, ema_decay=0.9, log_steps=9, clip_norm=1.0
    )
    model = without_values(small(name, drop_path=0.2), "meta")
    task = PretrainTask(model, clouds(), cached(tmp_path) if name.startswith("i2p") else None, recipe)
    run = loop._Run(task, recipe, tmp_path, Alone(), None, None, None, 1.0)  # type: ignore[arg-type]
    run.model.train()
    for step in range(3):
        with Unasked() if step else contextlib.nullcontext():
            values = run._one_step()
        run.unread.add(values)
        run.step += 1
    assert len(run.unread) == 3 and {one.device.type for one in values.values()} == {"meta"}
    assert set(values) >= {"loss", "loss_3d", "gradient_norm"}
    with pytest.raises(Exception, match=r"meta|data"):
        run.unread.read(run.step)
