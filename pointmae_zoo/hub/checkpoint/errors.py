"""The error for a stored model that can't be used, and the wording of what is wrong with its tensors."""

from collections.abc import Iterable, Mapping

from torch import Tensor

LONGEST_MESSAGE = 600

Shape = tuple[int, ...]


class CheckpointError(ValueError):
    """A stored model that can't be used; the message names the file, what is wrong and what to do.

    The message is one line of bounded length without control characters, whatever the file holds.
    """

    def __init__(self, message: str) -> None:
        line = "".join(letter if letter.isprintable() else " " for letter in message)
        super().__init__(line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 4] + " ...")


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, Shape]:
    """The shapes in a ``state_dict``."""
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def key_problems(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> str:
    """Why ``found`` can't be loaded where ``expected`` is needed; empty if it can."""
    shapes = [
        f"{key} is {list(found[key])}, not {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    problems = named("missing", expected.keys() - found.keys()) + named(
        "unexpected", found.keys() - expected.keys()
    )
    return "; ".join(problems + named("wrong shape:", shapes))


def named(what: str, names: Iterable[str]) -> list[str]:
    """``["what a, b, c and 4 more"]``, or ``[]`` if there are no names."""
    names = sorted(name if len(name) <= 100 else name[:96] + " ..." for name in names)
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return [f"{what} {', '.join(names[:8])}{more}"] if names else []
