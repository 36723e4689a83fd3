"""Position-sensitive regions of interest against the same definition in PyTorch, and its gradients by autograd.

torchvision's compiled operators are not loaded here: the definition is Dai et al. 2016, equation 1, in the form of
torchvision's kernels (csrc/ops/cpu/ps_roi_align_kernel.cpp, ps_roi_pool_kernel.cpp), of which the second leaves out the
last row and column of the map in its output, though not in its gradient; here they are in both.
"""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")

import minidl as md  # noqa: E402
from minidl import functional as F  # noqa: E402

pytestmark = pytest.mark.reference
BOXES = [[0, 0.2, -1.4, 5.3, 3.9], [1, 2.2, 1.1, 2.4, 6.8], [0, 20, 20, 25, 30], [1, 2, 3, 2, 5], [0, 4, 5, 1, 2],
         [1, 0, 0, 12, 10], [0, -6, -4, 30, 25]]  # fmt: skip


def bilinear(plane, y, x):
    """The value of (C, H, W) at a point; 0 more than a cell outside."""
    h, w = plane.shape[1:]
    if not (-1 <= y <= h and -1 <= x <= w):
        return plane[:, 0, 0] * 0
    y, x = min(max(y, 0.0), h - 1.0), min(max(x, 0.0), w - 1.0)
    i, j = int(y), int(x)
    k, m, a, b = min(i + 1, h - 1), min(j + 1, w - 1), y - int(y), x - int(x)
    upper = (1 - b) * plane[:, i, j] + b * plane[:, i, m]
    return (1 - a) * upper + a * ((1 - b) * plane[:, k, j] + b * plane[:, k, m])


def aligned(x, boxes, k, scale, ratio):
    """Equation 1 with the mean over samples; C of the maps are those of a bin."""
    out = []
    for n, *corners in boxes:
        x1, y1, x2, y2 = (v * scale - 0.5 for v in corners)
        high, wide = (y2 - y1) / k, (x2 - x1) / k
        down, right = (ratio if ratio > 0 else max(math.ceil(v), 0) for v in (high, wide))
        for p in range(k):
            for q in range(k):
                plane = x[int(n), p * k + q :: k * k]
                values = [
                    bilinear(plane, y1 + p * high + (s + 0.5) * high / down, x1 + q * wide + (t + 0.5) * wide / right)
                    for s in range(down) for t in range(right)
                ]  # fmt: skip
                out.append(torch.stack(values).mean(0) if values else plane[:, 0, 0] * 0)
    return torch.stack(out).reshape(len(boxes), k, k, -1).permute(0, 3, 1, 2)


def pooled(x, boxes, k, scale):
    """Equation 1: the mean over the cells of a bin."""
    out, (h, w) = [], x.shape[2:]
    for n, *corners in boxes:
        x1, y1, x2, y2 = (int(math.copysign(math.floor(abs(v * scale) + 0.5), v)) for v in corners)
        high, wide = max(y2 - y1, 1) / k, max(x2 - x1, 1) / k
        for p in range(k):
            for q in range(k):
                top, bottom = (min(max(y1 + v, 0), h) for v in (math.floor(p * high), math.ceil((p + 1) * high)))
                left, right = (min(max(x1 + v, 0), w) for v in (math.floor(q * wide), math.ceil((q + 1) * wide)))
                part = x[int(n), p * k + q :: k * k, top:bottom, left:right]
                empty = bottom <= top or right <= left
                out.append(x[int(n), p * k + q :: k * k, 0, 0] * 0 if empty else part.mean((1, 2)))
    return torch.stack(out).reshape(len(boxes), k, k, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [(F.ps_roi_align, aligned, (0.5, 2)), (F.ps_roi_align, aligned, (0.5, -1)), (F.ps_roi_pool, pooled, (0.5,))],
)
def test_values_and_gradients(ours, theirs, options):
    values = np.random.default_rng(0).normal(size=(2, 18, 5, 6))
    x, wanted = md.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    y, z = ours(x, BOXES, 3, *options), theirs(wanted, BOXES, 3, *options)
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-10, atol=1e-12)
    (y**3).sum().backward(), (z**3).sum().backward()
    np.testing.assert_allclose(x.grad.data, wanted.grad.numpy(), rtol=1e-10, atol=1e-12)
