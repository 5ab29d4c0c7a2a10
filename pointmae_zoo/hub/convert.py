"""Your copy of a checkpoint of others -> a folder of weights.

Many of them are pickles. Only their tensors are read (``weights_only``). Every key must be known to the
architecture's family, and every weight of the model must be given.
"""

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pointmae_zoo.hub.checkpoint.errors import CheckpointError, key_problems, shapes_of
from pointmae_zoo.hub.checkpoint.model_folder import save_pretrained
from pointmae_zoo.hub.checkpoint.wrappers import plain_name
from pointmae_zoo.models.registry import ReferenceCheckpoints, create_model, get_architecture, list_models
from pointmae_zoo.shapes.contents import no_shape
from pointmae_zoo.system.files import file_sha256

_NUMPY_SCALARS: list[Any] = [
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64")),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
]


_STATES = ("base_model", "model_state_dict", "state_dict", "model")
"""Names under which training programs store a model beside other things."""
# How many outputs or classes a head has: the tensor that tells, and which of its axes.
_COUNTS = {
    "classification": {"num_classes": ("head.8.weight", 0)},
    "part_segmentation": {
        "num_parts": ("head.10.weight", 0),
        "num_object_classes": ("label_embedding.0.weight", 1),
    },
}


def convert_checkpoint(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    architecture: str | None = None,
    preset: str | None = None,
) -> Path:
    """Turn a checkpoint of others into a folder that `from_pretrained` loads, with the settings that give
    what their code computes.

    Its keys tell whose it is and what it was trained for. Of Point-M2AE's pre-training only the encoder is
    taken. ``config.provenance`` of the result says what was recognised and left out.

    Args:
        file: ``.pth`` or ``.safetensors``. Names may begin with something like ``module.``; the tensors may
            be stored under ``base_model``, ``model_state_dict``, ``state_dict`` or ``model``.
        out: folder to write.
        architecture: what it becomes. None: the one whose checkpoints have such keys.
        preset: the data set that it was trained on, which decides what weights can't tell: neighbours, radii
            of attention, pooling, scaling of the input. Needed where several fit.

    Returns:
        ``out``.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: a file that holds more than tensors, another model's, or one whose keys don't fit.
        ValueError: unknown architecture or preset, or several that fit.
    """
    file = Path(file)
    references = _references(architecture)
    state = _read_state(file)
    name, reference, prefix = _recognised(file, references, state)
    converted: dict[str, Tensor] = {}
    left_out, unknown = set(), []
    for stored, tensor in state.items():
        key = stored.removeprefix(prefix)
        if reference.left_out and key.startswith(reference.left_out):
            left_out.add(key.partition(".")[0])
        elif not stored.startswith(prefix) or (ours := reference.translate(key, tensor)) is None:
            unknown.append(stored)
        else:
            converted[ours[0].removeprefix("encoder." if reference.kind == "encoder" else "")] = ours[1]
    what = f"checkpoint of {reference.source} ({reference.kind})"
    if unknown:
        raise CheckpointError(
            f"{file}: recognised as a {what}, but {len(unknown)} keys are none of its, "
            f"such as {', '.join(unknown[:5])}"
        )
    model = _fitting(file, name, reference, preset, converted, what)
    provenance = {
        "status": "converted",
        "source": file.name,
        "source_sha256": file_sha256(file),
        "left_out": sorted(left_out),
    }
    model.load_state_dict(converted, strict=True, assign=True)
    return save_pretrained(model, out, provenance=provenance)


def _references(architecture: str | None) -> list[tuple[str, ReferenceCheckpoints]]:
    """Names of architectures and the checkpoints that are known of them."""
    known = [name for name in list_models() if get_architecture(name).has_reference]
    if architecture is not None and not get_architecture(architecture).has_reference:
        raise ValueError(
            f"{architecture}: no reference checkpoints are known; there are some of {' and '.join(known)}"
        )
    wanted = known if architecture is None else [architecture]
    return [(name, reference) for name in wanted for reference in get_architecture(name).references]


def _recognised(
    file: Path, references: list[tuple[str, ReferenceCheckpoints]], state: Mapping[str, Tensor]
) -> tuple[str, ReferenceCheckpoints, str]:
    """The architecture, the sort of checkpoint, and what all of its keys begin with."""
    found, near = [], []
    for name, reference in references:
        first, *others = reference.marks
        for key in state:
            prefix = key.removesuffix(first)
            if prefix == key or (prefix and not prefix.endswith(".")):
                continue
            if all(prefix + other in state for other in others):
                found.append((name, reference, prefix))
            else:
                near.append(f"{' and '.join(others)} ({reference.source}, {reference.kind})")
            break
    if len({name for name, _, _ in found}) > 1:
        names = sorted({name for name, _, _ in found})
        raise ValueError(f"architecture: {file} may be {' or '.join(names)}; say which")
    if found:
        return found[0]
    keys = f"it has {len(state)} tensors, such as {', '.join(list(state)[:3])}"
    if near:
        raise CheckpointError(
            f"{file}: an encoder that is known, but no head: there is no {'; no '.join(near)}"
        )
    known = dict.fromkeys(f"{reference.source} ({reference.kind})" for _, reference in references)
    raise CheckpointError(f"{file}: not a checkpoint that is known: {keys}. Known are {', '.join(known)}")


def _fitting(
    file: Path,
    name: str,
    reference: ReferenceCheckpoints,
    preset: str | None,
    converted: Mapping[str, Tensor],
    what: str,
) -> nn.Module:
    """The model, without storage, of the one preset whose shapes the tensors have."""
    if preset is not None and preset not in reference.presets:
        raise ValueError(
            f"preset: one of {', '.join(reference.presets)} expected for a {what}, got {preset!r}"
        )
    counts = {
        argument: converted[key].shape[axis]
        for argument, (key, axis) in _COUNTS.get(reference.kind, {}).items()
        if key in converted and converted[key].ndim > axis
    }
    fitting, problems = {}, []
    for one in reference.presets if preset is None else [preset]:
        settings = reference.presets[one]
        arguments: dict[str, Any] = {**settings.arguments, **counts}
        with torch.device("meta"):
            model = create_model(
                name,
                reference.kind,
                preprocess=settings.preprocess,
                provenance={"made_by": reference.source, "preset": one},
                **arguments,
            )
        if wrong := key_problems(shapes_of(model.state_dict()), shapes_of(converted)):
            problems.append(wrong)
        else:
            fitting[one] = model
    if not fitting:
        raise CheckpointError(
            f"{file}: recognised as a {what}, but it does not fit {name}: {min(problems, key=len)}"
        )
    if len(fitting) > 1:
        raise ValueError(
            f"preset: {file} is a {what}; its weights can't tell neighbours, radii and pooling: "
            f"name the data set: {' or '.join(fitting)}"
        )
    return next(iter(fitting.values()))


def _read_state(file: Path) -> dict[str, Tensor]:
    """The tensors by their names, without what ``torch.compile`` puts into these."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    with file.open("rb") as stream:
        start = stream.read(4096)
    if (what := no_shape(start)) is not None:
        raise CheckpointError(f"{file}: {what}")
    content: Any = _read_safetensors(file) if start[8:9] == b"{" else _read_pickle(file)
    if isinstance(content, dict):
        content = next((content[key] for key in _STATES if isinstance(content.get(key), dict)), content)
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(value, Tensor) for value in content.values())
    ):
        has = f"has {', '.join(map(str, list(content)[:5]))}" if isinstance(content, dict) else "is none"
        names = " or ".join(map(repr, _STATES))
        raise CheckpointError(f"{file}: a dictionary of tensors expected, bare or under {names}; it {has}")
    return {plain_name(str(key)): tensor for key, tensor in content.items()}


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file}: damaged, or no safetensors file ({error})") from None


def _read_pickle(file: Path) -> Any:
    try:
        # Real checkpoints carry their best accuracy as a numpy scalar, which is data and no code.
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            return torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it holds {foreign[1]}" if foreign else "damaged, or not written by torch.save"
        raise CheckpointError(
            f"{file}: not readable as a checkpoint of plain tensors ({reason}); "
            "re-save its state_dict alone with torch.save"
        ) from None
