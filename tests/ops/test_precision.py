"""``precision: auto``: what it chooses by what, says, and leaves beside every number."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pointmae_zoo.evaluate import evaluate_finetuned, evaluate_linear
from pointmae_zoo.models.teacher.image_teacher import Teacher
from pointmae_zoo.ops import precision
from pointmae_zoo.ops.precision import chosen_precision, has_bfloat16
from pointmae_zoo.train import (
    FinetuneRecipe,
    PretrainRecipe,
    TeacherSettings,
    finetune,
    pretrain,
    read_recipe,
)
from pointmae_zoo.train.checkpoints import list_checkpoints
from pointmae_zoo.train.recipe_files import list_recipes
from samples.finetuning import pretrained, small_recipe, stop_after
from samples.labelled import labelled_file

pytest.importorskip("accelerate")
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def processor(monkeypatch: pytest.MonkeyPatch, kernels: str, bf16: bool, amx: bool, onednn: bool) -> None:
    """Have torch say this of the processor."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: kernels)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn, raising=False)


@pytest.mark.parametrize(
    ("kernels", "bf16", "amx", "onednn", "chosen"),
    [
        ("AVX512", True, False, True, "bfloat16"),  # Cooper Lake, Zen 4
        ("AVX512", True, True, True, "bfloat16"),  # Sapphire Rapids
        ("AVX512", False, True, True, "bfloat16"),
        ("AVX512", False, False, True, "float32"),  # Skylake-X: oneDNN emulates it
        ("AVX2", False, False, False, "float32"),
        ("AVX2", True, True, True, "float32"),  # ATEN_CPU_CAPABILITY=avx2
        ("AVX512", True, True, False, "float32"),  # ONEDNN_MAX_CPU_ISA=AVX2
        ("DEFAULT", False, False, False, "float32"),
    ],
)
def test_what_processors_get(
    kernels: str, bf16: bool, amx: bool, onednn: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, kernels, bf16, amx, onednn)
    assert chosen_precision("auto", CPU) == chosen
    assert chosen_precision("float32", CPU) == "float32"
    assert chosen_precision("bfloat16", CPU) == "bfloat16"


def test_a_torch_that_cannot_say_gets_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, "AVX512", True, True, True)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert chosen_precision("auto", CPU) == "float32"


def test_what_other_devices_get(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_precision("auto", torch.device("meta")) == "float32"
    for there in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
        assert has_bfloat16(GPU) == there
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert chosen_precision("auto", GPU) == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("order", [{"ATEN_CPU_CAPABILITY": "avx2"}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}])
def test_a_processor_that_is_told_to_do_without(order: dict[str, str]) -> None:
    program = "import torch; from pointmae_zoo.ops.precision import has_bfloat16\n"
    program += "print(has_bfloat16(torch.device('cpu')))"
    environment = {**os.environ, **order, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_leaves_it_to_the_device(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.precision == "auto"
    if isinstance(recipe, PretrainRecipe):
        assert recipe.teacher.precision == "auto"


def test_a_teacher_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = Teacher("mobilenetv2_035", weights="random", precision="auto")
    for there, name in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(precision, "has_bfloat16", lambda device, there=there: there)
        assert teacher.computes_in(CPU) == name


@pytest.fixture
def automatic(tmp_path: Path) -> FinetuneRecipe:
    recipe = small_recipe(labelled_file(tmp_path / "clouds.npz"), pretrained(tmp_path / "weights"))
    return recipe.override(precision="auto", steps=4)


@pytest.mark.parametrize("there", [True, False])
def test_a_run_says_and_stores_what_it_was(
    automatic: FinetuneRecipe,
    there: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And so does what is evaluated of it; whatever the machine of a resumption has, the run keeps to it."""
    chosen = "bfloat16" if there else "float32"
    out = tmp_path / "run"
    monkeypatch.setattr("pointmae_zoo.ops.precision.has_bfloat16", lambda device: there)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        assert not finetune(automatic, out).completed
    assert f"precision: auto is {chosen} here (" in capsys.readouterr().err
    assert read_recipe(out / "recipe.yaml").precision == chosen
    monkeypatch.setattr("pointmae_zoo.ops.precision.has_bfloat16", lambda device: not there)
    monkeypatch.setattr("pointmae_zoo.train.training_run.has_bfloat16", lambda device: not there)
    assert finetune(automatic, out, resume=True).completed
    said = capsys.readouterr().err
    assert "auto" not in said and ("bfloat16 is emulated" in said) == there
    assert read_recipe(out / "recipe.yaml").precision == chosen
    made = json.loads((out / "config.json").read_text())["provenance"]
    assert made["recipe"]["precision"] == chosen
    sessions = json.loads((out / "environment.json").read_text())["sessions"]
    assert [one["precision"] for one in sessions] == [chosen, chosen]
    report = evaluate_finetuned(out, automatic.data, progress=False)
    assert report.context["recipe"]["precision"] == chosen and report.context["precision"] == "float32"
    report = evaluate_linear(automatic.weights, automatic.data, num_points=64, seeds=0, progress=False)
    assert report.context["precision"] == "float32"


@pytest.mark.usefixtures("quick_preview")
@pytest.mark.parametrize("there", [True, False])
def test_a_teachers_too(
    there: bool, tmp_path: Path, tiny: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    monkeypatch.setattr("pointmae_zoo.ops.precision.has_bfloat16", lambda device: there)
    np.save(tmp_path / "clouds.npy", np.random.default_rng(0).normal(size=(4, 64, 3)).astype(np.float32))
    recipe = PretrainRecipe(
        model_arguments=tiny,
        data=(str(tmp_path / "clouds.npy"),),
        procedural_clouds=0,
        cloud_points=64,
        num_points=64,
        teacher=TeacherSettings(name="mobilenetv2_035", weights="random", views=3, size=32),
        steps=1,
        batch_size=4,
    )
    out = tmp_path / "run"
    pretrain(recipe, out, progress=False)
    stored, chosen = read_recipe(out / "recipe.yaml"), "bfloat16" if there else "float32"
    assert (stored.precision, stored.teacher.precision) == (chosen, chosen)
    assert (
        json.loads((out / "config.json").read_text())["provenance"]["recipe"]["teacher"]["precision"]
        == chosen
    )
    (settings,) = (out / "cache").glob("teacher-*/settings.json")
    assert json.loads(settings.read_text())["precision"] == chosen


def test_a_gpu_that_lacks_it_is_refused(automatic: FinetuneRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    out = Path(automatic.data).parent / "run"
    with pytest.raises(ValueError, match=r"device cuda: has no bfloat16, .*precision=float32"):
        finetune(automatic.override(precision="bfloat16"), out, device="cuda", progress=False)
    assert not list_checkpoints(out / "checkpoints")
