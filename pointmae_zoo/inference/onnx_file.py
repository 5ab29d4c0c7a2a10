"""A `torch.export` program as an ONNX file, and an ONNX file as a function."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pointmae_zoo._version import __version__

OPSET = 18
"""Of ONNX; onnxruntime 1.14 and everything newer runs it."""


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
    del proto.graph.value_info[:]  # intermediate shapes call the batch otherwise; onnxruntime finds them out
    onnx.helper.set_model_props(proto, {"pointmae_zoo": json.dumps(described, sort_keys=True)})
    proto.producer_name, proto.producer_version = "pointmae-zoo", __version__
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def _stable_sort(values: Any, dim: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """aten.sort.stable in ONNX: TopK of everything, which has the lower index first among equals."""
    from onnxscript import opset18 as op

    count = op.Constant(value_ints=[int(values.shape[dim])])
    return op.TopK(values, count, axis=dim, largest=int(descending), sorted=1)


def _keep_few(graph: Any) -> None:
    """Where only the first k of all N sorted indices are taken, look for k: TopK would take more than a third
    of the time of a run."""
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
    """Constants that no node reads, such as the counts that were replaced."""
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
