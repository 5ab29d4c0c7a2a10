"""Files -> points -> part segmenter -> clouds coloured by part, in formats for viewers: PLY and GLB."""

import contextlib
import difflib
import errno
import functools
import json
import os
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.inference.batches import Batches, launcher_for
from pointmae_zoo.inference.inputs import (
    Paths,
    RunOptions,
    find_inputs,
    in_dtype,
    opened,
    readers_for,
    sorted_failures,
    stored_config,
)
from pointmae_zoo.inference.resumable import PartManifest, identity
from pointmae_zoo.models.object_parts import ObjectParts
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.models.stored_config import ModelConfig
from pointmae_zoo.reports.mean_iou import predicted_parts
from pointmae_zoo.shapes.up_axis import DEFAULT_UP
from pointmae_zoo.system.files import written_whole
from pointmae_zoo.system.progress import progress_bar
from pointmae_zoo.viz.part_pictures import part_colours

MANIFEST_SECONDS = 5.0
"""The list of finished clouds is saved this often, so a kill costs at most so much work."""


SUFFIXES = (".ply", ".glb")
# Size of a marker, as a share of the points' spacing: markers touch, and edges stay sharp.
_MARKER = 0.6
_TETRAHEDRON = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)], dtype=np.float32) / np.sqrt(3)
_FACES = np.array([(0, 1, 2), (0, 3, 1), (0, 2, 3), (1, 3, 2)], dtype=np.uint32)


@dataclass(frozen=True)
class PartPredictions:
    """What `predict_parts` wrote."""

    written: dict[str, Path]
    """File -> its coloured cloud; also those that were there."""
    labels: tuple[str, ...]
    """Part names by number; the numbers themselves where the model has no names."""
    colours: NDArray[np.uint8]
    """(P, 3) red, green, blue by part number."""
    shares: dict[str, NDArray[np.float64]]
    """File -> (P,), which part of its points belongs to each part."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of every file without a cloud."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """(path, remark) of files whose cloud was made now, such as "left out 1 support object"."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """What was left alone in folders -> how many (a suffix, "hidden", ...)."""
    removed: list[Path] = field(default_factory=list)
    """Clouds of files that are gone."""


def predict_parts(
    paths: Paths,
    model: Any,
    out: str | os.PathLike[str],
    *,
    object_class: str | int | None = None,
    suffix: str = ".ply",
    up: str = DEFAULT_UP,
    seed: int = 0,
    batch_size: int | None = None,
    workers: int | None = None,
    timeout: float = 60.0,
    memory_limit_gb: float = 2.0,
    device: str | None = None,
    dtype: str | None = None,
    progress: bool = True,
) -> PartPredictions:
    """Write every file's points, as they lie in the file, coloured by part: OUT/NAME.parts.ply or .glb.

    The network labels the points it takes; the other points read (`Preprocess.surface_samples`) get the label
    of the nearest of those. Sub-folders are kept.

    OUT/parts.json says how each cloud was made. So a stopped run continues, and a later run with the same
    settings makes only the clouds of new and changed files. Clouds made with other settings are replaced.
    Clouds of deleted files are deleted, unless somebody has changed them.

    Args:
        paths: files, folders or globs.
        model: a part segmenter: weights by name, folder (what ``finetune`` wrote) or repository, or a model.
        out: the folder; made where it is not there.
        object_class: what the objects are: a name, or its number where the model has no names. None: only
            for a model of one class. Only the parts of that class compete.
        suffix: .ply: points with colours and the integer property ``part``. .glb: for viewers of models.

    The other arguments are `embed_files`'s.

    Raises:
        FileNotFoundError: no path leads to a file.
        ValueError: a wrong argument, a model that is no part segmenter, or an unknown or missing class.
    """
    options = RunOptions(up, seed, batch_size, workers, timeout, memory_limit_gb, device, dtype, progress)
    if suffix not in SUFFIXES:
        raise ValueError(f"suffix: {' or '.join(SUFFIXES)} expected, got {suffix!r}")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: a folder to write into expected, not a file")
    inputs = find_inputs(paths, folder)
    files = inputs.files
    targets = _targets(files, folder, suffix)
    failures: dict[Path, str] = {}
    from pointmae_zoo.hub.checkpoint.fingerprint import model_sha256
    from pointmae_zoo.ops.precision import dtype_of

    config = stored_config(model)
    if config is not None:  # a wrong class is told before the weights are read
        Objects.of(config, str(model)).number(object_class)
    given, name = opened(model, device)
    objects = Objects.of(given.config, name or "model")
    number = objects.number(object_class)
    segmenter, recipe = in_dtype(given, dtype), given.config.preprocess
    where = str(next(segmenter.parameters()).device)
    launcher = launcher_for(recipe, where, up)
    batches = Batches(launcher, recipe.surface_samples, seed=int(seed), batch_size=batch_size)
    settings = {
        "model": name,
        "fingerprint": model_sha256(given),
        "dtype": dtype_of(segmenter),
        "class": objects.classes[number],
        "labels": list(objects.labels),
        "seed": int(seed),
        "up": up,
        "suffix": suffix,
    }
    manifest = PartManifest(folder, settings)
    removed = manifest.remove_orphans()
    shares = {file: kept for file in files if (kept := manifest.shares(file, targets[file])) is not None}
    if shares:
        print(f"{folder}: {len(shares)} of {len(files)} clouds are there already", file=sys.stderr)
    todo = [file for file in files if file not in shares]
    identities = {file: identity(file) for file in todo}  # as they are before they are read
    colours, kept_at = part_colours(len(objects.labels)), time.monotonic()
    with contextlib.ExitStack() as stack:
        readers = stack.enter_context(readers_for(todo, options, where))
        bar = stack.enter_context(
            progress_bar(
                total=len(files), initial=len(shares), unit="file", desc="predict", disable=not progress
            )
        )
        stack.push(_writing(manifest))
        network = functools.partial(_logits, segmenter, number)
        for clouds, found in batches.run(network, todo, readers, failures, bar):
            for file, logits in found.items():
                chosen = predicted_parts(logits[None], np.array([number]), objects.parts)[0]
                everywhere = _carried(clouds[file], chosen, recipe, up, where)
                targets[file].parent.mkdir(parents=True, exist_ok=True)
                try:
                    write_coloured(targets[file], clouds[file], everywhere, colours, objects.labels)
                except OSError as error:
                    if error.errno != errno.ENAMETOOLONG:
                        raise
                    failures[file] = f"its name is too long to add {targets[file].name[-10:]!r}: shorten it"
                    continue
                shares[file] = np.bincount(everywhere, minlength=len(objects.labels)) / len(everywhere)
                manifest.add(identities[file], targets[file], shares[file])
            if time.monotonic() > kept_at + MANIFEST_SECONDS:
                manifest.write()
                kept_at = time.monotonic()
    done = [file for file in files if file in shares]
    return PartPredictions(
        {str(file): targets[file] for file in done},
        objects.labels,
        colours,
        {str(file): shares[file] for file in done},
        sorted_failures(failures, inputs.missing),
        [(str(file), text) for file in done for text in batches.notes.get(file, ())],
        dict(inputs.passed_over.most_common()),
        removed,
    )


def _writing(manifest: PartManifest) -> Callable[..., None]:
    """A callback that writes the manifest, however the work ended. After a full disk there may be no room for
    it; then the first error is reported."""

    def write(kind: type[BaseException] | None, *_: object) -> None:
        try:
            manifest.write()
        except OSError:
            if kind is None:
                raise

    return write


@dataclass(frozen=True)
class Objects:
    """The object classes of a part segmenter and their parts."""

    classes: tuple[str, ...]
    parts: tuple[list[int], ...]
    """For each class the numbers of its parts."""
    labels: tuple[str, ...]
    """Part names by number."""

    @classmethod
    def of(cls, config: ModelConfig, name: str) -> "Objects":
        """See `ObjectParts.of`. Raises ValueError if it is no part segmenter's configuration."""
        if config.kind != "part_segmentation":
            other = {
                "classification": "'pointmae-zoo predict' without --parts-out predicts classes",
                "encoder": "'pointmae-zoo embed' gives its features",
                "pretraining": "'pointmae-zoo embed' gives its features",
            }[config.kind]
            raise ValueError(
                f"{name}: is of kind {config.kind!r} and has no parts; {other}, 'pointmae-zoo finetune' with "
                "a recipe of task parts trains a part segmenter from it"
            )
        count = config.arguments["num_parts"]
        known = ObjectParts.of(
            config.labels, config.provenance, count, config.arguments["num_object_classes"]
        )
        labels = tuple(config.labels or map(str, range(count)))
        return cls(known.classes, tuple(map(list, known.parts)), labels)

    def number(self, object_class: str | int | None) -> int:
        """The number of a class, given by name or number; a ValueError lists the known ones."""
        known = ", ".join(self.classes)
        if object_class is None:
            if len(self.classes) > 1:
                raise ValueError(f"object_class: missing; choose from {known}")
            return 0
        wanted = str(object_class)
        if wanted in self.classes:
            return self.classes.index(wanted)
        if isinstance(object_class, int) and 0 <= object_class < len(self.classes):
            return object_class
        near = difflib.get_close_matches(wanted, self.classes, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {known}"
        raise ValueError(f"object_class: the model knows no {wanted!r}; {hint}")


def _logits(segmenter: Any, number: int, points: Any) -> Any:
    import torch

    from pointmae_zoo.models.encoder import evaluating

    with evaluating(segmenter):
        return segmenter(points, torch.full((len(points),), number, device=points.device))


def _carried(
    cloud: NDArray[np.float32], chosen: NDArray[np.int64], recipe: Preprocess, up: str, device: str
) -> NDArray[np.int64]:
    """Part numbers (M,) of all points that were read, from those of the network's points (N,)."""
    import torch

    from pointmae_zoo.ops import knn

    taken = recipe.kept(cloud, up=up, device=device)
    middle = (cloud.min(0).astype(np.float64) + cloud.max(0)) / 2  # far from the origin float32 is coarse
    places = torch.from_numpy((cloud - middle).astype(np.float32)).to(device)
    nearest = knn(places[None], places[taken][None], 1)[0, :, 0].cpu().numpy()
    return chosen[nearest]


def _targets(files: list[Path], folder: Path, suffix: str) -> dict[Path, Path]:
    """Where each file's cloud goes. Folders below the files' common folder are kept."""
    parents = [Path(os.path.abspath(file)).parent for file in files]
    shared = os.path.commonpath(parents)
    return {
        file: folder / parent.relative_to(shared) / f"{file.name}.parts{suffix}"
        for file, parent in zip(files, parents, strict=True)
    }


def write_coloured(
    path: Path,
    points: NDArray[np.float32],
    parts: NDArray[np.int64],
    colours: NDArray[np.uint8],
    labels: Sequence[str],
) -> None:
    """Write a cloud; the file appears complete or not at all.

    Args:
        path: .ply: vertices with x, y, z, red, green, blue and the integer property ``part``; the names of
            the parts that occur are comments. .glb: a small tetrahedron in the place of each point, because
            many viewers show no points, with the attributes COLOR_0 and _PART.
        points: (M, 3).
        parts: (M,) part numbers.
        colours: (P, 3), by part number.
        labels: P names.
    """
    if path.suffix.lower() == ".glb":
        content = _glb_bytes(points, parts, colours[parts])
    else:
        content = _ply_bytes(points, parts, colours[parts], labels)
    with written_whole(path) as unfinished:
        unfinished.write_bytes(content)


def _ply_bytes(
    points: NDArray[np.float32], parts: NDArray[np.int64], colours: NDArray[np.uint8], labels: Sequence[str]
) -> bytes:
    rows = np.empty(len(points), dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3), ("part", "<i4")])
    rows["xyz"], rows["rgb"], rows["part"] = points, colours, parts
    properties = [f"property float {axis}" for axis in "xyz"]
    properties += [f"property uchar {colour}" for colour in ("red", "green", "blue")] + ["property int part"]
    named = [f"comment part {number} {' '.join(labels[number].split())}" for number in np.unique(parts)]
    lines = ["ply", "format binary_little_endian 1.0", *named, f"element vertex {len(points)}", *properties]
    # Not every reader takes a header that is not ASCII.
    return "\n".join([*lines, "end_header", ""]).encode("ascii", "backslashreplace") + rows.tobytes()


def _glb_bytes(points: NDArray[np.float32], parts: NDArray[np.int64], colours: NDArray[np.uint8]) -> bytes:
    count = 4 * len(points)
    corners = (points[:, None] + _spacing(points) * _MARKER * _TETRAHEDRON).astype("<f4").reshape(-1, 3)
    faces = (_FACES + 4 * np.arange(len(points), dtype=np.uint32)[:, None, None]).astype("<u4")
    rgba = np.concatenate([_linear(colours), np.full((len(points), 1), 255, np.uint8)], axis=1)
    columns = {
        "POSITION": (corners, 5126, "VEC3"),
        "COLOR_0": (np.repeat(rgba, 4, axis=0), 5121, "VEC4"),
        "_PART": (np.repeat(parts, 4).astype("<f4"), 5126, "SCALAR"),
        "indices": (faces, 5125, "SCALAR"),
    }
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []
    offset = 0
    for name, (values, kind, shape) in columns.items():
        target = 34963 if name == "indices" else 34962
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": values.nbytes, "target": target})
        rows = faces.size if name == "indices" else count
        accessors.append(
            {"bufferView": len(accessors), "componentType": kind, "count": rows, "type": shape}
            | ({"normalized": True} if name == "COLOR_0" else {})
            | ({"min": corners.min(0).tolist(), "max": corners.max(0).tolist()} if name == "POSITION" else {})
        )
        offset += values.nbytes  # every column's row is of whole fours of bytes, as glTF wants it
    attributes = {name: number for number, name in enumerate(columns) if name != "indices"}
    surface = {"pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1}, "doubleSided": True}
    content = {
        "asset": {"version": "2.0", "generator": "pointmae-zoo"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "parts"}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": len(columns) - 1, "material": 0}]}],
        "materials": [surface],
        "buffers": [{"byteLength": offset}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    data = b"".join(values.tobytes() for values, _, _ in columns.values())
    header = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(data))
    return b"".join(
        [
            header,
            struct.pack("<I4s", len(text), b"JSON"),
            text,
            struct.pack("<I4s", len(data), b"BIN\0"),
            data,
        ]
    )


def _spacing(points: NDArray[np.float32]) -> float:
    """How far apart points on a surface of about this size are."""
    size = float(np.ptp(points, axis=0).max())
    return (size or 1.0) / np.sqrt(len(points))


def _linear(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """From sRGB, in which our colours are given, to the linear light of glTF."""
    value = colours / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.round(255 * linear).astype(np.uint8)
