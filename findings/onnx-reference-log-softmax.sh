#!/usr/bin/env bash
# onnx's ReferenceEvaluator, against which exporters are tested, takes LogSoftmax as the logarithm of a softmax: of the
# scores 0 and 1000 it gives -inf and 0, where -1000 and 0 are right (onnxruntime gives these).
# Fails if that changes: then tests/onnx may compare LogSoftmax of far scores with it.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
venv/bin/python -W ignore - <<'PYTHON'
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "xy")
graph = helper.make_graph([helper.make_node("LogSoftmax", ["x"], ["y"])], "scores", [x], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(model, full_check=True)
scores = {"x": np.array([[0, 1000]], np.float32)}
(reference,) = ReferenceEvaluator(model).run(None, scores)
(right,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, scores)
print("onnx", onnx.__version__, "gives", reference, "; onnxruntime", onnxruntime.__version__, "gives", right)
assert np.array_equal(right, [[-1000, 0]]) and np.array_equal(reference, [[-np.inf, 0]]), "the behaviour has changed"
PYTHON
