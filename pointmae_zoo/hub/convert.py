"""Your copy of a reference checkpoint -> a folder of weights.

Reference implementations publish pickles. Only their tensors are read (``weights_only``). Every key must be
known to the architecture's family, and every weight of the model must be given.
"""

import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointmae_zoo.hub.checkpoint.errors import CheckpointError, key_problems
from pointmae_zoo.hub.checkpoint.model_folder import save_pretrained
from pointmae_zoo.hub.checkpoint.wrappers import plain_name
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.models.registry import (
    ReferenceCheckpoints,
    ReferencePreset,
    create_model,
    get_architecture,
    list_models,
)
from pointmae_zoo.shapes.contents import no_shape
from pointmae_zoo.system.files import file_sha256

_NUMPY_SCALARS: list[Any] = [
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64")),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
]


def convert_checkpoint(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    architecture: str,
    kind: str,
    preset: str | None = None,
) -> Path:
    """Turn a reference checkpoint into a folder that `from_pretrained` loads, with the flags that reproduce
    the reference.

    Args:
        file: ``.pth`` with the keys bare or under ``base_model``, with or without ``module.``.
        out: folder to write.
        architecture: one that has a reference, such as ``i2p_mae_base``.
        kind: ``pretraining``, ``classification`` or ``part_segmentation``.
        preset: the data set that it was fine-tuned on, which decides what weights can't tell; needed where
            there are several (``classification``).

    Returns:
        ``out``.

    Raises:
        ValueError: unknown architecture, kind or preset; a file that holds more than tensors; keys that don't
            fit, which are listed.
    """
    file = Path(file)
    reference, chosen = _reference(architecture, kind, preset)
    arguments = dict(chosen.arguments)
    state = _read_state(file)
    converted: dict[str, Tensor] = {}
    unknown = []
    for key, tensor in state.items():
        if reference.ignored and key.startswith(reference.ignored):
            continue
        if (ours := reference.translate(key, tensor)) is None:
            unknown.append(key)
        else:
            converted[ours[0]] = ours[1]
    if unknown:
        raise CheckpointError(
            f"{file}: {len(unknown)} keys are not of the reference's {kind} model, "
            f"such as {', '.join(unknown[:5])}"
        )
    if kind == "classification" and "head.8.weight" in converted:
        arguments["num_classes"] = len(converted["head.8.weight"])
    model = create_model(
        architecture,
        kind,
        preprocess=Preprocess(num_points=chosen.num_points),
        provenance={
            "status": "converted",
            "source": file.name,
            "source_sha256": file_sha256(file),
            "preset": preset,
        },
        **arguments,
    )
    expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    problems = key_problems(expected, {key: tuple(tensor.shape) for key, tensor in converted.items()})
    if problems:
        raise CheckpointError(f"{file}: does not fit {architecture} as {kind}: {problems}")
    model.load_state_dict(converted, strict=True)
    return save_pretrained(model, out)


def _reference(
    architecture: str, kind: str, preset: str | None
) -> tuple[ReferenceCheckpoints, ReferencePreset]:
    """How checkpoints of the architecture are read, and the preset of this kind and name."""
    reference = get_architecture(architecture).reference
    if reference is None:
        known = [name for name in list_models() if get_architecture(name).has_reference]
        raise ValueError(
            f"{architecture}: no reference checkpoints are known; there are some of {' and '.join(known)}"
        )
    if kind not in reference.presets:
        raise ValueError(f"kind: one of {', '.join(reference.presets)} expected, got {kind!r}")
    presets = reference.presets[kind]
    if preset is None and len(presets) > 1:
        raise ValueError(
            "preset: weights can't tell neighbours, radii and pooling; "
            f"name the data set: {' or '.join(presets)}"
        )
    name = next(iter(presets)) if preset is None else preset
    if name not in presets:
        raise ValueError(f"preset: one of {', '.join(presets)} expected for {kind}, got {preset!r}")
    return reference, presets[name]


def _read_state(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    with file.open("rb") as stream:
        if (what := no_shape(stream.read(4096))) is not None:
            raise CheckpointError(f"{file}: {what}")
    try:
        # Real checkpoints carry their best accuracy as a numpy scalar, which is data and no code.
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it holds {foreign[1]}" if foreign else "damaged, or not written by torch.save"
        raise CheckpointError(
            f"{file}: not readable as a checkpoint of plain tensors ({reason}); "
            "re-save its state_dict alone with torch.save"
        ) from None
    if isinstance(content, dict) and isinstance(content.get("base_model"), dict):
        content = content["base_model"]
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(v, Tensor) for v in content.values())
    ):
        raise CheckpointError(f"{file}: a dictionary of tensors expected, bare or under 'base_model'")
    return {plain_name(str(key)).removeprefix("module."): tensor for key, tensor in content.items()}
