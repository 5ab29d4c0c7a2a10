"""The model card of a folder of weights: the template ``card.md.jinja``, filled from what is stored there.

Numbers come from ``config.json`` and from the JSON files of ``pointmae-zoo evaluate``. What only a person
knows comes from ``card.yaml``. Where nobody has stated something, the card says "not stated".
"""

import os
from pathlib import Path
from typing import Any

from pointmae_zoo.hub.cards.making import NOT_STATED, check_provenance, making, recipe, training_data
from pointmae_zoo.hub.cards.model_index import front_matter
from pointmae_zoo.hub.cards.release import Release, data_names, read_release
from pointmae_zoo.hub.checkpoint.config_file import CONFIG_FILE, build_empty
from pointmae_zoo.models.registry import ENCODER_PAPER, Family, get_architecture
from pointmae_zoo.reports.schema import is_scored
from pointmae_zoo.reports.tables import (
    ablation_table,
    changed_table,
    class_table,
    fewshot_table,
    is_part,
    line,
    linear_table,
    robustness_table,
    scores_table,
)

PICTURES = {
    "confusion.png": "Confusion matrix: a row for each true class",
    "parts.png": "True and predicted parts of some shapes",
}
"""Pictures of results, by the name of their file in the folder."""
PREVIEW = "preview.png"
"""What pre-training drew of its own shapes."""
_STATUSES = {
    "reproduced": "trained on the paper's data with the paper's recipe, and reaches the paper's numbers",
    "own-recipe": "trained on other data or with another recipe than the paper's, so its numbers "
    "are not the paper's",
    "demo": "shows that everything works; don't expect good features",
}
_KINDS = {
    "encoder": "encoder: clouds to features",
    "pretraining": "pre-training model: the encoder and its decoder",
    "classification": "classifier: clouds to class scores",
    "part_segmentation": "part segmenter: points to part scores",
}
_NAMES = {"classification": "classifier", "part_segmentation": "segmenter"}
# Sections that the template writes; notes under other titles become sections of their own.
_SECTIONS = (
    *("Results", "Use", "Training data", "Limits", "All results", "Beside other weights", "Robustness"),
    *("Ablations", "Input", "Recipe", "How it was made", "Citation", "Licence"),
)


def render_card(
    folder: str | os.PathLike[str],
    *,
    card: str | os.PathLike[str] | None = None,
    repo_id: str | None = None,
) -> str:
    """The model card of a folder of weights: YAML front matter and a page of Markdown.

    The front matter has no results: `render_for_hub` adds them.

    Args:
        folder: as ``pretrain`` or `save_pretrained` writes it, with or without ``card.yaml`` and
            ``evaluations/*.json``.
        card: a ``card.yaml`` elsewhere; the evaluations that it lists lie beside it.
        repo_id: where the weights will be on the Hub, ``org/repo``. Weights of the registry are called by
            their name instead.

    Raises:
        ValueError: something in the folder is wrong; names the file and the fault.
    """
    return _render(read_release(Path(folder), None if card is None else Path(card)), repo_id, results=False)


def render_for_hub(release: Release, repo_id: str | None = None, *, preview: bool = False) -> str:
    """The card as it goes to the Hub, with every result as ``model-index`` in its front matter; with the
    picture of training shapes only if ``preview`` asks for it."""
    return _render(release, repo_id, results=True, preview=preview)


def measured_here(release: Release) -> list[dict[str, Any]]:
    """The evaluations of these very weights.

    Those of networks that were fine-tuned from an encoder belong to the networks, not to the encoder.
    """
    tuned = release.config.kind in _NAMES
    return [report for report in release.reports.values() if tuned or not is_scored(report)]


def _render(release: Release, repo_id: str | None, *, results: bool, preview: bool = False) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    check_provenance(release)
    config, facts = release.config, release.facts
    title = facts.name or (repo_id or release.folder.resolve().name).rpartition("/")[2]
    family = get_architecture(config.architecture).family
    model = build_empty(release.folder / CONFIG_FILE, config)
    templates = Environment(
        loader=PackageLoader("pointmae_zoo.hub.cards", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = templates.get_template("card.md.jinja").render(
        front_matter=front_matter(
            title,
            family=family,
            kind=config.kind,
            licence=facts.licence,
            reports=measured_here(release) if results else (),
            data_names=data_names(release),
            base=None if release.base is None else str(release.base.get("name")),
        ),
        title=title,
        facts=facts,
        line=line,
        at_a_glance=_at_a_glance(release, model),
        notes={name: facts.notes.get(name, "") for name in {*_SECTIONS, *facts.notes}},
        own_notes=[name for name in facts.notes if name not in _SECTIONS],
        results=_results(release, preview),
        usage=templates.get_template("use.md.jinja").render(**_usage(release, model, repo_id)),
        training_data=training_data(release),
        limits="\n".join(f"- {one.strip()}" for one in facts.limits) or f"{NOT_STATED.capitalize()}.",
        input=_input(release),
        recipe=recipe(release),
        making=making(release),
        citation=_citation(family),
        licence=_licence(release),
    )
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.rstrip() + "\n"


def _at_a_glance(release: Release, model: Any) -> list[tuple[str, str]]:
    config, facts = release.config, release.facts
    encoder = getattr(model, "encoder", model)
    size = f"{_parameters(encoder)} parameters"
    if model is not encoder:
        size += f" in the encoder, {_parameters(model)} in all"
    output = (
        f"{encoder.feature_dim()} numbers for a shape (`embed`, pooling `{encoder.hyper.pool}`), "
        f"{sum(encoder.hyper.dims)} for a point (`per_point_features`)"
    )
    if config.kind == "classification":
        output = f"scores of {model.hyper.num_classes} classes; features: {output}"
    if config.kind == "part_segmentation":
        output = f"scores of {model.hyper.num_parts} parts for every point; features: {output}"
    summary = get_architecture(config.architecture).summary.partition(":")[0]
    rows = [("architecture", f"`{config.architecture}`: {summary}"), ("kind", _KINDS[config.kind])]
    if release.base is not None:
        origin = f"`{release.base.get('name')}`; new and random then: {release.base.get('new')}"
        if config.provenance.get("steps") is None:
            origin += "; what it was trained on since is not recorded"
        rows.append(("initialised from", origin))
    rows += [
        ("size", f"{size}; {' / '.join(map(str, encoder.hyper.num_tokens))} tokens"),
        ("input", f"{config.preprocess.num_points:,} points (x, y, z) of a shape, {config.preprocess.up} up"),
        ("output", output),
    ]
    if config.labels:
        rows.append(("labels", ", ".join(config.labels)))
    return [*rows, ("status", _status(release)), ("licence", facts.licence or NOT_STATED)]


def _usage(release: Release, model: Any, repo_id: str | None) -> dict[str, Any]:
    """What ``use.md.jinja`` names: weights of the registry by their name, others by their place."""
    config, published = release.config, release.published
    encoder = getattr(model, "encoder", model)
    return {
        "kind": config.kind,
        "name": published.name if published else repo_id or f"./{release.folder.resolve().name}",
        "hub_name": published.tag if published else repo_id,
        "variable": _NAMES.get(config.kind, "encoder"),
        "architecture": config.architecture,
        "surface_samples": config.preprocess.surface_samples,
        "num_points": config.preprocess.num_points,
        "features": encoder.feature_dim(),
        "per_point": sum(encoder.hyper.dims),
        "outputs": config.arguments.get("num_classes", config.arguments.get("num_parts")),
        "object_classes": config.arguments.get("num_object_classes"),
    }


def _results(release: Release, preview: bool) -> dict[str, str]:
    """Text and tables by where they stand: ``main`` on the page, the others folded away."""
    tuned = {name: one for name, one in release.scored.items() if one["context"]["task"] != "robustness"}
    probed = {name: one for name, one in release.frozen.items() if one["summary"] and not is_part(one)}
    parts: list[str] = []
    more: list[str] = []
    if tuned:
        parts.append(_about_tuned(release, tuned))
    for number, (name, report) in enumerate(tuned.items()):
        numbers = f"Numbers: [{name}]({name})."
        (more if number else parts).extend([scores_table(report), numbers])
        more.append(class_table(report))
    if tuned:
        pictures = [
            f"![{what}]({name})" for name, what in PICTURES.items() if (release.folder / name).is_file()
        ]
        parts += pictures
    if probed:
        parts.append(_about_probed(release, probed))
    for number, (name, report) in enumerate(probed.items()):
        (more if number else parts).extend([linear_table(report), f"Numbers: [{name}]({name})."])
    if shots := _by_data(release.frozen, "few_shot", fewshot_table):
        parts += ["### With few labels", *shots]
    if preview and (release.folder / PREVIEW).is_file():
        more.append(f"![What the model makes of a few training shapes]({PREVIEW})")
    changed = _by_data(release.frozen, "robustness", robustness_table)
    changed += _by_data(release.scored, "robustness", changed_table)
    return {
        "main": "\n\n".join(filter(None, parts)) or "Not evaluated.",
        "more": "\n\n".join(filter(None, more)),
        "robustness": "\n\n".join(changed),
        # On test to choose among weights; on train to tell variants of a recipe apart.
        "comparisons": _comparisons(release, "test"),
        "ablations": _comparisons(release, "cv"),
    }


def _about_tuned(release: Release, reports: dict[str, dict[str, Any]]) -> str:
    """What the scores of fine-tuned networks are of."""
    runs = max((report["context"]["models"] for report in reports.values()), key=len)
    about = []
    if release.config.kind not in _NAMES:
        about.append("Networks fine-tuned from these weights with labels; they are not part of this folder.")
    if len(runs) > 1:
        about.append(f"Means ± standard deviations of {len(runs)} trainings ({', '.join(runs)}).")
    return " ".join(about)


def _about_probed(release: Release, reports: dict[str, dict[str, Any]]) -> str:
    """How to read the linear probes."""
    contexts = [report["context"] for report in reports.values()]
    rows = [row for report in reports.values() for row in report["summary"]]
    about = [
        "Linear probe: a linear classifier learns from the features of the frozen encoder. Accuracy in "
        "percent."
    ]
    models = max((context["models"] for context in contexts), key=len)
    if len(models) > 1:
        about.append(
            f"Lines of {len(models)} trainings ({', '.join(models)}) are means ± standard deviations over "
            "them; the weights here are one of them."
        )
    if random := max((row["runs"] for row in rows if row["features"] != "weights"), default=0):
        about.append(
            f"The baseline is the same network with random weights ({random} "
            f"initialisation{'s' if random > 1 else ''}), as it is and with BatchNorm statistics of the "
            "training clouds: random features are strong in 3D."
        )
    embedded = release.config.preprocess.num_points
    if probed := sorted({context["num_points"] for context in contexts} - {embedded}):
        counts = " or ".join(f"{count:,}" for count in probed)
        about.append(f"The probe uses {counts} points of each cloud; `embed` uses {embedded:,}.")
    known = set((release.config.provenance.get("data_sha256") or {}).values())
    for dataset in {context["dataset"]["file"]: context["dataset"] for context in contexts}.values():
        if dataset["sha256"] in known:
            about.append(
                f"Pre-training used the training part of {dataset['file']}, without its labels, and not the "
                "test part."
            )
    return " ".join(about)


def _by_data(reports: dict[str, dict[str, Any]], which: str, table: Any) -> list[str]:
    """A title with data and classes, then a table, for each report that has such numbers."""
    parts = []
    for report in reports.values():
        if report[which]:
            dataset = report["context"]["dataset"]
            parts += [f"{dataset['file']}, {len(dataset['classes'])} classes:", table(report)]
    return parts


def _comparisons(release: Release, measure: str) -> str:
    found = [one for one in release.comparisons.values() if one["context"]["measure"] == measure]
    return "\n\n".join(map(ablation_table, found))


def _input(release: Release) -> str:
    given = release.config.preprocess
    centre = "centred on their centroid" if given.center == "centroid" else "not centred"
    scale = "scaled to the unit sphere" if given.scale == "unit_sphere" else "not scaled"
    return (
        f"{given.surface_samples:,} points sampled evenly over the surface of a mesh, or the points of a "
        f"point file; farthest point sampling to {given.num_points:,}; {centre}, {scale}. **{given.up} is "
        'up**: for files in which another axis points up, use `--up z` or `up="z"`, as a shape that lies on '
        "its side has other features. These settings are stored in `config.json`; `pointmae-zoo embed`, "
        "`embed_files` and `model.config.preprocess` apply them."
    )


def _citation(family: Family) -> str:
    papers = {"whose encoder they have": ENCODER_PAPER}
    if family.paper is not None:
        papers = {"whose method this is": family.paper, **papers}
    named = ", and ".join(
        f"[{one.method}]({one.url}) ({one.venue}), {about}" for about, one in papers.items()
    )
    entries = "\n\n".join(one.bibtex for one in papers.values())
    return f"If you use these weights, please cite {named}:\n\n```bibtex\n{entries}\n```"


def _licence(release: Release) -> str:
    if not release.facts.licence:
        return "Weights: not stated; ask who published them before you build on them. Code: Apache-2.0."
    return f"Weights: {release.facts.licence}. Code of pointmae-zoo: Apache-2.0."


def _status(release: Release) -> str:
    if not release.status:
        return NOT_STATED
    by = "" if release.published else ", stated by its publisher"
    return f"`{release.status}`{by}: {_STATUSES[release.status]}"


def _parameters(model: Any) -> str:
    return f"{sum(parameter.numel() for parameter in model.parameters()):,}"
