"""The commit and the versions of libraries that a number or a file of weights was made with."""

import importlib.metadata
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pointmae_zoo._version import __version__

_LIBRARIES = ("torch", "numpy", "safetensors", "timm", "accelerate", "numba", "scikit-learn")


def current_commit() -> str | None:
    """The commit of the checkout that this package runs from, "-dirty" if changed; None outside one.

    An installed copy that merely lies inside somebody's repository (a virtual environment) has none.
    """
    folder = Path(__file__).parents[1]
    try:
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        return _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or None
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    """Versions of this package, of Python and of the installed libraries that numbers depend on."""
    found = {"pointmae_zoo": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name.replace("-", "_")] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "torch" in sys.modules:  # it knows more than its package: 2.15.0+cu132, the build
        found["torch"] = str(sys.modules["torch"].__version__)
    return found


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def measured_with(started: float) -> dict[str, Any]:
    """Versions, commit, seconds since ``started`` (of ``time.perf_counter``) and date."""
    return {
        "versions": versions(),
        "commit": current_commit(),
        "wall_seconds": round(time.perf_counter() - started, 1),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
