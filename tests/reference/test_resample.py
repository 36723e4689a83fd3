"""Interpolation against PyTorch: value, gradient, double backward, rounding.

PyTorch has two nearest kernels. One, documented, takes entry floor(o / scale). The other, for its gradient and for
small 2-D maps, copies or doubles where the output has length n or 2 n, even if the scale factor says otherwise. Ours is
the first. The gradient of its cubic mode is that of a copy where the result is as large as the map, although its values
are not copied: see findings/torch-bicubic-gradient.sh; ours is the adjoint, which tests/ops/test_resample.py proves.
"""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F

torch = pytest.importorskip("torch", reason="compares with PyTorch")
pytestmark = pytest.mark.reference

TORCH_MODES = {("linear", 1): "linear", ("linear", 2): "bilinear", ("linear", 3): "trilinear", ("cubic", 2): "bicubic"}
MODES = [(mode, False) for mode in ("nearest", "nearest-exact", "area", "linear", "cubic")]
MODES += [("linear", True), ("cubic", True)]


@st.composite
def calls(draw):
    """A spatial shape, and the options of a call on it."""
    spatial = draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))
    mode, align_corners = draw(st.sampled_from(MODES))
    assume(mode != "cubic" or len(spatial) == 2)
    options = {"mode": mode, "align_corners": align_corners}
    if mode in ("linear", "cubic") and len(spatial) == 2 and draw(st.booleans()):
        options["antialias"] = True
    several = draw(st.booleans())
    if draw(st.booleans()):
        sizes = st.integers(1, 9)
        options["size"] = tuple(draw(sizes) for _ in spatial) if several else draw(sizes)
    else:
        scales = st.integers(-(-8 // min(spatial)), 24).map(lambda k: k / 8)
        options["scale_factor"] = tuple(draw(scales) for _ in spatial) if several else draw(scales)
        options["recompute_scale_factor"] = draw(st.booleans()) and mode != "nearest"
    return spatial, options


def by_torch(x, mode, align_corners, **options):
    mode = TORCH_MODES.get((mode, x.ndim - 2), mode)
    return torch.nn.functional.interpolate(
        x, mode=mode, align_corners=align_corners if mode.endswith(("linear", "cubic")) else None, **options
    )


def second_kernel_differs(spatial, lengths, mode, scale_factor=None, **options):
    """May torch's second nearest kernel take other entries than its first?"""
    if not mode.startswith("nearest") or scale_factor is None:
        return False
    scales = np.broadcast_to(scale_factor, len(spatial))
    return any(m in (n, 2 * n) and m != n * s for n, m, s in zip(spatial, lengths, scales, strict=True))


@example(([1, 2], {"mode": "cubic", "align_corners": False, "scale_factor": 9 / 8}), 1, 2, 0)  # as long as before
@example(([4, 5], {"mode": "cubic", "align_corners": False, "scale_factor": (9 / 8, 2.0)}), 1, 2, 0)
@example(([4, 5], {"mode": "linear", "align_corners": False, "scale_factor": (9 / 8, 2.0)}), 1, 2, 0)
@settings(deadline=None, max_examples=120)
@given(calls(), st.integers(1, 2), st.integers(2, 3), st.integers(0, 2**32 - 1))
def test_interpolate(call, batch, channels, seed):
    spatial, options = call
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, channels, *spatial))
    if options.get("antialias") and 1 in (spatial[-1], F.interpolate(md.Tensor(x), **options).shape[-1]):
        return  # torch repeats the first row of a map that is one entry wide
    a, b = md.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = F.interpolate(a, **options), by_torch(b, **options)
    assert y.shape == z.shape
    if second_kernel_differs(spatial, y.shape[2:], **options):
        return
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), atol=1e-12)
    if options["mode"] == "cubic" and y.shape == x.shape and "scale_factor" in options:
        return
    g = rng.normal(size=y.shape)
    (ours,) = md.grad((y**2 * g).sum(), a, create_graph=True)
    (theirs,) = torch.autograd.grad((z**2 * torch.tensor(g)).sum(), b, create_graph=True)
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), atol=1e-10)
    v = rng.normal(size=x.shape)
    np.testing.assert_allclose(
        md.grad((ours * v).sum(), a)[0].numpy(),
        torch.autograd.grad((theirs * torch.tensor(v)).sum(), b)[0].numpy(),
        atol=1e-10,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_rounds_as_torch_does(dtype, mode):
    """Among all pairs of lengths below 30 and 70 are some where n / m * o misses an integer by rounding."""
    for n in range(1, 30):
        x = np.arange(n, dtype=dtype)[None, None]
        for m in range(1, 70):
            ours = F.interpolate(md.Tensor(x), size=m, mode=mode)
            theirs = by_torch(torch.tensor(x), mode, False, size=m)
            assert (ours.numpy() == theirs.numpy()).all(), (n, m)


@pytest.mark.parametrize("rank", [1, 3])
def test_nearest_follows_the_scale_factor_where_the_length_stays_or_doubles(rank):
    for n in range(2, 8):
        x = np.random.default_rng(n).normal(size=(1, 2, *[n] * rank))
        for scale in (1 + 1 / (n + 1), 2 + 1 / (n + 1)):
            ours = F.interpolate(md.Tensor(x), scale_factor=scale).numpy()
            assert ours.shape[2] in (n, 2 * n)
            assert (ours == by_torch(torch.tensor(x), "nearest", False, scale_factor=scale).numpy()).all()
