"""``card.yaml``: what only a person knows about weights, for their card. All of it may be left out."""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pointmae_zoo.models.registry import STATUSES
from pointmae_zoo.system.checked_fields import check_fields, from_values
from pointmae_zoo.system.yaml_files import load_yaml

FACTS_FILE = "card.yaml"


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """A source of training clouds.

    Args:
        name: what people call it.
        licence: SPDX identifier, or words.
        description: a sentence or two; Markdown.
        files: which entries of the provenance's data it is (``pointmae-zoo info`` lists them).
    """

    name: str = ""
    licence: str = ""
    description: str = ""
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("data: an entry without a name")


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a person states.

    Args:
        name: the card's title; default: the last part of the repository's name.
        summary: a paragraph: what it is and what it is for; Markdown.
        status: ``reproduced``, ``own-recipe`` or ``demo``; default: the registry's, or not stated.
        licence: of the weights, an SPDX identifier such as ``Apache-2.0``.
        data: where the training clouds came from.
        limits: what the weights are not for, a sentence each.
        notes: Markdown by title: it opens the section of that title, or is a section of its own.
        evaluations: ``evaluations/NAME.json`` beside this file, in the order of the card; default: all of the
            weights' folder, by name.
    """

    name: str = ""
    summary: str = ""
    status: str = ""
    licence: str = ""
    data: tuple[TrainingData, ...] = ()
    limits: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    evaluations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if self.status and self.status not in STATUSES:
            raise ValueError(f"status is {self.status!r}, expected one of {', '.join(STATUSES)}")
        for title, text in self.notes.items():
            if not isinstance(title, str) or not isinstance(text, str):
                raise ValueError(f"notes: text under a title expected, got {title!r}: {text!r}")
        for name in self.evaluations:
            path = PurePosixPath(name)
            if path.parts[:1] != ("evaluations",) or len(path.parts) != 2 or path.suffix != ".json":
                raise ValueError(
                    f"evaluations holds {name!r}, expected evaluations/NAME.json, beside this file"
                )


def read_facts(path: Path) -> CardFacts:
    """A ``card.yaml``, every field checked.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, or a field that is unknown (near ones are suggested) or wrong; names the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    values = load_yaml(path, "a card's facts in YAML")
    try:
        facts: CardFacts = from_values(CardFacts, values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return facts
