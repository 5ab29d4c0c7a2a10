"""The card of weights: one template, filled from what is stored beside them.

Numbers come from ``config.json`` and from the JSON of ``pointmae-zoo evaluate``, words that only a person
knows from ``card.yaml``; what nobody has stated is said to be not stated.
"""

import os
from pathlib import Path
from typing import Any

from pointmae_zoo.hub.cards.making import NOT_STATED, check_provenance, making, recipe, training_data
from pointmae_zoo.hub.cards.model_index import front_matter
from pointmae_zoo.hub.cards.release import Release, data_names, read_release
from pointmae_zoo.hub.cards.usage import usage
from pointmae_zoo.hub.checkpoint.config_file import CONFIG_FILE, build_empty
from pointmae_zoo.models.registry import ENCODER_PAPER, Family, get_architecture
from pointmae_zoo.reports.schema import is_scored
from pointmae_zoo.reports.score_tables import changed_table, class_table, is_part, scores_table
from pointmae_zoo.reports.tables import ablation_table, fewshot_table, line, linear_table, robustness_table

_STATUSES = {
    "reproduced": "the paper's data and recipe, and the paper's number reached within its spread",
    "own-recipe": "trained on other data or by another recipe than the paper's, so its numbers are its own "
    "and not the paper's",
    "demo": "shows that everything works; good features are not to be expected",
}
PICTURES = {
    "confusion.png": "What is taken for what: a row for each true class",
    "parts.png": "True and predicted parts of some clouds",
}
"""Of results, where they lie in the folder."""
_KINDS = {
    "encoder": "encoder: clouds to features",
    "pretraining": "pre-training model: the encoder, and the decoder that it was trained with",
    "classification": "classifier: clouds to class scores",
    "part_segmentation": "part segmenter: points to part scores",
}


def render_card(
    folder: str | os.PathLike[str],
    *,
    card: str | os.PathLike[str] | None = None,
    repo_id: str | None = None,
) -> str:
    """The card (``README.md`` of a Hub repository) of a folder of weights.

    Args:
        folder: as ``pretrain`` or `save_pretrained` leave it; ``card.yaml`` and ``evaluations/*.json`` in it
            are used.
        card: a ``card.yaml`` elsewhere; the evaluations that it lists lie beside it.
        repo_id: where the weights will be, ``org/repo``; weights of the registry are called by their name.

    Returns:
        YAML front matter with ``model-index``, and Markdown.

    Raises:
        ValueError: something in the folder is wrong; names the file and what.
    """
    return render_release(read_release(Path(folder), None if card is None else Path(card)), repo_id)


def render_release(release: Release, repo_id: str | None = None) -> str:
    """`render_card` of what was read already."""
    check_provenance(release)
    config, facts = release.config, release.facts
    title = facts.name or (repo_id or release.folder.resolve().name).rpartition("/")[2]
    family = get_architecture(config.architecture).family
    header = front_matter(
        title,
        family=family,
        kind=config.kind,
        licence=facts.licence,
        reports=measured_here(release),
        data_names=data_names(release),
        base=None if release.base is None else str(release.base.get("name")),
    )
    notes = dict(facts.notes)
    parts = [f"---\n{header}\n---\n\n# {title}"]
    if facts.summary:
        parts.append(facts.summary.strip())
    model = build_empty(release.folder / CONFIG_FILE, config)
    parts.append(_at_a_glance(release, model))
    sections = {
        "Use": usage(release, model, repo_id),
        "Results": _results(release),
        "Beside other weights": _comparisons(release, "test"),
        "Robustness": _tables(release, "robustness"),
        "Ablations": _comparisons(release, "cv"),
        "Limits": "\n".join(f"- {one.strip()}" for one in facts.limits) or f"{NOT_STATED.capitalize()}.",
        "Input": _input(release),
        "Training data": training_data(release),
        "Recipe": recipe(release),
        "How it was made": making(release),
        "Citation": _citation(family),
        "Licence": _licence(release),
    }
    sections |= {name: "" for name in notes if name not in sections}
    for name, text in sections.items():
        body = [one.strip() for one in (notes.get(name, ""), text) if one.strip()]
        if body:
            parts.append("\n\n".join([f"## {name}", *body]))
    return "\n\n".join(parts) + "\n"


def measured_here(release: Release) -> list[dict[str, Any]]:
    """The reports whose numbers are of these weights: of fine-tuned networks only where these are some."""
    tuned = release.config.kind in ("classification", "part_segmentation")
    return [report for report in release.reports.values() if tuned or not is_scored(report)]


def _at_a_glance(release: Release, model: Any) -> str:
    config, facts = release.config, release.facts
    encoder = getattr(model, "encoder", model)
    size = f"{_parameters(encoder)} parameters"
    if model is not encoder:
        size += f" in the encoder, {_parameters(model)} in all"
    points = config.preprocess.num_points
    output = (
        f"{encoder.feature_dim()} numbers for a shape (`embed`, pooling `{encoder.hyper.pool}`), "
        f"{sum(encoder.hyper.dims)} for a point (`per_point_features`)"
    )
    if config.kind == "classification":
        output = f"scores of {model.hyper.num_classes} classes; features: {output}"
    if config.kind == "part_segmentation":
        output = f"scores of {model.hyper.num_parts} parts for every point; features: {output}"
    architecture = get_architecture(config.architecture)
    rows = [
        ("architecture", f"`{config.architecture}`: {architecture.summary.partition(':')[0]}"),
        ("kind", _KINDS[config.kind]),
        ("size", f"{size}; {' / '.join(map(str, encoder.hyper.num_tokens))} tokens"),
        ("input", f"{points:,} points (x, y, z) of a shape, {config.preprocess.up} up"),
        ("output", output),
        ("status", _status(release)),
        ("licence", facts.licence or NOT_STATED),
    ]
    if release.base is not None:
        origin = f"`{release.base.get('name')}`; new and random then: {release.base.get('new')}"
        if config.provenance.get("steps") is None:
            origin += "; what it was trained on since is not recorded"
        rows.insert(2, ("initialised from", origin))
    if config.labels:
        rows.insert(5, ("labels", ", ".join(config.labels)))
    table = "\n".join([line("", ""), line("---", "---"), *(line(*row) for row in rows)])
    preview = release.folder / "preview.png"
    if preview.is_file():
        table += "\n\n![What the model makes of a few training shapes](preview.png)"
    return table


def _results(release: Release) -> str:
    parts = [_of_scores(release), _of_frozen(release)]
    if any(parts):
        return "\n\n".join(filter(None, parts))
    task = {"classification": "finetuned", "part_segmentation": "parts"}.get(release.config.kind, "linear")
    return f"Not evaluated yet: `pointmae-zoo evaluate {task} FOLDER --data FILE.npz` does it."


def _of_scores(release: Release) -> str:
    """What was measured of fine-tuned networks: of these weights, or of those that were trained from them."""
    shown = {name: one for name, one in release.scored.items() if one["context"]["task"] != "robustness"}
    if not shown:
        return ""
    runs = max((report["context"]["models"] for report in shown.values()), key=len)
    about = []
    if release.config.kind not in ("classification", "part_segmentation"):
        about.append("Fine-tuned with labels, from these weights; those networks are not in this folder.")
    if len(runs) > 1:
        those = ", ".join(runs)
        about.append(f"Means ± standard deviations of {len(runs)} trainings ({those}).")
    parts = [" ".join(about)]
    for name, report in shown.items():
        parts += [scores_table(report), class_table(report), f"Numbers: [{name}]({name})."]
    for picture, what in PICTURES.items():
        if (release.folder / picture).is_file():
            parts.append(f"![{what}]({picture})")
    return "\n\n".join(filter(None, parts))


def _of_frozen(release: Release) -> str:
    """Linear probes and few-shot episodes."""
    shown = {name: report for name, report in release.frozen.items() if report["summary"]}
    probed = {name: report for name, report in shown.items() if not is_part(report)}
    parts = [_about_frozen(release, probed)] if probed else []
    for name, report in probed.items():
        parts += [linear_table(report), f"Numbers: [{name}]({name})."]
    if shots := _tables(release, "few_shot"):
        parts += ["### With few labels", shots]
    return "\n\n".join(parts)


def _about_frozen(release: Release, reports: dict[str, dict[str, Any]]) -> str:
    contexts = [report["context"] for report in reports.values()]
    rows = [row for report in reports.values() for row in report["summary"]]
    about = [
        "Linear probe: the encoder is frozen, and a linear classifier learns from its features of labelled "
        "shapes. Accuracies are in percent."
    ]
    models = max((context["models"] for context in contexts), key=len)
    if len(models) > 1:
        about.append(
            f"Those of these weights are means ± standard deviations of {len(models)} trainings "
            f"({', '.join(models)}), of which the weights here are one."
        )
    if random := max((row["runs"] for row in rows if row["features"] != "weights"), default=0):
        about.append(
            "Random features are strong in 3D, so the same network with random weights "
            f"({random} initialisation{'s' if random > 1 else ''}) stands beside it, native or with "
            "BatchNorm statistics calibrated on the training part: the better of the two is the floor."
        )
    known = set((release.config.provenance.get("data_sha256") or {}).values())
    embedded = release.config.preprocess.num_points
    if probed := sorted({context["num_points"] for context in contexts} - {embedded}):
        counts = " or ".join(f"{count:,}" for count in probed)
        about.append(f"The probe looks at {counts} points of each cloud, `embed` at {embedded:,}.")
    for dataset in {context["dataset"]["file"]: context["dataset"] for context in contexts}.values():
        if dataset["sha256"] in known:
            about.append(
                f"The training part of {dataset['file']} was among the clouds of pre-training, without its "
                "labels; the test part was not."
            )
    return " ".join(about)


def _tables(release: Release, which: str) -> str:
    table = {"robustness": robustness_table, "few_shot": fewshot_table}[which]
    found = [(report, table) for report in release.frozen.values() if report[which]]
    if which == "robustness":
        found += [(report, changed_table) for report in release.scored.values() if report[which]]
    parts = []
    for report, shown in found:
        dataset = report["context"]["dataset"]
        parts += [f"{dataset['file']}, {len(dataset['classes'])} classes:", shown(report)]
    return "\n\n".join(parts)


def _comparisons(release: Release, measure: str) -> str:
    """What weights do on test is of interest to who chooses among them; variants are told apart on train."""
    found = [one for one in release.comparisons.values() if one["context"]["measure"] == measure]
    return "\n\n".join(map(ablation_table, found))


def _input(release: Release) -> str:
    given = release.config.preprocess
    centre = "centred on their centroid" if given.center == "centroid" else "not centred"
    scale = "scaled to the unit sphere" if given.scale == "unit_sphere" else "not scaled"
    return (
        "Stored with the weights (`config.json`) and applied by `pointmae-zoo embed`, `embed_files` and "
        f"`model.config.preprocess`: {given.surface_samples:,} points uniformly by area on the surface of a "
        f"mesh (of a point file its own points), farthest point sampling to {given.num_points:,}, {centre}, "
        f"{scale}. **{given.up} is up**: for files in which another axis points up say so (`--up z`, "
        '`up="z"`); features of a shape that lies on its side are features of another shape.'
    )


def _citation(family: Family) -> str:
    papers = {"whose encoder they have": ENCODER_PAPER}
    if family.paper is not None:
        papers = {"whose method this is": family.paper, **papers}
    named = " and the one ".join(
        f"{about} ([{paper.method}]({paper.url}), {paper.venue})" for about, paper in papers.items()
    )
    entries = "\n\n".join(paper.bibtex for paper in papers.values())
    return f"If you use these weights, cite the paper {named}:\n\n```bibtex\n{entries}\n```"


def _licence(release: Release) -> str:
    if not release.facts.licence:
        return "Of the weights: not stated. Ask who published them before you build on them."
    return f"Of the weights: {release.facts.licence}. The code of pointmae-zoo: Apache-2.0."


def _status(release: Release) -> str:
    """What a person or the registry states: a training alone does not know what it is good for."""
    if release.published is not None:
        return f"`{release.published.status}`: {_STATUSES[release.published.status]}"
    if release.facts.status:
        return f"`{release.facts.status}`, by its publisher's word: {_STATUSES[release.facts.status]}"
    return NOT_STATED


def _parameters(model: Any) -> str:
    return f"{sum(parameter.numel() for parameter in model.parameters()):,}"
