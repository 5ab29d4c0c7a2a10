"""From a benchmark's real layout to a table of scores, by the commands that people type and the recipes of
both families: what is learned by heart is answered rightly."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from pointmae_zoo import cli, create_model, save_pretrained
from pointmae_zoo.reports.schema import read_evaluation
from samples.learnable import (
    SCANOBJECTNN,
    Content,
    modelnet40_h5,
    modelnet40_meshes,
    modelnet40_text,
    scanobjectnn,
    shapenetpart,
)

pytest.importorskip("accelerate")

LEVELS = {
    "num_tokens": (24, 12, 6),
    "num_neighbors": (8, 4, 4),
    "dims": (24, 24, 48),
    "depths": (1, 1, 1),
    "num_heads": 3,
    "stem_widths": (16, 32),
}
SHORT = {
    "precision": "float32",
    "steps": 100,
    "epochs": None,
    "warmup_epochs": 0,
    "warmup_steps": 5,
    "schedule": "step",
    "learning_rate": 3e-3,
    "augmentation.scale": 1.0,
    "augmentation.scale_low": 1.0,
    "augmentation.shift": 0.0,
    "augmentation.turn": 0.0,
    "model_arguments.num_neighbors": [8, 4, 4],
    "model_arguments.drop_path": 0.0,
    "model_arguments.head_dropout": 0.0,
    "num_points": 128,
    "cloud_points": 128,
    "calibration_batches": 2,
}
OF_PARTS = {
    **SHORT,
    "steps": 120,
    "learning_rate": 1e-2,
    "model_arguments.propagated_dims": [48, 48],
    "model_arguments.head_dims": [64, 64, 32],
    "model_arguments.label_dim": 16,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A small pre-trained model of a family, as the recipe's own weights are of its large one."""

    def of(family: str) -> Path:
        folder = tmp_path_factory.mktemp("weights") / family
        torch.manual_seed(0)
        save_pretrained(create_model(f"{family}_base", "encoder", **LEVELS), folder)
        return folder

    return of


CASES = [
    ("i2p_mae", "modelnet40", modelnet40_h5),
    ("joint_mae", "modelnet40", modelnet40_text),
    ("i2p_mae", "modelnet40", modelnet40_meshes),
    ("i2p_mae", "scanobjectnn", partial(scanobjectnn, variant="PB-T50-RS")),
    ("i2p_mae", "scanobjectnn", partial(scanobjectnn, variant="OBJ-BG")),
    ("joint_mae", "scanobjectnn", partial(scanobjectnn, variant="OBJ-ONLY")),
    ("i2p_mae", "shapenetpart", shapenetpart),
    ("joint_mae", "shapenetpart", shapenetpart),
]
NAMES = ["hdf5", "text", "meshes", *SCANOBJECTNN, "parts", "parts-joint"]
QUICK = ("hdf5", "meshes", "PB-T50-RS", "parts-joint")  # of each benchmark, and of each family, one or more


@pytest.mark.parametrize(
    ("family", "benchmark", "build"),
    [
        pytest.param(*case, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for case, name in zip(CASES, NAMES, strict=True)
    ],
)
def test_from_the_real_layout_to_the_table(
    family: str,
    benchmark: str,
    build: Callable[[Path], Content],
    weights: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content, run = build(tmp_path / "data"), tmp_path / "run"
    parts = benchmark == "shapenetpart"
    settings = [f"{name}={json.dumps(value)}" for name, value in (OF_PARTS if parts else SHORT).items()]
    words = ["finetune", "--recipe", f"{family}/finetune_{benchmark}", "--data", content.entry]
    words += ["--weights", str(weights(family)), "--out", str(run)]
    assert cli.main([*words, *(word for one in settings for word in ("--set", one))]) == 0
    task = "parts" if parts else "finetuned"
    assert cli.main(["evaluate", task, str(run), "--data", content.entry]) == 0
    said = capsys.readouterr().out
    (kept,) = (run / "evaluations").iterdir()
    found = read_evaluation(kept)
    context = found["context"]
    assert (context["num_train"], context["num_test"]) == (content.train, content.test)
    least = 95.0 if parts else 100.0  # of many points one may be wrong
    assert len(found["summary"]) == 2 and all(row["mean"] >= least for row in found["summary"])
    assert f"{content.test} test clouds of {context['dataset']['file']}" in said
    for row in found["per_class"]:
        assert row["clouds"] and row["mean"] >= least
