"""The command line: what it prints, where, and with which exit code."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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
from pointmae_zoo.evaluate.linear import PAPER_C
from pointmae_zoo.train import parse_setting, read_recipe

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["embed", "predict", "list", "info", "similar", "convert", "export", "recipes", "download"]
COMMANDS += ["pretrain", "finetune", "push", "evaluate linear", "evaluate fewshot", "evaluate finetuned"]
COMMANDS += ["evaluate parts", "evaluate robustness", "evaluate compare", "evaluate curve"]
TETRAHEDRON = "OFF\n4 4 6\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"


def run(*arguments: object) -> int:
    """`main` in this process."""
    return cli.main([str(argument) for argument in arguments])


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr, without ``error: ``."""
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), captured.err
    assert captured.out == ""
    return lines[0].removeprefix("error: ")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small random weights."""
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "small"
    model = pointmae_zoo.create_model("i2p_mae_tiny", num_tokens=(32, 8), depths=(1, 1))
    pointmae_zoo.save_pretrained(model, folder)
    return folder


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Two shapes, and one file that is none."""
    folder = tmp_path / "shapes"
    folder.mkdir()
    (folder / "tetrahedron.off").write_text(TETRAHEDRON)
    turns = np.linspace(0, 40, 500)
    np.savetxt(folder / "spring.xyz", np.stack([np.cos(turns), turns / 10, np.sin(turns)], axis=1))
    (folder / "broken.stl").write_text("this is a letter, not a mesh\n")
    return folder


# --- light -----------------------------------------------------------------------------------------------


def test_help_and_wrong_arguments_import_no_library():
    """In one process that is asked for all of them."""
    lines = [f"{command} --help" for command in ("", *COMMANDS)] + ["--version", "embed", "ebmed"]
    code = (
        "import sys\nfrom pointmae_zoo.cli import main\n"
        "codes = [main(line.split()) for line in sys.argv[1:]]\n"
        "print('loaded:', [m for m in ('torch', 'numpy', 'trimesh', 'timm') if m in sys.modules], codes)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *lines], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.splitlines()[-1] == f"loaded: [] {[0] * (len(lines) - 2) + [2, 2]}"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]):
    assert run("--help") == 0
    text = capsys.readouterr().out
    for command in ("embed", "list", "info", "similar", "convert", "recipes", "pretrain", "evaluate"):
        assert f"│ {command} " in text


def test_version(capsys: pytest.CaptureFixture[str]):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"pointmae-zoo {pointmae_zoo.__version__}\n"


# --- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND is missing"),
        (["ebmed"], 'Unknown command "ebmed". Did you mean "embed"?'),
        (["--debug", "evaluate", "linaer", "x"], 'Did you mean "linear"?'),
        (["xyz"], "Available commands: embed, predict,"),
        (["embed", "x.off", "--uot", "y.npz"], "Unknown option: --uot. Did you mean --out?"),
        (["embed", "x.off", "--out=y.npz", "--modle=z"], "--modle. Did you mean --model?"),
        (["evaluate", "linear", "x", "--dta", "y"], "--dta. Did you mean --data?"),
        (["predict", "x.off", "--cla", "chair"], "--cla. Did you mean --class?"),  # nothing is abbreviated
        (["list", "--xyzzy"], "Unknown option: --xyzzy. See pointmae-zoo list --help"),
        (["list", "*tiny", "and", "more"], "Too many words: and more."),
        (["embed", "x.off", "--out", "y.npz", "--seed", "-1"], "--seed: a whole number of 0 or more"),
        (["embed", "x.off", "--out", "y.npz", "--seed", "one"], "for --seed. Must be a whole number."),
        (["embed", "x.off", "--out", "y.npz", "--seed", "1.5"], "for --seed. Must be a whole number."),
        (["similar", "x.off", "y.npz", "-k", "2.7"], "for -k. Must be a whole number."),
        (["embed", "x.off"], "--out is missing. See pointmae-zoo embed --help"),
        (["embed", "--out", "y.npz"], "PATHS is missing."),
        (["embed", "x.off", "--out"], "--out needs a value."),
        (["evaluate", "fewshot", "x", "--data", "y", "--ways"], "--ways needs a value."),
        (["evaluate", "linear", "x", "--data", "y", "--points", "0"], "for --points. Must be above 0."),
        (["embed", "x.off", "--out", "y.npz", "--batch-size", "0"], "--batch-size: a whole number above 0"),
        (["embed", "x.off", "--out", "y.npz", "--memory-limit", "0"], "--memory-limit: a number above 0"),
        (["embed", "x.off", "--out", "y.npz", "--timeout", "nan"], "--timeout: a number above 0"),
        (
            ["embed", "x.off", "--out", "y.npz", "--up", "w"],
            '"w" for --up. Choose from: "x", "y", "z", "-x", "-y", "-z".',
        ),
        (["embed", "x.off", "--out", "y.npz", "--dtype", "float"], 'Did you mean "float32"?'),
        (["pretrain", "--out", "run", "--track", "wandbb"], 'Did you mean "wandb"?'),
        (["finetune", "--out", "run", "--weights", "a", "--from-scratch", "b"], "--from-scratch"),
        (["push", "run", "a/b", "--pr", "--branch", "c"], "--pr, --branch"),
        (["predict", "x.off", "--parts-out", "parts"], "--model"),
        (["embed", "x.off", "--out", "y.npz", "--device", "cupboard"], "--device: 'cupboard'"),
        (["list", "zebra*"], "i2p_mae_base"),
        (["info", "i2p_mae_tny"], "i2p_mae_tiny"),
        (["info", "./nowhere"], "nowhere"),
        (["convert", "nowhere.pth", "out"], "nowhere.pth"),
        (["pretrain", "--out", "run"], "--recipe"),
        (["pretrain", "--out", "run", "--set", "steps"], "FIELD=VALUE"),
        (["pretrain", "--out", "run", "--recipe", "smoke", "--set", "stepps=3"], "did you mean steps?"),
        (["pretrain", "--out", "run", "--resume"], "run: there is no run in it"),
        (["evaluate"], "TASK is missing (see pointmae-zoo evaluate --help)"),
        (["evaluate", "linear", "i2p_mae_tiny.shapes", "--data", "nowhere.npz"], "nowhere.npz"),
        (
            [
                "evaluate",
                "robustness",
                "i2p_mae_tiny.shapes",
                "--data",
                "nowhere.npz",
                "--conditions",
                "heat",
            ],
            'Invalid value "heat" for --conditions',
        ),
    ],
)
def test_wrong_arguments_give_one_line_and_exit_2(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert says in error_line(capsys)
    assert list(tmp_path.iterdir()) == []


def command_that_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail() -> int:
        raise error

    monkeypatch.setattr(cli, "_COMMANDS", [fail])
    fail.__name__ = "list"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("field 'up': x, y or z expected,\n  got 'w'"), "field 'up': x, y or z expected, got 'w'"),
        (FileNotFoundError(2, "No such file or directory", "a.off"), "a.off: No such file or directory"),
        (FileNotFoundError("a.off: no such file"), "a.off: no such file"),
        (
            ModuleNotFoundError("No module named 'timm'", name="timm"),
            "No module named 'timm'; install it with: pip install \"pointmae-zoo[train]\"",
        ),
        (
            ModuleNotFoundError("No module named 'sklearn.svm'", name="sklearn.svm"),
            "No module named 'sklearn.svm'; install it with: pip install \"pointmae-zoo[eval]\"",
        ),
        (ValueError(), "ValueError"),
    ],
)
def test_errors_are_one_line(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    command_that_raises(monkeypatch, error)
    assert run("list") == 2
    assert error_line(capsys) == line


@pytest.mark.parametrize("arguments", [["--debug", "list"], ["list", "--debug"]])
def test_debug_shows_the_traceback(arguments: list[str], monkeypatch: pytest.MonkeyPatch):
    command_that_raises(monkeypatch, ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        cli.main(arguments)


def test_debug_by_environment(monkeypatch: pytest.MonkeyPatch):
    command_that_raises(monkeypatch, ValueError("wrong"))
    monkeypatch.setenv("POINTMAE_ZOO_DEBUG", "1")
    with pytest.raises(ValueError, match="wrong"):
        cli.main(["list"])


def test_a_bug_is_not_dressed_up_as_a_user_error(monkeypatch: pytest.MonkeyPatch):
    command_that_raises(
        monkeypatch, ModuleNotFoundError("No module named 'pointmae_zoo.x'", name="pointmae_zoo.x")
    )
    with pytest.raises(ModuleNotFoundError):
        cli.main(["list"])


def test_interrupt_is_one_line_and_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    command_that_raises(monkeypatch, KeyboardInterrupt())
    assert run("list") == 130
    assert capsys.readouterr().err.split() == ["interrupted"]


def test_a_reader_that_has_gone_is_no_complaint():
    read_end, write_end = os.pipe()
    os.close(read_end)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pointmae_zoo.cli", "list"],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        check=False,
    )
    os.close(write_end)
    assert done.stderr == ""
    assert done.returncode == 141


# --- commands --------------------------------------------------------------------------------------------


def test_list(capsys: pytest.CaptureFixture[str]):
    assert run("list", "*tiny") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == pointmae_zoo.list_models("*tiny")


def test_list_weights_tells_their_status(capsys: pytest.CaptureFixture[str]):
    assert run("list", "--weights") == 0
    words = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()}
    assert list(words) == pointmae_zoo.list_weights()
    assert set(words.values()) <= {"reproduced", "own-recipe", "demo"}


@pytest.mark.parametrize("name", pointmae_zoo.list_models())
def test_info_of_an_architecture(name: str, capsys: pytest.CaptureFixture[str]):
    assert run("info", name) == 0
    text = capsys.readouterr().out
    parameters = sum(parameter.numel() for parameter in pointmae_zoo.create_model(name).parameters())
    assert f"{parameters:,} parameters" in text
    assert "num_points" in text


@pytest.mark.parametrize("name", pointmae_zoo.list_weights())
def test_info_of_weights(name: str, capsys: pytest.CaptureFixture[str]):
    assert run("info", name) == 0
    words = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert {"weights", "architecture", "kind", "status", "licence", "encoder", "input", "provenance"} <= words


def test_info_of_a_folder(weights: Path, capsys: pytest.CaptureFixture[str]):
    assert run("info", weights) == 0
    text = capsys.readouterr().out
    assert str(weights) in text and "i2p_mae_tiny" in text


def test_info_prints_where_weights_come_from_a_field_a_line(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "weights"
    shutil.copytree(weights, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["provenance"] = {
        "recipe": {"learning_rate": 0.002, "teacher": {"strides": [8, 16]}, "epochs": None, "compile": False},
        "final_losses": {"loss": 0.5676492094993592},
        "steps": 12000,
        "seconds": 14768.25,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert run("info", folder) == 0
    _, _, text = capsys.readouterr().out.partition("\nprovenance\n")
    indented = [(len(line) - len(line.lstrip()), line.split(maxsplit=1)) for line in text.splitlines()]
    assert indented == [
        (2, ["recipe"]),
        (4, ["learning_rate", "0.002"]),
        (4, ["teacher"]),
        (6, ["strides", "8, 16"]),
        (4, ["epochs", "null"]),
        (4, ["compile", "false"]),
        (2, ["final_losses"]),
        (4, ["loss", "0.5676"]),
        (2, ["steps", "12000"]),
        (2, ["seconds", "14768"]),
    ]


def test_help_names_presets_and_exit_codes(capsys: pytest.CaptureFixture[str]):
    from pointmae_zoo.models.i2p_mae.reference_checkpoints import PRESETS

    assert run("convert", "--help") == 0
    text = capsys.readouterr().out
    assert all(name in text for name in PRESETS["classification"])
    assert run("pretrain", "--help") == 0
    assert "130 stopped" in capsys.readouterr().out


def test_recipes_and_data_sets_are_listed(capsys: pytest.CaptureFixture[str]):
    assert run("recipes") == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("A name without its family is i2p_mae's") and "--recipe smoke" in last
    assert run("download") == 0
    assert re.search(r"\n  can be fetched +435 MB, ver", capsys.readouterr().out)


def test_embed_and_similar(shapes: Path, weights: Path, capfd: pytest.CaptureFixture[str]):
    out = shapes.parent / "features.npz"
    command = ("embed", shapes, "--out", out, "--model", weights, "--workers", 1)
    assert run(*command) == 1
    captured = capfd.readouterr()
    assert "2 rows of 576 features" in captured.out
    assert "1 of 3 files failed" in captured.err and "broken.stl" in captured.err
    assert "Traceback" not in captured.err

    (shapes / "broken.stl").unlink()
    assert run(*command) == 0
    assert "2 rows" in capfd.readouterr().out

    assert run("similar", shapes / "tetrahedron.off", out) == 0  # a row of the table: not its own neighbour
    assert [line.split()[1] for line in capfd.readouterr().out.splitlines()] == [str(shapes / "spring.xyz")]
    (shapes.parent / "new.xyz").write_bytes((shapes / "spring.xyz").read_bytes())
    assert run("similar", shapes.parent / "new.xyz", out, "-k", 1) == 0
    assert capfd.readouterr().out.split() == ["1.000", str(shapes / "spring.xyz")]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"paths": "nowhere/"}, "nowhere"),
        ({"paths": "empty"}, "empty"),
        ({"out": "features.docx"}, ".docx"),
        ({"model": "i2p_mae_tiny.shaeps"}, "i2p_mae_tiny.shapes"),
        ({"pool": "median"}, "median"),
    ],
)
def test_embed_with_nothing_to_do_exits_2(
    change: dict[str, str],
    says: str,
    shapes: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(shapes.parent)
    Path("empty").mkdir()
    options = {"paths": str(shapes), "out": "features.npz", "model": str(weights), "pool": "max"} | change
    paths = options.pop("paths")
    assert (
        run("embed", paths, *(word for name, value in options.items() for word in (f"--{name}", value))) == 2
    )
    assert says in error_line(capsys)
    assert not Path(options["out"]).exists()


def test_similar_without_a_table(shapes: Path, capsys: pytest.CaptureFixture[str]):
    assert run("similar", shapes / "spring.xyz", shapes / "nowhere.npz") == 2
    assert "nowhere.npz" in error_line(capsys)


def test_pretrain_then_info_and_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny: dict[str, list[int]]
):
    out = tmp_path / "run"
    settings = {
        "procedural_clouds": 4,
        "batch_size": 2,
        "steps": 2,
        "cloud_points": 256,
        "num_points": 128,
        "teacher.name": "",
        "model_arguments": tiny,
    }
    words = ["--recipe", "smoke"]
    words += [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    assert run("pretrain", "--out", out, *words) == 0
    assert "2 steps" in capsys.readouterr().out
    assert run("info", out) == 0
    assert "pretraining" in capsys.readouterr().out
    assert run("pretrain", "--out", out, *words) == 2
    assert "resume" in capsys.readouterr().err
    assert run("pretrain", "--out", out, "--resume") == 0


def test_evaluate_linear(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Flat and long shapes, told apart by any features; the table and the JSON say the same."""
    generator = np.random.default_rng(0)
    labels = np.arange(48) % 2
    points = generator.uniform(-1, 1, (48, 128, 3)) * np.where(labels, 0.05, 1.0)[:, None, None] ** [0, 1, 1]
    points[labels == 0] *= [1.0, 0.05, 1.0]
    data, out = tmp_path / "clouds.npz", tmp_path / "linear.json"
    np.savez(
        data,
        points=points.astype(np.float32),
        y=labels,
        classes=np.array(["plate", "stick"]),
        core_classes=np.array(["plate", "stick"]),
        split=np.array(["train"] * 32 + ["test"] * 16),
        group=np.arange(48),
    )
    assert (
        run("evaluate", "linear", weights, "--data", data, "--points", 128, "--seeds", 0, "--out", out) == 0
    )
    summary = json.loads(out.read_text())["summary"][0]
    assert summary["test_mean"] > 90
    assert f"{summary['test_mean']:.1f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("embed", "x.stl", "--out", "x.npz"),
        ("pretrain", "--out", "run", "--recipe", "smoke"),
        ("evaluate", "linear", "weights", "--data", "x.npz"),
        ("convert", "x.pth", "out"),
    ],
    ids=lambda words: words[0],
)
def test_too_little_memory_names_what_the_command_has(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    command, _, _ = cli.build_app().parse_args(words)

    def starve(*_: object, **__: object) -> int:
        raise MemoryError

    with monkeypatch.context() as starving:
        starving.setattr(command, "__code__", starve.__code__)
        assert run(*words) == 2
    said = error_line(capsys)
    assert said.startswith("out of memory; ")
    assert run(*words, "--help") == 0
    known = capsys.readouterr().out
    assert all(option in known for option in re.findall(r"--[\w-]+", said))
    for setting in re.findall(r"--set (\S+)", said):
        read_recipe("smoke", **parse_setting(setting))


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


# --- defaults and help -----------------------------------------------------------------------------------


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
    assert default_of("evaluate/linear.py", "PAPER_C") == PAPER_C
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
