#!/usr/bin/env bash
# onnx.save_model moves every array above size_threshold bytes into the external file, also those that say a shape; the
# full check of the file that it wrote then fails at a Reshape, though the same model passed it before.
# Fails if that changes: then minidl/onnx/save/file.py may leave the choice of arrays to onnx.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install --quiet numpy==2.4.6 onnx==1.23.2
venv/bin/python - <<'PYTHON'
import numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper

x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 2])
shape = numpy_helper.from_array(np.array([3, 2]), "shape")
graph = helper.make_graph([helper.make_node("Reshape", ["x", "shape"], ["y"])], "reshape", [x], [y], [shape])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(model, full_check=True)
onnx.save_model(model, "model.onnx", save_as_external_data=True, size_threshold=0)
try:
    onnx.checker.check_model("model.onnx", full_check=True)
except onnx.shape_inference.InferenceError as error:
    print("onnx", onnx.__version__, "wrote a file that it refuses:", str(error).strip().splitlines()[0])
else:
    raise SystemExit("the behaviour has changed")
PYTHON
