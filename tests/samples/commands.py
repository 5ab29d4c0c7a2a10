"""The commands, and running one in this process."""

from pointmae_zoo import cli

COMMANDS = ["embed", "predict", "list", "info", "similar", "convert", "export", "recipes", "download"]
COMMANDS += ["pretrain", "finetune", "push", "evaluate linear", "evaluate fewshot", "evaluate finetuned"]
COMMANDS += ["evaluate parts", "evaluate robustness", "evaluate compare", "evaluate curve"]


def run(*arguments: object) -> int:
    """`main` in this process."""
    return cli.main([str(argument) for argument in arguments])
