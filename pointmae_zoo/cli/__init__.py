"""The command line: ``pointmae-zoo embed parts/ --out features.npz`` and its companions.

Cyclopts derives it from the typed, documented functions of this room: a function is a command, its parameters
are the options. ``--help`` must answer at once, and torch alone takes seconds: every command imports what it
needs when it runs, and a default is read from the function that it belongs to (`options.default_of`).
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from cyclopts import App, Parameter

from pointmae_zoo._version import __version__
from pointmae_zoo.cli import download, duplicates, embed, evaluate, models, predict, push, train
from pointmae_zoo.cli.exit_codes import exit_code_of, failed
from pointmae_zoo.cli.options import options
from pointmae_zoo.cli.printing import print_any_name

Shell = Literal["bash", "zsh", "fish", "powershell"]

_COMMANDS: tuple[Callable[..., int], ...] = (
    embed.embed,
    predict.predict,
    models.list_,
    models.info,
    embed.similar,
    duplicates.duplicates,
    models.convert,
    models.export,
    train.recipes,
    download.download,
    train.pretrain,
    train.finetune,
    push.push,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 done, 1 some files failed, 2 nothing done, or 130 interrupted."""
    print_any_name()
    words = list(sys.argv[1:] if argv is None else argv)
    before = words[: words.index("--")] if "--" in words else words
    debug = "--debug" in before or os.environ.get("POINTMAE_ZOO_DEBUG", "0") not in ("", "0")
    words = [word for word in before if word != "--debug"] + words[len(before) :]
    app = build_app()

    def run() -> int:
        if words in (["--help"], ["-h"]):
            print(_overview(app))
            return 0
        command, given, _ = app.parse_args(words)
        if command == app.help_print and not {"--help", "-h"} & set(words):
            what = "TASK" if "evaluate" in words else "COMMAND"
            return failed(f"{what} is missing (see {' '.join(['pointmae-zoo', *words, '--help'])})")
        return command(*given.args, **given.kwargs) or 0

    return exit_code_of(run, words[0] if words else "", lambda: _options_of(app, words), debug=debug)


def build_app() -> App:
    """Every command with its options; ``parse_args(words)`` gives the function and its arguments."""
    app = App(
        name="pointmae-zoo",
        help="Self-supervised encoders for 3D point clouds: mesh files in, features out.",
        help_epilogue="Exit codes: 0 done, 1 some files failed, 2 nothing done. With --debug, or "
        "POINTMAE_ZOO_DEBUG=1, an error shows its traceback. More: pointmae-zoo COMMAND --help",
        help_format="plaintext",
        version=f"pointmae-zoo {__version__}",
        default_parameter=Parameter(negative=(), show_default=False),
        exit_on_error=False,
        print_error=False,
    )
    tasks = App(name="evaluate", help="Measure a model, beside its baselines.", help_epilogue="", sort_key=98)
    for place, function in enumerate(_COMMANDS):
        app.command(function, sort_key=place, help_epilogue="")
    for place, task in enumerate(evaluate.TASKS):
        tasks.command(task, sort_key=place)
    app.command(tasks)

    @app.command(name="--install-completion", sort_key=99, help_epilogue="")
    @options()
    def install_completion(*, shell: Shell | None = None, output: Path | None = None) -> int:
        """Complete commands and options in your shell.

        Args:
            shell: default: the one you are in
            output: the file to write (default: where the shell looks for it)
        """
        print(f"{app.install_completion(shell=shell, output=output)}: takes effect in the next shell")
        return 0

    return app


def _overview(app: App) -> str:
    """What ``--help`` alone prints: a line for every command. Cyclopts would import rich for it, which takes
    as long as all else together."""
    width = min(110, shutil.get_terminal_size().columns)
    names = sorted((name for name in app if name not in ("-h", "--help")), key=lambda name: name[0] == "-")
    rows = {name: str(app[name].help).partition("\n")[0] for name in names}
    pad = max(map(len, rows)) + 4
    lines = [
        textwrap.fill(f"  {name:<{pad - 2}}{what}", width, subsequent_indent=" " * pad)
        for name, what in rows.items()
    ]
    about, end = textwrap.fill(str(app.help), width), textwrap.fill(str(app.help_epilogue), width)
    return "\n".join(["Usage: pointmae-zoo COMMAND", "", about, "", *lines, "", end])


def _options_of(app: App, words: Sequence[str]) -> dict[str, str]:
    """The option by which each parameter of a command was given: what is said of the one is said of the
    other."""
    _, apps, _ = app.parse_commands(words)
    arguments = apps[-1].assemble_argument_collection()
    named = [one for one in arguments if one.names and one.name.startswith("-")]
    return {one.field_info.name: one.name for one in named}
