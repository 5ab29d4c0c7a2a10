"""Files -> points -> classifier -> names with probabilities."""

import csv
import io
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.inference.feature_tables import noted
from pointmae_zoo.inference.inputs import Paths, RunOptions, in_dtype, opened, stored_config
from pointmae_zoo.inference.resumable import RowNetwork, Rows, rows_of_files
from pointmae_zoo.models.default_weights import DEFAULT_CLASSIFIER
from pointmae_zoo.shapes.pose import Pose
from pointmae_zoo.shapes.up_axis import DEFAULT_UP
from pointmae_zoo.system.files import check_out, written_whole

FORMATS = (".csv", ".json")


@dataclass(frozen=True)
class Predictions:
    """What a classifier says of each file that could be read."""

    paths: list[str]
    """The M files, sorted."""
    labels: tuple[str, ...]
    """The C class names; the numbers of the outputs where the model has no names."""
    probabilities: NDArray[np.float32]
    """(M, C), each row of sum 1."""
    top: int
    """How many classes of each file `best` gives."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of every file without a row."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """model (name or folder, or None), fingerprint of the weights, dtype, seed, up, pose."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """(path, remark) of files with a row, such as "left out 1 support object"."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """What was left alone in folders -> how many (a suffix, "hidden", ...)."""

    @property
    def best(self) -> list[list[tuple[str, float]]]:
        """For each file its most probable classes and their probabilities, most probable first."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, : self.top]
        return [
            [(self.labels[number], float(row[number])) for number in numbers]
            for row, numbers in zip(self.probabilities, order, strict=True)
        ]


def predict_files(
    paths: Paths,
    model: Any = DEFAULT_CLASSIFIER,
    *,
    top: int = 3,
    out: str | os.PathLike[str] | None = None,
    up: str = DEFAULT_UP,
    pose: Pose | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    workers: int | None = None,
    timeout: float = 60.0,
    memory_limit_gb: float = 2.0,
    device: str | None = None,
    dtype: str | None = None,
    progress: bool = True,
) -> Predictions:
    """Classes of mesh and point files: a row for each that can be read, a reason for each that cannot.

    Reading, `OUT.partial`, failures, and the arguments not listed here are those of `embed_files`.

    Args:
        paths: files, folders or globs.
        model: a classifier: weights by name, folder (what ``finetune`` wrote) or repository, or a model.
        top: the classes of each file that `Predictions.best` and the table give; all, if there are fewer.
        pose: as of `embed_files`; the probabilities are the mean over the poses. Only useful for a classifier
            that was trained on such poses.
        out: where to write the table: .csv (path, class_1, probability_1, class_2, ...) or .json (also the
            failures and how it was made). None: nowhere.

    Raises:
        FileNotFoundError: no path leads to a file.
        ValueError: a wrong argument, or a model that is no classifier; says what to do.
    """
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise ValueError(f"top: a whole number above 0 expected, got {top!r}")
    target = None if out is None else Path(out)
    if target is not None:
        check_out(target, FORMATS)
    options = RunOptions(
        up, seed, batch_size, workers, timeout, memory_limit_gb, device, dtype, progress, pose
    )
    labels: list[str] = []

    def network() -> RowNetwork:
        classifier, name = _classifier(model, device)
        labels.extend(classifier.config.labels or map(str, range(classifier.hyper.num_classes)))
        return _network(classifier, name, options)

    def predictions(rows: Rows) -> Predictions:
        made = rows.network.metadata
        best = min(top, len(labels))
        return Predictions(
            rows.paths, tuple(labels), rows.values, best, rows.failures, made, rows.notes, rows.passed_over
        )

    rows = rows_of_files(
        paths, network, lambda path, rows: write_predictions(path, predictions(rows)), options, target
    )
    return predictions(rows)


def _classifier(model: Any, device: str | None) -> tuple[Any, str | None]:
    if (config := stored_config(model)) is not None:
        _check_kind(config.kind, str(model))
    found, name = opened(model, device)
    _check_kind(found.config.kind, name or "model")
    return found, name


def _check_kind(kind: str, name: str) -> None:
    if kind == "part_segmentation":
        raise ValueError(f"{name}: is a part segmenter; use predict_parts, or --parts-out FOLDER")
    if kind != "classification":
        raise ValueError(
            f"{name}: is of kind {kind!r} and has no classes; 'pointmae-zoo finetune' trains a classifier "
            "from it, 'pointmae-zoo embed' gives its features"
        )


def _network(given: Any, name: str | None, options: RunOptions) -> RowNetwork:
    from pointmae_zoo.hub.checkpoint.fingerprint import model_sha256
    from pointmae_zoo.models.encoder import evaluating
    from pointmae_zoo.ops.precision import dtype_of

    classifier = in_dtype(given, options.dtype)

    def compute(points: Any) -> Any:
        with evaluating(classifier):
            return classifier(points).float().softmax(dim=-1)

    return RowNetwork(
        compute=compute,
        width=classifier.hyper.num_classes,
        recipe=classifier.config.preprocess,
        device=str(next(classifier.parameters()).device),
        metadata={
            "model": name,
            "fingerprint": model_sha256(given),
            "dtype": dtype_of(classifier),
            "seed": int(options.seed),
            "up": options.up,
            "pose": options.pose or classifier.config.preprocess.pose,
        },
    )


def write_predictions(path: str | os.PathLike[str], predictions: Predictions) -> None:
    """Write .csv or .json; the file appears complete or not at all. Raises as `predict_files` does."""
    path = Path(path)
    check_out(path, FORMATS)
    write = _csv_text if path.suffix.lower() == ".csv" else _json_text
    with written_whole(path) as unfinished:
        unfinished.write_bytes(write(predictions).encode("utf-8", "surrogateescape"))


def _csv_text(predictions: Predictions) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    numbers = range(1, predictions.top + 1)
    writer.writerow(
        ["path", *(f"{what}_{number}" for number in numbers for what in ("class", "probability"))]
    )
    for path, best in zip(predictions.paths, predictions.best, strict=True):
        writer.writerow([path, *(text for name, share in best for text in (name, f"{share:.6f}"))])
    return stream.getvalue()


def _json_text(predictions: Predictions) -> str:
    content = {
        **predictions.metadata,
        "labels": predictions.labels,
        "files": [
            {
                "path": path,
                "classes": [{"class": name, "probability": round(share, 6)} for name, share in best],
            }
            for path, best in zip(predictions.paths, predictions.best, strict=True)
        ],
        "failures": [{"path": path, "reason": reason} for path, reason in predictions.failures],
    }
    if predictions.notes:
        content["notes"] = noted(predictions.notes)
    return json.dumps(content, indent=1) + "\n"
