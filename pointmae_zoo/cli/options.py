"""From typed, documented functions to options; and the options that several commands share."""

import ast
import inspect
import pkgutil
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar

from cyclopts import Parameter, Token

_Documented = TypeVar("_Documented", bound=Callable[..., Any])


def _above_zero(_: Any, value: int | None) -> None:
    if value is not None and value <= 0:
        raise ValueError("Must be above 0.")


File = Annotated[Path, Parameter(metavar="FILE")]
Folder = Annotated[Path, Parameter(metavar="FOLDER")]
Model = Annotated[str, Parameter(metavar="NAME|FOLDER|ORG/REPO")]
Name = Annotated[str, Parameter(metavar="NAME")]


def _whole(_: Any, tokens: Sequence[Token]) -> int:
    """A whole number and nothing near one: by itself, Cyclopts rounds 2.7."""
    return int(tokens[0].value)


Whole = Annotated[int, Parameter(metavar="N", converter=_whole)]
Count = Annotated[int, Parameter(metavar="N", validator=_above_zero, converter=_whole)]
Axis = Annotated[Literal["x", "y", "z", "-x", "-y", "-z"], Parameter(allow_leading_hyphen=True)]
Pose = Literal["upright", "turned", "any"]
SEVERAL = Parameter(consume_multiple=1)
"""Of an option that takes several values at once, and may be repeated."""


def options(source: str = "") -> Callable[[_Documented], _Documented]:
    """Make the ``Args:`` of a command's docstring, or of a `TypedDict` of options, the help of its options.

    Args:
        source: FILE:FUNCTION of the package whose arguments they are, such as
            ``inference/embedding.py:embed_files``. ``{timeout}`` in a text stands for the function's default,
            ``{PAPER_C}`` for a constant of the file, ``{FILE:Settings.episodes}`` for a field elsewhere.
    """

    def default(found: re.Match[str]) -> str:
        file, function = source.split(":") if source else ("", "")
        if ":" in found[1]:
            value = default_of(*found[1].split(":"))
        else:
            value = default_of(file, found[1] if found[1].isupper() else f"{function}.{found[1]}")
        if isinstance(value, tuple):
            return " ".join(map(str, value))
        return f"{value:g}" if isinstance(value, float) else str(value)

    def decorate(documented: _Documented) -> _Documented:
        text, _, listed = inspect.cleandoc(documented.__doc__ or "").partition("\nArgs:\n")
        documented.__doc__ = re.sub(r"(?<=\S)\n(?=\S)", " ", text)  # a terminal breaks lines where it ends
        for name, what in re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", listed, re.MULTILINE):
            help_text = re.sub(r"\{(.+?)\}", default, re.sub(r"\s+", " ", what))
            hint = documented.__annotations__[name]
            documented.__annotations__[name] = Annotated[hint, Parameter(help=help_text)]
        return documented

    return decorate


def default_of(file: str, name: str) -> Any:
    """A default as the package's source has it. It is not imported for that: torch alone takes seconds.

    Args:
        file: of the package, such as ``inference/embedding.py``.
        name: ``embed_files.timeout`` for the parameter of a function, ``Settings.episodes`` for the field of
            a class, ``PAPER_C`` for a constant.
    """
    owner, _, inner = name.partition(".")
    node = _definition(file, owner)
    values: dict[str, ast.expr | None] = {}
    if isinstance(node, ast.FunctionDef):
        given = node.args
        values = dict(zip([one.arg for one in given.kwonlyargs], given.kw_defaults, strict=True))
        last = given.args[len(given.args) - len(given.defaults) :]
        values |= dict(zip([one.arg for one in last], given.defaults, strict=True))
    elif isinstance(node, ast.ClassDef):
        values = {ast.unparse(one.target): one.value for one in node.body if isinstance(one, ast.AnnAssign)}
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        values = {inner: node.value}
    value = values[inner]
    assert value is not None, f"{file}: {name} has no default"
    if isinstance(value, ast.Name):  # a constant of another file
        found = re.search(rf"^from pointmae_zoo\.(\S+) import .*\b{value.id}\b", _source(file), re.MULTILINE)
        assert found is not None, f"{file}: imports no {value.id}"
        return default_of(f"{found[1].replace('.', '/')}.py", value.id)
    return ast.literal_eval(value)


@cache
def _source(file: str) -> str:
    return (pkgutil.get_data("pointmae_zoo", file) or b"").decode()


@cache
def _definition(file: str, name: str) -> ast.stmt:
    """The class, the constant or the function (without its body) of a name. Only that is parsed: whole files
    would take as long as the rest of ``--help``."""
    function = rf"def {name}\((?s:.*?)\) -> [^\n]+:$"
    other = rf"(?:class {name}\b|{name}(?:: \w+)? = )(?s:.*?)(?=^[^\s)]|\Z)"
    found = re.search(
        rf"^(?:{function}|{other})",
        _source(file),
        re.MULTILINE,
    )
    assert found is not None, f"{file}: defines no {name}"
    return ast.parse(found[0] + (" ..." if found[0].startswith("def ") else "")).body[0]


@options("inference/embedding.py:embed_files")
class Reading(TypedDict, total=False):
    """How mesh and point files are read, and how the network runs on them.

    Args:
        up: axis of the files that points up; of depth cameras -y (default: {up})
        seed: of the points that are sampled on surfaces (default: {seed})
        batch_size: clouds at a time (default: 16 on a CPU, what is fastest on a GPU)
        workers: processes that read files (default: by the number of cores)
        timeout: seconds for reading one file (default: {timeout})
        memory_limit_gb: gigabytes for reading one file, in each worker (default: {memory_limit_gb})
        device: where the network runs, such as cuda (default: cpu)
        dtype: of weights and activations; what comes out is float32 (default: float32)
    """

    up: Axis
    seed: Whole
    batch_size: int
    workers: int
    timeout: float
    memory_limit_gb: Annotated[float, Parameter(name="--memory-limit")]
    device: Name
    dtype: Literal["float32", "bfloat16"]
