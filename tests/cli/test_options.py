"""Options as functions get them, their help and their defaults, and shell completion."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cyclopts import Argument, CycloptsError

import pointmae_zoo
from pointmae_zoo import cli
from pointmae_zoo.cli.options import default_of
from pointmae_zoo.evaluate import (
    evaluate_fewshot,
    evaluate_finetuned,
    evaluate_linear,
    evaluate_parts,
    evaluate_robustness,
    label_curve,
)
from pointmae_zoo.evaluate.fewshot import FewShotSettings
from pointmae_zoo.reports.known_results import PAPER_C
from samples.commands import COMMANDS, run


def options_of(words: str) -> dict[str, Any]:
    """The options of a command as its function gets them, by name."""
    _, given, _ = cli.build_app().parse_args(words)
    return given.kwargs


def test_data_given_twice_is_data_of_both() -> None:
    given = options_of("pretrain --out runs/x --data a.npz b.npz --data parts/")
    assert given["data"] == ["a.npz", "b.npz", "parts/"]
    assert "data" not in options_of("pretrain --out runs/x")


@pytest.mark.parametrize(
    "words",
    [
        "embed parts/ --out x.npz",
        "predict parts/",
        "finetune --out runs/x",
        "evaluate finetuned runs/x --data my_shapes",
        "evaluate parts runs/x --data my_shapes",
    ],
)
def test_a_negative_axis_is_a_value_and_no_option(words: str) -> None:
    assert options_of(f"{words} --up -z")["up"] == "-z"
    with pytest.raises(CycloptsError, match="-w"):
        options_of(f"{words} --up -w")


def arguments_of(command: str) -> list[Argument]:
    """What ``--help`` shows of a command."""
    _, apps, _ = cli.build_app().parse_commands(command.split())
    return [one for one in apps[-1].assemble_argument_collection() if one.show]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help(command: str) -> None:
    arguments = arguments_of(command)
    assert [one.name for one in arguments if not one.parameter.help] == []
    assert not any("{" in str(one.parameter.help) for one in arguments)


FUNCTIONS: dict[str, tuple[Callable[..., Any], set[str]]] = {
    "embed": (pointmae_zoo.embed_files, {"paths"}),
    "predict": (pointmae_zoo.predict_files, {"paths", "parts_out", "parts_format", "object_class"}),
    "similar": (pointmae_zoo.similar, {"features"}),
    "convert": (pointmae_zoo.convert_checkpoint, set()),
    "evaluate linear": (evaluate_linear, {"markdown"}),
    "evaluate fewshot": (evaluate_fewshot, {"markdown"}),
    "evaluate finetuned": (evaluate_finetuned, {"markdown"}),
    "evaluate parts": (evaluate_parts, {"markdown"}),
    "evaluate robustness": (evaluate_robustness, {"markdown"}),
    "evaluate curve": (label_curve, set()),
}
"""What a command calls, and which of its arguments are not those of the function."""


@pytest.mark.parametrize("command", FUNCTIONS)
def test_options_are_arguments_and_the_defaults_of_the_help_are_theirs(command: str) -> None:
    function, own = FUNCTIONS[command]
    theirs = inspect.signature(function).parameters
    checked = 0
    for one in arguments_of(command):
        name = one.field_info.name
        if name in own:
            continue
        assert name in theirs, name
        stated = re.search(r"\(default: ([\w./]+)\)$", str(one.parameter.help))
        if stated and theirs[name].default is not None:
            default = theirs[name].default
            assert stated[1] == (f"{default:g}" if isinstance(default, float) else str(default)), name
            checked += 1
    assert checked > 0 or command == "convert"


def test_a_default_follows_the_source() -> None:
    assert default_of("inference/embedding.py", "embed_files.timeout") == 60.0
    assert default_of("reports/known_results.py", "PAPER_C") == PAPER_C
    assert default_of("evaluate/fewshot.py", "FewShotSettings.episodes") == FewShotSettings().episodes
    with pytest.raises(AssertionError, match="defines no embed_fles"):
        default_of("inference/embedding.py", "embed_fles.timeout")


def test_completion_is_installed_and_knows_commands_and_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("HOME", str(tmp_path))
    script = tmp_path / "completion.bash"
    assert run("--install-completion", "--shell", "bash", "--output", script) == 0
    assert str(script) in capsys.readouterr().out
    text = script.read_text(encoding="utf-8")
    assert all(word in text for word in ("embed", "finetuned", "--memory-limit", "bfloat16"))
