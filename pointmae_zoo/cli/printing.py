"""What the commands print: tables, and errors in one line."""

import sys
from collections.abc import Sequence
from typing import TextIO

# What to install when an optional library is missing: import name -> extra.
EXTRAS = {
    "DracoPy": "draco",
    "accelerate": "train",
    "h5py": "data",
    "matplotlib": "viz",
    "numba": "fast",
    "pyarrow": "parquet",
    "sklearn": "eval",
    "timm": "train",
    "yaml": "train",
}


def one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = joined(str(error)) or type(error).__name__
    module = (getattr(error, "name", None) or "").partition(".")[0]
    if module in EXTRAS and "pip install" not in text:
        text += f'; install it with: pip install "pointmae-zoo[{EXTRAS[module]}]"'
    return text


def joined(text: str) -> str:
    return " ".join(text.split())


def print_table(rows: Sequence[Sequence[str]], stream: TextIO | None = None) -> None:
    """Columns two spaces apart, all but the last padded to their widest entry (at most 60)."""
    widths = [min(60, max(len(row[column]) for row in rows)) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip(), file=stream or sys.stdout)
