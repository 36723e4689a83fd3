"""The convolution family: one trilinear form, proved by its adjoint identities and against SciPy and loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.check.samples.conv import CASES, by_signal, one_by_one_back, one_by_one_weight, tensors
from minidl.ops.conv import conv_p, conv_transpose_p, conv_weight
from minidl.ops.window import Window

from .test_window import drawn, seeds, windows


@st.composite
def forms(draw, batches=(0, 1, 2, 3)):
    """Arrays x, w, u that fit one trilinear form, and its geometry."""
    groups, c, f = draw(st.sampled_from([(1, 1, 1), (1, 2, 3), (1, 5, 1), (2, 1, 2), (3, 1, 1), (2, 4, 1)]))
    case = draw(st.sampled_from(batches)), c * groups, f * groups, groups, draw(windows())
    return tensors(draw(seeds), *case)


def close(a, b, scale=1.0):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * scale)


@settings(drawn, max_examples=150)
@given(forms())
def test_the_three_derivatives_are_adjoint(form):
    x, w, u, geometry = form
    y, back = conv_p(x, w, **geometry).data, conv_transpose_p(u, w, **geometry).data
    weight = conv_weight(x, u, **geometry).data
    assert (y.shape, back.shape, weight.shape) == (u.shape, x.shape, w.shape)
    bound = 1e-12 * (1 + (conv_p(abs(x), abs(w), **geometry).data * abs(u)).sum())
    assert abs((y * u).sum() - (x * back).sum()) <= bound
    assert abs((y * u).sum() - (w * weight).sum()) <= bound


@settings(drawn, max_examples=60)
@given(forms())
def test_each_equals_its_definition(form):
    x, w, u, geometry = form
    close(conv_p(x, w, **geometry).data, by_signal(x, w, **geometry), 10)
    close(conv_transpose_p(u, w, **geometry).data, one_by_one_back(u, w, **geometry), 10)
    close(conv_weight(x, u, **geometry).data, one_by_one_weight(x, u, **geometry), 10)


@settings(drawn, max_examples=40)
@given(forms(batches=(1, 2)), seeds)
def test_derivatives_of_any_order_stay_in_the_family(form, rng):
    """d/dw <dT/dx(u, w), v> = dT/dw(v, u), and so on around: each rule, and the rule of each rule."""
    x, w, u, geometry = form
    window = geometry["window"]
    options = {
        "stride": window.stride, "padding": window.padding, "dilation": window.dilation,
        "groups": geometry["groups"],
    }
    x, w, u = (md.tensor(a, requires_grad=True) for a in (x, w, u))
    dx, dw = md.grad(F.conv(x, w, **options), [x, w], u, create_graph=True)
    close(dx.data, one_by_one_back(u.data, w.data, **geometry), 10)
    close(dw.data, one_by_one_weight(x.data, u.data, **geometry), 10)
    v, z = rng.normal(size=x.shape), rng.normal(size=w.shape)
    du, dxw = md.grad(dx, [u, w], v, create_graph=True)
    close(du.data, by_signal(v, w.data, **geometry), 10)
    close(dxw.data, one_by_one_weight(v, u.data, **geometry), 10)
    du, dwx = md.grad(dw, [u, x], z, create_graph=True)
    close(du.data, by_signal(x.data, z, **geometry), 10)
    close(dwx.data, one_by_one_back(u.data, z, **geometry), 10)
    third, = md.grad(dwx, [u], v)
    close(third.data, by_signal(v, z, **geometry), 10)


def test_a_convolution_as_a_matrix():
    """Kernel (x, y, z), stride 2, padding 1 on (a, b, c, d), written out by hand."""
    x, y, z = 2.0, 3.0, 5.0
    a, b, c, d = 7.0, 11.0, 13.0, 17.0
    weight = np.array([[[x, y, z]]])
    forward = F.conv(np.array([[[a, b, c, d]]]), weight, stride=2, padding=1)
    assert forward.tolist() == [[[a * y + b * z, b * x + c * y + d * z]]]
    back = F.conv_transpose(np.array([[[a, b]]]), weight, stride=2, padding=1, output_padding=1)
    assert back.tolist() == [[[a * y, a * z + b * x, b * y, b * z]]]


@drawn
@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.data())
def test_causal_outputs_see_no_later_input(n, kernel, stride, dilation, data):
    rng = data.draw(seeds)
    x, w = rng.normal(size=(1, 2, n)), rng.normal(size=(3, 2, kernel))
    options = {"padding": "causal", "dilation": dilation, "stride": stride}
    t = data.draw(st.integers(0, n - 1))
    later = x.copy()
    later[..., t + 1 :] = 1e3
    seen = -(-(t + 1) // stride)  # outputs at positions 0, stride, ... <= t
    y = F.conv(x, w, **options).data
    np.testing.assert_array_equal(y[..., :seen], F.conv(later, w, **options).data[..., :seen])
    assert y.shape == (1, 3, math.ceil(n / stride))


@drawn
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2))
def test_same_keeps_the_size(n, kernel, stride, dilation):
    y = F.conv(np.ones((1, 1, n, 4)), np.ones((1, 1, kernel, 1)), padding="same", stride=(stride, 1), dilation=dilation)
    assert y.shape == (1, 1, math.ceil(n / stride), 4)


@drawn
@given(windows(), st.data())
def test_conv_transpose_undoes_the_size_of_conv(window, data):
    """output_padding tells apart the sizes that a strided convolution maps to one."""
    extra = tuple((n - span) % s for n, span, s in zip(window.padded, window.span, window.stride))
    y = F.conv_transpose(
        np.ones((1, 2, *window.output)), np.ones((2, 3, *window.kernel)),
        stride=window.stride, padding=window.padding, dilation=window.dilation, output_padding=extra,
    )
    assert y.shape == (1, 3, *window.size)


def test_output_padding_between_stride_and_dilation_adds_cells_that_nothing_reaches():
    rng = np.random.default_rng(0)
    u, w = rng.normal(size=(2, 2, 3)), rng.normal(size=(2, 1, 2))
    short = F.conv_transpose(u, w, dilation=4).data
    y = F.conv_transpose(u, w, dilation=4, output_padding=3).data
    np.testing.assert_array_equal(y, np.pad(short, ((0, 0), (0, 0), (0, 3))))


@pytest.mark.parametrize("case", CASES)
def test_dtype_is_kept_and_value_agrees(case):
    x, w, u, geometry = tensors(np.random.default_rng(1), *case)
    for form, inputs in ((conv_p, (x, w)), (conv_transpose_p, (u, w)), (conv_weight, (x, u))):
        exact = form(*inputs, **geometry).data
        single = form(*(a.astype("f4") for a in inputs), **geometry).data
        assert exact.dtype == np.float64 and single.dtype == np.float32
        np.testing.assert_allclose(single, exact, rtol=1e-4, atol=1e-4)
        assert form(inputs[0].astype("f4"), inputs[1], **geometry).dtype == np.float64
        twisted = form(inputs[0] * 1j, inputs[1], **geometry).data
        assert twisted.dtype == np.complex128
        close(twisted, 1j * exact, 10)


@pytest.mark.parametrize("case", CASES)
def test_layout_of_the_inputs_does_not_matter_and_they_stay_as_they_are(case):
    x, w, u, geometry = tensors(np.random.default_rng(2), *case)
    for form, inputs in ((conv_p, (x, w)), (conv_transpose_p, (u, w)), (conv_weight, (x, u))):
        expected = form(*inputs, **geometry).data
        odd = [np.stack([a, a], axis=-1).astype(a.dtype).T[0].T[..., ::-1][..., ::-1] for a in inputs]
        before = [a.copy() for a in odd]
        close(form(*odd, **geometry).data, expected, 10)
        for a, b in zip(odd, before):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(form(*inputs, **geometry).data, expected)


def test_bias_is_added_to_each_channel():
    rng = np.random.default_rng(3)
    x, w, b = rng.normal(size=(2, 2, 4, 5)), rng.normal(size=(3, 2, 3, 3)), rng.normal(size=3)
    close(F.conv(x, w, b).data, F.conv(x, w).data + b[:, None, None])
    _, pull = md.vjp(lambda b: F.conv(x, w, b), b)
    g = rng.normal(size=(2, 3, 2, 3))
    close(pull(g)[0].data, g.sum(axis=(0, 2, 3)), 10)
    close(F.conv_transpose(x, w[:2], b[:2]).data, F.conv_transpose(x, w[:2]).data + b[:2, None, None])


def test_a_rule_is_overridden_through_the_public_name():
    x = md.tensor(np.ones((1, 1, 4)), requires_grad=True)
    y = F.conv(x, np.ones((1, 1, 2)))
    with md.override(F.conv, x=lambda g, y, x, w, **geometry: x * 7.0):
        assert md.grad(y.sum(), [x])[0].tolist() == [[[7.0] * 4]]


X, W = np.zeros((2, 4, 5, 5)), np.zeros((6, 4, 3, 3))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: F.conv(X, np.zeros((6, 3, 3, 3))), r"has 4 channels.*groups = 3 \* 1 = 3"),
        (lambda: F.conv(X, W, groups=2), r"has 4 channels.*= 4 \* 2 = 8"),
        (lambda: F.conv(X, np.zeros((6, 1, 3, 3)), groups=4), r"groups=4 must be at least 1 and divide .* = 6"),
        (lambda: F.conv(X, W, groups=0), r"groups=0"),
        (lambda: F.conv(X, np.zeros((6, 4, 3))), r"2 spatial axes, the weight \(6, 4, 3\) has 1"),
        (lambda: F.conv(X[0, 0], W), r"x must have shape \(N, C, 1 to 3 spatial axes\), got \(5, 5\)"),
        (lambda: F.conv(X, W, np.zeros(4)), r"the bias has shape \(4,\), one entry per output channel is \(6,\)"),
        (lambda: F.conv(X, W, dilation=3), r"\(5 \+ 0 \+ 0 - 3 \* \(3 - 1\) - 1\) // 1 \+ 1 = -1"),
        (lambda: F.conv(X, np.zeros((6, 4, 0, 3))), r"kernel_size=\(0, 3\) must be at least 1"),
        (lambda: F.conv_transpose(X, W), r"takes weight.shape\[0\] = 6"),
        (lambda: F.conv_transpose(X, W[:4], padding="same"), r"padding 'same' does not fix the output size"),
        (lambda: F.conv_transpose(X, W[:4], stride=2, output_padding=2), r"=2 .* smaller than the stride \(2\)"),
        (lambda: F.conv_transpose(X, W[:4], padding=4), r"\(5 - 1\) \* 1 - 4 - 4 \+ 1 \* \(3 - 1\) \+ 0 \+ 1 = -1"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_window_of_the_result_is_stride_exact_or_not():
    """Rows that no tap meets get a gradient of exactly zero."""
    x = md.tensor(np.ones((1, 1, 6)), requires_grad=True)
    y = F.conv(x, np.ones((1, 1, 2)), stride=3)
    assert md.grad(y.sum(), [x])[0].tolist() == [[[1, 1, 0, 1, 1, 0]]]
    assert Window.of((6,), 2, stride=3).output == (2,)
