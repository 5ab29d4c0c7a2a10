"""``evaluate_linear``: a model's linear probe beside its honest baselines."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pointmae_zoo.evaluate.frozen import PREPARED, embedded, list_of, load_encoders, read_data
from pointmae_zoo.evaluate.linear import linear_probe
from pointmae_zoo.reports.report import Classifier, LinearProbe, LinearReport, file_name
from pointmae_zoo.reports.schema import check_replaceable
from pointmae_zoo.system.files import check_out
from pointmae_zoo.system.progress import progress_bar
from pointmae_zoo.system.source_state import measured_with

PAPER_C = 0.0093
"""The C that I2P-MAE's linear probe of ModelNet40 uses; for ScanObjectNN (OBJ-BG) it is 0.018."""

PROTOCOLS = {
    "standard": (
        f"{PREPARED}, standardised, over sqrt(d); C by 5-fold stratified group cross-validation on train"
    ),
    "paper": (
        "the papers' protocol: first {num_points} points as they are in the file, upright (no rotation, no "
        "voting); raw frozen features; linear SVM with C = {C:g}, fixed beforehand"
    ),
}
ENDS = {
    "test": "; refit on train; test predicted once",
    "validation": "; the score of that cross-validation; test was not touched",
}


def evaluate_linear(
    model: str | Path | Sequence[str | Path],
    data: str | Path,
    *,
    classes: Literal["core", "all"] | None = None,
    split: Literal["test", "validation"] = "test",
    num_points: int = 1024,
    pool: str | None = None,
    seeds: int = 3,
    classifiers: Sequence[Classifier] | None = None,
    protocol: Literal["standard", "paper"] = "standard",
    C: float | None = None,
    label: str | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    out: str | Path | None = None,
    keep_in: str | Path | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> LinearReport:
    """Linear probe of a model's frozen features, beside random weights of the same architecture.

    Args:
        model: name, folder or Hub repository of weights; several (training seeds of one recipe) are averaged
            and share the baselines.
        data: an entry of `open_labelled`: an ``.npz``, a folder, ``modelnet40:FOLDER`` ...
        classes: the cleaner core classes, or all; None: core where the file names some.
        split: ``"validation"`` gives the cross-validation on train alone and leaves test untouched; it is
            what settings are chosen with.
        num_points: the first so many points of each cloud.
        pool: pooling of the features; None takes the one stored with the weights.
        seeds: random initialisations of each baseline; 0 leaves the baselines out.
        classifiers: which linear classifiers; None: all that the protocol has.
        protocol: ``"paper"``: points and features as they come, C fixed.
        C: of the papers' protocol; ``PAPER_C`` by default.
        label: what tables call these weights.
        out: where to write the JSON.
        keep_in: a folder to write it to, under its ``reports.report.file_name``; made if there is none.
        cache: where points of meshes are kept.
        progress: a bar on a terminal, elsewhere a line now and then.

    Raises:
        ValueError: the data lack a split, classes or points (names what); models of different
            architectures; negative ``seeds``; settings that exclude each other; in ``keep_in`` numbers that
            these would not replace.
        FileNotFoundError, IsADirectoryError: ``out`` cannot be written there.
    """
    started = time.perf_counter()
    models = list_of(model)
    classifiers = tuple(classifiers or (("svm",) if protocol == "paper" else ("svm", "logistic")))
    _check_settings(classifiers, protocol, C)
    if seeds < 0:
        raise ValueError(f"seeds: {seeds}, expected 0 (no baselines) or more")
    check_out(out, (".json",))
    fixed_C = (PAPER_C if C is None else C) if protocol == "paper" else None
    given = read_data(
        data,
        classes=classes,
        split=split,
        num_points=num_points,
        normalize=protocol == "standard",
        cache=cache,
        progress=progress,
    )
    encoders = load_encoders(models, seeds, device)
    context = {
        "task": "linear",
        **encoders.described(label, pool),
        **given.described(),
        "protocol_name": protocol,
        "protocol": PROTOCOLS[protocol].format(num_points=num_points, C=fixed_C) + ENDS[split],
        "robustness": {},
        "few_shot": [],
    }
    if keep_in is not None:
        out = Path(keep_in) / file_name(context)
        check_replaceable(out, context, classifiers)
    report = LinearReport()
    probes: dict[tuple[str, str], list[LinearProbe]] = {}
    train, test = given.train, given.test
    points = given.prepared(train.points)
    asked = None if test is None else given.prepared(test.points)
    how: dict[str, Any] = {"pool": pool, "batch_size": batch_size, "device": device}
    total = encoders.number * (len(points) + (0 if asked is None else len(asked)))
    with progress_bar(total=total, unit="cloud", desc="probe", disable=not progress) as bar:
        for kind, which, encoder in encoders.candidates(points, batch_size):
            features = embedded(encoder, points, bar, **how)
            tested = None if asked is None else embedded(encoder, asked, bar, **how)
            for classifier in classifiers:
                found = linear_probe(
                    features,
                    train.labels,
                    train.groups,
                    tested,
                    None if test is None else test.labels,
                    classifier=classifier,
                    C_values=None if fixed_C is None else (fixed_C,),
                    standardize=protocol == "standard",
                )
                probes.setdefault((kind, classifier), []).append(found)
                report.add_row(kind, which, found)
    report.add_probes(probes, train.groups, None if test is None else test.groups)
    report.context = {**context, **measured_with(started)}
    if out is not None:
        report.save(Path(out))
    return report


def _check_settings(classifiers: Sequence[str], protocol: str, C: float | None) -> None:
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: {protocol!r}, expected 'standard' or 'paper'")
    if protocol == "paper" and tuple(classifiers) != ("svm",):
        raise ValueError("classifiers: the papers' protocol has only the svm")
    if protocol == "standard" and C is not None:
        raise ValueError("C: chosen by cross-validation; a fixed one belongs to protocol 'paper'")
    if C is not None and not 0 < C < float("inf"):
        raise ValueError(f"C: {C}, expected a number above 0")
