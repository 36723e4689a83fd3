"""Every primitive is written as operators that compute the same, or a table says why it is not."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.core.array_function import operations
from minidl.core.fused import Fused
from minidl.core.primitive import registry
from minidl.onnx.save.writers import CHECKS, COMPUTED, REASONS, WRITERS

from .written import by_reference, calls, outputs

pytest.importorskip("onnx")

MOST = 4  # samples of each primitive; tests/reference runs all of them
JOINED = {"linear", "mean", "window_mean", "prelu"}  # names of groups of instructions
UNABLE = {  # what onnx's evaluator cannot run, or runs wrong: tests/reference asks onnxruntime
    "roi_pool": "MaxRoiPool is missing",
    "fold": "ConvTranspose in groups",
}
FEW = {"conv_transpose": 3, "max_pool": 3, "log_softmax": 2}  # the first samples alone: groups, volumes, exp(-1000)


def test_every_array_function_is_in_one_of_the_tables():
    known = {**WRITERS, **REASONS, **dict.fromkeys(CHECKS), **dict.fromkeys(COMPUTED)}
    by_definition = {name for name, function in operations.items() if isinstance(function, Fused)}
    ours = {name for name, function in operations.items() if function.forward.__module__.startswith("minidl.")}
    aside = ("minidl.onnx.", "minidl.optim.")  # of graphs that are read; of optimisers
    ours -= {name for name in ours if operations[name].forward.__module__.startswith(aside)}
    assert ours - known.keys() - by_definition == set(), "give it a writer in minidl/onnx/save/writers, or a reason"
    assert known.keys() - operations.keys() == JOINED
    assert set(WRITERS) & set(REASONS) == set()


@pytest.mark.parametrize("name", sorted({p for p in registry if p not in REASONS} - UNABLE.keys()))
def test_what_is_written_computes_the_same(name):
    for n, (function, arrays, expected) in enumerate(calls(name)):
        if n == FEW.get(name, MOST):
            break
        (found,) = outputs(function, arrays, by_reference, dynamic_batch=False)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7, err_msg=f"sample {n}")  # options are float32


SEVERAL = {  # functions made of several primitives, and the operators that they become
    "gelu": (F.gelu, "Mul Erf Sub Mul Mul"),
    "relu6": (F.relu6, "Clip"),
    "hardswish": (F.hardswish, "Add Clip Div Mul"),
    "max_pool, indices": (lambda x: F.max_pool(x, 2, return_indices=True), "MaxPool MaxPool Mod"),
    "ceil_mode": (lambda x: F.max_pool(x, 3, stride=2, padding=1, ceil_mode=True), "MaxPool"),
    "avg_pool": (lambda x: F.avg_pool(x, 2), "AveragePool"),
    "global_avg_pool": (F.global_avg_pool, "ReduceMean"),
    "bilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), "MatMul MatMul"),
    "reflect": (lambda x: F.pad(x, 1, mode="reflect"), None),
    "pad": (lambda x: F.pad(x, 1), "Pad"),
    "crop": (lambda x: F.pad(x, -1), "Slice Pad"),
    "pad, value": (lambda x: F.pad(x, 1, value=2.0), None),
    "layer_norm": (lambda x: F.layer_norm(x, x.shape[-2:]), None),
    "group_norm": (lambda x: F.group_norm(x, 2), None),
    "sort": (lambda x: x.sort(axis=1).values, "TopK GatherElements"),
    "gather": (lambda x: x.gather(1, x.argsort(axis=1)[:, :2]), None),
    "scatter_add": (lambda x: x.zeros_like().scatter_add(1, x.argsort(axis=1), x), None),
    "argmax": (lambda x: x.argmax(), "Reshape ArgMax"),
    "one_hot": (lambda x: F.one_hot(x.argmax(1), 4), "ArgMax Unsqueeze Equal Cast"),
    "logsumexp": (lambda x: x.logsumexp(axis=(1, 2)), None),
    "any": (lambda x: (x > 1).any(axis=1), "Greater Cast ReduceMax Cast"),
    "mask": (lambda x: F.where(~(x > 0) & (x != 1), x, 0.0), None),
    "shuffle": (lambda x: F.pixel_shuffle(x, 2), "Reshape Transpose Reshape"),
    "einsum": (lambda x: F.einsum("nchw,ndhw->ncd", x, x), None),
    "integers": (lambda x: (x * 10).astype(np.int64).sum(axis=1) / 2, "Mul Cast ReduceSum Cast Div"),
    "arrays": (lambda x: x[:, [0, 1], :, [1, 3]], None),
    "neighbours": (lambda x: x[:, :, [0, 3, 2], [1, 1, 2]], None),
    "integer and array": (lambda x: x[:, 1, [0, 2]], None),
    "None": (lambda x: x[:, None, 0, ..., ::-2], "Slice Squeeze Unsqueeze"),
    "from the end": (lambda x: x[-1:, :, -2], "Slice Squeeze"),
    "batch": (lambda x: x.mean(0) * x.shape[0], None),
    "zeros of the batch": (lambda x: x + md.Tensor(np.zeros((len(x), 4, 1, 1))), "Shape Concat Expand Add"),
    "tile": (lambda x: x.tile((2, 1, 1, 1)), None),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_functions_of_several_primitives_on_any_batch(name):
    from onnx.reference import ReferenceEvaluator

    from minidl.onnx.save.file import as_model

    function, operators = SEVERAL[name]
    x = np.random.default_rng(0).normal(size=(4, 4, 4, 5))
    proto = as_model(function, x[:1])
    if operators is not None:
        assert " ".join(node.op_type for node in proto.graph.node) == operators
    run, again = ReferenceEvaluator(proto), md.load_onnx(proto)
    for n in (1, 4):
        expected = function(md.Tensor(x[:n]))
        expected = [t.data for t in (expected if isinstance(expected, tuple) else (expected,))]
        for found, right in zip(run.run(None, {proto.graph.input[0].name: x[:n]}), expected, strict=True):
            assert found.shape == right.shape and found.dtype == right.dtype
            np.testing.assert_allclose(found, right, rtol=1e-6, atol=1e-7)
        repeated = again(md.Tensor(x[:n]))
        for found, right in zip(repeated if isinstance(repeated, tuple) else (repeated,), expected, strict=True):
            assert found.dtype == right.dtype
            np.testing.assert_allclose(found.data, right, rtol=1e-6, atol=1e-7)


def test_all_operators_are_there_in_the_newest_opset_as_well():
    import onnx

    from minidl.onnx.save.file import as_model

    together = as_model(
        lambda x: {name: function(x) for name, (function, _) in SEVERAL.items()},
        np.ones((1, 4, 4, 5)), opset=onnx.defs.onnx_opset_version(),
    )  # fmt: skip
    onnx.checker.check_model(together, full_check=True)
