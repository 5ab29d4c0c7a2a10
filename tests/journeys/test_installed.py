"""The wheel and the source archive, installed alone, run the README's commands with no clone in sight."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import pointmae_zoo

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MESHES = ROOT / "examples" / "meshes"


class Environment(NamedTuple):
    """A virtual environment that has the libraries of this one, and of our package what was installed."""

    folder: Path

    def command(self, name: str) -> str:
        scripts = sysconfig.get_path("scripts", "venv", {"base": str(self.folder)})
        return str(Path(scripts) / name)

    def packages(self) -> Path:
        return Path(sysconfig.get_path("purelib", "venv", {"base": str(self.folder)}))

    def run(self, *command: str, cwd: Path) -> str:
        """What a command printed; it must succeed. PYTHONPATH leads nowhere near the clone."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [self.command(command[0]), *command[1:]],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def install(self, archive: Path) -> None:
        """No index is asked: the libraries, hatchling among them, are there by a .pth file."""
        venv.create(self.folder, symlinks=os.name != "nt")
        libraries = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
        # A .pth file inside a folder that is added by one is not read: no editable install gets in this way.
        (self.packages() / "libraries.pth").write_text("\n".join(libraries), encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "--python", self.command("python"), "install"]
        subprocess.run(
            [*pip, "--quiet", "--no-index", "--no-deps", "--no-build-isolation", str(archive)],
            check=True,
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        )


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive of this checkout, and the wheel that is built from what it holds."""
    folder = tmp_path_factory.mktemp("dist")
    build = "import sys; from hatchling.build import {0}; print({0}(sys.argv[1]))"

    def built(what: str, source: Path) -> Path:
        command = [sys.executable, "-c", build.format(what), str(folder)]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return folder / done.stdout.split()[-1]

    archive = built("build_sdist", ROOT)
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    return archive, built("build_wheel", source)


@pytest.fixture(scope="module")
def installed(archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("wheel"))
    environment.install(archives[1])
    return environment


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where somebody follows the README: a folder with the files that it speaks of."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(MESHES, folder / "parts")
    shutil.copytree(MESHES, folder / "new")
    shutil.copy(MESHES / "bracket_plain.stl", folder / "parts" / "bracket.stl")
    for path in MESHES.iterdir():
        kind = path.name.partition("_")[0]
        for number in range(4):
            (folder / "my_shapes" / kind).mkdir(parents=True, exist_ok=True)
            cloud = pointmae_zoo.read_points(path, 1024, seed=number)
            np.save(folder / "my_shapes" / kind / f"{path.stem}_{number}.npy", cloud)
    rng = np.random.default_rng(0)
    clouds = {"ball": rng.normal(size=(20, 1024, 3)), "plate": rng.normal(size=(20, 1024, 3)) * [1, 1, 0.02]}
    points = np.concatenate(list(clouds.values())).astype(np.float32)
    label = np.repeat(np.arange(2), 20)
    split = np.tile(np.array(["train", "test"]), 20)
    np.savez(folder / "labelled.npz", points=points, y=label, split=split, classes=np.array([*clouds]))
    return folder


def test_the_package_comes_from_the_wheel(installed: Environment, tmp_path: Path) -> None:
    code = "import pointmae_zoo as p, importlib.metadata as m; print(p.__file__, m.version('pointmae-zoo'))"
    file, version = installed.run("python", "-c", code, cwd=tmp_path).split()
    assert Path(file).is_relative_to(installed.folder)
    assert version == pointmae_zoo.__version__


# Not run: what needs a network, somebody's own checkpoint, or hours.
LEFT_OUT = (
    "push",
    "convert",
    "pretrain --recipe pretrain_tiny",
    "embed parts/ --out features.npz --model your-name",
)
QUICK = {"finetune": ["--set", "steps=2", "--set", "warmup_steps=0", "--set", "batch_size=8"]}
RUN = ("embed", "similar", "duplicates", "predict", "finetune", "evaluate", "pretrain")


def test_the_commands_of_the_readme_run(installed: Environment, desk: Path) -> None:
    """In their order, once each; `runs/parts`, which would take hours, is the smoke test's run."""
    lines = [
        line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()
    ]
    done = []
    for line in dict.fromkeys(line.partition("  #")[0].strip() for line in lines):
        name, _, command = line.partition(" ")
        if name != "pointmae-zoo" or command.startswith(LEFT_OUT):
            continue
        words = shlex.split(command)
        installed.run("pointmae-zoo", *words, *QUICK.get(words[0], []), cwd=desk)
        done.append(words[0])
        if words[0] == "pretrain" and not (desk / "runs" / "parts").exists():
            shutil.copytree(desk / "runs" / "smoke", desk / "runs" / "parts")
    assert set(done) == set(RUN)
    for written in (
        "features.npz",
        "duplicates.html",
        "what.csv",
        "confusion.png",
        "runs/smoke/model.safetensors",
    ):
        assert (desk / written).stat().st_size > 100
    assert list((desk / "runs" / "parts" / "evaluations").glob("*.json"))


def test_the_python_of_the_readme_runs(installed: Environment, desk: Path) -> None:
    """But for the blocks about the Hub and torch.hub, which tests/test_package.py runs."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    own = [block for block in blocks if "your-name" not in block and "path/to/clone" not in block]
    assert len(own) >= 3
    given = """
        import numpy as np
        points_a, points_b = np.random.default_rng(0).normal(size=(2, 1500, 3))
    """
    script = textwrap.dedent(given) + "\n".join(own) + "\nprint(table.features.shape[0])"
    assert installed.run("python", "-c", script, cwd=desk).split()[-1] == str(len(list(MESHES.iterdir())) + 1)


def test_python_m_is_the_command(installed: Environment, tmp_path: Path) -> None:
    for module in ("pointmae_zoo", "pointmae_zoo.cli"):
        said = installed.run("python", "-m", module, "list", "--weights", cwd=tmp_path)
        assert said == installed.run("pointmae-zoo", "list", "--weights", cwd=tmp_path)
        assert pointmae_zoo.DEFAULT_MODEL in said


def test_the_source_archive_installs_the_same_files(archives: tuple[Path, Path], tmp_path: Path) -> None:
    archive, wheel = archives
    environment = Environment(tmp_path / "venv")
    environment.install(archive)
    with zipfile.ZipFile(wheel) as packed:
        names = [name for name in packed.namelist() if name.startswith("pointmae_zoo/")]
        assert len(names) > 200
        for name in names:
            assert (environment.packages() / name).read_bytes() == packed.read(name), name
    assert pointmae_zoo.DEFAULT_MODEL in environment.run("pointmae-zoo", "list", "--weights", cwd=tmp_path)


def test_the_source_archive_holds_what_tests_need_and_no_more(archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[0]) as packed:
        top = {name.split("/")[1] for name in packed.getnames() if "/" in name}
    git = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if git.returncode:
        pytest.skip("no checkout of git")
    tracked = {line.split("/")[0] for line in git.stdout.splitlines()}
    assert top - tracked == {"PKG-INFO"}
    assert {"pointmae_zoo", "tests", "examples", "docs", "README.md", "LICENSE", "CHANGELOG.md"} <= top
