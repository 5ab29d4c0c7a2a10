"""Parts of a training step: what a GPU does otherwise than a CPU gives the same, and compiling changes
nothing."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pointmae_zoo.models import encoder, reconstruction
from pointmae_zoo.models.i2p_mae import i2p_network
from pointmae_zoo.models.joint_mae import joint_network
from pointmae_zoo.models.layers import Block, DropPath, Stage
from pointmae_zoo.models.pretraining_model import weighted_sum
from pointmae_zoo.ops import Rendering
from pointmae_zoo.train import device_cache, runtime
from pointmae_zoo.train.device_cache import Rows
from pointmae_zoo.train.optimizer import MovingAverage, adamw, load_optimizer
from pointmae_zoo.train.runtime import compile_blocks
from pointmae_zoo.train.target_cache import CachedTargets
from samples.pretraining import MODELS, losses_and_gradients, model_and_batch


def padded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """From now on a CPU does as a GPU does: it is not asked how many tokens are visible, as many as can be
    are computed with. Returns the fewest that were and the most that can be, of every packing."""
    widths: list[tuple[int, int]] = []

    def pack(mask: Tensor, bound: int | None) -> tuple[Tensor, Tensor]:
        counts = mask.sum(1, keepdim=True)
        assert bound is not None and int(counts.max()) <= bound
        widths.append((int(counts.min()), bound))
        order = mask.int().argsort(dim=1, descending=True, stable=True)[:, :bound]
        return order, torch.arange(bound) < counts

    for module in (encoder, reconstruction, i2p_network, joint_network):
        monkeypatch.setattr(module, "pack", pack)
    monkeypatch.setattr(encoder.PointEncoder, "_embed_visible", encoder.PointEncoder._embed_padded)
    return widths


@pytest.mark.parametrize("name", list(MODELS))
def test_padded_to_known_numbers_it_is_the_same_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = model_and_batch(name, torch.float64)
    expected = losses_and_gradients(*given)
    widths = padded(monkeypatch)
    found = losses_and_gradients(*given)
    assert any(fewest < bound for fewest, bound in widths), "nothing was padded"
    torch.testing.assert_close(found[0], expected[0], rtol=1e-10, atol=0)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_drop_path_by_its_definition(dtype: torch.dtype) -> None:
    path = DropPath(0.3).train()
    torch.manual_seed(2)
    x = torch.randn(64, 3, 4).to(dtype).requires_grad_()
    torch.manual_seed(3)
    found = path(x)
    torch.manual_seed(3)
    keep = x.new_empty(64, 1, 1).bernoulli_(0.7)
    expected = x * keep / 0.7
    assert torch.equal(found, expected) and 0 < keep.sum() < 64
    grads = [torch.autograd.grad(one.square().sum(), x)[0] for one in (found, expected)]
    assert torch.equal(*grads) and found.dtype == dtype
    assert path.eval()(x) is x


def eager_compile(graphs: list[Any]) -> Callable[..., Any]:
    """`torch.compile` that captures graphs and runs them as they are: no compiler is needed."""

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    original = torch.compile

    def replacement(function: Any, **options: Any) -> Any:
        return original(function, backend=backend, **options)

    return replacement


@pytest.mark.parametrize("name", list(MODELS))
def test_compiled_blocks_give_the_same_and_are_compiled_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    given = model_and_batch(name)
    expected = losses_and_gradients(*given)
    graphs: list[Any] = []
    monkeypatch.setattr(runtime.torch, "compile", eager_compile(graphs))
    compile_blocks(given[0], backward_once=True)
    found = losses_and_gradients(*given)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-3, atol=1e-5)
    blocks = sum(isinstance(one, Block) for one in given[0].modules())
    assert len(graphs) > 0
    for _ in range(2):  # the same batch, for on a CPU shapes follow from what is visible
        losses_and_gradients(*given)
    count = len(graphs)
    with torch.compiler.set_stance("fail_on_recompile"):
        losses_and_gradients(*given)
    assert len(graphs) == count <= blocks + 1
    torch._dynamo.reset()


@pytest.mark.parametrize("name", list(MODELS))
def test_where_numbers_are_known_nothing_is_compiled_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other clouds, masks and drops at every step, and a graph for every shape: as on a GPU."""
    torch._dynamo.reset()
    graphs: list[Any] = []
    compiled = eager_compile(graphs)
    monkeypatch.setattr(runtime.torch, "compile", lambda function, **_: compiled(function, dynamic=False))
    monkeypatch.setattr(encoder.PointEncoder, "_level", _never_full(encoder.PointEncoder._level))
    padded(monkeypatch)
    model, points, views = model_and_batch(name)
    compile_blocks(model, backward_once=True)
    counts = []
    for step in range(4):
        torch.manual_seed(step)
        with torch.compiler.set_stance("fail_on_recompile" if step else "default"):
            weighted_sum(model(points.roll(step, 0) + 0.01 * step, views).losses).backward()
        counts.append(len(graphs))
    assert counts == [counts[0]] * 4 and 0 < counts[0] <= 8
    torch._dynamo.reset()


def _never_full(level: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A level that does not ask whether all its tokens are visible."""
    full = torch.ones((), dtype=torch.bool)

    def asked(self: Tensor, *_: Any) -> Tensor:
        return ~full

    def wrapped(self: Any, *arguments: Any) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tensor, "all", asked)
            return level(self, *arguments)

    return wrapped


def test_blocks_of_one_size_share_a_graph_whatever_their_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """More blocks than the eight graphs of one function after which torch would give up."""
    torch._dynamo.reset()
    graphs: list[Any] = []
    monkeypatch.setattr(runtime.torch, "compile", eager_compile(graphs))
    stage = Stage(12, 3, 2.0, [0.02 * rate for rate in range(1, 13)]).train()
    plain = copy.deepcopy(stage)
    compile_blocks(stage, backward_once=True)
    x, centers = torch.randn(4, 6, 12), torch.randn(4, 6, 3)
    found = []
    for one in (stage, plain):
        torch.manual_seed(0)
        found.append(one(x, centers))
    torch.testing.assert_close(*found)
    assert len(graphs) == 1
    torch._dynamo.reset()


def test_copies_and_files_of_compiled_blocks_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.torch, "compile", lambda function, **_: lambda *arguments: 1 / 0)
    block = Block(12, 3, 2.0, 0.0)
    compile_blocks(block, backward_once=True)
    x = torch.randn(2, 4, 12)
    with pytest.raises(ZeroDivisionError):
        block(x)
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        with torch.no_grad():
            other.mlp.fc2.bias += 1
        torch.testing.assert_close(other(x), Block.residuals(block, x, None, None, None) + 1)


def test_moving_average_is_torchs() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    ours = MovingAverage(model, 0.9)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for seed in range(4):
        torch.manual_seed(seed)
        with torch.no_grad():
            for one in model.parameters():
                one.normal_()
        model(torch.randn(8, 3))
        for average in (ours, theirs):
            average.update_parameters(model)
    first, second = ours.state_dict(), theirs.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_optimizer_computes_its_own_way_after_a_checkpoint() -> None:
    """As when a run goes on on another device."""
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    models = [copy.deepcopy(model) for _ in range(2)]
    here = adamw(models[0], 0.05, (0.9, 0.95))
    other = torch.optim.AdamW([{**group, "fused": True} for group in _groups(models[1])], betas=(0.9, 0.95))
    assert here.param_groups[0]["fused"] is None and other.param_groups[0]["fused"]
    for optimizer, one in ((here, models[0]), (other, models[1])):
        one(torch.ones(3, 4)).sum().backward()
        optimizer.step()
    back = adamw(models[0], 0.05, (0.9, 0.95))
    load_optimizer(back, other.state_dict())
    assert [group["fused"] for group in back.param_groups] == [None, None]
    assert back.state_dict()["state"][0]["step"] == 1
    load_optimizer(other, here.state_dict())
    assert all(group["fused"] for group in other.param_groups)
    models[1](torch.ones(3, 4)).sum().backward()
    other.step()


def _groups(model: nn.Module) -> list[dict[str, Any]]:
    from pointmae_zoo.train.optimizer import parameter_groups

    return parameter_groups(model, 0.05)


class Away:
    """A device that is no CPU, for code that only asks which it is."""

    type = "away"


@pytest.mark.parametrize("room", [10**9, 0])
def test_rows_are_fetched_from_a_copy_where_there_is_room(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(-9, 9, (600, 3, 2)).astype(np.int16)
    read: list[int] = []

    def reading(indices: np.ndarray) -> np.ndarray:
        read.extend(int(one) for one in indices)
        return stored[indices]

    monkeypatch.setattr(device_cache, "free_bytes", lambda _: room)
    monkeypatch.setattr(device_cache, "to_device", lambda array, _: torch.from_numpy(array))
    monkeypatch.setattr(device_cache, "_empty", lambda shape, dtype, _: torch.empty(shape, dtype=dtype))
    rows, device = Rows(reading, len(stored)), Away()
    for _ in range(3):
        indices = rng.integers(0, 600, 7)
        found = rows.fetch(indices, device)  # type: ignore[arg-type]
        assert found.dtype == torch.int16 and np.array_equal(found.numpy(), stored[indices])
    assert len(read) == (601 if room else 1 + 3 * 7)
    made = Rows(reading, len(stored), copied=False)
    read.clear()
    assert np.array_equal(made.fetch(indices, device).numpy(), stored[indices])  # type: ignore[arg-type]
    assert read == indices.tolist()
    assert np.array_equal(rows.fetch(indices, torch.device("cpu")).numpy(), stored[indices])


def test_cached_targets_are_the_same_from_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    fields = [("maps_0", "u1", (3, 5, 4, 4)), ("range_maps_0", "<f2", (2, 5))]
    fields += [("saliency", "u1", (3, 1, 4, 4)), ("range_saliency", "<f2", (2, 1))]
    records = np.zeros(9, dtype=fields)
    for name in ("maps_0", "saliency"):
        records[name] = rng.integers(0, 256, records[name].shape)
        records[f"range_{name}"] = rng.random(records[f"range_{name}"].shape)
    standard = (torch.rand(5, 1, 1),), (torch.rand(5, 1, 1) + 0.5,)
    chosen = torch.from_numpy(np.stack([rng.permutation(20)[:8] for _ in range(4)]))
    indices = np.array([8, 0, 3, 3])
    stored = torch.randn(4, 20, 3)
    points = torch.zeros(4, 8, 3)
    given = tmp_path, Rendering(views=3), (records,)
    expected = CachedTargets(*given, *standard).views(indices, chosen, points, stored)
    monkeypatch.setattr(device_cache, "free_bytes", lambda _: 10**9)
    monkeypatch.setattr(Rows, "fetch", lambda self, indices, device: self._uploaded(device)[indices])
    found = CachedTargets(*given, *standard).views(indices, chosen, points, stored)
    assert torch.equal(found.maps[0], expected.maps[0]) and torch.equal(found.pixels, expected.pixels)
    assert found.saliency is not None and torch.equal(found.saliency, expected.saliency)
    low, step = records["range_maps_0"][8].astype(np.float32)[:, :, None, None]
    raw = low + step * records["maps_0"][8]
    by_hand = (raw - standard[0][0].numpy()) / standard[1][0].numpy()
    np.testing.assert_allclose(found.maps[0][0].numpy(), by_hand, rtol=1e-5, atol=1e-4)


def test_copies_leave_half_of_a_gpu_to_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    for free, room in ((100, 50), (60, 10), (30, -20)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 100))
        assert device_cache.free_bytes(gpu) == room
    assert device_cache.free_bytes(torch.device("cpu")) == 0
