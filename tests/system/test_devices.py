"""A device that is not there; training's own words are in test_loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pointmae_zoo import embed_files, from_pretrained, predict_files
from samples.models import small

ZEROS = torch.zeros


def failing(*shape: Any, **settings: Any) -> torch.Tensor:
    """As torch does without a driver."""
    if str(settings.get("device")).startswith("cuda"):
        raise RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU")
    return ZEROS(*shape, **settings)


FUNCTIONS: dict[str, Callable[[Path], Any]] = {
    "from_pretrained": lambda _: from_pretrained("i2p_mae_tiny", device="cuda"),
    "as a device": lambda _: from_pretrained("i2p_mae_tiny", device=torch.device("cuda")),
    "embed_files": lambda folder: embed_files(folder / "a.npy", device="cuda", progress=False),
    "a model": lambda folder: embed_files(folder / "a.npy", small(), device="cuda", progress=False),
    "predict_files": lambda folder: predict_files(folder / "a.npy", device="cuda", progress=False),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("built", "why"), [("12.6", "no GPU is found here"), (None, "this torch was built without CUDA")]
)
def test_it_is_told_in_our_words(
    function: str, built: str | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", np.eye(3))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch, "zeros", failing)
    with pytest.raises(ValueError, match=f"device: 'cuda': {why} .*; use 'cpu'"):
        FUNCTIONS[function](tmp_path)
