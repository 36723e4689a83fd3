"""Matrix products."""

from __future__ import annotations

import numpy as np

from ..core.primitive import primitive
from ..core.tensor import Operand, Tensor, as_tensor
from .shape import broadcast_to, reshape, swapaxes


def _rows(n, a):
    """An entry of a product depends on the row of a: (..., I, J) -> (..., I, K)."""
    return broadcast_to(n.sum(-1, keepdims=True), a.shape)


@primitive(formula="y[..., i, j] = sum over k of a[..., i, k] * b[..., k, j]", saves=("a", "b"), support=_rows)
def matmul_p(xp, a, b):
    """Matrix product of stacks of matrices: equal leading axes, (..., I, K) and (..., K, J) give (..., I, J)."""
    return xp.matmul(a, b)


@matmul_p.rule("a", formula="g @ b^T")
def matmul_a(g, y, a, b):
    return matmul_p(g, swapaxes(b, -1, -2))


@matmul_p.rule("b", formula="a^T @ g")
def matmul_b(g, y, a, b):
    if b.data.strides[-2] < b.data.strides[-1]:  # b is a transpose, as in `linear`: so is its gradient, (g^T @ a)^T
        return swapaxes(matmul_p(swapaxes(g, -1, -2), a), -1, -2)
    return matmul_p(swapaxes(a, -1, -2), g)


def matmul(a: Operand, b: Operand) -> Tensor:
    """The matrix product ``a @ b`` of any ranks, as numpy.matmul: vectors are promoted, leading axes broadcast."""
    a, b = as_tensor(a), as_tensor(b)
    if a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0]:
        return matmul_p(a, b)
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(
            f"matmul: {a.shape} @ {b.shape}: the last axis of the left must have the length of the "
            f"{'second to last' if b.ndim > 1 else 'only'} axis of the right"
        )
    if a.ndim == 1:
        y = matmul(reshape(a, 1, -1), b)  # (..., 1, J), or (1,) if b is a vector as well
        return reshape(y, y.shape[:-2] + y.shape[-1:] if b.ndim > 1 else ())
    if b.ndim == 1:
        return reshape(y := matmul(a, reshape(b, -1, 1)), y.shape[:-1])
    if b.ndim == 2 and a.ndim > 2:  # one large product rather than many small ones
        rows = matmul_p(reshape(a, int(np.prod(a.shape[:-1])), a.shape[-1]), b)
        return reshape(rows, a.shape[:-1] + b.shape[-1:])
    if a.shape[:-2] != b.shape[:-2]:
        try:
            lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        except ValueError:
            raise ValueError(
                f"matmul: {a.shape} @ {b.shape}: the leading axes must be equal or 1, "
                f"got {a.shape[:-2]} and {b.shape[:-2]}"
            ) from None
        a, b = broadcast_to(a, lead + a.shape[-2:]), broadcast_to(b, lead + b.shape[-2:])
    return matmul_p(a, b)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The fully connected layer ``y = x W^T + b``: x (..., I), weight (O, I), bias (O,) give (..., O).

        >>> F.linear(md.tensor([[1.0, 2.0]]), md.tensor([[1.0, 0.0], [1.0, 1.0]]), md.tensor([0.5, 0.5]))
        tensor([[1.5, 3.5]])
    """
    x, weight = as_tensor(x), as_tensor(weight)
    if weight.ndim != 2 or not x.ndim or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: x {x.shape} and weight {weight.shape}: the last axis of x must have weight.shape[1] entries"
        )
    y = matmul(x, weight.T)
    return y if bias is None else y + checked_bias("linear", bias, y, weight.shape[0])


def checked_bias(name: str, bias: Tensor, y: Tensor, channels: int) -> Tensor:
    """A bias with one entry per output channel, that does not widen the result. Raises ValueError or TypeError."""
    bias = as_tensor(bias)
    if bias.shape != (channels,):
        raise ValueError(f"{name}: the bias has shape {bias.shape}, one entry per output channel is ({channels},)")
    if bias.dtype.kind not in "fc" and y.dtype.kind in "fc":
        raise TypeError(f"{name}: the bias has dtype {bias.dtype}, x and weight {y.dtype}; use .astype({y.dtype})")
    return bias
