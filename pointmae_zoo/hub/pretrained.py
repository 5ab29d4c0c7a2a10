"""From a name or a folder to a model."""

import os
from pathlib import Path
from typing import Any

import torch

from pointmae_zoo.hub.checkpoint import CheckpointError, load_folder
from pointmae_zoo.registry import get_weights, list_models, list_weights

# Weights that come with the package, one folder each.
BUNDLED = Path(__file__).resolve().parent.parent / "weights"


def from_pretrained(
    source: str | os.PathLike[str],
    *,
    kind: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Any:
    """Load a model with its weights, in evaluation mode.

    Args:
        source: published weights (``"i2p_mae_tiny.shapes"``; ``"i2p_mae_tiny"``: its first), or a folder
            that `save_pretrained`, ``pointmae-zoo pretrain`` or ``convert`` wrote.
        kind: None: the kind that is stored. ``"encoder"`` takes the encoder out of any other kind.
        device: where to.
        dtype: of the weights; geometry is always computed in float32.

    Returns:
        The model, with ``.config`` (architecture, arguments, preprocessing, labels, provenance).

    Raises:
        ValueError: unknown name (near ones are suggested); a folder whose weights don't fit exactly, lists
            the keys.
    """
    sha256 = None
    folder = Path(source)
    # A published name always means the published weights; a folder that happens to have it needs a "./".
    if str(source) not in list_weights() + list_models() and (_is_path(source) or folder.is_dir()):
        if folder.is_file():
            raise CheckpointError(f"{folder}: a folder expected, not a file; {_way_out(folder)}")
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: no such folder")
    else:
        weights = get_weights(str(source))
        folder, sha256 = BUNDLED / weights.name, weights.sha256
    return load_folder(folder, kind=kind, sha256=sha256).to(device=device, dtype=dtype)


def _is_path(source: str | os.PathLike[str]) -> bool:
    return not isinstance(source, str) or os.sep in source or "/" in source or source in (".", "..")


def _way_out(file: Path) -> str:
    if file.suffix in (".pth", ".pt", ".bin", ".ckpt"):
        return (
            "a pickle can run code and is never loaded; "
            "'pointmae-zoo convert' turns a reference checkpoint into a folder"
        )
    return f"give the folder that holds it: {file.parent}"
