"""Which weights were measured: a hash of an encoder's numbers, whatever file they come from."""

import hashlib

import torch
from torch import nn


def encoder_sha256(encoder: nn.Module) -> str:
    """Hexadecimal sha256 of an encoder's float32 tensors, in the order of their names.

    It is the same for a run's folder, for a folder that holds its encoder alone and for both on the Hub; it
    differs once the weights were rounded (``save_pretrained(half=True)``).
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        tensor = tensor.detach().to("cpu")
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32)
        array = tensor.contiguous().numpy()
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {array.dtype.str} {list(array.shape)}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
