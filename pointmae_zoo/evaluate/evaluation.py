"""``evaluate_linear``: a model's linear probe beside its honest baselines.

Random features are strong in 3D, so every number stands beside the same architecture with random weights:
native, and with the statistics of its BatchNorms calibrated on the training clouds (no learning at all). The
floor that counts is the better of the two, and which one that is differs from network to network.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.data.clouds import Clouds, normalize_clouds
from pointmae_zoo.data.commit import current_commit, versions
from pointmae_zoo.evaluate.features import calibrate_batch_norm, embed_clouds, random_encoder
from pointmae_zoo.evaluate.fewshot import Episode, FewShotSettings, Pool, draw_episodes, few_shot
from pointmae_zoo.evaluate.kept import check_kept
from pointmae_zoo.evaluate.labelled import Parts, read_parts
from pointmae_zoo.evaluate.linear import Classifier, LinearProbe, linear_probe
from pointmae_zoo.evaluate.report import LinearReport, file_name
from pointmae_zoo.evaluate.robustness import CLEAN, POINT_COUNTS, SEED, Change, change_clouds, changes
from pointmae_zoo.evaluate.runs import public_names

PAPER_C = 0.0093
"""The C that I2P-MAE's linear probe of ModelNet40 uses; for ScanObjectNN (OBJ-BG) it is 0.018."""
FEW_SHOT = (FewShotSettings(ways=5), FewShotSettings(ways=10))

_PROTOCOLS = {
    "standard": (
        "first {num_points} points, centred on the centroid, scaled to the unit sphere, upright (no "
        "rotation, no voting); frozen features, standardised, over sqrt(d); C by 5-fold stratified group "
        "cross-validation on train"
    ),
    "paper": (
        "the papers' protocol: first {num_points} points as they are in the file, upright (no rotation, no "
        "voting); raw frozen features; linear SVM with C = {C:g}, fixed beforehand"
    ),
}
_ENDS = {
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
    robustness: bool = False,
    few_shot_episodes: bool = False,
    label: str | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    out: str | Path | None = None,
    keep_in: str | Path | None = None,
    progress: bool = True,
) -> LinearReport:
    """Linear probe of a model's frozen features, beside random weights of the same architecture.

    Args:
        model: name, folder or Hub repository of weights; several (training seeds of one recipe) are averaged
            and share the baselines.
        data: ``.npz`` with ``points``, ``y``, ``classes``, ``split`` (train / test), ``group`` and, for
            "core", ``core_classes``; or ``modelnet40:FOLDER``, ``scanobjectnn:FOLDER`` in the layouts
            in which they are distributed.
        classes: the cleaner core classes, or all; None: core where the file names some.
        split: ``"validation"`` gives the cross-validation on train alone and leaves test untouched; it is
            what settings are chosen with.
        num_points: the first so many points of each cloud.
        pool: pooling of the features; None takes the one stored with the weights.
        seeds: random initialisations of each baseline; 0 leaves the baselines out.
        classifiers: which linear classifiers; None: all that the protocol has.
        protocol: ``"paper"``: points and features as they come, C fixed.
        C: of the papers' protocol; ``PAPER_C`` by default.
        robustness: also predict test clouds that were turned, thinned, made noisy or cut (see
            ``evaluate.robustness``), with the classifier of the upright, clean ones.
        few_shot_episodes: also few-shot classification, 5 and 10 ways of 10 shots (see ``evaluate.fewshot``):
            support from train, queries from test; for validation both from train, of different groups.
        label: what tables call these weights.
        out: where to write the JSON.
        keep_in: a folder to write it to, under its ``evaluate.report.file_name``; made if there is none.
        progress: a bar on a terminal.

    Raises:
        ValueError: the file lacks a split, classes or points (names what); models of different
            architectures; negative ``seeds``; settings that exclude each other; in ``keep_in`` numbers that
            these would not replace.
        FileNotFoundError, IsADirectoryError: ``out`` cannot be written there.
    """
    from tqdm import tqdm

    from pointmae_zoo.hub import from_pretrained
    from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256

    started = time.perf_counter()
    models = [model] if isinstance(model, (str, Path)) else list(model)
    classifiers = tuple(classifiers or (("svm",) if protocol == "paper" else ("svm", "logistic")))
    _check_settings(models, seeds, split, classifiers, protocol, C, robustness)
    if out is not None:
        _check_out(Path(out))
    fixed_C = (PAPER_C if C is None else C) if protocol == "paper" else None
    parts = read_parts(
        data,
        classes=classes,
        split=split,
        num_points=num_points,
        most_points=max(POINT_COUNTS) if robustness else num_points,
    )
    stored = (parts.test or parts.train).points.shape[1]
    asked = _Asked(
        parts,
        normalize=protocol == "standard",
        num_points=num_points,
        changes=changes(stored, num_points) if robustness else (),
        episodes=_episodes(parts) if few_shot_episodes else {},
    )
    encoders = [from_pretrained(name, kind="encoder", device=device) for name in models]
    names, config = public_names(models, encoders), encoders[0].config
    for name, other in zip(names, encoders, strict=True):
        if not _same_network(config, other.config):
            raise ValueError(
                f"{name} ({other.config.architecture}) and {names[0]} ({config.architecture}) are of "
                "different architectures or arguments, so they share no baseline; evaluate them one by one"
            )

    def candidates() -> Iterator[tuple[str, dict[str, Any], Any]]:
        for name, encoder in zip(names, encoders, strict=True):
            yield "weights", {"model": name}, encoder
        for seed in range(seeds):
            random = random_encoder(config, seed, device)
            calibrated = calibrate_batch_norm(
                random, asked.prepared(parts.train), batch_size=batch_size, seed=seed
            )
            yield "random, BatchNorm calibrated", {"seed": seed}, calibrated
            yield "random", {"seed": seed}, random

    text = _PROTOCOLS[protocol].format(num_points=num_points, C=fixed_C) + _ENDS[split]
    context = {
        "task": "linear",
        "label": label or names[0],
        "models": names,
        "encoder_sha256": [encoder_sha256(encoder) for encoder in encoders],
        "architecture": config.architecture,
        "pool": pool or encoders[0].hyper.pool,
        "dataset": {"file": parts.name, "sha256": parts.sha256, "classes": parts.classes},
        "class_set": parts.class_set,
        "split": split,
        "num_train": len(parts.train),
        "num_test": 0 if parts.test is None else len(parts.test),
        "num_points": num_points,
        "protocol_name": protocol,
        "protocol": text,
        "rotation": "none",
        "robustness": asked.described(),
        "few_shot": [asdict(settings) for settings in asked.episodes],
        "baseline_seeds": list(range(seeds)),
    }
    if keep_in is not None:
        out = Path(keep_in) / file_name(context)
        check_kept(out, context, classifiers)
    report = LinearReport()
    probes: dict[tuple[str, str], list[LinearProbe]] = {}
    shots: dict[tuple[str, FewShotSettings], list[NDArray[np.float64]]] = {}
    bar = tqdm(
        desc="probe", total=len(encoders) + 2 * seeds, unit="model", disable=None if progress else True
    )
    with bar:
        for kind, which, encoder in candidates():
            features = asked.features(encoder, pool=pool, batch_size=batch_size, device=device)
            for classifier in classifiers:
                found = linear_probe(
                    features.train,
                    parts.train.labels,
                    parts.train.groups,
                    features.test,
                    None if parts.test is None else parts.test.labels,
                    changed=features.changed,
                    classifier=classifier,
                    C_values=None if fixed_C is None else (fixed_C,),
                    standardize=protocol == "standard",
                )
                probes.setdefault((kind, classifier), []).append(found)
                values = asdict(found)
                del values["correct"], values["cv_correct"]
                report.rows.append({"features": kind, **which, **values})
            for settings, episodes in asked.episodes.items():
                accuracies = few_shot(*_pools(parts, features), episodes, C=settings.C)
                shots.setdefault((kind, settings), []).append(accuracies)
            bar.update()
    report.add_probes(probes, parts.train.groups, None if parts.test is None else parts.test.groups)
    for (kind, settings), of_runs in shots.items():
        report.add_few_shot(kind, settings, of_runs)
    report.context = {
        **context,
        "majority_accuracy": next(iter(probes.values()))[0].majority_accuracy,
        "chance_accuracy": 100.0 / len(parts.classes),
        "versions": versions(),
        "commit": current_commit(),
        "wall_seconds": round(time.perf_counter() - started, 1),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    if out is not None:
        Path(out).parent.mkdir(exist_ok=True)  # the folder of ``keep_in``; that of ``out`` is there
        report.save(Path(out))
    return report


class _Features(NamedTuple):
    """Of one network: (M, D) of train, of test, and of the test clouds by what was done to them."""

    train: NDArray[np.float32]
    test: NDArray[np.float32] | None
    changed: dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class _Asked:
    """What every network is asked: the clouds, what is done to them, the few-shot episodes."""

    parts: Parts
    normalize: bool
    num_points: int
    changes: tuple[Change, ...]
    episodes: dict[FewShotSettings, list[Episode]]

    def prepared(self, clouds: Clouds, change: Change = CLEAN, up: str = "y") -> NDArray[np.float32]:
        """The points that the network sees; centred and scaled after the change, as a user's would be."""
        points = change_clouds(clouds.points, change, num_points=self.num_points, up=up)
        return normalize_clouds(points) if self.normalize else points

    def features(self, encoder: Any, **how: Any) -> _Features:
        """All features of one network; ``how``: arguments of ``embed_clouds``."""
        train, test = self.parts.train, self.parts.test
        of_train = embed_clouds(encoder, self.prepared(train), **how)
        if test is None:
            return _Features(of_train, None, {})
        up = encoder.config.preprocess.up
        return _Features(
            of_train,
            embed_clouds(encoder, self.prepared(test), **how),
            {
                change.name: embed_clouds(encoder, self.prepared(test, change, up), **how)
                for change in self.changes
            },
        )

    def described(self) -> dict[str, Any]:
        """For the JSON: every change with its amount, and the seed."""
        if not self.changes:
            return {}
        return {
            "classifier": "trained on upright, clean clouds; only test clouds are changed, one draw each",
            "seed": SEED,
            "changes": [{"name": change.name, **asdict(change)} for change in self.changes],
        }


def _pools(parts: Parts, features: _Features) -> tuple[Pool, Pool]:
    """What few-shot's support is drawn from, and its queries."""
    support = Pool(features.train, parts.train.labels)
    if parts.test is None or features.test is None:
        return support, support
    return support, Pool(features.test, parts.test.labels)


def _episodes(parts: Parts) -> dict[FewShotSettings, list[Episode]]:
    asked = parts.train if parts.test is None else parts.test
    return {
        settings: draw_episodes(parts.train.labels, parts.train.groups, asked.labels, asked.groups, settings)
        for settings in FEW_SHOT
    }


def _same_network(one: Any, other: Any) -> bool:
    return one.architecture == other.architecture and one.arguments == other.arguments


def _check_settings(
    models: Sequence[str | Path],
    seeds: int,
    split: str,
    classifiers: Sequence[str],
    protocol: str,
    C: float | None,
    robustness: bool,
) -> None:
    if not models:
        raise ValueError("model: an empty list; expected a name or folder of weights")
    if seeds < 0:
        raise ValueError(f"seeds: {seeds}, expected 0 (no baselines) or more")
    if split not in _ENDS:
        raise ValueError(f"split: {split!r}, expected 'test' or 'validation'")
    if protocol not in _PROTOCOLS:
        raise ValueError(f"protocol: {protocol!r}, expected 'standard' or 'paper'")
    if protocol == "paper" and tuple(classifiers) != ("svm",):
        raise ValueError("classifiers: the papers' protocol has only the svm")
    if protocol == "standard" and C is not None:
        raise ValueError("C: chosen by cross-validation; a fixed one belongs to protocol 'paper'")
    if C is not None and not 0 < C < float("inf"):
        raise ValueError(f"C: {C}, expected a number above 0")
    if split == "validation" and robustness:
        raise ValueError("robustness: changes test clouds, and split 'validation' leaves them untouched")


def _check_out(path: Path) -> None:
    """An evaluation takes minutes: a place where nothing can be written is found before, not after."""
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder; expected the name of a .json file")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path}: no such folder {path.parent}; make it first")
