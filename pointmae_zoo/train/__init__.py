"""Training: recipes, teacher targets computed once, and a loop that never loses a run."""

from pointmae_zoo.train.engine import PretrainResult, pretrain
from pointmae_zoo.train.recipe import PretrainRecipe, parse_setting, read_recipe

__all__ = ["PretrainRecipe", "PretrainResult", "parse_setting", "pretrain", "read_recipe"]
