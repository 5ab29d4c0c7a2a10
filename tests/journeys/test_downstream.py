"""The experiment with few labels: every cell is trained and asked once, and gone on with after a stop."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_cards import downstream
from model_cards.downstream import (
    NETWORKS,
    RATES,
    STEPS,
    Network,
    cell_recipe,
    cells,
    chosen_rate,
    main,
    measure,
    with_weights,
)
from pointmae_zoo import save_pretrained
from pointmae_zoo.evaluate import Run
from pointmae_zoo.train import FinetuneRecipe, read_recipe
from samples.models import small


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Balls, plates and rods: ten to train on and five to test of each, no two alike."""
    rng = np.random.default_rng(0)
    sizes = np.array([[1, 1, 1], [1, 0.05, 1], [0.05, 1, 0.05]])
    y = np.repeat([0, 1, 2], 15)
    points = rng.normal(size=(45, 64, 3))
    points *= sizes[y][:, None] / np.linalg.norm(points, axis=2, keepdims=True)
    file = tmp_path / "shapes.npz"
    split = np.where(np.arange(45) % 15 < 10, "train", "test")
    classes = np.array(["ball", "plate", "rod"])
    np.savez(file, points=points.astype(np.float32), y=y, classes=classes, split=split, group=np.arange(45))
    return file


@pytest.fixture
def recipe(data: Path, monkeypatch: pytest.MonkeyPatch) -> FinetuneRecipe:
    """Of a size for tests."""
    monkeypatch.setattr(downstream, "STEPS", {1: 2, 5: 3, None: 4})
    arguments = {"head_pool": "levels", "head_width": 0, "drop_path": 0.05}
    values: dict[str, Any] = {
        "cloud_points": 64,
        "num_points": 48,
        "batch_size": 6,
        "learning_rate": 1e-2,
        "precision": "float32",
        "steps": 1,
    }
    return FinetuneRecipe(data=str(data), model_arguments=arguments, **values)


@pytest.fixture
def networks(tmp_path: Path) -> dict[str, Network]:
    """One with weights, one without, and PointNet."""
    save_pretrained(small(), tmp_path / "weights")
    return {
        "with": Network("with", weights=str(tmp_path / "weights")),
        "without": Network("without", model="i2p_mae_tiny"),
        "pointnet": Network("PointNet"),
    }


@pytest.mark.slow
def test_all_cells(tmp_path: Path, recipe: FinetuneRecipe, networks: dict[str, Network]) -> None:
    files = measure(recipe, networks, [1, None], [0, 1], runs=tmp_path / "runs", out=tmp_path / "out")
    names = ["with.1", "without.1", "pointnet.1", "with.all", "without.all", "pointnet.all"]
    assert [file.stem for file in files] == names
    for file in files:
        report = json.loads(file.read_text())
        context = report["context"]
        name, shots = file.stem.split(".")
        assert context["label"] == networks[name].label
        assert context["recipe"]["shots"] == (1 if shots == "1" else None)
        assert context["num_train"] == (3 if shots == "1" else 30)
        assert context["num_test"] == 15 and context["split"] == "test"
        assert [run["seed"] for run in context["runs"]] == [0, 1]
        assert report["summary"][0]["runs"] == 2
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert folders == sorted([*(f"{name}.{seed}" for name in names for seed in (0, 1)), "rates"])
    for name in networks:
        scores, recipes = [], set()
        for rate in RATES:
            report = json.loads((tmp_path / "out" / "rates" / f"{name}.{rate:g}.json").read_text())
            scores.append(report["summary"][0]["mean"])
            assert report["context"]["split"] == "validation" and report["context"]["num_test"] == 9
            assert report["context"]["num_train"] == 15
        for run in (tmp_path / "runs").glob(f"{name}.*.*"):
            recipes.add(read_recipe(run / "recipe.yaml").learning_rate)
        assert recipes == {RATES[scores.index(max(scores))]}


def test_what_is_there_is_not_done_again(
    tmp_path: Path, recipe: FinetuneRecipe, networks: dict[str, Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"runs": tmp_path / "runs", "out": tmp_path / "out"}
    (first,) = measure(recipe, {"pointnet": networks["pointnet"]}, [1], [0, 1], **places)
    before = json.loads(first.read_text())
    # The file is gone, the runs are there: PointNet's weights come from its checkpoint, nothing is trained.
    first.unlink()
    written = [path.stat().st_mtime_ns for path in places["runs"].rglob("*.safetensors")]
    measure(recipe, {"pointnet": networks["pointnet"]}, [1], [0, 1], **places)
    assert json.loads(first.read_text())["rows"] == before["rows"]
    assert json.loads(first.read_text())["context"]["model_sha256"] == before["context"]["model_sha256"]
    assert [path.stat().st_mtime_ns for path in places["runs"].rglob("*.safetensors")] == written

    def never(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(downstream, "trained", never)
    assert measure(recipe, {"pointnet": networks["pointnet"]}, [1], [0, 1], **places) == [first]


def test_a_stopped_training_is_gone_on_with(
    tmp_path: Path, recipe: FinetuneRecipe, networks: dict[str, Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"runs": tmp_path / "runs", "out": tmp_path / "out"}
    only = {"pointnet": networks["pointnet"]}
    (whole,) = measure(recipe, only, [None], [0], runs=tmp_path / "whole", out=tmp_path / "whole_out")

    def interrupted(self: Any, points: Any, forward: Any = downstream.PointNet.forward) -> Any:
        signal.raise_signal(signal.SIGINT)
        return forward(self, points)

    with monkeypatch.context() as patch:
        patch.setattr(downstream.PointNet, "forward", interrupted)
        assert measure(recipe, only, [None], [0], **places) == []
    assert not list(places["out"].rglob("*.json"))
    (file,) = measure(recipe, only, [None], [0], **places)
    sums = [json.loads(one.read_text())["context"]["model_sha256"] for one in (whole, file)]
    assert sums[0] == sums[1]


def test_choices_leave_test_alone(
    tmp_path: Path, recipe: FinetuneRecipe, networks: dict[str, Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pointmae_zoo.datasets import labelled
    from pointmae_zoo.evaluate import finetuned
    from pointmae_zoo.train import finetuning

    def opened(entry: Any, split: str, **more: Any) -> Any:
        assert split == "train"
        return labelled.open_labelled(entry, split, **more)

    for module in (finetuned, finetuning):
        monkeypatch.setattr(module, "open_labelled", opened)
    places = {"runs": tmp_path / "runs", "out": tmp_path / "out"}
    assert chosen_rate(recipe, "pointnet", networks["pointnet"], **places) in RATES


def test_few_labels_first() -> None:
    assert list(cells(["a", "b"], [1, None])) == [("a", 1), ("b", 1), ("a", None), ("b", None)]


@pytest.mark.parametrize(("name", "shots"), list(cells(list(NETWORKS), list(STEPS))))
def test_networks_differ_in_what_they_begin_with_alone(name: str, shots: int | None) -> None:
    network = NETWORKS[name]
    made = cell_recipe(FinetuneRecipe(data="x.npz", steps=1, layer_decay=0.5), network, shots, 2, 1e-2)
    steps = STEPS[shots]
    same = {"steps": steps, "warmup_steps": steps // 10, "seed": 2, "shots": shots, "validation_share": 0.0}
    base = FinetuneRecipe(data="x.npz", layer_decay=0.5, learning_rate=1e-2, **same).to_dict()
    differs = {key for key, value in made.to_dict().items() if value != base[key]}
    assert differs <= (set() if network.weights == base["weights"] else {"weights", "model", "layer_decay"})
    assert made.weights == network.weights and made.layer_decay == (0.5 if network.weights else 1.0)


def test_weights_by_name_or_folder() -> None:
    networks = with_weights(NETWORKS, ["joint_mae=/runs/joint"])
    assert networks["joint_mae"].weights == "/runs/joint"
    assert networks["joint_mae"].label == NETWORKS["joint_mae"].label
    assert networks["i2p_mae"] == NETWORKS["i2p_mae"]
    for wrong in ("joint_mae", "joint_mae=", "pointnet=/runs/x", "other=/runs/x"):
        with pytest.raises(ValueError, match="expected NAME=WEIGHTS with one of i2p_mae, joint_mae"):
            with_weights(NETWORKS, [wrong])


def test_by_command(tmp_path: Path, recipe: FinetuneRecipe, capsys: pytest.CaptureFixture[str]) -> None:
    from pointmae_zoo.train.recipe_files import write_recipe

    write_recipe(recipe, tmp_path / "recipe.yaml")
    given = ["--data", recipe.data, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    main(
        [
            *given,
            "--recipe",
            str(tmp_path / "recipe.yaml"),
            "--networks",
            "pointnet",
            "--shots",
            "1",
            "--seeds",
            "0",
        ]
    )
    assert (tmp_path / "out" / "pointnet.1.json").is_file()
    assert (tmp_path / "out" / "label_curve.png").read_bytes()[:4] == b"\x89PNG"
    assert "PointNet, from scratch: accuracy" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*given, "--weights", "joint_mae"])


def test_pointnet_is_a_run_like_others(tmp_path: Path, recipe: FinetuneRecipe) -> None:
    network = NETWORKS["pointnet"]
    run = downstream.trained(network, cell_recipe(recipe, network, 5, 0, 1e-2), tmp_path / "run")
    assert isinstance(run, Run) and run.num_train == 15 and run.recipe["shots"] == 5
    assert run.labels == ("ball", "plate", "rod") and not run.network.training
