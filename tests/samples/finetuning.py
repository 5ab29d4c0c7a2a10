"""Small fine-tunings, and what they leave."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pointmae_zoo import save_pretrained
from pointmae_zoo.train import FinetuneRecipe, TrainingResult, finetune, loop
from samples.models import small


def pretrained(folder: Path) -> Path:
    """A pre-training model, as a run of it leaves it."""
    model = small(7, kind="pretraining", num_views=3)
    save_pretrained(model, folder, provenance={"status": "own-recipe"})
    return folder


def small_recipe(data: Path, weights: Path) -> FinetuneRecipe:
    """Six steps on a `labelled_file`."""
    return FinetuneRecipe(
        weights=str(weights),
        model_arguments={"head_width": 16},
        data=str(data),
        validation_share=0.25,
        cloud_points=96,
        num_points=64,
        steps=6,
        batch_size=6,
        learning_rate=3e-3,
        precision="float32",  # so that numbers don't depend on the processor
        checkpoint_steps=2,
        log_steps=2,
    )


def run(recipe: FinetuneRecipe | None, out: Path, **arguments: Any) -> TrainingResult:
    return finetune(recipe, out, progress=False, **arguments)


def curve(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def config(out: Path) -> dict:
    return json.loads((out / "config.json").read_text(encoding="utf-8"))


def assert_same_run(one: Path, other: Path) -> None:
    assert curve(one) == curve(other)
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    made, again = (config(folder)["provenance"] for folder in (one, other))
    assert made["validation"] == again["validation"]


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    original, done = loop._Run._one_step, 0

    def step(self: object) -> object:
        nonlocal done
        done += 1
        if done == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self)

    monkeypatch.setattr(loop._Run, "_one_step", step)
