"""What a step of a run does: its clouds, its learning rate, what decays; beside the reference's."""

import json
from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo.models.registry import create_model
from pointmae_zoo.train import TrainingRecipe
from pointmae_zoo.train.optimizer import parameter_groups
from pointmae_zoo.train.schedule import batch_indices, learning_rate, total_steps, warmup_steps


def test_every_cloud_once_an_epoch() -> None:
    seen = np.concatenate([batch_indices(step, count=20, batch_size=5, seed=1) for step in range(4, 8)])
    assert sorted(seen) == list(range(20))
    assert not np.array_equal(
        seen, np.concatenate([batch_indices(s, count=20, batch_size=5, seed=1) for s in range(4)])
    )
    few = batch_indices(0, count=3, batch_size=8, seed=1)
    assert len(few) == 8 and np.bincount(few).max() == 3


def test_learning_rate_schedule() -> None:
    recipe = TrainingRecipe(steps=100, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.1)
    rates = [learning_rate(step, recipe, 1000) for step in range(100)]
    assert np.all(np.diff(rates[:11]) > 0) and np.all(np.diff(rates[11:]) < 0)
    assert max(rates) == rates[10] == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert rates[54] == pytest.approx(0.55, abs=0.02)


@pytest.mark.parametrize("warmup", [{"warmup_steps": 50}, {"warmup_steps": 200}, {"warmup_epochs": 6.0}])
def test_a_warmup_that_fills_the_run_is_cut(warmup: dict[str, float]) -> None:
    recipe = TrainingRecipe(steps=50, batch_size=10, learning_rate=1.0, final_learning_rate=0.0, **warmup)
    rates = [learning_rate(step, recipe, 100) for step in range(50)]
    assert np.argmax(rates) == 5 and max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.0)
    first_part = recipe.override(cosine_steps=1000)  # of a longer schedule
    asked, given = warmup_steps(first_part, 100)
    assert asked == given == (warmup.get("warmup_steps") or 60)
    assert learning_rate(0, TrainingRecipe(steps=1, warmup_steps=10), 100) == 1e-3


@pytest.mark.parametrize(
    ("run", "peak", "cosine"), [("pretrain", 1e-3, 400), ("finetune", 5e-4, 300), ("seg", 2e-4, 300)]
)
def test_learning_rates_of_the_reference(parity: Path, run: str, peak: float, cosine: float) -> None:
    rules = json.loads((parity / "training_rules.json").read_text(encoding="utf-8"))
    recipe = TrainingRecipe(
        epochs=301, warmup_epochs=10, cosine_epochs=cosine, schedule="epoch", learning_rate=peak
    )
    assert total_steps(recipe, 650) == 3010  # of 64 clouds each, 10 an epoch
    for epoch, rate in rules["lr_used_in_epoch"][run].items():
        for step in (10 * int(epoch), 10 * int(epoch) + 9):
            assert learning_rate(step, recipe, 650) == pytest.approx(rate, rel=1e-6)


def test_steps_or_epochs_whichever_is_first() -> None:
    assert total_steps(TrainingRecipe(epochs=3), 200) == 9
    assert total_steps(TrainingRecipe(epochs=3, steps=7), 200) == 7
    assert total_steps(TrainingRecipe(epochs=3, steps=70), 200) == 9
    assert total_steps(TrainingRecipe(epochs=2.5), 10) == 2


def test_no_decay_of_biases_norms_and_tokens() -> None:
    model = create_model("i2p_mae_tiny", kind="pretraining", depths=(1, 1))
    model.head_2d.requires_grad_(False)
    decayed, exempt = parameter_groups(model, 0.05)
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.05, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed_names = {names[id(one)] for one in decayed["params"]}
    exempt_names = {names[id(one)] for one in exempt["params"]}
    assert decayed_names | exempt_names == {name for name in names.values() if "head_2d" not in name}
    assert not decayed_names & exempt_names
    assert all(one.ndim >= 2 for one in decayed["params"])
    assert not any("token" in name or "embeddings" in name for name in decayed_names)
    assert any(name.endswith("qkv.weight") for name in decayed_names)
    assert any("embeddings" in name and name.endswith("weight") for name in exempt_names)


def test_as_many_parameters_decay_as_in_the_reference(parity: Path) -> None:
    rules = json.loads((parity / "training_rules.json").read_text(encoding="utf-8"))["pretrain"]
    model = create_model("i2p_mae_base", kind="pretraining")
    decayed, exempt = parameter_groups(model, 0.05)
    # The reference lists two more, which nothing reads: they have no gradient there, either.
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["encoder.norms.0.weight", "encoder.norms.0.bias"]
    assert len(decayed["params"]) == rules["n_decay"]
    assert len(exempt["params"]) + len(frozen) == rules["n_no_decay"]
