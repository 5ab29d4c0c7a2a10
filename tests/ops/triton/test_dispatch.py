"""Which tensors go to Triton's kernels. On a GPU that isn't there: tensors of torch's FakeTensorMode have its
device, but no values."""

import importlib.util
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from pointmae_zoo import ops
from pointmae_zoo.ops.triton import dispatch

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Iterator[mock.Mock]:
    """Records which kernels' operators are called; they give tensors of the right shape."""
    from pointmae_zoo.ops.triton import kernels, operators

    monkeypatch.setattr(kernels, "USABLE", True)
    record = mock.Mock()
    for name in ("farthest_point_sample", "knn", "chamfer"):
        operator = mock.Mock(wraps=getattr(operators, name))
        record.attach_mock(operator, name)
        monkeypatch.setattr(operators, name, operator)
    with FakeTensorMode():
        yield record


def cloud(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="cuda")


def names(called: mock.Mock) -> list[str]:
    return [call[0] for call in called.method_calls]


def test_kernels_serve_a_gpu(called: mock.Mock) -> None:
    points = cloud(2, dispatch.MOST_SAMPLED, 3)
    assert ops.farthest_point_sample(points, 7).shape == (2, 7)
    assert ops.knn(cloud(2, 9, 3), points, dispatch.MOST_NEIGHBORS).shape == (2, 9, dispatch.MOST_NEIGHBORS)
    assert ops.chamfer_distance(cloud(6, 64, 3), cloud(6, 50, 3)).shape == ()
    assert names(called) == ["farthest_point_sample", "knn", "chamfer"]


@pytest.mark.parametrize(("skip", "radius"), [(False, -1.0), (True, 1e-3)])
def test_which_points_a_kernel_skips(skip: bool, radius: float, called: mock.Mock) -> None:
    """Those within a squared radius of the origin: below zero, none."""
    ops.farthest_point_sample(cloud(2, 9, 3), 4, skip_near_origin=skip)
    assert called.farthest_point_sample.call_args.args[1:] == (4, 1e10, radius)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_go_as_floats(dtype: torch.dtype, called: mock.Mock) -> None:
    points = cloud(2, 30, 3, dtype=dtype)
    ops.farthest_point_sample(points, 7)
    ops.knn(points, points, 4)
    assert ops.chamfer_distance(points, points).dtype == torch.float32
    assert names(called) == ["farthest_point_sample", "knn", "chamfer"]
    for call in called.method_calls:
        assert call.args[0].dtype == torch.float32


@pytest.mark.parametrize(
    "asked",
    [
        lambda: dispatch.samples(cloud(1, dispatch.MOST_SAMPLED + 1, 3)),
        lambda: dispatch.samples(cloud(1, 9, 3, dtype=torch.float64)),
        lambda: dispatch.samples(torch.empty(1, 9, 3)),
        lambda: dispatch.searches(cloud(1, 9, 3), cloud(1, 99, 3), dispatch.MOST_NEIGHBORS + 1),
        lambda: dispatch.searches(cloud(1, 9, 6), cloud(1, 99, 6), 4),
        lambda: dispatch.searches(cloud(1, 9, 3), torch.empty(1, 99, 3), 4),
        lambda: dispatch.compares(cloud(1, 65, 3), cloud(1, 64, 3)),
        lambda: dispatch.compares(cloud(1, 1, 3), cloud(1, 257, 3)),
    ],
)
def test_torch_serves_the_rest(asked: Any, called: mock.Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dispatch.samples(cloud(1, 9, 3)) and not asked()


def test_kernels_can_be_set_aside(called: mock.Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_INSTALLED", False)
    assert not dispatch.samples(cloud(1, 9, 3))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (mock.Mock(side_effect=RuntimeError("Failed to find C compiler.\nPlease ...")), "find C compiler"),
        (mock.Mock(return_value=SimpleNamespace(backend="cuda", arch=75)), "cuda 75"),
        (mock.Mock(return_value=SimpleNamespace(backend="hip", arch="gfx942")), "hip gfx942"),
    ],
)
def test_what_triton_cannot_do_is_said(
    target: mock.Mock, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import triton

    from pointmae_zoo.ops.triton import kernels

    driver = SimpleNamespace(active=SimpleNamespace(get_current_target=target))
    monkeypatch.setattr(triton.runtime, "driver", driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.warns(UserWarning, match=words):
        assert not kernels._usable()
    driver.active.get_current_target = lambda: SimpleNamespace(backend="cuda", arch=90)
    assert kernels._usable()
