"""Matrix products."""

from __future__ import annotations

import math

from ... import functional as F
from ...ops.inverse import det
from ...ops.shape import swapaxes
from .table import operator


def matmul_macs(inputs, y):
    return y.size * inputs[0].shape[-1]


@operator("MatMul", learns=("a", "b"), macs=matmul_macs)
def matmul(a, b):
    return F.matmul(a, b)


def gemm_macs(inputs, y):
    return math.prod(inputs[0].shape) * y.shape[1]


@operator("Gemm", learns=("b", "c"), macs=gemm_macs)
def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    y = F.matmul(swapaxes(a, 0, 1) if transA else a, swapaxes(b, 0, 1) if transB else b)
    y = y if alpha == 1 else alpha * y
    return y if c is None else y + (c if beta == 1 else beta * c)


operator("Det")(lambda x: det(x))


@operator("Einsum")
def einsum(*operands, equation):
    return F.einsum(equation, *operands)
