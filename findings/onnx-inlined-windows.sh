#!/usr/bin/env bash
# onnx.inliner writes HannWindow, HammingWindow and BlackmanWindow out by their definition with a Cast that lacks its
# required attribute `to`, where output_datatype was left to its default; the checker refuses the result.
# Fails if that changes: then tests/onnx/backend.py may run the expansions of these windows.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install --quiet numpy==2.4.6 onnx==1.23.2
venv/bin/python - <<'PYTHON'
import onnx, onnx.inliner
from onnx import TensorProto, helper

size = helper.make_tensor_value_info("size", TensorProto.INT64, [])
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])
for name in ("HannWindow", "HammingWindow", "BlackmanWindow"):
    graph = helper.make_graph([helper.make_node(name, ["size"], ["y"])], "window", [size], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    inlined = onnx.inliner.inline_selected_functions(model, [("", name)], inline_schema_functions=True)
    try:
        onnx.checker.check_model(inlined)
    except onnx.checker.ValidationError as error:
        print("onnx", onnx.__version__, name, "written out:", str(error).splitlines()[0])
    else:
        raise SystemExit("the behaviour has changed")
PYTHON
