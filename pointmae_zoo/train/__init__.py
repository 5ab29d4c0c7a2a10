"""Training: recipes, teacher targets, and one loop for every task that never loses a run."""

from pointmae_zoo.train.engine import Loss, Task, TrainingResult, train
from pointmae_zoo.train.pretraining import pretrain
from pointmae_zoo.train.process import TRACKERS
from pointmae_zoo.train.recipe import PretrainRecipe, TeacherSettings, TrainingRecipe
from pointmae_zoo.train.recipe_files import list_recipes, parse_setting, read_recipe

__all__ = [
    "TRACKERS",
    "Loss",
    "PretrainRecipe",
    "Task",
    "TeacherSettings",
    "TrainingRecipe",
    "TrainingResult",
    "list_recipes",
    "parse_setting",
    "pretrain",
    "read_recipe",
    "train",
]
