"""Where an evaluation writes its report and its picture; checked before the work, which takes minutes."""

import os
from pathlib import Path
from typing import Any

from pointmae_zoo.reports.report import file_name
from pointmae_zoo.reports.schema import check_replaceable
from pointmae_zoo.system.files import check_out


def check_outputs(out: str | Path | None = None, picture: str | Path | None = None) -> None:
    """Check that a report (``.json``) and a picture (``.png``) can be written. Their folders may be missing.

    Raises:
        ValueError: a name with another suffix.
        IsADirectoryError, NotADirectoryError, PermissionError: nothing can be written there; names the place.
    """
    for path, suffix in ((out, ".json"), (picture, ".png")):
        if path is None:
            continue
        folder = next(one for one in Path(path).absolute().parents if os.path.lexists(one))
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{path}: {folder} is a file; choose another folder")
        check_out(folder / Path(path).name if folder.is_dir() else path, (suffix,))


def report_file(
    out: str | Path | None,
    keep_in: str | Path | None,
    context: dict[str, Any],
    classifiers: tuple[str, ...] = (),
) -> Path | None:
    """The file that a report is written to: ``out``, whose folder is made, or a file in ``keep_in``, named by
    `file_name`. None: the report is not written.

    Raises:
        ValueError: ``keep_in`` has a report of this name that says more than this one would.
    """
    if keep_in is None:
        if out is None:
            return None
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        return Path(out)
    path = Path(keep_in) / file_name(context)
    check_replaceable(path, context, classifiers)
    return path
