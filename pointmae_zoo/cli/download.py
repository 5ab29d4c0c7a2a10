"""``download``: data sets that may be fetched, and where to get the others."""

from pathlib import Path

from pointmae_zoo.cli.options import Folder, options
from pointmae_zoo.cli.printing import print_table


@options()
def download(name: str | None = None, /, *, to: Folder | None = None) -> int:
    """Fetch a data set, or list them with their terms.

    Fetch a data set and unpack it. An interrupted download resumes. Without a name: all that are known, and
    how to get those that have to be requested.

    Args:
        name: such as modelnet40
        to: where to unpack it (no default: needed for what can be fetched)
    """
    from pointmae_zoo.datasets.benchmarks.downloadable import DATASETS, described, download_dataset

    if name is None:
        print_table([row for dataset in DATASETS.values() for row in described(dataset)])
        return 0
    if name not in DATASETS:
        raise ValueError(f"no data set {name!r}; known: {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    if dataset.urls and to is None:
        raise ValueError(f"--to FOLDER is missing: where to put {name}")
    to = to or Path()
    was_there = bool(dataset.urls) and (to / dataset.folder).is_dir()
    folder = download_dataset(dataset, to)
    if was_there:
        checked = "was there already, not checked"
    elif dataset.sha256:
        checked = "verified by its sha256"
    else:
        checked = "not verified: nobody has published its sha256"
    print(f"{folder}: {dataset.summary}; {checked}")
    print(f"terms: {dataset.terms}")
    print(f"use it in a recipe as data: [{dataset.use.replace('FOLDER', str(folder))}]")
    return 0
