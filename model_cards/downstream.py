"""What pre-training is worth with few labels: ``python -m model_cards.downstream --data ... --runs ...``.

Every network is fine-tuned on 1, 5, 10 and all training clouds of each class, three times with other clouds
and other initial weights, and predicts test once. This writes one JSON file for each network and number of
clouds (``evaluate finetuned``) and a picture of all (``evaluate curve``). Existing files are kept, and
stopped runs are continued.

All networks have the recipe ``finetune_tiny``, the same clouds, augmentation and number of steps. The
learning rate (of two) is chosen on a validation split of the training data, at 5 clouds of each class, seed
0. The recipe's head was chosen in the same way, with I2P-MAE.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from model_cards.pointnet import PointNet
from pointmae_zoo.evaluate import Run, evaluate_finetuned, label_curve
from pointmae_zoo.reports.schema import read_evaluation
from pointmae_zoo.train import FinetuneRecipe, finetune, finetune_model, open_training_parts, read_recipe


@dataclass(frozen=True)
class Network:
    """One line of the picture.

    Args:
        label: its name in the picture.
        weights: starting weights; empty: none.
        model: architecture to train from scratch; empty with weights, and for PointNet (not in the zoo).
    """

    label: str
    weights: str = ""
    model: str = ""


NETWORKS = {
    "i2p_mae": Network("I2P-MAE tiny, pre-trained", weights="i2p_mae_tiny.shapes"),
    "i2p_mae_scratch": Network("I2P-MAE tiny, from scratch", model="i2p_mae_tiny"),
    "joint_mae": Network("Joint-MAE tiny, pre-trained", weights="joint_mae_tiny.shapes"),
    "joint_mae_scratch": Network("Joint-MAE tiny, from scratch", model="joint_mae_tiny"),
    "pointnet": Network("PointNet, from scratch"),
}

STEPS: dict[int | None, int] = {1: 50, 5: 100, 10: 150, None: 300}
"""Optimizer steps by the number of training clouds of each class; None: all clouds."""

RATES = (3e-3, 1e-3)
"""Learning rates to choose from."""
_CHOICE_SHOTS, _CHOICE_SHARE = 5, 0.3
_WHOLE: dict[str, Any] = {"validation_share": 0.0, "select": "last", "trained_part": "all"}


def cell_recipe(
    recipe: FinetuneRecipe, network: Network, shots: int | None, seed: int, rate: float
) -> FinetuneRecipe:
    """The recipe of one training. PointNet ignores the fields that name a model."""
    begin = {"weights": network.weights, "model": network.model}
    if not network.weights:
        begin["layer_decay"] = 1.0
        begin["model"] = network.model or "i2p_mae_tiny"
    steps = STEPS[shots]
    length = {"steps": steps, "epochs": None, "warmup_steps": steps // 10, "learning_rate": rate}
    return recipe.override(**begin, **length, shots=shots, seed=seed, **_WHOLE)


def trained(network: Network, recipe: FinetuneRecipe, run: Path) -> Path | Run | None:
    """Train a classifier and return it as ``evaluate_finetuned`` takes it; None: the training was stopped."""
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
    counts = np.bincount(clouds.labels, minlength=len(clouds.classes)).tolist()
    made = {
        "recipe": recipe.to_dict(),
        "clouds_from_data": len(clouds),
        "class_counts": dict(zip(clouds.classes, counts, strict=True)),
    }
    one = Run(run.name, model, clouds.classes, recipe.num_points, architecture="pointnet", provenance=made)
    return one if done.completed else None


def evaluated(
    network: Network,
    recipes: Sequence[FinetuneRecipe],
    file: Path,
    runs: Path,
    *,
    split: Literal["test", "validation"] = "test",
) -> dict[str, Any] | None:
    """Train by all recipes (seeds) and evaluate once, unless the file is there.

    Returns:
        Its content; None: a training was stopped by a signal.
    """
    if not file.is_file():
        found = []
        for recipe in recipes:
            one = trained(network, recipe, runs / f"{file.stem}.{recipe.seed}")
            if one is None:
                return None
            found.append(one)
        report = evaluate_finetuned(
            found, recipes[0].data, split=split, label=network.label, out=file, progress=False
        )
        print(f"{file.stem}: {report.title()}", flush=True)
    return read_evaluation(file)


def chosen_rate(
    recipe: FinetuneRecipe, name: str, network: Network, *, runs: Path, out: Path
) -> float | None:
    """The learning rate of a network, chosen without test; None: a training was stopped by a signal."""
    scores = []
    for rate in RATES:
        one = cell_recipe(recipe, network, _CHOICE_SHOTS, 0, rate)
        one = one.override(validation_share=_CHOICE_SHARE, validate_steps=one.steps)
        file = out / "rates" / f"{name}.{rate:g}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        report = evaluated(network, [one], file, runs / "rates", split="validation")
        if report is None:
            return None
        scores.append(report["summary"][0]["mean"])
    return RATES[scores.index(max(scores))]


def cells(networks: Sequence[str], shots: Sequence[int | None]) -> Iterator[tuple[str, int | None]]:
    """Few labels first, for all networks: if time runs out, the picture ends on the right."""
    for number in shots:
        for name in networks:
            yield name, number


def measure(
    recipe: FinetuneRecipe,
    networks: Mapping[str, Network],
    shots: Sequence[int | None],
    seeds: Sequence[int],
    *,
    runs: Path,
    out: Path,
) -> list[Path]:
    """Train and evaluate all cells that have no JSON file yet.

    Args:
        recipe: the common recipe, with data; networks, ``STEPS``, shots, seeds and rates change it.
        networks: by the names of their files.
        runs: a folder for the run folders, named after network, shots and seed.
        out: a folder for the JSON files.

    Returns:
        The files of the finished cells; if a signal stopped a training, without those after it.
    """
    files = []
    rates: dict[str, float] = {}
    for name, number in cells(list(networks), shots):
        network, file = networks[name], out / f"{name}.{number or 'all'}.json"
        if name not in rates:
            rate = chosen_rate(recipe, name, network, runs=runs, out=out)
            if rate is None:
                return files
            rates[name] = rate
        recipes = [cell_recipe(recipe, network, number, seed, rates[name]) for seed in seeds]
        if evaluated(network, recipes, file, runs) is None:
            return files
        files.append(file)
    return files


def with_weights(networks: Mapping[str, Network], given: Sequence[str]) -> dict[str, Network]:
    """Replace the weights of some networks: ``NAME=WEIGHTS``, a published name, a repository or a folder.

    Raises:
        ValueError: not of this form, or NAME is not a network that has weights.
    """
    found = dict(networks)
    for one in given:
        name, equals, weights = one.partition("=")
        if not equals or not weights or name not in found or not found[name].weights:
            known = ", ".join(name for name, network in networks.items() if network.weights)
            raise ValueError(f"--weights: {one!r}, expected NAME=WEIGHTS with one of {known}")
        found[name] = Network(found[name].label, weights)
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
    )
    if files:
        print(label_curve(files, args.out / "label_curve.png"))


if __name__ == "__main__":
    main()
