"""What the commands' parsers share: errors in one line, checked numbers and devices."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """One line for a wrong argument, like every other error; ``--debug`` before or after the command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show the traceback of an error (or set POINTMAE_ZOO_DEBUG=1)",
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {' '.join(message.split())} (see {self.prog} --help)\n")


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


def check_device(name: str) -> None:
    """Raise a ValueError, before any work is done, where torch can't compute on this device."""
    if name == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=name).add(1).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"--device {name}: {reason}; use --device cpu") from None
