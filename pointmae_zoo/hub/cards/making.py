"""How weights were made, for their card: data, recipe and training, from the provenance in ``config.json``.

Of another task's provenance the fields that it shares with a pre-training's are shown.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pointmae_zoo.hub.cards.release import Release
from pointmae_zoo.hub.checkpoint.config_file import CONFIG_FILE
from pointmae_zoo.reports.tables import head, line

NOT_STATED = "not stated"

_LARGEST = 1e15  # of numbers; no training comes near
_MAPPING, _COUNT, _NUMBER, _TEXT = "a mapping of fields", "a whole number", "a number", "text"
_TYPES: dict[str, Any] = {_MAPPING: Mapping, _COUNT: int, _NUMBER: (int, float), _TEXT: str}
# What a card reads of a provenance; each may be absent.
_READ = {
    "recipe": _MAPPING,
    "recipe.model_arguments": _MAPPING,
    "recipe.augmentation": _MAPPING,
    "recipe.teacher": _MAPPING,
    "recipe.batch_size": _COUNT,
    "data_sha256": _MAPPING,
    "clouds_from_data": _COUNT,
    "clouds_procedural": _COUNT,
    "steps": _COUNT,
    "seconds": _NUMBER,
    "final_losses": _MAPPING,
    "recipe.task": _TEXT,
    "validation": _MAPPING,
    "validation.accuracy": _NUMBER,
    "validation.miou": _NUMBER,
    "versions": _MAPPING,
    "warmup_cut_to": _NUMBER,
    "commit": _TEXT,
    "initialised_from": _MAPPING,
    "initialised_from.name": _TEXT,
    "initialised_from.kind": _TEXT,
    "initialised_from.new": _TEXT,
}


def check_provenance(release: Release) -> None:
    """Provenance may hold anything, but what a card shows of it must be of its type.

    Raises:
        ValueError: names ``config.json`` and the field.
    """
    where = release.folder / CONFIG_FILE
    for name, wanted in _READ.items():
        value = _field(release.config.provenance, name)
        fits = isinstance(value, _TYPES[wanted]) and not isinstance(value, bool)
        if fits and isinstance(value, (int, float)):
            fits = abs(value) <= _LARGEST
        if value is not None and not fits:
            raise ValueError(f"{where}: provenance.{name} is {value!r:.60}, expected {wanted}")
    for name, sha256 in (_field(release.config.provenance, "data_sha256") or {}).items():
        if not isinstance(sha256, str):
            raise ValueError(f"{where}: provenance.data_sha256.{name} is {sha256!r:.60}, expected {_TEXT}")


def training_data(release: Release) -> str:
    """A table of what was trained on, with licences where somebody has stated them."""
    made = release.config.provenance
    hashes = dict(made.get("data_sha256") or {})
    rows = []
    for data in release.facts.data:
        files = [_hashed(name, hashes.pop(name)) for name in data.files if name in hashes]
        rows.append((data.name, data.licence or NOT_STATED, data.description.strip(), "<br>".join(files)))
    for name, sha256 in hashes.items():
        if name == "procedural":
            stated = (
                "procedural shapes",
                "none needed",
                "made by the package, `pointmae_zoo.procedural`",
            )
        else:
            stated = (name, NOT_STATED, "")
        rows.append((*stated, _hashed(name, sha256)))
    if not rows:
        if release.base is not None:
            return f"Of the encoder: see `{release.base.get('name')}`. Of the training since: {NOT_STATED}."
        return f"{NOT_STATED.capitalize()}."
    table = "\n".join(
        [*head("source", "licence", "what it is", "files, sha256"), *(line(*row) for row in rows)]
    )
    counts = {"from files": made.get("clouds_from_data"), "procedural": made.get("clouds_procedural")}
    told = [f"{count:,} {which}" for which, count in counts.items() if count]
    task = _field(made, "recipe.task")
    labels = {
        "classification": "their labels were what it learned",
        "parts": "the labels of their points were what it learned",
    }.get(task, "labels were not used")
    return f"{table}\n\nClouds: {', '.join(told)}; {labels}." if told else table


def recipe(release: Release) -> str:
    """A table of what matters of the recipe, and where the rest is."""
    rows = list(_recipe_rows(release, release.config.provenance.get("recipe") or {}))
    if not rows:
        return f"{NOT_STATED.capitalize()}."
    table = "\n".join([line("", ""), line("---", "---"), *(line(*row) for row in rows)])
    if (release.folder / "recipe.yaml").is_file():
        return f"{table}\n\nEverything else: [recipe.yaml](recipe.yaml)."
    return f"{table}\n\nEverything else: the provenance in `config.json`, which `pointmae-zoo info` prints."


def making(release: Release) -> str:
    """A table of the training: how long, with what, and how it ended."""
    made = release.config.provenance
    rows = []
    if release.base is not None:
        rows.append(("initialised from", f"`{release.base.get('name')}` ({release.base.get('kind')})"))
        rows.append(("new and random then", str(release.base.get("new"))))
        if made.get("steps") is None:
            rows.append(("training since", "not recorded: there may have been none"))
    if made.get("seconds") is not None:
        rows.append(("training took", _duration(made["seconds"])))
    if losses := made.get("final_losses"):
        rows.append(
            ("losses at the end", ", ".join(f"{name} {_plain(value)}" for name, value in losses.items()))
        )
    if found := made.get("validation"):
        scores = (f"{name} {found[name]:.1%}" for name in ("accuracy", "miou") if found.get(name) is not None)
        rows.append(("on clouds held out of training", ", ".join(scores)))
    if made.get("commit"):
        rows.append(("commit of pointmae-zoo", f"`{made['commit']}`"))
    if versions := made.get("versions"):
        rows.append(("versions", ", ".join(f"{name} {value}" for name, value in versions.items())))
    rows.append(("sha256 of `model.safetensors`", f"`{release.weights_sha256}`"))
    return "\n".join([line("", ""), line("---", "---"), *(line(*row) for row in rows)])


def _recipe_rows(release: Release, recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Fields that the recipe does not have are left out."""

    def given(*names: str) -> str:
        found = []
        for name in names:
            value = _field(recipe, name)
            if value not in (None, 0, 0.0, "", [], {}):
                found.append(f"{name.rpartition('.')[2].replace('_', ' ')} {_plain(value)}")
        return ", ".join(found)

    if not recipe:
        return
    steps = release.config.provenance.get("steps")
    if steps is not None and recipe.get("batch_size") is not None:
        yield "length", f"{steps:,} steps of {recipe['batch_size']:,} clouds"
    teacher = recipe.get("teacher")
    if teacher is not None:
        if teacher.get("name"):
            parts = ("weights", "projection", "views", "size", "strides", "targets")
            yield "teacher", f"`{teacher['name']}`, frozen: {given(*(f'teacher.{part}' for part in parts))}"
        else:
            yield "teacher", "none"
    if changed := recipe.get("model_arguments"):
        yield "architecture, changed", ", ".join(f"{name} {_plain(value)}" for name, value in changed.items())
    if masked := release.config.arguments.get("mask_ratio"):
        yield "mask", f"{masked:.0%} of the tokens"
    if changed := given(
        "shots", "validation_share", "select", "trained_part", "layer_decay", "label_smoothing"
    ):
        yield "fine-tuning", changed
    yield "points", given("cloud_points", "num_points")
    yield "augmentation", given(*(f"augmentation.{name}" for name in recipe.get("augmentation") or ()))
    yield "AdamW", given("learning_rate", "final_learning_rate", "weight_decay", "betas", "clip_norm")
    warmup, cut = given("warmup_steps", "warmup_epochs"), release.config.provenance.get("warmup_cut_to")
    if cut is not None:
        warmup = f"warmup steps {_plain(cut)} (the run was too short for the recipe's {warmup})"
    rest = given("cosine_steps", "cosine_epochs", "schedule")
    yield "schedule", ", ".join(filter(None, (warmup, rest)))
    yield "numbers", f"{given('precision', 'ema_decay')}, seed {recipe.get('seed')}"


def _field(values: Any, name: str) -> Any:
    """What a name with dots stands for; None: nothing."""
    for part in name.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _hashed(name: str, sha256: str) -> str:
    return f"{name} `{sha256[:12]}`"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return " / ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
