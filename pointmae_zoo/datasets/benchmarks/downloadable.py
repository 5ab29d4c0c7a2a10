"""Data sets that can be downloaded, from where and under which terms; and those that have to be requested.

Terms are quoted from their makers, checksums from those who published them; nothing here grants a right.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pointmae_zoo.system.download import download, unpack_zip
from pointmae_zoo.system.files import locked


@dataclass(frozen=True)
class Dataset:
    """One data set and how to get it.

    Args:
        name: for ``pointmae-zoo download``.
        summary: what it is.
        terms: for what it may be used.
        urls: of its archive, tried in this order; none: it has to be requested.
        size: of the archive in bytes, None if unknown.
        sha256: of the archive; None: nobody has published one, so the archive is not verified.
        folder: the folder that is in the archive.
        use: the entry for a recipe's ``data``, with FOLDER for the place.
        by_hand: how to get it where it has to be requested.
    """

    name: str
    summary: str
    terms: str
    urls: tuple[str, ...] = ()
    size: int | None = None
    sha256: str | None = None
    folder: str = ""
    use: str = ""
    by_hand: str = ""


_MODELNET_TERMS = "for academic research; the copyright of the models stays with their authors"
_SHAPENET_TERMS = "ShapeNet's terms: for research and education, not commercial; see shapenet.org/terms"

DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="modelnet40",
            summary="ModelNet40, 12,308 clouds of 2,048 points in HDF5",
            terms=_MODELNET_TERMS,
            # Its makers' server is often out of reach; a mirror's file counts only if it is the same.
            urls=(
                "https://shapenet.cs.stanford.edu/media/modelnet40_ply_hdf5_2048.zip",
                "https://huggingface.co/datasets/Msun/modelnet40/resolve/main/modelnet40_ply_hdf5_2048.zip",
                "https://github.com/ma-xu/pointMLP-pytorch/releases/download/Modenet40_dataset/"
                "modelnet40_ply_hdf5_2048.zip",
            ),
            # Both as in tensorflow_graphics/datasets/modelnet40/checksums.tsv of TensorFlow Graphics.
            size=435_212_151,
            sha256="07670e237db72ece0f723b9abb571534c9ad655a6456b389646587dc72bb8bae",
            folder="modelnet40_ply_hdf5_2048",
            use="modelnet40:FOLDER",
        ),
        Dataset(
            name="modelnet40_meshes",
            summary="ModelNet40, the 12,311 meshes themselves (OFF, not aligned)",
            terms=_MODELNET_TERMS,
            urls=("https://modelnet.cs.princeton.edu/ModelNet40.zip",),
            size=2_039_180_837,
            sha256="42dc3e656932e387f554e25a4eb2cc0e1a1bd3ab54606e2a9eae444c60e536ac",
            folder="ModelNet40",
            use="FOLDER",
        ),
        Dataset(
            name="modelnet40_resampled",
            summary="ModelNet40, 12,311 clouds of 10,000 points with normals in text",
            terms=_MODELNET_TERMS,
            urls=("https://shapenet.cs.stanford.edu/media/modelnet40_normal_resampled.zip",),
            folder="modelnet40_normal_resampled",
            use="modelnet40:FOLDER",
        ),
        Dataset(
            name="shapenet55",
            summary="ShapeNet-55, 52,470 clouds of 8,192 points",
            terms=_SHAPENET_TERMS,
            use="shapenet55:FOLDER",
            by_hand="agree to ShapeNet's terms, then follow the links under ShapeNet55/34 in "
            "https://github.com/lulutang0608/Point-BERT/blob/49e2c7407d351ce8fe65764bbddd5d9c0e0a4c52/"
            "DATASET.md and unpack ShapeNet55-34",
        ),
        Dataset(
            name="shapenetpart",
            summary="ShapeNetPart, 16,881 clouds of 16 categories with part labels",
            terms=_SHAPENET_TERMS,
            folder="shapenetcore_partanno_segmentation_benchmark_v0_normal",
            use="shapenetpart:FOLDER",
            by_hand="agree to ShapeNet's terms, then unpack "
            "https://shapenet.cs.stanford.edu/media/shapenetcore_partanno_segmentation_benchmark_v0_normal.zip",
        ),
        Dataset(
            name="scanobjectnn",
            summary="ScanObjectNN, scanned objects of 15 classes in HDF5 (13 GB)",
            terms="its own terms, to be agreed to in a form",
            use="scanobjectnn:FOLDER",
            by_hand="fill in the form at https://hkust-vgd.github.io/scanobjectnn, then unpack h5_files.zip",
        ),
    )
}


def download_dataset(dataset: Dataset, to: Path, *, progress: bool = True) -> Path:
    """Download and unpack a data set; a folder that is already there is left alone.

    Returns:
        The data set's folder below ``to``.

    Raises:
        ValueError: it has to be requested (says where), or the archive is damaged or holds something else.
        DownloadError: no address gave it.
        OSError: no room, or no right to write.
    """
    if not dataset.urls:
        raise ValueError(f"{dataset.name} has to be requested: {dataset.by_hand} ({dataset.terms})")
    folder = to / dataset.folder
    if folder.is_dir():
        return folder
    to.mkdir(parents=True, exist_ok=True)
    archive = to / f"{dataset.folder}.zip"
    brought = archive.exists()  # by hand: it stays
    with locked(to / f".{dataset.folder}.lock", f"{to}: another process is fetching it, waiting"):
        if not folder.is_dir():
            download(dataset.urls, archive, size=dataset.size, sha256=dataset.sha256, progress=progress)
            unpack_zip(archive, folder)
            if not brought:
                archive.unlink()
    return folder


def described(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """What to know of a data set before downloading it, as rows of a table."""
    yield dataset.name, dataset.summary
    yield "  terms", dataset.terms
    if dataset.urls:
        size = f"{dataset.size / 1e6:,.0f} MB, " if dataset.size else ""
        yield (
            "  can be fetched",
            size + ("verified by its sha256" if dataset.sha256 else "not verified: no sha256 is known"),
        )
    else:
        yield "  by hand", dataset.by_hand
