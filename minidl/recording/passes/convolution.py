"""Convolutions: what follows them is done in their blocks, and kernels that stay are transformed once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...kernels.cpu import convolution, winograd
from ...kernels.cpu.finish import Finish
from ...kernels.window import live_taps
from ..program import Instruction, Program, Ref
from .match import Matcher
from .once import unchanging


def finish_in_blocks(program: Program) -> Program:
    """A bias, a residual and a relu after a convolution are applied to each block of its output in the cache."""
    matcher = Matcher(program)
    changes: dict[int, list[Instruction]] = {}
    removed: set[int] = set()
    for last in reversed(program.instructions):
        if id(last) not in removed and (found := _group(matcher, last)) is not None:
            changes[id(last)] = [found[0]]
            removed |= found[1]
    return matcher.replaced(changes, removed)


def _group(matcher: Matcher, last: Instruction) -> tuple[Instruction, set[int]] | None:
    """The convolution that ends with this instruction, and what it stands for."""
    parts: dict[str, Any] = {"bias": None, "residual": None, "relu": False}
    at, members = last, set()
    if at.name == "relu":
        parts["relu"] = True
        at, members = matcher.only_for_this(at.inputs[0], "add"), {id(at)}
        if at is None:
            conv = matcher.only_for_this(last.inputs[0], "conv")
            return _joined(last, conv, parts, members) if conv is not None else None
    if at.name != "add":
        return None
    members |= {id(at)}
    ndim = len(matcher.form(at.output).shape)
    for y, other in (at.inputs, at.inputs[::-1]):
        if (bias := matcher.per_channel(other, ndim)) is not None and matcher.stands_for(y, at.output):
            conv = matcher.only_for_this(y, "conv")
            return _joined(last, conv, {**parts, "bias": bias}, members) if conv is not None else None
    for y, other in (at.inputs, at.inputs[::-1]):
        if not (matcher.stands_for(y, at.output) and matcher.alike(other, at.output)):
            continue
        conv, inner = matcher.only_for_this(y, "conv"), matcher.only_for_this(y, "add")
        if conv is not None:
            return _joined(last, conv, {**parts, "residual": other}, members)
        if inner is not None and (bias := matcher.per_channel(inner.inputs[1], ndim)) is not None:
            conv = matcher.only_for_this(inner.inputs[0], "conv")
            if conv is not None:
                return _joined(last, conv, {**parts, "residual": other, "bias": bias}, members | {id(inner)})
    return None


def _joined(
    last: Instruction, conv: Instruction, parts: dict[str, Any], members: set[int]
) -> tuple[Instruction, set[int]] | None:
    if conv.run is not convolution.convolve:
        return None
    parameters = {**conv.parameters, **{name: part for name, part in parts.items() if part is not None}}
    joined = replace(conv, run=convolve_and_finish, parameters=parameters, output=last.output)
    return joined, (members | {id(conv)}) - {id(last)}


def convolve_and_finish(
    x: np.ndarray, w: np.ndarray, *, window: Any, groups: int, bias: Any = None, residual: Any = None,
    relu: bool = False,
) -> np.ndarray:  # fmt: skip
    """``relu(conv(x, w) + bias + residual)``"""
    return convolution.convolve(x, w, window=window, groups=groups, finish=Finish(bias, residual, relu))


def transform_kernels_once(program: Program) -> Program:
    """Winograd's transform of kernels that stay is an instruction of its own, which `compute_once` takes out."""
    constant = unchanging(program)
    matcher, changes = Matcher(program), {}
    for conv in program.instructions:
        if conv.run not in (convolution.convolve, convolve_and_finish) or type(conv.inputs[1]) is not Ref:
            continue
        window, groups = conv.parameters["window"], conv.parameters["groups"]
        x, w = map(matcher.form, conv.inputs)
        if x is None or conv.inputs[1].number not in constant or live_taps(window)[1] is not window:
            continue
        dtype = np.result_type(x.dtype, w.dtype)
        if convolution.choose(x.shape[0], x.shape[1], w.shape[0], dtype, window, groups) == "winograd":
            kernels = matcher.new_value((36, w.shape[1], w.shape[0]), w.dtype)
            transform = Instruction("transformed", winograd.transformed, (conv.inputs[1],), {}, kernels)
            parameters = {**conv.parameters, "kernels": kernels}
            changes[id(conv)] = [transform, replace(conv, run=convolve_transformed, parameters=parameters)]
    return matcher.replaced(changes, set())


def convolve_transformed(
    x: np.ndarray, w: np.ndarray, *, window: Any, groups: int, kernels: np.ndarray, bias: Any = None,
    residual: Any = None, relu: bool = False,
) -> np.ndarray:  # fmt: skip
    """The same, by Winograd's algorithm, with kernels that are transformed already."""
    return winograd.convolve(x, w, window, Finish(bias, residual, relu), kernels)
