"""Which parts are of which class: by notes of the training, by names, or nobody knows."""

from typing import Any

import pytest

from pointmae_zoo.inference.part_prediction import Objects
from pointmae_zoo.models.object_parts import ObjectParts
from samples.models import small

NAMES = ("shop/lamp/foot", "shop/lamp/shade", "mug/body", "mug/handle", "mug/lid")
BY_NAME = ObjectParts(("shop/lamp", "mug"), ((0, 1), (2, 3, 4)))


def test_notes_come_before_names_and_names_before_nothing() -> None:
    noted = {"object_classes": ["mug", "lamp"], "parts": [[2, 5], [0, 2]]}
    assert ObjectParts.of(NAMES, noted, 5, 2) == ObjectParts(("mug", "lamp"), ((2, 3, 4), (0, 1)))
    assert ObjectParts.of(NAMES, {}, 5, 2) == ObjectParts.of(NAMES, {}, 5) == BY_NAME
    everything = tuple(range(5))
    for labels in (None, ("a", "b", "c", "d", "e"), ("x/a", "x/b", "x/c", "x/d", "e")):
        assert ObjectParts.of(labels, {}, 5, 2) == ObjectParts(("0", "1"), (everything, everything))
    assert ObjectParts.of(NAMES, {}, 5, 3).classes == ("0", "1", "2")  # the names are of two


@pytest.mark.parametrize(
    "noted",
    [
        {"object_classes": ["a", "b"]},
        {"object_classes": ["a", "b", "c"], "parts": [[0, 1], [1, 2], [2, 5]]},
        {"object_classes": ["a", "b"], "parts": [[0, 2], [2, 6]]},
        {"object_classes": ["a", "b"], "parts": [[0, 2], [2]]},
        {"object_classes": ["a", "b"], "parts": [[-1, 2], [2, 5]]},
        {"object_classes": ["a", "b"], "parts": [[2, 0], [2, 5]]},
        {"object_classes": [1, 2], "parts": [[0, 2], [2, 5]]},
        {"object_classes": "ab", "parts": [[0, 2], [2, 5]]},
    ],
)
def test_notes_that_do_not_fit_are_passed_over(noted: dict[str, Any]) -> None:
    assert ObjectParts.of(NAMES, noted, 5, 2) == BY_NAME


def test_a_class_may_have_a_slash_in_its_name() -> None:
    head = {"num_parts": 5, "num_object_classes": 2, "propagated_dims": (8, 8), "head_dims": (8, 8, 8)}
    model = small(kind="part_segmentation", labels=NAMES, label_dim=4, **head)
    found = Objects.of(model.config, "m")
    assert (found.classes, found.parts) == (BY_NAME.classes, ([0, 1], [2, 3, 4]))
