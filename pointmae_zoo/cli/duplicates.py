"""``duplicates``: which files are the same shape."""

from typing import TYPE_CHECKING, TypedDict, Unpack

from pointmae_zoo.cli.options import File, Model, Whole, options
from pointmae_zoo.cli.printing import in_place_of, print_account, print_failures, print_table
from pointmae_zoo.system.files import shown

if TYPE_CHECKING:
    from pointmae_zoo.library.duplicate_report import DuplicateMember, DuplicateReport

_MOST_GROUPS = 20


@options("library/duplicates.py:find_duplicates")
class Search(TypedDict, total=False):
    """Arguments of `find_duplicates`.

    Args:
        model: whose features find variants (default: {model})
        seed: of the points that are sampled on surfaces (default: {seed})
        workers: processes that read files (default: by the number of cores)
        timeout: seconds for reading one file (default: {timeout})
        memory_limit_gb: gigabytes for reading one file, in each worker (default: {memory_limit_gb})
    """

    model: Model
    seed: Whole
    workers: int
    timeout: float
    memory_limit_gb: float


@options()
def duplicates(
    paths: list[str], /, *, out: File | None = None, copies_only: bool = False, **given: Unpack[Search]
) -> int:
    """Which files are the same shape: copies, moved, turned, remeshed, scaled or mirrored; and variants.

    Nothing is deleted. OUT.partial keeps what was compared until the end: the same command resumes from there
    if the run was stopped.

    Exit codes: 0 every file was read, 1 some files failed (they are listed), 2 nothing to do or a wrong
    argument.

    Args:
        paths: files, folders (searched to the bottom) or globs
        out: .json, .csv or .html with pictures; replaced at the end if it is there
        copies_only: don't look for variants, which takes most of the time
    """
    from pointmae_zoo.library import find_duplicates

    replaced = in_place_of(out)
    report = find_duplicates(paths, out=out, variants=not copies_only, **given)
    _print_groups(report, whole=out is None)
    if out is not None:
        print(f"{out}: {_in_words(report)}{replaced}")
    print_account(report.files, report.failures, report.notes, report.passed_over)
    return print_failures(report.failures, report.files)


def _print_groups(report: "DuplicateReport", whole: bool) -> None:
    """The groups, each with its files; only the first ones, unless nothing else has the whole."""
    groups = report.groups if whole else report.groups[:_MOST_GROUPS]
    for group in groups:
        print_table([(_told(one), shown(one.file.path)) for one in group.members])
        print()
    if len(groups) < len(report.groups):
        print(f"and {len(report.groups) - len(groups):,} more groups")
    if whole:
        print(_in_words(report))


def _told(one: "DuplicateMember") -> str:
    if one.verdict is None:
        return "-"
    words = one.verdict.replace("_", " ")
    if one.verdict in ("scaled", "mirrored") and abs(one.scale - 1) > 5e-4:
        words += f" x {one.scale:.4g}"
    return f"{words} ({100 * one.agreeing:.1f} %)" if one.verdict == "variant" else words


def _in_words(report: "DuplicateReport") -> str:
    copies = [group for group in report.groups if group.verdict != "variant"]
    more = sum(len(group.members) - 1 for group in copies)
    return (
        f"{more:,} of {report.files:,} files are copies, in {len(copies):,} groups; "
        f"{len(report.groups) - len(copies):,} groups of variants"
    )
