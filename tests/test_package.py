"""The package as it is installed: what importing it costs, what its wheel holds, which way imports run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import pointmae_zoo
from pointmae_zoo import cli
from pointmae_zoo.train import list_recipes
from samples.hub import LoopbackHub

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pointmae_zoo"
HEAVY = ("torch", "numpy", "timm", "trimesh", "matplotlib", "sklearn", "numba", "scipy", "pyarrow", "tqdm")


def loaded_after(code: str) -> set[str]:
    """Which of the heavy libraries a fresh interpreter holds after running the code."""
    report = f"{code}\nimport sys\nprint(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_package_imports_no_library():
    assert loaded_after("import pointmae_zoo") == set()


def test_mesh_files_are_read_without_torch():
    """Reader processes start in a fraction of the time that torch takes to import."""
    assert "torch" not in loaded_after("import pointmae_zoo.shapes.read")


def test_models_cost_torch_and_nothing_else_that_is_heavy():
    code = "from pointmae_zoo import create_model, embed_files, from_pretrained"
    # torch itself imports what it likes (numpy, in some versions more).
    assert loaded_after(code) - loaded_after("import torch") <= {"numpy"}


def test_every_public_name_is_there():
    for name in pointmae_zoo.__all__:
        assert callable(getattr(pointmae_zoo, name)), name
        assert name in dir(pointmae_zoo)
    with pytest.raises(AttributeError, match="no attribute 'from_pretraned'"):
        _ = pointmae_zoo.from_pretraned


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout, built by the backend itself: no index and no network are asked."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(folder / done.stdout.split()[-1])


def test_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile):
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {"pointmae_zoo"}
    on_disk = {file.relative_to(ROOT).as_posix() for file in PACKAGE.rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == on_disk
    assert "pointmae_zoo/py.typed" in names


def test_wheel_holds_the_bundled_weights(wheel: zipfile.ZipFile):
    listed = pointmae_zoo.list_weights()
    assert listed, "no weights are published: the first-screen command of the README cannot work"
    for name in listed:
        for file in ("model.safetensors", "config.json"):
            assert f"pointmae_zoo/weights/{name}/{file}" in wheel.namelist()
    assert sum(entry.compress_size for entry in wheel.infolist()) < 10e6


def test_wheel_holds_the_recipes(wheel: zipfile.ZipFile):
    assert len(list_recipes()) >= 3
    assert {f"pointmae_zoo/recipes/{name}.yaml" for name in list_recipes()} <= set(wheel.namelist())


def test_wheel_tells_name_version_licence_and_command(wheel: zipfile.ZipFile):
    inside = {name.split("/", 1)[1]: name for name in wheel.namelist() if ".dist-info/" in name}
    metadata = wheel.read(inside["METADATA"]).decode()
    assert "Name: pointmae-zoo\n" in metadata
    assert f"Version: {pointmae_zoo.__version__}\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "Apache License" in wheel.read(inside["licenses/LICENSE"]).decode()
    assert "pointmae-zoo = pointmae_zoo.cli:main" in wheel.read(inside["entry_points.txt"]).decode()


def layers_broken_by(folder: Path, file: str, line: str) -> str:
    """Import-linter's complaint about a copy of the package with one line more; empty where it has none."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(
        PACKAGE, folder / "pointmae_zoo", ignore=shutil.ignore_patterns("weights", "__pycache__", ".*")
    )
    with open(folder / "pointmae_zoo" / file, "a", encoding="utf-8") as stream:
        stream.write(f"\n\ndef _later() -> None:\n    {line}\n")
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(lint), "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("ops/sampling.py", "import pointmae_zoo.models"),
        ("shapes/read.py", "from pointmae_zoo import hub"),
        ("registry.py", "from pointmae_zoo.hub import from_pretrained"),
        ("evaluate/linear.py", "import pointmae_zoo.train"),
    ],
)
def test_gate_sees_an_upward_or_sideways_import(tmp_path: Path, file: str, line: str):
    assert "Imports run downwards BROKEN" in layers_broken_by(tmp_path, file, line)


def test_gate_passes_a_downward_import(tmp_path: Path):
    assert layers_broken_by(tmp_path, "hub/__init__.py", "import pointmae_zoo.ops") == ""


def readme_blocks(language: str) -> list[str]:
    return re.findall(
        rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )


def test_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: LoopbackHub, tiny: dict[str, list[int]]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    model = pointmae_zoo.create_model("i2p_mae_tiny", kind="pretraining", **tiny)
    pointmae_zoo.push_to_hub(pointmae_zoo.save_pretrained(model, "runs/smoke"), "alice/smoke", private=True)
    Path("parts").mkdir()
    cloud = np.random.default_rng(0).normal(size=(1500, 3)).astype(np.float32)
    np.save("parts/cloud.npy", cloud)
    names = {"pointmae_zoo": pointmae_zoo, "points_a": cloud, "points_b": cloud[:700] * [1, 2, 3]}
    blocks = readme_blocks("python")
    assert len(blocks) >= 3
    for block in blocks:
        exec(block.replace("path/to/clone", str(ROOT)).replace("your-name", "alice"), names)


def test_commands_of_the_readme_are_ones():
    lines = [line for block in readme_blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("pointmae-zoo ")]
    assert len(commands) >= 4
    for command in commands:
        function, _, _ = cli.build_app().parse_args(command)
        assert function.__module__.startswith("pointmae_zoo.cli.")
