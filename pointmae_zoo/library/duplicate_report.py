"""What `find_duplicates` found: groups of files, as JSON or CSV."""

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pointmae_zoo.shapes.measures import Measures
from pointmae_zoo.system.files import check_out, written_whole

FORMAT = 1
"""Version of the JSON. It grows when fields change their meaning or go."""
SUFFIXES = (".json", ".csv", ".html")

Verdict = Literal["identical", "same_shape", "scaled", "mirrored", "variant"]


@dataclass(frozen=True)
class DuplicateFile:
    """A file of a group.

    Args:
        path: of the file.
        sha256: of its bytes.
        measures: its size.
        doubts: why verdicts about it are less certain.
    """

    path: str
    sha256: str
    measures: Measures
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class DuplicateMember:
    """A file of a group, beside the first file of the group.

    Args:
        file: which.
        verdict: what it is beside the first one; None: it is the first one.
        transform: (4, 4), which lays the first file on this one, in the files' coordinates.
        scale: its size in units of the first one's.
        distance: mean distance between the two surfaces when laid on each other, as a share of the diagonal.
        largest: what 995 of 1,000 points stay below; likewise.
        floor: what ``largest`` is between two samples of one surface.
        agreeing: share of the surfaces that agrees.
    """

    file: DuplicateFile
    verdict: Verdict | None
    transform: tuple[tuple[float, ...], ...]
    scale: float
    distance: float
    largest: float
    floor: float
    agreeing: float

    def as_json(self) -> dict[str, Any]:
        """Its fields, those of the file and of its measures among them."""
        values = {name: value for name, value in vars(self).items() if name != "file"}
        file = {"path": self.file.path, "sha256": self.file.sha256, **self.file.measures._asdict()}
        return {**file, **values, "doubts": list(self.file.doubts)}


@dataclass(frozen=True)
class DuplicateGroup:
    """Files that are one shape, or variants of the first one.

    Args:
        verdict: the loosest of its members' verdicts.
        members: the first file, then the others, the nearest first.
    """

    verdict: Verdict
    members: tuple[DuplicateMember, ...]


@dataclass(frozen=True)
class DuplicateReport:
    """What was found in a collection.

    Args:
        groups: those of one shape first. A file is in one of these at most; variants are named in groups of
            their own, around their first file.
        files: how many files were read.
        pairs: how many pairs were compared.
        failures: (path, reason) of files that could not be read.
        notes: (path, remark) of files that were read.
        passed_over: what was passed over in folders -> how many.
        settings: of the run: seed and thresholds.
    """

    groups: list[DuplicateGroup]
    files: int
    pairs: int
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    passed_over: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The content of the .json file; ``docs/duplicates.md`` describes it."""
        groups = [
            {"verdict": group.verdict, "members": [one.as_json() for one in group.members]}
            for group in self.groups
        ]
        return {
            "format_version": FORMAT,
            "groups": groups,
            "files": self.files,
            "pairs_compared": self.pairs,
            "failures": [{"path": path, "reason": reason} for path, reason in self.failures],
            "notes": [{"path": path, "note": note} for path, note in self.notes],
            "settings": self.settings,
        }


def check_report_path(path: Path) -> None:
    """Raise a ValueError or OSError if no report can be written there. Called before the work."""
    check_out(path, SUFFIXES)


def write_text(path: Path, text: str) -> None:
    """Write a report. The file appears whole or not at all."""
    with written_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors="surrogateescape")


_COLUMNS = (
    *("group", "verdict", "path", "scale", "distance", "largest", "floor", "agreeing"),
    *("extent_x", "extent_y", "extent_z", "area", "volume", "triangles", "watertight", "sha256", "doubts"),
)


def as_json(report: DuplicateReport) -> str:
    """The text of the .json file."""
    return json.dumps(report.as_json(), indent=1) + "\n"


def as_csv(report: DuplicateReport) -> str:
    """A row for each member of each group; the verdict of a group's first file is empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for number, group in enumerate(report.groups, 1):
        for one in group.members:
            values = one.as_json()
            extents = dict(zip(("extent_x", "extent_y", "extent_z"), values["extents"], strict=True))
            writer.writerow({**values, **extents, "group": number, "doubts": "; ".join(values["doubts"])})
    return stream.getvalue()
