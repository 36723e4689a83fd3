"""Batch normalisation, and the relu after it: see norm.cu."""

from __future__ import annotations

import math
import sys
from typing import Any

from ...ops import norm
from .source import BLOCK, blocks, empty, launch, maps, strides, supported

ENTRIES = 16  # that a thread takes
SLICES = BLOCK  # at most, of a sum: a block adds them up
LIMIT = 2**30  # entries of a channel: they are counted by an int


def training(x: Any, weight: Any, bias: Any, *, eps: float, statistics: Any = None, relu: bool = False) -> Any:
    if not takes(x, weight, bias):
        return NotImplemented
    return affine(x, weight, bias, *(statistics or norm.moments(x)), eps, relu)


def training_backward(
    g: Any, y: Any, x: Any, weight: Any, bias: Any, *,
    needed: list[bool], eps: float, statistics: Any = None, relu: bool = False, whole: Any = None,
) -> Any:
    if whole is not None or not takes(x, g, weight, bias):
        return NotImplemented
    return backward(g, x, weight, bias, *(statistics or norm.moments(x)), eps, relu, False, needed)


def evaluation(x: Any, weight: Any, bias: Any, *, mean: Any, var: Any, eps: float, relu: bool = False) -> Any:
    return affine(x, weight, bias, mean, var, eps, relu) if takes(x, weight, bias) else NotImplemented


def evaluation_backward(
    g: Any, y: Any, x: Any, weight: Any, bias: Any, *,
    needed: list[bool], mean: Any, var: Any, eps: float, relu: bool = False,
) -> Any:
    if not takes(x, g, weight, bias):
        return NotImplemented
    return backward(g, x, weight, bias, mean, var, eps, relu, True, needed)


def takes(x: Any, *others: Any) -> bool:
    """Are there kernels for these arrays?"""
    return supported(x, *others) and 0 < x.size < LIMIT * x.shape[1]


def moments(x: Any) -> Any:
    """The mean and the (biased) variance of each channel of x (N, C, *size), both (C,) in double precision."""
    if not takes(x):
        return NotImplemented
    x = maps(x)
    channels, (count, slices, span) = x.shape[1], cut(x)
    partial = _doubles(2, channels, slices)
    mean, var = _doubles(channels), _doubles(channels)
    _launch("partial_moments", x, slices, x, partial, *strides(x), count, span)
    _launch("moments", x, 1, x, partial, mean, var, strides(x)[1], count, slices)
    return mean, var


def affine(x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float, relu: bool) -> Any:
    """``(x - mean) / sqrt(var + eps) * weight + bias``, per channel; with `relu` the positive part of it."""
    x, weight, bias = maps(x), *_coefficients(x, weight, bias)
    mean, var = _in_double(mean, var)
    y, count = empty(x.shape, x.dtype), cut(x)[0]
    _launch(
        "affine", x, _blocks(count), x, y, mean, var, weight, bias, float(eps), int(relu), *strides(x), *strides(y),
        count,
    )  # fmt: skip
    return y


def backward(
    g: Any, x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float, relu: bool, given: bool,
    needed: list[bool],
) -> tuple[Any, Any, Any]:  # fmt: skip
    """The gradients of x, weight and bias, each None if not needed; `given`: mean and var do not depend on x."""
    cupy = sys.modules["cupy"]
    g, x = maps(g), maps(x)
    weight, bias = _coefficients(x, weight, bias)
    mean, var = _in_double(mean, var)
    channels, (count, slices, span) = x.shape[1], cut(x)
    affine = mean, var, weight, bias, float(eps), int(relu)
    of_weight, of_bias, gx = cupy.empty_like(weight), cupy.empty_like(weight), None
    sums = _doubles(2, channels)  # not read if mean and var are given
    if not given or needed[1] or needed[2]:
        partial = _doubles(2, channels, slices)
        _launch("partial_sums", x, slices, g, x, partial, *affine, *strides(g), *strides(x), count, span)
        _launch("total_sums", x, 1, partial, sums, of_weight, of_bias, var, float(eps), slices)
    if needed[0]:
        gx = empty(x.shape, x.dtype)
        _launch(
            "gradient", x, _blocks(count), g, x, gx, sums, *affine, int(given), *strides(g), *strides(x), *strides(gx),
            count,
        )  # fmt: skip
    return gx, of_weight if needed[1] else None, of_bias if needed[2] else None


def blend(running: Any, batch: Any, *, momentum: float, factor: float = 1) -> Any:
    """``running = (1 - momentum) * running + momentum * factor * batch`` in place, both (C,), in one launch."""
    if not supported(running) or not running.flags.c_contiguous or batch.dtype.name != "float64":
        return NotImplemented
    grid, numbers = (blocks(running.size),), (float(momentum), float(factor))
    launch("norm", "blend", running.dtype, {"CELLS": 1}, grid, (BLOCK,), running, batch, *numbers, running.size)


def cut(x: Any) -> tuple[int, int, int]:
    """The entries of a channel, in how many slices they are added up, and the entries of a slice."""
    count = x.size // x.shape[1]
    slices = min(-(-count // (BLOCK * ENTRIES)), SLICES)
    return count, slices, -(-count // slices)


def _blocks(count: int) -> int:
    return min(-(-count // (BLOCK * ENTRIES)), 65535)  # CUDA's limit for the second axis of a grid


def _doubles(*shape: int) -> Any:
    return sys.modules["cupy"].empty(shape, "float64")


def _in_double(*vectors: Any) -> list[Any]:
    """Vectors (C,) as the kernels read them: doubles, one after another."""
    return [sys.modules["cupy"].ascontiguousarray(v, "float64") for v in vectors]


def _coefficients(x: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
    """Weight and bias (C,) as one run of memory each; 1 and 0 where there are none."""
    cupy, channels = sys.modules["cupy"], x.shape[1]
    weight = cupy.ones(channels, x.dtype) if weight is None else cupy.ascontiguousarray(weight)
    bias = cupy.zeros(channels, x.dtype) if bias is None else cupy.ascontiguousarray(bias)
    return weight, bias


def _launch(name: str, x: Any, slices: int, *arguments: Any) -> None:
    constants = {"CELLS": math.prod(x.shape[2:])}
    launch("norm", name, x.dtype, constants, (x.shape[1], slices), (BLOCK,), *arguments)
