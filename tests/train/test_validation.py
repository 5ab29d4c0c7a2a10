"""How often a run is validated."""

import pytest

from pointmae_zoo.train.validation import steps_between


def validated_at(steps: int, every: int) -> list[int]:
    return [step for step in range(1, steps + 1) if step % every == 0 or step == steps]


@pytest.mark.parametrize("clouds", [1, 4, 40, 260, 1000, 100_000])
@pytest.mark.parametrize("steps", [1, 2, 6, 20, 60, 600, 601, 10_000])
def test_validations_cost_a_tenth_of_the_clouds_at_most(steps: int, clouds: int) -> None:
    """But for the one after the last step; as many as that allows, and at most twenty."""
    looks = validated_at(steps, steps_between(steps, 32, clouds))
    assert looks[-1] == steps and len(looks) <= 20
    assert len(looks) == 1 or len(looks) * clouds <= 0.1 * steps * 32
    # One step nearer together would be too often.
    more = validated_at(steps, max(1, steps_between(steps, 32, clouds) - 1))
    assert more == looks or len(more) > 20 or len(more) * clouds > 0.1 * steps * 32


def test_a_long_run_on_few_validation_clouds_is_validated_twenty_times() -> None:
    assert validated_at(600, steps_between(600, 32, 10)) == list(range(30, 601, 30))
    assert validated_at(20, steps_between(20, 32, 4 + 8 * 32)) == [20]
