"""Provenance: what the ``config.json`` of weights says about how they were trained."""

from pathlib import Path
from typing import Any

import numpy as np

from pointmae_zoo.datasets.benchmarks import split_entry
from pointmae_zoo.datasets.labelled import LabelledClouds
from pointmae_zoo.datasets.labelled.labelled_clouds import identity_sha256
from pointmae_zoo.datasets.sources import CloudSource
from pointmae_zoo.hub.pretrained import public_name
from pointmae_zoo.system.source_state import versions
from pointmae_zoo.train.recipes import FinetuneRecipe, PretrainRecipe, TrainingRecipe
from pointmae_zoo.train.schedule import warmup_steps
from pointmae_zoo.train.task import TrainingResult


def provenance(
    recipe: PretrainRecipe, source: CloudSource, result: TrainingResult, commit: str | None
) -> dict[str, Any]:
    """How a pre-training run went. Files are named without their folders."""
    named = recipe.to_dict()
    named["data"] = [without_folder(entry) for entry in recipe.data]
    if recipe.weights:
        named["weights"] = public_name(recipe.weights)
    if not recipe.teacher.name:
        named["teacher"] = {"name": ""}  # its other fields had no effect
    elif recipe.teacher.weights not in ("pretrained", "random"):
        named["teacher"]["weights"] = Path(recipe.teacher.weights).name
    from_data, made = cloud_counts(recipe, source)
    return {
        "recipe": named,
        "data_sha256": dict(zip(entry_names(recipe), source.sha256, strict=True)),
        "clouds_from_data": from_data,
        "clouds_procedural": made,
        **_ending(recipe, len(source), result, commit),
    }


def finetune_provenance(
    recipe: FinetuneRecipe,
    clouds: LabelledClouds,
    validation: LabelledClouds | None,
    result: TrainingResult,
    commit: str | None,
) -> dict[str, Any]:
    """How a fine-tuning run went; ``config.json`` also has ``initialised_from``."""
    named = recipe.to_dict()
    named["data"] = without_folder(recipe.data)
    if recipe.weights:
        named["weights"] = public_name(recipe.weights)
    counts = np.bincount(clouds.labels, minlength=len(clouds.classes))
    parts = {}
    if recipe.task == "parts":
        parts = {
            "object_classes": list(clouds.classes),
            "parts": [[numbers.start, numbers.stop] for numbers in clouds.parts],
        }
    return {
        "recipe": named,
        "data_sha256": {named["data"]: clouds.sha256},
        "class_set": clouds.class_set,
        "clouds_from_data": len(clouds),
        "class_counts": dict(zip(clouds.classes, counts.tolist(), strict=True)),
        "clouds_validation": 0 if validation is None else len(validation),
        "validation_split": None if validation is None else validation_of(recipe, clouds),
        "validation_sha256": None if validation is None else identity_sha256(validation),
        "files_skipped": len(clouds.skipped),
        **parts,
        "validation": result.validation or None,
        **_ending(recipe, len(clouds), result, commit),
    }


def _ending(recipe: TrainingRecipe, count: int, result: TrainingResult, commit: str | None) -> dict[str, Any]:
    """How the run on ``count`` clouds went. ``warmup_cut_to``, in steps, is there only if the warm-up was
    cut."""
    asked, given = warmup_steps(recipe, count)
    return {
        "steps": result.steps,
        **({} if asked == given else {"warmup_cut_to": given}),
        "final_losses": result.losses,
        "seconds": round(result.total_seconds, 1),
        "commit": commit,
        "versions": versions(),
    }


def validation_of(recipe: FinetuneRecipe, clouds: LabelledClouds) -> str:
    """The split of the data that validation clouds are from: ``val`` if the data has one and the recipe wants
    validation, else ``train``."""
    return "val" if recipe.validation_share and "val" in clouds.splits else "train"


def cloud_counts(recipe: PretrainRecipe, source: CloudSource) -> tuple[int, int]:
    """How many clouds from data and how many procedural ones a source has, each counted in one pose."""
    count = len(source) // recipe.poses
    made = count // 2 if recipe.procedural_clouds is None else recipe.procedural_clouds
    return count - made, made


def without_folder(entry: str) -> str:
    """A data entry without folders of this machine: ``shapenet55:/data/sn`` -> ``shapenet55:sn``. A
    benchmark's file keeps its own folder, which tells the variants of ScanObjectNN apart."""
    benchmark, path = split_entry(entry)
    if benchmark is None:
        return Path(entry).name or entry
    kept = path.parts[-2:] if path.suffix == ".h5" else path.parts[-1:]
    return f"{benchmark}:{'/'.join(kept) or path}"


def entry_names(recipe: PretrainRecipe) -> list[str]:
    """A name for each source of the recipe, for the list of hashes; no name occurs twice."""
    names: list[str] = []
    for entry in [*recipe.data, *(() if recipe.procedural_clouds == 0 else ("procedural",))]:
        name = without_folder(entry)
        same = sum(known.partition(" #")[0] == name for known in names)
        names.append(f"{name} #{same + 1}" if same else name)
    return names
