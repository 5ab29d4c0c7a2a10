"""What the commands print: tables, and errors in one line."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from pointmae_zoo.data.files import shown

# What to install when an optional library is missing: import name -> extra.
EXTRAS = {
    "DracoPy": "draco",
    "accelerate": "train",
    "h5py": "data",
    "matplotlib": "viz",
    "numba": "fast",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "pyarrow": "parquet",
    "sklearn": "eval",
    "tensorboard": "train",
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
