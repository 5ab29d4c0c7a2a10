"""Duplicates: which files of a collection are the same shape, whatever its place, pose, size or triangles.

Files of the same bytes are found by their hash. For all others, three numbers that no turn or mirror changes
(the principal moments, as shares) and the features of an encoder say which pairs are worth a look. Then
geometry decides: one surface is laid on the other (`shapes.registration`), and their distance is judged
beside the distance of two samples of one surface. No threshold on the similarity of features would do: it
doesn't tell a copy from a near relative.

Nothing is ever deleted or moved.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.inference.embedding import embed_files
from pointmae_zoo.inference.inputs import Paths, RunOptions, find_inputs, readers_for, sorted_failures
from pointmae_zoo.library.duplicate_report import (
    DuplicateFile,
    DuplicateGroup,
    DuplicateMember,
    DuplicateReport,
    Verdict,
    as_csv,
    as_json,
    check_report_path,
    write_text,
)
from pointmae_zoo.library.pair_journal import PairJournal
from pointmae_zoo.models.default_weights import DEFAULT_MODEL
from pointmae_zoo.shapes.measures import Measures
from pointmae_zoo.shapes.reader_pool import SurfaceReading, available_cores
from pointmae_zoo.shapes.surface_sample import SAMPLE_BYTES, SurfaceSample
from pointmae_zoo.shapes.up_axis import DEFAULT_UP
from pointmae_zoo.system.progress import progress_bar
from pointmae_zoo.viz.rendering import figure_class

SAME = 0.015
"""Two surfaces are one shape if 995 of 1,000 points are nearer than this share of the diagonal. Of 94 printed
parts, copies stayed below 0.014, unless remeshing had cut something off; the nearest relatives were above
0.027."""
FLOORS, LEAST_FLOOR = 2.0, 0.001
"""Surfaces are equal if they differ by less than so many times what two samples of one surface differ by. Of
flat ones these differ by nearly nothing, so it counts as no less than this share of the diagonal."""
SAME_SIZE = 0.005
"""Up to this difference in scale it is the same size."""
CLEARLY = 0.8
"""A mirror image lies nearer by this factor than the shape itself, or the shape is symmetric."""
VARIANT, NEAR = 0.85, 0.004
"""A variant: at least this share of both surfaces is nearer to the other than this share of the diagonal."""
MOMENTS = 0.03
"""Copies differ by less in every principal moment, as a share of their sum."""
MOST_VARIED = 0.15
"""Copies differ by less in area, as a share, when both have one size."""
UNSEEN = 0.001
"""A larger difference in area or volume, as a share, is said to be a doubt."""
NEIGHBOURS = 5
"""Nearest files by features that are compared, too, for variants."""
SURFACES_KEPT = 256
"""Surfaces that are in memory at a time; the others are in a temporary file."""


def find_duplicates(
    paths: Paths,
    *,
    out: str | os.PathLike[str] | None = None,
    variants: bool = True,
    model: Any = DEFAULT_MODEL,
    seed: int = 0,
    workers: int | None = None,
    timeout: float = 60.0,
    memory_limit_gb: float = 2.0,
    progress: bool = True,
) -> DuplicateReport:
    """Groups of files that are the same shape, with a verdict and its evidence for each file.

    The verdicts, each beside the first file of its group: ``identical``: the same bytes, or the same surface
    in the same place; ``same_shape``: moved, turned or remeshed, of the same size; ``scaled``; ``mirrored``,
    and not the same without a mirror; ``variant``: most of the surface agrees.

    With `out`, pairs that are compared are kept in ``OUT.partial``: if the run is killed, the same call goes
    on from there.

    Args:
        paths: files, folders (searched to the bottom) or globs, as for `embed_files`.
        out: where to write the report: .json, .csv or .html. None: nowhere.
        variants: look for variants, too. This needs the features of all files.
        model: whose features; see `embed_files`.
        seed: of the points on surfaces.
        workers, timeout, memory_limit_gb: of reading; see `embed_files`.
        progress: show progress bars on stderr.

    Raises:
        FileNotFoundError: no path leads to a file.
        ModuleNotFoundError: scipy is missing, or matplotlib for .html.
        ValueError: a wrong argument, model or name of the report; another run is writing it.
    """
    _check_scipy()
    target = None if out is None else Path(out)
    if target is not None:
        check_report_path(target)
        if target.suffix.lower() == ".html":
            figure_class()  # raises without matplotlib, now and not at the end
    options = RunOptions(
        DEFAULT_UP, seed, None, workers, timeout, memory_limit_gb, None, None, progress, "any"
    )
    inputs = find_inputs(paths, target)
    with tempfile.TemporaryDirectory(prefix="pointmae-zoo-") as home:
        collection = _Collection(Path(home) / "surfaces")
        failures = collection.read(inputs.files, options)
        pairs = collection.pairs()
        if variants and len(collection.files) > 1:
            pairs |= _near_by_features(collection.files, model, options)
        settings = {"seed": seed, "same": SAME, "variant": VARIANT, "near": NEAR}
        groups = _found_groups(collection, pairs, target, settings, progress)
        if not variants:
            groups = [group for group in groups if group.verdict != "variant"]
        report = DuplicateReport(
            groups=groups,
            files=len(collection.files),
            pairs=len(pairs),
            failures=sorted_failures(failures, inputs.missing),
            notes=[(str(file.path), note) for file in collection.files for note in file.notes],
            passed_over=dict(inputs.passed_over.most_common()),
            settings={**settings, "variants": variants},
        )
        if target is not None:
            write_text(target, _text(report, target.suffix.lower(), collection))
            PairJournal.remove(target)
    return report


def _text(report: DuplicateReport, suffix: str, collection: "_Collection") -> str:
    if suffix == ".csv":
        return as_csv(report)
    if suffix == ".json":
        return as_json(report)
    from pointmae_zoo.library.duplicate_page import page

    return page(
        report, collection.pictured({one.file.path for group in report.groups for one in group.members})
    )


def _check_scipy() -> None:
    try:
        import scipy.spatial  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'finding duplicates needs scipy: pip install "pointmae-zoo[duplicates]"'
        ) from error


@dataclass(frozen=True)
class _Read:
    """A file that could be read."""

    path: Path
    sha256: str
    report: DuplicateFile
    notes: tuple[str, ...]
    header: dict[str, Any]
    """Of its sample; see `SurfaceSample.to_bytes`."""
    place: int
    """Where its sample begins in the temporary file, in bytes."""
    invariants: NDArray[np.float64]
    """(4,) its principal moments as shares of their sum, and the logarithm of its area in units of size
    squared (0 for a cloud)."""


class _Collection:
    """The files of a run. Their surfaces lie in a temporary file, SAMPLE_BYTES each."""

    def __init__(self, store: Path) -> None:
        self.files: list[_Read] = []
        self._store = store
        self.surface = lru_cache(SURFACES_KEPT)(self._surface)

    def read(self, files: list[Path], options: RunOptions) -> dict[Path, str]:
        """Read all files; the reasons of those that can't be read."""
        failures: dict[Path, str] = {}
        with (
            readers_for(files, options, "cpu") as readers,
            open(self._store, "wb") as stream,
            progress_bar(total=len(files), unit="file", desc="read", disable=not options.progress) as bar,
        ):
            for path, found in zip(files, readers.read_surfaces(files, options.seed), strict=True):
                bar.update()
                if found.sample is None:
                    failures[path] = found.reason
                else:
                    self._add(path, found, stream)
        return failures

    def _add(self, path: Path, found: SurfaceReading, stream: Any) -> None:
        sample, measures = found.sample, found.measures
        assert sample is not None and measures is not None
        header, body = sample.to_bytes()
        square = float(np.trace(sample.moments))
        area = 0.0 if measures.area is None else float(np.log(measures.area / square))
        invariants = np.append(np.linalg.eigvalsh(sample.moments / square), area)
        report = DuplicateFile(str(path), found.sha256, measures, _doubts(measures))
        self.files.append(_Read(path, found.sha256, report, found.notes, header, stream.tell(), invariants))
        stream.write(body)

    def pictured(self, paths: set[str]) -> dict[str, NDArray[np.float64]]:
        """Points (N, 3) of some files, in the files' coordinates."""
        found = {}
        for number, file in enumerate(self.files):
            if str(file.path) in paths:
                sample = self._sample(number)
                found[str(file.path)] = sample.stored + sample.centroid
        return found

    def _surface(self, number: int) -> Any:
        from pointmae_zoo.shapes.registration import Surface

        return Surface(self._sample(number))

    def _sample(self, number: int) -> SurfaceSample:
        one = self.files[number]
        with open(self._store, "rb") as stream:
            stream.seek(one.place)
            return SurfaceSample.of_bytes(stream.read(_body_bytes(one.header)), one.header)

    def pairs(self) -> set[tuple[int, int]]:
        """Pairs of files, the lower number first, that may be copies."""
        from scipy.spatial import cKDTree

        scaled = np.array([file.invariants for file in self.files]).reshape(-1, 4)
        scaled = scaled / [MOMENTS, MOMENTS, MOMENTS, MOST_VARIED]
        clouds = np.array([file.report.measures.area is None for file in self.files], dtype=bool)
        found = {(int(one), int(other)) for one, other in cKDTree(scaled).query_pairs(1.0, p=np.inf)}
        if clouds.any():  # whose area is not known
            both = cKDTree(scaled[:, :3]).query_pairs(1.0, p=np.inf)
            found |= {(int(one), int(other)) for one, other in both if clouds[one] or clouds[other]}
        return found


def _body_bytes(header: dict[str, Any]) -> int:
    return SAMPLE_BYTES if not header["cloud"] else 12 * (header["stored"] + header["asked"])


def _doubts(measures: Measures) -> tuple[str, ...]:
    if measures.area is None:
        return ("a cloud of points: its surface is not known between them",)
    if not measures.watertight:
        return ("the surface is open or its triangles face both ways: no volume",)
    return ()


def _near_by_features(files: Sequence[_Read], model: Any, options: RunOptions) -> set[tuple[int, int]]:
    """Each file with those whose features are most similar."""
    table = embed_files(
        [file.path for file in files],
        model,
        pose="any",
        seed=options.seed,
        workers=options.workers,
        timeout=options.timeout,
        memory_limit_gb=options.memory_limit_gb,
        progress=options.progress,
    )
    numbers = {str(file.path): number for number, file in enumerate(files)}
    known = np.array([numbers[path] for path in table.paths])
    features = table.features / np.maximum(np.linalg.norm(table.features, axis=1, keepdims=True), 1e-12)
    count = min(NEIGHBOURS, len(known) - 1)
    pairs = set()
    for start in range(0, len(known), 1024):
        scores = features[start : start + 1024] @ features.T
        scores[np.arange(len(scores)), start + np.arange(len(scores))] = -np.inf
        for row, near in enumerate(np.argpartition(-scores, count - 1, axis=1)[:, :count]):
            one = known[start + row]
            pairs |= {(min(one, other), max(one, other)) for other in known[near]}
    return {(int(one), int(other)) for one, other in pairs}


@dataclass(frozen=True)
class Compared:
    """What comparing two files gave.

    Args:
        verdict: None: they are different shapes.
        transform: (4, 4), of the first file's coordinates to the second's.
        scale: size of the second in units of the first's.
        distance, largest: mean distance between the surfaces, and what 995 of 1,000 points stay below; shares
            of the diagonal.
        floor: what ``largest`` is between two samples of one of the two surfaces.
        agreeing: share of the surfaces that agrees.
    """

    verdict: Verdict | None
    transform: tuple[tuple[float, ...], ...]
    scale: float
    distance: float
    largest: float
    floor: float
    agreeing: float

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> Self:
        """What a `PairJournal` kept."""
        return cls(**{**values, "transform": tuple(tuple(row) for row in values["transform"])})


def _found_groups(
    collection: _Collection,
    pairs: set[tuple[int, int]],
    out: Path | None,
    settings: dict[str, Any],
    progress: bool,
) -> list[DuplicateGroup]:
    """Groups around a first file each: first those of one shape, then variants of first files.

    A file that has a group is not compared any more, and no pair is compared twice: what an earlier run left
    is taken from there.
    """
    files = collection.files
    others: dict[int, list[int]] = {}
    for one, other in sorted(pairs):
        others.setdefault(one, []).append(other)
    copies: dict[int, dict[int, Compared]] = {}
    variants: dict[int, dict[int, Compared]] = {}
    taken = set[int]()
    with (
        PairJournal.open(out, settings) as journal,
        ThreadPoolExecutor(available_cores()) as threads,  # scipy's trees let several search at a time
        progress_bar(total=len(pairs), unit="pair", desc="compare", disable=not progress) as bar,
    ):
        if journal.known:
            print(f"{journal.path}: continuing, {len(journal.known):,} pairs are compared", file=sys.stderr)

        def compared(first: int, second: int) -> Compared:
            key = f"{files[first].sha256} {files[second].sha256}"
            if files[first].sha256 == files[second].sha256:
                return _IDENTICAL
            if (known := journal.known.get(key)) is not None:
                return Compared.of_json(known)
            found = judge(collection.surface(first), collection.surface(second))
            journal.add(key, vars(found))
            return found

        for first in sorted(others):
            if first in taken:
                bar.update(len(others[first]))
                continue
            left = [other for other in others[first] if other not in taken]
            found = list(threads.map(lambda other, first=first: compared(first, other), left))
            bar.update(len(others[first]))
            for other, result in zip(left, found, strict=True):
                if result.verdict == "variant":
                    variants.setdefault(first, {})[other] = result
                elif result.verdict is not None:
                    copies.setdefault(first, {})[other] = result
            taken |= set(copies.get(first, ()))
    groups = [_group(files, first, own) for first, own in copies.items()]
    for first, own in variants.items():
        alone = {other: result for other, result in own.items() if other not in taken}
        if alone and first not in taken:
            groups.append(_group(files, first, alone))
    return groups


def judge(first: Any, second: Any) -> Compared:
    """Compare two shapes (`shapes.registration.Surface`)."""
    from pointmae_zoo.shapes.registration import IN_PLACE, compare, measured

    floors = [float(np.quantile(one.floor, 0.995)) / one.diagonal for one in (first, second)]
    floor = max(LEAST_FLOOR, *floors)
    verdict: Verdict | None
    best = measured(first, second, IN_PLACE)
    if best.largest <= FLOORS * floor:
        verdict = "identical"
    else:
        best, verdict = compare(first, second), "same_shape"
        if best.largest > FLOORS * floor:  # it may be the mirror image, or neither
            other = compare(first, second, mirrored=True)
            if other.mean < CLEARLY * best.mean and other.largest < CLEARLY * best.largest:
                best, verdict = other, "mirrored"
    agreeing, scale = best.agreeing(max(NEAR, floor)), best.placement.scale
    if best.largest > max(SAME, FLOORS * floor):
        verdict = "variant" if agreeing >= VARIANT else None
    elif verdict == "same_shape" and abs(scale - 1) > SAME_SIZE:
        verdict = "scaled"
    matrix = tuple(tuple(map(float, row)) for row in best.placement.matrix())
    return Compared(verdict, matrix, float(scale), best.mean, best.largest, floor, agreeing)


_IDENTICAL = Compared("identical", tuple(tuple(row) for row in np.eye(4).tolist()), 1.0, 0.0, 0.0, 0.0, 1.0)


def _group(files: Sequence[_Read], first: int, own: dict[int, Compared]) -> DuplicateGroup:
    reference = files[first].report
    members = [DuplicateMember(reference, None, _IDENTICAL.transform, 1.0, 0.0, 0.0, 0.0, 1.0)]
    for number, one in sorted(own.items(), key=lambda item: (_looseness(item[1]), item[0])):
        file = files[number].report
        if one.verdict != "variant" and (doubt := _small_difference(reference.measures, file.measures, one)):
            file = replace(file, doubts=(*file.doubts, doubt))
        evidence = {name: value for name, value in vars(one).items() if name != "verdict"}
        members.append(DuplicateMember(file, one.verdict, **evidence))
    loosest = max(own.values(), key=_looseness).verdict
    assert loosest is not None
    return DuplicateGroup(loosest, tuple(members))


def _looseness(one: Compared) -> int:
    order: tuple[Verdict | None, ...] = ("identical", "same_shape", "scaled", "mirrored", "variant")
    return order.index(one.verdict)


def _small_difference(first: Measures, second: Measures, found: Compared) -> str:
    """What the samples of two surfaces may have missed: a hole for a screw in a large plate, or a remeshed
    surface; or nothing."""
    said = []
    for name, power in (("area", 2), ("volume", 3)):
        own, other = getattr(first, name), getattr(second, name)
        if own and other and abs(other / (own * found.scale**power) - 1) > UNSEEN:
            said.append(f"{name} differs by {100 * abs(other / (own * found.scale**power) - 1):.1f} %")
    return f"{' and '.join(said)}: remeshed, or a small feature differs" if said else ""
