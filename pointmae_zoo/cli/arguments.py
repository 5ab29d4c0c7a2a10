"""What the commands' parsers share: errors in one line, checked numbers and devices."""

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """One line for a wrong argument, like every other error, with the name that is nearest to a mistyped one;
    ``--debug`` before or after the command.

    What it parses has ``options``: the option that each argument is given by, by the argument's name.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show the traceback of an error (or set POINTMAE_ZOO_DEBUG=1)",
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = sys.argv[1:] if args is None else list(args)
        self._check_names(given)
        parsed, others = super().parse_known_args(given, namespace)
        own = {action.dest: action.option_strings[-1] for action in self._actions if action.option_strings}
        parsed.options = own | getattr(parsed, "options", {})
        return parsed, others

    def _check_names(self, given: Sequence[str]) -> None:
        """Before anything else is missed because of a mistyped command or option."""
        commands = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        for word in given:
            if word == "--":
                return
            if word.startswith("--"):
                name = word.partition("=")[0]
                known = list(self._option_string_actions)
                if not any(option.startswith(name) for option in known):
                    self.error(f"{name}: no such option{_hint(name, known)}")
            elif commands and not word.startswith("-"):
                choices = list(commands[0].choices or ())
                if word not in choices:
                    said = _hint(word, choices) or f"; there are {', '.join(choices)}"
                    self.error(f"{word}: no such {str(commands[0].metavar).lower()}{said}")
                return  # what follows is the command's

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {' '.join(message.split())} (see {self.prog} --help)\n")


def _hint(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """An argparse type: a number above 0."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(0)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(
                f"a {'whole ' if kind is int else ''}number above 0 expected, got {text!r}"
            )
        return value

    return parse
