"""Where metrics go besides ``metrics.jsonl``."""

import contextlib
import difflib
import importlib.util
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import Accelerator

    from pointmae_zoo.train.recipe import TrainingRecipe

TRACKERS = ("tensorboard", "wandb", "trackio")


def check_trackers(names: Sequence[str]) -> None:
    """Raises:
    ValueError: a name that is none of ``TRACKERS``.
    ModuleNotFoundError: a tracker is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            near = difflib.get_close_matches(name, TRACKERS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(TRACKERS)}"
            raise ValueError(f"no tracker is called {name!r}; {hint}")
        if importlib.util.find_spec(name) is None:
            package = '"pointmae-zoo[train]"' if name == "tensorboard" else name
            raise ModuleNotFoundError(f"--track {name}: not installed; pip install {package}", name=name)


@contextlib.contextmanager
def tracking(accelerator: "Accelerator", recipe: "TrainingRecipe", names: Sequence[str]) -> Iterator[None]:
    """Trackers that are there while the block lasts; they are told the recipe."""
    if names:
        settings = {
            name: value if isinstance(value, (int, float, str)) else str(value)
            for name, value in recipe.to_dict().items()
        }
        accelerator.init_trackers("pointmae-zoo", config=settings)
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()
