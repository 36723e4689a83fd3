"""From a file to a Graph, by the onnx package: the only file of the reading side that knows it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.advice import install
from .graph import Graph, Node, Value

if TYPE_CHECKING:
    import onnx

OWN = ("", "ai.onnx")  # the names of ONNX's own domain


def onnx_package() -> Any:
    """The onnx package, or an ImportError that says what to install."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f'ONNX files need the onnx package ({error}): {install("onnx")}') from None
    return onnx


def read(source: Any, known: Collection[str] = ()) -> Graph:
    """The graph of a file (its path, or an open binary file), of the bytes of one, or of an `onnx.ModelProto`.

    Data that the file keeps outside of it, beside it, is read. Functions are written out where they are called: those
    that the file defines, and those that ONNX itself defines by simpler operators, the `known` ones excepted. Raises
    ValueError, with the path, for a file that is no ONNX graph.
    """
    onnx = onnx_package()
    model = source if isinstance(source, onnx.ModelProto) else _loaded(onnx, source)
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    graph = _parsed(onnx, model)
    if graph.operators <= {*known}:
        return graph
    from onnx.inliner import inline_selected_functions

    with suppress(RuntimeError):  # ONNX's inliner does not know a type that it needs
        own = [("", name) for name in known]
        model = inline_selected_functions(model, own, exclude=True, inline_schema_functions=True)
        written_out = _parsed(onnx, model)
        graph = written_out if written_out.operators <= {*known} else graph
    return graph


def _parsed(onnx: Any, model: onnx.ModelProto) -> Graph:
    opsets = {"" if entry.domain in OWN else entry.domain: entry.version for entry in model.opset_import}
    return _Reader(onnx, opsets or {"": 1}).graph(model.graph)


def _loaded(onnx: Any, source: Any) -> Any:
    from google.protobuf.message import DecodeError

    path = source if isinstance(source, str | Path) else "the data"
    try:
        if isinstance(source, bytes):
            model = onnx.load_model_from_string(source)
        else:
            model = onnx.load(source)
    except DecodeError as error:
        raise ValueError(f"{path}: not an ONNX file ({error})") from None
    except (onnx.checker.ValidationError, ValueError) as error:  # data beside the file
        raise ValueError(f"{path}: {error}") from None
    if not model.graph.output:
        raise ValueError(f"{path}: not an ONNX file: it has no graph with outputs")
    return model


class _Reader:
    """Turns what the onnx package gives into plain data."""

    def __init__(self, onnx: Any, opsets: Mapping[str, int]):
        self.onnx, self.opsets, self.count = onnx, opsets, 0

    def graph(self, proto: onnx.GraphProto) -> Graph:
        constants = {tensor.name: self.array(tensor) for tensor in proto.initializer}
        constants |= {sparse.values.name: self.dense(sparse) for sparse in proto.sparse_initializer}
        nodes = []
        for node in map(self.node, proto.node):
            if node.operator == "Constant" and node.attributes:
                constants[node.outputs[0]] = constant(node.attributes)
            else:
                nodes.append(node)
        given = [v for v in proto.input if v.name not in constants]  # files of IR 3 list the initialisers there, too
        return Graph(
            proto.name, tuple(map(self.value, given)), tuple(map(self.value, proto.output)), constants, tuple(nodes)
        )

    def node(self, proto: onnx.NodeProto) -> Node:
        domain = "" if proto.domain in OWN else proto.domain
        operator = f"{domain}.{proto.op_type}" if domain else proto.op_type
        name = proto.name or f"{proto.op_type}_{self.count}"
        self.count += 1
        attributes = {a.name: self.attribute(a) for a in proto.attribute}
        opset = self.opsets.get(domain, 1)
        return Node(name, operator, opset, tuple(proto.input), tuple(proto.output), attributes)

    def attribute(self, proto: onnx.AttributeProto) -> Any:
        value = self.onnx.helper.get_attribute_value(proto)
        if proto.name in ("to", "dtype", "output_dtype"):
            return self.onnx.TensorProto.DataType.Name(value).lower()
        match value:
            case bytes():
                return value.decode("utf-8", "replace")
            case self.onnx.TensorProto():
                return self.array(value)
            case self.onnx.SparseTensorProto():
                return self.dense(value)
            case self.onnx.GraphProto():
                return self.graph(value)
            case int() | float():
                return value
        values = list(value) if proto.type != proto.TYPE_PROTO else [value]
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]

    def array(self, proto: onnx.TensorProto) -> np.ndarray:
        array = self.onnx.numpy_helper.to_array(proto)
        return array.astype(np.float32) if array.dtype.name == "bfloat16" else array

    def dense(self, proto: onnx.SparseTensorProto) -> np.ndarray:
        values, indices = self.array(proto.values), self.array(proto.indices)
        array = np.zeros(tuple(proto.dims), values.dtype)
        at = np.unravel_index(indices, array.shape) if indices.ndim == 1 else tuple(indices.T)
        array[at] = values
        return array

    def value(self, proto: onnx.ValueInfoProto) -> Value:
        tensor = proto.type.tensor_type
        dtype = None
        if tensor.elem_type:
            dtype = np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        shape = None
        if tensor.HasField("shape"):
            axes = [(axis.dim_value if axis.HasField("dim_value") else -1, axis.dim_param) for axis in tensor.shape.dim]
            shape = tuple(n if n >= 0 else name or None for n, name in axes)  # some programs write -1 for any length
        return Value(proto.name, dtype, shape)


def constant(attributes: Mapping[str, Any]) -> np.ndarray:
    """The value of a Constant node, which has one of several attributes."""
    (name, value), *_ = attributes.items()
    if name.startswith("value_float"):
        return np.asarray(value, np.float32)
    if name.startswith("value_int"):
        return np.asarray(value, np.int64)
    return np.asarray(value)
