"""The graph of a static student: lookup, masked sum, head, unit length."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import MissingExtra

OPSET = 18
_TINY = 1e-12


def int8_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A float32 table `(V, r)` as int8 rows `(V, r)` and one float32 scale a row `(V,)`: row = scale * int8 row."""
    scales = (np.abs(table).max(axis=1) / 127.0).astype(np.float32)
    safe = np.where(scales > 0, scales, np.float32(1))
    return np.rint(table / safe[:, None]).astype(np.int8), scales


def static_graph(table: np.ndarray, head: np.ndarray | None, *, normalize: bool, precision: str) -> Any:
    """An ONNX model of `input_ids`, `attention_mask` (int64 `(n, t)`) -> `vector` (float32 `(n, d)`).

    Args:
        table: float32 `(V, r)`.
        head: float32 `(r, d)`, or None.
        normalize: whether vectors get unit length; otherwise they are the mean over the tokens. No tokens: zeros.
        precision: how the table is stored: fp32, fp16, int8 (rows with a scale each).

    Raises:
        MissingExtra: onnx is not installed.
    """
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise MissingExtra("onnx", "onnx") from None

    constants: dict[str, np.ndarray] = {"last": np.array([1], dtype=np.int64)}
    nodes: list[Any] = []

    def add(operation: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    share = add("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    if precision == "int8":
        constants["table"], constants["scales"] = int8_rows(table)
        scales = add("Gather", ["scales", "input_ids"], "token_scales")
        share = add("Mul", [share, scales], "shares")
    else:
        constants["table"] = table.astype(np.float16 if precision == "fp16" else np.float32)
    rows = add("Gather", ["table", "input_ids"], "stored_rows")
    if precision != "fp32":
        rows = add("Cast", [rows], "rows", to=TensorProto.FLOAT)
    # A masked sum over tokens is a product of (n, 1, t) with (n, t, r): one operation, nothing of that size written.
    left = add("Unsqueeze", [share, "last"], "left")
    vector = add("Squeeze", [add("MatMul", [left, rows], "sums"), "last"], "sum")
    if head is not None:
        constants["head"] = head.astype(np.float16 if precision == "fp16" else np.float32)
        kept = "head" if precision != "fp16" else add("Cast", ["head"], "whole_head", to=TensorProto.FLOAT)
        vector = add("MatMul", [vector, kept], "headed")
    if normalize:
        constants["floor"] = np.array(_TINY, dtype=np.float32)
        length = add("ReduceL2", [vector, "last"], "length", keepdims=1)
    else:
        constants["floor"] = np.array(1, dtype=np.float32)
        length = add("ReduceSum", ["mask", "last"], "length", keepdims=1)
    add("Div", [vector, add("Max", [length, "floor"], "divisor")], "vector")

    width = int(table.shape[1] if head is None else head.shape[1])
    graph = helper.make_graph(
        nodes,
        "static",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", width])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9, producer_name="potstill"
    )
