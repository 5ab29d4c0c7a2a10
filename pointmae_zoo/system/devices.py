"""Whether torch can compute on a device."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def check_device(device: "str | torch.device | None") -> None:
    """Raises ValueError, before any work is done, where torch cannot compute on this device."""
    if device in (None, "cpu"):
        return
    import torch

    try:
        torch.zeros(1, device=device).add(1).cpu()
    except (RuntimeError, AssertionError) as error:
        if str(device).startswith("cuda") and not torch.cuda.is_available():
            why = "no GPU is found here" if torch.version.cuda else "this torch was built without CUDA"
            reason = f"{why} (torch.cuda.is_available() is False)"
        else:
            reason = " ".join(str(error).split(".")[0].split())
        raise ValueError(f"device: {str(device)!r}: {reason}; use 'cpu'") from None
