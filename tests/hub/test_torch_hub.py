"""``torch.hub`` on a copy of the checkout, in fresh interpreters that know of no other."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pointmae_zoo

ROOT = Path(__file__).resolve().parents[2]
# Reading meshes, training, pictures: nothing of it is needed to load a model and to embed with it.
NOT_NEEDED = ("trimesh", "lxml", "timm", "accelerate", "matplotlib", "sklearn", "h5py", "pyarrow", "requests")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where torch.hub keeps what it has downloaded of org/pointmae-zoo: it need not ask for it again."""
    folder = tmp_path_factory.mktemp("torch home") / "hub" / "org_pointmae-zoo_main"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "hubconf.py", folder)
    shutil.copytree(
        ROOT / "pointmae_zoo", folder / "pointmae_zoo", ignore=shutil.ignore_patterns("__pycache__")
    )
    return folder


def answers(code: str, clone: Path, folder: Path) -> Any:
    """What a program, run in an empty folder, leaves in ``found``."""
    program = f"""
import json, sys, torch
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {NOT_NEEDED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
clone, repo = {str(clone)!r}, {{"repo_or_dir": {str(clone)!r}, "source": "local"}}
downloaded = {{"github": "org/pointmae-zoo:main", "trust_repo": True, "skip_validation": True}}
{code}
assert sys.modules["pointmae_zoo"].__file__.startswith(clone), sys.modules["pointmae_zoo"].__file__
print(json.dumps(found))
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment["TORCH_HOME"] = str(clone.parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_list_is_the_registry_and_help_tells_what_each_model_is(clone: Path, tmp_path: Path):
    code = """
listed = torch.hub.list(**downloaded)
found = listed, {name: torch.hub.help(model=name, **downloaded) for name in listed}
"""
    listed, texts = answers(code, clone, tmp_path)
    assert (
        sorted(listed) == sorted(texts) == sorted([*pointmae_zoo.list_models(), *pointmae_zoo.list_weights()])
    )
    for text in texts.values():
        assert "pretrained: load published weights" in text
    assert "made for CPUs" in texts["i2p_mae_tiny"] and '"shapes"' in texts["i2p_mae_tiny"]


def test_weights_give_the_features_of_the_installed_package(clone: Path, tmp_path: Path):
    code = """
encoder = torch.hub.load(model="i2p_mae_tiny", pretrained=True, **repo)
points = torch.linspace(-1, 1, 900).view(1, 300, 3).sin() * torch.tensor([1.0, 0.5, 0.25])
found = encoder.embed(encoder.config.preprocess([points[0].numpy()]))[0].tolist()
"""
    import torch

    encoder = pointmae_zoo.from_pretrained("i2p_mae_tiny")
    points = torch.linspace(-1, 1, 900).view(300, 3).sin() * torch.tensor([1.0, 0.5, 0.25])
    here = encoder.embed(encoder.config.preprocess([points.numpy()]))[0]
    # Another process may have another number of threads, and sums in another order.
    assert torch.allclose(torch.tensor(answers(code, clone, tmp_path)), here, atol=1e-5)


def test_kinds_tags_and_arguments(clone: Path, tmp_path: Path):
    code = """
def load(name, **options):
    return torch.hub.load(model=name, **repo, **options)
classifier = load("i2p_mae_tiny", kind="classification", num_classes=7)
tagged = load("i2p_mae_tiny", pretrained="shapes", dtype=torch.bfloat16)
named = load("i2p_mae_tiny", pretrained="i2p_mae_tiny.shapes", dtype=torch.bfloat16)
called = load("i2p_mae_tiny.shapes", dtype=torch.bfloat16)
for other in (named, called):
    assert all(torch.equal(a, b) for a, b in zip(tagged.parameters(), other.parameters(), strict=True))
assert load("i2p_mae_tiny", pretrained=False).training  # random weights
assert type(load("i2p_mae_tiny.shapes24")).__name__ == "PointForClassification"  # what the weights are
for other in (False, "shapes24"):
    try:
        load("i2p_mae_tiny.shapes", pretrained=other)
        raise AssertionError(other)
    except ValueError as error:
        assert "names its weights" in str(error)
try:
    load("i2p_mae_tiny", pretrained="shaeps")
except ValueError as error:
    said = str(error)
found = [type(classifier).__name__, classifier.get_classifier().out_features, classifier.training,
         str(next(tagged.parameters()).dtype), tagged.training, said]
"""
    *found, said = answers(code, clone, tmp_path)
    assert found == ["PointForClassification", 7, True, "torch.bfloat16", False]
    assert "'i2p_mae_tiny.shaeps'; did you mean i2p_mae_tiny.shapes" in said
