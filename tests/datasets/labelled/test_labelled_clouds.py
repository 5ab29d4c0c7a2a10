"""Data that are the run's own are known again, others are not."""

import json
from pathlib import Path
from typing import Any

import pytest

from pointmae_zoo.datasets.labelled import open_labelled
from pointmae_zoo.datasets.labelled.labelled_clouds import identity_sha256
from samples.labelled import SHAPES, labelled_file
from samples.models import SMALL

OFF = "OFF\n4 4 0\n0 0 0\n1 0 0\n0 {height} 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n"


def meshes(folder: Path, names: tuple[str, ...]) -> Path:
    for number, name in enumerate(names):
        path = folder / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(OFF.format(height=1 + number / 10))
    return folder


def test_a_folder_is_known_again_wherever_it_lies_and_however_many_points_are_drawn(tmp_path: Path) -> None:
    names = ("cup/a.off", "cup/b.off", "jug/c.off")
    folders = [meshes(tmp_path / place, names) for place in ("one/mine", "other/mine")]
    folders.append(meshes(tmp_path / "third/mine", ("cup/a.off", "cup/d.off", "jug/c.off")))

    def found(folder: Path, points: int) -> str:
        return identity_sha256(open_labelled(folder, "train", num_points=points, progress=False))

    assert found(folders[0], 16) == found(folders[0], 40) == found(folders[1], 24) != found(folders[2], 16)


def test_a_run_is_asked_about_what_it_held_out(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    from pointmae_zoo.evaluate import evaluate_finetuned
    from pointmae_zoo.train import FinetuneRecipe, finetune

    arguments: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in SMALL.items()
    }
    data = labelled_file(tmp_path / "clouds.npz")
    sizes = {"validation_share": 0.25, "cloud_points": 96, "num_points": 64, "steps": 2, "batch_size": 6}
    recipe = FinetuneRecipe(
        weights="",
        model="i2p_mae_tiny",
        model_arguments={**arguments, "head_width": 16},
        data=str(data),
        precision="float32",
        **sizes,  # type: ignore[arg-type]
    )
    result = finetune(recipe, tmp_path / "run", progress=False)
    asked: dict[str, Any] = {"split": "validation", "progress": False}
    report = evaluate_finetuned(tmp_path / "run", data, **asked)
    made = json.loads((tmp_path / "run" / "config.json").read_text())["provenance"]
    assert report.context["num_test"] == made["clouds_validation"] == 2 * len(SHAPES)
    assert report.summary[0]["mean"] == pytest.approx(100 * result.validation["accuracy"])
    turned = open_labelled(data, "train", num_points=96)
    labelled_file(data, num_points=97)
    assert (open_labelled(data, "train", num_points=96).labels == turned.labels).all()
    with pytest.raises(ValueError, match="not the data that run was trained on"):
        evaluate_finetuned(tmp_path / "run", data, **asked)
