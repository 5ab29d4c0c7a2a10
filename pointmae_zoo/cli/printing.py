"""What the commands print: tables, and errors in one line."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from pointmae_zoo.system.files import shown

_MOST_NOTES = 10
# What to install when an optional library is missing: import name -> extra.
EXTRAS = {
    "DracoPy": "draco",
    "accelerate": "train",
    "cascadio": "cad",
    "h5py": "data",
    "matplotlib": "viz",
    "numba": "fast",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "pyarrow": "parquet",
    "scipy": "duplicates",
    "sklearn": "eval",
    "tensorboard": "train",
    "threadpoolctl": "eval",
    "timm": "train",
    "torchvision": "train",
}


def print_any_name() -> None:
    """From here on a letter that the terminal's encoding lacks is printed as an escape, and is no error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{shown(str(error.filename))}: {error.strerror}"
    text = joined(str(error)) or type(error).__name__
    module = (getattr(error, "name", None) or "").partition(".")[0]
    if module in EXTRAS and "pip install" not in text:
        text += f'; install it with: pip install "pointmae-zoo[{EXTRAS[module]}]"'
    return text


def joined(text: str) -> str:
    return " ".join(text.split())


def field_rows(values: Mapping[str, Any], indent: str = "  ") -> Iterator[tuple[str, str]]:
    """Rows for ``print_table``: one field each, those of mappings below them, further to the right."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield indent + str(name), ""
            yield from field_rows(value, indent + "  ")
        else:
            yield indent + str(name), joined(_in_short(value))


def _in_short(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_in_short, value)) or "none"
    if value is None:
        return "null"  # as in a recipe, where it may stand for quite a lot
    return "none" if value == {} else str(value)


def print_table(rows: Sequence[Sequence[str]], stream: TextIO | None = None) -> None:
    """Columns two spaces apart, all but the last padded to their widest entry (at most 60)."""
    widths = [min(60, max(len(row[column]) for row in rows)) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip(), file=stream or sys.stdout)


def print_failures(failures: Sequence[tuple[str, str]], done: int) -> int:
    """Name the files that failed, on stderr; the exit code: 1 if there are any."""
    if not failures:
        return 0
    print(f"{len(failures):,} of {done + len(failures):,} files failed:", file=sys.stderr)
    print_table([(shown(path), joined(reason)) for path, reason in failures], sys.stderr)
    return 1


def print_account(
    rows: int,
    failures: Sequence[tuple[str, str]],
    notes: Sequence[tuple[str, str]],
    passed_over: Mapping[str, int],
) -> None:
    """On stderr: what was remarked of files, and what became of all that were found, so that the counts add
    up; nothing if every file has a row and nothing was remarked."""
    by_text: dict[str, list[str]] = {}
    for path, text in notes:
        by_text.setdefault(text, []).append(path)
    for text, paths in list(by_text.items())[:_MOST_NOTES]:
        more = f" (and {len(paths) - 1:,} more files)" if len(paths) > 1 else ""
        print(f"{shown(paths[0])}: {joined(text)}{more}", file=sys.stderr)
    if len(by_text) > _MOST_NOTES:
        print(f"and {len(by_text) - _MOST_NOTES:,} more remarks", file=sys.stderr)
    if passed_over:
        from pointmae_zoo.shapes.suffixes import EXTRAS as FORMAT_EXTRAS
        from pointmae_zoo.shapes.suffixes import OTHER_SHAPES

        shapes = OTHER_SHAPES | FORMAT_EXTRAS.keys()
        unread = [(what, count) for what, count in passed_over.items() if what in shapes]
        others = [(what, count) for what, count in passed_over.items() if what not in shapes]
        missing = {FORMAT_EXTRAS[what][1] for what, _ in unread if what in FORMAT_EXTRAS}
        parts = [
            f'pip install "pointmae-zoo[{extra}]" to read '
            + " and ".join(what for what, _ in unread if FORMAT_EXTRAS.get(what, ("", ""))[1] == extra)
            for extra in sorted(missing)
        ]
        if unread:
            parts.append(
                "formats that are not read: " + ", ".join(f"{count:,} {what}" for what, count in unread)
            )
        if others:
            parts.append("others: " + ", ".join(f"{count:,} {what}" for what, count in others))
        passed, failed = sum(passed_over.values()), len(failures)
        print(
            f"{rows + failed + passed:,} found: {rows:,} read, {failed:,} failed, {passed:,} passed over "
            f"({'; '.join(parts)})",
            file=sys.stderr,
        )


def in_place_of(out: Path | None) -> str:
    """What to add to the last line about an output, asked before the work: a file that is there is replaced
    once the new one is complete."""
    return ", in place of the file that was there" if out is not None and out.exists() else ""
