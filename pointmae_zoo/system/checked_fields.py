"""Dataclasses whose fields are checked against their annotations: recipes, and the arguments of models.

Annotations may be int, float, bool, str, ``Any``, ``Literal``, ``X | None``, ``tuple[X, ...]``,
``dict[str, Any]`` and other dataclasses. A whole number is accepted for a float; a bool is accepted for
nothing but a bool; text never becomes a number or the reverse.

pydantic would be a compiled dependency of the core, and its errors would still have to be put into words.
"""

import dataclasses
import difflib
import types
import typing
from typing import Any


def check_fields(config: Any) -> None:
    """Check every field of a dataclass; raises a TypeError that names the first that does not fit."""
    hints = typing.get_type_hints(type(config))
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if not _fits(value, hints[item.name]):
            raise TypeError(f"{item.name}: {describe(hints[item.name])} expected, got {value!r}")


def from_values(cls: type, values: dict[str, Any], prefix: str = "") -> Any:
    """A dataclass from what a file holds: lists become tuples, mappings nested dataclasses.

    Args:
        cls: the dataclass.
        values: by field; what is absent keeps its default.
        prefix: of the fields' names in errors, such as ``"teacher."``.

    Raises:
        ValueError: an unknown or ill-typed field, by its full name, or what the dataclass itself refuses.
    """
    hints = typing.get_type_hints(cls)
    arguments = {}
    for name, value in values.items():
        if name not in hints:
            raise ValueError(f"no field {prefix + str(name)!r}; {_hint(str(name), cls, prefix)}")
        arguments[name] = _converted(value, hints[name], prefix + name)
    return cls(**arguments)


def field_names(cls: Any, prefix: str = "") -> list[str]:
    """All fields, those of nested dataclasses with a dot: ``["steps", "augmentation.scale", ...]``."""
    names = []
    for name, hint in typing.get_type_hints(cls).items():
        names += field_names(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else [prefix + name]
    return names


def _hint(name: str, cls: type, prefix: str) -> str:
    near = difflib.get_close_matches(name, list(typing.get_type_hints(cls)), n=1)
    near = near or [full for full in field_names(cls) if full.rpartition(".")[2] == name]
    if near:
        return f"did you mean {' or '.join(prefix + one for one in near)}?"
    return f"known: {', '.join(prefix + one for one in typing.get_type_hints(cls))}"


def _converted(value: Any, hint: Any, name: str) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return from_values(typing.cast(type, hint), value, f"{name}.")
    if origin is tuple and isinstance(value, (list, tuple)):
        value = tuple(_converted(one, inner[0], f"{name}[{place}]") for place, one in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin in (types.UnionType, typing.Union) and float in inner and isinstance(value, int):
        return value if isinstance(value, bool) or int in inner else float(value)
    if not _fits(value, hint):
        written = list(value) if isinstance(value, tuple) else value  # as in a file, in brackets
        raise ValueError(f"{name} is {written!r}, expected {describe(hint)}")
    return value


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if inner[-1] is Ellipsis:
            return all(_fits(entry, inner[0]) for entry in value)
        return len(value) == len(inner) and all(map(_fits, value, inner))
    if origin is typing.Literal:
        return value in inner
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, option) for option in inner)
    if origin is dict:
        return isinstance(value, dict)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def describe(hint: Any) -> str:
    """An annotation in words."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and inner[-1] is Ellipsis:
        return f"a list of {_several(inner[0])}"
    if origin is tuple:
        return f"a list of {len(inner)} {_several(inner[0])}"
    if origin is typing.Literal:
        return "one of " + ", ".join(map(repr, inner))
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe(option) for option in inner)
    if origin is dict or dataclasses.is_dataclass(hint):
        return "a mapping of fields"
    names = {bool: "true or false", str: "text", int: "a whole number", float: "a number", type(None): "null"}
    return names.get(hint, str(getattr(hint, "__name__", hint)))


def _several(hint: Any) -> str:
    return {int: "whole numbers", float: "numbers"}.get(hint) or describe(hint)
