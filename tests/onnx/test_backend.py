"""onnx's own tests of the operators that networks for images use, one test here for all cases of an operator."""

import warnings

import pytest

pytest.importorskip("onnx")

from tests.onnx import backend

OPERATORS = """
    abs acos acosh add affinegrid and_ argmax argmin asin asinh atan atanh averagepool batch_normalization cast ceil
    celu center_crop_pad clip col2im compress concat constant constantofshape conv convinteger convtranspose cos
    cosh cumsum deformconv depthtospace dequantizelinear div dropout dynamicquantizelinear einsum elu equal erf exp
    expand eyelike flatten floor gather gatherelements gathernd gelu gemm globalaveragepool globalmaxpool greater
    greater_or_equal gridsample groupnormalization gru hardmax hardsigmoid hardswish identity if_
    instance_normalization isinf isnan layernormalization leakyrelu less less_or_equal log logsoftmax loop
    lpnormalization lppool lrn lstm matmul matmulinteger max maxpool maxunpool mean meanvariancenormalization min
    mish mod mul neg nonmaxsuppression nonzero not_ onehot or_ pad pow prelu qlinearconv qlinearmatmul
    quantizelinear rangeop reciprocal reduce_log_sum reduce_log_sum_exp reducel1 reducel2 reducemax reducemean
    reducemin reduceprod reducesum reducesumsquare relu reshape resize reversesequence rmsnormalization rnn roialign
    round scatter scatterelements scatternd selu shape shrink sigmoid sign sin sinh size slice softmax softplus
    softsign spacetodepth split sqrt squeeze sub sum swish tan tanh thresholdedrelu tile topk transpose trilu
    unsqueeze upsample where xor
""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", OPERATORS)
def test_cases_of_an_operator(name):
    cases = backend.of_module(name)
    run = [case for case in cases if backend.reason(case) is None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, about infinities that the cases are about
        failures = [line for line in map(backend.failure, run) if line]
    assert run and not failures, "\n".join(failures)


def test_a_real_network():
    backend.run(backend.light("shufflenet"))
