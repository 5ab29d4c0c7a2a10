"""The training loop on a task so small that its results can be worked out by hand."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._functorch.config as functorch_config
from numpy.typing import NDArray
from torch import Tensor, nn

from pointmae_zoo.models.pretraining_model import LossTerm
from pointmae_zoo.system.secrets import without_secrets
from pointmae_zoo.train import TrainingRecipe, TrainingResult, checkpoints, runtime, train
from pointmae_zoo.train.checkpoints import list_checkpoints, load_latest, save_checkpoint
from pointmae_zoo.train.runtime import accelerated, compile_blocks
from pointmae_zoo.train.schedule import batch_indices, learning_rate

pytest.importorskip("accelerate")


class Line:
    """Linear regression in one dimension on known numbers; ``count`` of the loss as unequal as wished."""

    command = "draw-lines"

    def __init__(self, count: int = 24) -> None:
        self.model = nn.Linear(1, 1).double()
        nn.init.constant_(self.model.weight, 0.5)
        nn.init.constant_(self.model.bias, 0.0)
        self.count = count
        self.x = torch.linspace(-1, 1, count, dtype=torch.float64)[:, None]
        self.y = 2 * self.x + 1
        self.broken_at: int | None = None

    def batch(self, indices: NDArray[np.int64], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        del generator
        return self.x[indices], self.y[indices]

    def losses(self, batch: tuple[Tensor, Tensor]) -> dict[str, LossTerm]:
        x, y = batch
        return {"line": LossTerm((self.model(x) - y).square().mean(), 1.0, len(x))}

    def monitors(self, batch: tuple[Tensor, Tensor]) -> dict[str, LossTerm]:
        assert not self.model.training and not torch.is_grad_enabled()
        return {"worst": LossTerm((self.model(batch[0]) - batch[1]).abs().amax(), 0.0, 1)}

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        return [f"number {index}" for index in indices]


RECIPE = TrainingRecipe(
    steps=6,
    batch_size=8,
    learning_rate=0.1,
    weight_decay=0.0,
    clip_norm=0.0,
    precision="float32",
    log_steps=1,
    checkpoint_steps=2,
)


def run(recipe: TrainingRecipe, out: Path, *, resume: bool = False) -> tuple[Line, TrainingResult]:
    task = Line()
    with accelerated(recipe, "cpu", out) as accelerator:
        return task, train(task, recipe, out, accelerator, resume=resume, progress=False)


@pytest.mark.parametrize("parts", [1, 2])
def test_coming_clouds_are_announced_some_steps_before(tmp_path: Path, parts: int) -> None:
    recipe = RECIPE.override(accumulation_steps=parts)
    asked: list[list[int]] = []
    announced: list[tuple[int, list[int]]] = []

    class Told(Line):
        def batch(self, indices: NDArray[np.int64], generator: torch.Generator) -> tuple[Tensor, Tensor]:
            asked.append(indices.tolist())
            return super().batch(indices, generator)

    def expect(indices: NDArray[np.int64]) -> None:
        announced.append((len(asked), indices.tolist()))

    with accelerated(recipe, "cpu", tmp_path) as accelerator:
        train(Told(), recipe, tmp_path, accelerator, expect=expect, progress=False)
    assert len(asked) == 6 * parts and [indices for _, indices in announced] == asked
    assert [before for before, _ in announced[: 4 * parts]] == [0] * 4 * parts
    assert [before for before, _ in announced[4 * parts :]] == [
        step * parts for step in (0, 1) for _ in range(parts)
    ]


def by_hand(recipe: TrainingRecipe) -> list[tuple[float, float]]:
    """Weight and bias after every step, by plain torch."""
    task = Line()
    optimizer = torch.optim.AdamW(task.model.parameters(), weight_decay=0.0, betas=recipe.betas)
    path = []
    for step in range(recipe.steps or 0):
        chosen = batch_indices(step, count=task.count, batch_size=recipe.batch_size, seed=recipe.seed)
        optimizer.param_groups[0]["lr"] = learning_rate(step, recipe, task.count)
        optimizer.zero_grad()
        (task.model(task.x[chosen]) - task.y[chosen]).square().mean().backward()
        optimizer.step()
        path.append((task.model.weight.item(), task.model.bias.item()))
    return path


def values(task: Line) -> tuple[float, float]:
    return task.model.weight.item(), task.model.bias.item()


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_run_by_hand_in_one_go_and_in_parts(tmp_path: Path, parts: int) -> None:
    recipe = RECIPE.override(accumulation_steps=parts)
    task, result = run(recipe, tmp_path)
    assert result.completed and result.steps == 6
    assert values(task) == pytest.approx(by_hand(recipe)[-1], rel=1e-6)
    assert not task.model.training


def test_moving_average_by_hand(tmp_path: Path) -> None:
    decay = 0.8
    task, _ = run(RECIPE.override(ema_decay=decay), tmp_path / "whole")
    path = np.array(by_hand(RECIPE))
    average = path[0]
    for now in path[1:]:
        average = decay * average + (1 - decay) * now
    assert values(task) == pytest.approx(tuple(average), rel=1e-6)
    assert np.abs(average - path[-1]).max() > 0.01
    # And through a checkpoint.
    for folder in sorted((tmp_path / "whole" / "checkpoints").glob("*6.pt")):
        folder.unlink()
    resumed, result = run(RECIPE.override(ema_decay=decay), tmp_path / "whole", resume=True)
    assert result.completed and values(resumed) == values(task)


def test_a_full_disk_costs_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource")  # files that must not grow stand for a disk that is full
    saved = torch.save
    full: set[int] = {4}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save(state: dict[str, Any], stream: Any) -> None:
        if state["step"] in full:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            saved(state, stream)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(checkpoints.torch, "save", save)
    _, result = run(RECIPE, tmp_path / "once")
    assert result.completed
    said = capsys.readouterr().err
    assert "checkpoint of step 4 not written (File too large); the newest is" in said
    names = [path.name for path in (tmp_path / "once" / "checkpoints").iterdir()]
    assert sorted(names) == ["step_00000002.pt", "step_00000006.pt"]
    full.add(6)
    with pytest.raises(OSError, match=r"step 6 not written .* make room in .* and resume"):
        run(RECIPE, tmp_path / "last")
    assert [path.name for path in (tmp_path / "last" / "checkpoints").iterdir()] == ["step_00000002.pt"]
    full.clear()
    resumed, result = run(RECIPE, tmp_path / "last", resume=True)
    assert result.completed and values(resumed) == pytest.approx(by_hand(RECIPE)[-1], rel=1e-6)
    for name in ("once", "last"):
        lines = (tmp_path / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_an_unreadable_newest_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, _ = run(RECIPE, tmp_path)
    metrics = (tmp_path / "metrics.jsonl").read_bytes()
    before, newest = list_checkpoints(tmp_path / "checkpoints")
    newest.write_bytes(newest.read_bytes()[:300])
    resumed, result = run(RECIPE, tmp_path, resume=True)
    said = capsys.readouterr().err
    assert f"{newest}: unreadable" in said and "taking the checkpoint before it" in said
    assert result.steps == 6 and values(resumed) == values(whole)
    assert (tmp_path / "metrics.jsonl").read_bytes() == metrics
    for path in (before, newest):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of 2 checkpoints can be read"):
        run(RECIPE, tmp_path, resume=True)


def test_run_folder_survive_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(RECIPE, tmp_path / "whole")
    from pointmae_zoo.train import metrics

    opened = open
    calls = 0

    def full(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        stream = opened(*arguments, **options)
        if calls in (2, 3):
            stream.seek(0, os.SEEK_END)
            stream.write(b'{"st')
            stream.close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return stream

    monkeypatch.setattr(metrics, "open", full, raising=False)
    run(RECIPE, tmp_path / "full")
    assert "not written for now (No space left on device)" in capsys.readouterr().err
    written = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "full")]
    assert written[0] == written[1]


def test_run_folder_that_wait_are_in_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full from step 3 on; the process dies after the checkpoint of step 4, or at the end."""
    from pointmae_zoo.train import loop, metrics

    run(RECIPE, tmp_path / "whole")
    expected = (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    opened, one_step = open, loop._Run._one_step

    def full(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.read_bytes().count(b"\n") >= 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, *arguments, **options)

    def dying(self: Any) -> Any:
        if self.step == 5:
            raise KeyboardInterrupt
        return one_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(metrics, "open", full, raising=False)
        with pytest.raises(OSError, match=r"metrics\.jsonl: not written \(No space .* and resume"):
            run(RECIPE, tmp_path / "end")
        patch.setattr(loop._Run, "_one_step", dying)
        with pytest.raises(KeyboardInterrupt):
            run(RECIPE, tmp_path / "died")
    for name, lines in (("end", 2), ("died", 2)):
        assert (tmp_path / name / "metrics.jsonl").read_bytes().count(b"\n") == lines
        _, result = run(RECIPE, tmp_path / name, resume=True)
        assert result.completed
        assert (tmp_path / name / "metrics.jsonl").read_bytes() == expected


def test_run_folder_are_tried_again_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room again only once the last checkpoint has taken the place of others."""
    from pointmae_zoo.train import metrics

    run(RECIPE, tmp_path / "whole")
    opened = open

    def full(path: Path, *arguments: Any, **options: Any) -> Any:
        if not (path.parent / "checkpoints" / "step_00000006.pt").is_file():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(metrics, "open", full, raising=False)
    assert run(RECIPE, tmp_path / "full")[1].completed
    written = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "full")]
    assert written[0] == written[1]


def test_batches_are_shared_evenly_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with (
        pytest.raises(ValueError, match="batch_size is 8, expected a multiple of 3 processes times 1"),
        accelerated(RECIPE, "cpu", tmp_path),
    ):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="device cuda: not there"), accelerated(RECIPE, "cuda", tmp_path):
        pass


def test_compiled_is_the_same(tmp_path: Path) -> None:
    plain, _ = run(RECIPE, tmp_path / "plain")
    compiled: list[nn.Module] = []
    original = nn.Module.compile

    def eager(self: nn.Module, *_: Any, **__: Any) -> None:  # the plumbing needs no compiler
        compiled.append(self)
        original(self, backend="eager")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "compile", eager)
        other, _ = run(RECIPE.override(compile=True, ema_decay=0.0), tmp_path / "compiled")
    assert compiled == [other.model]
    assert values(other) == pytest.approx(values(plain), rel=1e-6)
    keys = torch.load(list_checkpoints(tmp_path / "compiled" / "checkpoints")[-1])["model"].keys()
    assert set(keys) == {"weight", "bias"}


def test_deterministic_mode_ends_with_the_run(tmp_path: Path) -> None:
    seen: list[bool] = []
    task = Line()
    task.describe = lambda indices: []  # type: ignore[method-assign]
    losses = task.losses

    def noting(batch: Any) -> dict[str, LossTerm]:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return losses(batch)

    task.losses = noting  # type: ignore[method-assign]
    recipe = RECIPE.override(deterministic=True, steps=1)
    with accelerated(recipe, "cpu", tmp_path) as accelerator:
        train(task, recipe, tmp_path, accelerator, progress=False)
    assert seen == [True] and not torch.are_deterministic_algorithms_enabled()


def test_secrets_stay_out_of_the_command_line() -> None:
    words = [
        "train",
        "--hf-token",
        "abc",
        "--set",
        "api_key=xyz",
        "https://me:pw@host/x",
        "--set",
        "num_tokens=[8]",
        "data=[hf_" + 9 * "aB3d" + "]",
    ]
    cleaned = " ".join(without_secrets(words))
    assert not any(secret in cleaned for secret in ("abc", "xyz", "me:pw", "aB3d"))
    assert "num_tokens=[8]" in cleaned and "https://***@host/x" in cleaned and "api_key=***" in cleaned


def test_malloc_is_left_alone_where_it_is_not_glibcs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise TypeError("as on Windows")

    monkeypatch.setattr(runtime.ctypes, "CDLL", refuse)
    monkeypatch.setattr(runtime.sys, "platform", "win32")
    runtime.keep_freed_memory()


def steps_in(folder: Path) -> list[int]:
    return [int(path.stem.removeprefix("step_")) for path in list_checkpoints(folder)]


def test_cleaning_up_never_leaves_unreadable_checkpoints_only(tmp_path: Path) -> None:
    def save(step: int, keep: int) -> Path:
        return save_checkpoint(tmp_path, step, {"value": torch.tensor(step)}, keep=keep)

    for step in (4, 8, 12):
        newest = save(step, keep=3)
    newest.write_bytes(newest.read_bytes()[:50])
    state, _ = load_latest(tmp_path)
    assert state is not None and state["step"] == 8
    save(9, keep=1)
    assert steps_in(tmp_path) == [9]
    save(10, keep=2).write_bytes(b"")
    save(11, keep=2)
    assert steps_in(tmp_path) == [9, 10, 11]  # 9 is there in case that 11 breaks
    save(13, keep=2)
    assert steps_in(tmp_path) == [11, 13]
    assert load_latest(tmp_path / "absent") == (None, [])


def test_what_was_passed_over_is_not_called_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(RECIPE, tmp_path)
    newest = list_checkpoints(tmp_path / "checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:300])
    losses = Line.losses

    def broken(self: Line, batch: Any) -> dict[str, LossTerm]:
        return {"line": LossTerm(losses(self, batch)["line"].value * torch.nan, 1.0, 1)}

    monkeypatch.setattr(Line, "losses", broken)
    with pytest.raises(ValueError, match=r"the last good checkpoint is \S+step_00000004\.pt"):
        run(RECIPE, tmp_path, resume=True)


class TwoLosses(Line):
    def losses(self, batch: tuple[Tensor, Tensor]) -> dict[str, LossTerm]:
        watched = LossTerm(self.model.bias.detach().square().sum(), 0.0, 1)
        decay = LossTerm(self.model.weight.square().sum(), 3.0, len(batch[0]))
        return {**super().losses(batch), "decay": decay, "watched": watched}


@pytest.mark.parametrize("parts", [1, 2])
def test_each_losss_gradient_and_monitors_at_lines_of_metrics(tmp_path: Path, parts: int) -> None:
    recipe = RECIPE.override(accumulation_steps=parts, log_gradient_norms=True, log_steps=2, clip_norm=0.01)
    lines = {}
    for name, changes in (("with", {}), ("without", {"log_gradient_norms": False})):
        task = TwoLosses()
        changed = recipe.override(**changes)
        with accelerated(changed, "cpu", tmp_path) as accelerator:
            result = train(task, changed, tmp_path / name, accelerator, progress=False)
        text = (tmp_path / name / "metrics.jsonl").read_text(encoding="utf-8")
        lines[name] = [json.loads(line) for line in text.splitlines()]
    own = {"gradient_norm_line", "gradient_norm_decay"}
    assert set(lines["with"][0]) - set(lines["without"][0]) == own
    assert lines["without"] == [{name: one[name] for name in one if name not in own} for one in lines["with"]]
    assert set(result.losses) == {"loss", "loss_line", "loss_decay", "watched"}
    # The line of steps 0 and 1 by plain torch: norms and monitors are the second's.
    task = TwoLosses()
    optimizer = torch.optim.AdamW(task.model.parameters(), weight_decay=0.0, betas=recipe.betas)
    for step in range(2):
        chosen = batch_indices(step, count=task.count, batch_size=recipe.batch_size, seed=recipe.seed)
        x, y = task.x[chosen], task.y[chosen]
        values = {"line": (task.model(x) - y).square().mean(), "decay": 3 * task.model.weight.square().sum()}
        norms = {}
        for name, value in values.items():
            weights = list(task.model.parameters())
            grads = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
            norms[name] = sum(float(one.square().sum()) for one in grads if one is not None) ** 0.5
        worst = torch.stack(
            [(task.model(a) - b).abs().amax() for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True)]
        )
        sum(values.values()).backward()
        nn.utils.clip_grad_norm_(task.model.parameters(), recipe.clip_norm)
        optimizer.param_groups[0]["lr"] = learning_rate(step, recipe, task.count)
        optimizer.step()
        optimizer.zero_grad()
    line = lines["with"][0]
    for name, norm in norms.items():
        assert line[f"gradient_norm_{name}"] == pytest.approx(norm, rel=1e-5)
    assert line["loss_worst"] == pytest.approx(worst.mean().item(), rel=1e-5)


def test_a_stopped_run_says_how_to_go_on(tmp_path: Path) -> None:
    result = TrainingResult(tmp_path / "my run", 3, completed=False, command="draw-lines", steps_now=3)
    assert str(result).endswith(f"to go on: pointmae-zoo draw-lines --out '{tmp_path}/my run' --resume")


def test_compiling_allows_no_more_than_the_process_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that a backward pass may overwrite: forbidden where it is used again, and never allowed anew."""
    for before, once, after in ((True, True, True), (True, False, False), (False, True, False)):
        monkeypatch.setattr(functorch_config, "donated_buffer", before)
        compile_blocks(nn.Linear(2, 2), backward_once=once)
        assert functorch_config.donated_buffer is after
