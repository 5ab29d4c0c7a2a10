"""Part numbers: from how somebody counted them to a count through all classes, as ShapeNetPart's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.labelled.labelled_clouds import part_ranges, unnamed_parts
from pointmae_zoo.system.yaml_files import load_yaml

PARTS_FILE = "parts.yaml"


@dataclass(frozen=True)
class PartNumbers:
    """How the parts of the classes are counted.

    Args:
        first: for each class what its first part is called in the data.
        parts: for each class its numbers through all classes.
        names: by number through all classes.
    """

    first: tuple[int, ...]
    parts: tuple[range, ...]
    names: tuple[str, ...]

    def counted(self, found: NDArray[np.integer], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers as in the data (M, N), of clouds of these classes (M,) -> counted through all classes."""
        shift = np.array([numbers.start for numbers in self.parts]) - np.array(self.first)
        return found.astype(np.int64) + shift[labels][:, None]


def part_numbers(
    where: Path | str,
    classes: Sequence[str],
    spans: Sequence[tuple[int, int] | None],
    named: Mapping[str, Sequence[str]],
) -> PartNumbers:
    """Settle the numbers of parts that somebody counted within each class or through all classes, from 0 or
    from 1.

    A class's parts are counted from the lowest number that it has; if they are named, from 0 where all fit.

    Args:
        where: file or folder, for errors.
        spans: for each class the lowest and highest number that its points have, None where it has no clouds.
        named: names of the parts of some classes.

    Raises:
        ValueError: more numbers than names, or names of a class that is not there.
    """
    if unknown := sorted(set(named) - set(classes)):
        raise ValueError(
            f"{where}: parts of {unknown[0]!r} are named, but it is no class (known: {', '.join(classes)})"
        )
    first, sizes = [], []
    for name, span in zip(classes, spans, strict=True):
        low, high = span or (0, -1)
        if name not in named:
            first.append(low)
            sizes.append(high - low + 1)
            continue
        count = len(named[name])
        first.append(0 if high < count else low)
        sizes.append(count)
        if high - first[-1] >= count:
            raise ValueError(
                f"{where}: {name} has parts {low} to {high}, but {count} are named; name every one, in the "
                "order of the numbers"
            )
    parts = part_ranges(sizes)
    names = list(unnamed_parts(classes, parts))
    for name, numbers in zip(classes, parts, strict=True):
        if name in named:
            names[numbers.start : numbers.stop] = [f"{name}/{part}" for part in named[name]]
    return PartNumbers(tuple(first), parts, tuple(names))


def listed_parts(where: Path | str, classes: Sequence[str], names: Sequence[str]) -> PartNumbers:
    """Parts that are listed by name, ``CLASS/PART``, in the order of their numbers through all classes.

    Raises:
        ValueError: a name without a class, a class without parts, or parts of a class apart from each other.
    """
    rows: dict[str, list[int]] = {name: [] for name in classes}
    for row, name in enumerate(names):
        if owners := [one for one in classes if name.startswith(f"{one}/") and name != f"{one}/"]:
            rows[max(owners, key=len)].append(row)
        elif "/" not in name:
            raise ValueError(f"{where}: part {row} is named {name!r}, expected CLASS/PART such as chair/leg")
    for name, found in rows.items():
        if not found:
            raise ValueError(f"{where}: 'part_names' has no part of class {name!r}")
        if found != list(range(found[0], found[-1] + 1)):
            raise ValueError(f"{where}: 'part_names' has the parts of {name!r} in several places")
    parts = part_ranges([len(found) for found in rows.values()])
    chosen = [names[row] for found in rows.values() for row in found]
    return PartNumbers(tuple(found[0] for found in rows.values()), parts, tuple(chosen))


def read_part_names(path: Path) -> dict[str, list[str]]:
    """``CLASS: [name, name]`` for every class of a file; empty without the file.

    Raises:
        ValueError: another file than that; names what is wrong.
    """
    if not path.is_file():
        return {}
    named = {}
    for label, names in load_yaml(path, "names of parts in YAML").items():
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"{path}: {label} is {names!r}, expected a list of names such as [seat, back, leg]"
            )
        if len(set(names)) < len(names):
            raise ValueError(f"{path}: {label} has a name twice")
        named[str(label)] = names
    return named
