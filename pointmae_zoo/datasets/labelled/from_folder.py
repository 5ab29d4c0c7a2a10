"""Labelled clouds from a folder of one's own meshes or point files."""

import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.datasets.cloud_cache import Readings, cache_name, cached_arrays, cached_clouds, file_stamps
from pointmae_zoo.datasets.labelled.folder_layout import Listing, list_labelled
from pointmae_zoo.datasets.labelled.labelled_clouds import LabelledClouds, Split, draw_indices
from pointmae_zoo.datasets.labelled.part_labels import PART_SUFFIXES, read_part_folder, read_part_points
from pointmae_zoo.datasets.mesh_folder import number_of_workers, read_files
from pointmae_zoo.shapes.reader_pool import Reading
from pointmae_zoo.shapes.suffixes import SUPPORTED_SUFFIXES
from pointmae_zoo.shapes.surface import MeshError
from pointmae_zoo.system.files import file_sha256
from pointmae_zoo.system.progress import progress_bar

_MOST_LISTED = 10

_SAMPLED = 8192
"""Points that are read from every file, so that fewer points are the first ones of more."""


def read_labelled_folder(
    folder: Path,
    split: Split,
    num_points: int,
    most_points: int,
    *,
    with_parts: bool,
    cache: Path | None,
    seed: int,
    progress: bool,
) -> LabelledClouds:
    """The clouds of one split; see ``labelled.open_labelled`` and ``folder_layout``.

    Raises:
        ValueError: see there; no file of the split; a class to be tested on that training lacks; a class
            without any file that can be read.
        FileNotFoundError: no files in classes.
    """
    listing = list_labelled(folder, PART_SUFFIXES if with_parts else SUPPORTED_SUFFIXES)
    rows = _rows(folder, listing, split)
    files = [listing.files[row] for row in rows]
    paths = [folder / one.file for one in files]
    if progress:
        _print_split(folder, listing, split)
    part_labels, counted = None, None
    if with_parts:
        clouds = read_part_folder(folder, listing, rows, num_points, most_points, cache, seed, progress)
        points, part_labels, kept, skipped = clouds.points, clouds.part_labels, clouds.kept, clouds.skipped
        counted = clouds.numbers
    else:
        points, kept, skipped = _read(folder, paths, num_points, most_points, cache, seed, progress)
    numbers = {name: number for number, name in enumerate(listing.classes)}
    labels = np.array([numbers[one.label] for one in files], dtype=np.int64)
    if split == "train":
        _check_classes(folder, listing, labels[kept], skipped, fewest=1 if with_parts else 2)
        if progress:
            _print_untestable(folder, listing, with_parts)
    if skipped and progress:
        _print_skipped(folder, skipped, len(files))
    return LabelledClouds(
        points=points,
        labels=labels[kept],
        groups=listing.groups[rows][kept],
        classes=listing.classes,
        names=[str(paths[number]) for number in kept.tolist()],
        name=folder.resolve().name,
        sha256=_sha256([paths[number] for number in kept], [files[number].label for number in kept], cache),
        class_set="all",
        part_labels=part_labels,
        parts=() if counted is None else counted.parts,
        part_names=() if counted is None else counted.names,
        skipped=(*listing.left_out, *skipped),
        splits=tuple(sorted({one.split for one in listing.files})) if listing.stated else (),
    )


def _rows(folder: Path, listing: Listing, split: Split) -> list[int]:
    """Numbers of the files of the split."""
    rows = listing.of(split)
    if not rows and split == "val":
        raise ValueError(f"{folder}: nothing is for validation; a part of train is taken for it")
    if not rows:
        there = ", ".join(sorted({one.split for one in listing.files}))
        few = " (a class of one file is for training)" if not listing.stated else ""
        raise ValueError(f"{folder}: no files of split '{split}', only of {there}{few}")
    if split != "train" and listing.of("train") and (absent := listing.missing_in_train()):
        named = ", ".join(f"{name!r} ({count} files)" for name, count in absent.items())
        raise ValueError(
            f"{folder}: {named} in test or val, but not in train, so that nothing is learned of it; "
            "add training files, or take it out"
        )
    return rows


def _read(
    folder: Path,
    paths: list[Path],
    num_points: int,
    most_points: int,
    cache: Path | None,
    seed: int,
    progress: bool,
) -> tuple[NDArray[np.float32], NDArray[np.int64], list[tuple[str, str]]]:
    """Points (M, N, 3), which of the files they are of (M,), and the files without any, with the reason."""
    sampled = max(
        _SAMPLED, 1 << (most_points - 1).bit_length()
    )  # or the next power of two if more are wanted

    def readings(start: int) -> Readings:
        workers = number_of_workers(None)
        for reading in read_files(paths[start:], sampled, seed=seed, workers=workers, fewest=2):
            if reading.points is None:
                yield reading
            else:
                yield Reading(reading.points[draw_indices(len(reading.points), most_points, seed)])

    names = [str(path) for path in paths]
    if cache is None:
        points, reasons = _in_memory(readings(0), len(paths), most_points, str(folder), progress)
        kept = np.array([number for number in range(len(paths)) if number not in reasons], dtype=np.int64)
    else:
        settings = {"files": file_stamps(paths), "num_points": most_points, "of": sampled, "seed": seed}
        cached = cached_clouds(
            cache / cache_name("labelled", settings),
            len(paths),
            most_points,
            readings,
            label=str(folder),
            progress=progress,
            names=names,
            normalize=False,
        )
        points, kept, reasons = cached.read(np.arange(len(cached))), cached.kept, cached.skipped
    skipped = [(names[number], reason) for number, reason in sorted(reasons.items())]
    if not len(kept):
        raise ValueError(f"{folder}: none of its {len(paths):,} files can be used; {': '.join(skipped[0])}")
    if most_points > num_points:  # no more than every cloud really has
        fewest = min(len(np.unique(cloud, axis=0)) for cloud in points)
        points = np.ascontiguousarray(points[:, : max(num_points, fewest)])
    return points, kept, skipped


def _sha256(paths: list[Path], labels: list[str], cache: Path | None) -> str:
    """A hash of the files' content and classes, whatever their names and places."""

    def hashes() -> dict[str, NDArray]:
        return {"sha256": np.array([file_sha256(path) for path in paths])}

    kept = None if cache is None else cache / cache_name("labelled-sha256", {"files": file_stamps(paths)})
    found = cached_arrays(kept, hashes)["sha256"].tolist()
    lines = sorted(f"{one} {label}\n" for one, label in zip(found, labels, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _in_memory(
    readings: Readings, count: int, num_points: int, label: str, progress: bool
) -> tuple[NDArray[np.float32], dict[int, str]]:
    clouds, reasons = [], {}
    bar = progress_bar(readings, total=count, unit="file", desc=label, disable=not progress)
    for number, reading in enumerate(bar):
        if reading.points is None:
            reasons[number] = reading.reason
        else:
            clouds.append(reading.points)
    return np.stack(clouds) if clouds else np.empty((0, num_points, 3), np.float32), reasons


def _check_classes(
    folder: Path,
    listing: Listing,
    labels: NDArray[np.int64],
    skipped: Sequence[tuple[str, str]],
    *,
    fewest: int,
) -> None:
    """Raises ValueError for too few classes, and for a class of which no training file could be read."""
    if len(listing.classes) < fewest:
        raise ValueError(f"{folder}: one class, {listing.classes[0]!r}; expected two or more to tell apart")
    reasons = dict(skipped)
    absent = listing.missing_in_train()
    for number, name in enumerate(listing.classes):
        if name not in absent and not (labels == number).any():
            files = [str(folder / listing.files[row].file) for row in listing.of("train")]
            first = next(file for file in files if file in reasons)
            raise ValueError(
                f"{folder}: no training file of class {name!r} can be used; {first}: {reasons[first]}"
            )


def _print_split(folder: Path, listing: Listing, split: Split) -> None:
    counts = Counter(one.split for one in listing.files)
    told = [f"{counts[name]:,} {name}" for name in get_args(Split) if counts[name] and name != split]
    told.append(
        "as it says" if listing.stated else f"for testing {_of_each(listing, 'test')}, by a hash of names"
    )
    print(
        f"{folder}: {counts[split]:,} {split} files of {len(listing.files):,} in {len(listing.classes)} "
        f"classes ({', '.join(told)})",
        file=sys.stderr,
    )
    if split == "train" or not listing.of("train"):  # once
        if listing.passed_over:
            others = ", ".join(f"{count:,} {what}" for what, count in listing.passed_over.most_common())
            print(f"  passed over: {others}", file=sys.stderr)
        for place, reason in listing.left_out[:_MOST_LISTED]:
            print(f"  left out: {place}: {reason}", file=sys.stderr)
        if len(listing.left_out) > _MOST_LISTED:
            print(f"  and {len(listing.left_out) - _MOST_LISTED:,} more", file=sys.stderr)
        for one, other in listing.doubtful[:_MOST_LISTED]:
            print(
                f"  {one.file} ({one.label}) and {other.file} ({other.label}) are the same bytes in two "
                "classes, of which one must be wrong",
                file=sys.stderr,
            )
    training = set(listing.groups[listing.of("train")].tolist())
    if split != "train" and listing.stated:
        both = [row for row in listing.of(split) if int(listing.groups[row]) in training]
        if both:
            print(
                f"  {len(both):,} {split} files are near duplicates of training files, such as "
                f"{listing.files[both[0]].file}",
                file=sys.stderr,
            )


def _of_each(listing: Listing, split: str) -> str:
    """How many files of a split the classes have, such as ``2 of each class``."""
    counts = Counter(listing.files[row].label for row in listing.of(split))
    fewest, most = (choose(counts[name] for name in listing.classes) for choose in (min, max))
    return f"{fewest}{'' if fewest == most else f' to {most}'} of each class"


def _print_untestable(folder: Path, listing: Listing, with_parts: bool) -> None:
    """Warn of classes without a test file that can be read, before somebody trains for hours."""
    testing: dict[str, list[Path]] = {}
    for row in listing.of("test"):
        testing.setdefault(listing.files[row].label, []).append(folder / listing.files[row].file)
    first: dict[str, str] = {}  # of the classes of which no file could be read so far
    waiting, size = dict(testing), 1
    while waiting:
        asked = [(name, path) for name, paths in waiting.items() for path in paths[:size]]
        readable = set()
        for (name, path), reason in zip(
            asked, _reasons([path for _, path in asked], with_parts), strict=True
        ):
            if reason:
                first.setdefault(name, f"{path}: {reason}")
            else:
                readable.add(name)
        first = {name: said for name, said in first.items() if name not in readable}
        waiting = {name: paths[size:] for name, paths in waiting.items() if name in first and paths[size:]}
        size *= 8
    for name, said in first.items():
        print(
            f"{folder}: none of the {len(testing[name])} test files of class {name!r} can be used, so that "
            f"nothing will be known of it; {said}; repair them, or take them out",
            file=sys.stderr,
        )


def _reasons(paths: list[Path], with_parts: bool) -> list[str]:
    """For each file why it cannot be read; an empty text if it can."""
    if not with_parts:
        found = read_files(paths, 2, seed=0, workers=number_of_workers(None))
        return [reading.reason if reading.points is None else "" for reading in found]
    reasons = []
    for path in paths:
        try:
            read_part_points(path)
        except MeshError as error:
            reasons.append(error.reason)
        else:
            reasons.append("")
    return reasons


def _print_skipped(folder: Path, skipped: Sequence[tuple[str, str]], total: int) -> None:
    lines = [f"{folder}: {len(skipped):,} of {total:,} files cannot be used:"]
    lines += [f"  {name}: {reason}" for name, reason in skipped[:_MOST_LISTED]]
    if len(skipped) > _MOST_LISTED:
        lines.append(f"  and {len(skipped) - _MOST_LISTED:,} more")
    print("\n".join(lines), file=sys.stderr)
