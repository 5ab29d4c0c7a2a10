"""Small models, and the files that they are stored in."""

from pathlib import Path
from typing import Any

import torch

from pointmae_zoo import create_model, save_pretrained

POINTS = torch.randn(2, 300, 3, generator=torch.Generator().manual_seed(0))
SMALL: dict[str, Any] = {
    "num_tokens": (32, 8),
    "num_neighbors": (8, 4),
    "dims": (12, 24),
    "depths": (1, 1),
    "num_heads": 3,
    "stem_widths": (8, 16),
}


def small(seed: int = 0, kind: str = "encoder", **more: Any) -> Any:
    """A model of 10,000 parameters in evaluation mode; another seed, other weights of the same size."""
    torch.manual_seed(seed)
    return create_model("i2p_mae_tiny", kind, **{**SMALL, **more}).eval()


def files_of(model: Any, folder: Path) -> dict[str, bytes]:
    """What a repository with the model holds; it is stored in the folder, too."""
    save_pretrained(model, folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {**files, "README.md": b"# A model\n", "preview.png": b"\x89PNG"}


def equal(one: Any, other: Any) -> bool:
    """Whether two models have the same tensors, bit for bit."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
