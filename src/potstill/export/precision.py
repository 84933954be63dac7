"""A traced graph with smaller weights. Inputs and outputs stay as they are."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import MissingExtra
from .static_graph import int8_rows

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_SMALL = 1024  # weights of fewer numbers stay as they are


def with_precision(model: Any, precision: Precision) -> Any:
    """A copy of an ONNX model whose weights have that precision.

    fp16: every large weight is stored in half precision and computed with in single. int8: tables that are looked up
    have int8 rows with a scale each; matrix products with a weight run in int8, one scale an output, and what comes in
    is quantised as it comes.

    Raises:
        MissingExtra: onnxruntime is not installed.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if precision == "fp16":
        _halved(copy)
    elif precision == "int8":
        copy = _products(copy)
        _tables(copy)
    return copy


def _halved(model: Any) -> None:
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < _SMALL:
            continue
        name = tensor.name
        values = numpy_helper.to_array(tensor)
        limit = np.finfo(np.float16).max
        tensor.CopyFrom(numpy_helper.from_array(np.clip(values, -limit, limit).astype(np.float16), f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    _put_first(model, casts)


def _products(model: Any) -> Any:
    """Matrix products in int8. Weights of seven bits: on processors without VNNI, sums of eight-bit ones overflow."""
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        raise MissingExtra("onnxruntime", "onnx") from None
    import logging

    import onnx

    log = logging.getLogger()
    before = log.level
    log.setLevel(logging.ERROR)  # it advises a preprocessing that torch's exporter has done
    try:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "model.onnx"
            quantize_dynamic(
                model,
                out,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )
            return onnx.load(str(out))
    finally:
        log.setLevel(before)


def _tables(model: Any) -> None:
    """Row-wise int8 for every large float table that is only ever looked up by its first axis."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    uses: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            uses.setdefault(name, []).append(node)
    more = [helper.make_tensor("potstill.last", TensorProto.INT64, [1], [-1])]
    found = {}
    for tensor in graph.initializer:
        takers = uses.get(tensor.name, [])
        large = tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2 and np.prod(tensor.dims) >= _SMALL
        if large and takers and all(_looks_up(node, tensor.name) for node in takers):
            rows, scales = int8_rows(numpy_helper.to_array(tensor))
            found[tensor.name] = f"{tensor.name}.scales"
            more.append(numpy_helper.from_array(scales, found[tensor.name]))
            tensor.CopyFrom(numpy_helper.from_array(rows, tensor.name))
    if not found:
        return
    nodes = []
    for node in graph.node:
        if node.op_type != "Gather" or node.input[0] not in found:
            nodes.append(node)
            continue
        table, ids, out = node.input[0], node.input[1], node.output[0]
        nodes += [
            helper.make_node("Gather", [table, ids], [f"{out}.int8"]),
            helper.make_node("Cast", [f"{out}.int8"], [f"{out}.rows"], to=TensorProto.FLOAT),
            helper.make_node("Gather", [found[table], ids], [f"{out}.scale"]),
            helper.make_node("Unsqueeze", [f"{out}.scale", "potstill.last"], [f"{out}.scales"]),
            helper.make_node("Mul", [f"{out}.rows", f"{out}.scales"], [out]),
        ]
    graph.initializer.extend(more)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]  # what it said of the rows' types no longer holds


def _looks_up(node: Any, table: str) -> bool:
    by_rows = all(attribute.name != "axis" or attribute.i == 0 for attribute in node.attribute)
    return node.op_type == "Gather" and node.input[0] == table and by_rows


def _put_first(model: Any, nodes: list[Any]) -> None:
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
