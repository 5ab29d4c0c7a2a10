"""How a command ends, and the line that says what was wrong.

0: done. 1: some files failed, as the command itself says. 2: nothing done. 130: interrupted. 141: nobody
reads the output any more.
"""

import os
import sys
from collections.abc import Callable

from cyclopts import (
    Argument,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    Token,
    UnusedCliTokensError,
)

from pointmae_zoo.cli.printing import joined, one_line

_LESS_MEMORY = {
    "duplicates": "fewer --workers need less",
    "embed": "a smaller --batch-size or fewer --workers need less",
    "predict": "a smaller --batch-size or fewer --workers need less",
    "pretrain": "--set accumulation_steps=2 (4, 8, ...) splits a batch into parts, which needs less",
    "finetune": "--set accumulation_steps=2 (4, 8, ...) splits a batch into parts, which needs less",
    "evaluate": "fewer --points, or --classes core, need less",
}
_NUMBERS = {int: "a whole number", float: "a number"}


def exit_code_of(
    run: Callable[[], int], command: str, options: Callable[[], dict[str, str]], *, debug: bool
) -> int:
    """Run a command; errors that a user can understand become a line.

    Args:
        run: the command; gives its exit code.
        command: its name, for what helps if memory runs out.
        options: give the option by which each of its parameters was given, such as num_points -> --points.
        debug: errors keep their traceback.
    """
    try:
        code = run()
        sys.stdout.flush()
        return code
    except CycloptsError as error:
        return failed(_wrong_word(error))
    except KeyboardInterrupt:
        if debug:
            raise
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone. Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError:
        if debug:
            raise
        remedy = _LESS_MEMORY.get(command, "close other programs, or use a larger machine")
        return failed(f"out of memory; {remedy}")
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        ours = isinstance(error, ImportError) and (error.name or "").startswith("pointmae_zoo")
        if debug or ours:
            raise
        name, colon, rest = one_line(error).partition(": ")
        return failed(options().get(name, name) + colon + rest)


def failed(text: str) -> int:
    """Print an error; the exit code for nothing done."""
    print(f"error: {text}", file=sys.stderr)
    return 2


def _wrong_word(error: CycloptsError) -> str:
    """What is wrong with the words that were given, and where to read which are right."""
    text = joined(str(error))
    match error:
        case MissingArgumentError(argument=Argument() as argument):
            text = f"{error.keyword} needs a value." if error.keyword else f"{argument.name} is missing."
        case UnusedCliTokensError(unused_tokens=list() as words):
            text = f"Too many words: {' '.join(words)}."
        case CoercionError(token=Token() as token, target_type=kind) if kind in _NUMBERS:
            text = f'Invalid value "{token.value}" for {token.keyword}. Must be {_NUMBERS[kind]}.'
    return f"{text} See {' '.join(['pointmae-zoo', *(error.command_chain or ()), '--help'])}"
