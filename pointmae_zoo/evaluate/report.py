"""``evaluate_linear``: a model's linear probe beside its honest baselines, as a table and as JSON.

Random features are strong in 3D, so every number stands beside the same architecture with random weights:
native, and with the statistics of its BatchNorms calibrated on the training clouds (no learning at all),
which is the floor that counts.
"""

import copy
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import pointmae_zoo
from pointmae_zoo.data.clouds import Clouds, normalize_clouds, read_clouds
from pointmae_zoo.data.commit import current_commit
from pointmae_zoo.data.files import written_whole
from pointmae_zoo.evaluate.linear import Classifier, LinearProbe, linear_probe, paired_difference

PROTOCOL = (
    "first {num_points} points, centred on the centroid, scaled to the unit sphere, upright (no rotation, no "
    "voting); frozen features, standardised, over sqrt(d); C by 5-fold stratified group cross-validation on "
    "train; refit on train; test predicted once"
)


@dataclass
class LinearReport:
    """All probes of one evaluation. Accuracies and differences in percent.

    Args:
        rows: one entry for each probe: features ("weights", "random, BatchNorm calibrated", "random"), model
            or seed, classifier, C, cv_accuracy, test_accuracy.
        summary: for each features and classifier: mean and sample standard deviation over its rows.
        differences: "weights" (mean of its rows) minus each baseline (mean of its seeds) on the same test
            clouds, with a 95 % interval.
        context: dataset, protocol, sizes, pool, seeds, versions, commit, wall time.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: list[dict[str, Any]] = field(default_factory=list)
    differences: list[dict[str, Any]] = field(default_factory=list)
    context: dict[str, Any] = field(default_factory=dict)

    def table(self) -> str:
        """A few lines for people."""
        lines = [f"{'features':<32} {'classifier':<10} {'runs':>4} {'cv on train':>14} {'test':>14}"]
        for row in self.summary:
            cv = f"{row['cv_mean']:.1f} +- {row['cv_std']:.1f}"
            test = f"{row['test_mean']:.1f} +- {row['test_std']:.1f}"
            lines.append(
                f"{row['features']:<32} {row['classifier']:<10} {row['runs']:>4} {cv:>14} {test:>14}"
            )
        lines.append(
            f"{'majority class':<32} {'':<10} {'':>4} {'':>14} {self.context['majority_accuracy']:>14.1f}"
        )
        for row in self.differences:
            interval = f"{row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"
            what = f"weights minus {row['baseline']}, {row['classifier']}"
            lines.append(f"{what}: {interval} (95 %, bootstrap over groups)")
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        """Write the report as JSON, atomically."""
        with written_whole(path) as unfinished:
            unfinished.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def evaluate_linear(
    model: str | Path | Sequence[str | Path],
    data: str | Path,
    *,
    classes: Literal["core", "all"] = "core",
    num_points: int = 1024,
    pool: str | None = None,
    seeds: int = 3,
    classifiers: Sequence[Classifier] = ("svm",),
    batch_size: int = 64,
    device: str = "cpu",
    out: str | Path | None = None,
) -> LinearReport:
    """Linear probe of a model's frozen features, beside random weights of the same architecture.

    Args:
        model: name or folder of weights; several (training seeds of one recipe) are averaged and share the
            baselines.
        data: ``.npz`` with ``points``, ``y``, ``classes``, ``split`` (train / test), ``group`` and, for
            "core", ``core_classes``.
        classes: the cleaner core classes, or all.
        num_points: the first so many points of each cloud.
        pool: pooling of the features; None takes the one stored with the weights.
        seeds: random initialisations of each baseline; 0 leaves the baselines out.
        classifiers: which linear classifiers.
        out: where to write the JSON.

    Raises:
        ValueError: the file lacks a split, classes or points (names what); models of different
            architectures; negative ``seeds``.
        FileNotFoundError, IsADirectoryError: ``out`` cannot be written there.
    """
    from pointmae_zoo.hub import from_pretrained
    from pointmae_zoo.registry import create_model

    started = time.perf_counter()
    names = [str(model)] if isinstance(model, (str, Path)) else [str(one) for one in model]
    if not names:
        raise ValueError("model: an empty list; expected a name or folder of weights")
    if seeds < 0:
        raise ValueError(f"seeds: {seeds}, expected 0 (no baselines) or more")
    if out is not None:
        _check_out(Path(out))
    train, test, chosen = _read_parts(Path(data), classes, num_points)
    report = LinearReport()
    probes: dict[tuple[str, str], list[LinearProbe]] = {}

    def probe(
        label: str, which: dict[str, Any], features: tuple[NDArray[np.float32], NDArray[np.float32]]
    ) -> None:
        for classifier in classifiers:
            found = linear_probe(
                features[0], train.labels, train.groups, features[1], test.labels, classifier=classifier
            )
            probes.setdefault((label, classifier), []).append(found)
            values = asdict(found)
            del values["correct"]
            report.rows.append({"features": label, **which, **values})

    encoders: list[Any] = [from_pretrained(name, kind="encoder", device=device) for name in names]
    encoder = encoders[0]
    for name, other in zip(names, encoders, strict=True):
        if not _same_network(encoder.config, other.config):
            raise ValueError(
                f"{name} ({other.config.architecture}) and {names[0]} ({encoder.config.architecture}) are of "
                "different architectures or arguments, so they share no baseline; evaluate them one by one"
            )
    for name, encoder in zip(names, encoders, strict=True):
        probe("weights", {"model": name}, _features(encoder, train, test, pool, batch_size, device))
    for seed in range(seeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            random = (
                create_model(encoder.config.architecture, kind="encoder", **encoder.config.arguments)
                .to(device)
                .eval()
            )
        calibrated = calibrate_batch_norm(random, train.points, batch_size=batch_size, seed=seed)
        probe(
            "random, BatchNorm calibrated",
            {"seed": seed},
            _features(calibrated, train, test, pool, batch_size, device),
        )
        probe("random", {"seed": seed}, _features(random, train, test, pool, batch_size, device))
    _summarise(report, probes, test.groups)
    report.context = {
        "models": names,
        "architecture": encoder.config.architecture,
        "pool": pool or encoder.hyper.pool,
        "dataset": {"file": Path(data).name, "sha256": train.sha256, "classes": chosen},
        "class_set": classes,
        "num_train": len(train),
        "num_test": len(test),
        "num_points": num_points,
        "protocol": PROTOCOL.format(num_points=num_points),
        "rotation": "none",
        "baseline_seeds": list(range(seeds)),
        "majority_accuracy": next(iter(probes.values()))[0].majority_accuracy,
        "chance_accuracy": 100.0 / len(chosen),
        "versions": _versions(),
        "commit": current_commit(),
        "wall_seconds": round(time.perf_counter() - started, 1),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    if out is not None:
        report.save(Path(out))
    return report


@torch.no_grad()
def calibrate_batch_norm(
    model: nn.Module, points: NDArray[np.float32], *, batch_size: int = 64, seed: int = 0
) -> nn.Module:
    """A copy whose BatchNorm statistics are the average over ``points`` (M, N, 3), everything else untouched.

    Only the BatchNorms and the modules that hold them are switched to training mode (those may take a
    shortcut with folded statistics otherwise); drop path and the like stay off.
    """
    calibrated: Any = copy.deepcopy(model).eval()
    norms = [module for module in calibrated.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for module in calibrated.modules():
        if any(child in norms for child in module.children()):
            module.training = True
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # None: the plain average over all batches
        norm.train()
    device = next(calibrated.parameters()).device
    order = np.random.default_rng(seed).permutation(len(points))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        if len(chosen) == batch_size or start == 0:  # a short last batch would weigh as much as a full one
            calibrated.forward_features(torch.from_numpy(points[chosen]).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return calibrated.eval()


def _same_network(one: Any, other: Any) -> bool:
    return one.architecture == other.architecture and one.arguments == other.arguments


def _check_out(path: Path) -> None:
    """An evaluation takes minutes: a place where nothing can be written is found before, not after."""
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder; expected the name of a .json file")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path}: no such folder {path.parent}; make it first")


def _read_parts(path: Path, classes: str, num_points: int) -> tuple[Clouds, Clouds, list[str]]:
    """Train and test parts of the file, prepared, and the class names."""
    clouds = read_clouds(path)
    names = clouds.core_classes if classes == "core" else clouds.classes
    if not names:
        missing = "core_classes" if classes == "core" else "classes"
        raise ValueError(f"{path}: no '{missing}' array; a linear probe needs class names")
    if clouds.points.shape[1] < num_points:
        raise ValueError(
            f"{path}: {clouds.points.shape[1]} points a cloud, fewer than the {num_points} asked for"
        )
    numbers = [clouds.classes.index(name) for name in names]
    parts = []
    for split in ("train", "test"):
        part = clouds.select((clouds.splits == split) & np.isin(clouds.labels, numbers))
        if not len(part):
            raise ValueError(
                f"{path}: no labelled cloud of split '{split}'; a linear probe needs train and test"
            )
        parts.append(Clouds(**{**vars(part), "points": normalize_clouds(part.points[:, :num_points])}))
    return parts[0], parts[1], list(names)


def _features(
    encoder: Any, train: Clouds, test: Clouds, pool: str | None, batch_size: int, device: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    parts = []
    for part in (train, test):
        rows = [
            encoder.embed(torch.from_numpy(part.points[start : start + batch_size]).to(device), pool=pool)
            .cpu()
            .numpy()
            for start in range(0, len(part), batch_size)
        ]
        parts.append(np.concatenate(rows))
    return parts[0], parts[1]


def _summarise(
    report: LinearReport, probes: dict[tuple[str, str], list[LinearProbe]], groups: NDArray[np.int64]
) -> None:
    for (label, classifier), found in probes.items():
        cv = np.array([one.cv_accuracy for one in found])
        test = np.array([one.test_accuracy for one in found])
        spread = [float(values.std(ddof=1)) if len(values) > 1 else 0.0 for values in (cv, test)]
        report.summary.append(
            {
                "features": label,
                "classifier": classifier,
                "runs": len(found),
                "cv_mean": float(cv.mean()),
                "cv_std": spread[0],
                "test_mean": float(test.mean()),
                "test_std": spread[1],
            }
        )
        if label != "weights":
            ours = np.mean([one.correct for one in probes["weights", classifier]], axis=0)
            theirs = np.mean([one.correct for one in found], axis=0)
            difference, low, high = paired_difference(ours, theirs, groups)
            report.differences.append(
                {
                    "baseline": label,
                    "classifier": classifier,
                    "difference": difference,
                    "low": low,
                    "high": high,
                }
            )


def _versions() -> dict[str, str]:
    import sklearn

    return {
        "pointmae_zoo": pointmae_zoo.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit_learn": sklearn.__version__,
    }
