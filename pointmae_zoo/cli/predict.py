"""``predict``: what files are, or what their parts are."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Unpack

from cyclopts import Parameter

from pointmae_zoo.cli.options import Count, File, Folder, Model, Name, Pose, Reading, options
from pointmae_zoo.cli.printing import in_place_of, print_account, print_failures, print_table
from pointmae_zoo.system.files import shown


@options("inference/classification.py:predict_files")
def predict(
    paths: list[str],
    /,
    *,
    model: Model | None = None,
    out: File | None = None,
    top: Count | None = None,
    pose: Pose | None = None,
    parts_out: Folder | None = None,
    parts_format: Literal["ply", "glb"] | None = None,
    object_class: Annotated[Name | None, Parameter(name="--class")] = None,
    **reading: Unpack[Reading],
) -> int:
    """Mesh and point files -> class names with probabilities, or coloured parts.

    Read mesh and point files and say what each is, by a classifier; or write each, coloured by part, by a
    part segmenter. With --out, OUT.partial keeps rows until the end: the same command resumes from there if
    the run was stopped.

    Exit codes: 0 every file was read, 1 some files failed (they are listed), 2 nothing to do or a wrong
    argument.

    Args:
        paths: files, folders (searched to the bottom) or globs
        model: a classifier or part segmenter (default: {model})
        out: also write .csv or .json; replaced at the end if it is there
        top: of a classifier: classes of each file (default: {top})
        pose: of a classifier that was trained on such poses: how files may lie; upright, turned (about up) or
            any (rotation) (default: as stored with the weights)
        parts_out: of a part segmenter: where coloured clouds go; those made already, the same way, are kept
        parts_format: of these clouds (default: {inference/part_prediction.py:predict_parts.suffix})
        object_class: of a part segmenter: what the files show
    """
    from pointmae_zoo.system.devices import check_device

    check_device(reading.get("device"))
    if parts_out is not None:
        if out is not None:
            raise ValueError("--out: is a classifier's table; --parts-out is enough for a part segmenter")
        if top is not None:
            raise ValueError(
                "--top: is for a classifier's classes; with --parts-out every point has one part"
            )
        if pose is not None:
            raise ValueError("--pose: is for a classifier; with --parts-out files are read as they stand")
        if model is None:
            raise ValueError(
                "--model: is missing, a part segmenter, such as a run of 'pointmae-zoo finetune'"
            )
        return _predict_parts(paths, model, parts_out, parts_format, object_class, reading)
    if object_class is not None:
        raise ValueError("--class: tells a part segmenter what the files show; --parts-out FOLDER is missing")
    from pointmae_zoo.inference import predict_files

    replaced = in_place_of(out)
    given: dict[str, Any] = {"model": model, "top": top, "pose": pose}
    given = {name: value for name, value in given.items() if value is not None}
    found = predict_files(paths, out=out, **given, **reading)
    if found.paths:
        print_table(
            [
                (shown(path), *(text for name, share in best for text in (name, f"{share:.3f}")))
                for path, best in zip(found.paths, found.best, strict=True)
            ]
        )
    if out is not None:
        count = len(found.paths)
        said = (
            f"{count:,} file{'s' if count > 1 else ''}{replaced}"
            if count
            else "not written, no file could be read"
        )
        print(f"{out}: {said}", file=sys.stderr)
    print_account(len(found.paths), found.failures, found.notes, found.passed_over)
    return print_failures(found.failures, len(found.paths))


def _predict_parts(
    paths: list[str],
    model: str,
    out: Path,
    parts_format: str | None,
    object_class: str | None,
    reading: Reading,
) -> int:
    import numpy as np

    from pointmae_zoo.inference import predict_parts

    given: dict[str, Any] = {} if parts_format is None else {"suffix": f".{parts_format}"}
    found = predict_parts(paths, model, out, object_class=object_class, **given, **reading)
    rows = []
    for path, target in found.written.items():
        shares = found.shares[path]
        seen = [f"{found.labels[part]} {shares[part]:.0%}" for part in range(len(shares)) if shares[part] > 0]
        rows.append((shown(path), shown(target), ", ".join(seen)))
    if rows:
        print_table(rows)
        used = np.stack(list(found.shares.values())).sum(axis=0)
        print("colours:")
        print_table(
            [
                (f"  {label}", f"part {number}", "#" + bytes(found.colours[number]).hex())
                for number, label in enumerate(found.labels)
                if used[number]
            ]
        )
    for cloud in found.removed:
        print(f"{shown(cloud)}: deleted, as the file it was made of is gone", file=sys.stderr)
    print_account(len(found.written), found.failures, found.notes, found.passed_over)
    return print_failures(found.failures, len(found.written))
