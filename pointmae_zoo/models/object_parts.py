"""The object classes of a part segmenter, and the parts that each of them has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ObjectParts:
    """Object classes, in the order of a segmenter's numbers of them.

    Args:
        classes: their names; numbers as text if they have no names.
        parts: for each class the numbers of its parts.
    """

    classes: tuple[str, ...]
    parts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(
        cls,
        labels: Sequence[str] | None,
        provenance: Mapping[str, Any],
        num_parts: int,
        num_object_classes: int | None = None,
    ) -> "ObjectParts":
        """From what fine-tuning stored in the provenance; otherwise from part names, ``Class/part``;
        otherwise every class may have every part.

        Args:
            labels: part names, in the order of their numbers, if there are any.
            provenance: of the model.
            num_parts: of all classes together.
            num_object_classes: None: as many as provenance or names say, or one.
        """
        classes: Any = provenance.get("object_classes")
        ranges: Any = provenance.get("parts")
        if (
            _is_names(classes)
            and _is_ranges(ranges, num_parts)
            and len(classes) == len(ranges) == (num_object_classes or len(classes))
        ):
            return cls(tuple(classes), tuple(tuple(range(first, end)) for first, end in ranges))
        heads = [label.rpartition("/")[0] for label in labels or ()]
        names = tuple(dict.fromkeys(heads))
        if heads and all(heads) and len(names) == (num_object_classes or len(names)):
            parts = (tuple(part for part in range(num_parts) if heads[part] == one) for one in names)
            return cls(names, tuple(parts))
        numbers = tuple(map(str, range(num_object_classes or 1)))
        return cls(numbers, (tuple(range(num_parts)),) * len(numbers))


def _is_names(noted: Any) -> bool:
    return isinstance(noted, (list, tuple)) and bool(noted) and all(isinstance(one, str) for one in noted)


def _is_ranges(noted: Any, end: int) -> bool:
    """Pairs of numbers: the first part of each class, and the one after its last."""
    return isinstance(noted, (list, tuple)) and all(
        isinstance(one, (list, tuple))
        and len(one) == 2
        and all(isinstance(number, int) for number in one)
        and 0 <= one[0] <= one[1] <= end
        for one in noted
    )
