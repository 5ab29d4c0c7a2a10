"""What a push uploads: the files of a folder of weights and its card, checked before the first request."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pointmae_zoo.hub.cards.card import PICTURES, PREVIEW, measured_here, render_for_hub
from pointmae_zoo.hub.cards.model_index import eval_results
from pointmae_zoo.hub.cards.release import FACTS_FILE, Release, data_names, read_release
from pointmae_zoo.hub.checkpoint.config_file import CONFIG_FILE
from pointmae_zoo.hub.checkpoint.errors import CheckpointError
from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256, model_sha256
from pointmae_zoo.hub.checkpoint.model_folder import WEIGHTS_FILE, load_folder, nothing_here
from pointmae_zoo.procedural import generate
from pointmae_zoo.reports.schema import is_comparison, is_scored
from pointmae_zoo.system.secrets import line_of_secret, without_homes

CARD_FILE = "README.md"
OWN_FILES = ("recipe.yaml", "metrics.jsonl", "environment.json", PREVIEW, *PICTURES, FACTS_FILE)
"""Files of a run that are uploaded beside weights and config, if they are there; the preview only if somebody
asks for it."""

_CLEANED = ("recipe.yaml", "environment.json")  # their paths are useless to others
_PNG = b"\x89PNG\r\n\x1a\n"
_SHAPES = 3


@dataclass(frozen=True)
class File:
    """A file as it will be on the Hub."""

    name: str
    content: bytes | Path
    """The path of weights, which are too large to hold in memory; the bytes of all else."""
    size: int
    sha256: str
    """Of what was checked."""
    cleaned: bool = False
    """Whether names of home folders were taken out."""


def prepare(
    folder: Path,
    repo_id: str,
    *,
    card: Path | None = None,
    preview: bool = False,
    secrets: Sequence[str] = (),
) -> tuple[list[File], str]:
    """Check a folder of weights and return what is uploaded: the files, the card last, and the card's text.

    Args:
        folder: a finished run, or any that `save_pretrained` wrote.
        repo_id: ``org/repo``, for the card.
        card: a ``card.yaml`` elsewhere.
        preview: with ``preview.png``, which draws training shapes.
        secrets: texts that no file may hold.

    Raises:
        ValueError: an unfinished run; weights that don't load strictly, or give features that are no finite
            numbers; an evaluation of other weights; wrong facts; a card that does not read back as it was
            meant; what looks like a token, or the name of a home folder, in a file; a file that is a link
            to elsewhere, or not of its kind. In a line, with the file.
        FileNotFoundError: a file that ``card.yaml`` lists is missing.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        if not os.path.lexists(folder / name):
            raise CheckpointError(nothing_here(str(folder), [path.name for path in folder.iterdir()]))
        _check_place(folder / name, folder)
    model = load_folder(folder)
    _check_features(folder, model)
    release = read_release(folder, card)
    _check_measured(release, model)
    text = render_for_hub(release, repo_id, preview=preview)
    _check_card(release, text)
    weights = folder / WEIGHTS_FILE
    files = [File(WEIGHTS_FILE, weights, weights.stat().st_size, release.weights_sha256)]
    own = (name for name in OWN_FILES if name != PREVIEW or preview)
    paths = {name: folder / name for name in (CONFIG_FILE, *own)}
    if release.facts_file is not None:
        paths[FACTS_FILE] = release.facts_file
    beside = folder if release.facts_file is None else release.facts_file.parent
    for name, path in (paths | release.evaluations).items():
        if os.path.lexists(path):
            _check_place(path, folder if path.is_relative_to(folder) else beside)
            files.append(_image(name, path) if name.endswith(".png") else _text(name, path, secrets))
    files.append(_of_bytes(CARD_FILE, text.encode()))
    return files, text


def _check_place(path: Path, folder: Path) -> None:
    """Refuse links that lead out of the folder: they might publish what nobody means to publish."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path}: a link to something outside of {folder}; put a copy in its place")
    if not path.is_file():
        raise ValueError(f"{path}: a regular file expected")


def _check_features(folder: Path, model: Any) -> None:
    """Do what users do: shapes, the stored preprocessing, features."""
    shapes = [generate(0, 2048, index=index) for index in range(_SHAPES)]
    clouds = model.config.preprocess(shapes)
    encoder = getattr(model, "encoder", model)
    found = {"features": encoder.embed(clouds), "features of points": encoder.per_point_features(clouds)}
    with torch.no_grad():
        if model.config.kind == "classification":
            found["scores"] = model(clouds)
        elif model.config.kind == "part_segmentation":
            found["scores"] = model(clouds, torch.zeros(_SHAPES, dtype=torch.int64))
    for what, values in found.items():
        if not bool(values.isfinite().all()):
            raise CheckpointError(
                f"{folder / WEIGHTS_FILE}: the {what} of a procedural shape are no finite numbers; "
                "such weights are of no use to anybody"
            )


def _check_measured(release: Release, model: Any) -> None:
    """Every evaluation is of these weights, and every comparison at least in a row, unless a person lists it
    in ``card.yaml``, as ablations are, and what was fine-tuned from these weights. Those from before they
    named what they measured count for weights of the registry alone, which nobody but us publishes."""
    ours, whole = encoder_sha256(getattr(model, "encoder", model)), model_sha256(model)
    tuned, published = release.config.kind in ("classification", "part_segmentation"), release.published
    for name, report in release.reports.items():
        context, listed = report["context"], name in (release.facts.evaluations or ())
        if is_comparison(report):
            hashes = [(row.get("encoder_sha256", ()), row.get("model_sha256", ())) for row in report["rows"]]
            same = listed or any(ours in one or whole in other for one, other in hashes)
        elif is_scored(report):
            same = whole in context["model_sha256"] or (listed and not tuned)
        elif "encoder_sha256" in context:
            same = ours in context["encoder_sha256"]
        else:
            same = published is not None and published.name in context["models"]
        if not same:
            raise ValueError(
                f"{release.evaluations[name]}: measured other weights than those in {release.folder}; "
                "evaluate these, or take the file away"
            )


def _check_card(release: Release, text: str) -> None:
    """Check that the Hub's client reads the card as it was meant."""
    from huggingface_hub import ModelCard

    try:
        data: Any = ModelCard(text).data
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{release.folder}: its card has no readable front matter ({error})") from error
    meant = eval_results(measured_here(release), data_names(release))
    if (data.eval_results or []) != meant:
        raise ValueError(f"{release.folder}: the results in its card do not read back as they were written")


def _of_bytes(name: str, content: bytes, cleaned: bool = False) -> File:
    return File(name, content, len(content), hashlib.sha256(content).hexdigest(), cleaned)


def _image(name: str, path: Path) -> File:
    content = path.read_bytes()
    if not content.startswith(_PNG):
        raise ValueError(f"{path}: no PNG image")
    return _of_bytes(name, content)


def _text(name: str, path: Path, secrets: Sequence[str]) -> File:
    try:
        content = path.read_bytes()
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not readable as text ({error})") from None
    if number := line_of_secret(text, secrets):
        raise ValueError(f"{path}: line {number} holds what looks like a token or password; take it out")
    cleaned = without_homes(text)
    if cleaned == text:
        return _of_bytes(name, content)
    if name in _CLEANED:
        return _of_bytes(name, cleaned.encode(), cleaned=True)
    places = zip(text.splitlines(), cleaned.splitlines(), strict=True)
    number = next(place for place, (before, after) in enumerate(places, 1) if before != after)
    raise ValueError(f"{path}: line {number} names somebody's home folder; take it out")
