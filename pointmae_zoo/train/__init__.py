"""Training: recipes, teacher targets, and one loop for every task that never loses a run.

Imported only when it is first touched, so that the command line can name the trackers without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pointmae_zoo.train.finetuning import FinetuneTask, finetune, finetune_model, open_training_parts
    from pointmae_zoo.train.loop import train
    from pointmae_zoo.train.metrics import TRACKERS
    from pointmae_zoo.train.pretraining import pretrain
    from pointmae_zoo.train.recipe_files import list_recipes, parse_setting, read_recipe
    from pointmae_zoo.train.recipes import FinetuneRecipe, PretrainRecipe, TeacherSettings, TrainingRecipe
    from pointmae_zoo.train.task import Task, TrainingResult

_HOMES = {
    "FinetuneRecipe": "recipes",
    "FinetuneTask": "finetuning",
    "finetune": "finetuning",
    "finetune_model": "finetuning",
    "open_training_parts": "finetuning",
    "TRACKERS": "metrics",
    "PretrainRecipe": "recipes",
    "Task": "task",
    "TeacherSettings": "recipes",
    "TrainingRecipe": "recipes",
    "TrainingResult": "task",
    "list_recipes": "recipe_files",
    "parse_setting": "recipe_files",
    "pretrain": "pretraining",
    "read_recipe": "recipe_files",
    "train": "loop",
}

__all__ = [
    "TRACKERS",
    "FinetuneRecipe",
    "FinetuneTask",
    "PretrainRecipe",
    "Task",
    "TeacherSettings",
    "TrainingRecipe",
    "TrainingResult",
    "finetune",
    "finetune_model",
    "list_recipes",
    "open_training_parts",
    "parse_setting",
    "pretrain",
    "read_recipe",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"pointmae_zoo.train.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'pointmae_zoo.train' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
