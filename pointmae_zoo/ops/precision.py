"""The choice between float32 and bfloat16, which is fast on some devices only and elsewhere emulated."""

from typing import Any

import torch


def chosen_precision(wanted: str, device: torch.device) -> str:
    """``wanted`` itself, except for ``auto``: ``bfloat16`` if the device has instructions for it, else
    ``float32``."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if has_bfloat16(device) else "float32"


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16: most GPUs, and CPUs with AVX512-BF16 or AMX.

    Measured on one AVX512-BF16 core: CLIP ViT-B/16 is 3.2 times as fast with them, ConvNeXt 2.0, MobileNetV2
    1.7. Other CPUs emulate bfloat16, and training takes 6.6 times as long as in float32. So does a CPU whose
    instructions are switched off (``ATEN_CPU_CAPABILITY=avx2``, ``ONEDNN_MAX_CPU_ISA=AVX2``).
    """
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    # These are private functions of torch. If one is missing, float32 is used, which is never wrong.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    in_processor = any(getattr(torch.cpu, name, bool)() for name in names)
    in_onednn = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", bool)
    return in_processor and bool(in_onednn())


def can_compute(precision: str, device: torch.device) -> bool:
    """Whether a device can compute in this precision at all, however slowly; every CPU can."""
    missing = device.type == "cuda" and torch.cuda.is_available() and not has_bfloat16(device)
    return precision == "float32" or not missing


def why_chosen(precision: str, device: torch.device) -> str:
    """Why ``auto`` means this precision here, in a few words."""
    if device.type != "cpu":
        return f"{device.type} has {'no ' if precision == 'float32' else ''}bfloat16"
    if precision == "bfloat16":
        return "the processor has AVX512-BF16 or AMX"
    return "without AVX512-BF16 or AMX bfloat16 would be slower"


def dtype_of(model: Any) -> str:
    """The type of a network's weights, such as float32; without weights torch's default."""
    return str(next(model.parameters(), torch.empty(0)).dtype).removeprefix("torch.")
