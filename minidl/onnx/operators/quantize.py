"""Small integers for real numbers: x is about (q - zero) * scale. Quantising has no derivative, the way back has."""

from __future__ import annotations

import numpy as np

from ... import functional as F
from ...core.tensor import Tensor
from ...device import to_device
from .arithmetic import DTYPES
from .table import Plain, operator, without_derivative
from .window import conv


def along(v, x, axis, block_size=0):
    """A scale or a zero point as it broadcasts against x: one for all, one per entry of an axis, or one per block."""
    if v.size == 1:
        v = v.reshape(())
    elif block_size:
        v = np.repeat(v, block_size, axis)[(slice(None),) * (axis % x.ndim) + (slice(x.shape[axis]),)]
    elif v.ndim == 1:
        v = v.reshape(-1, *[1] * (x.ndim - 1 - axis % x.ndim))
    return to_device(v, x.device)


@operator("QuantizeLinear", only={"output_dtype": DTYPES}, ignores=("saturate", "precision"))
def quantize(x, scale: Plain, zero: Plain = None, *, axis=1, block_size=0, output_dtype=None):
    dtype = np.dtype(DTYPES[output_dtype]) if output_dtype else np.dtype(np.uint8) if zero is None else zero.dtype
    zero = np.zeros(1, dtype) if zero is None else zero
    scale, zero = (along(v, x, axis, block_size) for v in (scale, zero))
    return quantized(x, scale=scale, zero=zero, dtype=dtype)


@without_derivative
def quantized(xp, x, *, scale, zero, dtype):
    limits = np.iinfo(dtype)
    return (xp.rint(x / scale) + zero.astype(int)).clip(limits.min, limits.max).astype(dtype)


@operator("DequantizeLinear", only={"output_dtype": ("float", "double", "float16")})
def dequantize(q, scale: Plain, zero: Plain = None, *, axis=1, block_size=0, output_dtype=None):
    dtype = np.dtype(DTYPES[output_dtype]) if output_dtype else scale.dtype
    q = q.astype(np.float32)
    y = q if zero is None else q - along(zero, q, axis, block_size).astype(np.float32)
    return (y * along(scale, q, axis, block_size)).astype(dtype)


@operator("DynamicQuantizeLinear")
def dynamic_quantize(x: Plain):
    low, high = min(x.min(), 0), max(x.max(), 0)
    scale = np.asarray((high - low) / 255, np.float32)
    zero = np.rint(-low / scale if scale else 0).clip(0, 255).astype(np.uint8)
    return quantize(Tensor(x), scale, np.asarray(zero)), scale, np.asarray(zero)


# --- products of small integers, exact in double precision


def centred(q, zero, axis):
    return q.astype(float) if zero is None else q.astype(float) - along(zero, q, axis).astype(float)


@operator("MatMulInteger")
def matmul_integer(a, b, a_zero: Plain = None, b_zero: Plain = None):
    return F.matmul(centred(a, a_zero, -2), centred(b, b_zero, -1)).astype(np.int32)


@operator("QLinearMatMul")
def qlinear_matmul(
    a, a_scale: Plain, a_zero: Plain, b, b_scale: Plain, b_zero: Plain, y_scale: Plain, y_zero: Plain
):
    y = F.matmul(centred(a, a_zero, -2), centred(b, b_zero, -1))
    scale = along(a_scale, y, -2).astype(float) * along(b_scale, y, -1) / along(y_scale, y, -1)
    return quantize(y * scale, np.ones(()), y_zero)


@operator("ConvInteger", ignores=("kernel_shape",))
def conv_integer(
    x, w, x_zero: Plain = None, w_zero: Plain = None, *, strides=None, pads=None, dilations=None, group=1,
    auto_pad="NOTSET",
):  # fmt: skip
    window = {"strides": strides, "pads": pads, "dilations": dilations, "group": group, "auto_pad": auto_pad}
    return conv(centred(x, x_zero, 1), centred(w, w_zero, 0), **window).astype(np.int32)


@operator("QLinearConv", ignores=("kernel_shape",))
def qlinear_conv(
    x, x_scale: Plain, x_zero: Plain, w, w_scale: Plain, w_zero: Plain, y_scale: Plain, y_zero: Plain, b=None, *,
    strides=None, pads=None, dilations=None, group=1, auto_pad="NOTSET",
):  # fmt: skip
    window = {"strides": strides, "pads": pads, "dilations": dilations, "group": group, "auto_pad": auto_pad}
    bias = None if b is None else b.astype(float)
    y = conv(centred(x, x_zero, 1), centred(w, w_zero, 0), bias, **window)
    scale = along(x_scale, y, 1).astype(float) * along(w_scale, y, 1) / along(y_scale, y, 1)
    return quantize(y * scale, np.ones(()), y_zero)
