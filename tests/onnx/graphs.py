"""Small graphs, written as nodes."""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import minidl as md

FLOAT = onnx.TensorProto.FLOAT


def values(shapes: dict[str, list | None]) -> list:
    return [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in shapes.items()]


def names(text: str) -> list[str]:
    return [name.removeprefix("_") for name in text.split()]


def graph(nodes: list[tuple], inputs: dict[str, list], outputs: str = "y", **constants: Any) -> Any:
    """A graph of nodes (operator, inputs, outputs, attributes). An input that is left out is written _, a dot in the
    name of a constant __."""
    made = [helper.make_node(op, names(i), names(o), **dict(*rest)) for op, i, o, *rest in nodes]
    arrays = [numpy_helper.from_array(np.asarray(a), name.replace("__", ".")) for name, a in constants.items()]
    return helper.make_graph(made, "test", values(inputs), values(dict.fromkeys(outputs.split())), arrays)


def model(*arguments: Any, opset: int = 21, **constants: Any) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph(*arguments, **constants), opset_imports=opsets, ir_version=10)


def load(*arguments: Any, **options: Any) -> md.nn.Module:
    return md.load_onnx(model(*arguments, **options))


def network(**options: Any) -> onnx.ModelProto:
    """A convolution with batch normalisation, swish, a pool, and a linear layer behind arithmetic of shapes."""
    rng = np.random.default_rng(0)
    return model(
        [
            ("Conv", "x conv1.weight conv1.bias", "a", {"pads": [1, 1, 1, 1], "name": "conv1"}),
            ("BatchNormalization", "a bn.weight bn.bias bn.mean bn.var", "b"),
            ("Sigmoid", "b", "s"),
            ("Mul", "b s", "m"),
            ("AveragePool", "m", "p", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("Shape", "p", "shape"),
            ("Gather", "shape zero", "n"),
            ("Unsqueeze", "n zeros", "n1"),
            ("Concat", "n1 rest", "target", {"axis": 0}),
            ("Reshape", "p target", "flat"),
            ("Gemm", "flat fc.weight fc.bias", "y", {"transB": 1}),
        ],
        {"x": ["batch", 2, 4, 4]},
        **{
            "conv1__weight": rng.normal(size=(4, 2, 3, 3)).astype("f4"),
            "conv1__bias": rng.normal(size=4).astype("f4"),
            "bn__weight": rng.uniform(0.5, 1, 4).astype("f4"),
            "bn__bias": np.zeros(4, "f4"),
            "bn__mean": rng.normal(size=4).astype("f4"),
            "bn__var": rng.uniform(0.5, 1, 4).astype("f4"),
            "zero": np.array(0),
            "zeros": np.array([0]),
            "rest": np.array([-1]),
            "fc__weight": rng.normal(size=(3, 16)).astype("f4"),
            "fc__bias": np.zeros(3, "f4"),
        },
        **options,
    )
