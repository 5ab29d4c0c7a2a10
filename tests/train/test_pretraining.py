"""The pre-training loop on tiny clouds: learns, resumes exactly, leaks nothing, stops well."""

import json
import os
import re
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pointmae_zoo.cli import main
from pointmae_zoo.hub import save_pretrained
from pointmae_zoo.models.pretraining_model import TeacherViews
from pointmae_zoo.models.registry import create_model
from pointmae_zoo.models.teacher.image_teacher import Teacher
from pointmae_zoo.ops import DepthViews, Rendering
from pointmae_zoo.procedural import parallel
from pointmae_zoo.system import progress
from pointmae_zoo.train import (
    PretrainRecipe,
    TeacherSettings,
    loop,
    metrics,
    pretrain,
    pretraining,
    read_recipe,
)
from pointmae_zoo.train.checkpoints import list_checkpoints
from pointmae_zoo.train.teacher_targets import LiveTargets
from pointmae_zoo.train.training_run import locked_run_folder
from pointmae_zoo.viz import draw_reconstruction

pytest.importorskip("timm")
pytestmark = pytest.mark.usefixtures("quick_preview")


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 training clouds, 4 unlabelled and 4 of test, which lie far away so that a leak shows."""
    path = tmp_path_factory.mktemp("clouds") / "clouds.npz"
    rng = np.random.default_rng(0)
    points = rng.normal(size=(28, 160, 3)) * rng.uniform(0.3, 1.0, size=(28, 1, 3))
    splits = np.array(["train"] * 20 + ["unlabelled"] * 4 + ["test"] * 4)
    points[splits == "test"] += 100
    np.savez(
        path, points=points.astype(np.float32), split=splits, y=np.zeros(28, int), classes=np.array(["a"])
    )
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def recipe(clouds: Path, tiny: dict[str, list[int]]) -> PretrainRecipe:
    return PretrainRecipe(
        model_arguments=tiny,
        data=(str(clouds),),
        procedural_clouds=0,
        cloud_points=128,
        num_points=64,
        teacher=TeacherSettings(
            name="mobilenetv2_050", weights="random", views=3, size=32, precision="float32"
        ),
        steps=6,
        batch_size=8,
        warmup_steps=2,
        precision="float32",
        checkpoint_steps=2,
        log_steps=1,
    )


def run(recipe: PretrainRecipe | None, out: Path, cache: Path, **arguments: object) -> object:
    return pretrain(recipe, out, cache=cache, progress=False, **arguments)


def curve(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_same_run(one: Path, other: Path) -> None:
    assert curve(one) == curve(other)
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Send this process a signal when so many steps are done."""
    original = loop._Run._one_step
    done = 0

    def step(self: object) -> object:
        nonlocal done
        done += 1
        if done == steps:
            os.kill(os.getpid(), number)
        return original(self)

    monkeypatch.setattr(loop._Run, "_one_step", step)


def test_run_folder(
    recipe: PretrainRecipe, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining, "draw_reconstruction", draw_reconstruction)
    result = run(recipe, tmp_path / "run", cache)
    assert result.completed and result.steps == 6
    folder = tmp_path / "run"
    assert {
        "model.safetensors",
        "config.json",
        "recipe.yaml",
        "metrics.jsonl",
        "environment.json",
        "preview.png",
    } <= {one.name for one in folder.iterdir()}
    assert (folder / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert read_recipe(folder / "recipe.yaml") == recipe
    assert [line["step"] for line in curve(folder)] == [1, 2, 3, 4, 5, 6]
    assert len(list_checkpoints(folder / "checkpoints")) == 2
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["provenance"]["clouds_from_data"] == 24
    assert config["provenance"]["recipe"]["data"] == ["clouds.npz"]
    assert config["provenance"]["seconds"] > 0 and "commit" in config["provenance"]
    assert config["preprocess"]["num_points"] == 64
    assert str(tmp_path) not in json.dumps(config)
    with pytest.raises(ValueError, match="holds a run already"):
        run(recipe, folder, cache)


@pytest.mark.parametrize("steps", [1, 3])
def test_stopped_and_resumed_equals_uninterrupted(
    recipe: PretrainRecipe, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    recipe = recipe.override(log_steps=2, checkpoint_steps=100)
    run(recipe, tmp_path / "whole", cache)
    with monkeypatch.context() as patch:
        stop_after(patch, steps)
        result = run(recipe, tmp_path / "parts", cache)
    assert not result.completed and result.steps == steps
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    assert run(None, tmp_path / "parts", cache, resume=True).completed
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_losses_fall(recipe: PretrainRecipe, cache: Path, tmp_path: Path) -> None:
    recipe = recipe.override(steps=60, learning_rate=3e-3, log_steps=10, checkpoint_steps=1000)
    run(recipe, tmp_path, cache)
    lines = curve(tmp_path)
    # Over five seeds 0.69 +- 0.035 and 0.71 +- 0.034 of the first.
    assert lines[-1]["loss_2d"] < 0.87 * lines[0]["loss_2d"]
    assert lines[-1]["loss_3d"] < 0.87 * lines[0]["loss_3d"]


def test_bfloat16_and_three_d_alone(recipe: PretrainRecipe, cache: Path, tmp_path: Path) -> None:
    run(recipe.override(precision="bfloat16", steps=2), tmp_path / "half", cache)
    assert np.isfinite(curve(tmp_path / "half")[-1]["loss"])
    run(recipe.override(teacher={"name": ""}, steps=2), tmp_path / "alone", cache)
    last = curve(tmp_path / "alone")[-1]
    assert last["loss"] == pytest.approx(last["loss_3d"])


def test_metrics_go_to_a_tracker(
    recipe: PretrainRecipe, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    pretrain(recipe.override(log_steps=3), tmp_path / "run", cache=cache, trackers=["tensorboard"])
    (folder,) = {path.parent for path in (tmp_path / "run").rglob("*tfevents*")}
    assert [path for path in folder.iterdir() if path.is_dir()] == []
    assert f"tensorboard --logdir {folder}\n" in capsys.readouterr().err
    found = events.EventAccumulator(str(folder)).Reload()
    tracked = [(one.step, one.value) for one in found.Scalars("loss_2d")]
    assert tracked == [(line["step"], pytest.approx(line["loss_2d"])) for line in curve(tmp_path / "run")]
    assert len(found.Scalars("clouds_per_second")) == 2
    (told,) = found.Tensors("recipe/text_summary")
    assert b"log_steps: 3" in told.tensor_proto.string_val[0]


def test_a_tracker_that_is_not_there_is_named_first(
    recipe: PretrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics.importlib.util, "find_spec", lambda name: None)
    for name, package in (("wandb", "wandb"), ("tensorboard", '"pointmae-zoo[train]"')):
        said = f"--track {name}: not installed; pip install {package}"
        with pytest.raises(ModuleNotFoundError, match=re.escape(said)):
            run(recipe, tmp_path / "run", tmp_path / "cache", trackers=[name])
    assert not list(tmp_path.iterdir())


def test_a_tracker_that_nobody_knows(recipe: PretrainRecipe, tmp_path: Path) -> None:
    for name, hint in (("tensorbord", "did you mean tensorboard?"), ("json", "known: tensorboard, wandb, ")):
        with pytest.raises(ValueError, match=re.escape(f"no tracker is called {name!r}; {hint}")):
            run(recipe, tmp_path / "run", tmp_path / "cache", trackers=[name])
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_preview_is_said_to_be_missing(
    recipe: PretrainRecipe,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(pretraining, "draw_reconstruction", draw_reconstruction)
    assert run(recipe.override(steps=1), tmp_path, cache).completed
    assert "preview.png: not drawn" in capsys.readouterr().err
    assert (tmp_path / "model.safetensors").is_file() and not (tmp_path / "preview.png").exists()


def test_procedural_shapes_join_one_to_one(recipe: PretrainRecipe, cache: Path, tmp_path: Path) -> None:
    run(recipe.override(procedural_clouds=None, teacher={"name": ""}, steps=1), tmp_path, cache)
    provenance = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["provenance"]
    assert provenance["clouds_procedural"] == provenance["clouds_from_data"] == 24


def test_the_teacher_and_the_model_see_the_clouds_in_the_recipes_pose(
    recipe: PretrainRecipe, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe.override(procedural_clouds=6, steps=1)
    every = np.arange(30)
    upright = pretraining.open_training_source(recipe, cache, progress=False).read(every)
    turned = pretraining.open_training_source(recipe.override(pose="any"), cache, progress=False).read(every)
    inner = [points @ points.transpose(0, 2, 1) for points in (upright, turned)]
    np.testing.assert_allclose(*inner, atol=1e-5)
    assert np.abs(turned - upright).max((1, 2)).min() > 0.01

    seen, original = [], Rendering.__call__

    def rendered(self: Rendering, points: torch.Tensor) -> DepthViews:
        seen.append(points)
        return original(self, points)

    monkeypatch.setattr(Rendering, "__call__", rendered)
    run(recipe.override(pose="any"), tmp_path, cache)
    assert np.array_equal(torch.cat(seen)[1:].numpy(), turned)  # the first was for the shapes of features


def test_several_poses_are_no_more_clouds(
    recipe: PretrainRecipe, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe.override(procedural_clouds=None, teacher={"name": ""}, pose="any", poses=3, steps=1)
    assert len(pretraining.open_training_source(recipe, cache, progress=False)) == 3 * 48
    pretrain(recipe, tmp_path, cache=cache)
    assert "on 24 clouds + 24 procedural in 3 poses each, no teacher" in capsys.readouterr().err
    provenance = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["provenance"]
    assert provenance["clouds_procedural"] == provenance["clouds_from_data"] == 24


def test_clouds_with_another_axis_up_are_turned(
    recipe: PretrainRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = np.random.default_rng(0).normal(size=(8, 128, 3)).astype(np.float32)
    np.save(tmp_path / "upright.npy", points)
    np.save(tmp_path / "lying.npy", points[:, :, [0, 2, 1]] * np.array([1, -1, 1], np.float32))
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe.override(steps=2).to_dict()), encoding="utf-8")
    for name, words in (("upright", ()), ("lying", ("--up", "z"))):
        data = ["--data", str(tmp_path / f"{name}.npy"), "--out", str(tmp_path / name)]
        assert main(["pretrain", "--recipe", str(tmp_path / "recipe.yaml"), *data, *words]) == 0
    said = "\nz is up in the data, so they are turned; give embed --up z, too\n"
    assert capsys.readouterr().err.count(said) == 1
    first, second = (curve(tmp_path / name)[-1]["loss"] for name in ("upright", "lying"))
    assert first == pytest.approx(second, rel=1e-5)  # sums over another order of axes
    assert read_recipe(tmp_path / "lying" / "recipe.yaml").up == "z"  # type: ignore[union-attr]


def test_live_procedural_shapes_give_the_run_of_cached_ones(
    recipe: PretrainRecipe, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe.override(procedural_clouds=None, teacher={"targets": "live"}, steps=5)
    run(recipe, tmp_path / "cached", cache)
    live = recipe.override(procedural_shapes="live")
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        assert not run(live, tmp_path / "live", tmp_path / "none").completed
    assert run(None, tmp_path / "live", tmp_path / "none", resume=True).completed
    assert_same_run(tmp_path / "cached", tmp_path / "live")
    assert not list((tmp_path / "none").glob("procedural*"))


def test_a_process_that_makes_no_shapes_ends_the_run(
    recipe: PretrainRecipe, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "_CODE", "raise SystemExit(7)")
    recipe = recipe.override(procedural_clouds=9, procedural_shapes="live", teacher={"name": ""})
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match=r"procedural shapes ended early \(exit code 7\)"):
        run(recipe, tmp_path, cache)
    assert set(threading.enumerate()) == before


def test_a_run_begins_with_the_encoder_of_another(
    recipe: PretrainRecipe, cache: Path, tmp_path: Path, tiny: dict[str, list[int]]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run(recipe, first, cache)
    run(
        recipe.override(weights=str(first), steps=1, learning_rate=1e-9, seed=5, warmup_steps=0),
        second,
        cache,
    )
    before, after = (load_file(folder / "model.safetensors") for folder in (first, second))
    learned = [name for name in before if name.startswith("encoder.") and name.endswith(".weight")]
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in learned)
    assert not torch.allclose(before["head_3d.weight"], after["head_3d.weight"], atol=1e-6)
    provenance = json.loads((second / "config.json").read_text(encoding="utf-8"))["provenance"]
    assert provenance["recipe"]["weights"] == provenance["initialised_from"]["name"] == "first"
    assert provenance["initialised_from"]["provenance"]["steps"] == 6


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(
    recipe: PretrainRecipe, cache: Path, tmp_path: Path, tiny: dict[str, list[int]]
) -> None:
    other = tmp_path / "other"
    save_pretrained(create_model("i2p_mae_tiny", **{**tiny, "dims": [48, 96]}), other)
    for weights, message in (
        (str(other), "have other shapes"),
        ("joint_mae_tiny.shapes", "are of joint_mae_tiny"),
        ("no_such.weights", "no_such.weights"),
    ):
        with pytest.raises(ValueError, match=message):
            run(recipe.override(weights=weights), tmp_path / "out", cache)
        assert not (tmp_path / "out").exists()


def test_second_run_reads_the_teachers_targets(
    recipe: PretrainRecipe, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(recipe, tmp_path / "first", cache)

    def refuse(*_: object) -> None:
        raise AssertionError("the teacher was asked again")

    with monkeypatch.context() as patch:
        patch.setattr(Teacher, "forward", refuse)
        run(recipe.override(seed=recipe.seed, steps=2), tmp_path / "second", cache)
        with pytest.raises(AssertionError, match="asked again"):
            run(recipe.override(teacher={"size": 48}), tmp_path / "third", cache)


def test_stored_targets_give_the_losses_of_exact_ones(
    recipe: PretrainRecipe, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exact:
        """The teacher's own features of the stored clouds, in every step."""

        def __init__(self, source: object, teacher: Teacher, rendering: Rendering, *_: object, **__: object):
            self.live = LiveTargets(teacher, rendering)

        def views(
            self, indices: np.ndarray, chosen: torch.Tensor, points: torch.Tensor, stored: torch.Tensor
        ) -> TeacherViews:
            seen = self.live.views(indices, chosen, stored, stored)
            return seen._replace(
                pixels=seen.pixels.gather(2, chosen[:, None, :, None].expand(-1, seen.pixels.shape[1], -1, 2))
            )

    recipe = recipe.override(teacher={"standardize": False}, steps=4)
    run(recipe, tmp_path / "stored", cache)
    monkeypatch.setattr(pretraining, "cached_targets", Exact)
    run(recipe, tmp_path / "exact", cache)
    losses = [[line["loss"] for line in curve(tmp_path / name)] for name in ("stored", "exact")]
    assert losses[0] == pytest.approx(losses[1], rel=5e-3) and losses[0] != losses[1]


def test_non_finite_loss_stops_with_the_step(
    recipe: PretrainRecipe, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pretraining.augment
    calls = 0

    def poisoned(points: torch.Tensor, *rest: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return original(points, *rest) * (float("nan") if calls == 4 else 1.0)

    monkeypatch.setattr(pretraining, "augment", poisoned)
    with pytest.raises(ValueError) as raised:
        run(recipe.override(log_steps=100), tmp_path, cache)
    assert re.fullmatch(
        r"step 3: loss is nan; its clouds are (\S+clouds\.npz, row \d+(; )?){3} and 5 more "
        r"\(all in broken_step_00000003\.txt\); the last good checkpoint is \S+step_00000002\.pt; .*",
        str(raised.value),
    )
    listed = (tmp_path / "broken_step_00000003.txt").read_text(encoding="utf-8").splitlines()
    order = np.random.default_rng([0, 1, 1]).permutation(24)[:8]  # the second epoch's first batch
    assert [int(line.rpartition(" ")[2]) for line in listed] == order.tolist()


def test_non_finite_gradient_stops_before_it_is_stored(
    recipe: PretrainRecipe, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pretraining.augment
    calls = 0

    def poisoned(self: torch.Tensor, *rest: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 2:  # an infinite gradient under a finite loss, at the very step of a checkpoint
            parameter = next(iter(models[-1].parameters()))
            parameter.register_hook(lambda gradient: gradient + float("inf"))
        return original(self, *rest)

    models: list[torch.nn.Module] = []
    create = pretraining.create_pretraining_model

    def created(*arguments: object) -> torch.nn.Module:
        models.append(create(*arguments))
        return models[-1]

    monkeypatch.setattr(pretraining, "create_pretraining_model", created)
    monkeypatch.setattr(pretraining, "augment", poisoned)
    for clip_norm in (5.0, 0.0):
        calls = 0
        out = tmp_path / str(clip_norm)
        with pytest.raises(
            ValueError, match=r"step 1: gradient norm is (inf|nan); .*; there is no checkpoint"
        ):
            run(recipe.override(log_steps=100, clip_norm=clip_norm), out, cache)
        assert not list_checkpoints(out / "checkpoints")


def test_resume_with_settings_of_the_command_line(
    recipe: PretrainRecipe,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        run(recipe, out, cache)
    resume = ["pretrain", "--out", str(out), "--cache", str(cache), "--resume"]
    assert main([*resume, "--set", "seed=5"]) == 2
    assert "seed is 5, but the run in" in capsys.readouterr().err
    assert main([*resume, "--set", "log_steps=4"]) == 0
    assert [line["step"] for line in curve(out)] == [1, 2, 4, 6]


def test_resuming_with_another_recipe(
    recipe: PretrainRecipe, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 2, signal.SIGINT)
        run(recipe, tmp_path / "run", cache)
    with pytest.raises(ValueError, match=r"learning_rate is 0\.5, but the run in .* has 0\.001"):
        run(recipe.override(learning_rate=0.5), tmp_path / "run", cache, resume=True)
    assert run(recipe.override(checkpoint_steps=3), tmp_path / "run", cache, resume=True).completed
    with pytest.raises(FileNotFoundError, match="empty: there is no run in it"):
        run(None, tmp_path / "empty", cache, resume=True)


def test_what_is_said_of_a_folder_that_is_not_to_be_trained_in(
    recipe: PretrainRecipe,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        run(recipe, out, cache)
    with locked_run_folder(out), pytest.raises(ValueError, match="run: another process is training in it"):
        run(None, out, cache, resume=True)
    known = (out / "environment.json").read_text(encoding="utf-8")
    (out / "environment.json").write_text(
        known.replace('clouds.npz": "', 'clouds.npz": "0'), encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"data: clouds\.npz has changed since the run began"):
        run(None, out, cache, resume=True)
    (out / "environment.json").write_text(known, encoding="utf-8")
    (out / "checkpoints" / ".step_00000004.pt.123.tmp").write_bytes(b"of a killed process")
    assert run(None, out, cache, resume=True).completed
    assert not list((out / "checkpoints").glob(".*"))
    weights = (out / "model.safetensors").read_bytes()
    assert main(["pretrain", "--out", str(out), "--resume"]) == 0
    assert "finished already, 6 steps" in capsys.readouterr().out
    assert (out / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": {"name": "mobilnetv2_100"}}, "near ones: mobilenetv2_100"),
        ({"teacher": {"weights": "nowhere.npz"}}, "nowhere.npz: no such file"),
        ({"data": ("nowhere.npz",)}, "nowhere.npz: no such file"),
        ({"cloud_points": 4096}, "160 points a cloud, .*--set cloud_points="),
        ({"data": ()}, "--data"),
        ({"model": "i2p_mae_tny"}, "i2p_mae_tiny"),
        ({"model_arguments": {"dephts": [1]}}, "did you mean depths"),
        ({"model_arguments": {"num_views": 6}}, "num_views is 6, but with teacher mobilenetv2_050 it is 3"),
        (
            {"model_arguments": {"weight_2d": 1.0}, "teacher": {"name": ""}},
            r"recipe: model_arguments\.weight_2d is 1\.0, but without a teacher it is 0\.0; leave it out",
        ),
    ],
)
def test_a_wrong_recipe_leaves_nothing(
    recipe: PretrainRecipe, tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        pretrain(recipe.override(**changes), tmp_path / "new" / "run", progress=False)
    assert not list(tmp_path.iterdir())


def test_data_is_looked_at_before_a_teacher_is_downloaded(
    recipe: PretrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm")
    create, downloads = timm.create_model, []

    def offline(name: str, pretrained: bool = False, **options: object) -> object:
        if pretrained:
            downloads.append(name)
            raise ConnectionError("no route to host")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    recipe = recipe.override(teacher={"weights": "pretrained"})
    wrong = recipe.override(data=[*recipe.data, "nowhere.npz"])
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz: no such file"):
        pretrain(wrong, tmp_path / "new" / "run", progress=False)
    assert not downloads
    with pytest.raises(OSError, match=r"no route to host.*--set teacher\.weights=FILE \(or random"):
        pretrain(recipe, tmp_path / "new" / "run", progress=False)
    assert downloads and not list(tmp_path.iterdir())


def test_what_is_said_without_a_terminal(
    recipe: PretrainRecipe,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    out = tmp_path / "my run"
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        result = pretrain(recipe.override(procedural_clouds=5, warmup_steps=9), out, cache=cache)
    said = capsys.readouterr().err.splitlines()
    lines = [line for line in said if line.startswith("train: ")]
    first, second = (line for line in said if not re.match(r"[\w ]+: \d+ of \d+ \w+", line))
    assert first == (
        "i2p_mae_tiny on 24 clouds + 5 procedural, teacher mobilenetv2_050 with random weights, "
        f"6 steps of 8: {out}"
    )
    assert second == "warmup_steps asks for 9 steps, but the run has 6 steps: the warm-up is cut to 0"
    assert [line.partition(",")[0] for line in lines] == ["train: 1 of 6 steps", "train: 2 of 6 steps"]
    losses = r"loss \d.*, 3d \d.*, 2d \d.*, \d+ clouds/s"  # of the step before
    assert re.fullmatch(rf"train: 2 of 6 steps, \S+ (a second|s each), \d+:\d\d left, {losses}", lines[1])
    assert f"to go on: pointmae-zoo pretrain --out '{out}' --resume" in str(result)
    assert "stopped after step 2 (" in str(result)
    result = pretrain(None, out, resume=True, progress=False)
    assert capsys.readouterr().err == ""
    made = json.loads((out / "config.json").read_text(encoding="utf-8"))["provenance"]
    assert (made["recipe"]["warmup_steps"], made["warmup_cut_to"]) == (9, 0)
    assert re.match(rf"{out}: 4 of 6 steps in \d+ s, ", str(result))


@pytest.mark.slow
def test_the_papers_recipe_takes_a_step_on_shapenet55(tmp_path: Path) -> None:
    """At its own size, with a CLIP ViT-B/16 of random weights."""
    folder = tmp_path / "ShapeNet55-34"
    (folder / "shapenet_pc").mkdir(parents=True)
    (folder / "ShapeNet-55").mkdir()
    rng = np.random.default_rng(0)
    names = [f"02691156-{number:032x}.npy" for number in range(4)]
    for name in names:
        np.save(folder / "shapenet_pc" / name, rng.normal(size=(8192, 3)).astype(np.float32))
    (folder / "ShapeNet-55" / "train.txt").write_text("\n".join(names[:3]) + "\n", encoding="utf-8")
    (folder / "ShapeNet-55" / "test.txt").write_text(names[3] + "\n", encoding="utf-8")
    words = ["pretrain", "--recipe", "pretrain_shapenet", "--data", f"shapenet55:{folder}"]
    for change in ("teacher.weights=random", "steps=1", "batch_size=2", "log_steps=1"):
        words += ["--set", change]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    (line,) = curve(tmp_path / "run")
    assert line["learning_rate"] == 1e-6 and np.isfinite(line["loss"]) and line["loss_2d"] > 0
    made = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert made["provenance"]["clouds_from_data"] == 3
    assert (made["arguments"]["teacher_dim"], made["arguments"]["num_views"]) == (512, 3)


def test_geometry_stays_float32_under_bfloat16(tiny: dict[str, list[int]]) -> None:
    torch.manual_seed(0)
    model = create_model("i2p_mae_tiny", **tiny).eval()
    points = torch.randn(2, 64, 3)
    expected = model.group(points)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.group(points)
    assert torch.equal(expected.indices, found.indices)
    assert all(
        torch.equal(one, other) for one, other in zip(expected.neighbors, found.neighbors, strict=True)
    )
    assert all(one.dtype == torch.float32 for one in found.centers)
