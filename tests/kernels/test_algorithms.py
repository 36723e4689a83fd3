"""Every way of computing a convolution equals its definition; which one is taken; the same bits on any threads."""

import contextlib
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.check.samples.conv import tensors
from minidl.kernels.algorithm import ON_CPU
from minidl.kernels.cpu import blocks, convolution, depthwise, im2col, layout
from minidl.kernels.window import live_taps
from minidl.ops.conv import conv_p, conv_transpose_p, conv_weight
from minidl.ops.window import Window

from ..ops.test_window import drawn, seeds, windows

CHANNELS = [(1, 1, 1), (1, 2, 3), (1, 9, 1), (1, 8, 17), (1, 33, 8), (2, 1, 2), (2, 8, 9), (9, 1, 1), (3, 2, 8)]
EPS = np.finfo(np.float32).eps


@st.composite
def forms(draw):
    """Arrays x, w, u in any layout that fit one trilinear form, and its geometry."""
    groups, c, f = draw(st.sampled_from(CHANNELS))
    case = draw(st.integers(0, 5)), c * groups, f * groups, groups, draw(windows())
    *arrays, geometry = tensors(draw(seeds), *case)
    return *(draw(st.sampled_from(LAYOUTS))(a) for a in arrays), geometry


def with_gaps(a):
    return np.repeat(a, 2, axis=-1)[..., ::2]


LAYOUTS = [np.ascontiguousarray, layout.laid_out, np.asfortranarray, with_gaps]


def family(x, w, u):
    """(primitive, its two arguments) for each member."""
    return (conv_p, x, w), (conv_transpose_p, u, w), (conv_weight, x, u)


def sizes(block, enough, shares):
    """How finely work is cut."""
    cut = contextlib.ExitStack()
    patch = cut.enter_context(pytest.MonkeyPatch.context())
    patch.setattr(im2col, "BLOCK", block)
    patch.setattr(im2col, "ENOUGH", enough)
    patch.setattr(blocks, "SHARES", shares)
    patch.setattr(depthwise, "BLOCK", block)
    patch.setattr(depthwise, "LEAST", enough)
    patch.setattr(depthwise, "PIECE", enough)
    patch.setattr(depthwise, "LONG", enough)
    patch.setattr(im2col, "THIN", 1)
    patch.setattr(im2col, "GRAIN", enough)
    for remembered in (im2col.position_blocks, depthwise._blocks):
        remembered.cache_clear()
        cut.callback(remembered.cache_clear)
    patch.setattr(im2col, "HEAVY", block)
    return cut


cuts = st.sampled_from([(1, 1, 100), (300, 1, 1), (300, 20, 8), (1 << 19, 128, 8)])
names = st.sampled_from([None, *ON_CPU])


@pytest.mark.slow
@settings(drawn, max_examples=250)
@given(forms(), names, cuts)
def test_each_equals_the_definition(form, name, cut):
    x, w, u, geometry = form
    for primitive, a, b in family(x, w, u):
        expected = primitive.forward(np, a, b, **geometry)
        scale = primitive.forward(np, abs(a), abs(b), **geometry)
        with sizes(*cut), md.algorithm(name) if name else contextlib.nullcontext():
            found = primitive.cpu(a, b, **geometry)
        assert found.shape == expected.shape and found.dtype == expected.dtype
        assert (abs(found - expected) <= 1e-13 * scale + 1e-300).all()


@settings(drawn, max_examples=100)
@given(forms(), st.sampled_from([None, "im2col", "shifted", "depthwise"]))
def test_float32_errs_by_the_products_that_are_added(form, name):
    """The stated bound: an error of at most n eps times the sum of |products|, n of them (Higham 2002, section 3.1)."""
    x, w, u, geometry = form
    for primitive, a, b in family(x, w, u):
        terms = max(a.size // max(a.shape[1], 1), w[0].size, u[0, 0].size * len(x) if u.size else 0) + 1
        single = a.astype(np.float32), b.astype(np.float32)
        double = [s.astype(np.float64) for s in single]
        expected = primitive.forward(np, *double, **geometry)
        scale = primitive.forward(np, *map(abs, double), **geometry)
        with md.algorithm(name) if name else contextlib.nullcontext():
            found = primitive.cpu(*single, **geometry)
        assert found.dtype == np.float32
        assert (abs(found - expected) <= terms * EPS * scale).all()


def chosen(n, inputs, outputs, size, dtype=np.float32, groups=1, **options):
    window = Window.of((size, size), options.pop("kernel", 3), **{"padding": 1, **options})
    return convolution.choose(n, inputs, outputs, np.dtype(dtype), window, groups)


def test_which_one_is_chosen():
    assert chosen(8, 64, 64, 56) == "winograd"
    assert chosen(8, 64, 64, 56, np.float64) == "im2col"  # proofs see the definition
    assert chosen(8, 64, 64, 56, stride=2) == "im2col"
    assert chosen(8, 64, 64, 56, dilation=2) == "im2col"
    assert chosen(8, 64, 64, 56, groups=2) == "im2col"
    assert chosen(8, 64, 64, 56, kernel=5) == "im2col"
    assert chosen(8, 3, 64, 56) == "im2col"
    assert chosen(4, 512, 512, 7) == "im2col"  # 16 tiles for 262144 kernels
    assert chosen(8, 64, 1, 56) == "shifted"
    assert chosen(8, 64, 1, 56, kernel=1, padding=0) == "im2col"
    assert chosen(8, 64, 64, 56, groups=64) == chosen(8, 64, 64, 56, groups=64, stride=2) == "depthwise"


def test_a_way_can_be_forced_and_is_put_back():
    for name in ON_CPU:
        with md.algorithm(name):
            assert chosen(8, 64, 64, 56) == (name if name != "depthwise" else "winograd")  # where it is possible
            with md.algorithm("im2col"):
                assert chosen(8, 64, 64, 56) == "im2col"
    assert chosen(8, 64, 64, 56) == "winograd"
    expected = "algorithm 'fft' is unknown: one of im2col, shifted, winograd, depthwise, tensor_cores"
    with pytest.raises(ValueError, match=expected), md.algorithm("fft"):
        pass


def test_what_is_forced_is_what_runs(monkeypatch):
    calls = []
    for module, name in ((im2col, "gather"), (im2col, "scatter"), (convolution.winograd, "convolve")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, real=real, name=name: calls.append(name) or real(*a))
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 24, 16, 16)).astype(np.float32), rng.normal(size=(24, 24, 3, 3)).astype(np.float32)
    for algorithm, function in (("im2col", "gather"), ("shifted", "scatter"), ("winograd", "convolve")):
        with md.algorithm(algorithm):
            F.conv(x, w, padding=1)
        assert calls.pop() == function and not calls


@pytest.mark.parametrize("name", [None, *ON_CPU])
def test_the_same_bits_on_one_thread_and_on_several(name, monkeypatch):
    from minidl.kernels.cpu import workers

    monkeypatch.setattr(workers, "WORTH_SHARING", 0)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(workers, "thread_count", lambda threads=threads: threads)
        monkeypatch.setattr(workers, "_workers", None)
        rng, bits = np.random.default_rng(0), {}
        cases = product([1, 3], [(1, 32, 32), (1, 32, 4), (1, 3, 32), (2, 16, 24), (32, 1, 1)], [1, 2])
        for n, (groups, c, f), stride in cases:
            window = Window.of((18, 21), 3, padding=1, stride=stride)
            x = rng.normal(size=(n, c * groups, 18, 21)).astype(np.float32)
            w = rng.normal(size=(f * groups, c, 3, 3)).astype(np.float32)
            u = rng.normal(size=(n, f * groups, *window.output)).astype(np.float32)
            x[0, 0, 4, 4] = u[0, 0, 4, 4] = 1e5  # hot: see minidl/kernels/cpu/hot.py
            for primitive, a, b in family(x, w, u):
                with md.algorithm(name) if name else contextlib.nullcontext():
                    y = primitive.cpu(a, b, window=window, groups=groups)
                bits[primitive.name, n, groups, c, f, stride] = y.tobytes()
        found.append(bits)
    assert [case for case, y in found[0].items() if not y == found[1][case] == found[2][case]] == []


def test_the_same_bits_from_any_layout_of_the_weight():
    """A weight read from a file lies in C order, one that has been trained with its channels last."""
    rng = np.random.default_rng(0)
    window = Window.of((16, 16), 3, padding=1)
    x, w, u = (rng.normal(size=s).astype(np.float32) for s in ((4, 32, 16, 16), (32, 32, 3, 3), (4, 32, 16, 16)))
    for name in ("im2col", "shifted", "winograd"):
        with md.algorithm(name):
            for primitive, a in ((conv_p, x), (conv_transpose_p, u)):
                one, other = (primitive.cpu(a, b, window=window, groups=1) for b in (w, layout.laid_out(w)))
                assert one.tobytes() == other.tobytes()


@settings(drawn, max_examples=60)
@given(windows(), seeds)
def test_taps_that_meet_padding_only_are_left_out(window, seed):
    taps, live = live_taps(window)
    assert live.output == window.output
    shifts = [(tuple(k - t.start for k, t in zip(tap, taps)), *rest) for tap, *rest in window.shifts()]
    assert shifts == list(live.shifts())


def test_activations_lie_with_their_channels_last():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 16, 9, 9)), rng.normal(size=(12, 16, 3, 3))
    assert layout.is_channels_last(F.conv(x, w).data)
    assert layout.is_channels_last(F.conv_transpose(rng.normal(size=(2, 12, 9, 9)), w).data)
    assert F.conv(x, w[:3]).data.flags.c_contiguous  # few channels


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_few_channels_out_of_many_are_those_of_the_definition(outputs, stride):
    """The product is then narrow, and turned afterwards: im2col.NARROW."""
    rng = np.random.default_rng(0)
    u, w = rng.standard_normal((2, 32, 9, 11)), rng.standard_normal((32, outputs, 3, 3))
    u = np.ascontiguousarray(u.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)  # channels last
    y = F.conv_transpose(md.Tensor(u), md.Tensor(w), stride=stride, padding=1).data
    with md.definitions():
        wanted = F.conv_transpose(md.Tensor(u), md.Tensor(w), stride=stride, padding=1).data
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-12)
