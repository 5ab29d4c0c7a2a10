"""What is shared of a folder of weights: its files, and what a person states in ``card.yaml``.

Everything is read and checked here; nothing is changed.
"""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pointmae_zoo.hub.checkpoint.config_file import CONFIG_FILE, read_config
from pointmae_zoo.models.registry import STATUSES, Weights, get_architecture, get_weights, list_weights
from pointmae_zoo.models.stored_config import ModelConfig
from pointmae_zoo.reports.known_results import paper_reached
from pointmae_zoo.reports.schema import is_comparison, is_scored, read_evaluation
from pointmae_zoo.system.checked_fields import check_fields, from_values
from pointmae_zoo.system.files import file_sha256
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


@dataclass(frozen=True)
class Release:
    """Read by `read_release`.

    Args:
        folder: of the weights.
        config: of the model.
        weights_sha256: of ``model.safetensors``, as ``config.json`` has it.
        facts: what a person states; all empty without a ``card.yaml``.
        facts_file: where, if anywhere.
        evaluations: the files by the names that they have beside the card.
        reports: what is in them.
    """

    folder: Path
    config: ModelConfig
    weights_sha256: str
    facts: CardFacts
    facts_file: Path | None
    evaluations: dict[str, Path]
    reports: dict[str, dict[str, Any]]

    @property
    def frozen(self) -> dict[str, dict[str, Any]]:
        """The evaluations of frozen features, by file."""
        kept = (one for one in self.reports.items() if not is_comparison(one[1]) and not is_scored(one[1]))
        return dict(kept)

    @property
    def scored(self) -> dict[str, dict[str, Any]]:
        """The evaluations of fine-tuned networks, by file."""
        return {
            name: report
            for name, report in self.reports.items()
            if is_scored(report) and not is_comparison(report)
        }

    @property
    def comparisons(self) -> dict[str, dict[str, Any]]:
        """The comparisons of several weights, by file."""
        return {name: report for name, report in self.reports.items() if is_comparison(report)}

    @property
    def published(self) -> Weights | None:
        """The registry's entry of these very files, if there is one: then its name loads them."""
        config_sha256 = file_sha256(self.folder / CONFIG_FILE)
        for entry in map(get_weights, list_weights()):
            if (entry.sha256, entry.config_sha256) == (self.weights_sha256, config_sha256):
                return entry
        return None

    @property
    def status(self) -> str:
        """As the registry or a person states it: a training does not know how good it is. Empty: nobody
        does."""
        published = self.published
        return self.facts.status if published is None else published.status

    @property
    def base(self) -> dict[str, Any] | None:
        """What the weights were initialised from before they got a new head (``name``, ``kind``, ``new``), if
        they were."""
        found = self.config.provenance.get("initialised_from")
        return found if isinstance(found, dict) else None


def read_release(folder: Path, card: Path | None = None) -> Release:
    """Read a run folder, or any that `save_pretrained` wrote.

    Args:
        folder: with ``config.json``, perhaps ``card.yaml`` and ``evaluations/``.
        card: a ``card.yaml`` elsewhere, with the evaluations that it lists beside it.

    Raises:
        ValueError: something in it is wrong or lacking, or the status is ``reproduced`` and no evaluation
            reaches a number of the paper; names the file and what.
        FileNotFoundError: an evaluation that ``card.yaml`` lists is not there.
    """
    config, weights_sha256 = read_config(folder / CONFIG_FILE)
    facts_file = card or (folder / FACTS_FILE if (folder / FACTS_FILE).is_file() else None)
    facts = CardFacts() if facts_file is None else read_facts(facts_file)
    if facts_file is None or not facts.evaluations:
        kept = sorted((folder / "evaluations").glob("*.json"))
        evaluations = {f"evaluations/{path.name}": path for path in kept}
    else:
        evaluations = {name: facts_file.parent / name for name in facts.evaluations}
    reports = {name: read_evaluation(path) for name, path in evaluations.items()}
    if facts_file is not None:
        known = [*_entries(config), *(report["context"]["dataset"]["file"] for report in reports.values())]
        for place, data in enumerate(facts.data):
            if wrong := [name for name in data.files if name not in known]:
                raise ValueError(
                    f"{facts_file}: data[{place}].files holds {wrong[0]!r}, which these weights know nothing "
                    f"of; known: {', '.join(dict.fromkeys(known)) or 'none'}"
                )
    release = Release(folder, config, weights_sha256, facts, facts_file, evaluations, reports)
    if release.status == "reproduced":
        family = get_architecture(config.architecture).family.name
        if missing := paper_reached(family, list(reports.values())):
            raise ValueError(
                f"{facts_file or folder}: status 'reproduced' has to be shown by an evaluation: {missing}; "
                "evaluate, or state own-recipe"
            )
    return release


def _entries(config: ModelConfig) -> list[str]:
    hashes = config.provenance.get("data_sha256")
    return list(hashes) if isinstance(hashes, dict) else []


def data_names(release: Release) -> dict[str, str]:
    """What people call a data set, by its file."""
    return {file: data.name for data in release.facts.data for file in data.files}
