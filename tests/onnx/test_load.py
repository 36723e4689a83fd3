"""load_onnx: names, weights, constants, and what is refused."""

import numpy as np
import pytest

import minidl as md

onnx = pytest.importorskip("onnx")


def load(nodes: list, shapes: dict, output: str = "y", opset: int = 21, **constants: np.ndarray) -> md.nn.Module:
    """A Module of nodes (operator, inputs, outputs, attributes) over inputs of these shapes."""
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    made = [helper.make_node(op, i.split(), o.split(), **attributes) for op, i, o, attributes in nodes]
    graph = helper.make_graph(
        made,
        "test",
        [helper.make_tensor_value_info(name, float32, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, float32, None) for name in output.split()],
        [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )
    return md.load_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))


def test_constants_where_weights_stand_are_parameters_under_their_names():
    w = np.array([1.0, 2.0], "float32")
    model = load([("Add", "x w", "s", {}), ("Relu", "s", "y", {})], {"x": ["n", 2]}, w=w)
    assert str(model.inputs[0]) == "x float32[n, 2]"
    assert dict(model.state_dict()).keys() == {"w"}
    assert model(np.array([[-3.0, 1.0]], "float32")).tolist() == [[0.0, 3.0]]


def test_all_that_is_not_supported_is_named_before_anything_runs():
    nodes = [("Bernoulli", "x", "a", {"name": "draw"}), ("Relu", "a", "b", {"slope": 1.0}), ("Det", "b", "y", {})]
    with pytest.raises(ValueError, match="the graph 'test' cannot run here") as caught:
        load(nodes, {"x": [2]})
    lines = str(caught.value).splitlines()
    assert lines[1:] == [
        "  Bernoulli (opset 21) of node 'draw': no such operator here",
        "  Relu (opset 21) of node 'Relu_1': the attribute slope",
        "  Det (opset 21) of node 'Det_2': no such operator here",
    ]
