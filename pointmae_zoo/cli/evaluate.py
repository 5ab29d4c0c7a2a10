"""``evaluate``."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Required, TypedDict, Unpack

from cyclopts import Parameter

from pointmae_zoo.cli.options import SEVERAL, Axis, Count, Folder, Model, Name, Pose, Whole, options

Json = Annotated[Path, Parameter(metavar="FILE.json")]
Picture = Annotated[Path, Parameter(metavar="FILE.png")]
Protocol = Literal["standard", "paper"]
Condition = Literal["rotation-about-up", "rotation", "points", "noise", "missing-ball", "missing-side"]


@options("evaluate/linear.py:evaluate_linear")
class Evaluation(TypedDict, total=False):
    """What all evaluations of weights have in common.

    Args:
        data: labelled clouds: an .npz file, a folder of your own (docs/own_data.md), or modelnet40:FOLDER,
            scanobjectnn:FOLDER, shapenetpart:FOLDER
        classes: which classes (default: core where the data name some)
        num_points: of each cloud (default: as in training)
        cache: keep points of meshes here, for the next time
        label: what tables and pictures call these weights
        device: where the network runs, such as cuda (default: cpu)
        markdown: print the tables as Markdown, as a card has them
        out: write the numbers here (default: of one folder in its evaluations/, where push finds them; what
            is there with other settings stays)
    """

    data: Annotated[Required[str], Parameter(metavar="DATA")]
    classes: Literal["core", "all"]
    num_points: Annotated[Count, Parameter(name="--points")]
    cache: Folder
    label: Name
    device: Name
    markdown: bool
    out: Json


@options("evaluate/linear.py:evaluate_linear")
class Choice(TypedDict, total=False):
    """To choose settings without a look at test.

    Args:
        split: validation: only train is read, or what the runs held out of it; to choose settings with, as
            test is not touched (default: {split})
    """

    split: Literal["test", "validation"]


@options("evaluate/linear.py:evaluate_linear")
class Frozen(Evaluation, total=False):
    """What evaluations of frozen features have in common.

    Args:
        up: axis that points up in the data (default: {up}; of fine-tuned classifiers: as in training)
        pose: poses that features are averaged over: upright, turned (about up) or any (rotation)
            (default: {pose})
        pool: max, mean, mean+max, mean,max or levels (default: as stored with the weights)
        seeds: random initialisations of each baseline; 0: no baselines, faster (default: {seeds},
            validation: 0)
    """

    up: Axis
    pose: Pose
    pool: str
    seeds: Whole


@options("evaluate/linear.py:evaluate_linear")
class Linear(Frozen, Choice, total=False):
    """Arguments of `evaluate_linear`.

    Args:
        classifiers: linear classifiers; paper: svm on raw features with the papers' fixed C (default: all;
            from {MANY_CLOUDS} training clouds on without logistic; protocol paper: svm)
        protocol: paper: raw points and features, fixed C, also of the baselines; for comparison with
            published tables (default: {protocol})
        C: the fixed one (default: {reports/known_results.py:PAPER_C}, ModelNet40's; ScanObjectNN OBJ-BG:
            0.018)
    """

    classifiers: Annotated[list[Literal["svm", "logistic", "paper"]], SEVERAL, Parameter(name="--classifier")]
    protocol: Protocol
    C: Annotated[float, Parameter(name="--C")]


@options("evaluate/fewshot.py:evaluate_fewshot")
class FewShot(Frozen, Choice, total=False):
    """Arguments of `evaluate_fewshot`.

    Args:
        ways: classes of an episode (default: {WAYS})
        shots: clouds of each class (default: {SHOTS})
        episodes: of each setting (default: {evaluate/fewshot.py:FewShotSettings.episodes})
        protocol: paper: {PAPER_EPISODES} episodes with 20 queries of each class, mean and deviation over
            them; for comparison with published tables (default: {protocol})
    """

    ways: Annotated[list[Count], SEVERAL]
    shots: Annotated[list[Count], SEVERAL]
    episodes: Count
    protocol: Protocol


@options()
class Robustness(Frozen, total=False):
    """Arguments of `evaluate_robustness`.

    Args:
        conditions: what is done to the clouds (default: all of it)
    """

    conditions: Annotated[list[Condition], SEVERAL]


@options("evaluate/finetuned.py:evaluate_finetuned")
class FineTuned(Evaluation, Choice, total=False):
    """What evaluations of fine-tuned networks have in common.

    Args:
        votes: also the mean over so many random views of each cloud; a line of its own (default: {votes})
        up: axis that points up in the data (default: as in training)
        picture: draw what is taken for what, or some clouds with their parts
    """

    votes: Whole
    up: Axis
    picture: Picture


@options("evaluate/finetuned.py:evaluate_finetuned")
class Classifier(FineTuned, total=False):
    """Arguments of `evaluate_finetuned`.

    Args:
        protocol: paper: farthest point sampling of up to {PAPER_POINTS} points; for comparison with published
            tables (default: {protocol})
    """

    protocol: Protocol


@options()
def linear(model: list[Model], /, **settings: Unpack[Linear]) -> int:
    """Linear probe of frozen features.

    Beside it stand random weights of the same architecture.

    Args:
        model: weights; several are averaged (seeds of one recipe)
    """
    from pointmae_zoo.evaluate import evaluate_linear

    if settings.get("split") == "validation":
        settings.setdefault("seeds", 0)
    return _evaluated(evaluate_linear, model, settings)


@options()
def fewshot(model: list[Model], /, **settings: Unpack[FewShot]) -> int:
    """Frozen features and a handful of labels.

    Few-shot classification: a linear SVM on a few clouds of a few classes, in episodes that are the same for
    every model, beside random weights.

    Args:
        model: weights; several are averaged (seeds of one recipe)
    """
    from pointmae_zoo.evaluate import evaluate_fewshot

    if settings.get("split") == "validation":
        settings.setdefault("seeds", 0)
    return _evaluated(evaluate_fewshot, model, settings)


@options()
def finetuned(runs: list[Model], /, **settings: Unpack[Classifier]) -> int:
    """Accuracy of fine-tuned classifiers.

    How often they are right: accuracy and class mean with 95 % intervals, class by class.

    Args:
        runs: what finetune wrote; several are averaged (seeds of one recipe)
    """
    from pointmae_zoo.evaluate import evaluate_finetuned

    return _evaluated(evaluate_finetuned, runs, settings)


@options()
def parts(runs: list[Model], /, **settings: Unpack[FineTuned]) -> int:
    """mIoU of fine-tuned part segmenters.

    How well they find the parts of clouds: by instance and by category as on ShapeNetPart, with 95 %
    intervals, class by class and part by part.

    Args:
        runs: what finetune wrote; several are averaged (seeds of one recipe)
    """
    from pointmae_zoo.evaluate import evaluate_parts

    return _evaluated(evaluate_parts, runs, settings)


@options()
def robustness(model: list[Model], /, **settings: Unpack[Robustness]) -> int:
    """Accuracy on turned, thinned, noisy and cut clouds.

    Test clouds are changed, training clouds are not. A fine-tuned classifier predicts directly; for other
    weights a linear SVM on frozen features predicts, beside random weights.

    Args:
        model: weights; several are averaged (seeds of one recipe)
    """
    from pointmae_zoo.evaluate import evaluate_robustness

    given: dict[str, Any] = dict(settings)
    if "conditions" in given:
        given["conditions"] = [one.replace("-", " ") for one in given["conditions"]]
    return _evaluated(evaluate_robustness, model, given)


@options()
def compare(files: list[str], /, *, out: Json | None = None) -> int:
    """Evaluations on the same clouds, each minus the first.

    Compare what 'evaluate linear', or 'finetuned', or 'parts', wrote, cloud by cloud: every file minus the
    first.

    Args:
        files: two or more .json files, of one task and data
        out: write the numbers here
    """
    from pointmae_zoo.evaluate import compare, comparison_table

    print(comparison_table(compare(files, out)))
    if out is not None:
        print(f"written to {out}")
    return 0


@options("evaluate/label_curve.py:label_curve")
class Curve(TypedDict, total=False):
    """Arguments of `label_curve`.

    Args:
        measure: what is drawn (default: {measure})
        title: above the picture (default: data and classes)
    """

    measure: Literal["accuracy", "class mean"]
    title: Name


@options()
def curve(files: list[str], /, *, out: Picture, **look: Unpack[Curve]) -> int:
    """A picture of accuracy over labels per class.

    Draw the accuracy of fine-tuned classifiers over the number of labelled clouds of a class: one line for
    each --label of 'evaluate finetuned', one point for each file.

    Args:
        files: .json files that 'evaluate finetuned' wrote
        out: the picture
    """
    from pointmae_zoo.evaluate import label_curve

    print(label_curve(files, out, **look))
    print(f"written to {out}")
    return 0


TASKS: tuple[Callable[..., int], ...] = (linear, fewshot, finetuned, parts, robustness, compare, curve)


def _evaluated(evaluate: Any, models: Sequence[str], given: Mapping[str, Any]) -> int:
    """Evaluate, print the numbers, and where they are."""
    from pointmae_zoo.reports.report import file_name
    from pointmae_zoo.reports.tables import tables
    from pointmae_zoo.system.devices import check_device

    check_device(given.get("device"))
    settings = dict(given)
    markdown = settings.pop("markdown", False)
    kept = None if "out" in settings else _evaluations_of(models)
    report = evaluate(models, keep_in=kept, **settings)
    print(tables(report.as_json()) if markdown else report.table())
    out = settings.get("out") or (kept and kept / file_name(report.context))
    for place in (settings.get("picture"), out):
        if place:
            print(f"written to {place}")
    return 0


def _evaluations_of(models: Sequence[str]) -> Path | None:
    """Where the numbers of a single folder of weights are kept, if nothing else was said.

    Raises:
        PermissionError: nothing can be written there; found before minutes of work, not after.
    """
    from pointmae_zoo.models.registry import list_models, list_weights

    folder = Path(models[0])
    if len(models) > 1 or models[0] in list_weights() + list_models() or not folder.is_dir():
        return None
    kept = folder / "evaluations"
    if not os.access(kept if kept.is_dir() else folder, os.W_OK):
        raise PermissionError(f"{folder}: cannot be written to; name another place with --out")
    return kept
