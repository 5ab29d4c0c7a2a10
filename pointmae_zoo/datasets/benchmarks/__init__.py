"""Benchmarks in the layouts in which their users have them, one file each.

Every reader checks what is there, names what is missing and says where to get it.
"""

from pathlib import Path

from pointmae_zoo.datasets.benchmarks import modelnet40, scanobjectnn, shapenet55, shapenetpart
from pointmae_zoo.datasets.benchmarks.benchmark import Benchmark

__all__ = ["NAMES", "Benchmark", "open_benchmark", "recognise", "split_entry"]

_READERS = {module.NAME: module for module in (shapenet55, modelnet40, scanobjectnn, shapenetpart)}
NAMES = tuple(_READERS)


def open_benchmark(name: str, folder: str | Path, *, split: str) -> Benchmark:
    """The clouds, labels and class names of one split: ``train``, ``test``, and where there is one ``val``.

    Args:
        name: one of ``NAMES``.
        folder: where it lies, or the folder above.

    Raises:
        ValueError: no such benchmark or split, or a file of it is wrong; names the file.
        FileNotFoundError: something is missing; names it, and says where to get it.
        ModuleNotFoundError: h5py is needed and not there.
    """
    if name not in _READERS:
        raise ValueError(f"no benchmark {name!r}; known: {', '.join(NAMES)}")
    return _READERS[name].read(Path(folder), split)


def split_entry(entry: str | Path) -> tuple[str | None, Path]:
    """``BENCHMARK:PATH`` -> (name, path); (None, path) for every other file or folder, colons in it or not.

    ``~`` is the home folder.

    Raises:
        ValueError: a benchmark's name without a path.
    """
    head, colon, tail = str(entry).partition(":")
    if not colon or head not in NAMES:
        return None, Path(entry).expanduser()
    if not tail:
        raise ValueError(f"data: {str(entry)!r} has no path; expected {head}:FOLDER")
    return head, Path(tail).expanduser()


def recognise(folder: Path) -> str | None:
    """The name of the benchmark that a folder is, None if it is none."""
    return next((name for name, reader in _READERS.items() if reader.recognise(folder)), None)
