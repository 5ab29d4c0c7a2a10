"""``embed`` and ``similar``: files of shapes into tables of features, and questions to those."""

import sys
from pathlib import Path
from typing import Annotated, Literal, TypedDict, Unpack

from cyclopts import Parameter

from pointmae_zoo.cli.options import Axis, Count, File, Model, Pose, Reading, Whole, options
from pointmae_zoo.cli.printing import in_place_of, print_account, print_failures, print_table
from pointmae_zoo.system.files import shown


@options("inference/embedding.py:embed_files")
class Weights(TypedDict, total=False):
    """Which encoder, and which of its features.

    Args:
        model: weights; ORG/REPO or ORG/REPO@REVISION: on the Hub (default: {model})
        pool: max, mean, mean+max, mean,max or levels (default: as stored with the weights)
    """

    model: Model
    pool: str


@options("inference/embedding.py:embed_files")
class Embedding(Weights, Reading, total=False):
    """Arguments of `embed_files`.

    Args:
        pose: how shapes may lie: upright, turned (about up) or any (rotation); the latter two take 2 to 4
            and 4 to 24 times the computing, the more the rounder (default: as stored with the weights)
    """

    pose: Pose


@options()
def embed(paths: list[str], /, *, out: File, **given: Unpack[Embedding]) -> int:
    """Mesh and point files -> a table of features.

    Read mesh and point files and write one row of features for each. OUT.partial keeps the rows until the
    end: the same command resumes from there if the run was stopped.

    Exit codes: 0 every file has a row, 1 some files failed (they are listed), 2 nothing to do or a wrong
    argument.

    Args:
        paths: files, folders (searched to the bottom) or globs
        out: .npz, .safetensors, .csv or .parquet; replaced at the end if it is there
    """
    from pointmae_zoo.inference import embed_files
    from pointmae_zoo.system.devices import check_device

    check_device(given.get("device"))

    replaced = in_place_of(out)
    table = embed_files(paths, out=out, **given)
    rows, width = table.features.shape
    if rows:
        print(f"{out}: {rows:,} row{'s' if rows > 1 else ''} of {width} features{replaced}")
    else:
        print(f"{out}: not written, because no file could be read", file=sys.stderr)
    print_account(rows, table.failures, table.notes, table.passed_over)
    return print_failures(table.failures, rows)


@options("library/search.py:similar")
class Search(TypedDict, total=False):
    """Arguments of `similar`.

    Args:
        k: how many (default: {k})
        model: what made the table, if it does not say so itself (.csv)
        up: axis that points up, as the table was made, if it does not say so itself (.csv)
        pose: as the table was made, if it does not say so itself (.csv); default: as stored with the weights
        pool: as the table was made, if it does not say so itself (.csv); default: as stored with the weights
        seed: as the table was made, if it does not say so itself (.csv); default: 0
        scale: keep: only shapes of the query's size, within 2 %; ignore: of any size, which is shown beside
            each (default: {scale})
    """

    k: Annotated[Count, Parameter(name="-k")]
    model: Model
    up: Axis
    pose: Pose
    pool: str
    seed: Whole
    scale: Literal["ignore", "keep"]


@options()
def similar(query: str, features: Path, /, **given: Unpack[Search]) -> int:
    """The shapes of a table of features that are nearest to one file.

    Args:
        query: a row of the table, or another mesh or point file
        features: a file that 'pointmae-zoo embed' wrote
    """
    from pointmae_zoo.library import similar
    from pointmae_zoo.shapes.notes import collecting

    with collecting() as notes:
        found = similar(query, features, **given)
    if not found:
        if given.get("scale") == "keep":
            raise ValueError(f"{features}: holds no other shape of this size; --scale ignore finds any")
        raise ValueError(f"{features}: holds no row but the query's; embed more files into it")
    print_account(1, [], [(query, text) for text in notes], {})
    sizes = ["" if hit.size_ratio is None else f"size x {hit.size_ratio:.3g}" for hit in found]
    print_table(
        [
            (f"{hit.similarity:.3f}", *([size] if any(sizes) else []), shown(hit.path))
            for hit, size in zip(found, sizes, strict=True)
        ]
    )
    return 0
