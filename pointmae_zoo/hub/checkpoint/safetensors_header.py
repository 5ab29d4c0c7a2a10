"""The header of a safetensors file, compared with the architecture before one tensor is read or allocated.

The format: 8 bytes with the length of the header, the header (JSON: name -> dtype, shape, where it begins and
ends), then the tensors one after the other and nothing else.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from pointmae_zoo.hub.checkpoint.errors import CheckpointError, Shape, key_problems, named, shapes_of
from pointmae_zoo.hub.checkpoint.wrappers import plain_name
from pointmae_zoo.shapes.contents import no_shape

MAX_HEADER = 4 << 20
"""The most bytes of a header; that of our largest model has 1 % of them."""

_FLOATS = {"F16": 2, "BF16": 2, "F32": 4}
_INTEGERS = {"I64": 8}
_WIDTHS = _FLOATS | _INTEGERS  # what save_pretrained writes, and bfloat16


class Entry(NamedTuple):
    """A tensor as the header describes it."""

    dtype: str
    shape: Shape


def check_header(path: Path, state: Mapping[str, Tensor]) -> None:
    """Raise a CheckpointError unless the file's header is sound and fits this ``state_dict`` exactly.

    Args:
        path: a safetensors file.
        state: of the model, which may be on the meta device. Names, shapes, and whether tensors are floating
            point are compared.
    """
    found = read_header(path)
    problems = key_problems(shapes_of(state), {key: entry.shape for key, entry in found.items()})
    if not problems:
        wrong = [
            f"{key} is {found[key].dtype}"
            for key, tensor in state.items()
            if (found[key].dtype in _FLOATS) != tensor.is_floating_point()
        ]
        problems = "; ".join(named("wrong type:", wrong))
    if problems:
        raise CheckpointError(f"{path}: does not fit its architecture: {problems}")


def read_header(path: Path) -> dict[str, Entry]:
    """The tensors that the header lists, by their names without what ``torch.compile`` adds. Their content
    isn't read.

    Raises:
        CheckpointError: it isn't a safetensors file, is cut off, or its header can't be right: tensors
            overlap, leave gaps, end beyond the file, or aren't float16, bfloat16, float32 or int64.
    """
    with path.open("rb") as file:
        if (what := no_shape(file.read(4096))) is not None:  # a pointer of Git LFS, a saved web page
            raise CheckpointError(f"{path}: {what}")
    try:
        return _parsed(path)
    except ValueError as error:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({error}); copy or download it again"
        ) from None


def file_sizes(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """The least and the most bytes that a safetensors file of this ``state_dict`` may have."""
    numbers = sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point())
    integers = sum(tensor.numel() for tensor in state.values() if not tensor.is_floating_point())
    # An entry in the header takes its name and at most about 120 bytes; metadata are free text.
    header = (64 << 10) + sum(len(key) + 256 for key in state)
    return 2 * numbers + 8 * integers, 4 * numbers + 8 * integers + header


def _parsed(path: Path) -> dict[str, Entry]:
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if len(first) < 8 or length > size - 8:
            raise ValueError(f"cut off: {size:,} bytes are less than its header needs")
        if length > MAX_HEADER:
            raise ValueError(f"a header of {length:,} bytes, more than {MAX_HEADER:,}")
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("its header is no JSON") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    header.pop("__metadata__", None)  # free text of whoever wrote it; not used
    entries, spans = {}, []
    for key, fields in header.items():
        entry, begin, end = _entry(key, fields)
        if plain_name(key) in entries:
            raise ValueError(f"{key:.100} occurs twice, once as in a compiled model")
        entries[plain_name(key)] = entry
        spans.append((begin, end, key))
    reached = 0
    for begin, end, key in sorted(spans):
        if begin != reached:
            raise ValueError(f"{key:.100} begins at byte {begin:,}, not at {reached:,}")
        reached = end
    if reached != size - 8 - length:
        raise ValueError(f"{reached:,} bytes of tensors announced, {size - 8 - length:,} there")
    return entries


def _entry(key: str, fields: Any) -> tuple[Entry, int, int]:
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{key:.100}: dtype, shape and data_offsets expected")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _WIDTHS:
        raise ValueError(f"{key:.100}: one of {', '.join(_WIDTHS)} expected, got {dtype!s:.20}")
    if not _counts(shape) or len(shape) > 8 or not _counts(offsets) or len(offsets) != 2:
        raise ValueError(f"{key:.100}: a shape and two offsets expected, whole numbers from 0")
    numbers = 1
    for length in shape:
        numbers *= length
    begin, end = offsets
    if end - begin != numbers * _WIDTHS[dtype]:
        raise ValueError(f"{key:.100}: {end - begin:.3g} bytes do not hold {dtype} of shape {shape!s:.60}")
    return Entry(dtype, tuple(shape)), begin, end


def _counts(values: Any) -> bool:
    """Whether it is a list of whole numbers of a size that files have."""
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62 for value in values
    )
