"""Which state of the source made a number or a file of weights."""

import subprocess
from pathlib import Path

import pointmae_zoo


def current_commit() -> str | None:
    """The commit of the checkout that this package runs from, "-dirty" if changed; None outside one.

    An installed copy that merely lies inside somebody's repository (a virtual environment) has none.
    """
    folder = Path(pointmae_zoo.__file__).parent
    try:
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        return _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or None
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
