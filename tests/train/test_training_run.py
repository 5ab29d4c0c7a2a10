"""What a run remembers in its folder, what it tells the public, and runs of older versions."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pointmae_zoo.cli import main
from pointmae_zoo.datasets.augmentation import augment
from pointmae_zoo.train import (
    PretrainRecipe,
    TeacherSettings,
    TrainingResult,
    pretrain,
    pretraining,
    read_recipe,
)
from pointmae_zoo.train.checkpoints import list_checkpoints
from pointmae_zoo.train.provenance import provenance
from pointmae_zoo.train.training_run import SessionPlace
from pointmae_zoo.viz import draw_reconstruction

pytest.importorskip("accelerate")
pytestmark = pytest.mark.usefixtures("quick_preview")


@pytest.fixture
def recipe(tmp_path: Path, tiny: dict[str, list[int]]) -> PretrainRecipe:
    points = np.random.default_rng(0).normal(size=(8, 64, 3)).astype(np.float32)
    points[0] = 0.25  # a cloud with no extent, which there is no way to draw
    np.save(tmp_path / "clouds.npy", points)
    return PretrainRecipe(
        model_arguments=tiny,
        data=(str(tmp_path / "clouds.npy"),),
        procedural_clouds=4,
        cloud_points=64,
        num_points=64,
        teacher=TeacherSettings(name=""),
        steps=4,
        batch_size=4,
        precision="float32",
        checkpoint_steps=2,
        log_steps=1,
    )


def run(recipe: PretrainRecipe | None, out: Path, **arguments: Any) -> TrainingResult:
    return pretrain(recipe, out, progress=False, **arguments)


def undo_the_end(out: Path, steps: int = 4) -> None:
    """As if the process had been killed after the checkpoint of these steps."""
    (out / "model.safetensors").unlink()
    for path in list_checkpoints(out / "checkpoints"):
        if int(path.stem.removeprefix("step_")) > steps:
            path.unlink()


def environment(out: Path) -> dict[str, Any]:
    return json.loads((out / "environment.json").read_text(encoding="utf-8"))


def test_a_cloud_that_cant_be_drawn_costs_no_weights(
    recipe: PretrainRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(pretraining, "draw_reconstruction", draw_reconstruction)
    assert run(recipe, tmp_path / "run").completed
    assert re.search(
        r"preview\.png: not drawn \(fewer than two different points.*\)\n", capsys.readouterr().err
    )
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert run(None, tmp_path / "run", resume=True).completed


@pytest.mark.parametrize(
    ("error", "said"),
    [(RuntimeError("CUDA out of memory.\nTried to"), "CUDA out of memory."), (MemoryError(), "MemoryError")],
)
def test_weights_come_before_the_picture(
    recipe: PretrainRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    said: str,
) -> None:
    def fail(*_: object) -> None:
        assert (tmp_path / "run" / "model.safetensors").is_file()
        raise error

    monkeypatch.setattr(pretraining, "draw_reconstruction", fail)
    assert run(recipe, tmp_path / "run").completed
    assert f"preview.png: not drawn ({said})\n" in capsys.readouterr().err


def test_a_resumed_run_has_the_cache_it_had(
    recipe: PretrainRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, shared = tmp_path / "run", tmp_path / "shared"
    run(recipe, out, cache=shared)
    undo_the_end(out)
    capsys.readouterr()
    run(None, out, resume=True)
    assert not (out / "cache").exists() and "resuming with" not in capsys.readouterr().err
    undo_the_end(out)
    run(None, out, resume=True, cache=tmp_path / "other")
    assert f"run: resuming with cache {tmp_path / 'other'} (before: {shared})\n" in capsys.readouterr().err
    assert [one["asked"]["cache"] for one in environment(out)["sessions"]] == [
        str(shared),
        str(shared),
        str(tmp_path / "other"),
    ]


def test_a_run_is_moved_with_its_cache(recipe: PretrainRecipe, tmp_path: Path) -> None:
    run(recipe, tmp_path / "before")
    assert environment(tmp_path / "before")["sessions"][0]["asked"] == {"device": "cpu", "cache": "cache"}
    undo_the_end(tmp_path / "before")
    shutil.move(tmp_path / "before", tmp_path / "after")
    run(None, tmp_path / "after", resume=True)
    assert not (tmp_path / "before").exists()


def test_a_cache_in_the_home_folder_is_remembered_without_its_owner(
    recipe: PretrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "jane"))
    monkeypatch.chdir(tmp_path)
    run(recipe, tmp_path / "run", cache="home/jane/shared")
    assert environment(tmp_path / "run")["sessions"][0]["asked"]["cache"] == "~/shared"
    place, said = SessionPlace.settled(tmp_path / "run", None, None, resume=True)
    assert place.cache == tmp_path / "home" / "jane" / "shared" and said == ""


@pytest.mark.parametrize("old", [False, True])
def test_a_resumed_run_is_on_the_device_it_was_on(
    recipe: PretrainRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: bool
) -> None:
    out = tmp_path / "run"
    run(recipe, out)
    undo_the_end(out)
    before = environment(out)
    session = before["sessions"][0]
    session["device"] = "cuda (NVIDIA H200)"
    session["asked"]["device"] = "cuda:1"
    if old:
        del session["asked"]
    (out / "environment.json").write_text(json.dumps(before), encoding="utf-8")
    device = "cuda" if old else "cuda:1"
    assert SessionPlace.settled(out, None, None, resume=True)[0].device == device
    assert SessionPlace.settled(out, None, None, resume=False)[0].device == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=f"device {device}: not there"):
            run(None, out, resume=True)
    assert main(["pretrain", "--out", str(out), "--resume", "--device", "cpu"]) == 0
    assert f"{out}: resuming with device cpu (before: {device})\n" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "state"), [(None, "missing"), ("{", "unreadable"), ("[]", "unreadable")])
def test_data_that_could_not_be_compared(
    recipe: PretrainRecipe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    state: str,
) -> None:
    out = tmp_path / "run"
    run(recipe, out)
    undo_the_end(out)
    (out / "environment.json").unlink()
    if text is not None:
        (out / "environment.json").write_text(text, encoding="utf-8")
    assert run(None, out, resume=True).completed
    assert f"environment.json: {state}, so the data can't be compared with" in capsys.readouterr().err
    assert len(environment(out)["sessions"]) == 1


def test_a_run_of_an_older_version_resumes(recipe: PretrainRecipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(recipe, out)
    metrics = (out / "metrics.jsonl").read_bytes()
    undo_the_end(out, steps=2)
    values = yaml.safe_load((out / "recipe.yaml").read_text(encoding="utf-8"))
    del values["teacher"]["image_size"]
    del values["augmentation"]["scale_draw"], values["augmentation"]["normalize_first"]
    (out / "recipe.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    before = environment(out)
    del before["sessions"][0]["asked"]
    before["data_sha256"] = {f"old name of {name}": one for name, one in before["data_sha256"].items()}
    (out / "environment.json").write_text(json.dumps(before), encoding="utf-8")
    (newest,) = list_checkpoints(out / "checkpoints")
    state = torch.load(newest)
    del state["unwritten_metrics"]
    torch.save(state, newest)
    result = run(recipe, out, resume=True)
    assert result.completed and (out / "metrics.jsonl").read_bytes() == metrics


class Source:
    """As much of a source as is published."""

    def __init__(self, entries: int) -> None:
        self.sha256 = [f"{entry:064x}" for entry in range(entries)]

    def __len__(self) -> int:
        return 10


def test_published_names_tell_entries_apart_and_nothing_of_the_machine() -> None:
    names = {
        "/home/me/a:b/c.npz": "c.npz",
        "/home/me/a:b": "a:b",
        "~/parts": "parts",
        "shapenet55:/home/me/sn:55": "shapenet55:sn:55",
        "scanobjectnn:/home/me/h5/main_split/training_objectdataset.h5": (
            "scanobjectnn:main_split/training_objectdataset.h5"
        ),
        "scanobjectnn:/home/me/h5/main_split_nobg/training_objectdataset.h5": (
            "scanobjectnn:main_split_nobg/training_objectdataset.h5"
        ),
        "modelnet40:.": "modelnet40:.",
    }
    recipe = PretrainRecipe(data=tuple(names), procedural_clouds=0, steps=1)
    result = TrainingResult(Path("x"), 1, True, "pretrain")
    made = provenance(recipe, Source(len(names)), result, None)  # type: ignore[arg-type]
    assert made["recipe"]["data"] == list(made["data_sha256"]) == list(names.values())
    assert "/me" not in json.dumps(made) and "warmup_cut_to" not in made


def test_the_teacher_sees_images_of_the_wanted_size(recipe: PretrainRecipe, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    teacher = {"name": "mobilenetv2_050", "weights": "random", "views": 3, "size": 32, "image_size": 64}
    run(recipe.override(teacher=teacher, steps=1, procedural_clouds=0), tmp_path / "run")
    (stored,) = (tmp_path / "run" / "cache").glob("teacher-*")
    assert json.loads((stored / "settings.json").read_text(encoding="utf-8"))["image_size"] == 64
    maps = np.load(stored / "part-00000.npy").dtype["maps_0"].shape
    assert maps[-2:] == (8, 8)  # 64 pixels at a stride of 8


def test_the_papers_augmentation() -> None:
    """The chosen points in the unit sphere, each axis times U(2/3, 3/2), plus U(-0.2, 0.2)."""
    recipe = read_recipe("pretrain_shapenet")
    generator = torch.Generator().manual_seed(0)
    clouds = 3.0 * torch.rand(4000, 16, 3, generator=generator) + 1.0
    found = augment(clouds, recipe.augmentation, generator).double()
    whole = clouds.double() - clouds.double().mean(1, keepdim=True)
    whole = whole / whole.norm(dim=2).amax(1)[:, None, None]
    shift = found.mean(1)
    factors = ((found[:, 0] - shift) / whole[:, 0]).flatten()
    for values, low, high in ((factors, 2 / 3, 3 / 2), (shift.flatten(), -0.2, 0.2)):
        # Quantiles of a uniform distribution, of 12,000 values: each within 0.02 of the range.
        at = torch.linspace(0, 1, 11, dtype=torch.float64)
        expected = low + (high - low) * at
        assert torch.allclose(values.quantile(at), expected, atol=0.02 * (high - low))
    assert recipe.teacher.precision == "auto"
