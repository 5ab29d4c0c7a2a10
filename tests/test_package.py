"""The package as it is installed: what importing it costs, what its wheel holds, which way imports run."""

import ast
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grimp
import numpy as np
import pytest
from packaging.metadata import Metadata

import pointmae_zoo
from pointmae_zoo import cli
from pointmae_zoo.cli.printing import EXTRAS
from pointmae_zoo.train import list_recipes
from pointmae_zoo.train.recipe_files import find_recipe
from samples.hub import LoopbackHub

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pointmae_zoo"
HEAVY = ("torch", "numpy", "timm", "trimesh", "matplotlib", "sklearn", "numba", "scipy", "pyarrow", "tqdm")


def loaded_after(code: str, *more: str) -> list[set[str]]:
    """Which of the heavy libraries a fresh interpreter holds after running each code, one after the other."""
    report = "import sys\n"
    for one in (code, *more):
        report += f"{one}\nprint(' '.join(m for m in {HEAVY!r} if m in sys.modules))\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return [set(line.split()) for line in done.stdout.splitlines()]


def test_importing_the_package_imports_no_library():
    assert loaded_after("import pointmae_zoo") == [set()]


def test_mesh_files_are_read_without_torch():
    """Reader processes start in a fraction of the time that torch takes to import."""
    (loaded,) = loaded_after("import pointmae_zoo.shapes.read")
    assert "torch" not in loaded


def test_models_cost_torch_and_nothing_else_that_is_heavy():
    code = "from pointmae_zoo import create_model, embed_files, from_pretrained"
    # torch itself imports what it likes (numpy, in some versions more).
    before, after = loaded_after("import torch", code)
    assert "torch" in before and after - before <= {"numpy"}


def test_every_public_name_is_there():
    for name in pointmae_zoo.__all__:
        assert callable(getattr(pointmae_zoo, name)) or name.startswith("DEFAULT_"), name
    with pytest.raises(AttributeError, match="no attribute 'from_pretraned'"):
        _ = pointmae_zoo.from_pretraned


def test_dir_shows_public_names_and_nothing_else():
    """Not even after rooms were imported, which makes them attributes of the package."""
    code = (
        "import pointmae_zoo; from pointmae_zoo import cli, models, embed_files; "
        "print(*(name for name in dir(pointmae_zoo) if not name.startswith('__')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == sorted(pointmae_zoo.__all__)
    assert "__version__" in dir(pointmae_zoo) and "__file__" in dir(pointmae_zoo)


def imports(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Every import of a file, inside functions too: the module, and the names taken from it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield node.module or "", [alias.name for alias in node.names]


def test_no_room_imports_the_root():
    """The version comes from `_version`; what the root gives is imported from where it is defined."""
    rooms = {path.stem for path in PACKAGE.iterdir()}
    for file in set(PACKAGE.rglob("*.py")) - {PACKAGE / "__init__.py"}:
        for module, names in imports(file):
            assert module != "pointmae_zoo" or (names and set(names) <= rooms), file


def test_a_file_name_occurs_once():
    """So that a name says which room it is of. A command's file is called as what it runs."""
    names = Counter(
        file.name
        for file in PACKAGE.rglob("*.py")
        if file.parent != PACKAGE / "cli" and not file.name.startswith("__")
    )
    assert [name for name, count in names.items() if count > 1] == []


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMES_WITH_TORCH = {"triton"}  # on Linux; ops/triton/dispatch.py asks whether it is there


def distributions(requirements: list[str]) -> set[str]:
    return {normalized(re.split(r"[\[>=<; ]", entry)[0]) for entry in requirements}


def normalized(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_every_import_is_declared():
    """What the package imports is a dependency, or brought by the extra that the command line names."""
    core, extras = distributions(PROJECT["dependencies"]), PROJECT["optional-dependencies"]
    brought_by = importlib.metadata.packages_distributions()
    seen = set()
    for file in PACKAGE.rglob("*.py"):
        for top in {module.partition(".")[0] for module, _ in imports(file)}:
            if top in sys.stdlib_module_names or top in {"pointmae_zoo", *COMES_WITH_TORCH}:
                continue
            seen.add(top)
            names = {normalized(name) for name in brought_by[top]}
            if not names & core:
                assert top in EXTRAS, f"{file}: {top} is neither a dependency nor in cli/printing.py's EXTRAS"
                assert names & distributions(extras[EXTRAS[top]]), f"{file}: {top} is not in its extra"
    assert {"torch", "timm", "torchvision", "sklearn", "requests"} <= seen
    for top, extra in EXTRAS.items():  # tensorboard too, which accelerate imports
        assert {normalized(name) for name in brought_by[top]} & distributions(extras[extra]), top


def test_all_is_all_extras_for_users():
    extras = PROJECT["optional-dependencies"]
    others = ",".join(name for name in extras if name not in ("all", "dev", "mutants"))
    assert extras["all"] == [f"pointmae-zoo[{others}]"]


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


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Metadata:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Metadata.from_email(wheel.read(name), validate=True)  # as an index does: raises if it is malformed


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
    assert sum(entry.compress_size for entry in wheel.infolist()) < 12e6


def test_wheel_holds_the_numbers_of_the_weights(wheel: zipfile.ZipFile):
    assert {f"pointmae_zoo/reports/{name}.csv" for name in ("results", "published")} <= set(wheel.namelist())


def test_wheel_holds_the_recipes(wheel: zipfile.ZipFile):
    assert len(list_recipes()) >= 3
    files = {find_recipe(name).relative_to(ROOT).as_posix() for name in list_recipes()}
    assert files <= set(wheel.namelist())


def test_wheel_tells_name_version_licence_and_command(wheel: zipfile.ZipFile):
    inside = {name.split("/", 1)[1]: name for name in wheel.namelist() if ".dist-info/" in name}
    metadata = wheel.read(inside["METADATA"]).decode()
    assert "Name: pointmae-zoo\n" in metadata
    assert f"Version: {pointmae_zoo.__version__}\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "Apache License" in wheel.read(inside["licenses/LICENSE"]).decode()
    assert "pointmae-zoo = pointmae_zoo.cli:main" in wheel.read(inside["entry_points.txt"]).decode()


LINKS = re.compile(r"\]\(([^)]*)\)|(?:src|href)=\"([^\"]*)\"|^\[[^\]]+\]: *(\S+)", re.MULTILINE)


def links(text: str) -> list[str]:
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [next(filter(None, found)) for found in LINKS.findall(prose)]


def test_the_readme_on_an_index_has_no_relative_link(metadata: Metadata):
    """They become addresses of this version's tag, of files that are there; the others stay as they are."""
    assert metadata.description_content_type == "text/markdown"
    here, there = links((ROOT / "README.md").read_text(encoding="utf-8")), links(metadata.description)
    assert len(here) == len(there) > 15
    home = PROJECT["urls"]["Homepage"]
    raw = home.replace("//github.com/", "//raw.githubusercontent.com/")
    relative = 0
    for link, address in zip(here, there, strict=True):
        if link.startswith("https://"):
            assert address == link
            continue
        relative += 1
        assert (ROOT / link).exists(), link
        place = raw if link.endswith(".png") else f"{home}/blob"
        assert address == f"{place}/v{pointmae_zoo.__version__}/{link}"
    assert relative > 10


def test_the_index_shows_where_the_project_lives(metadata: Metadata):
    assert set(metadata.project_urls) == {"Homepage", "Documentation", "Changelog", "Issues"}


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
        [str(lint), "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("ops/sampling.py", "import pointmae_zoo.models"),
        ("shapes/read.py", "from pointmae_zoo import hub"),
        ("models/registry.py", "from pointmae_zoo.hub import from_pretrained"),
        ("evaluate/linear.py", "import pointmae_zoo.train"),
    ],
)
def test_gate_sees_an_upward_or_sideways_import(tmp_path: Path, file: str, line: str):
    assert "Imports run downwards BROKEN" in layers_broken_by(tmp_path, file, line)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("ops/triton/kernels.py", "from pointmae_zoo.ops.triton import operators"),
        ("models/encoder.py", "from pointmae_zoo.models import i2p_mae"),
        ("hub/checkpoint/errors.py", "import pointmae_zoo.hub.pretrained"),
    ],
)
def test_gate_sees_a_circle_inside_a_room(tmp_path: Path, file: str, line: str):
    said = layers_broken_by(tmp_path, file, line)
    assert "No circles inside rooms BROKEN" in said and "Imports run downwards KEPT" in said


def test_gate_passes_a_downward_import(tmp_path: Path):
    assert layers_broken_by(tmp_path, "hub/__init__.py", "import pointmae_zoo.ops") == ""


def test_no_module_imports_from_a_folder_that_it_lies_in():
    """A folder's ``__init__`` imports from its files: together a circle, which import-linter does not see.
    A ``__main__`` is imported by nobody."""
    graph = grimp.build_graph("pointmae_zoo", exclude_type_checking_imports=True, cache_dir=None)
    found = {
        f"{name} -> {imported}"
        for name in graph.modules
        for imported in graph.find_modules_directly_imported_by(name)
        if name.startswith(f"{imported}.") and not name.endswith(".__main__")
    }
    assert found == set()


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
