#!/usr/bin/env bash
# onnx's version converter, from opset 6 to 7, turns Add with broadcast=1, axis=1 into an Unsqueeze of one axis too many
# where the second operand ends before the last axis of the first: x (1, 2, 3) plus b (2,) becomes x plus b (2, 1, 1),
# whose sum has another shape and other numbers. The model passes the checker; nothing is said.
# Fails if that changes: then minidl/onnx need not refuse opset 6.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install --quiet numpy==2.4.6 onnx==1.23.2
venv/bin/python - <<'PYTHON'
import numpy as np, onnx
from onnx import TensorProto, helper, version_converter
from onnx.reference import ReferenceEvaluator

print("onnx", onnx.__version__)
values = {"x": [1, 2, 3], "b": [2], "y": [1, 2, 3]}
x, b, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values.items())
graph = helper.make_graph([helper.make_node("Add", ["x", "b"], ["y"], broadcast=1, axis=1)], "sum", [x, b], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 6)], ir_version=3)
onnx.checker.check_model(model)
converted = version_converter.convert_version(model, 7)
onnx.checker.check_model(converted)
axes = list(converted.graph.node[0].attribute[0].ints)
given = {"x": np.zeros((1, 2, 3), np.float32), "b": np.array([1, 2], np.float32)}
(found,) = ReferenceEvaluator(version_converter.convert_version(converted, 13)).run(None, given)
right = given["x"] + given["b"].reshape(1, 2, 1)  # b is added along axis 1
print("Unsqueeze axes", axes, "where [1] is right; the sum has the shape", found.shape, "where", right.shape, "is right")
assert axes == [1, 2] and found.shape == (2, 2, 3), "the behaviour has changed"
PYTHON
