"""Convolutions, unfold and fold against PyTorch: values, gradients and gradients of gradients, in float64."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import minidl as md  # noqa: E402
from minidl import functional as F  # noqa: E402

pytestmark = pytest.mark.reference

drawn = settings(deadline=None, max_examples=80)
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def compare(ours, theirs, arrays, rng):
    """Value, gradients g_i = dy/dx_i . u, and the gradients of sum <g_i, v_i> with respect to every x_i and u."""
    xs = [md.tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = ours(*xs), theirs(*ts)
    agree(y, t)
    u = rng.normal(size=y.shape)
    xs.append(md.tensor(u, requires_grad=True))
    ts.append(torch.tensor(u, requires_grad=True))
    gs = md.grad(y, xs[:-1], xs[-1], create_graph=True)
    hs = torch.autograd.grad(t, ts[:-1], ts[-1], create_graph=True)
    for g, h in zip(gs, hs):
        agree(g, h)
    vs = [rng.normal(size=a.shape) for a in arrays]
    first = sum((g * v).sum() for g, v in zip(gs, vs))
    second = sum((h * torch.tensor(v)).sum() for h, v in zip(hs, vs))
    ours_second = md.grad(first, xs, allow_unused=True)
    theirs_second = torch.autograd.grad(second, ts, allow_unused=True)
    for g, h, x in zip(ours_second, theirs_second, xs):
        agree(x.zeros_like() if g is None else g, torch.zeros(x.shape) if h is None else h)


def agree(ours, theirs):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours.data, theirs, rtol=1e-11, atol=1e-11)


@st.composite
def layers(draw):
    """Shapes and options that a convolution and its transpose in torch accept as well."""
    rank = draw(st.integers(1, 3))
    ranges = ((1, 9 - 2 * rank), (1, 3), (1, 3), (1, 2), (0, 2))
    axes = [[draw(st.integers(*bounds)) for bounds in ranges] for _ in range(rank)]
    size, kernel, stride, dilation, padding = zip(*axes)
    groups, c, f = draw(st.sampled_from([(1, 1, 1), (1, 2, 3), (1, 5, 1), (2, 1, 2), (3, 1, 1), (2, 4, 1)]))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return draw(st.integers(1, 2)), c * groups, f * groups, size, kernel, options


@drawn
@given(layers(), st.booleans(), seeds)
def test_conv(layer, biased, rng):
    n, c, f, size, kernel, options = layer
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, options["dilation"])]
    size = tuple(max(s, span - 2 * p) for s, span, p in zip(size, spans, options["padding"]))
    arrays = [rng.normal(size=(n, c, *size)), rng.normal(size=(f, c // options["groups"], *kernel))]
    arrays += [rng.normal(size=f)] if biased else []
    theirs = (torch.conv1d, torch.conv2d, torch.conv3d)[len(size) - 1]
    compare(lambda *a: F.conv(*a, **options), lambda *a: theirs(*a, **options), arrays, rng)


@drawn
@given(layers(), st.data(), seeds)
def test_conv_transpose(layer, data, rng):
    n, c, f, size, kernel, options = layer
    strides, dilations = options["stride"], options["dilation"]
    extra = tuple(data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(strides, dilations))
    outputs = [
        (o - 1) * s - 2 * p + d * (k - 1) + e + 1
        for o, s, p, d, k, e in zip(size, strides, options["padding"], dilations, kernel, extra)
    ]
    size = tuple(o + max(0, 1 - out) for o, out in zip(size, outputs))  # enough input for an output cell
    arrays = [rng.normal(size=(n, f, *size)), rng.normal(size=(f, c // options["groups"], *kernel)), rng.normal(size=c)]
    options["output_padding"] = extra
    theirs = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[len(size) - 1]
    compare(lambda *a: F.conv_transpose(*a, **options), lambda *a: theirs(*a, **options), arrays, rng)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@drawn
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 2)), min_size=1, max_size=3), seeds)
def test_same_padding(axes, rng):
    size, kernel, dilation = zip(*axes)
    arrays = [rng.normal(size=(1, 2, *size)), rng.normal(size=(2, 2, *kernel))]
    theirs = (torch.conv1d, torch.conv2d, torch.conv3d)[len(size) - 1]
    options = {"padding": "same", "dilation": dilation}
    compare(lambda *a: F.conv(*a, **options), lambda *a: theirs(*a, **options), arrays, rng)


@drawn
@given(layers(), seeds)
def test_unfold_and_fold(layer, rng):
    n, c, _, size, kernel, options = layer
    if len(size) != 2:  # torch has these for two axes only
        size, kernel = (size * 2)[:2], (kernel * 2)[:2]
    options = {name: (options[name] * 2)[:2] for name in ("dilation", "padding", "stride")}
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, options["dilation"])]
    size = tuple(max(s, span - 2 * p) for s, span, p in zip(size, spans, options["padding"]))
    x = rng.normal(size=(n, c, *size))
    torch_unfold = lambda x: torch.nn.functional.unfold(x, kernel, **options)  # noqa: E731
    compare(lambda x: F.unfold(x, kernel, **options), torch_unfold, [x], rng)
    columns = rng.normal(size=torch_unfold(torch.tensor(x)).shape)
    compare(
        lambda a: F.fold(a, size, kernel, **options),
        lambda a: torch.nn.functional.fold(a, size, kernel, **options),
        [columns],
        rng,
    )


@pytest.mark.parametrize("shape, weight, stride", [
    ((2, 16, 20, 20), (24, 16, 3, 3), 1),
    ((2, 32, 20, 20), (1, 32, 3, 3), 1),
    ((3, 16, 6, 6), (8, 16, 3, 3), 2),
    ((2, 8, 33, 20), (8, 8, 1, 1), 1),
])
def test_larger_layers_in_float32(shape, weight, stride):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=shape).astype("f4"), rng.normal(size=weight).astype("f4")
    padding = weight[2] // 2
    xs = [md.tensor(x, requires_grad=True), md.tensor(w, requires_grad=True)]
    ts = [torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)]
    y, t = F.conv(*xs, stride=stride, padding=padding), torch.conv2d(*ts, stride=stride, padding=padding)
    u = rng.normal(size=y.shape).astype("f4")
    pairs = zip([y, *md.grad(y, xs, u)], [t, *torch.autograd.grad(t, ts, torch.tensor(u))])
    for ours, theirs in pairs:
        theirs = theirs.detach().numpy()
        assert ours.dtype == np.float32
        assert abs(ours.data - theirs).max() <= 1e-5 * abs(theirs).max()
