"""What pre-training is worth with few labels: ``python -m model_cards.downstream --data ... --runs ...``.

Every network is fine-tuned on 1, 5, 10 and all training clouds of each class, three times (another draw of
clouds and of weights each), and predicts test once. Writes one JSON file for each network and number of
clouds (``evaluate finetuned``) and a picture of all (``evaluate curve``). What is there already is not done
again, stopped runs are gone on with.

All networks have the recipe ``finetune_tiny``, the same clouds, augmentation and number of steps. What
differs is in NETWORKS and STEPS, and was chosen on the validation part of train (``--split validation``) by
seed 0.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from model_cards.pointnet import PointNet
from pointmae_zoo.evaluate import Run, evaluate_finetuned, label_curve
from pointmae_zoo.train import FinetuneRecipe, finetune, finetune_model, open_training_parts, read_recipe


@dataclass(frozen=True)
class Network:
    """One line of the picture.

    Args:
        label: what it is called there.
        weights: what it begins with; empty: nothing.
        model: architecture from scratch; empty with weights, and for PointNet, which the zoo does not have.
        changes: of the recipe.
    """

    label: str
    weights: str = ""
    model: str = ""
    changes: Mapping[str, Any] | None = None


_FROM_SCRATCH = {"layer_decay": 1.0, "learning_rate": 1e-3}

NETWORKS = {
    "i2p_mae": Network("I2P-MAE tiny, pre-trained", weights="i2p_mae_tiny.shapes"),
    "i2p_mae_scratch": Network("I2P-MAE tiny, from scratch", model="i2p_mae_tiny", changes=_FROM_SCRATCH),
    "joint_mae": Network("Joint-MAE tiny, pre-trained", weights="joint_mae_tiny.shapes"),
    "joint_mae_scratch": Network(
        "Joint-MAE tiny, from scratch", model="joint_mae_tiny", changes=_FROM_SCRATCH
    ),
    "pointnet": Network("PointNet, from scratch", changes=_FROM_SCRATCH),
}

STEPS: dict[int | None, int] = {1: 40, 5: 80, 10: 120, None: 300}
"""Optimizer steps by the number of training clouds of each class; None: all there are."""

Cell = tuple[str, int | None]
"""A name in NETWORKS, and how many training clouds of each class."""


def cell_recipe(
    recipe: FinetuneRecipe, network: Network, shots: int | None, seed: int, validation_share: float
) -> FinetuneRecipe:
    """What one training of a cell does. For PointNet, what names a model is not looked at."""
    begin = {"weights": network.weights, "model": network.model}
    if not network.weights and not network.model:
        begin["model"] = "i2p_mae_tiny"
    steps = STEPS[shots]
    length = {
        "steps": steps,
        "epochs": None,
        "warmup_steps": steps // 10,
        "validation_share": validation_share,
    }
    changes = {**begin, **length, **(network.changes or {})}
    return recipe.override(**changes, shots=shots, seed=seed, select="last")


def trained(network: Network, recipe: FinetuneRecipe, run: Path) -> Path | Run | None:
    """The classifier of one training, as ``evaluate_finetuned`` takes it; None: it was stopped."""
    resume = (run / "recipe.yaml").is_file()
    if network.weights or network.model:
        done = finetune(recipe, run, resume=resume, progress=False)
        print(done, flush=True)
        return run if done.completed else None
    clouds, validation = open_training_parts(recipe, progress=False)
    torch.manual_seed(recipe.seed)
    model = PointNet(len(clouds.classes))
    done = finetune_model(model, clouds, validation, recipe, run, resume=resume, progress=False)
    print(done, flush=True)
    made = {"recipe": recipe.to_dict(), "clouds_from_data": len(clouds)}
    one = Run(run.name, model, clouds.classes, recipe.num_points, architecture="pointnet", provenance=made)
    return one if done.completed else None


def cells(networks: Sequence[str], shots: Sequence[int | None]) -> Iterator[Cell]:
    """Few labels first, for all networks: if time runs out, the picture ends on the right."""
    for number in shots:
        for name in networks:
            yield name, number


def cell_file(out: Path, cell: Cell) -> Path:
    """Where a cell's JSON lies."""
    name, shots = cell
    return out / f"{name}.{shots or 'all'}.json"


def measure(
    recipe: FinetuneRecipe,
    networks: Mapping[str, Network],
    shots: Sequence[int | None],
    seeds: Sequence[int],
    *,
    runs: Path,
    out: Path,
    split: Literal["test", "validation"] = "test",
    validation_share: float = 0.3,
) -> list[Path]:
    """Train and evaluate all cells that have no JSON file yet.

    Args:
        recipe: of all of them, with data; the networks, ``STEPS``, shots and seeds change it.
        networks: by the name of their files.
        runs: a folder for the run folders, named after network, shots and seed.
        out: a folder for the JSON files.
        split: ``validation``: hold a part of train out, and measure on it.
        validation_share: the part.

    Returns:
        The files of the cells that are done; if a signal ended a training, without those after it.
    """
    out.mkdir(parents=True, exist_ok=True)
    share = validation_share if split == "validation" else 0.0
    files = []
    for cell in cells(list(networks), shots):
        file, network = cell_file(out, cell), networks[cell[0]]
        if not file.is_file():
            found = []
            for seed in seeds:
                run = runs / f"{file.stem}.{seed}"
                one = trained(network, cell_recipe(recipe, network, cell[1], seed, share), run)
                if one is None:
                    return files
                found.append(one)
            report = evaluate_finetuned(
                found, recipe.data, split=split, label=network.label, out=file, progress=False
            )
            print(f"{file.stem}: {report.title()}", flush=True)
        files.append(file)
    return files


def with_weights(networks: Mapping[str, Network], given: Sequence[str]) -> dict[str, Network]:
    """Other weights for some networks: ``NAME=WEIGHTS``, a published name, a repository or a folder.

    Raises:
        ValueError: something else, or a name of no network that begins with weights.
    """
    found = dict(networks)
    for one in given:
        name, equals, weights = one.partition("=")
        if not equals or not weights or name not in found or not found[name].weights:
            known = ", ".join(name for name, network in networks.items() if network.weights)
            raise ValueError(f"--weights: {one!r}, expected NAME=WEIGHTS with one of {known}")
        found[name] = Network(found[name].label, weights, changes=found[name].changes)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="clouds with labels, as finetune's")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the run folders")
    parser.add_argument("--out", type=Path, default=Path("model_cards/evaluations/downstream"))
    parser.add_argument("--recipe", default="i2p_mae/finetune_tiny")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--weights", nargs="+", default=[], metavar="NAME=WEIGHTS")
    parser.add_argument(
        "--shots", nargs="+", default=["1", "5", "10", "all"], choices=["1", "5", "10", "all"]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--split", choices=["test", "validation"], default="test")
    args = parser.parse_args(arguments)
    try:
        networks = with_weights({name: NETWORKS[name] for name in args.networks}, args.weights)
    except ValueError as error:
        parser.error(str(error))
    files = measure(
        read_recipe(args.recipe, data=args.data),
        networks,
        [None if one == "all" else int(one) for one in args.shots],
        args.seeds,
        runs=args.runs,
        out=args.out,
        split=args.split,
    )
    if files:
        print(label_curve(files, args.out / "label_curve.png"))


if __name__ == "__main__":
    main()
