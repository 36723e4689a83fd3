"""Batch normalisation: with the relu that follows it, and, at inference, in the convolution before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...kernels.cpu import batch_norm, layout
from ..program import Instruction, Program, Ref
from .match import Matcher

NORMS = ("batch_norm", "batch_norm_eval")


def join_relu(program: Program) -> Program:
    """A batch normalisation whose result is read by a relu alone takes the positive part itself."""
    matcher, changes, removed = Matcher(program), {}, set()
    for instruction in program.instructions:
        if instruction.name != "relu":
            continue
        for name in NORMS:
            norm = matcher.only_for_this(instruction.inputs[0], name)
            if norm is not None and not norm.parameters["relu"]:
                joined = replace(norm, parameters={**norm.parameters, "relu": True}, output=instruction.output)
                changes[id(instruction)], removed = [joined], removed | {id(norm)}
    return matcher.replaced(changes, removed)


def join_shortcut(program: Program) -> Program:
    """A batch normalisation, the addition of a shortcut and a relu are one pass over memory."""
    matcher, changes, removed = Matcher(program), {}, set()
    for last in reversed(program.instructions):
        if id(last) in removed or last.name not in ("add", "relu"):
            continue
        add = last if last.name == "add" else matcher.only_for_this(last.inputs[0], "add")
        if add is None:
            continue
        for x, shortcut in (add.inputs, add.inputs[::-1]):
            norm = matcher.only_for_this(x, "batch_norm")
            if norm is None or norm.run is not batch_norm.training or norm.parameters["relu"]:
                continue
            if not matcher.stands_for(x, add.output) or not matcher.alike(shortcut, add.output):
                continue
            more = {"relu": last is not add, "shortcut": shortcut}
            changes[id(last)] = [replace(norm, parameters={**norm.parameters, **more}, output=last.output)]
            removed |= {id(norm)} | ({id(add)} if last is not add else set())
            break
    return matcher.replaced(changes, removed)


def fold_batch_norm(program: Program) -> Program:
    """A convolution and the batch normalisation by running averages after it are one convolution with other kernels.

    ``(w * x + c - mean) / s * weight + bias`` is ``(w weight / s) * x + (c - mean) weight / s + bias`` with s the
    deviation. The sums are of other products, rounded otherwise: with k of them an output differs by at most
    2 (k + 4) eps times the sum of all magnitudes. Done only in programs that change nothing outside of them.
    """
    if any(instruction.effect for instruction in program.instructions):
        return program
    matcher, changes, removed = Matcher(program), {}, set()
    for norm in program.instructions:
        if norm.name != "batch_norm_eval":
            continue
        x, weight, bias = norm.inputs
        before, shift = matcher.only_for_this(x, "add"), None
        if before is not None:
            shift = matcher.per_channel(before.inputs[1], len(matcher.form(x).shape))
            if shift is None:
                continue
        conv = matcher.only_for_this(x if before is None else before.inputs[0], "conv")
        if conv is None or type(conv.inputs[1]) is not Ref:
            continue
        form, kernel = matcher.form(norm.output), matcher.form(conv.inputs[1])
        scale = {"weight": weight, "var": norm.parameters["var"], "eps": norm.parameters["eps"]}
        new_kernel = matcher.new_value(kernel.shape, kernel.dtype)
        new_bias = matcher.new_value(form.shape[1:2], form.dtype)
        spread = matcher.new_value((1, form.shape[1], *[1] * (len(form.shape) - 2)), form.dtype)
        sums, shifted = (matcher.new_value(form.shape, form.dtype) for _ in range(2))
        y = shifted if norm.parameters["relu"] else norm.output
        of_bias = {"bias": bias, "shift": shift, "mean": norm.parameters["mean"], **scale, "dtype": form.dtype}
        changes[id(norm)] = [
            Instruction("folded_kernel", folded_kernel, (conv.inputs[1],), scale, new_kernel),
            Instruction("folded_bias", folded_bias, (), of_bias, new_bias),
            replace(conv, inputs=(conv.inputs[0], new_kernel), output=sums),
            Instruction("reshape", np.reshape, (new_bias,), {"shape": matcher.form(spread).shape}, spread),
            Instruction("add", np.add, (sums, spread), {}, y),
        ]
        if norm.parameters["relu"]:
            changes[id(norm)].append(Instruction("relu", _relu, (shifted,), {}, norm.output))
        removed |= {id(conv)} | ({id(before)} if before else set())
    return matcher.replaced(changes, removed)


def folded_kernel(w: Any, *, weight: Any, var: Any, eps: float) -> np.ndarray:
    """The kernels (F, C, ...) times the slope of the normalisation that follows, computed in double precision."""
    new = np.empty_like(w)
    new[...] = w * _slope(weight, var, eps).reshape(-1, *[1] * (w.ndim - 1))
    return layout.laid_out(new)


def folded_bias(*, bias: Any, shift: Any, mean: Any, weight: Any, var: Any, eps: float, dtype: Any) -> np.ndarray:
    """What the normalisation makes of 0, or of the convolution's own bias (F,), the `shift`."""
    moved = (0 if shift is None else shift) - mean
    return (moved * _slope(weight, var, eps) + (0 if bias is None else bias)).astype(dtype)


def _slope(weight: Any, var: Any, eps: float) -> np.ndarray:
    return 1 / np.sqrt(var + eps) * (1 if weight is None else weight)


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)
