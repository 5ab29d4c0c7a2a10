"""Which coloured clouds a folder holds, of which files and made how: what need not be made again."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.inference.journal import identity
from pointmae_zoo.system.files import written_whole

NAME = "parts.json"
FORMAT = 1


class PartManifest:
    """``parts.json`` in the folder: for each cloud the file that it was made of, how it was made and the
    shares of its parts. One made otherwise, of a file that has changed since, or changed itself, does not
    count.

    Args:
        folder: where the clouds are, or will be.
        settings: everything that decides what a cloud looks like; as JSON has it.

    Raises ValueError if a file of that name is not ours.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder, self._path = folder, folder / NAME
        self._made = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self._content = self._read()
        self._content["settings"][self._made] = settings
        self._changed = False

    def shares(self, file: Path, target: Path) -> NDArray[np.float64] | None:
        """The shares of the parts in the cloud ``target`` of a file, if it need not be made again."""
        entry = self._content["clouds"].get(self._name(target))
        wanted = {"made": self._made, "file": identity(file), "cloud": _stamp(target)}
        if entry is None or any(entry.get(name) != value for name, value in wanted.items()):
            return None
        return np.array(entry["shares"], dtype=np.float64)

    def add(self, source: str, target: Path, shares: NDArray[np.float64]) -> None:
        """``target`` was written. ``source``: the identity of the file as it was before it was read."""
        entry = {"made": self._made, "file": source, "cloud": _stamp(target), "shares": shares.tolist()}
        self._content["clouds"][self._name(target)] = entry
        self._changed = True

    def remove_orphans(self) -> list[Path]:
        """Delete the clouds of files that are gone, as long as they are as they were written. A file whose
        whole folder is gone may be on a disk that is not there just now; its cloud stays."""
        removed = []
        for name, entry in list(self._content["clouds"].items()):
            target = self._folder / name
            stamp = _stamp(target)
            inside = not Path(name).is_absolute() and ".." not in Path(name).parts and ".parts." in name
            if inside and _is_deleted(entry["file"]) and stamp in (None, entry["cloud"]):
                del self._content["clouds"][name]
                self._changed = True
                if stamp is not None:
                    target.unlink()
                    removed.append(target)
        return removed

    def write(self) -> None:
        """What was added, if there is something."""
        if not self._changed:
            return
        used = {entry["made"] for entry in self._content["clouds"].values()}
        settings = {made: how for made, how in self._content["settings"].items() if made in used}
        text = json.dumps({**self._content, "settings": settings}, indent=1) + "\n"
        with written_whole(self._path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
        self._changed = False

    def _name(self, target: Path) -> str:
        return target.relative_to(self._folder).as_posix()

    def _read(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"format": FORMAT, "settings": {}, "clouds": {}}
        try:
            content = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return empty
        except ValueError:
            content = None
        if not _is_ours(content):
            raise ValueError(f"{self._path}: this name is needed, but the file is not ours; move it away")
        return content if content["format"] == FORMAT else empty


def _is_ours(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and content.keys() == {"format", "settings", "clouds"}
        and all(isinstance(content[name], dict) for name in ("settings", "clouds"))
        and all(
            isinstance(entry, dict)
            and entry.keys() == {"made", "file", "cloud", "shares"}
            and isinstance(entry["made"], str)
            for entry in content["clouds"].values()
        )
    )


def _is_deleted(source: str) -> bool:
    """Whether the file of this identity is gone, and its folder is not."""
    try:
        path = Path(json.loads(source)[0])
    except (ValueError, LookupError, TypeError):
        return False
    return path.parent.is_dir() and not os.path.lexists(path)


def _stamp(target: Path) -> list[int] | None:
    """Size and time of change; None where it is not."""
    try:
        status = target.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
