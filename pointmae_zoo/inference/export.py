"""Models for other programs: ONNX, and `torch.export` programs that need torch but not this package.

Only the network is exported: prepared points (B, N, 3) in, features or logits out. B is free; N is fixed to
that of the weights. The file's metadata say how points are prepared. Before a file gets its name, it is
loaded and run on several clouds, and its outputs are compared with the model's.
"""

import importlib.util
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pointmae_zoo._version import __version__
from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256, model_sha256
from pointmae_zoo.inference.inputs import opened
from pointmae_zoo.system.files import check_out, written_whole

TOLERANCE = 1e-4
"""The most by which an exported model's outputs may differ from the model's own."""
OLDEST_TORCH = (2, 13)
"""The oldest torch that export was tested with; ``scan`` in ONNX isn't much older."""
_BATCHES = (1, 2, 3)


OPSET = 18
"""Of ONNX; onnxruntime 1.14 and everything newer runs it."""


@dataclass(frozen=True)
class Exported:
    """What `export_model` wrote."""

    path: Path
    outputs: str
    """features or logits."""
    width: int
    """Number of outputs."""
    num_points: int
    """N of the input (B, N, 3)."""
    difference: float
    """The largest difference between the file's outputs and the model's, on the test clouds."""
    bytes: int


def export_model(
    model: Any, out: str | os.PathLike[str], *, pool: str | None = None, labels: bool | None = None
) -> Exported:
    """Write an encoder's `embed`, or a classifier's logits, as ONNX (``.onnx``) or `torch.export` program
    (``.pt2``), for any number of clouds of `config.preprocess.num_points` points each.

    The outputs are compared with the model's; a file that differs by more than `TOLERANCE` isn't written.
    ``pointmae_zoo`` in the metadata of an ONNX file (in ``extra_files`` of a .pt2) is JSON: architecture,
    preprocess, labels, outputs, pool, fingerprint, version.

    The model refuses points that are NaN or infinite. An exported program can't, so it gives NaN for all
    outputs of such a cloud.

    Args:
        model: weights by name, folder or repository of the Hub, or a model on the CPU.
        out: FILE.onnx or FILE.pt2.
        pool: of an encoder, see `PointEncoder.embed`. None: as stored.
        labels: True: class logits, which only a classifier has. False: features, even of a classifier. None:
            logits of a classifier, features of anything else.

    Raises:
        ValueError: a model that cannot be exported, an unknown ending, outputs that differ.
        ImportError: torch is older than 2.13; for ONNX, onnx, onnxscript or onnxruntime is missing.
    """
    path = Path(out)
    check_out(path, (".onnx", ".pt2"))
    _check_libraries(path)
    source, _ = opened(model, None)
    network, outputs = _network(source, pool, labels)
    encoder = getattr(source, "encoder", source)
    count = source.config.preprocess.num_points
    described = {
        "architecture": source.config.architecture,
        "fingerprint": encoder_sha256(encoder) if outputs == "features" else model_sha256(source),
        "labels": None if outputs == "features" or not source.config.labels else list(source.config.labels),
        "outputs": outputs,
        "pool": network.pool if outputs == "features" else None,
        "preprocess": source.config.preprocess.to_dict(),
        "version": __version__,
    }
    clouds = _clouds(max(_BATCHES), count)
    with torch.no_grad(), _settled(network):
        wanted = network(clouds).numpy()
        program = _traced(network, clouds)
        with written_whole(path) as unfinished:
            if path.suffix.lower() == ".onnx":
                write_onnx(program, unfinished, outputs, described)
                run = onnx_runner(unfinished)
            else:
                # Written to memory first: if the disk is full, torch's writer would end the whole process.
                content = io.BytesIO()
                torch.export.save(program, content, extra_files={"pointmae_zoo": json.dumps(described)})
                unfinished.write_bytes(content.getbuffer())
                run = _program_runner(unfinished)
            difference = max(
                float(np.abs(run(clouds[:batch].numpy()) - wanted[:batch]).max()) for batch in _BATCHES
            )
            if not difference <= TOLERANCE:
                raise ValueError(
                    f"{path}: not written, because its outputs differ from the model's by {difference:.2g} "
                    f"(at most {TOLERANCE:g} expected); please report this with the versions of torch, onnx "
                    "and onnxruntime"
                )
    return Exported(path, outputs, wanted.shape[1], count, difference, path.stat().st_size)


class _Network(nn.Module):
    """What is exported: one input, one float32 output."""

    def __init__(self, inner: nn.Module, pool: str | None) -> None:
        super().__init__()
        self.inner, self.pool = inner, pool

    def forward(self, points: Tensor) -> Tensor:
        out = self.inner(points) if self.pool is None else self.inner(points, self.pool)
        # The model raises an error, which a program can't; its searches and maxima would pass over the NaN.
        finite = points.isfinite().flatten(1).all(dim=1, keepdim=True)
        return torch.where(finite, out.float(), torch.nan)


def _network(model: Any, pool: str | None, labels: bool | None) -> tuple[_Network, str]:
    """The network and what its outputs are."""
    kind = model.config.kind
    if labels is None:
        labels = kind == "classification"
    if labels and kind != "classification":
        raise ValueError(f"model: logits are a classifier's, and this is of kind {kind!r}; export features")
    if labels and pool is not None:
        raise ValueError("pool: decides features, and this exports logits; leave it out")
    if kind == "part_segmentation":
        raise ValueError(
            "model: a part segmenter cannot be exported; from_pretrained(..., kind='encoder') takes its "
            "encoder"
        )
    encoder = getattr(model, "encoder", model)
    if encoder.hyper.hide_uncovered:
        raise ValueError(
            "model: hide_uncovered, the rule of converted pre-training weights, lets values decide shapes, "
            "which an exported program cannot have; weights trained or fine-tuned here are without it"
        )
    if labels:
        return _Network(model, None), "logits"
    encoder.feature_dim(pool)  # raises for an unknown one
    return _Network(encoder, pool or encoder.hyper.pool), "features"


@contextmanager
def _settled(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients while the block lasts; restored afterwards."""
    modes = [(part, part.training) for part in network.modules()]
    wanting = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.eval().requires_grad_(False)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for parameter in wanting:
            parameter.requires_grad_(True)


def _clouds(batch: int, count: int) -> Tensor:
    """(batch, count, 3): dented spheres. In the second one every point occurs twice; the third one's points
    lie on a grid, where many distances are equal."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(batch, count, 3))
    points *= (1 + 0.3 * np.sin(5 * points[..., :1])) / np.linalg.norm(points, axis=-1, keepdims=True)
    points[1, count // 2 :] = points[1, : count - count // 2]
    points[2] = np.round(4 * points[2]) / 4
    return torch.from_numpy((points / np.linalg.norm(points, axis=-1).max()).astype(np.float32))


def _traced(network: nn.Module, clouds: Tensor) -> Any:
    return torch.export.export(
        network, (clouds,), dynamic_shapes={"points": {0: torch.export.Dim("batch")}}, strict=False
    )


def _program_runner(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    with open(path, "rb") as file:
        module = torch.export.load(file).module()
    return lambda points: module(torch.from_numpy(points)).numpy()


def _check_libraries(path: Path) -> None:
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < OLDEST_TORCH:
        wanted = ".".join(map(str, OLDEST_TORCH))
        raise ImportError(f"export needs torch {wanted} or newer, this is {torch.__version__}; update it")
    needed = ("onnx", "onnxscript", "onnxruntime") if path.suffix.lower() == ".onnx" else ()
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise ImportError(f'{", ".join(missing)} missing: pip install "pointmae-zoo[export]"')


def write_onnx(program: Any, path: Path, outputs: str, described: dict[str, Any]) -> None:
    """Write a program with one input, ``points``, and one output, named ``outputs``; both of a free batch."""
    import onnx

    written = torch.onnx.export(
        program,
        input_names=["points"],
        output_names=[outputs],
        opset_version=OPSET,
        dynamo=True,
        custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
        verbose=False,
    )
    assert written is not None
    proto = written.model_proto
    _keep_few(proto.graph)
    _drop_unread(proto.graph)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del proto.graph.value_info[:]  # they name the batch differently; onnxruntime infers them
    onnx.helper.set_model_props(proto, {"pointmae_zoo": json.dumps(described, sort_keys=True)})
    proto.producer_name, proto.producer_version = "pointmae-zoo", __version__
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def _stable_sort(values: Any, dim: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """aten.sort.stable in ONNX: TopK of all values, which puts the lower index first among equals."""
    from onnxscript import opset18 as op

    count = op.Constant(value_ints=[int(values.shape[dim])])
    return op.TopK(values, count, axis=dim, largest=int(descending), sorted=1)


def _keep_few(graph: Any) -> None:
    """If only the first k of all N sorted indices are used, let TopK find k. Otherwise it takes more than a
    third of a run's time."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {
        node.output[0]: node.attribute[0].t
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    for number, node in enumerate(graph.node):
        if node.op_type != "TopK":
            continue
        readers = [other for other in graph.node if set(other.input) & set(node.output)]
        bounds = [
            [numpy_helper.to_array(constants[name]).tolist() for name in reader.input[1:]]
            for reader in readers
            if reader.op_type == "Slice" and all(name in constants for name in reader.input[1:])
        ]
        if len(readers) != 1 or not bounds or bounds[0][0] != [0] or bounds[0][2:] not in ([[2]], [[2], [1]]):
            continue
        fewer = f"{node.output[1]}_count"
        graph.initializer.append(helper.make_tensor(fewer, 7, [1], bounds[0][1]))
        graph.node[number].input[1] = fewer


def _drop_unread(graph: Any) -> None:
    """Remove constants that no node reads, such as counts that were replaced."""
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in graph.node:  # what a subgraph reads of the outer graph
        for attribute in node.attribute:
            read |= {name for inner in attribute.g.node for name in inner.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def onnx_runner(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Points to outputs, by onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda points: session.run(None, {"points": points})[0]
