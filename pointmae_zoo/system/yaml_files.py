"""YAML files: recipes, and what a person states for a card.

Values are read by YAML 1.2's rules, PyYAML's are 1.1's: here ``1e-3`` is a number, and ``no`` and ``1:30``
are text.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

import yaml

_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
     "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
)  # fmt: skip


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        """YAML 1.1 has 010 as 8."""
        return int(node.value)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, f"{name!r} is no name of a field", key.start_mark
                )
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"field {name!r} is there twice", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for _name, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_first)
        )
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_decimal)


def load_yaml(path: Path, what: str = "a recipe in YAML") -> dict[str, Any]:
    """The mapping in a YAML file; ``what`` it should have been, for errors.

    Raises:
        ValueError: not YAML, not a mapping, or a field twice; names file and line.
    """
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not {what} ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected lines such as 'name: value'")
    return values


def parse_yaml(text: str) -> Any:
    """The value that a text stands for.

    Raises:
        ValueError: no YAML, a field twice, or nested too deeply; in a few words, with the line if known.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f"line {mark.line + 1}: "
        reason = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise ValueError(where + reason) from error
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dump_yaml(values: dict[str, Any]) -> str:
    """A mapping as YAML, its fields in their order."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True))
