"""The documentation's commands are ones, and the fields that it names exist."""

import ast
import dataclasses
import importlib
import re
import shlex
from pathlib import Path

import pytest

from pointmae_zoo import cli
from pointmae_zoo.datasets.mesh_folder import HELD_OUT, is_held_out
from pointmae_zoo.train import parse_setting, read_recipe
from pointmae_zoo.train.recipe_files import list_recipes, recipe_command
from pointmae_zoo.train.recipes import FinetuneRecipe, PretrainRecipe, TeacherSettings, merged

DOCS = Path(__file__).parents[2] / "docs"
README = DOCS.with_name("README.md")
EXTRAS = {"duplicates": "duplicates", "pretrain": "train", "finetune": "train", "evaluate": "eval"}
"""What a command cannot do without."""


def commands(page: Path) -> list[list[str]]:
    """The arguments after ``pointmae-zoo``, or ``-m pointmae_zoo.cli``, of every command of a page."""
    return [command for block in blocks(page) for command in commands_of(block)]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands_of(block: str) -> list[list[str]]:
    lines = block.replace("\\\n", " ").splitlines()
    found = (re.search(r"^pointmae-zoo (.*)|-m pointmae_zoo\.cli (.*)", line) for line in lines)
    return [shlex.split(one[1] or one[2], comments=True) for one in found if one]


@pytest.mark.parametrize("page", [README, *sorted(DOCS.glob("*.md"))], ids=lambda page: page.stem)
def test_commands_are_ones(page: Path) -> None:
    for command in commands(page):
        if command[-1] == "...":
            continue
        _, given, _ = cli.build_app().parse_args(command)
        run = given.arguments.get("run", {})
        if command[0] in ("pretrain", "finetune") and not run.get("resume"):
            changes: dict = {}
            for text in run.get("settings", []):
                changes = merged(changes, parse_setting(text))
            read_recipe(run["recipe"], **changes)
            assert recipe_command(run["recipe"]) == command[0]


def test_what_is_installed_is_what_the_commands_need() -> None:
    checked = 0
    for block in (block for page in (README, *DOCS.glob("*.md")) for block in blocks(page)):
        if installed := re.search(r"pip install .*pointmae-zoo\[([\w,]+)\]", block):
            needed = {EXTRAS[command[0]] for command in commands_of(block) if command[0] in EXTRAS}
            assert needed <= set(installed[1].split(",")), block
            checked += len(needed)
    assert checked >= 2
    assert len(commands(README)) >= 6


def test_python_of_the_docs_imports_names_that_exist() -> None:
    """In blocks and in sentences: a room that is rebuilt takes its documentation with it."""
    checked = 0
    for page in (README, *DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pointmae_zoo"):
                    module = importlib.import_module(node.module or "")
                    assert all(hasattr(module, alias.name) for alias in node.names), f"{page}: {node.module}"
                    checked += 1
        for name in re.findall(r"\bpointmae_zoo(?:\.[a-z]\w*)+", text):
            module, _, attribute = name.rpartition(".")
            if module.endswith(".cli") or name == "pointmae_zoo.cli":
                continue
            try:
                importlib.import_module(name)
            except ModuleNotFoundError:
                assert hasattr(importlib.import_module(module), attribute), f"{page}: {name}"
            checked += 1
    assert checked > 10


def test_data_page_names_all_that_is_held_out() -> None:
    text = (DOCS / "data.md").read_text(encoding="utf-8").split("**What is held out stays out.**")[1]
    listed = text.split("in a folder named")[1].split(". Case")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == HELD_OUT
    first = text.split("words may follow")[1].split("(")[0]
    assert set(re.findall(r"`(\w+)`", first)) == {name for name in HELD_OUT if is_held_out(f"{name}_x")}
    field = re.search(r"The field `(\w+)` adds", (DOCS / "data.md").read_text(encoding="utf-8"))
    assert field and field[1] in {one.name for one in dataclasses.fields(PretrainRecipe)}


def test_pretraining_page_names_fields_that_exist() -> None:
    text = (DOCS / "pretraining.md").read_text(encoding="utf-8")
    assert len(commands(DOCS / "pretraining.md")) >= 6
    table = text.split("| `teacher.` | |")[1].split("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert set(named) == {one.name for one in dataclasses.fields(TeacherSettings)}
    for setting in re.findall(r"--set '?([\w.]+=[^\s`']*)", text):
        read_recipe("pretrain_tiny", **parse_setting(setting))
    for name in re.findall(r"`((?:checkpoint|keep|log|batch|accumulation)_\w+)`", text):
        assert name in {one.name for one in dataclasses.fields(PretrainRecipe)}


def test_finetuning_page_names_recipes_and_fields_that_exist() -> None:
    text = (DOCS / "finetuning.md").read_text(encoding="utf-8")
    assert len(commands(DOCS / "finetuning.md")) >= 8
    named = set(re.findall(r"`((?:i2p|joint)_mae/\w+)`", text))
    assert named == {name for name in list_recipes() if recipe_command(name) == "finetune"}
    table = text.split("## What is trained")[1].split("\n\n")[1]
    fields = {row.split("`")[1].rstrip(".") for row in table.splitlines()[2:]}
    fields |= set(re.findall(r"`(validat\w+|select|shots)", text)) - {
        "validation_accuracy",
        "validation_loss",
    }
    assert fields - {"validation_miou"} <= {one.name for one in dataclasses.fields(FinetuneRecipe)}
