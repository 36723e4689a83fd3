"""minidl onnx: the table, what is refused, and the comparison with onnxruntime."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import minidl as md
from minidl.__main__ import main

onnx = pytest.importorskip("onnx")

from tests.onnx.graphs import model, network  # noqa: E402


@pytest.fixture
def file(tmp_path):
    onnx.save(network(), tmp_path / "net.onnx")
    return str(tmp_path / "net.onnx")


def test_the_table(file, capsys):
    assert main(["onnx", file, "--shape", "x=3x2x4x4"]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == f"{file}: test, opset 21, 11 nodes".split()
    assert out.splitlines()[1:3] == ["  input   x float32[batch, 2, 4, 4]", "  output  y float32[?]"]
    assert ["conv1", "Conv", "a", "(3,", "4,", "4,", "4)", "76", "3,456"] in lines  # 3*4*16 sums of 2*9
    assert ["Gemm_10", "Gemm", "y", "(3,", "3)", "51", "144"] in lines
    assert out.splitlines()[-1] == "all of it runs here; with x (3, 2, 4, 4): 3,600 MACs; 135 parameters"


def test_json_and_assumed_shapes(file, capsys):
    assert main(["onnx", file, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["supported"] and found["ran_with"] == {"x": [1, 2, 4, 4]} and len(found["rows"]) == 11
    assert found["rows"][-1] == {
        "node": "Gemm_10", "operator": "Gemm", "output": "y", "shape": [1, 3], "parameters": 51, "macs": 48
    }  # fmt: skip


def test_what_cannot_run_is_listed(tmp_path, capsys):
    onnx.save(model([("Relu", "x", "a"), ("STFT", "a", "y")], {"x": [2, 2]}), tmp_path / "net.onnx")
    assert main(["onnx", str(tmp_path / "net.onnx")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["it cannot run here:", "  STFT (opset 21) of node 'STFT_1': no such operator here"]


@pytest.mark.parametrize("shift", [0, 1])
def test_comparison(file, capsys, monkeypatch, shift):
    class Session:
        def __init__(self, path, providers):
            self.net = md.load_onnx(path)

        def run(self, names, feed):
            return [self.net(**feed).data + np.float32(shift)]

    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Session))
    assert main(["onnx", file, "--check", "--value", "x=0.5"]) == shift
    assert ("y: agrees with", "y: DIFFERS with")[shift] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--check"], "--check compares with onnxruntime, which is not installed: pip install onnxruntime"),
        (["--shape", "x=3,3"], "--shape x=3,3: see minidl onnx --help for how it is written"),
        (["--shape", "1x3"], "--shape 1x3: see minidl onnx --help for how it is written"),
        (["--value", "z=3"], "z is no input; these are x float32[batch, 2, 4, 4]"),
    ],
)
def test_what_is_impossible_is_said_in_one_line(file, capsys, monkeypatch, arguments, message):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["onnx", file, *arguments]) == 2
    assert capsys.readouterr().err == f"minidl: error: {message}\n"
