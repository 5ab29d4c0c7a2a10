"""Recipes in YAML: files, the ones that are shipped, and settings of the command line.

Values are read by YAML 1.2's rules, where PyYAML has 1.1's: ``1e-3`` is a number, ``no`` is text and ``1:30``
is no count of seconds.
"""

import difflib
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

import yaml

import pointmae_zoo
from pointmae_zoo.data.files import written_whole
from pointmae_zoo.train.recipe import PretrainRecipe, merged

SHIPPED = Path(pointmae_zoo.__file__).parent / "recipes"
BARE = "i2p_mae"
"""The family whose recipes are meant by names without a family that several have."""

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


def list_recipes() -> dict[str, str]:
    """The shipped recipes: name, ``family/recipe`` -> what it is (the comment on top of its file)."""
    files = sorted(SHIPPED.rglob("*.yaml"))
    return {path.relative_to(SHIPPED).with_suffix("").as_posix(): _summary(path) for path in files}


def _summary(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe: a path, or the name of a shipped one.

    A name without its family, such as ``smoke``, is I2P-MAE's if I2P-MAE has one, else that of the only
    family that has one.

    Raises:
        FileNotFoundError: no such file and no such name; near ones are suggested, of a family all.
        ValueError: several families have one, and I2P-MAE has none.
    """
    path, known = Path(name), list(list_recipes())
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such recipe file")
        return path
    found = [one for one in known if str(name) in (one, one.rpartition("/")[2])]
    if f"{BARE}/{name}" in found:
        found = [f"{BARE}/{name}"]
    if len(found) == 1:
        return SHIPPED / f"{found[0]}.yaml"
    if found:
        raise ValueError(f"recipe {str(name)!r}: {' or '.join(found)}? give the whole name")
    if path.is_file():
        return path
    family = [one for one in known if one.partition("/")[0] == str(name)]
    first = sorted(known, key=lambda one: not one.startswith(f"{BARE}/"))  # of equal ends, the bare name's
    ends = {one.rpartition("/")[2]: one for one in reversed(first)} | {one: one for one in known}
    near = [] if family else difflib.get_close_matches(str(name), ends, n=1)
    if near:
        hint = f"did you mean {ends[near[0]]}?"
    else:
        hint = f"known: {', '.join(family or known)}; or the path of a YAML file"
    raise FileNotFoundError(f"no recipe is called {str(name)!r}; {hint}")


def read_recipe(name: str | Path, **changes: Any) -> PretrainRecipe:
    """Read a recipe: a YAML file, or the name of a shipped one (see ``find_recipe``).

    Args:
        changes: fields to set instead of the file's.

    Raises:
        FileNotFoundError: no such file or name.
        ValueError: not YAML, a field twice, unknown, ill-typed or out of range; names file and field.
    """
    path = find_recipe(name)
    values = load_yaml(path)
    try:
        recipe = PretrainRecipe.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not changes:
        return recipe
    try:
        return PretrainRecipe.from_dict(merged(values, changes))
    except ValueError as error:
        raise ValueError(f"recipe {name}, as changed: {error}") from error


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ValueError: not YAML, not a mapping, or a field twice; names file and line.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a recipe in YAML ({_reason(error)})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected lines such as 'steps: 500'")
    return values


def write_recipe(recipe: PretrainRecipe, path: Path) -> None:
    """Write every field of a recipe."""
    text = yaml.dump(recipe.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    with written_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def parse_setting(text: str) -> dict[str, Any]:
    """``"steps=500"`` or ``"augmentation.scale=1.2"`` -> what ``PretrainRecipe.override`` takes. Values are
    YAML; nothing after the ``=`` is the empty text.

    Raises:
        ValueError: no ``=`` in it, or no YAML behind it.
    """
    name, separator, written = text.partition("=")
    name = name.strip()
    if not separator or not name:
        raise ValueError(f"{text!r}: expected FIELD=VALUE, for example steps=500")
    try:
        value = yaml.load(written, Loader=_Loader) if written.strip() else ""
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r}: not a value ({_reason(error)}); put text in quotes") from error
    first, *rest = name.split(".")
    for part in reversed(rest):
        value = {part: value}
    return {first: value}


def _reason(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = "" if mark is None else f"line {mark.line + 1}: "
    return where + str(getattr(error, "problem", None) or error).splitlines()[0]
